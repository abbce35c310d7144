//! `metier plan`.

use super::run::RecipeArguments;
use super::{Global, Verdict};
use crate::recipe::{Recipe, calibrate, plan, run};
use metier_core::Result;
use metier_core::store::Store;

/// Say what a run will cost: rows, tokens, FLOP, memory, disk and minutes on this machine
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: metier plan recipes/quickstart.toml")]
pub struct Arguments {
    #[command(flatten)]
    recipe: RecipeArguments,
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    print_plan(&arguments.recipe, global)
}

/// Works out the plan and prints it.
pub fn print_plan(arguments: &RecipeArguments, global: &Global) -> Result<Verdict> {
    print_plan_of(&arguments.load(global)?, global)
}

/// Works out the plan of a recipe that is read already, and prints it.
pub fn print_plan_of(recipe: &Recipe, global: &Global) -> Result<Verdict> {
    let resolved = run::resolve(recipe, global)?;
    let store = Store::open_if_any(&global.store)?;
    let plan = plan::plan(recipe, &resolved, store.as_ref(), calibrate::measure(&global.store)?)?;
    if global.json {
        super::print_json(&plan.json())?;
    } else {
        super::print(&format!("{}\n", plan.text()))?;
    }
    plan.refuse_over_budget(global)?;
    Ok(Verdict::Fine)
}
