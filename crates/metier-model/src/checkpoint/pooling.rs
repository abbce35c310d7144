//! How a sentence-transformers folder makes the vector of a text: `modules.json` and the files that it names.
//!
//! Source: Reimers and Gurevych, arXiv 1908.10084.

use super::Checkpoint;
use super::hugging_face::read_json;
use metier_core::{Error, Fault, Place, Result, store};
use serde_json::Value;
use std::fmt;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

const MODULES: &str = "modules.json";
/// Where the settings of pooling lie when no list of modules says it.
const POOLING: &str = "1_Pooling";
/// Says of the transformer how long texts may be.
const SENTENCES: &str = "sentence_bert_config.json";
/// Prompts and similarity, which no vector depends on.
const ABOUT: &str = "config_sentence_transformers.json";

/// What becomes one row of a text's hidden states.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PoolingMode {
    /// Their mean.
    #[default]
    Mean,
    /// That of the first token: `[CLS]`.
    Cls,
}

impl PoolingMode {
    /// Those of a text's rows that count.
    pub fn rows(self, text: &Range<usize>) -> Range<usize> {
        match self {
            Self::Mean => text.clone(),
            Self::Cls => text.start..text.end.min(text.start + 1),
        }
    }
}

/// How the last hidden states of a text become its vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pooling {
    /// What becomes one row of them.
    pub mode: PoolingMode,
    /// Whether the vector is scaled to length 1.
    pub normalize: bool,
    /// Most tokens of a text, where they are fewer than the model's context (`max_seq_length`).
    pub longest: Option<usize>,
}

impl Default for Pooling {
    fn default() -> Self {
        Self { mode: PoolingMode::Mean, normalize: true, longest: None }
    }
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.mode {
            PoolingMode::Mean => "mean of the last hidden states",
            PoolingMode::Cls => "last hidden state of the first token",
        })?;
        if self.normalize { f.write_str(", length 1") } else { Ok(()) }
    }
}

/// What `modules.json` lists.
enum Module {
    Transformer,
    Pooling(PathBuf),
    Normalize,
}

impl Checkpoint {
    /// How this model makes vectors: as its folder says, and where that says nothing by the mean, scaled to length 1.
    ///
    /// # Errors
    /// Modules and modes that are not built, all of them together.
    pub fn pooling(&self) -> Result<Pooling> {
        let folder = self.path();
        let Some(modules) = modules(folder)? else {
            let mode = mode(&folder.join(POOLING).join("config.json"))?;
            return Ok(Pooling { mode: mode.unwrap_or_default(), ..Pooling::default() });
        };
        let mut pooling = Pooling { mode: PoolingMode::Mean, normalize: false, longest: None };
        let mut faults = Vec::new();
        for module in modules {
            match module {
                Module::Transformer => match longest(&folder.join(SENTENCES)) {
                    Ok(longest) => pooling.longest = longest,
                    Err(error) => faults.extend(error.faults),
                },
                Module::Pooling(path) => match mode(&folder.join(path).join("config.json")) {
                    Ok(mode) => pooling.mode = mode.unwrap_or_default(),
                    Err(error) => faults.extend(error.faults),
                },
                Module::Normalize => pooling.normalize = true,
            }
        }
        Error::collect(pooling, faults)
    }
}

/// Copies what says how vectors are made, if anything does.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut files =
        vec![PathBuf::from(MODULES), SENTENCES.into(), ABOUT.into(), Path::new(POOLING).join("config.json")];
    let listed = modules(from).ok().flatten().unwrap_or_default().into_iter();
    files.extend(listed.filter_map(|module| match module {
        Module::Pooling(path) => Some(path.join("config.json")),
        Module::Transformer | Module::Normalize => None,
    }));
    files.dedup();
    for file in files.iter().filter(|file| from.join(file).is_file()) {
        let bytes =
            std::fs::read(from.join(file)).map_err(|error| Error::io(from.join(file), "read the file", &error))?;
        if let Some(folder) = to.join(file).parent() {
            store::create_folder(folder)?;
        }
        store::write_atomic(to.join(file), bytes)?;
    }
    Ok(())
}

