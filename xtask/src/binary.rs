//! The command as a binary, built by cargo.

use crate::shell;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// Runs `cargo build` with these flags and returns the path of the command.
pub fn build(root: &Path, flags: &[&str]) -> Result<PathBuf> {
    let arguments = [&["build", "--message-format=json-render-diagnostics"], flags].concat();
    let messages = shell::output(&mut shell::cargo(root, &arguments))?;
    executable(&messages).context("cargo built no binary `metier`")
}

/// The path of the binary `metier` in cargo's messages.
fn executable(messages: &str) -> Option<PathBuf> {
    messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()).find_map(|message| {
        let target = &message["target"];
        let is_binary = target["name"] == "metier" && target["kind"][0] == "bin" && message["profile"]["test"] == false;
        if is_binary { message["executable"].as_str().map(PathBuf::from) } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_found_among_cargo_messages() {
        let messages = r#"not json
{"reason":"compiler-artifact","target":{"name":"metier","kind":["bin"]},"profile":{"test":true},"executable":"/t/deps/metier-1"}
{"reason":"compiler-artifact","target":{"name":"metier","kind":["bin"]},"profile":{"test":false},"executable":"/t/metier"}"#;
        assert_eq!(executable(messages), Some(PathBuf::from("/t/metier")));
        assert_eq!(executable(""), None);
    }
}
