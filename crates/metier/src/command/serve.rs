//! `metier serve`.

use super::decoding::DecodingArguments;
use super::{Global, Verdict, talk};
use metier_core::fault::near_miss;
use metier_core::seam::Prompt;
use metier_core::{Error, Fault, Place, Result, stop};
use metier_model::checkpoint::Checkpoint;
use metier_model::{Decoder, LocalModel};
use metier_program::call::{CallReader, Syntax};
use metier_program::constrain::Constrainer;
use metier_serve::{Constrain, ReadCalls, Served, Server, Settings, key_hash};
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Holds one key that requests need.
const KEY_VARIABLE: &str = "METIER_API_KEY";

/// Answer HTTP requests as OpenAI's interface does, and chat in a browser
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples: metier serve specialist\n          metier serve specialist base=smollm2.gguf --port 8000\n          metier serve specialist --adapter terse=./terse --adapter formal=./formal\n          metier serve specialist --host 0.0.0.0 --api-key-file keys.txt\nThe page to chat is at the address it prints; programs use the same address with /v1"
)]
pub struct Arguments {
    /// Model folders, GGUF files, artifacts' ids or stage names; NAME=MODEL says what requests call it
    #[arg(value_name = "MODEL", required = true)]
    models: Vec<String>,
    /// An adapter in PEFT's layout (a folder, an artifact's id or a stage name) to answer with too, when requests call the
    /// model NAME; its base is the one model, or the one called BASE. May be given more than once
    #[arg(long, value_name = "[BASE/]NAME=FOLDER")]
    adapter: Vec<String>,
    /// Cut prompts that do not fit, and say so in the response; a request's field `truncate` comes first
    #[arg(long)]
    truncate: bool,
    /// The address to listen at; other machines reach it only when told so here
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    host: IpAddr,
    /// The port to listen at; 0 takes a free one
    #[arg(long, default_value_t = 8080, value_name = "N")]
    port: u16,
    /// A file of keys, one a line, of which requests must bring one; `METIER_API_KEY` in the environment holds one too
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Largest request to read
    #[arg(long, default_value = "4MiB", value_name = "SIZE", value_parser = super::parse_size)]
    body_limit: u64,
    /// Requests that may wait for a model; more are answered with 429
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    queue: u32,
    /// Longest time for a request in seconds, waiting included
    #[arg(long, default_value_t = 600, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    timeout: u32,
    /// How long a client may leave what is written to it unread, in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    write_timeout: u32,
    #[command(flatten)]
    decoding: DecodingArguments,
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    let keys = keys(arguments.api_key_file.as_deref())?;
    let open = keys.is_empty();
    let models = models(arguments, global)?;
    let names: Vec<String> = models.iter().map(|model| model.name.clone()).collect();
    let settings = Settings {
        address: SocketAddr::new(arguments.host, arguments.port),
        keys: keys.iter().map(|key| key_hash(key)).collect(),
        body_limit: usize::try_from(arguments.body_limit).unwrap_or(usize::MAX),
        queue_limit: arguments.queue as usize,
        timeout: Duration::from_secs(arguments.timeout.into()),
        write_timeout: Duration::from_secs(arguments.write_timeout.into()),
        truncate: arguments.truncate,
        // Without a seed no two servers answer alike.
        seed: global
            .seed
            .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)),
    };
    // Ctrl-C ends the taking of requests; those under way are finished.
    stop::be_patient();
    let ready = |address: SocketAddr| {
        if open && !address.ip().is_loopback() {
            talk(
                global,
                "anyone who reaches this machine may ask: --api-key-file or METIER_API_KEY would keep them out",
            );
        }
        talk(global, &format!("serving {} at http://{address}; Ctrl-C stops", names.join(", ")));
        if global.json {
            super::print_json(&json!({ "address": address.to_string(), "models": names }))?;
        }
        Ok(())
    };
    Server::run(models, &settings, ready, stop::wished)?;
    Ok(Verdict::Fine)
}

/// A model that was opened, and where adapters find what they share with it.
struct Opened {
    name: String,
    checkpoint: Checkpoint,
    model: Arc<LocalModel>,
}

/// All models of the command line, each before the adapters on top of it.
fn models(arguments: &Arguments, global: &Global) -> Result<Vec<Served>> {
    let mut faults = Vec::new();
    let mut adapters = Vec::new();
    let named = arguments.models.iter().filter_map(|argument| match name_and_model(argument) {
        Ok(named) => Some(named),
        Err(error) => {
            faults.extend(error.faults);
            None
        }
    });
    let named: Vec<(String, &str)> = named.collect();
    for argument in &arguments.adapter {
        match adapter(argument, &named) {
            Ok(adapter) => adapters.push(adapter),
            Err(error) => faults.extend(error.faults),
        }
    }
    Error::collect((), faults)?;
    let guesser = arguments.decoding.guesser(global)?;
    let as_told = |model: LocalModel| arguments.decoding.apply(model, guesser.as_ref()).map(Arc::new);
    let mut models = Vec::new();
    for (number, (name, what)) in named.into_iter().enumerate() {
        let path = super::inspect::model_path(what, global)?;
        let checkpoint = crate::stage::open_checkpoint(&path)?;
        let decoder = Decoder::from_checkpoint_as_stored(&checkpoint)?;
        let (model, syntax) =
            crate::stage::calling_model(decoder, &checkpoint).map_err(|error| error.in_file(&path))?;
        if !model.decoder().is_causal() {
            talk(global, &format!("attention of `{name}` is bidirectional: it answers requests for embeddings only"));
        }
        let opened = Opened { name, checkpoint, model: as_told(model)? };
        models.push(served(opened.name.clone(), &opened.model, syntax, None));
        for (_, name, folder) in adapters.iter().filter(|(base, ..)| *base == number) {
            let folder = super::inspect::model_path(folder, global)?;
            let mut decoder = opened.model.decoder().shared()?;
            let attached = metier_peft::folder::load(&mut decoder, &folder)?;
            attached.notes().iter().for_each(|note| metier_core::progress::say(note));
            let (model, syntax) = crate::stage::calling_model(decoder, &opened.checkpoint)?;
            models.push(served((*name).to_owned(), &as_told(model)?, syntax, Some(opened.name.clone())));
        }
    }
    Ok(models)
}

