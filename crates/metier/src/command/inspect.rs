//! `metier inspect`.

use super::{Global, Verdict, count, size, table};
use crate::recipe::page;
use crate::recipe::run::StageReport;
use metier_core::Result;
use metier_core::store::write_atomic;
use metier_model::checkpoint::Checkpoint;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Say what is in a model, an artifact or a set of shards
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples: metier inspect model.gguf\n          metier inspect specialist --tensors\n          metier inspect training --html report.html"
)]
pub struct Arguments {
    /// A model folder, a GGUF file, an adapter's folder, an artifact's id, path or stage name
    #[arg(value_name = "WHAT")]
    what: String,
    /// List every tensor with its shape
    #[arg(long)]
    tensors: bool,
    /// Write a page with the artifact's figures, and the curves of a training
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// The model that a path, an artifact's id or a stage name stands for.
pub fn model_path(name: &str, global: &Global) -> Result<PathBuf> {
    let path = PathBuf::from(name);
    if path.exists() {
        return Ok(path);
    }
    if !global.store.exists() {
        return Err(super::not_found("model", name));
    }
    global.read_store()?.resolve(name).map(|artifact| artifact.path).map_err(|error| {
        error.hint("name a model folder, a GGUF file, an artifact's id (its first letters will do) or a stage name")
    })
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    let path = model_path(&arguments.what, global)?;
    let record = path.join("record.json");
    if let Some(html) = &arguments.html {
        let artifact = global.read_store()?.resolve(&path.to_string_lossy())?;
        let stage = StageReport { name: artifact.record.stage.clone(), reused: true, artifact };
        return write_page(html, &stage, global).map(|()| Verdict::Fine);
    }
    let is_model = Checkpoint::is_at(&path);
    if path.join(metier_peft::folder::CONFIG).exists() {
        return adapter(&path, arguments.tensors, global).map(|()| Verdict::Fine);
    }
    if is_model {
        model(&path, arguments.tensors, global)?;
    } else if !record.exists() {
        return Err(metier_core::Error::file(&path, "this is no model and no artifact")
            .hint("a model is a .gguf file or a folder with config.json; an artifact holds record.json"));
    }
    if record.exists() && !global.json {
        let store = global.read_store()?;
        let artifact = store.resolve(&path.to_string_lossy())?;
        super::print(&format!("artifact {}\n", artifact.id))?;
        let record = &artifact.record;
        let mut rows = vec![
            vec!["verb".to_owned(), record.verb.clone()],
            vec!["stage".to_owned(), record.stage.clone()],
            vec!["settings".to_owned(), record.settings.to_string()],
            vec!["took".to_owned(), super::duration(record.real.seconds)],
            vec!["peak memory".to_owned(), size(record.real.peak_memory_bytes)],
            vec!["rows out".to_owned(), count(record.counts.out)],
        ];
        rows.extend(record.figures.iter().map(|(name, value)| vec![name.clone(), format!("{value}")]));
        rows.extend(record.files.iter().map(|file| vec![file.path.clone(), size(file.bytes)]));
        super::print(&table(&["", ""], &rows, &[false, false]))?;
        if let Some(report) = crate::recipe::run::report_of(&artifact) {
            super::print(&format!("\n{report}"))?;
        }
    } else if record.exists() && !is_model {
        let artifact = global.read_store()?.resolve(&path.to_string_lossy())?;
        super::print_json(&json!(artifact.record))?;
    }
    Ok(Verdict::Fine)
}

fn write_page(html: &Path, stage: &StageReport, global: &Global) -> Result<()> {
    let title = format!("{} {}", stage.artifact.record.verb, stage.name);
    write_atomic(html, page::page(&title, std::slice::from_ref(stage), &[])?)?;
    if global.json {
        super::print_json(&json!({ "page": html }))
    } else {
        super::print(&format!("{}\n", html.display()))
    }
}

/// Says what is in an adapter's folder.
fn adapter(path: &Path, tensors: bool, global: &Global) -> Result<()> {
    let opened = metier_peft::folder::Opened::new(path)?;
    let listed = opened.tensors()?;
    let numbers: usize = listed.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    let base = opened.base.as_ref();
    let share = base.map(|base| numbers as f64 / base.parameters.max(1) as f64);
    if global.json {
        let tensors: Vec<_> = listed.iter().map(|(name, shape)| json!({ "name": name, "shape": shape })).collect();
        return super::print_json(&json!({
            "path": path, "config": opened.config, "parameters": numbers, "share_of_base": share, "base": base,
            "tensors": tensors,
        }));
    }
    let value = |key: &str| {
        let value = opened.config.get(key).filter(|value| !value.is_null());
        value.map_or_else(
            || "unknown".to_owned(),
            |value| value.as_str().map_or_else(|| value.to_string(), str::to_owned),
        )
    };
    let mut rows = vec![
        vec!["method".to_owned(), value("peft_type")],
        vec!["base".to_owned(), value("base_model_name_or_path")],
        vec!["parameters".to_owned(), count(numbers as u64)],
        vec!["tensors".to_owned(), count(listed.len() as u64)],
    ];
    rows.extend(share.map(|share| vec!["share of the base".to_owned(), format!("{:.3} %", 100.0 * share)]));
    rows.extend(base.map(|base| vec!["fingerprint of the base".to_owned(), base.fingerprint.norms.clone()]));
    for (key, name) in [("r", "rank"), ("lora_alpha", "alpha"), ("target_modules", "targets")] {
        if opened.config.contains_key(key) {
            rows.push(vec![name.to_owned(), value(key)]);
        }
    }
    super::print(&table(&["adapter", &path.display().to_string()], &rows, &[false, false]))?;
    if tensors {
        super::print(&format!("\n{}", tensor_table(&listed)))?;
    }
    Ok(())
}

fn tensor_table(listed: &[(String, Vec<usize>)]) -> String {
    let rows: Vec<_> = listed.iter().map(|(name, shape)| vec![name.clone(), format!("{shape:?}")]).collect();
    table(&["tensor", "shape"], &rows, &[false, false])
}

fn model(path: &Path, tensors: bool, global: &Global) -> Result<()> {
    let checkpoint = crate::stage::open_checkpoint(path)?;
    let mut listed = Vec::new();
    let mut parameters = 0;
    for name in checkpoint.names() {
        let shape = checkpoint.shape(&name)?;
        parameters += shape.iter().product::<usize>();
        listed.push((name, shape));
    }
    let tokenizer = &checkpoint.tokenizer;
    if global.json {
        let tensors: Vec<_> = listed.iter().map(|(name, shape)| json!({ "name": name, "shape": shape })).collect();
        return super::print_json(&json!({
            "path": path, "config": checkpoint.config, "parameters": parameters, "tensors": tensors,
            "vocabulary": tokenizer.vocabulary_size(), "end_of_text": tokenizer.end_of_text(),
            "begin_of_text": tokenizer.begin_of_text(), "chat_template": checkpoint.chat_template,
        }));
    }
    let mut rows = vec![
        vec!["parameters".to_owned(), count(parameters as u64)],
        vec!["tensors".to_owned(), count(listed.len() as u64)],
        vec!["vocabulary".to_owned(), count(tokenizer.vocabulary_size() as u64)],
        vec!["end of text".to_owned(), format!("{:?}", tokenizer.end_of_text())],
        vec!["chat template".to_owned(), if checkpoint.chat_template.is_some() { "yes" } else { "none" }.to_owned()],
    ];
    if let Some(config) = checkpoint.config.as_object() {
        rows.extend(config.iter().map(|(key, value)| vec![key.clone(), value.to_string()]));
    }
    super::print(&table(&["model", &path.display().to_string()], &rows, &[false, false]))?;
    if tensors {
        super::print(&format!("\n{}", tensor_table(&listed)))?;
    }
    Ok(())
}
