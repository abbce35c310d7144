//! What is asked for.

use metier_core::settings::Table;
use metier_core::{Error, Fault, Result};
use metier_corpus::select::submodular;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Documents of a part, about, where nobody says how many parts there are.
const PART: u64 = 500;
/// Keys that decide the order of documents.
const ORDERING: [&str; 7] = ["epsilon", "features", "function", "lambda", "layer", "optimizer", "partitions"];

/// Documents that stand for all. They are divided at random into parts; in each they are put in an order in which every next document adds
/// most to those before it, as far as a model can tell: a document is the mean of its hidden states, and two are as similar as the cosine between
/// these. What a document adds, its gain z, becomes its weight 1 + z + z²/2, and documents are drawn by weight. Copies and what is common add
/// little; what is rare adds much (Renduchintala et al. 2023, INGENIOUS, arXiv:2305.06677).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SubsetSettings {
    /// The share of documents that are chosen; more than 0 and less than 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub fraction: f64,
    /// How they are chosen.
    pub choose: Choose,
    /// Which of the subsets that the seed draws: another one for each number.
    pub round: u64,
    /// What gains are divided by before they become weights. The smaller, the more a gain counts.
    #[schemars(range(min = 0.0))]
    pub temperature: f64,
    /// What a set of documents is worth.
    pub function: Worth,
    /// How much being near each other costs in `graph_cut` (0.4 when it is left out), or what `log_det` adds to each similarity of a document to itself (1).
    #[schemars(range(min = 0.0))]
    pub lambda: Option<f64>,
    /// How the document that adds most is found: `lazy` for parts of up to 4,096 documents and else `stochastic` when it is left out.
    pub optimizer: Option<Search>,
    /// With `optimizer = "stochastic"`, the share of the exact gain that may be lost in the mean.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub epsilon: f64,
    /// Parts that documents are divided into, each of two documents or more; of about 500 when it is left out. Memory and time grow with the square of a
    /// part.
    #[schemars(range(min = 1))]
    pub partitions: Option<usize>,
    /// Blocks of the model behind which hidden states are taken; three quarters of all when it is left out.
    #[schemars(range(min = 1))]
    pub layer: Option<usize>,
    /// What documents are compared by.
    pub features: Compared,
}

/// How documents are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Choose {
    /// Drawn by weight.
    Weighted,
    /// Those that come first in the order of each part.
    First,
    /// Drawn all alike, without a model: what other ways of choosing are compared with.
    Even,
}

/// What a set of documents is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Worth {
    /// Every document is near one of the set.
    FacilityLocation,
    /// Near all, far from each other.
    GraphCut,
    /// The volume that the set spans.
    LogDet,
    /// Far from each other.
    DisparitySum,
}

/// How the document that adds most is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Search {
    /// All are looked at in every step.
    Naive,
    /// The same order, but a document is looked at when what it added before is most.
    Lazy,
    /// In every step some are drawn, and the best of them is taken.
    Stochastic,
}

/// What documents are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compared {
    /// Hidden states of the model.
    States,
    /// As many random numbers, which say nothing: what is gained all the same is not gained by what the model knows.
    Noise,
}

impl Default for SubsetSettings {
    fn default() -> Self {
        Self {
            fraction: 0.25,
            choose: Choose::Weighted,
            round: 0,
            temperature: 1.0,
            function: Worth::FacilityLocation,
            lambda: None,
            optimizer: None,
            epsilon: 0.1,
            partitions: None,
            layer: None,
            features: Compared::States,
        }
    }
}

impl SubsetSettings {
    /// Refuses what is out of range or would do nothing, all of it together.
    pub fn check(&self, table: &Table) -> Result<()> {
        let mut faults = Vec::new();
        let mut refuse = |key: &str, bad: bool, message: &str, hint: &str| {
            if bad {
                faults.push(Fault::new(table.place_of(key), message).hint(hint));
            }
        };
        let above = |value: f64| value > 0.0 && value.is_finite();
        let share = |value: f64| value > 0.0 && value < 1.0;
        refuse(
            "fraction",
            !share(self.fraction),
            "this is no share of documents",
            "write a number above 0 and below 1",
        );
        refuse("temperature", !above(self.temperature), "nothing can be divided by it", "write a number above 0");
        refuse("epsilon", !share(self.epsilon), "this is no share of a gain", "write a number above 0 and below 1");
        refuse("lambda", !self.lambda.is_none_or(above), "it is out of range", "write a number above 0");
        let no_lambda = matches!(self.function, Worth::FacilityLocation | Worth::DisparitySum);
        let function = "leave it out, or choose `graph_cut` or `log_det`";
        refuse("lambda", self.lambda.is_some() && no_lambda, "this function has none", function);
        let optimizer = "leave it out, or choose `stochastic`";
        let is_exact = table.contains("epsilon") && self.optimizer != Some(Search::Stochastic);
        refuse("epsilon", is_exact, "only `stochastic` loses anything", optimizer);
        let weightless = table.contains("temperature") && self.choose != Choose::Weighted;
        refuse("temperature", weightless, "no weight decides here", "leave it out, or choose `weighted`");
        let fixed = table.contains("round") && self.choose == Choose::First;
        refuse("round", fixed, "what comes first is the same in every round", "leave it out, or choose `weighted`");
        Error::collect((), faults)
    }

    /// The first key that is written in the table and decides an order.
    pub fn ordering(table: &Table) -> Option<&'static str> {
        ORDERING.into_iter().find(|key| table.contains(key))
    }

    /// What so many documents are ordered by.
    pub fn of(&self, documents: u64) -> submodular::Settings {
        let function = match self.function {
            Worth::FacilityLocation => submodular::Function::FacilityLocation,
            Worth::GraphCut => {
                self.lambda.map_or(submodular::Function::GRAPH_CUT, |lambda| submodular::Function::GraphCut { lambda })
            }
            Worth::LogDet => {
                self.lambda.map_or(submodular::Function::LOG_DET, |lambda| submodular::Function::LogDet { lambda })
            }
            Worth::DisparitySum => submodular::Function::DisparitySum,
        };
        let optimizer = self.optimizer.map(|optimizer| match optimizer {
            Search::Naive => submodular::Optimizer::Naive,
            Search::Lazy => submodular::Optimizer::Lazy,
            Search::Stochastic => submodular::Optimizer::Stochastic { epsilon: self.epsilon },
        });
        let partitions = self.partitions.unwrap_or_else(|| documents.div_ceil(PART).max(1) as usize);
        submodular::Settings { function, optimizer, partitions, temperature: self.temperature }
    }
}
