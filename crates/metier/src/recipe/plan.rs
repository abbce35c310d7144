//! What a run will cost before it starts.

use super::Recipe;
use super::run::Resolved;
use crate::command::{Global, count, duration, size, table};
use crate::stage::{Flow, Machine};
use metier_core::store::{Estimate, Store};
use metier_core::{Fault, Place, Result};
use serde_json::json;
use std::collections::BTreeMap;

/// The cost of every stage.
pub struct Plan {
    /// In the order they run.
    pub stages: Vec<StagePlan>,
    /// What the minutes were worked out with.
    pub machine: Machine,
}

/// The cost of one stage.
pub struct StagePlan {
    /// Its name.
    pub name: String,
    /// Its result is in the store already.
    pub finished: bool,
    /// What it takes.
    pub estimate: Estimate,
    /// What a person should know before.
    pub notes: Vec<String>,
}

/// What the process holds whatever it does: its code, a tokenizer, buffers. Measured on the tiny recipe.
const OF_THE_PROCESS: u64 = 32 << 20;

/// Works through the stages in order, each with what the ones before it are expected to make. Without a store nothing is
/// finished.
pub fn plan(recipe: &Recipe, resolved: &Resolved, store: Option<&Store>, machine: Machine) -> Result<Plan> {
    let mut flows: BTreeMap<String, Flow> = BTreeMap::new();
    for (name, fetched) in &resolved.assets {
        flows.insert(name.clone(), Flow { path: Some(fetched.path.clone()), ..Flow::default() });
    }
    let mut stages = Vec::new();
    for stage in &recipe.stages {
        let inputs = stage
            .inputs
            .iter()
            .map(|(slot, name)| (slot.clone(), flows.get(name).cloned().unwrap_or_default()))
            .collect();
        let (mut estimate, mut flow) = stage.work.plan(&inputs, &machine)?;
        estimate.memory_bytes = estimate.memory_bytes.map(|bytes| bytes.saturating_add(OF_THE_PROCESS));
        let notes = std::mem::take(&mut flow.notes);
        let id = resolved.key(&stage.name)?.id();
        let artifact = store.map(|store| store.find(&id)).transpose()?.flatten();
        if let Some(artifact) = &artifact {
            let figure = |name: &str| artifact.record.figures.get(name).map(|value| *value as u64);
            flow.documents = figure("documents").or(flow.documents);
            flow.bytes = figure("bytes").or(flow.bytes);
            flow.held_out_bytes = figure("held_out_bytes").or(flow.held_out_bytes);
            flow.tokens = figure("tokens").or(flow.tokens);
            flow.path = Some(artifact.path.clone());
        }
        flows.insert(stage.name.clone(), flow);
        stages.push(StagePlan { name: stage.name.clone(), finished: artifact.is_some(), estimate, notes });
    }
    Ok(Plan { stages, machine })
}

impl Plan {
    /// Refuses a run that would need more memory than `--memory` allows, before anything is computed.
    pub fn refuse_over_budget(&self, global: &Global) -> Result<()> {
        let Some(limit) = global.memory else { return Ok(()) };
        let faults = self
            .stages
            .iter()
            .filter(|stage| !stage.finished)
            .filter_map(|stage| {
                let needed = stage.estimate.memory_bytes.filter(|bytes| *bytes > limit)?;
                Some(
                    Fault::new(
                        Place::key(format!("stage `{}`", stage.name)),
                        format!("needs about {} of memory, and --memory allows {}", size(needed), size(limit)),
                    )
                    .hint("allow more, or lower `micro_batch`, `context` or the model's size"),
                )
            })
            .collect();
        metier_core::Error::collect((), faults)
    }

    /// The seconds of all stages still to run.
    pub fn seconds(&self) -> f64 {
        let left = self.stages.iter().filter(|stage| !stage.finished);
        // An empty `sum` of floats is minus zero.
        left.filter_map(|stage| stage.estimate.seconds).fold(0.0, |sum, seconds| sum + seconds)
    }

    /// The plan for people.
    pub fn text(&self) -> String {
        let number = |value: Option<u64>| value.map_or("-".to_owned(), count);
        let bytes = |value: Option<u64>| value.map_or("-".to_owned(), size);
        let rows: Vec<Vec<String>> = self
            .stages
            .iter()
            .map(|stage| {
                let estimate = &stage.estimate;
                vec![
                    stage.name.clone(),
                    number(estimate.rows),
                    number(estimate.tokens),
                    estimate.flop.map_or("-".to_owned(), |flop| format!("{:.3}", flop / 1e12)),
                    bytes(estimate.memory_bytes),
                    bytes(estimate.disk_bytes),
                    if stage.finished {
                        "finished".to_owned()
                    } else {
                        estimate.seconds.map_or("-".to_owned(), |seconds| format!("{:.1}", seconds / 60.0))
                    },
                ]
            })
            .collect();
        let headings = ["plan", "rows", "tokens", "TFLOP", "peak memory", "disk", "minutes"];
        let left = if self.stages.iter().all(|stage| stage.finished) {
            format!("nothing to do: all {} stages are finished", self.stages.len())
        } else {
            format!("about {} in all", duration(self.seconds()))
        };
        let unfinished = self.stages.iter().filter(|stage| !stage.finished);
        let notes: String = unfinished
            .flat_map(|stage| stage.notes.iter().map(move |note| format!("{}: {note}\n", stage.name)))
            .collect();
        format!(
            "{}{notes}{left}; this machine: {:.0} GFLOP/s with {} threads, memory {:.1} GB/s, disk {:.2} GB/s",
            table(&headings, &rows, &[false, true, true, true, true, true, true]),
            self.machine.flop_per_second / 1e9,
            self.machine.threads,
            self.machine.copy_bytes_per_second / 1e9,
            self.machine.disk_bytes_per_second / 1e9,
        )
    }

    /// The plan for programs.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "machine": self.machine,
            "seconds": self.seconds(),
            "stages": self.stages.iter().map(|stage| json!({
                "name": stage.name, "finished": stage.finished, "estimate": stage.estimate, "notes": stage.notes,
            })).collect::<Vec<_>>(),
        })
    }
}
