//! Replaceable parts: one member, one file, one line in its family's list.
//!
//! A member's settings struct carries its page as the doc comment, with the fixed headings *What it
//! does · How · When to use · Differs from the paper in · Source*. Its file ends with
//! `pub static PART: Part<dyn Family> = Part::of::<Settings>("name", 1);` and the family's `mod.rs`
//! lists `&name::PART` in one alphabetical static slice. Help, schema, docs and near-miss suggestions
//! come from that slice.

use crate::fault::{Fault, near_miss};
use crate::settings::Table;
use crate::{Place, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Settings that make a member of the family `F`.
pub trait Build<F: ?Sized>: DeserializeOwned + Serialize + JsonSchema {
    /// The part these settings describe. `place` is where they were written, for faults found here
    /// (a number out of its range).
    fn build(self, place: &Place) -> Result<Box<F>>;
}

/// The settings, defaults filled in, and the part built from them.
type Built<F> = (serde_json::Value, Box<F>);

/// The record of one member of a family.
pub struct Part<F: ?Sized + 'static> {
    /// What a recipe calls it: the file's name.
    pub name: &'static str,
    /// Raised whenever its output changes, so that stored artifacts are not reused wrongly.
    pub version: u32,
    schema: fn(&mut SchemaGenerator) -> Schema,
    read: fn(&Table) -> Result<Built<F>>,
}

/// What is said about a part without building it.
#[derive(Clone)]
pub struct Record {
    /// What a recipe calls it.
    pub name: &'static str,
    /// Raised whenever its output changes.
    pub version: u32,
    schema: fn(&mut SchemaGenerator) -> Schema,
}

impl Record {
    /// The JSON schema of its settings; its `description` is the part's page.
    pub fn schema(&self) -> Schema {
        (self.schema)(&mut crate::settings::schema_generator())
    }

    /// The part's page in Markdown.
    pub fn page(&self) -> String {
        let schema = self.schema();
        let text = |key| schema.get(key).and_then(|text| text.as_str()).unwrap_or_default();
        // A doc comment's first heading comes out as the schema's title.
        match text("title") {
            "" => text("description").to_owned(),
            title => format!("# {title}\n\n{}", text("description")),
        }
    }

    /// The first sentence of *What it does*.
    pub fn summary(&self) -> String {
        let page = self.page();
        let body = page.split_once("# What it does").map_or(page.as_str(), |(_, rest)| rest).trim_start();
        let paragraph = body.split("\n\n").next().unwrap_or_default().replace('\n', " ");
        paragraph.split_inclusive(". ").next().unwrap_or_default().trim().to_owned()
    }
}

/// A part as a recipe chose it.
pub struct Chosen<F: ?Sized> {
    /// What the recipe calls it.
    pub name: &'static str,
    /// Its version.
    pub version: u32,
    /// Its settings, defaults filled in.
    pub settings: serde_json::Value,
    /// The part.
    pub part: Box<F>,
}

impl<F: ?Sized> Chosen<F> {
    /// What goes into an artifact's key: name, version and settings.
    pub fn identity(&self) -> serde_json::Value {
        serde_json::json!({ "method": self.name, "version": self.version, "settings": self.settings })
    }
}

impl<F: ?Sized + 'static> Part<F> {
    /// The record of the part that settings of type `S` build.
    pub const fn of<S: Build<F>>(name: &'static str, version: u32) -> Self {
        Self { name, version, schema: <S as JsonSchema>::json_schema, read: read::<S, F> }
    }

    /// The record without the way to build it.
    pub fn record(&self) -> Record {
        Record { name: self.name, version: self.version, schema: self.schema }
    }
}

fn read<S: Build<F>, F: ?Sized>(table: &Table) -> Result<Built<F>> {
    let settings: S = table.read()?;
    let resolved = serde_json::to_value(&settings)
        .map_err(|error| crate::Error::program(format!("settings do not serialize: {error}")))?;
    Ok((resolved, settings.build(&table.place())?))
}

