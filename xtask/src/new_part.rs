//! A new member of a family: its file, its two lines in the list, an empty golden.

use crate::tidy::{
    families::{self, Family, HEADINGS, UNWRITTEN},
    tree::Tree,
};
use anyhow::{Context as _, Result, bail, ensure};
use std::path::Path;

const SKIP: &str = "#[rustfmt::skip]";

/// Writes the part `name` of `family` (`schedule`, or `metier-train/schedule` where two crates have one of that
/// name) and returns the paths written.
pub fn write(root: &Path, family: &str, name: &str) -> Result<Vec<String>> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    ensure!(
        name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(word),
        "`{name}` is no name of a part: write it as a file is named, like `low_rank`"
    );
    let tree = Tree::read(root)?;
    let families = families::all(&tree);
    let crate_of = |found: &Family<'_>| found.list.path.split('/').nth(1).unwrap_or_default().to_owned();
    let matching: Vec<&Family<'_>> = families
        .iter()
        .filter(|found| found.folder() == family || format!("{}/{}", crate_of(found), found.folder()) == family)
        .collect();
    let found = match matching[..] {
        [one] => one,
        [] => {
            let known: Vec<&str> = families.iter().map(Family::folder).collect();
            bail!("no family is called `{family}`; known: {}", known.join(", "))
        }
        _ => {
            let known: Vec<String> = matching.iter().map(|found| format!("{}/{family}", crate_of(found))).collect();
            bail!("several families are called `{family}`; write one of: {}", known.join(", "))
        }
    };
    let folder = found.list.folder();
    let file = format!("{folder}/{name}.rs");
    let golden = format!("crates/{}/tests/golden/{}/{name}.json", crate_of(found), found.folder());
    ensure!(!root.join(&file).exists(), "{file} is there already");
    let list = listed(found, name)?;
    put(root, &file, &member(&found.seam, name))?;
    put(root, &found.list.path, &list)?;
    put(root, &golden, "{\n  \"provenance\": { \"script\": \"\", \"programs\": {} },\n  \"cases\": []\n}\n")?;
    Ok(vec![file, found.list.path.clone(), golden])
}

fn put(root: &Path, path: &str, text: &str) -> Result<()> {
    let target = root.join(path);
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder).with_context(|| path.to_owned())?;
    }
    std::fs::write(target, text).with_context(|| path.to_owned())
}

/// The family's `mod.rs` with the two lines at their places in the alphabet.
fn listed(family: &Family<'_>, name: &str) -> Result<String> {
    let text = &family.list.text;
    let entry = format!("{name}::PART");
    let mut entries: Vec<&str> = family.entries.iter().map(|(path, _)| path.as_str()).collect();
    ensure!(!entries.contains(&entry.as_str()), "`{}` already lists `&{entry}`", family.list.path);
    entries.push(&entry);
    entries.sort_unstable();
    let (from, to) = family.body;
    let body = entries.iter().map(|entry| format!("    &{entry},\n")).collect::<Vec<_>>().concat();
    let list = format!("{}\n{body}{}", &text[..from], &text[to..]);

    let mut lines: Vec<String> = list.lines().map(str::to_owned).collect();
    // Without this rustfmt joins a short list into one line.
    let start = format!("static {}:", family.name);
    if let Some(at) = lines.iter().position(|line| line.contains(&start))
        && (at == 0 || lines[at - 1] != SKIP)
    {
        lines.insert(at, SKIP.to_owned());
    }
    let module = |line: &str| -> Option<String> {
        let rest = line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod "))?;
        Some(rest.strip_suffix(';')?.to_owned())
    };
    let members: Vec<(usize, String)> =
        lines.iter().enumerate().filter_map(|(at, line)| Some((at, module(line)?))).collect();
    let style =
        members.first().map_or("mod ", |(at, _)| if lines[*at].starts_with("pub") { "pub mod " } else { "mod " });
    let line = format!("{style}{name};");
    let at = match members.iter().find(|(_, other)| other.as_str() > name) {
        Some((at, _)) => *at,
        None => match members.last() {
            Some((last, _)) => last + 1,
            // The first line that is neither the folder's page nor blank.
            None => {
                lines.iter().position(|line| !line.starts_with("//!") && !line.trim().is_empty()).unwrap_or(lines.len())
            }
        },
    };
    lines.insert(at, line);
    Ok(lines.join("\n") + "\n")
}

