//! `metier curate`.

use super::{Global, Verdict, stage};
use metier_core::Result;

/// Read raw files, clean, tag, drop duplicates, and hold documents out; settings are written as in a recipe
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples: metier curate from=docs/ read.method=text select.method=hold_out\n          metier curate train-tagger from=labeled.jsonl label_key=subject\nInputs are paths, artifacts' ids or stage names. `metier explain curate` and `metier explain train_tagger` list the keys."
)]
#[group(skip)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    stage: stage::Arguments,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Train a classifier of texts for the tagger `linear`, from labeled texts
    #[command(
        after_help = "Example: metier curate train-tagger from=labeled.jsonl label_key=subject test=held_out.jsonl\nSettings are written as in a recipe. `metier explain train_tagger` lists the keys."
    )]
    TrainTagger(stage::Arguments),
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    match &arguments.verb {
        Some(Verb::TrainTagger(stage)) => stage::execute("train_tagger", stage, global),
        None => stage::execute("curate", &arguments.stage, global),
    }
}