/// The member that `table` names with `method`, built from the rest of the table.
///
/// `family` is what a message calls the list ("optimizer"). A name that is not in the list is refused
/// with the nearest known one and the whole list.
pub fn choose<F: ?Sized + 'static>(family: &str, members: &[&'static Part<F>], table: &Table) -> Result<Chosen<F>> {
    let name = table.string("method")?.ok_or_else(|| {
        Fault::new(table.place(), format!("no `method` names the {family}"))
            .hint(format!("write `method = \"...\"` with one of: {}", names(members)))
    })?;
    let Some(member) = members.iter().find(|member| member.name == name) else {
        let hint = match near_miss(&name, members.iter().map(|member| member.name)) {
            Some(near) => format!("did you mean `{near}`? known: {}", names(members)),
            None => format!("known: {}", names(members)),
        };
        return Err(Fault::new(table.place_of("method"), format!("no {family} is called `{name}`")).hint(hint).into());
    };
    let (settings, part) = (member.read)(&table.without(&["method"]))?;
    Ok(Chosen { name: member.name, version: member.version, settings, part })
}

fn names<F: ?Sized>(members: &[&'static Part<F>]) -> String {
    members.iter().map(|member| member.name).collect::<Vec<_>>().join(", ")
}

/// The five headings every part's page has, in order.
pub const PAGE_HEADINGS: [&str; 5] = ["What it does", "How", "When to use", "Differs from the paper in", "Source"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::File;
    use serde::Deserialize;

    trait Double {
        fn double(&self) -> i64;
    }

    /// # What it does
    /// Doubles a number. Twice.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Plain {
        #[schemars(range(min = 1))]
        value: i64,
    }

    impl Double for Plain {
        fn double(&self) -> i64 {
            self.value * 2
        }
    }

    impl Build<dyn Double> for Plain {
        fn build(self, place: &Place) -> Result<Box<dyn Double>> {
            if self.value == 13 {
                return Err(Fault::new(place.clone(), "not thirteen").into());
            }
            Ok(Box::new(self))
        }
    }

    static PLAIN: Part<dyn Double> = Part::of::<Plain>("plain", 3);

    fn chosen(text: &str) -> Result<Chosen<dyn Double>> {
        let file = File::parse("r.toml", text)?;
        choose("doubler", &[&PLAIN], &file.root().table("slot")?.unwrap())
    }

    #[test]
    fn a_member_is_chosen_by_its_name() {
        let member = chosen("slot = { method = \"plain\", value = 4 }").unwrap();
        assert_eq!((member.part.double(), member.name, member.version), (8, "plain", 3));
        assert_eq!(
            member.identity(),
            serde_json::json!({ "method": "plain", "version": 3, "settings": { "value": 4 } })
        );
        assert_eq!(PLAIN.record().summary(), "Doubles a number.");
        assert!(PLAIN.record().page().starts_with("# What it does\n\nDoubles"));
    }

    #[test]
    fn faults_of_a_slot_keep_their_places() {
        let message = |text: &str| chosen(text).err().unwrap().to_string();
        assert_eq!(
            message("slot = { method = \"plian\" }"),
            "r.toml:1:10: slot.method: no doubler is called `plian`\n  hint: did you mean `plain`? known: plain"
        );
        assert_eq!(
            message("slot = { method = 3 }"),
            "r.toml:1:19: slot.method: `method` must be text, not the whole number 3"
        );
        assert!(message("\n[slot]\nvalue = 1").starts_with("r.toml:2:1: slot: no `method` names the doubler"));
        assert_eq!(
            message("slot = { method = \"plain\", value = 0 }"),
            "r.toml:1:36: slot.value: must be at least 1, not the whole number 0"
        );
        assert_eq!(message("slot = { method = \"plain\", value = 13 }"), "r.toml:1:8: slot: not thirteen");
    }
}
