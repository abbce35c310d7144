//! Reading a recipe: every fault of the file comes together, each with its line.

use super::{Condition, Head, Recipe, Stage};
use crate::fetch::{Asset, Fetched};
use crate::stage::{self, Faults, Kind, Verb};
use metier_core::fault::near_miss;
use metier_core::settings::{File, Table};
use metier_core::store::open_artifact;
use metier_core::{Error, Fault, Place, Result};
use metier_corpus::read::store::is_address;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How a recipe is read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Lay the `[tiny]` table over the recipe.
    pub tiny: bool,
    /// `stage.key=value` overrides.
    pub set: Vec<String>,
    /// Replaces the recipe's seed.
    pub seed: Option<u64>,
}

const ROOT_KEYS: [&str; 6] = ["recipe", "for", "asset", "stage", "check", "tiny"];

impl Recipe {
    /// Reads a recipe file.
    pub fn load(path: &Path, options: &Options) -> Result<Self> {
        Self::read(&File::read(path)?.root(), path, options)
    }

    fn read(root: &Table, path: &Path, options: &Options) -> Result<Self> {
        let mut faults = Faults::default();
        unknown_keys(root, &ROOT_KEYS, &mut faults);
        let mut head = None;
        if let Some(table) = faults.take(root.table("recipe")).flatten() {
            head = faults.take(table.read::<Head>());
        } else {
            faults.0.push(
                Fault::new(root.place(), "there is no [recipe] table")
                    .hint("begin with [recipe], a `title` and a `source`"),
            );
        }
        if let (Some(head), Some(seed)) = (&mut head, options.seed) {
            head.seed = seed;
        }
        let tables = Tables {
            lists: faults.take(root.table("for")).flatten().unwrap_or_else(|| Table::empty("for")),
            assets: named(root, "asset", &mut faults),
            stages: named(root, "stage", &mut faults),
        };
        let tiny = faults.take(root.table("tiny")).flatten();
        let overlaid = tiny.map(|tiny| {
            unknown_keys(&tiny, &["asset", "for", "stage"], &mut faults);
            let lists = faults.take(tiny.table("for")).flatten();
            Tables {
                lists: lists.map_or_else(|| tables.lists.clone(), |lists| tables.lists.overlay(&lists)),
                assets: overlay(&tiny, "asset", &tables.assets, &mut faults),
                stages: overlay(&tiny, "stage", &tables.stages, &mut faults),
            }
        });
        let (tables, other) = match (options.tiny, overlaid) {
            (true, Some(overlaid)) => (overlaid, None),
            (false, overlaid) => (tables, overlaid),
            (true, None) => {
                faults.0.push(Fault::new(root.place(), "the recipe has no [tiny] table, which --tiny asks for"));
                (tables, None)
            }
        };
        // What [tiny] would make of the recipe is checked too, though it is not what runs.
        if let Some(other) = other {
            let options = other.options(options);
            other.read(root, &options, &mut faults);
        }
        let (assets, stages, checks) = tables.read(root, options, &mut faults);
        match head {
            Some(head) if faults.0.is_empty() => Ok(Self {
                path: path.to_path_buf(),
                slug: path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
                head,
                assets,
                external: BTreeMap::new(),
                stages,
                checks,
                tiny: options.tiny,
            }),
            _ => {
                faults.0.sort_by_key(|fault| (fault.place.line, fault.place.column));
                let mut once: Vec<Fault> = Vec::new();
                for fault in faults.0 {
                    if !once.contains(&fault) {
                        once.push(fault);
                    }
                }
                Err(Error { faults: once, blame: metier_core::Blame::User })
            }
        }
    }
}

/// The tables of a recipe's assets and stages, by their names as they are written.
struct Tables {
    /// The values that stages and checks can be repeated for.
    lists: Table,
    assets: Vec<(String, Table)>,
    stages: Vec<(String, Table)>,
}

