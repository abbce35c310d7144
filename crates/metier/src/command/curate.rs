//! `metier curate`.

use super::{Global, Verdict, count, named, stage, table};
use metier_core::page::short;
use metier_core::progress::Progress;
use metier_core::store;
use metier_core::{Fault, Place, Result};
use metier_corpus::stats::{Attribute, Stats, page, stats};
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples: metier curate from=docs/ read.method=text select.method=hold_out\n          metier curate train-tagger from=labeled.jsonl label_key=subject\n          metier curate stats curate --html stats.html\nSettings are written as in a recipe; inputs are paths, artifacts' ids or stage names. `metier explain curate` and `metier explain train_tagger` list the keys."
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
    /// Say of each attribute how many documents have it and how its scores are spread
    Stats(StatsArguments),
}

#[derive(Debug, clap::Args)]
struct StatsArguments {
    /// Documents with what was said of them: a curated folder, one in Dolma's layout, JSON lines, an artifact's id or a stage name
    #[arg(value_name = "DOCUMENTS")]
    from: String,
    /// Write a page with plots too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    let arguments = match &arguments.verb {
        None => return stage::execute("curate", &arguments.stage, global),
        Some(Verb::TrainTagger(stage)) => return stage::execute("train_tagger", stage, global),
        Some(Verb::Stats(arguments)) => arguments,
    };
    if global.cluster.is_some() {
        return Err(Fault::new(Place::key("--cluster"), "`stats` has nothing for a cluster to do")
            .hint("leave it out")
            .into());
    }
    let (_, path) = named(&arguments.from, "documents", global)?;
    let progress = Progress::new("documents", None, "documents");
    let told = stats(&path, &progress)?;
    progress.finish();
    if let Some(html) = &arguments.html {
        store::write_atomic(html, page(&told))?;
    }
    if global.json {
        super::print_json(&json!(told))?;
    } else {
        super::print(&text(&told))?;
    }
    Ok(Verdict::Fine)
}

fn text(told: &Stats) -> String {
    let row = |(name, attribute): (&String, &Attribute)| {
        let percent = |share: f64| format!("{:.2} %", share * 100.0);
        let mut cells = vec![
            name.clone(),
            count(attribute.documents),
            percent(attribute.share),
            count(attribute.spans),
            percent(attribute.covered),
        ];
        cells.extend(match &attribute.scores {
            Some(scores) => {
                let [low, median, high] = [0.05, 0.5, 0.95].map(|share| scores.quantile(share));
                [scores.least, low, median, high, scores.largest].map(short)
            }
            None => [const { String::new() }; 5],
        });
        cells
    };
    let rows: Vec<_> = told.attributes.iter().map(row).collect();
    let headings =
        ["attribute", "documents", "share", "spans", "in spans", "least", "5 %", "median", "95 %", "largest"];
    let mut right = [true; 10];
    right[0] = false;
    let sizes = told.texts.iter().map(|(name, summary)| format!("{} {name}", short(summary.mean)));
    let sizes = sizes.collect::<Vec<_>>().join(", ");
    let first = format!("{} documents; in the mean {sizes}\n", count(told.documents));
    if rows.is_empty() {
        first + "no tagger has said anything of them\n"
    } else {
        first + &table(&headings, &rows, &right)
    }
}
