//! `metier cluster scheduler`.

use crate::codec::Codec;
use crate::look;
use crate::work::MESSAGE;
use ballista_core::utils::default_session_builder;
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::start_server;
use metier_core::{Error, Place, Result};
use std::net::SocketAddr;
use std::sync::Arc;

/// Hand work to executors, and again when one is lost
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where executors and `metier run --cluster` reach it
    #[arg(long, default_value = "127.0.0.1:50050", value_name = "ADDRESS:PORT")]
    bind: SocketAddr,
    /// Seconds without a word after which an executor is lost
    #[arg(long, default_value_t = 20, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(10..))]
    patience: u64,
}

/// Serves until it is stopped.
pub async fn run(arguments: Arguments) -> Result<()> {
    let Arguments { bind, patience } = arguments;
    let failed =
        |error: ballista_core::error::BallistaError| Error::user(Place::key(bind.to_string()), error.to_string());
    let config = SchedulerConfig {
        bind_host: bind.ip().to_string(),
        external_host: bind.ip().to_string(),
        bind_port: bind.port(),
        executor_timeout_seconds: patience,
        expire_dead_executor_interval_seconds: 2,
        no_executors_grace_period_seconds: patience,
        finished_job_data_clean_up_interval_seconds: 60,
        grpc_server_max_decoding_message_size: MESSAGE,
        grpc_server_max_encoding_message_size: MESSAGE,
        grpc_client_max_message_size: MESSAGE,
        override_physical_codec: Some(Arc::new(Codec::default())),
        override_session_builder: Some(Arc::new(|config| {
            let mut state = default_session_builder(config)?;
            datafusion::execution::FunctionRegistry::register_udf(&mut state, look::function())?;
            Ok(state)
        })),
        ..SchedulerConfig::default()
    };
    let cluster = BallistaCluster::new_from_config(&config).await.map_err(failed)?;
    eprintln!("scheduler: {bind}");
    tokio::select! {
        served = start_server(cluster, bind, Arc::new(config)) => served.map_err(failed),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}