impl Tables {
    /// The options without what `--set` says of stages that only the other size of the recipe has.
    fn options(&self, options: &Options) -> Options {
        let stages = each_named(&self.stages, &self.lists, &mut Faults::default());
        let is_here = |assignment: &String| {
            let stage = assignment.split(['.', '=']).next().unwrap_or_default().trim();
            stages.iter().any(|(name, _)| name == stage)
        };
        Options {
            set: options.set.iter().filter(|assignment| is_here(assignment)).cloned().collect(),
            ..options.clone()
        }
    }

    /// What they say once `--set` is laid over them: assets, stages in the order they run, and checks.
    fn read(
        mut self,
        root: &Table,
        options: &Options,
        faults: &mut Faults,
    ) -> (Vec<Asset>, Vec<Stage>, Vec<Condition>) {
        self.stages = each_named(&self.stages, &self.lists, faults);
        for assignment in &options.set {
            faults.take(override_setting(assignment, &mut self.stages));
        }
        let mut assets: Vec<Asset> = Vec::new();
        for (_, table) in &self.assets {
            if let Some(asset) = faults.take(table.read::<Asset>()) {
                faults.take(asset.check(&table.place()));
                assets.push(asset);
            }
        }
        let kinds = kinds(&assets, &self.assets, &self.stages, faults);
        let stages: Vec<Stage> =
            self.stages.iter().filter_map(|(name, table)| read_stage(name, table, &kinds, faults)).collect();
        let complete = stages.len() == self.stages.len();
        let checks = read_checks(root, &self.lists, &stages, complete, faults);
        (assets, order(stages, faults), checks)
    }
}

/// Keys that every stage may have; `for` is gone when one is read.
const STAGE_KEYS: [&str; 3] = ["name", "do", "seed"];

/// What each stage and asset name stands for; `None` for a stage whose verb is not known.
type Kinds = BTreeMap<String, Option<Kind>>;

fn unknown_keys(table: &Table, known: &[&str], faults: &mut Faults) {
    for key in table.keys() {
        if !known.contains(&key) {
            let hint = match near_miss(key, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known: {}", known.join(", ")),
            };
            faults.0.push(Fault::new(table.place_of(key), format!("unknown key `{key}`")).hint(hint));
        }
    }
}

/// Names stand in paths, checks and `--set`.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

fn bad_name(place: Place, name: &str) -> Fault {
    Fault::new(place, format!("{name:?} is no name")).hint("write letters, digits, `_` and `-`")
}

/// A table for every choice of values of the lists that it names under `for`, each with those values; the table alone
/// when it names none.
fn each(table: &Table, lists: &Table, faults: &mut Faults) -> Vec<Table> {
    let mut out = vec![table.without(&["for"])];
    for name in faults.take(table.strings("for")).flatten().unwrap_or_default() {
        if !lists.contains(&name) {
            let hint = match near_miss(&name, lists.keys().iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("write [for] and `{name} = [...]` with the values"),
            };
            faults.0.push(Fault::new(table.value_place_of("for"), format!("no list is called `{name}`")).hint(hint));
            continue;
        }
        let choices = faults.take(lists.choices(&name)).unwrap_or_default();
        out = out.iter().flat_map(|table| choices.iter().map(|choice| table.filled(&[(&name, choice)]))).collect();
    }
    out
}

/// The same of stages, by the names that they have then.
fn each_named(stages: &[(String, Table)], lists: &Table, faults: &mut Faults) -> Vec<(String, Table)> {
    let mut out: Vec<(String, Table)> = Vec::new();
    for (_, stage) in stages {
        for table in each(stage, lists, faults) {
            let Some(name) = faults.take(table.string("name")).flatten() else { continue };
            if !is_name(&name) {
                faults.0.push(bad_name(table.value_place_of("name"), &name));
            } else if out.iter().any(|(known, _)| *known == name) {
                let fault = Fault::new(table.value_place_of("name"), format!("two stages are called `{name}`"));
                faults.0.push(if stage.contains("for") {
                    fault.hint("a name has `{...}` for each list under `for`")
                } else {
                    fault
                });
            } else {
                out.push((name, table));
            }
        }
    }
    out
}

