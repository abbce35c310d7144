//! Which linear layers of a model an adapter attaches to.

use metier_core::fault::near_miss;
use metier_core::{Error, Fault, Place, Result};
use metier_model::{Decoder, Site};
use std::collections::BTreeSet;

/// The target that stands for every linear layer of a block.
pub const ALL_LINEAR: &str = "all-linear";

/// The setting of adapters that attach to every linear layer unless told otherwise.
pub(crate) fn all() -> Vec<String> {
    vec![ALL_LINEAR.to_owned()]
}

/// Whether `pattern` is the name of a layer or its last parts.
pub(crate) fn ends_with(name: &str, pattern: &str) -> bool {
    name.strip_suffix(pattern).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// The sites of a model that `targets` name; unknown names are refused together.
pub(crate) fn choose(decoder: &Decoder, targets: &[String]) -> Result<Vec<Site>> {
    let sites = decoder.sites();
    let known: BTreeSet<&str> = sites.iter().map(Site::leaf).collect();
    let known: Vec<&str> = known.into_iter().collect();
    let is_found = |target: &String| target == ALL_LINEAR || sites.iter().any(|site| ends_with(&site.name, target));
    let faults = targets.iter().filter(|target| !is_found(target)).map(|target| {
        let list = format!("known: {}, {ALL_LINEAR}", known.join(", "));
        let hint = match near_miss(target, known.iter().copied().chain([ALL_LINEAR])) {
            Some(near) => format!("did you mean `{near}`? {list}"),
            None => list,
        };
        Fault::new(Place::key("adapter.targets"), format!("the model has no layer `{target}`")).hint(hint)
    });
    Error::collect((), faults.collect())?;
    let is_chosen = |site: &Site| targets.iter().any(|target| target == ALL_LINEAR || ends_with(&site.name, target));
    Ok(sites.into_iter().filter(is_chosen).collect())
}

/// Sites as the key `target_modules` of the PEFT library names them: last parts of names where those are enough.
pub(crate) fn modules(decoder: &Decoder, sites: &[Site]) -> Vec<String> {
    let leaves: BTreeSet<&str> = sites.iter().map(Site::leaf).collect();
    let alike = decoder.sites().iter().filter(|site| leaves.contains(site.leaf())).count();
    if alike == sites.len() {
        leaves.into_iter().map(str::to_owned).collect()
    } else {
        sites.iter().map(|site| site.name.clone()).collect()
    }
}

/// Faults of settings, gathered.
pub(crate) struct Check<'a> {
    place: &'a Place,
    faults: Vec<Fault>,
}

impl<'a> Check<'a> {
    pub(crate) fn new(place: &'a Place) -> Self {
        Self { place, faults: Vec::new() }
    }

    /// Notes a fault of a setting unless it is good.
    pub(crate) fn require(&mut self, key: &str, value: impl std::fmt::Display, is_good: bool, hint: &str) {
        if !is_good {
            let key = self.place.key.as_ref().map_or_else(|| key.to_owned(), |table| format!("{table}.{key}"));
            let fault = Fault::new(self.place.clone().with_key(key), format!("{value} is out of range"));
            self.faults.push(fault.hint(hint));
        }
    }

    /// A width or a number of tokens.
    pub(crate) fn count(&mut self, key: &str, value: usize) {
        self.require(key, value, value >= 1, "it is at least 1");
    }

    /// A factor.
    pub(crate) fn positive(&mut self, key: &str, value: f64) {
        self.require(key, value, value.is_finite() && value > 0.0, "it is above 0");
    }

    /// A rate of dropout.
    pub(crate) fn dropout(&mut self, value: f64) {
        self.require("dropout", value, (0.0..1.0).contains(&value), "it is at least 0 and below 1");
    }

    /// The layers that are adapted.
    pub(crate) fn targets(&mut self, targets: &[String]) {
        if targets.is_empty() {
            let fault = Fault::new(self.place.clone().with_key("targets"), "it names no layer");
            self.faults.push(fault.hint(format!("write [\"{ALL_LINEAR}\"] for all of them")));
        }
    }

    /// `value` when nothing was noted.
    pub(crate) fn done<T>(self, value: T) -> Result<T> {
        Error::collect(value, self.faults)
    }
}

/// Refuses ranks above the smaller side of the matrix that they are to change.
pub(crate) fn check_ranks<'s>(ranks: impl IntoIterator<Item = (&'s Site, usize)>) -> Result<()> {
    let most = |site: &Site| site.inputs.min(site.outputs);
    let high = ranks.into_iter().filter(|(site, rank)| *rank > most(site));
    let faults = high.map(|(site, rank)| {
        let (outputs, inputs) = (site.outputs, site.inputs);
        let message = format!("rank {rank} is above what a matrix of {outputs} by {inputs} can have");
        Fault::new(Place::key(&site.name), message)
            .hint(format!("write at most {}, or leave it out of the targets", most(site)))
    });
    Error::collect((), faults.collect())
}
