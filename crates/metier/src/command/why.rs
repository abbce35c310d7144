//! `metier why`.

use super::{Global, Verdict, count};
use metier_core::store::{Artifact, InputKind, Store};
use metier_core::{Fault, Place, Result};
use metier_tokenizer::pack::{DocumentEntry, Shards};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Say where an artifact comes from: the chain back to every document and its license
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples: metier why specialist\n          metier why --token 0:12345\n          metier why shards --token 0:12345"
)]
pub struct Arguments {
    /// An artifact's id, path or stage name
    #[arg(value_name = "ARTIFACT", required_unless_present = "token")]
    artifact: Option<String>,
    /// Name the document and characters of one token: SHARD:OFFSET; of the only token shards in the store when no ARTIFACT is given
    #[arg(long, value_name = "SHARD:OFFSET", value_parser = parse_token)]
    token: Option<(u32, u64)>,
}

fn parse_token(text: &str) -> Result<(u32, u64), String> {
    let wrong = || "write the shard's number, a colon and the token's offset in it: 0:12345".to_owned();
    let (shard, offset) = text.split_once(':').ok_or_else(wrong)?;
    Ok((shard.parse().map_err(|_| wrong())?, offset.parse().map_err(|_| wrong())?))
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    let store = global.read_store()?;
    let mut chain = Chain { store: &store, steps: Vec::new(), shards: BTreeMap::new(), measured: false };
    let asked = if let Some(name) = &arguments.artifact {
        chain.walk(&store.resolve(name)?, 0)?;
        Asked { place: Place::key(name), what: "among what it was made from" }
    } else {
        let shards = store.list()?.into_iter().filter(|artifact| artifact.record.verb == "pack");
        chain.shards.extend(shards.map(|artifact| (artifact.id.clone(), artifact)));
        Asked { place: Place::file(store.path()), what: "in the store" }
    };
    match arguments.token {
        Some((shard, offset)) => token(&chain, asked, shard, offset, global),
        None => documents(&chain, global),
    }
}

/// Where token shards were looked for, for messages.
struct Asked {
    place: Place,
    what: &'static str,
}

struct Step {
    depth: usize,
    artifact: Option<String>,
    text: String,
    json: serde_json::Value,
}

struct Chain<'a> {
    store: &'a Store,
    steps: Vec<Step>,
    shards: BTreeMap<String, Artifact>,
    /// Within what a run was only validated on.
    measured: bool,
}

impl Chain<'_> {
    fn walk(&mut self, artifact: &Artifact, depth: usize) -> Result<()> {
        let seen = self.steps.iter().any(|step| step.artifact.as_deref() == Some(&artifact.id));
        let record = &artifact.record;
        let short: String = artifact.id.chars().take(12).collect();
        let dropped: u64 = record.counts.dropped.values().sum();
        self.steps.push(Step {
            depth,
            artifact: Some(artifact.id.clone()),
            text: format!(
                "{} `{}` {short}{}{}",
                record.verb,
                record.stage,
                if record.counts.out > 0 { format!(": {} rows", count(record.counts.out)) } else { String::new() },
                if dropped > 0 { format!(", {} dropped", count(dropped)) } else { String::new() },
            ),
            json: json!({ "depth": depth, "artifact": artifact.id, "verb": record.verb, "stage": record.stage, "settings": record.settings }),
        });
        if seen {
            return Ok(());
        }
        if record.verb == "pack" && !self.measured {
            self.shards.insert(artifact.id.clone(), artifact.clone());
        }
        let measured = self.measured;
        for (slot, input) in &record.inputs {
            self.measured = measured || slot.split('.').next() == Some("validation");
            match input.kind {
                InputKind::Artifact => {
                    let next = self.store.find(&input.id)?.ok_or_else(|| {
                        Fault::new(
                            Place::file(&artifact.path).with_key(slot),
                            format!("the artifact it was made from ({}) is gone from the store", input.id),
                        )
                    })?;
                    self.walk(&next, depth + 1)?;
                }
                InputKind::Asset | InputKind::File => self.steps.push(Step {
                    depth: depth + 1,
                    artifact: None,
                    text: format!(
                        "asset `{}` from {}, license {}",
                        input.name,
                        input.source.as_deref().unwrap_or("an unnamed source"),
                        input.license.as_deref().unwrap_or("not stated"),
                    ),
                    json: json!({ "depth": depth + 1, "asset": input.name, "id": input.id, "source": input.source, "license": input.license }),
                }),
            }
        }
        self.measured = measured;
        Ok(())
    }
}