/// The tables of an array, by their `name`s.
fn named(root: &Table, key: &str, faults: &mut Faults) -> Vec<(String, Table)> {
    let mut out: Vec<(String, Table)> = Vec::new();
    for table in faults.take(root.tables(key)).unwrap_or_default() {
        let Some(name) = faults.take(table.string("name")) else { continue };
        match name {
            None => faults
                .0
                .push(Fault::new(table.place(), format!("the {key} has no name")).hint("write `name = \"...\"`")),
            // What a list under `for` gives is no part of the name yet.
            Some(name) if !is_name(&name) && !table.contains("for") => {
                faults.0.push(bad_name(table.value_place_of("name"), &name));
            }
            Some(name) if out.iter().any(|(known, _)| *known == name) => {
                faults.0.push(Fault::new(table.value_place_of("name"), format!("two {key}s are called `{name}`")));
            }
            Some(name) => out.push((name, table)),
        }
    }
    out
}

fn overlay(tiny: &Table, key: &str, tables: &[(String, Table)], faults: &mut Faults) -> Vec<(String, Table)> {
    let Some(over) = faults.take(tiny.table(key)).flatten() else { return tables.to_vec() };
    unknown_keys(&over, &tables.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), faults);
    tables
        .iter()
        .map(|(name, table)| match faults.take(over.table(name)).flatten() {
            Some(changes) => {
                if changes.contains("name") {
                    faults.0.push(Fault::new(changes.place_of("name"), "a name cannot be changed"));
                }
                (name.clone(), table.overlay(&changes))
            }
            None => (name.clone(), table.clone()),
        })
        .collect()
}

fn override_setting(assignment: &str, stages: &mut [(String, Table)]) -> Result<()> {
    let fault = |message: String| Fault::new(Place::key(format!("--set {assignment}")), message);
    let form = "write --set stage.key=value";
    let Some((key, value)) = assignment.split_once('=') else {
        return Err(fault("there is no `=`".to_owned()).hint(form).into());
    };
    let Some((name, key)) = key.trim().split_once('.') else {
        return Err(fault("there is no `.` between stage and key".to_owned()).hint(form).into());
    };
    if key == "name" {
        return Err(fault("a stage's name cannot be changed".to_owned()).into());
    }
    let known: Vec<String> = stages.iter().map(|(name, _)| name.clone()).collect();
    let Some((_, table)) = stages.iter_mut().find(|(known, _)| known == name) else {
        let hint = match near_miss(name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", known.join(", ")),
        };
        return Err(fault(format!("no stage is called `{name}`")).hint(hint).into());
    };
    table.set(key, value.trim())
}

fn kinds(assets: &[Asset], asset_tables: &[(String, Table)], stages: &[(String, Table)], faults: &mut Faults) -> Kinds {
    let mut kinds: Kinds = asset_tables.iter().map(|(name, _)| (name.clone(), None)).collect();
    for asset in assets {
        kinds.insert(asset.name.clone(), Some(asset.kind.into()));
    }
    for (name, table) in stages {
        if kinds.contains_key(name) {
            faults.0.push(Fault::new(table.value_place_of("name"), format!("`{name}` is an asset already")));
            continue;
        }
        let verb = table.string("do").ok().flatten().and_then(|verb| stage::find(&verb));
        kinds.insert(name.clone(), verb.map(|verb| verb.makes));
    }
    kinds
}

