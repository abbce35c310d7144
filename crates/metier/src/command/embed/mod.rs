//! `metier embed`.

mod table;

use crate::command::{Global, Verdict, count, lines, talk};
use metier_core::data::Document;
use metier_core::seam::Embed;
use metier_core::{Error, Fault, Place, Result, progress, stop};
use metier_corpus::packing::is_lines;
use metier_corpus::read::{Item, Jsonl, Read, Text};
use metier_model::LocalModel;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Texts that are given to the model together. A fixed number, so that a run that goes on makes the same vectors.
const BATCH: usize = 32;
/// Texts too long for the model that are named one by one.
const NAMED: usize = 20;

/// Turn texts into vectors: files in, JSON lines or a Parquet table out
///
/// A vector is the mean over a text's tokens of the model's last hidden states (after the final norm), scaled to length 1; or what a
/// sentence-transformers folder says: the mean or the first token's, scaled or not. Texts longer than the model's context, or than the
/// folder's `max_seq_length`, are refused, never cut.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples: metier embed specialist notes/ --output vectors.jsonl\n          metier embed model.gguf questions.jsonl --text-key question --output vectors.parquet\nA line of JSON: {\"request\": .., \"id\": .., \"tokens\": .., \"vector\": [..]}; a Parquet table has the columns id, tokens and vector"
)]
pub struct Arguments {
    /// A model folder, a GGUF file, an artifact's id or a stage name
    #[arg(value_name = "MODEL")]
    model: String,
    /// Files of JSON lines (.jsonl, or that with .bz2, .gz or .zst: one text a line), text files (one text each), or folders of text files
    #[arg(value_name = "INPUT", required = true)]
    inputs: Vec<PathBuf>,
    /// Where vectors go: a name in .jsonl takes one line each, one in .parquet a table, written when all are there. What was made before an
    /// interruption is not made again
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// The key of the text in JSON lines
    #[arg(long, default_value = "text", value_name = "KEY")]
    text_key: String,
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    let table = match arguments.output.extension().and_then(|ending| ending.to_str()) {
        Some("jsonl") => None,
        Some("parquet") => Some(arguments.output.as_path()),
        _ => {
            return Err(Error::file(&arguments.output, "vectors are written as JSON lines or as a Parquet table")
                .hint("give the file a name in .jsonl or in .parquet"));
        }
    };
    let readers = arguments.inputs.iter().map(|input| reader(input, &arguments.text_key));
    let readers: Vec<(&Path, Box<dyn Read>)> = arguments.inputs.iter().map(PathBuf::as_path).zip(readers).collect();
    let path = crate::command::inspect::model_path(&arguments.model, global)?;
    let model = crate::stage::load_model_as_stored(&path)?;
    let model_id = crate::fetch::local(&path)?.id;
    let begins = check(&model, &model_id, &readers)?;
    // A table is made of lines that lie beside it until then.
    let output = &table.map_or_else(|| arguments.output.clone(), |table| table.with_extension("parquet.jsonl"));
    let identity = lines::begin(None, &begins.iter().map(String::as_str).collect::<Vec<_>>());
    if let Some(table) = table.filter(|table| table.exists()) {
        if table::identity(table)?.as_deref() != Some(&identity) {
            return Err(Fault::new(Place::file(table), "it is there already and holds something else")
                .hint("the file is left as it is: name another one with --output, or remove it to start over")
                .into());
        }
        return finish(&arguments.output, &model_id, &model, (begins.len(), 0, 0), global);
    }
    let done = lines::finished(output, &begins)?;
    let failed = |error: std::io::Error| Error::io(output, "write", &error);
    let mut out = std::fs::OpenOptions::new().create(true).append(true).open(output).map_err(failed)?;
    let progress = progress::Progress::new("embedding", Some(begins.len() as u64), "texts");
    progress.resume_at(done as u64);
    let (mut tokens, mut at) = (0, 0);
    let mut documents = documents(&readers);
    loop {
        let batch = documents.by_ref().take(BATCH).collect::<Result<Vec<Document>>>()?;
        if batch.is_empty() {
            break;
        }
        let first = at;
        at += batch.len();
        if at <= done {
            continue;
        }
        if stop::requested() {
            return Err(stop::interrupted());
        }
        let texts: Vec<&str> = batch.iter().map(|document| document.text.as_str()).collect();
        for (number, embedded) in model.embed(&texts)?.into_iter().enumerate().skip(done.saturating_sub(first)) {
            let rest = json!({ "tokens": embedded.tokens, "vector": embedded.vector }).to_string();
            let Some(begin) = begins.get(first + number) else {
                return Err(Error::user(Place::default(), "the inputs changed while they were read"));
            };
            writeln!(out, "{begin}{}", &rest[1..]).map_err(failed)?;
            tokens += embedded.tokens;
            progress.add(1);
        }
    }
    progress.finish();
    drop(out);
    if let Some(table) = table {
        table::write(output, table, &identity)?;
        std::fs::remove_file(output).map_err(|error| Error::io(output, "remove", &error))?;
    }
    finish(&arguments.output, &model_id, &model, (begins.len(), begins.len() - done, tokens), global)
}

