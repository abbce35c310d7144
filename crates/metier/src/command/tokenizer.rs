//! `metier tokenizer`.

use super::{Global, Verdict, named, stage};
use crate::stage::{comparison_table, domain, open_tokenizer};
use metier_core::data::Document;
use metier_core::store;
use metier_core::{Error, Place, Result};
use metier_corpus::packing::is_lines;
use metier_corpus::read::{Item, Jsonl, Read, Text};
use metier_tokenizer::compare::{Candidate, CompareSettings, Domain, compare, page};
use metier_tokenizer::scheme;
use std::path::{Path, PathBuf};

/// Learn a vocabulary, let one learn on, compare several, write one in another form, or encode texts
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples: metier tokenizer train from=curate learn.vocabulary_size=32000\n          metier tokenizer extend from=curate model=base tokens=2000 initialize.method=cw2v\n          metier tokenizer compare own=words english=smollm2 --texts hindi=stories/ --html report.html\n          metier tokenizer convert tokenizer.model tokenizer.json\n          metier tokenizer encode smollm2 'a text' --json"
)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Learn a vocabulary from curated documents; its settings are written as in a recipe
    Train(stage::Arguments),
    /// Learn new tokens from curated documents and give a model rows for them; settings as in a recipe
    Extend(stage::Arguments),
    /// Say how well vocabularies serve texts: tokens a word, coverage, Rényi efficiency, `MorphScore`, cost
    Compare(Compare),
    /// Write a SentencePiece model, tekken.json, a tiktoken file or vocab.txt as a tokenizer.json
    Convert(Convert),
    /// Say the ids of texts, and where in the text each token ends, in bytes and in characters
    Encode(Encode),
}

#[derive(Debug, clap::Args)]
struct Compare {
    /// Vocabularies and models: paths, artifacts' ids or stage names, under another name as NAME=PATH
    #[arg(value_name = "TOKENIZER", required = true)]
    tokenizers: Vec<String>,
    /// Texts of one domain: a file or folder of .txt or .jsonl, or documents of a stage, under another name as NAME=PATH
    #[arg(long, value_name = "TEXTS", required = true, num_args = 1..)]
    texts: Vec<String>,
    /// Order of the Rényi entropy
    #[arg(long, value_name = "ALPHA", default_value_t = CompareSettings::default().alpha)]
    alpha: f64,
    /// Price of a million tokens
    #[arg(long, value_name = "PRICE", default_value_t = CompareSettings::default().price)]
    price: f64,
    /// Write a page with plots too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Convert {
    /// The file to read; a tiktoken file is named after its encoding, as `cl100k_base.tiktoken`
    #[arg(value_name = "FILE")]
    from: PathBuf,
    /// The tokenizer.json to write
    #[arg(value_name = "TO")]
    to: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Encode {
    /// A vocabulary or model: a path, an artifact's id or a stage name
    #[arg(value_name = "TOKENIZER")]
    tokenizer: String,
    /// The texts; standard input is one when there are none
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
    /// Read special tokens that are written in a text as such
    #[arg(long)]
    special: bool,
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    match &arguments.verb {
        Verb::Train(arguments) => stage::execute("tokenizer", arguments, global),
        Verb::Extend(arguments) => stage::execute("extend", arguments, global),
        Verb::Compare(arguments) => compare_vocabularies(arguments, global),
        Verb::Encode(arguments) => encode(arguments, global),
        Verb::Convert(Convert { from, to }) => {
            let json = scheme::json_of_file(from)?;
            // What is written must be readable.
            scheme::from_json(&json).map_err(|error| error.in_file(from))?;
            store::write_atomic(to, &json)?;
            if global.json {
                super::print_json(&serde_json::json!({ "tokenizer": to }))?;
            } else {
                super::print(&format!("{}\n", to.display()))?;
            }
            Ok(Verdict::Fine)
        }
    }
}

fn compare_vocabularies(arguments: &Compare, global: &Global) -> Result<Verdict> {
    let settings = CompareSettings { alpha: arguments.alpha, price: arguments.price };
    settings.check(&Place::default())?;
    let mut tokenizers = Vec::new();
    for given in &arguments.tokenizers {
        let (name, path) = named(given, "vocabulary or model", global)?;
        tokenizers.push((name, open_tokenizer(&path)?));
    }
    let mut domains: Vec<Domain> = Vec::new();
    for given in &arguments.texts {
        let (name, path) = named(given, "text", global)?;
        domains.push(domain(&name, &path, documents(&path)?)?);
    }
    let candidates: Vec<Candidate<'_>> = tokenizers
        .iter()
        .map(|(name, tokenizer)| Candidate { name: name.clone(), tokenizer: tokenizer.as_ref() })
        .collect();
    let rows = compare(&candidates, &domains, settings)?;
    if let Some(html) = &arguments.html {
        store::write_atomic(html, page(&rows, settings))?;
    }
    if global.json {
        super::print_json(&serde_json::json!({ "rows": rows }))?;
    } else {
        super::print(&comparison_table(&rows))?;
    }
    Ok(Verdict::Fine)
}

fn encode(arguments: &Encode, global: &Global) -> Result<Verdict> {
    let (_, path) = named(&arguments.tokenizer, "vocabulary or model", global)?;
    let tokenizer = open_tokenizer(&path)?;
    let given = if arguments.texts.is_empty() {
        let read = std::io::read_to_string(std::io::stdin().lock());
        vec![read.map_err(|error| Error::io("standard input", "read", &error))?]
    } else {
        arguments.texts.clone()
    };
    let texts: Vec<&str> = given.iter().map(String::as_str).collect();
    let mut found = Vec::with_capacity(texts.len());
    let mut rows = Vec::new();
    for (text, encoded) in texts.iter().zip(tokenizer.encode(&texts, arguments.special)?) {
        let characters = encoded.character_ends(text);
        let bytes = encoded.ids.iter().map(|&id| tokenizer.bytes_of(id).unwrap_or_default());
        let tokens: Vec<String> = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect();
        for (number, token) in tokens.iter().enumerate() {
            let (id, end, last) = (encoded.ids[number], encoded.ends[number], characters[number]);
            rows.push(vec![id.to_string(), format!("{token:?}"), end.to_string(), last.to_string()]);
        }
        found.push(serde_json::json!({
            "ids": encoded.ids, "tokens": tokens, "ends": { "bytes": encoded.ends, "characters": characters },
        }));
    }
    if global.json {
        super::print_json(&serde_json::json!({ "texts": found }))?;
    } else {
        let headings = ["id", "token", "ends at byte", "at character"];
        super::print(&super::table(&headings, &rows, &[true, false, true, true]))?;
    }
    Ok(Verdict::Fine)
}

/// The documents of a stage's result, or of a file or folder.
fn documents(path: &Path) -> Result<Vec<Document>> {
    let mut out = Vec::new();
    for file in [metier_corpus::TRAIN, metier_corpus::HELD_OUT].map(|file| path.join(file)) {
        if path.join("record.json").exists() && file.exists() {
            out.extend(metier_corpus::read_documents(&file)?.collect::<Result<Vec<_>>>()?);
        }
    }
    if !out.is_empty() {
        return Ok(out);
    }
    let reader: Box<dyn Read> =
        if path.is_file() && is_lines(path) { Box::new(Jsonl::default()) } else { Box::new(Text::default()) };
    for item in reader.open(path)? {
        if let Item::Document(document) = item? {
            out.push(document);
        }
    }
    Ok(out)
}
