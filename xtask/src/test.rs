//! Everything that must hold before a change goes in. The cheapest checks come first.

use crate::{assets, binary, generate, shell};
use anyhow::Result;
use std::path::Path;
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
    let metier = binary::build(root, &["--workspace", "--all-targets"])?;
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
