//! Python scripts of the repository, and environments with the packages they need.
//!
//! A script's first comment lines (`#`) or docstring say what it is for; a line `requires: NAME==V, ...`
//! among them names the packages it needs (or a line with `pip install NAME==V ...`), a line `requires alone: NAME==V` those
//! whose files it needs without what they need themselves.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a script's head says.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// What it is for.
    pub lines: Vec<String>,
    /// The packages it needs, `NAME==VERSION`.
    pub packages: Vec<String>,
    /// Packages of which it needs the files alone, not what they need themselves.
    pub alone: Vec<String>,
}

/// The interpreter of an environment in `folder` with exactly the packages of a head, made when it is not there.
pub fn environment(folder: &Path, head: &Head) -> Result<PathBuf> {
    let python = folder.join("bin/python");
    let made = folder.join("packages.txt");
    let wanted = [head.packages.as_slice(), &head.alone].concat().join("\n");
    if std::fs::read_to_string(&made).unwrap_or_default() == wanted && python.is_file() {
        return Ok(python);
    }
    if !shell::runs(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))? {
        bail!("no Python environment: install python3 with its venv module (Debian: `apt install python3-venv`)");
    }
    for (packages, more) in [(&head.packages, &[][..]), (&head.alone, &["--no-deps"][..])] {
        if packages.is_empty() {
            continue;
        }
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(more).args(packages);
        if !shell::runs(&mut pip)? {
            bail!("pip could not install {}", packages.join(", "));
        }
    }
    std::fs::write(&made, &wanted)?;
    Ok(python)
}

/// `python` itself when it has these packages in these versions.
pub fn with_packages(python: &Path, packages: &[String]) -> Result<PathBuf> {
    const ASK: &str = "import sys\nfrom importlib import metadata\nfor name in sys.argv[1:]:\n    \
                       try: print(name + '==' + metadata.version(name).split('+')[0])\n    \
                       except metadata.PackageNotFoundError: print('no ' + name)";
    let names = packages.iter().map(|package| package.split("==").next().unwrap_or(package));
    let output = Command::new(python)
        .args(["-c", ASK])
        .args(names)
        .output()
        .with_context(|| format!("cannot start `{}`; --python takes a Python interpreter", python.display()))?;
    let found = String::from_utf8_lossy(&output.stdout).trim().replace('\n', ", ");
    if found != packages.join(", ") {
        bail!("{} has {found}; it takes {}", python.display(), packages.join(", "));
    }
    Ok(python.to_owned())
}

/// What the head of a script says.
pub fn head(script: &str) -> Head {
    let mut lines = Vec::new();
    let mut packages = Vec::new();
    let mut alone = Vec::new();
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
        let listed = |list: &str| -> Vec<String> {
            list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
        };
        if let Some(list) = words.strip_prefix("requires:") {
            packages.extend(listed(list));
        } else if let Some(list) = words.strip_prefix("requires alone:") {
            alone.extend(listed(list));
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
    Head { lines, packages, alone }
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
            alone: vec![],
        };
        assert_eq!(head(comment), want);
        let docstring =
            "\"\"\"Makes tests/golden/attention.json.\n\nrequires: torch==2.9.0, numpy==2.3.4\n\"\"\"\n# not this\n";
        assert_eq!(head(docstring), want);
        let installed = "\"\"\"Makes it.\n\nRun after `pip install torch==2.9.0 numpy==2.3.4`:\n\"\"\"\n";
        assert_eq!(head(installed).packages, want.packages);
        assert_eq!(head("import x\n"), Head { lines: vec![], packages: vec![], alone: vec![] });
        assert_eq!(head("# requires alone: data==1.0\n").alone, ["data==1.0"]);
    }
}