fn documents(chain: &Chain, global: &Global) -> Result<Verdict> {
    let mut documents: Vec<DocumentEntry> = Vec::new();
    for artifact in chain.shards.values() {
        documents.extend(Shards::open(&artifact.path)?.documents().iter().cloned());
    }
    if global.json {
        let documents: Vec<_> = documents
            .iter()
            .map(|document| {
                json!({
                    "id": document.id, "source": document.source, "source_sha256": document.source_sha256,
                    "license": document.license, "tokens": document.tokens(),
                })
            })
            .collect();
        let steps: Vec<_> = chain.steps.iter().map(|step| &step.json).collect();
        super::print_json(&json!({ "chain": steps, "documents": documents }))?;
        return Ok(Verdict::Fine);
    }
    let mut out = String::new();
    for step in &chain.steps {
        let arrow = if step.depth == 0 { "" } else { "<- " };
        let _ = writeln!(out, "{}{arrow}{}", "   ".repeat(step.depth), step.text);
    }
    if !documents.is_empty() {
        let rows: Vec<_> = documents
            .iter()
            .map(|document| {
                vec![
                    document.id.clone(),
                    count(document.tokens()),
                    document.source_sha256.chars().take(12).collect(),
                    document.license.clone(),
                ]
            })
            .collect();
        let _ = write!(
            out,
            "\n{} documents in the training shards\n{}",
            documents.len(),
            super::table(&["document", "tokens", "sha256", "license"], &rows, &[false, true, false, false])
        );
    }
    super::print(&out)?;
    Ok(Verdict::Fine)
}

fn token(chain: &Chain, asked: Asked, shard: u32, offset: u64, global: &Global) -> Result<Verdict> {
    let Asked { place, what } = asked;
    let Some(artifact) = chain.shards.values().next() else {
        return Err(Fault::new(place, format!("no token shards are {what}"))
            .hint("name the artifact of a `pack` stage, or something made from one")
            .into());
    };
    if chain.shards.len() > 1 {
        let ids: Vec<_> = chain.shards.keys().map(|id| id.chars().take(12).collect::<String>()).collect();
        return Err(Fault::new(place, format!("more than one set of token shards is {what}"))
            .hint(format!("name one of: {}", ids.join(", ")))
            .into());
    }
    let origin = Shards::open(&artifact.path)?.locate(shard, offset)?;
    if global.json {
        super::print_json(&json!({
            "document": origin.document, "source": origin.source, "license": origin.license,
            "text": { "start": origin.text.start, "end": origin.text.end },
            "source_bytes": origin.source_bytes.as_ref().map(|range| json!({ "start": range.start, "end": range.end })),
            "id": origin.id,
        }))?;
    } else {
        let place = origin.source_bytes.as_ref().map_or("written by a cleaning step".to_owned(), |range| {
            format!("bytes {}..{} of {}", range.start, range.end, origin.source)
        });
        super::print(&format!(
            "token {} (shard {shard}, offset {offset})\ndocument: {}\ncharacters: bytes {}..{} of its cleaned text\nsource: {place}\nlicense: {}\n",
            origin.id, origin.document, origin.text.start, origin.text.end, origin.license
        ))?;
    }
    Ok(Verdict::Fine)
}
