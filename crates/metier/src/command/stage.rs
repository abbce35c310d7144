//! `metier advise`, `blend`, `curate`, `diversity`, `synthesize`, `mine`, `pack`, `create`, `eval`, `judge`, `merge`, `fit`, `importance`, `repeats`, `semantic`, `subset`, `export`: one stage from the command line.

use super::{Global, Verdict};
use crate::recipe::{Recipe, run};
use metier_core::Result;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples: metier curate from=docs/ read.method=text select.method=hold_out\n          metier pack from=curate tokenizer=model.gguf\n          metier pack examples=chat.jsonl tokenizer=model.gguf longest=512 longer=drop\n          metier eval model=specialist texts.domain=curate\n          metier eval model=specialist questions=asked.jsonl ask.method=open\n          metier fit table=sweep.csv tolerance=0.05\nSettings are written as in a recipe; inputs are paths, artifacts' ids or stage names. `metier explain train` lists the keys."
)]
pub struct Arguments {
    /// A key of the stage and its value: steps=100, `filter='[{ method = "rfc_pages" }]'`
    #[arg(value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Print the plan and stop
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs the verb called `verb` as a recipe of one stage.
pub fn execute(verb: &str, arguments: &Arguments, global: &Global) -> Result<Verdict> {
    let recipe = Recipe::one_stage(verb, &arguments.settings, global)?;
    if arguments.dry_run {
        return super::plan::print_plan_of(&recipe, global);
    }
    let report = run::run(&recipe, global)?;
    if global.json {
        super::print_line(&report.json())?;
    } else {
        super::print(&report.text())?;
        for stage in &report.stages {
            super::print(&format!("\n{}\n", stage.artifact.path.display()))?;
        }
    }
    Ok(Verdict::Fine)
}
