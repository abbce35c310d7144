//! The files that the program writes about itself: the recipe schema, a page for each part, the list of recipes; and
//! the page of races.
//!
//! `metier docs FOLDER` writes them, the page of races is made of its receipts; this module calls and compares.

use crate::race::{readme, receipt};
use crate::shell;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::path::Path;
use walkdir::WalkDir;

/// Folders in which every file is generated.
const WHOLE: [&str; 1] = ["docs/parts"];

/// Writes the generated files into the repository and removes those that are no longer made.
pub fn write(root: &Path, metier: Option<&Path>) -> Result<bool> {
    let made = made(root, metier)?;
    for (path, bytes) in &made {
        let target = root.join(path);
        if std::fs::read(&target).is_ok_and(|old| old == *bytes) {
            continue;
        }
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&target, bytes).with_context(|| path.clone())?;
        println!("written: {path}");
    }
    for path in left_over(root, &made)? {
        std::fs::remove_file(root.join(&path)).with_context(|| path.clone())?;
        println!("removed: {path}");
    }
    Ok(true)
}

/// Compares the generated files with the repository's; true when they are the same.
pub fn check(root: &Path, metier: Option<&Path>) -> Result<bool> {
    let stale = stale(root, &made(root, metier)?)?;
    for message in &stale {
        println!("{message}; `cargo xtask generate` mends it [generated]");
    }
    Ok(stale.is_empty())
}

fn stale(root: &Path, made: &BTreeMap<String, Vec<u8>>) -> Result<Vec<String>> {
    let mut stale = Vec::new();
    for (path, bytes) in made {
        match std::fs::read(root.join(path)) {
            Err(_) => stale.push(format!("{path}:1: the generated file is missing")),
            Ok(old) if old != *bytes => {
                let same = old.iter().zip(bytes).take_while(|(a, b)| a == b).filter(|(a, _)| **a == b'\n').count();
                stale.push(format!("{path}:{}: the generated file is out of date", same + 1));
            }
            Ok(_) => {}
        }
    }
    stale.extend(left_over(root, made)?.iter().map(|path| format!("{path}:1: nothing generates this file any more")));
    Ok(stale)
}

/// Files in generated folders that `made` does not have.
fn left_over(root: &Path, made: &BTreeMap<String, Vec<u8>>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for folder in WHOLE.iter().filter(|folder| root.join(folder).is_dir()) {
        found.extend(files(root, &root.join(folder))?.into_iter().filter(|path| !made.contains_key(path)));
    }
    Ok(found)
}

/// The generated files, by path.
fn made(root: &Path, metier: Option<&Path>) -> Result<BTreeMap<String, Vec<u8>>> {
    let scratch = root.join("target/generated");
    if scratch.exists() {
        std::fs::remove_dir_all(&scratch)?;
    }
    std::fs::create_dir_all(&scratch)?;
    let folder = scratch.to_string_lossy();
    shell::output(&mut crate::assets::metier(root, metier, &["docs", &folder]))?;
    let mut made = BTreeMap::new();
    for path in files(&scratch, &scratch)? {
        let bytes = std::fs::read(scratch.join(&path))?;
        made.insert(path, bytes);
    }
    anyhow::ensure!(!made.is_empty(), "`metier docs` wrote nothing");
    made.insert(readme::PATH.to_owned(), readme::text(&receipt::read_all(root)?).into_bytes());
    Ok(made)
}

/// The files under `folder`, relative to `root`, with `/`.
fn files(root: &Path, folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry = entry?;
        if entry.file_type().is_file() {
            found.push(entry.path().strip_prefix(root)?.to_string_lossy().replace('\\', "/"));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_file_out_of_date_is_named_with_its_first_line_that_differs() {
        let root = tempfile::tempdir().unwrap();
        let made = BTreeMap::from([
            ("schemas/recipe.schema.json".to_owned(), b"{\n  \"a\": 1\n}\n".to_vec()),
            ("docs/parts/schedule/cosine.md".to_owned(), b"# cosine\n".to_vec()),
        ]);
        for (path, bytes) in &made {
            std::fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
            std::fs::write(root.path().join(path), bytes).unwrap();
        }
        assert_eq!(stale(root.path(), &made).unwrap(), Vec::<String>::new());
        std::fs::write(root.path().join("schemas/recipe.schema.json"), "{\n  \"a\": 2\n}\n").unwrap();
        std::fs::write(root.path().join("docs/parts/schedule/gone.md"), "").unwrap();
        std::fs::remove_file(root.path().join("docs/parts/schedule/cosine.md")).unwrap();
        assert_eq!(
            stale(root.path(), &made).unwrap(),
            [
                "docs/parts/schedule/cosine.md:1: the generated file is missing",
                "schemas/recipe.schema.json:2: the generated file is out of date",
                "docs/parts/schedule/gone.md:1: nothing generates this file any more",
            ]
        );
    }
}
