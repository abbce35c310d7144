//! Everything that must hold before a change goes in. The cheapest checks come first.

use crate::{assets, generate, shell};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Runs it all and stops at the first step that fails. `offline` leaves out the tests that need a fetched model.
pub fn run(root: &Path, offline: bool, compare: bool) -> Result<bool> {
    let start = Instant::now();
    if !shell::runs(&mut shell::cargo(root, &["fmt", "--all", "--check"]))? {
        return Ok(stop("the format: `cargo fmt` mends it"));
    }
    if !crate::tidy(root)? {
        return Ok(stop("tidy"));
    }
    if !shell::runs(&mut shell::cargo(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))? {
        return Ok(stop("clippy"));
    }
    // One build serves the tests and the calls of the command below: every target, so that features are the same.
    let metier = build(root)?;
    if compare && !generate::check(root, Some(&metier))? {
        return Ok(stop("the generated files: `cargo xtask generate` mends them"));
    }
    let variables = if offline { Vec::new() } else { assets::fetch(root, Some(&metier))? };
    if !shell::runs(&mut shell::cargo(root, &["test", "--workspace", "--doc", "--quiet"]))? {
        return Ok(stop("the examples in the documentation"));
    }
    let next = shell::has_cargo_command(root, "nextest");
    let mut tests = if next {
        shell::cargo(root, &["nextest", "run", "--workspace"])
    } else {
        eprintln!("\ncargo-nextest is not installed: `cargo test` runs the tests instead");
        shell::cargo(root, &["test", "--workspace", "--all-targets"])
    };
    if !shell::runs(tests.envs(variables.iter().map(|(name, value)| (name, value))))? {
        return Ok(stop("the tests"));
    }
    let assets = if offline {
        "assets tier left out: the tests that need a fetched model returned at once (--offline)".to_owned()
    } else {
        format!("assets tier included: {} fetched", variables.len())
    };
    println!("xtask test: all passed in {:.1} minutes; {assets}", start.elapsed().as_secs_f64() / 60.0);
    Ok(true)
}

fn stop(what: &str) -> bool {
    println!("xtask test: failed at {what}");
    false
}

/// Builds every target of the workspace and returns the path of the command.
fn build(root: &Path) -> Result<PathBuf> {
    let arguments = ["build", "--workspace", "--all-targets", "--message-format=json-render-diagnostics"];
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
