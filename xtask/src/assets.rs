//! What some tests use and the repository does not hold: real models, fetched by the program itself as a recipe names
//! them; Python clients of the server, with the packages their scripts name; and a browser, if the machine has one.

use crate::{python, shell};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Each asset by the name tests ask for, and the recipe whose `[[asset]]` says where it comes from.
const ASSETS: [(&str, &str); 2] = [("all-minilm", "fixtures/assets.toml"), ("smollm2", "recipes/quickstart.toml")];

/// Each Python environment by the name tests ask for, and the script that names its packages.
const CLIENTS: [(&str, &str); 3] = [
    ("openai client", "crates/metier/tests/serve/openai_client.py"),
    ("page client", "crates/metier/tests/serve/page.py"),
    ("schema checker", "crates/metier-program/tests/schemas/schemas.py"),
];
/// What Chromium is called on a machine that has it.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Fetches every asset and returns the environment variables that tests read, with their values.
pub fn fetch(root: &Path, metier: Option<&Path>) -> Result<Vec<(String, String)>> {
    let mut variables = Vec::new();
    for (name, _) in ASSETS {
        variables.push((variable(name), fetch_one(root, metier, name)?));
    }
    for (name, script) in CLIENTS {
        let head = python::head(&std::fs::read_to_string(root.join(script))?);
        let folder = root.join("target/clients").join(name.replace(' ', "-"));
        let python = python::environment(&folder, &head)?;
        variables.push((variable(name), python.display().to_string()));
    }
    match browser() {
        Some(path) => variables.push((variable("chromium"), path)),
        None => eprintln!("no Chromium is here: the test of the page is left out (Debian: `apt install chromium`)"),
    }
    Ok(variables)
}

/// Fetches the asset that tests call `name` and returns its path.
pub fn fetch_one(root: &Path, metier: Option<&Path>, name: &str) -> Result<String> {
    let (_, recipe) = ASSETS.iter().find(|asset| asset.0 == name).with_context(|| format!("no asset `{name}`"))?;
    let text = shell::output(&mut self::metier(root, metier, &["fetch", recipe, name, "--json"]))
        .with_context(|| format!("the asset `{name}` of {recipe} could not be fetched"))?;
    path_in(&text, name)
        .with_context(|| format!("`metier fetch {recipe} {name} --json` printed no path for it: {text}"))
}

/// The first Chromium on the search path.
fn browser() -> Option<String> {
    let folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let mut found = BROWSERS.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    found.find(|path| path.is_file()).map(|path| path.display().to_string())
}

/// The environment variable of an asset; `metier_testkit::asset` reads it.
fn variable(name: &str) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("METIER_ASSET_{}", name.chars().map(upper).collect::<String>())
}

/// The command: the given binary, or built and run by cargo.
pub fn metier(root: &Path, binary: Option<&Path>, arguments: &[&str]) -> Command {
    match binary {
        Some(binary) => {
            let mut command = Command::new(binary);
            command.args(arguments).current_dir(root);
            command
        }
        None => shell::cargo(root, &[&["run", "--quiet", "--package", "metier", "--"], arguments].concat()),
    }
}

/// The path of the asset `name` in what `fetch --json` printed: an object or a list of objects with `name` and `path`.
fn path_in(text: &str, name: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    let list = value.get("assets").unwrap_or(&value);
    let entries = list.as_array().map_or_else(|| std::slice::from_ref(list), Vec::as_slice);
    let entry = entries.iter().find(|entry| entry.get("name").is_none_or(|n| n.as_str() == Some(name)))?;
    Some(entry.get("path")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_found() {
        assert_eq!(path_in(r#"{"path": "/a/b"}"#, "smollm2").as_deref(), Some("/a/b"));
        let many = r#"{"assets": [{"name": "rfc", "path": "/r"}, {"name": "smollm2", "path": "/s"}]}"#;
        assert_eq!(path_in(many, "smollm2").as_deref(), Some("/s"));
        assert_eq!(path_in(r#"{"name": "rfc", "path": "/r"}"#, "smollm2"), None);
        assert_eq!(variable("all-minilm"), "METIER_ASSET_ALL_MINILM");
    }
}
