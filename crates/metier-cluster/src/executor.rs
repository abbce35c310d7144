//! `metier cluster executor`.

use crate::codec::Codec;
use crate::look;
use crate::work::MESSAGE;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use metier_core::{Error, Place, Result};
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

/// Seconds between two words to the scheduler, well below its patience.
const HEARTBEAT: u64 = 3;

/// Read, filter and tag what a scheduler hands out
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The scheduler
    #[arg(long, default_value = "127.0.0.1:50050", value_name = "HOST:PORT")]
    scheduler: String,
    /// The address under which others reach this executor
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    bind: IpAddr,
    /// The port on which others fetch what was said; any free one when it is left out
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Files that it works on at once; all threads when it is left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// The folder for what was said until it is fetched; one that goes with the executor when it is left out
    #[arg(long, value_name = "FOLDER")]
    work: Option<PathBuf>,
}

/// A port that nobody uses.
fn free_port(address: IpAddr) -> Result<u16> {
    let bound = TcpListener::bind((address, 0)).and_then(|listener| listener.local_addr());
    bound.map(|bound| bound.port()).map_err(|error| Error::user(Place::key(address.to_string()), error.to_string()))
}

/// Works until it is stopped.
pub async fn run(arguments: Arguments) -> Result<()> {
    let Arguments { scheduler, bind, port, threads, work } = arguments;
    let place = || Place::key(scheduler.clone());
    let Some((host, scheduler_port)) =
        scheduler.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)))
    else {
        return Err(Error::user(place(), "is no address of a scheduler").hint("write it like 127.0.0.1:50050"));
    };
    let temporary = tempfile::tempdir().map_err(|error| Error::io(std::env::temp_dir(), "create a folder", &error))?;
    let folder = work.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, "create", &error))?;
    let mut functions = BallistaFunctionRegistry::default();
    functions.scalar_functions.insert(look::NAME.to_owned(), look::function());
    let config = ExecutorProcessConfig {
        bind_host: bind.to_string(),
        external_host: Some(bind.to_string()),
        port: port.map_or_else(|| free_port(bind), Ok)?,
        grpc_port: free_port(bind)?,
        scheduler_host: host.to_owned(),
        scheduler_port,
        scheduler_connect_timeout_seconds: 20,
        executor_heartbeat_interval_seconds: HEARTBEAT,
        vcores: threads.map_or(0, usize::from),
        work_dir: Some(folder.to_string_lossy().into_owned()),
        grpc_max_decoding_message_size: MESSAGE,
        grpc_max_encoding_message_size: MESSAGE,
        override_function_registry: Some(Arc::new(functions)),
        override_physical_codec: Some(Arc::new(Codec::default())),
        ..ExecutorProcessConfig::default()
    };
    eprintln!("executor: {bind}:{} for {scheduler}", config.port);
    start_executor_process(Arc::new(config)).await.map_err(|error| Error::user(place(), error.to_string()))
}