/// The modules in order, if the folder lists any.
fn modules(folder: &Path) -> Result<Option<Vec<Module>>> {
    let path = folder.join(MODULES);
    let Some(list) = read_json(&path)? else { return Ok(None) };
    let Some(list) = list.as_array() else { return Err(Error::file(path, "this is no list of modules")) };
    let mut faults = Vec::new();
    let mut modules = Vec::new();
    for (number, entry) in list.iter().enumerate() {
        let mut refuse = |key: &str, message: String, hint: &str| {
            let place = Place::file(&path).with_key(format!("{number}.{key}"));
            faults.push(Fault::new(place, message).hint(hint));
        };
        let kind = entry["type"].as_str().unwrap_or_default();
        let inside = PathBuf::from(entry["path"].as_str().unwrap_or_default());
        if !inside.components().all(|part| matches!(part, Component::Normal(_))) {
            refuse(
                "path",
                format!("{} is no folder inside the model's", entry["path"]),
                "name one beside modules.json",
            );
            continue;
        }
        match kind.rsplit('.').next().unwrap_or_default() {
            "Transformer" if inside.as_os_str().is_empty() => modules.push(Module::Transformer),
            "Transformer" => {
                let message = format!("the transformer lies in `{}`, not beside modules.json", inside.display());
                refuse("path", message, "move its files there, and write an empty path");
            }
            "Pooling" => modules.push(Module::Pooling(inside)),
            "Normalize" => modules.push(Module::Normalize),
            _ => {
                let message = format!("the module `{kind}` is not built");
                refuse("type", message, "known: Transformer, Pooling, Normalize; vectors without it would be wrong");
            }
        }
    }
    Error::collect(Some(modules), faults)
}

/// The mode in a file of settings of pooling, if there is one: a flag for each, or its name.
fn mode(path: &Path) -> Result<Option<PoolingMode>> {
    let Some(settings) = read_json(path)? else { return Ok(None) };
    let flags = settings.as_object().into_iter().flatten();
    let flagged = flags.filter(|(_, value)| **value == Value::Bool(true));
    let mut modes: Vec<&str> = flagged.filter_map(|(key, _)| key.strip_prefix("pooling_mode_")).collect();
    modes.extend(settings["pooling_mode"].as_str());
    match modes.as_slice() {
        [] | ["mean" | "mean_tokens"] => Ok(Some(PoolingMode::Mean)),
        ["cls" | "cls_token"] => Ok(Some(PoolingMode::Cls)),
        other => {
            let message = format!("pooling by {} is not built", other.join(" and "));
            let place = Place::file(path).with_key("pooling_mode");
            Err(Error::user(place, message).hint("known: mean, cls; one of them"))
        }
    }
}

