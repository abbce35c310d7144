//! The repository's own tasks. `cargo xtask` alone lists them.

mod assets;
mod binary;
mod cluster;
mod generate;
mod golden;
mod new_part;
mod python;
mod race;
mod shell;
mod test;
mod tidy;

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The tasks and what each does.
pub const TASKS: [(&str, &str); 8] = [
    ("tidy [--generated]", "hold the house rules; every fault with its file and line"),
    ("generate [--check]", "write (or compare) schemas/, docs/parts/, recipes/README.md and bench/README.md"),
    ("new-part FAMILY NAME", "write a part's file, its two lines in the list and an empty golden"),
    ("golden [NAME [ARGUMENTS]]", "list the scripts that make goldens, or run one in an environment of its own"),
    ("assets", "fetch the real models that some tests use, and print where they are"),
    ("race [NAME [--rounds N] ...]", "list the races with other programs, or run one and write its receipt"),
    ("cluster", "check and test crates/metier-cluster, which nothing else builds"),
    ("test [--offline] [--no-generate]", "everything: format, lints, tidy, generated files, all tests"),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[&str]) -> Result<ExitCode> {
    let root = root();
    let done = match arguments {
        [] | ["help" | "--help" | "-h"] => {
            for (usage, what) in TASKS {
                println!("cargo xtask {usage:<33} {what}");
            }
            true
        }
        ["tidy"] => tidy(&root)?,
        // Both speak before the task ends.
        ["tidy", "--generated"] => tidy(&root)? & generate::check(&root, None)?,
        ["generate"] => generate::write(&root, None)?,
        ["generate", "--check"] => generate::check(&root, None)?,
        ["new-part", family, name] => {
            for path in new_part::write(&root, family, name)? {
                println!("{path}");
            }
            true
        }
        ["golden"] => golden::list(&root)?,
        ["golden", name, arguments @ ..] => golden::run(&root, name, arguments)?,
        ["race", arguments @ ..] => race::run(&root, arguments)?,
        ["assets"] => {
            for (variable, path) in assets::fetch(&root, None)? {
                println!("export {variable}={}", shell::quoted(&path));
            }
            true
        }
        ["cluster"] => cluster::run(&root)?,
        ["test", flags @ ..] if flags.iter().all(|flag| ["--offline", "--no-generate"].contains(flag)) => {
            test::run(&root, flags.contains(&"--offline"), !flags.contains(&"--no-generate"))?
        }
        [task, ..] => bail!("`{task}` is no task, or not with these arguments; `cargo xtask` lists the tasks"),
    };
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the faults; true when there is none.
fn tidy(root: &Path) -> Result<bool> {
    let faults = tidy::check(root)?;
    for fault in &faults {
        println!("{fault}");
    }
    match faults.len() {
        0 => println!("tidy: no fault"),
        1 => println!("tidy: 1 fault"),
        count => println!("tidy: {count} faults"),
    }
    Ok(faults.is_empty())
}

/// The repository's root: the folder above this crate, or where the task was called when the crate has moved.
fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("xtask"), PathBuf::from);
    manifest.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}
