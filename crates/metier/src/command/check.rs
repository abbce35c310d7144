//! `metier check`.

use super::run::RecipeArguments;
use super::{Global, Verdict};
use metier_core::Result;
use serde_json::json;

/// Read a recipe and report every fault, without running anything
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: metier check recipes/quickstart.toml")]
pub struct Arguments {
    #[command(flatten)]
    recipe: RecipeArguments,
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    let recipe = arguments.recipe.load(global)?;
    recipe.check_paths()?;
    if global.json {
        super::print_json(&json!({ "faults": [], "stages": recipe.stages.len(), "checks": recipe.checks.len() }))?;
    } else {
        super::print(&format!(
            "{}: no fault in {} assets, {} stages and {} checks\n",
            arguments.recipe.recipe.display(),
            recipe.assets.len(),
            recipe.stages.len(),
            recipe.checks.len()
        ))?;
    }
    Ok(Verdict::Fine)
}
