//! `metier`: documents in, a specialist language model out.
//!
//! The only crate that knows all others. [`command`] holds one file for each verb, [`recipe`] the
//! runner, [`stage`] the stage verbs that recipes are made of, [`fetch`] the way models and data
//! come to this machine, [`cluster`] the program that asks other machines.

mod bench;
mod cluster;
mod command;
mod fetch;
mod recipe;
mod stage;

use clap::FromArgMatches;
use metier_core::Blame;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = metier_corpus::pdf::answer() {
        return code;
    }
    let matches = command::line().try_get_matches();
    let arguments = match matches.and_then(|matches| command::Arguments::from_arg_matches(&matches)) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let json = arguments.global.json;
    match command::execute(arguments) {
        Ok(command::Verdict::Fine) => ExitCode::SUCCESS,
        Ok(command::Verdict::CheckFailed) => ExitCode::from(1),
        Err(error) => {
            command::report_error(&error, json);
            ExitCode::from(match error.blame {
                Blame::User => 2,
                Blame::Program => 70,
            })
        }
    }
}
