//! `metier list`.

use super::{Global, Verdict};
use crate::stage::VERBS;
use metier_core::fault::near_miss;
use metier_core::{Fault, Place, Result};
use serde_json::json;

/// List stage verbs and parts, or what lies in the store
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples: metier list\n          metier list optimizer\n          metier list artifacts")]
pub struct Arguments {
    /// A family (optimizer), or `artifacts`
    #[arg(value_name = "FAMILY")]
    family: Option<String>,
}

/// A family and the records of its members.
pub struct Family {
    /// What it is called.
    pub name: &'static str,
    /// The stage verb and key it is used under.
    pub used_by: String,
    /// Its members.
    pub members: Vec<metier_core::part::Record>,
}

/// Every family that a stage verb has a key for, alphabetical.
pub fn families() -> Vec<Family> {
    let mut families: Vec<Family> = VERBS
        .iter()
        .flat_map(|verb| {
            verb.parts.iter().map(|slot| Family {
                name: slot.family,
                used_by: format!("{} {}", verb.name, slot.key),
                members: (slot.members)(),
            })
        })
        .collect();
    families.sort_by_key(|family| family.name);
    families
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    if arguments.family.as_deref() == Some("artifacts") {
        return artifacts(global);
    }
    let mut families = families();
    if let Some(wanted) = &arguments.family {
        let names: Vec<&str> = families.iter().map(|family| family.name).chain(["artifacts"]).collect();
        if !names.contains(&wanted.as_str()) {
            let near = near_miss(wanted, names.iter().copied());
            return Err(Fault::new(Place::key(wanted), "no family is called this")
                .hint(near.map_or(format!("known: {}", names.join(", ")), |near| format!("did you mean `{near}`?")))
                .into());
        }
        families.retain(|family| family.name == wanted);
    }
    if global.json {
        let verbs: Vec<_> = VERBS
            .iter()
            .map(|verb| json!({ "name": verb.name, "version": verb.version, "summary": verb.summary }))
            .collect();
        let families: Vec<_> = families
            .iter()
            .map(|family| {
                let members: Vec<_> = family
                    .members
                    .iter()
                    .map(|part| json!({ "name": part.name, "version": part.version, "summary": part.summary() }))
                    .collect();
                json!({ "name": family.name, "used_by": family.used_by, "members": members })
            })
            .collect();
        super::print_json(&json!({ "verbs": verbs, "families": families }))?;
        return Ok(Verdict::Fine);
    }
    let mut out = String::new();
    if arguments.family.is_none() {
        let rows: Vec<_> = VERBS.iter().map(|verb| vec![verb.name.to_owned(), verb.summary.to_owned()]).collect();
        out += &super::table(&["stage verb", "what it does"], &rows, &[false, false]);
        out.push('\n');
    }
    let rows: Vec<_> = families
        .iter()
        .flat_map(|family| {
            family
                .members
                .iter()
                .map(|part| vec![family.name.to_owned(), part.name.to_owned(), family.used_by.clone(), part.summary()])
        })
        .collect();
    out += &super::table(&["family", "part", "used by", "what it does"], &rows, &[false; 4]);
    super::print(&out)?;
    Ok(Verdict::Fine)
}

fn artifacts(global: &Global) -> Result<Verdict> {
    let mut artifacts = global.read_store()?.list()?;
    artifacts.sort_by_key(|artifact| std::cmp::Reverse(artifact.record.started));
    if global.json {
        let records: Vec<_> = artifacts.iter().map(|artifact| json!(artifact.record)).collect();
        super::print_json(&json!({ "artifacts": records }))?;
        return Ok(Verdict::Fine);
    }
    let rows: Vec<_> = artifacts
        .iter()
        .map(|artifact| {
            vec![
                artifact.id.chars().take(12).collect(),
                artifact.record.verb.clone(),
                artifact.record.stage.clone(),
                super::size(artifact.record.real.disk_bytes),
                super::duration(artifact.record.real.seconds),
            ]
        })
        .collect();
    super::print(&super::table(
        &["artifact", "verb", "stage", "disk", "took"],
        &rows,
        &[false, false, false, true, true],
    ))?;
    Ok(Verdict::Fine)
}