fn read_stage(name: &str, table: &Table, kinds: &Kinds, faults: &mut Faults) -> Option<Stage> {
    let Some(word) = faults.take(table.string("do"))? else {
        faults.0.push(
            Fault::new(table.place(), "the stage does not say what to do")
                .hint(format!("write `do = \"...\"` with one of: {}", verbs())),
        );
        return None;
    };
    let Some(verb) = stage::find(&word) else {
        let hint = match near_miss(&word, stage::VERBS.iter().map(|verb| verb.name)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", verbs()),
        };
        faults.0.push(Fault::new(table.value_place_of("do"), format!("no stage verb is called `{word}`")).hint(hint));
        return None;
    };
    let before = faults.0.len();
    let inputs = read_inputs(verb, table, kinds, faults);
    let own = verb.keys();
    let known: Vec<&str> = STAGE_KEYS.into_iter().chain(own.iter().map(String::as_str)).collect();
    unknown_keys(table, &known, faults);
    let seed = faults.take(table.integer("seed")).flatten();
    if seed.is_some_and(|seed| seed < 0) {
        faults.0.push(Fault::new(table.value_place_of("seed"), "a seed is a whole number from 0 on"));
    }
    let mut taken = STAGE_KEYS.to_vec();
    taken.extend(verb.inputs.iter().map(|slot| slot.key));
    taken.extend(table.keys().into_iter().filter(|key| !known.contains(key)));
    let work = faults.take((verb.read)(&table.without(&taken)));
    if let Some(Err(error)) = work.as_ref().map(|work| work.check(&inputs)) {
        faults.0.extend(error.faults.into_iter().map(|mut fault| {
            fault.place = fault.place.key.as_deref().map_or_else(|| table.place(), |key| place_of(table, key));
            fault
        }));
    }
    if faults.0.len() > before {
        return None;
    }
    let seed = seed.unwrap_or(0) as u64;
    Some(Stage { name: name.to_owned(), verb, inputs, seed, work: work?, place: table.place() })
}

/// Where a key of a stage is written, or the table that it is in: of `sampler.shares.old` it is that of `sampler`.
fn place_of(table: &Table, key: &str) -> Place {
    let own = key.split(['.', '[']).next().unwrap_or(key);
    let place = table.place_of(own);
    let whole = place.key.as_ref().map(|known| format!("{known}{}", &key[own.len()..]));
    Place { key: whole, ..place }
}

fn verbs() -> String {
    stage::VERBS.iter().map(|verb| verb.name).collect::<Vec<_>>().join(", ")
}

fn read_inputs(verb: &Verb, table: &Table, kinds: &Kinds, faults: &mut Faults) -> BTreeMap<String, String> {
    let mut inputs = BTreeMap::new();
    for slot in verb.inputs {
        if !table.contains(slot.key) {
            if slot.required {
                faults.0.push(
                    Fault::new(table.place(), format!("`{}` needs `{}`: {}", verb.name, slot.key, slot.text))
                        .hint(format!("it names {}", slot.kind.word())),
                );
            }
            continue;
        }
        if slot.many && table.string(slot.key).is_err() {
            let Some(Some(names)) = faults.take(table.table(slot.key)) else { continue };
            if slot.required && names.is_empty() {
                let fault = Fault::new(table.value_place_of(slot.key), format!("`{}` names nothing", slot.key));
                faults.0.push(fault.hint(format!("write `{} = {{ domain = \"...\" }}`", slot.key)));
            }
            for key in names.keys() {
                if !is_name(key) {
                    faults.0.push(bad_name(names.place_of(key), key));
                }
                if let Some(Some(name)) = faults.take(names.string(key)) {
                    check_kind(&name, slot.kind, &names, key, kinds, faults);
                    inputs.insert(format!("{}.{key}", slot.key), name);
                }
            }
        } else if let Some(Some(name)) = faults.take(table.string(slot.key)) {
            check_kind(&name, slot.kind, table, slot.key, kinds, faults);
            inputs.insert(slot.key.to_owned(), name);
        }
    }
    inputs
}

fn check_kind(name: &str, wanted: Kind, table: &Table, key: &str, kinds: &Kinds, faults: &mut Faults) {
    match kinds.get(name) {
        None => {
            let hint = match near_miss(name, kinds.keys().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known: {}", kinds.keys().cloned().collect::<Vec<_>>().join(", ")),
            };
            faults.0.push(
                Fault::new(table.value_place_of(key), format!("no stage or asset is called `{name}`")).hint(hint),
            );
        }
        Some(Some(kind)) if !kind.serves_as(wanted) => {
            let fitting: Vec<_> = kinds
                .iter()
                .filter(|(_, kind)| kind.is_some_and(|kind| kind.serves_as(wanted)))
                .map(|(name, _)| name.as_str())
                .collect();
            let message = format!("`{key}` wants {}, and `{name}` is {}", wanted.word(), kind.word());
            let fault = Fault::new(table.value_place_of(key), message);
            faults.0.push(if fitting.is_empty() {
                fault
            } else {
                fault.hint(format!("these fit: {}", fitting.join(", ")))
            });
        }
        Some(_) => {}
    }
}

