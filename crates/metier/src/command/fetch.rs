//! `metier fetch`.

use super::run::RecipeArguments;
use super::{Global, Verdict};
use crate::fetch::Cache;
use metier_core::{Fault, Place, Result};
use serde_json::json;

/// Bring a recipe's models and data to this machine
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: metier fetch recipes/quickstart.toml smollm2")]
pub struct Arguments {
    #[command(flatten)]
    recipe: RecipeArguments,
    /// Only these assets
    #[arg(value_name = "ASSET")]
    assets: Vec<String>,
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    let recipe = arguments.recipe.load(global)?;
    let faults = arguments
        .assets
        .iter()
        .filter(|name| recipe.asset(name).is_none())
        .map(|name| {
            let known: Vec<_> = recipe.assets.iter().map(|asset| asset.name.as_str()).collect();
            Fault::new(Place::file(&recipe.path).with_key(name), "the recipe has no asset of this name")
                .hint(format!("its assets: {}", known.join(", ")))
        })
        .collect();
    metier_core::Error::collect((), faults)?;
    let cache = Cache::open()?;
    let mut out = Vec::new();
    for asset in &recipe.assets {
        if arguments.assets.is_empty() || arguments.assets.contains(&asset.name) {
            let fetched = crate::fetch::fetch(asset, &recipe.folder(), &cache, global.offline)?;
            if !global.json {
                super::print(&format!("{}  {}  {}\n", asset.name, super::size(fetched.bytes), fetched.path.display()))?;
            }
            out.push(json!({
                "name": asset.name, "path": fetched.path, "id": fetched.id, "source": fetched.source,
                "bytes": fetched.bytes, "license": asset.license,
            }));
        }
    }
    if global.json {
        super::print_json(&json!({ "assets": out }))?;
    }
    Ok(Verdict::Fine)
}
