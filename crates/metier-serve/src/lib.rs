//! Models behind `OpenAI`'s HTTP interface, and a page to chat with them.
//!
//! | folder | answers |
//! |---|---|
//! | `http` | which endpoints are there, what may a request say, how is it answered |
//! | `queue` | what waits before a model, whose turn is it to compute |
//! | `page` | what does a person see who opens the server in a browser |
//!
//! A request becomes a job in its model's queue. Each model has a thread that takes jobs from there; HTTP runs on the
//! thread that called [`Server::run`] and never computes. All models share the threads of the kernels by taking turns.

mod http;
mod page;
mod queue;

use metier_core::data::{CallPiece, Form, TokenId};
use metier_core::seam::{Embed, Generate, ProcessLogits, Prompt, Tokenize};
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result};
use queue::{Queue, Turns};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Gives what holds one reply of a model to a form.
pub type Constrain = Arc<dyn Fn(&Form) -> Result<Box<dyn ProcessLogits>> + Send + Sync>;

/// Tells calls of functions from the text of one reply: given more of it, or `None` at its end, gives what is certain.
pub type ReadCalls = Box<dyn FnMut(Option<&str>) -> Vec<CallPiece> + Send>;

/// Gives the tokens that a prompt is for a model.
pub type Encode = Arc<dyn Fn(&Prompt) -> Result<Vec<TokenId>> + Send + Sync>;

/// A model as it is served.
#[derive(Clone)]
pub struct Served {
    /// What requests call it.
    pub name: String,
    /// Makes replies.
    pub generate: Arc<dyn Generate>,
    /// Its tokens.
    pub tokenize: Arc<dyn Tokenize>,
    /// Makes vectors, if it can.
    pub embed: Option<Arc<dyn Embed>>,
    /// Holds replies to forms, if it can.
    pub constrain: Option<Constrain>,
    /// Begins to read a reply that may call functions, if it is known how the model writes calls.
    pub calls: Option<Arc<dyn Fn() -> ReadCalls + Send + Sync>>,
    /// Its prompts as tokens.
    pub encode: Encode,
    /// The model whose weights it shares, when it is an adapter on top of them.
    pub base: Option<String>,
    /// Tokens of prompt and reply together.
    pub context_length: usize,
}

/// How a server behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// BLAKE3 of the keys that requests need one of; empty lets everyone in.
    pub keys: Vec<blake3::Hash>,
    /// Largest body of a request in bytes.
    pub body_limit: usize,
    /// Requests that may wait for one model.
    pub queue_limit: usize,
    /// Longest time for one request, waiting included.
    pub timeout: Duration,
    /// How long a client may leave what is written to it unread.
    pub write_timeout: Duration,
    /// Whether prompts that do not fit are cut where a request does not say.
    pub truncate: bool,
    /// Decides the replies of requests without a seed, together with their number.
    pub seed: u64,
}

/// The hash of a key as [`Settings::keys`] has it.
pub fn key_hash(key: &str) -> blake3::Hash {
    blake3::hash(key.as_bytes())
}

/// A model and what waits for it.
struct Model {
    served: Served,
    queue: Queue,
}

/// Models that listen at an address.
pub struct Server {
    models: Vec<Arc<Model>>,
    settings: Settings,
    address: SocketAddr,
    metrics: http::Metrics,
    turns: Turns,
    seed: Seed,
    requests: AtomicU64,
    started: u64,
}

impl Server {
    /// Serves `models` from `settings.address` until `stop` says so, then finishes what is under way. `ready` gets the
    /// address once connections are taken.
    ///
    /// Refused when two models have one name, and when the address cannot be had.
    pub fn run(
        models: Vec<Served>,
        settings: &Settings,
        ready: impl FnOnce(SocketAddr) -> Result<()>,
        stop: impl Fn() -> bool,
    ) -> Result<()> {
        let mut faults = Vec::new();
        for (number, model) in models.iter().enumerate() {
            if models[..number].iter().any(|other| other.name == model.name) {
                let place = Place::key(&model.name);
                faults.push(
                    Fault::new(place, "two models would have this name").hint("give one of them another: NAME=MODEL"),
                );
            }
        }
        Error::collect((), faults)?;
        let cannot = |what: &str, error: std::io::Error| {
            Error::user(Place::key(settings.address.to_string()), format!("cannot {what}: {error}"))
        };
        let listener = TcpListener::bind(settings.address)
            .map_err(|error| cannot("listen", error).hint("name another with --host and --port"))?;
        listener.set_nonblocking(true).map_err(|error| cannot("listen", error))?;
        let address = listener.local_addr().map_err(|error| cannot("listen", error))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // Prompts are cut one after another: the processor belongs to the models.
            .max_blocking_threads(1)
            .build()
            .map_err(|error| cannot("wait for connections", error))?;
        let server = Arc::new(Self {
            models: models
                .into_iter()
                .map(|served| Arc::new(Model { served, queue: Queue::new(settings.queue_limit) }))
                .collect(),
            seed: Seed::new(settings.seed),
            settings: settings.clone(),
            address,
            metrics: http::Metrics::default(),
            turns: Turns::default(),
            requests: AtomicU64::new(0),
            started: unix_seconds(),
        });
        std::thread::scope(|scope| {
            let close = Close(&server);
            for model in &server.models {
                let server = &server;
                std::thread::Builder::new()
                    .name(format!("model-{}", model.served.name))
                    .spawn_scoped(scope, move || {
                        queue::worker::work_off(&model.served, &model.queue, &server.turns, &server.metrics);
                    })
                    .map_err(|error| cannot("start a thread", error))?;
            }
            let served = runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).map_err(|error| cannot("listen", error))?;
                ready(address)?;
                http::accept(listener, http::router(Arc::clone(&server)), stop, settings).await;
                Ok(())
            });
            drop(close);
            served
        })
    }

    fn model(&self, name: &str) -> Option<Arc<Model>> {
        self.models.iter().find(|model| model.served.name == name).cloned()
    }

    /// A name for a reply that no other of this server has.
    fn next_id(&self, prefix: &str) -> String {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        format!("{prefix}-{:016x}", self.seed.derive("id").at(number).bits())
    }
}

/// Lets the threads of the models end, whichever way the server does.
struct Close<'s>(&'s Server);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        for model in &self.0.models {
            model.queue.close();
        }
    }
}

/// Seconds since 1970.
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