/// Most tokens of a text.
fn longest(path: &Path) -> Result<Option<usize>> {
    let Some(settings) = read_json(path)? else { return Ok(None) };
    if settings["do_lower_case"] == Value::Bool(true) {
        let place = Place::file(path).with_key("do_lower_case");
        return Err(Error::user(place, "texts in small letters before they are encoded are not built")
            .hint("a tokenizer.json with a normalizer for it needs no such key: write false"));
    }
    let longest = &settings["max_seq_length"];
    match longest.as_u64().filter(|longest| *longest > 0) {
        Some(longest) => Ok(usize::try_from(longest).ok()),
        None if longest.is_null() => Ok(None),
        None => {
            let place = Place::file(path).with_key("max_seq_length");
            Err(Error::user(place, format!("{longest} is no number of tokens"))
                .hint("write a whole number above 0, or null"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metier_testkit::{fixture, scratch};
    use serde_json::json;
    use std::fs;

    const TRANSFORMER: &str = r#"{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"}"#;
    const POOLED: &str = r#"{"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}"#;
    const NORMALIZED: &str = r#"{"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}"#;

    /// A folder of the tiny model with these modules, settings of pooling and of sentences.
    fn pooling(modules: &[&str], settings: &Value, sentences: &Value) -> Result<Pooling> {
        let folder = scratch("pooling");
        let tiny = Checkpoint::open(fixture("models/tiny-llama.gguf")).unwrap();
        super::super::convert_folder(folder.path(), &tiny, super::super::Dtype::F32).unwrap();
        if !modules.is_empty() {
            fs::write(folder.path().join(MODULES), format!("[{}]", modules.join(","))).unwrap();
        }
        fs::create_dir(folder.path().join(POOLING)).unwrap();
        fs::write(folder.path().join("1_Pooling/config.json"), settings.to_string()).unwrap();
        fs::write(folder.path().join(SENTENCES), sentences.to_string()).unwrap();
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let found = checkpoint.pooling();
        // What is written again says the same.
        let again = scratch("pooling again");
        super::super::convert_folder(again.path(), &checkpoint, super::super::Dtype::F32).unwrap();
        let copied = Checkpoint::open(again.path()).unwrap().pooling();
        assert_eq!(copied.as_ref().ok(), found.as_ref().ok());
        found
    }

    #[test]
    fn a_folder_says_how_vectors_are_made() {
        let none = json!({});
        let mean = json!({ "pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false });
        let cls = json!({ "pooling_mode_mean_tokens": false, "pooling_mode_cls_token": true });
        let longest = json!({ "max_seq_length": 256, "do_lower_case": false });
        let all = [TRANSFORMER, POOLED, NORMALIZED];
        let made = |mode, normalize, longest| Pooling { mode, normalize, longest };
        assert_eq!(pooling(&[], &none, &none).unwrap(), Pooling::default());
        assert_eq!(pooling(&[], &cls, &none).unwrap(), made(PoolingMode::Cls, true, None));
        assert_eq!(pooling(&all, &mean, &longest).unwrap(), made(PoolingMode::Mean, true, Some(256)));
        assert_eq!(pooling(&all[..2], &cls, &longest).unwrap(), made(PoolingMode::Cls, false, Some(256)));
        let named = json!({ "pooling_mode": "cls", "include_prompt": true });
        assert_eq!(pooling(&all, &named, &none).unwrap(), made(PoolingMode::Cls, true, None));
        assert_eq!(Pooling::default().to_string(), "mean of the last hidden states, length 1");
    }

    #[test]
    fn what_is_not_built_is_refused() {
        let none = json!({});
        let dense = r#"{"idx": 2, "path": "2_Dense", "type": "sentence_transformers.models.Dense"}"#;
        let outside = r#"{"idx": 1, "path": "../1_Pooling", "type": "sentence_transformers.models.Pooling"}"#;
        let both = json!({ "pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": true });
        let lower = json!({ "do_lower_case": true });
        for (modules, settings, sentences, said) in [
            (
                &[TRANSFORMER, POOLED, dense][..],
                &none,
                &none,
                &["2.type", "models.Dense` is not built", "Normalize"][..],
            ),
            (&[TRANSFORMER, outside], &none, &none, &["1.path", "no folder inside"]),
            (&[TRANSFORMER, POOLED], &both, &none, &["1_Pooling", "mean_tokens and max_tokens", "known: mean, cls"]),
            (&[TRANSFORMER], &none, &lower, &["do_lower_case", "not built"]),
            (&[TRANSFORMER], &none, &json!({ "max_seq_length": 0 }), &["max_seq_length", "0 is no number"]),
        ] {
            let text = pooling(modules, settings, sentences).unwrap_err().to_string();
            assert!(said.iter().all(|said| text.contains(said)), "{text}");
        }
    }
}
