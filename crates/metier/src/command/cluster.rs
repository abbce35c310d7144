//! `metier cluster`.

use super::Verdict;
use crate::cluster;
use metier_core::{Error, Result};
use std::ffi::OsString;
use std::process::Command;

/// Start a scheduler or an executor of a cluster, which `metier run --cluster` asks (program `metier-cluster`)
#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "Example: metier cluster scheduler\n         metier cluster executor --scheduler 127.0.0.1:50050"
)]
pub struct Arguments {
    /// `scheduler` or `executor`, and its options; `--help` shows them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// Hands over to the program.
pub fn execute(arguments: &Arguments) -> Result<Verdict> {
    let program = cluster::program()?;
    let status = Command::new(&program)
        .args(&arguments.arguments)
        .status()
        .map_err(|error| Error::io(&program, "run", &error))?;
    match status.code() {
        Some(0) => Ok(Verdict::Fine),
        // It has said why.
        code => std::process::exit(code.unwrap_or(1)),
    }
}
