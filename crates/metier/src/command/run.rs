//! `metier run`.

use super::{Global, Verdict};
use crate::recipe::{Options, Recipe, page, run};
use metier_core::Result;
use metier_core::store::write_atomic;
use std::path::PathBuf;

/// Which recipe, and how it is changed for this run.
#[derive(Debug, Clone, clap::Args)]
pub struct RecipeArguments {
    /// The recipe file
    #[arg(value_name = "RECIPE")]
    pub recipe: PathBuf,
    /// Change one setting: --set training.steps=200
    #[arg(long, value_name = "STAGE.KEY=VALUE")]
    pub set: Vec<String>,
    /// Lay the recipe's [tiny] table over it: the size that tests run
    #[arg(long)]
    pub tiny: bool,
}

impl RecipeArguments {
    /// Reads the recipe.
    pub fn load(&self, global: &Global) -> Result<Recipe> {
        Recipe::load(&self.recipe, &Options { tiny: self.tiny, set: self.set.clone(), seed: global.seed })
    }
}

/// Run a recipe: finished stages are reused, an interrupted one resumes
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: metier run recipes/quickstart.toml --set training.steps=200 --html report.html")]
pub struct Arguments {
    #[command(flatten)]
    recipe: RecipeArguments,
    /// Print the plan and stop
    #[arg(long)]
    dry_run: bool,
    /// Write a page with curves, figures and checks of all stages
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    if arguments.dry_run {
        return super::plan::print_plan(&arguments.recipe, global);
    }
    let recipe = arguments.recipe.load(global)?;
    let report = run::run(&recipe, global)?;
    if let Some(html) = &arguments.html {
        write_atomic(html, page::page(&recipe.head.title, &report.stages, &report.checks)?)?;
    }
    if global.json {
        super::print_line(&report.json())?;
    } else {
        super::print(&report.text())?;
        if let Some(model) = report.stages.iter().rev().find(|stage| stage.artifact.path.join("config.json").exists()) {
            super::print(&format!("\nmodel: {0}\ntalk to it: metier chat {0}\n", model.artifact.path.display()))?;
        }
    }
    Ok(if report.holds() { Verdict::Fine } else { Verdict::CheckFailed })
}
