//! Running a recipe: finished stages are reused, interrupted ones resume, the rest run in order.

use super::{Recipe, calibrate, plan};
use crate::command::{Global, count, duration, size, table, talk};
use crate::fetch::{self, Cache, Fetched};
use crate::stage::{Context, Input, Machine};
use metier_core::seed::Seed;
use metier_core::store::{Artifact, Estimate, InputKind, InputRecord, Key, Record, Spent, Store};
use metier_core::{Error, Place, Result};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What a run came to.
pub struct Report {
    /// By stage, in the order they ran.
    pub stages: Vec<StageReport>,
    /// By check: its text, both values and whether it holds.
    pub checks: Vec<CheckReport>,
    /// Wall-clock seconds of this run.
    pub seconds: f64,
    tiny: bool,
}

/// One stage of a run.
pub struct StageReport {
    /// Its name.
    pub name: String,
    /// Whether a finished artifact was taken.
    pub reused: bool,
    /// What it made.
    pub artifact: Artifact,
}

/// One check of a run.
pub struct CheckReport {
    /// As the recipe writes it.
    pub text: String,
    /// Left and right value.
    pub values: Option<(f64, f64)>,
    /// Whether it holds; false when a figure is missing.
    pub holds: bool,
}

/// Models and data of a recipe as they lie on this machine, and what each stage's result is called.
pub struct Resolved {
    /// By asset name.
    pub assets: BTreeMap<String, Fetched>,
    /// By stage name.
    pub keys: BTreeMap<String, Key>,
}

impl Resolved {
    /// The key of a stage that is in the recipe.
    pub fn key(&self, stage: &str) -> Result<&Key> {
        self.keys.get(stage).ok_or_else(|| Error::program(format!("stage `{stage}` has no key")))
    }
}

/// Brings the assets that stages use, and works out each stage's key from settings and inputs alone.
pub fn resolve(recipe: &Recipe, global: &Global) -> Result<Resolved> {
    recipe.check_paths()?;
    let cache = Cache::open()?;
    let mut assets = recipe.external.clone();
    for asset in &recipe.assets {
        if recipe.stages.iter().any(|stage| stage.inputs.values().any(|name| *name == asset.name)) {
            let fetched = fetch::fetch(asset, &recipe.folder(), &cache, global.offline)
                .map_err(|error| error.in_file(&recipe.path))?;
            assets.insert(asset.name.clone(), fetched);
        }
    }
    let keys = keys(recipe, |name| assets.get(name).map(|fetched| fetched.id.clone()));
    Ok(Resolved { assets, keys })
}

/// The keys of all stages whose inputs are known.
pub fn keys(recipe: &Recipe, asset_id: impl Fn(&str) -> Option<String>) -> BTreeMap<String, Key> {
    let mut keys: BTreeMap<String, Key> = BTreeMap::new();
    for stage in &recipe.stages {
        let inputs: Option<BTreeMap<String, String>> = stage
            .inputs
            .iter()
            .map(|(slot, name)| {
                let id = keys.get(name).map(Key::id).or_else(|| asset_id(name))?;
                Some((slot.clone(), id))
            })
            .collect();
        if let Some(inputs) = inputs {
            let licenses = stage
                .inputs
                .iter()
                .filter_map(|(slot, name)| Some((format!("{slot} license"), recipe.asset(name)?.license.clone()?)));
            let inputs = inputs.into_iter().chain(licenses).collect();
            let key = Key {
                verb: stage.verb.name.to_owned(),
                version: stage.verb.version,
                settings: stage.work.settings(),
                inputs,
                seed: recipe.seed_of(stage),
            };
            keys.insert(stage.name.clone(), key);
        }
    }
    keys
}

