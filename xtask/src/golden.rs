//! The scripts under `fixtures/reference/` that computed the goldens, and running one again.

use crate::{python, shell};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

const FOLDER: &str = "fixtures/reference";

/// Prints each script's name, what it makes and needs.
pub fn list(root: &Path) -> Result<bool> {
    let scripts = scripts(root)?;
    for path in &scripts {
        let head = python::head(&std::fs::read_to_string(path)?);
        println!("{}", path.file_stem().unwrap_or_default().to_string_lossy());
        for line in &head.lines {
            println!("    {line}");
        }
        println!(
            "    needs: {}\n",
            if head.packages.is_empty() { "nothing".to_owned() } else { head.packages.join(", ") }
        );
    }
    if scripts.is_empty() {
        println!("there is no script in {FOLDER}");
    }
    Ok(true)
}

/// Runs the script `name` in a Python environment under `target/reference/`, made when it is not there.
pub fn run(root: &Path, name: &str, arguments: &[&str]) -> Result<bool> {
    let path = root.join(FOLDER).join(format!("{}.py", name.trim_end_matches(".py")));
    if !path.is_file() {
        let known: Vec<String> =
            scripts(root)?.iter().filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
        bail!("{} does not exist; there are: {}", path.display(), known.join(", "));
    }
    let head = python::head(&std::fs::read_to_string(&path)?);
    let environment = root.join("target/reference").join(path.file_stem().unwrap_or_default());
    let python = python::environment(&environment, &head)?;
    shell::runs(Command::new(&python).arg(&path).args(arguments).current_dir(root))
}

fn scripts(root: &Path) -> Result<Vec<PathBuf>> {
    let folder = root.join(FOLDER);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "py") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