#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
/// A `[[check]]`: what must hold after a run.
pub(super) struct CheckSettings {
    /// A figure, a comparison and a bound: `after.domain.difference_high < 0`.
    pub that: String,
}

fn read_checks(root: &Table, lists: &Table, stages: &[Stage], complete: bool, faults: &mut Faults) -> Vec<Condition> {
    let mut checks = Vec::new();
    let written = faults.take(root.tables("check")).unwrap_or_default();
    let each_of = |table: &Table, faults: &mut Faults| {
        let text = table.string("that").ok().flatten().unwrap_or_default();
        each(table, lists, faults).into_iter().map(|table| (text.clone(), table)).collect::<Vec<_>>()
    };
    for (written, table) in written.iter().flat_map(|table| each_of(table, faults)).collect::<Vec<_>>() {
        let Some(settings) = faults.take(table.read::<CheckSettings>()) else { continue };
        let place = table.value_place_of("that");
        let Some(mut condition) = faults.take(Condition::parse(&settings.that, &place)) else { continue };
        condition.written = written;
        for (stage, figure) in condition.figures() {
            match stages.iter().find(|known| known.name == stage) {
                None if !complete => {}
                None => {
                    let near = near_miss(stage, stages.iter().map(|stage| stage.name.as_str()));
                    let mut fault = Fault::new(place.clone(), format!("no stage is called `{stage}`"));
                    fault.hint = near.map(|near| format!("did you mean `{near}`?"));
                    faults.0.push(fault);
                }
                Some(known) => {
                    let figures = known.work.figures(&known.inputs);
                    if !figures.iter().any(|known| known == figure) {
                        let hint = match near_miss(figure, figures.iter().map(String::as_str)) {
                            Some(near) => format!("did you mean `{near}`?"),
                            None => format!("it reports: {}", figures.join(", ")),
                        };
                        faults.0.push(
                            Fault::new(place.clone(), format!("stage `{stage}` reports no figure `{figure}`"))
                                .hint(hint),
                        );
                    }
                }
            }
        }
        checks.push(condition);
    }
    checks
}

/// The stages in an order in which each comes after its inputs; otherwise in the order written.
fn order(stages: Vec<Stage>, faults: &mut Faults) -> Vec<Stage> {
    let names: BTreeSet<String> = stages.iter().map(|stage| stage.name.clone()).collect();
    let mut waiting = stages;
    let mut done: BTreeSet<String> = BTreeSet::new();
    let mut out = Vec::new();
    while !waiting.is_empty() {
        let ready = waiting
            .iter()
            .position(|stage| stage.inputs.values().all(|name| done.contains(name) || !names.contains(name)));
        let Some(ready) = ready else {
            let first = &waiting[0];
            let cycle = cycle_from(&waiting, &first.name);
            faults.0.push(
                Fault::new(first.place.clone(), format!("stages wait for each other: {}", cycle.join(" <- ")))
                    .hint("a stage's inputs must not depend on the stage itself"),
            );
            return out;
        };
        let stage = waiting.remove(ready);
        done.insert(stage.name.clone());
        out.push(stage);
    }
    out
}

fn cycle_from(waiting: &[Stage], start: &str) -> Vec<String> {
    let mut path = vec![start.to_owned()];
    loop {
        let last = path.last().cloned().unwrap_or_default();
        let next = waiting
            .iter()
            .find(|stage| stage.name == last)
            .and_then(|stage| stage.inputs.values().find(|name| waiting.iter().any(|other| other.name == **name)));
        let Some(next) = next else { return path };
        if let Some(first) = path.iter().position(|name| name == next) {
            path.push(next.clone());
            return path.split_off(first);
        }
        path.push(next.clone());
    }
}