/// Runs a recipe.
pub fn run(recipe: &Recipe, global: &Global) -> Result<Report> {
    let began = Instant::now();
    let store = global.open_store()?;
    let resolved = resolve(recipe, global)?;
    let mut missing = Vec::new();
    for stage in &recipe.stages {
        if store.find(&resolved.key(&stage.name)?.id())?.is_none() {
            missing.push(stage.name.as_str());
        }
    }
    let mut planned = BTreeMap::new();
    let mut machine = None;
    if missing.is_empty() {
        talk(global, &format!("nothing to do: all {} stages are finished", recipe.stages.len()));
    } else {
        let measured = calibrate::measure(&global.store)?;
        let plan = plan::plan(recipe, &resolved, Some(&store), measured)?;
        plan.refuse_over_budget(global)?;
        talk(global, &plan.text());
        planned = plan.stages.into_iter().map(|stage| (stage.name.clone(), stage.estimate)).collect();
        machine = Some(measured);
    }
    let run = run_name();
    store.note(&run, "", "run started", json!({ "recipe": recipe.slug, "to_do": missing }))?;
    let mut stages = Vec::new();
    for stage in &recipe.stages {
        let key = resolved.key(&stage.name)?;
        let (artifact, reused) = if let Some(artifact) = store.find(&key.id())? {
            (artifact, true)
        } else {
            let Some(machine) = machine else {
                return Err(Error::program("a finished stage went missing during the run"));
            };
            let estimate = planned.get(&stage.name).copied();
            let one = OneStage { recipe, resolved: &resolved, stage, key, run: &run, machine, global };
            (one.run(&store, estimate)?, false)
        };
        store.name(&recipe.slug, &stage.name, &artifact.id)?;
        stages.push(StageReport { name: stage.name.clone(), reused, artifact });
    }
    let checks = judge(recipe, &stages);
    store.note(
        &run,
        "",
        "run finished",
        json!({ "checks_failed": checks.iter().filter(|check| !check.holds).count() }),
    )?;
    Ok(Report { stages, checks, seconds: began.elapsed().as_secs_f64(), tiny: recipe.tiny })
}

fn judge(recipe: &Recipe, stages: &[StageReport]) -> Vec<CheckReport> {
    let figure = |stage: &str, figure: &str| {
        let report = stages.iter().find(|report| report.name == stage)?;
        report.artifact.record.figures.get(figure).copied()
    };
    recipe
        .checks
        .iter()
        .map(|check| {
            let judged = check.judge(figure);
            CheckReport {
                text: check.text.clone(),
                values: judged.map(|(left, right, _)| (left, right)),
                holds: judged.is_some_and(|(_, _, holds)| holds),
            }
        })
        .collect()
}

struct OneStage<'a> {
    recipe: &'a Recipe,
    resolved: &'a Resolved,
    stage: &'a super::Stage,
    key: &'a Key,
    run: &'a str,
    machine: Machine,
    global: &'a Global,
}

impl OneStage<'_> {
    fn run(&self, store: &Store, plan: Option<Estimate>) -> Result<Artifact> {
        let name = self.stage.name.as_str();
        let inputs = self.inputs(store)?;
        let work = store.begin(self.key)?;
        let resumed = work.resumed();
        talk(self.global, &format!("{name}: {}", if resumed > 0 { "resuming" } else { self.stage.verb.summary }));
        store.note(self.run, name, if resumed > 0 { "resumed" } else { "started" }, json!({ "id": self.key.id() }))?;
        let budget = self.global.budget();
        metier_compute::release_unused();
        metier_core::memory::reset_peak();
        let began = Instant::now();
        let context = Context {
            stage: name,
            inputs: &inputs,
            work: work.path(),
            seed: Seed::new(self.recipe.seed_of(self.stage)).derive(self.stage.verb.name),
            budget: &budget,
            machine: self.machine,
            events: self.global.json && !self.global.quiet,
            cluster: self.global.cluster.as_deref(),
        };
        let outcome = self.stage.work.run(&context).inspect_err(|error| {
            let _ = store.note(self.run, name, "failed", json!({ "error": error.to_string() }));
        })?;
        let seconds = began.elapsed().as_secs_f64();
        if let Some(table) = &outcome.table {
            metier_core::store::write_atomic(work.path().join("report.txt"), table.as_bytes())?;
        }
        let inputs = self
            .stage
            .inputs
            .iter()
            .map(|(slot, input_name)| (slot.clone(), self.input_record(slot, input_name, &inputs)))
            .collect();
        let record = Record {
            inputs,
            counts: outcome.counts,
            figures: outcome.figures,
            plan,
            real: Spent { seconds, peak_memory_bytes: metier_core::memory::peak_bytes(), disk_bytes: 0 },
            ..Record::new(self.key, name)
        };
        let artifact = work.finish(record)?;
        talk(
            self.global,
            &format!(
                "{name}: done in {}, {} of memory at most, {} on disk",
                duration(seconds),
                size(artifact.record.real.peak_memory_bytes),
                size(artifact.record.real.disk_bytes)
            ),
        );
        Ok(artifact)
    }

    fn inputs(&self, store: &Store) -> Result<BTreeMap<String, Input>> {
        let mut inputs = BTreeMap::new();
        for (slot, name) in &self.stage.inputs {
            let input = if let Some(fetched) = self.resolved.assets.get(name) {
                Input {
                    name: name.clone(),
                    id: fetched.id.clone(),
                    path: fetched.path.clone(),
                    license: self.recipe.asset(name).and_then(|asset| asset.license.clone()),
                }
            } else {
                let id = self.resolved.key(name)?.id();
                let artifact = store.find(&id)?.ok_or_else(|| {
                    Error::user(
                        Place::key(format!("stage `{}`", self.stage.name)),
                        format!("the result of `{name}` is gone from the store"),
                    )
                    .hint("run the recipe again")
                })?;
                Input { name: name.clone(), id, path: artifact.path, license: None }
            };
            inputs.insert(slot.clone(), input);
        }
        Ok(inputs)
    }

    fn input_record(&self, slot: &str, name: &str, inputs: &BTreeMap<String, Input>) -> InputRecord {
        let asset = self.recipe.asset(name);
        InputRecord {
            id: inputs.get(slot).map(|input| input.id.clone()).unwrap_or_default(),
            name: name.to_owned(),
            kind: match (asset, self.recipe.external.get(name)) {
                (Some(_), _) => InputKind::Asset,
                (None, Some(given)) if !given.source.starts_with("artifact ") => InputKind::File,
                (None, _) => InputKind::Artifact,
            },
            license: asset.and_then(|asset| asset.license.clone()),
            path: self.resolved.assets.get(name).map(|fetched| fetched.path.clone()),
            source: self.resolved.assets.get(name).map(|fetched| fetched.source.clone()),
        }
    }
}

