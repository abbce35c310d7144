//! Connections: taken while there is room, ended politely.

use super::write::Patient;
use crate::Settings;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections at once.
const CONNECTIONS: usize = 1024;
/// How long a client may take to send a request's head, and how long a connection may lie idle.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// How often the wish to stop is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Serves until `stop` is true, then lets the requests under way finish, for as long as a request may take.
pub(crate) async fn accept(listener: TcpListener, router: Router, stop: impl Fn() -> bool, settings: &Settings) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    while !stop() {
        let taken = tokio::time::timeout(LOOK, async {
            let place = Arc::clone(&room).acquire_owned().await;
            (place, listener.accept().await)
        });
        let (place, stream) = match taken.await {
            Ok((place, Ok((stream, _)))) => (place, stream),
            // Nobody came, or (too many open files, most often) the system cannot take a connection now.
            Ok((_, Err(_))) => {
                tokio::time::sleep(LOOK).await;
                continue;
            }
            Err(_) => continue,
        };
        // Pieces of a reply are small and wanted at once; without this they only come later.
        let _ = stream.set_nodelay(true);
        let stream = Patient::new(stream, settings.write_timeout);
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A client that breaks off is no fault of the server's.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    // Who does not read an answer does not keep the server from ending.
    let _ = tokio::time::timeout(settings.timeout, graceful.shutdown()).await;
}