/// The text of a member's file.
fn member(seam: &str, name: &str) -> String {
    let title: String = name
        .split('_')
        .map(|word| {
            word.chars().next().map_or_else(String::new, |c| c.to_ascii_uppercase().to_string())
                + word.get(1..).unwrap_or_default()
        })
        .collect();
    let page: Vec<String> = HEADINGS.iter().map(|heading| format!("/// # {heading}\n///\n/// {UNWRITTEN}\n")).collect();
    let page = page.join("///\n");
    let words = name.replace('_', " ");
    format!(
        r#"//! The part `{name}`: {words}.

use super::{seam};
use metier_core::part::{{Build, Part}};
use metier_core::{{Place, Result}};
use schemars::JsonSchema;
use serde::{{Deserialize, Serialize}};

{page}#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct {title} {{}}

impl Build<dyn {seam}> for {title} {{
    fn build(self, _place: &Place) -> Result<Box<dyn {seam}>> {{
        Ok(Box::new(self))
    }}
}}

// The compiler names the methods to write here.
impl {seam} for {title} {{}}

/// The record of this part.
pub static PART: Part<dyn {seam}> = Part::of::<{title}>("{name}", 1);
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::planted::Planted;

    const LIST: &str = "crates/metier-train/src/schedule/mod.rs";

    fn fill(tree: &Planted, name: &str) {
        let file = format!("crates/metier-train/src/schedule/{name}.rs");
        for _ in HEADINGS {
            tree.edit(&file, UNWRITTEN, "Words.");
        }
    }

    #[test]
    fn a_new_part_is_listed_in_its_place() {
        let tree = Planted::good();
        let written = write(tree.root(), "schedule", "cosine_restarts").unwrap();
        assert_eq!(
            written,
            [
                "crates/metier-train/src/schedule/cosine_restarts.rs",
                LIST,
                "crates/metier-train/tests/golden/schedule/cosine_restarts.json"
            ]
        );
        assert!(tree.read(LIST).starts_with("mod constant;\nmod cosine;\nmod cosine_restarts;\n\n"));
        assert!(
            tree.read(LIST)
                .contains("= &[\n    &constant::PART,\n    &cosine::PART,\n    &cosine_restarts::PART,\n];\n")
        );
        assert!(tree.read(&written[0]).contains("pub struct CosineRestarts {}"));
        // Tidy asks for the words that only a person can write, and for nothing else.
        tree.fails("the page of `CosineRestarts` says nothing under `# How`");
        fill(&tree, "cosine_restarts");
        tree.passes();
        let golden: serde_json::Value = serde_json::from_str(&tree.read(&written[2])).unwrap();
        assert_eq!(golden["cases"], serde_json::json!([]));
    }

    #[test]
    fn the_first_and_the_last_of_the_alphabet_find_their_places() {
        let tree = Planted::good();
        for name in ["warmup", "annealed"] {
            write(tree.root(), "metier-train/schedule", name).unwrap();
            fill(&tree, name);
        }
        tree.passes();
        assert!(tree.read(LIST).starts_with("mod annealed;\nmod constant;\nmod cosine;\nmod warmup;\n"));
    }

    #[test]
    fn a_list_on_one_line_is_spread() {
        let tree = Planted::good();
        tree.edit(LIST, "#[rustfmt::skip]\n", "");
        tree.edit(LIST, "mod cosine;\n", "");
        tree.edit(LIST, "&[\n    &constant::PART,\n    &cosine::PART,\n]", "&[&constant::PART]");
        std::fs::remove_file(tree.root().join("crates/metier-train/src/schedule/cosine.rs")).unwrap();
        tree.passes();
        write(tree.root(), "schedule", "linear").unwrap();
        fill(&tree, "linear");
        tree.passes();
        let list = "#[rustfmt::skip]\npub static SCHEDULES: &[&Part<dyn Schedule>] = &[\n    &constant::PART,\n    &linear::PART,\n];";
        assert!(tree.read(LIST).contains(list), "{}", tree.read(LIST));
    }

    #[test]
    fn mistakes_are_told() {
        let tree = Planted::good();
        let told = |family: &str, name: &str| write(tree.root(), family, name).unwrap_err().to_string();
        assert_eq!(told("scedule", "linear"), "no family is called `scedule`; known: schedule");
        assert!(told("schedule", "Linear").starts_with("`Linear` is no name of a part"));
        assert_eq!(told("schedule", "cosine"), "crates/metier-train/src/schedule/cosine.rs is there already");
        tree.passes();
    }
}
