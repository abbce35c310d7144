//! The scripts under `fixtures/reference/` that computed the goldens, and running one again.
//!
//! A script is Python. Its first comment lines (`#`) or docstring say what it makes; a line `requires: NAME==V, ...`
//! among them names the packages it needs (or a line with `pip install NAME==V ...`).

use crate::shell;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

const FOLDER: &str = "fixtures/reference";

/// What a script's head says.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    /// What it makes.
    lines: Vec<String>,
    /// The packages it needs, `NAME==VERSION`.
    packages: Vec<String>,
}

/// Prints each script's name, what it makes and needs.
pub fn list(root: &Path) -> Result<bool> {
    let scripts = scripts(root)?;
    for path in &scripts {
        let head = head(&std::fs::read_to_string(path)?);
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
    let head = head(&std::fs::read_to_string(&path)?);
    let environment = root.join("target/reference").join(path.file_stem().unwrap_or_default());
    let python = environment.join("bin/python");
    let made = environment.join("packages.txt");
    let wanted = head.packages.join("\n");
    if std::fs::read_to_string(&made).unwrap_or_default() != wanted || !python.is_file() {
        let made_one = shell::runs(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
        if !made_one {
            bail!("no Python environment: install python3 with its venv module (Debian: `apt install python3-venv`)");
        }
        if !head.packages.is_empty() {
            let mut pip = Command::new(&python);
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(&head.packages);
            if !shell::runs(&mut pip)? {
                bail!("pip could not install {}", head.packages.join(", "));
            }
        }
        std::fs::write(&made, &wanted)?;
    }
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

fn head(script: &str) -> Head {
    let mut lines = Vec::new();
    let mut packages = Vec::new();
    let mut quoted = false;
    for line in script.lines().filter(|line| !line.starts_with("#!")) {
        let mut line = line.trim();
        if !quoted && line.starts_with("\"\"\"") {
            quoted = true;
            line = &line[3..];
        } else if !quoted && !line.is_empty() && !line.starts_with('#') {
            break;
        }
        let end = quoted && line.ends_with("\"\"\"");
        let words = line.trim_end_matches("\"\"\"").trim_start_matches('#').trim();
        if let Some(list) = words.strip_prefix("requires:") {
            packages.extend(list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()));
        } else if let Some((_, list)) = words.split_once("pip install ") {
            let list = list.split('`').next().unwrap_or_default();
            packages.extend(list.split(' ').filter(|word| word.contains("==")).map(str::to_owned));
        } else if !words.is_empty() {
            lines.push(words.to_owned());
        }
        if end {
            break;
        }
    }
    Head { lines, packages }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_says_what_is_made_and_needed() {
        let comment = "#!/usr/bin/env python3\n# Makes tests/golden/attention.json.\n# requires: torch==2.9.0, numpy==2.3.4\n\nimport torch  # not this\n";
        let want = Head {
            lines: vec!["Makes tests/golden/attention.json.".to_owned()],
            packages: vec!["torch==2.9.0".to_owned(), "numpy==2.3.4".to_owned()],
        };
        assert_eq!(head(comment), want);
        let docstring =
            "\"\"\"Makes tests/golden/attention.json.\n\nrequires: torch==2.9.0, numpy==2.3.4\n\"\"\"\n# not this\n";
        assert_eq!(head(docstring), want);
        let installed = "\"\"\"Makes it.\n\nRun after `pip install torch==2.9.0 numpy==2.3.4`:\n\"\"\"\n";
        assert_eq!(head(installed).packages, want.packages);
        assert_eq!(head("import x\n"), Head { lines: vec![], packages: vec![] });
    }
}