impl Recipe {
    /// A recipe of one stage, from `key=value` settings on the command line. Inputs may be paths,
    /// artifacts' ids or names of stages in the store.
    pub fn one_stage(verb: &str, settings: &[String], global: &crate::command::Global) -> Result<Self> {
        let known = stage::find(verb).ok_or_else(|| Error::program(format!("`{verb}` is no stage verb")))?;
        let command = Path::new("(command line)");
        let mut table = File::parse(command, format!("name = \"{verb}\"\ndo = \"{verb}\"\n"))?.root();
        set_each(&mut table, settings)?;
        let mut faults = Faults::default();
        let mut external = BTreeMap::new();
        let mut kinds = Kinds::new();
        for slot in known.inputs {
            for name in named_inputs(&table, slot.key, slot.many, &mut faults) {
                if let Some((input, kind)) = faults.take(find_input(&name, slot.kind, global)) {
                    kinds.insert(name.clone(), Some(kind));
                    external.insert(name, input);
                }
            }
        }
        if !faults.0.is_empty() {
            return Err(Error { faults: faults.0, blame: metier_core::Blame::User });
        }
        let stage = read_stage(verb, &table, &kinds, &mut faults);
        let head = Head {
            title: format!("{verb} from the command line"),
            source: "the command line".to_owned(),
            claim: String::new(),
            seed: global.seed.unwrap_or(0),
        };
        match stage {
            Some(stage) if faults.0.is_empty() => Ok(Self {
                path: command.to_path_buf(),
                slug: "command".to_owned(),
                head,
                assets: Vec::new(),
                external,
                stages: vec![stage],
                checks: Vec::new(),
                tiny: false,
            }),
            _ => Err(Error { faults: faults.0, blame: metier_core::Blame::User }),
        }
    }
}

/// Sets keys of a table as `KEY=VALUE` on the command line says.
pub fn set_each(table: &mut Table, settings: &[String]) -> Result<()> {
    settings.iter().try_for_each(|setting| {
        let (key, value) = setting.split_once('=').ok_or_else(|| {
            Fault::new(Place::key(setting.clone()), "there is no `=`").hint("write KEY=VALUE: steps=100")
        })?;
        table.set(key.trim(), value.trim())
    })
}

fn named_inputs(table: &Table, key: &str, many: bool, faults: &mut Faults) -> Vec<String> {
    if !many || table.string(key).is_ok() {
        return faults.take(table.string(key)).flatten().into_iter().collect();
    }
    let Some(names) = faults.take(table.table(key)).flatten() else { return Vec::new() };
    names.keys().iter().filter_map(|key| faults.take(names.string(key)).flatten()).collect()
}

/// What a name on the command line stands for, and what that is. A path is what the slot takes, raw data, questions, a model or a
/// tokenizer; anything else has been made by a stage and has its record.
fn find_input(name: &str, wanted: Kind, global: &crate::command::Global) -> Result<(Fetched, Kind)> {
    let path = Path::new(name);
    if wanted == Kind::Data && is_address(path) {
        if global.offline {
            return Err(Error::file(path, "nothing is read out of a store with `--offline`"));
        }
        return Ok((crate::fetch::at_store(path)?, wanted));
    }
    if path.exists() && !path.join("record.json").exists() {
        if !matches!(wanted, Kind::Data | Kind::Model | Kind::Questions | Kind::Tokenizer) {
            let message = format!("this is no result of a stage, and {} is wanted", wanted.word());
            return Err(Error::file(path, message).hint("name a stage, an artifact's id or its folder"));
        }
        return Ok((crate::fetch::local(path)?, wanted));
    }
    let artifact = if path.exists() {
        open_artifact(path)?
    } else if global.store.exists() {
        global.read_store()?.resolve(name)?
    } else {
        return Err(crate::command::not_found(wanted.word().trim_start_matches("a ").trim_start_matches("an "), name));
    };
    let kind = stage::find(&artifact.record.verb).map_or(wanted, |verb| verb.makes);
    let fetched = Fetched {
        id: artifact.id.clone(),
        path: artifact.path.clone(),
        source: format!("artifact {}", artifact.id),
        bytes: artifact.record.real.disk_bytes,
    };
    Ok((fetched, kind))
}
