//! What other machines have to know to look into documents.

use super::{CurateSettings, Parts};
use crate::{filter, read, select, tag};
use metier_core::part::{self, Chosen, Part};
use metier_core::settings::Table;
use metier_core::{Error, Fault, Place, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

/// A task, as it travels.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The corpus, by a path that is the same on all machines.
    pub path: PathBuf,
    /// Settings of the whole.
    pub settings: CurateSettings,
    /// The [identity](Chosen::identity) of each part.
    pub read: Value,
    /// Likewise, in order, with the hash of the data it reads.
    pub filters: Vec<(Value, Option<String>)>,
    /// Likewise.
    pub tags: Vec<(Value, Option<String>)>,
}

/// The parts of a task, as they are built on another machine.
pub struct TaskParts {
    /// Settings of the whole.
    pub settings: CurateSettings,
    /// The reader.
    pub read: Box<dyn read::Read>,
    filters: Vec<Box<dyn filter::Filter>>,
    tags: Vec<Box<dyn tag::Tag>>,
}

/// What has the identity that it had where the task was written.
fn same<F: ?Sized>(family: &str, members: &[&'static Part<F>], identity: &Value) -> Result<Box<F>> {
    let unknown = || Error::program(format!("the task names no {family} as metier writes it: {identity}"));
    let (Some(method), Some(Value::Object(settings))) = (identity["method"].as_str(), identity.get("settings")) else {
        return Err(unknown());
    };
    let mut entries = settings.clone();
    entries.insert("method".to_owned(), method.into());
    let chosen: Chosen<F> = part::choose(family, members, &Table::of_json(family, &entries))?;
    if chosen.identity() == *identity {
        return Ok(chosen.part);
    }
    Err(Fault::new(Place::key(format!("{family} {method}")), "is another version here than where the run began")
        .hint("use the same build of metier on all machines")
        .into())
}

fn same_data(family: &str, identity: &Value, here: Option<&String>, there: Option<&String>) -> Result<()> {
    if here == there {
        return Ok(());
    }
    let place = Place::key(format!("{family} {}", identity["method"].as_str().unwrap_or_default()));
    Err(Fault::new(place, "reads other data here than where the run began")
        .hint("put the same files under the same paths on all machines")
        .into())
}

impl Task {
    /// The parts that the task names. A part of another version than here is refused, and one that reads other data.
    pub fn parts(&self) -> Result<TaskParts> {
        let filters = self.filters.iter().map(|(identity, data)| {
            let filter = same("filter", filter::FILTER, identity)?;
            same_data("filter", identity, filter.data().as_ref(), data.as_ref()).and(Ok(filter))
        });
        let tags = self.tags.iter().map(|(identity, model)| {
            let tag = same("tagger", tag::TAG, identity)?;
            same_data("tagger", identity, tag.model().as_ref(), model.as_ref()).and(Ok(tag))
        });
        Ok(TaskParts {
            settings: self.settings.clone(),
            read: same("reader", read::READ, &self.read)?,
            filters: filters.collect::<Result<_>>()?,
            tags: tags.collect::<Result<_>>()?,
        })
    }
}

impl TaskParts {
    /// The parts as [`Look`](super::Look) takes them. Documents are chosen where the run began.
    pub fn borrowed(&self) -> Parts<'_> {
        Parts {
            read: self.read.as_ref(),
            filters: self.filters.iter().map(AsRef::as_ref).collect(),
            tags: self.tags.iter().map(AsRef::as_ref).collect(),
            dedups: Vec::new(),
            select: &select::HoldOut { fraction: 0.0 },
            cluster: None,
        }
    }
}
