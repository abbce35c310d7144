//! `metier mix`.

use super::{Global, Verdict, stage};
use metier_core::Result;
use metier_core::progress::Progress;
use metier_corpus::mix::{StreamReport, mix_config};
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Choose documents, and change their text, by what taggers said of them; settings are written as in a recipe
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples: metier mix from=curate 'preset=[\"gopher\"]'\n          metier mix folder=wikipedia 'exclude=[\"$.attributes[?(@.exp__c4_v2__has_javascript[0][2] > 0.5)]\"]'\n          metier mix --config mixer.yaml\nInputs are paths, artifacts' ids or stage names. `metier explain mix` lists the keys."
)]
#[group(skip)]
pub struct Arguments {
    /// Do what a configuration of Dolma's mixer says, YAML or JSON, and write where it says
    #[arg(long, value_name = "FILE", conflicts_with = "settings")]
    config: Option<PathBuf>,
    /// With --config: let rules name attributes that no document has, and go on without files of attributes that are missing
    #[arg(long, requires = "config")]
    allow_missing: bool,
    #[command(flatten)]
    stage: stage::Arguments,
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    match &arguments.config {
        Some(path) => run(path, arguments, global),
        None => stage::execute("mix", &arguments.stage, global),
    }
}

fn run(path: &Path, arguments: &Arguments, global: &Global) -> Result<Verdict> {
    let progress = Progress::new("documents", None, "documents");
    let streams = mix_config(path, arguments.allow_missing, arguments.stage.dry_run, &progress)?;
    progress.finish();
    if global.json {
        super::print_json(&json!({ "streams": streams }))?;
    } else {
        super::print(&streams.iter().map(text).collect::<String>())?;
    }
    Ok(Verdict::Fine)
}

fn text(stream: &StreamReport) -> String {
    let StreamReport { name, read, kept, dropped, written, skipped } = stream;
    let mut out =
        format!("{name}: {read} documents read, {kept} kept, {written} files written, {skipped} there already\n");
    for (reason, count) in dropped {
        let _ = writeln!(out, "  {count} dropped: {reason}");
    }
    out
}