/// Says what there is: texts, those of them that were made now, and their tokens.
fn finish(
    output: &Path,
    model_id: &str,
    model: &LocalModel,
    (texts, made, tokens): (usize, usize, usize),
    global: &Global,
) -> Result<Verdict> {
    let dimension = model.dimension();
    talk(global, &format!("{} vectors of {dimension} numbers, {} made now", count(texts as u64), count(made as u64)));
    if global.json {
        crate::command::print_json(&json!({
            "output": output, "model": model_id, "pooling": model.pooling().to_string(), "dimension": dimension,
            "texts": texts, "made": made, "tokens": tokens,
        }))?;
    }
    Ok(Verdict::Fine)
}

fn reader(input: &Path, text_key: &str) -> Box<dyn Read> {
    if is_lines(input) {
        Box::new(Jsonl { text_key: text_key.to_owned(), ..Jsonl::default() })
    } else {
        Box::new(Text::default())
    }
}

/// All texts in order.
fn documents<'a>(readers: &'a [(&Path, Box<dyn Read>)]) -> impl Iterator<Item = Result<Document>> + 'a {
    readers.iter().flat_map(|(path, reader)| match reader.open(path) {
        Ok(found) => Box::new(found.filter_map(|item| match item {
            Ok(Item::Document(document)) => Some(Ok(document)),
            Ok(Item::Skipped { .. } | Item::Quarantined { .. }) => None,
            Err(error) => Some(Err(error)),
        })) as Box<dyn Iterator<Item = Result<Document>>>,
        Err(error) => Box::new(std::iter::once(Err(error))),
    })
}

/// How the line of each text begins. Refused when texts are too long for the model, the first ones by name.
fn check(model: &LocalModel, model_id: &str, readers: &[(&Path, Box<dyn Read>)]) -> Result<Vec<String>> {
    let (around, pooling) = (model.tokens_around(), model.pooling().to_string());
    let mut begins = Vec::new();
    let mut faults = Vec::new();
    let mut more = 0;
    for document in documents(readers) {
        let document = document?;
        if stop::requested() {
            return Err(stop::interrupted());
        }
        let tokens = around + model.tokenizer().ids(&[&document.text], false)?.iter().map(Vec::len).sum::<usize>();
        let place = || Place::key(&document.source);
        let found = match model.check_embedded(tokens) {
            _ if tokens == 0 => vec![Fault::new(place(), "the text is empty")],
            Ok(()) => Vec::new(),
            Err(error) => error.faults.into_iter().map(|fault| Fault { place: place(), ..fault }).collect(),
        };
        if faults.len() >= NAMED {
            more += found.len();
        } else {
            faults.extend(found);
        }
        begins.push(lines::begin(Some(&json!(document.id)), &[model_id, &pooling, &document.text]));
    }
    if more > 0 {
        faults.push(Fault::new(Place::default(), format!("and {more} more texts")));
    }
    if begins.is_empty() {
        faults.push(Fault::new(Place::default(), "the inputs hold no texts"));
    }
    Error::collect(begins, faults)
}