fn served(name: String, model: &Arc<LocalModel>, syntax: Option<&'static Syntax>, base: Option<String>) -> Served {
    let encoder = Arc::clone(model);
    Served {
        name,
        tokenize: Arc::clone(model.tokenizer()),
        context_length: model.decoder().config().context_length,
        embed: Some(model.clone()),
        constrain: Some(constrain(model, syntax)),
        calls: syntax.map(|syntax| Arc::new(move || read_calls(syntax)) as Arc<dyn Fn() -> ReadCalls + Send + Sync>),
        encode: Arc::new(move |prompt: &Prompt| encoder.encode_prompt(prompt)),
        base,
        generate: model.clone(),
    }
}

/// What `MODEL` or `NAME=MODEL` says.
fn name_and_model(argument: &str) -> Result<(String, &str)> {
    let (name, what) = match argument.split_once('=') {
        Some((name, what)) if !Path::new(argument).exists() => (name.to_owned(), what),
        _ => (base_name(argument), argument),
    };
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(Error::user(Place::key(argument), "a model needs a name that can be written")
            .hint("write NAME=MODEL, such as specialist=./model.gguf"));
    }
    Ok((name, what))
}

/// What `[BASE/]NAME=FOLDER` says: the number of the base, the name and the folder.
fn adapter<'a>(argument: &'a str, models: &[(String, &str)]) -> Result<(usize, &'a str, &'a str)> {
    let refuse = |message: String| Error::user(Place::key(format!("--adapter {argument}")), message);
    let Some((name, folder)) = argument.split_once('=') else {
        return Err(refuse("an adapter needs a name".to_owned()).hint("write NAME=FOLDER, such as terse=./terse"));
    };
    let (base, name) = name.rsplit_once('/').map_or((None, name), |(base, name)| (Some(base), name));
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(refuse("an adapter needs a name that can be written".to_owned()));
    }
    let known = || models.iter().map(|(name, _)| name.as_str());
    let number = match base {
        Some(base) => known().position(|known| known == base).ok_or_else(|| {
            let near = near_miss(base, known()).map_or_else(
                || format!("there are {}", known().collect::<Vec<_>>().join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            refuse(format!("no model is called `{base}`")).hint(near)
        })?,
        None if models.len() == 1 => 0,
        None => {
            return Err(refuse("it is not said which of the models it belongs to".to_owned()).hint(format!(
                "write BASE/{name}={folder} with BASE one of {}",
                known().collect::<Vec<_>>().join(", ")
            )));
        }
    };
    Ok((number, name, folder))
}

/// Begins to read a reply that may call functions.
fn read_calls(syntax: &'static Syntax) -> ReadCalls {
    let mut reader = CallReader::new(syntax);
    Box::new(move |text| match text {
        Some(text) => reader.push(text),
        None => reader.finish(),
    })
}

/// Holds replies of a model to forms. The vocabulary is read when a request first asks for a form.
fn constrain(model: &LocalModel, syntax: Option<&'static Syntax>) -> Constrain {
    let (tokenize, ends) = (Arc::clone(model.tokenizer()), model.end_ids().to_vec());
    let made: OnceLock<Result<Constrainer>> = OnceLock::new();
    Arc::new(move |form| {
        let constrainer =
            made.get_or_init(|| Constrainer::new(tokenize.as_ref(), &ends).map(|made| made.with_calls(syntax)));
        constrainer.as_ref().map_err(Clone::clone)?.constrain(form)
    })
}

/// What requests call a model that has no name of its own: the last part of its path without `.gguf`.
fn base_name(argument: &str) -> String {
    let path = Path::new(argument);
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let name = whole.file_name().unwrap_or_default().to_string_lossy();
    name.strip_suffix(".gguf").unwrap_or(&name).to_owned()
}

/// The keys of the file and of the environment. A file without any is refused: it would let everyone in.
fn keys(file: Option<&Path>) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|error| Error::io(path, "read", &error))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        keys.extend(lines.map(str::to_owned));
        if keys.is_empty() {
            return Err(Fault::new(Place::file(path), "there is no key in this file")
                .hint("write one key a line; lines that begin with # are notes")
                .into());
        }
    }
    match std::env::var(KEY_VARIABLE) {
        Ok(key) if !key.trim().is_empty() => keys.push(key.trim().to_owned()),
        Ok(_) | Err(std::env::VarError::NotPresent) => {}
        Err(error) => return Err(Error::user(Place::key(KEY_VARIABLE), error.to_string())),
    }
    Ok(keys)
}
