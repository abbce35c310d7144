//! Recipes: assets, stages that form a graph by name, and checks, read from one TOML file.

pub mod calibrate;
mod condition;
mod load;
pub mod page;
pub mod plan;
pub mod run;
pub mod schema;

use crate::fetch::{Asset, Fetched};
use crate::stage::{Verb, Work};
pub use condition::Condition;
pub use load::{Options, set_each};
use metier_core::{Fault, Place, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The `[recipe]` table: what this is, where it comes from and what it claims.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// One line that says what comes out.
    pub title: String,
    /// The published work it follows, or who made it.
    pub source: String,
    /// What the work claims, in one sentence.
    #[serde(default)]
    pub claim: String,
    /// Decides every random choice, together with each stage's name.
    #[serde(default)]
    pub seed: u64,
}

/// A stage of a recipe.
pub struct Stage {
    /// Unique in the recipe.
    pub name: String,
    /// What it does.
    pub verb: &'static Verb,
    /// By key (`from`, `texts.domain`): the name of a stage or an asset.
    pub inputs: BTreeMap<String, String>,
    /// Added to the recipe's seed.
    pub seed: u64,
    /// Its settings, read.
    pub work: Box<dyn Work>,
    /// Where it is written.
    pub place: Place,
}

/// A recipe without a fault that can be seen before running; stages are in an order that respects
/// their inputs.
pub struct Recipe {
    /// The file.
    pub path: PathBuf,
    /// The file's name without its ending.
    pub slug: String,
    /// The `[recipe]` table.
    pub head: Head,
    /// What it is made from.
    pub assets: Vec<Asset>,
    /// Inputs from outside the recipe, by name: of a stage run from the command line.
    pub external: BTreeMap<String, Fetched>,
    /// What it does.
    pub stages: Vec<Stage>,
    /// What must hold afterwards.
    pub checks: Vec<Condition>,
    /// Whether the `[tiny]` table was laid over it: its checks are then for information only, because their
    /// bounds are meant for the full size.
    pub tiny: bool,
}

impl Recipe {
    /// The asset called `name`.
    pub fn asset(&self, name: &str) -> Option<&Asset> {
        self.assets.iter().find(|asset| asset.name == name)
    }

    /// The number that decides the random choices of a stage.
    pub fn seed_of(&self, stage: &Stage) -> u64 {
        self.head.seed.wrapping_add(stage.seed)
    }

    /// The folder that paths in the recipe are relative to.
    pub fn folder(&self) -> PathBuf {
        self.path.parent().map(std::path::Path::to_path_buf).unwrap_or_default()
    }

    /// Every file and folder named by path is there; nothing else is opened.
    pub fn check_paths(&self) -> Result<()> {
        let mut faults = Vec::new();
        for asset in &self.assets {
            if let [only] = asset.sources.as_slice()
                && let Some(path) = &only.path
            {
                let full = self.folder().join(path);
                if !full.exists() {
                    faults.push(
                        Fault::new(
                            Place::file(&self.path).with_key(format!("asset `{}`", asset.name)),
                            format!("`{path}` is not there"),
                        )
                        .hint(format!("looked for {}; paths are relative to the recipe's folder", full.display())),
                    );
                }
            }
        }
        metier_core::Error::collect((), faults)
    }
}
