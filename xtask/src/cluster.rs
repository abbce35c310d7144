//! The crate of the cluster, which the default build leaves out: its lints and its tests, with real processes.

use crate::{binary, shell};
use anyhow::Result;
use std::path::Path;

/// Checks it all and stops at the first step that fails.
pub fn run(root: &Path) -> Result<bool> {
    let metier = binary::build(root, &["--workspace", "--bin", "metier"])?;
    let folder = root.join("crates/metier-cluster");
    let steps: [&[&str]; 3] = [
        &["fmt", "--check"],
        &["clippy", "--locked", "--all-targets", "--", "-D", "warnings"],
        &["test", "--locked", "--", "--test-threads", "1"],
    ];
    for step in steps {
        // Its own workspace has its own target folder.
        let mut command = shell::cargo(&folder, step);
        if !shell::runs(command.env("METIER", &metier).env_remove("CARGO_TARGET_DIR"))? {
            println!("xtask cluster: failed at `cargo {}`", step[0]);
            return Ok(false);
        }
    }
    println!("xtask cluster: all passed");
    Ok(true)
}
