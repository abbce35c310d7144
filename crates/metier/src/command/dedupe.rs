//! `metier dedupe`.

use super::{Global, Verdict, stage};
use metier_core::Result;
use metier_core::progress::Progress;
use metier_core::seed::Seed;
use metier_corpus::dedup::bloom::{ConfigReport, dedupe_config};
use serde_json::json;
use std::path::PathBuf;

/// Tag documents, paragraphs or sequences of words that were seen before; settings are written as in a recipe
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples: metier dedupe from=curate by=paragraph skip_empty=true\n          metier dedupe --config dedupe.yaml\nInputs are paths, artifacts' ids or stage names. `metier explain dedupe` lists the keys."
)]
#[group(skip)]
pub struct Arguments {
    /// Do what a configuration of Dolma's deduper says, YAML or JSON, and write where it says
    #[arg(long, value_name = "FILE", conflicts_with = "settings")]
    config: Option<PathBuf>,
    #[command(flatten)]
    stage: stage::Arguments,
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    let Some(path) = &arguments.config else { return stage::execute("dedupe", &arguments.stage, global) };
    let progress = Progress::new("documents", None, "documents");
    let report = dedupe_config(path, arguments.stage.dry_run, Seed::new(global.seed.unwrap_or_default()), &progress)?;
    progress.finish();
    if global.json {
        super::print_json(&json!(report))?;
    } else {
        let ConfigReport { documents, tagged, written, skipped } = report;
        super::print(&format!(
            "{documents} documents read, {tagged} with something seen before, {written} files written, {skipped} there already\n"
        ))?;
    }
    Ok(Verdict::Fine)
}