fn run_name() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", since.as_millis(), std::process::id())
}

/// What [`stage_rows`] says, by column.
pub const HEADINGS: [&str; 8] = ["stage", "", "artifact", "planned", "real", "memory planned", "real", "rows out"];

/// Plan against real of each stage, for people.
pub fn stage_rows(stages: &[StageReport]) -> Vec<Vec<String>> {
    stages
        .iter()
        .map(|stage| {
            let record = &stage.artifact.record;
            let planned = record.plan.as_ref().and_then(|plan| plan.seconds);
            let memory = record.plan.as_ref().and_then(|plan| plan.memory_bytes);
            vec![
                stage.name.clone(),
                if stage.reused { "reused" } else { "ran" }.to_owned(),
                stage.artifact.id.chars().take(12).collect(),
                planned.map_or("-".to_owned(), duration),
                duration(record.real.seconds),
                memory.map_or("-".to_owned(), size),
                size(record.real.peak_memory_bytes),
                count(record.counts.out),
            ]
        })
        .collect()
}

impl CheckReport {
    /// Both values, for people.
    pub fn values_text(&self) -> String {
        self.values.map_or("a figure is missing".to_owned(), |(left, right)| format!("{left:.6} against {right}"))
    }
}

impl Report {
    /// Whether every check that counts holds: those of a tiny run do not.
    pub fn holds(&self) -> bool {
        self.tiny || self.checks.iter().all(|check| check.holds)
    }

    /// The receipt for people: stages with plan against real, tables, checks.
    pub fn text(&self) -> String {
        let right = [false, false, false, true, true, true, true, true];
        let mut out = table(&HEADINGS, &stage_rows(&self.stages), &right);
        for stage in &self.stages {
            if let Some(table) = report_of(&stage.artifact) {
                let _ = writeln!(out, "\n{}\n{}", stage.name, table.trim_end());
            }
        }
        if !self.checks.is_empty() {
            out.push('\n');
        }
        for check in &self.checks {
            let _ = writeln!(
                out,
                "check {}: {} ({})",
                match (check.holds, self.tiny) {
                    (true, _) => "holds",
                    (false, true) => "fails (not counted at the tiny size)",
                    (false, false) => "FAILS",
                },
                check.text,
                check.values_text()
            );
        }
        out
    }

    /// The receipt for programs.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "seconds": self.seconds,
            "stages": self.stages.iter().map(|stage| json!({
                "name": stage.name, "reused": stage.reused, "id": stage.artifact.id,
                "path": stage.artifact.path, "record": stage.artifact.record,
            })).collect::<Vec<_>>(),
            "checks": self.checks.iter().map(|check| json!({
                "that": check.text, "left": check.values.map(|values| values.0),
                "right": check.values.map(|values| values.1), "holds": check.holds,
            })).collect::<Vec<_>>(),
        })
    }
}

/// The table a stage left for people.
pub fn report_of(artifact: &Artifact) -> Option<String> {
    std::fs::read_to_string(artifact.path.join("report.txt")).ok()
}
