//! `metier serve`.

use super::{Global, Verdict, talk};
use metier_core::{Error, Fault, Place, Result, stop};
use metier_model::LocalModel;
use metier_program::constrain::Constrainer;
use metier_serve::{Constrain, Served, Server, Settings, key_hash};
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
    after_help = "Examples: metier serve specialist\n          metier serve specialist base=smollm2.gguf --port 8000\n          metier serve specialist --host 0.0.0.0 --api-key-file keys.txt\nThe page to chat is at the address it prints; programs use the same address with /v1"
)]
pub struct Arguments {
    /// Model folders, GGUF files, artifacts' ids or stage names; NAME=MODEL says what requests call it
    #[arg(value_name = "MODEL", required = true)]
    models: Vec<String>,
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
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    let keys = keys(arguments.api_key_file.as_deref())?;
    let open = keys.is_empty();
    let models = arguments.models.iter().map(|model| load(model, global)).collect::<Result<Vec<_>>>()?;
    let names: Vec<String> = models.iter().map(|model| model.name.clone()).collect();
    let settings = Settings {
        address: SocketAddr::new(arguments.host, arguments.port),
        keys: keys.iter().map(|key| key_hash(key)).collect(),
        body_limit: usize::try_from(arguments.body_limit).unwrap_or(usize::MAX),
        queue_limit: arguments.queue as usize,
        timeout: Duration::from_secs(arguments.timeout.into()),
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

/// The model that `MODEL` or `NAME=MODEL` stands for.
fn load(argument: &str, global: &Global) -> Result<Served> {
    let (name, what) = match argument.split_once('=') {
        Some((name, what)) if !Path::new(argument).exists() => (name.to_owned(), what),
        _ => (base_name(argument), argument),
    };
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(Error::user(Place::key(argument), "a model needs a name that can be written")
            .hint("write NAME=MODEL, such as specialist=./model.gguf"));
    }
    let model = Arc::new(crate::stage::load_model_as_stored(&super::inspect::model_path(what, global)?)?);
    Ok(Served {
        name,
        tokenize: Arc::clone(model.tokenizer()),
        context_length: model.decoder().config().context_length,
        embed: Some(model.clone()),
        constrain: Some(constrain(&model)),
        generate: model,
    })
}

/// Holds replies of a model to forms. The vocabulary is read when a request first asks for a form.
fn constrain(model: &LocalModel) -> Constrain {
    let (tokenize, ends) = (Arc::clone(model.tokenizer()), model.end_ids().to_vec());
    let made: OnceLock<Result<Constrainer>> = OnceLock::new();
    Arc::new(move |form| {
        let constrainer = made.get_or_init(|| Constrainer::new(tokenize.as_ref(), &ends));
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
