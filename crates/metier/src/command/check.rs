//! `metier check`.

use super::run::RecipeArguments;
use super::{Global, Verdict};
use crate::stage::Faults;
use metier_core::{Blame, Error, Fault, Place, Result};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Read recipes and report every fault, without running anything
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples: metier check recipes/quickstart.toml\n          metier check recipes")]
pub struct Arguments {
    #[command(flatten)]
    recipe: RecipeArguments,
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    let mut faults = Faults::default();
    let mut recipes = Vec::new();
    for path in files(&arguments.recipe.recipe)? {
        let one = RecipeArguments { recipe: path, ..arguments.recipe.clone() };
        let read = one.load(global).and_then(|recipe| recipe.check_paths().map(|()| recipe));
        recipes.extend(faults.take(read));
    }
    if !faults.0.is_empty() {
        return Err(Error { faults: faults.0, blame: Blame::User });
    }
    if global.json {
        let count = |of: fn(&crate::recipe::Recipe) -> usize| recipes.iter().map(of).sum::<usize>();
        return super::print_json(&json!({
            "faults": [],
            "recipes": recipes.len(),
            "stages": count(|recipe| recipe.stages.len()),
            "checks": count(|recipe| recipe.checks.len()),
        }))
        .map(|()| Verdict::Fine);
    }
    for recipe in &recipes {
        super::print(&format!(
            "{}: no fault in {} assets, {} stages and {} checks\n",
            recipe.path.display(),
            recipe.assets.len(),
            recipe.stages.len(),
            recipe.checks.len()
        ))?;
    }
    Ok(Verdict::Fine)
}

/// The file itself, or the recipes right in a folder, by name.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let failed = |error: std::io::Error| Error::io(path, "list the folder", &error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.extension().is_some_and(|ending| ending == "toml") && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Fault::new(Place::file(path), "the folder holds no recipe")
            .hint("a recipe is a .toml file")
            .into());
    }
    Ok(files)
}
