//! Files of the Hugging Face hub.

use super::asset::AssetKind;
use hf_hub::api::Progress as Listener;
use hf_hub::api::sync::ApiBuilder;
use hf_hub::{Repo, RepoType};
use metier_core::progress::Progress;
use metier_core::stop;
use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
const SILENCE_TIMEOUT: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(100);

/// Downloads the wanted files of a repository to the paths given for them. An error is a reason in words.
///
/// The hub's address and the token come from `HF_ENDPOINT` and `HF_TOKEN`, or the hub's own login file.
pub(super) fn take(
    id: &str,
    revision: &str,
    kind: AssetKind,
    folder: &Path,
    wanted: &BTreeMap<String, PathBuf>,
) -> Result<(), String> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if set("HF_HUB_OFFLINE").is_some_and(|value| value != "0") {
        return Err("HF_HUB_OFFLINE is set".to_owned());
    }
    let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
    // Behind a proxy only the proxy can tell whether the hub answers.
    let proxies = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"];
    if proxies.into_iter().all(|name| set(name).is_none()) {
        reach(&endpoint)?;
    }
    let mut builder = ApiBuilder::from_env().with_cache_dir(folder.join("download")).with_progress(false);
    if let Some(token) = set("HF_TOKEN") {
        builder = builder.with_token(Some(token));
    }
    let api = builder.build().map_err(|error| format!("cannot set up the connection: {}", reason(&error)))?;
    let kind = match kind {
        AssetKind::Model => RepoType::Model,
        AssetKind::Data => RepoType::Dataset,
    };
    for (file, target) in wanted {
        let repository = api.repo(Repo::with_revision(id.to_owned(), kind, revision.to_owned()));
        let name = file.clone();
        let path = watched(&format!("hub {id}/{file}"), move |listener| {
            repository.download_with_progress(&name, listener).map_err(|error| reason(&error))
        })?;
        keep(&path, target).map_err(|error| format!("cannot keep `{file}`: {error}"))?;
    }
    Ok(())
}

fn keep(path: &Path, target: &Path) -> std::io::Result<()> {
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    // The path is a link to the file.
    fs::rename(fs::canonicalize(path)?, target)
}

/// Whether the hub's address takes connections, without waiting as long as the system would.
fn reach(endpoint: &str) -> Result<(), String> {
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", endpoint));
    let authority = rest.split('/').next().unwrap_or(rest);
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let port = if scheme == "http" { 80 } else { 443 };
    let address = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
    let host = authority.to_owned();
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let connected = address.to_socket_addrs().and_then(|mut addresses| match addresses.next() {
            Some(one) => TcpStream::connect_timeout(&one, CONNECT_TIMEOUT).map(|_| ()),
            None => Err(std::io::Error::other("the name has no address")),
        });
        let _ = send.send(connected);
    });
    match receive.recv_timeout(CONNECT_TIMEOUT + Duration::from_secs(1)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("cannot reach {host}: {error}")),
        Err(_) => Err(format!("cannot reach {host}: no answer within {} seconds", CONNECT_TIMEOUT.as_secs() + 1)),
    }
}

/// Runs a download on a thread of its own, and leaves it when it is told to stop or nothing arrives for long.
fn watched(
    label: &str,
    download: impl FnOnce(Counter) -> Result<PathBuf, String> + Send + 'static,
) -> Result<PathBuf, String> {
    let counter = Counter { done: Arc::default(), total: Arc::default() };
    let theirs = Counter { done: Arc::clone(&counter.done), total: Arc::clone(&counter.total) };
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let _ = send.send(download(theirs));
    });
    let mut progress = None;
    let mut last = (0, Instant::now());
    loop {
        let finished = receive.recv_timeout(POLL);
        let (done, total) = (counter.done.load(Ordering::Relaxed), counter.total.load(Ordering::Relaxed));
        if total > 0 {
            progress.get_or_insert_with(|| Progress::new(label, Some(total), "bytes")).set(done);
        }
        match finished {
            Ok(result) => {
                if let (Some(progress), true) = (&progress, result.is_ok()) {
                    progress.finish();
                }
                return result;
            }
            Err(RecvTimeoutError::Disconnected) => return Err("the download broke off".to_owned()),
            Err(RecvTimeoutError::Timeout) if stop::requested() => return Err("interrupted".to_owned()),
            Err(RecvTimeoutError::Timeout) if done != last.0 => last = (done, Instant::now()),
            Err(RecvTimeoutError::Timeout) if last.1.elapsed() > SILENCE_TIMEOUT => {
                return Err(format!("nothing arrived for {} seconds", SILENCE_TIMEOUT.as_secs()));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

struct Counter {
    done: Arc<AtomicU64>,
    total: Arc<AtomicU64>,
}

impl Listener for Counter {
    fn init(&mut self, size: usize, _: &str) {
        self.total.store(size as u64, Ordering::Relaxed);
    }

    fn update(&mut self, size: usize) {
        self.done.fetch_add(size as u64, Ordering::Relaxed);
    }

    fn finish(&mut self) {}
}

/// An error and its causes in one line.
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    #[test]
    fn a_silent_address_is_a_reason_within_seconds() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(reach(&format!("http://{address}")), Ok(()));
        drop(listener);
        let message = reach(&format!("http://{address}/")).unwrap_err();
        assert!(message.starts_with(&format!("cannot reach {address}: ")), "{message}");
        assert!(reach("https://no-such-host.invalid").is_err());
    }

    #[test]
    fn a_file_is_taken_from_a_hub() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || answer(stream));
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let api = ApiBuilder::new()
            .with_endpoint(endpoint)
            .with_cache_dir(folder.path().join("download"))
            .with_progress(false)
            .build()
            .unwrap();
        let repository = api.repo(Repo::with_revision("a/b".into(), RepoType::Model, "main".into()));
        let taken = watched("hub a/b", move |listener| {
            repository.download_with_progress("config.json", listener).map_err(|error| reason(&error))
        });
        let target = folder.path().join("kept").join("config.json");
        keep(&taken.unwrap(), &target).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "{\"a\":1}");
    }

    /// Enough of the hub's protocol for one small file, asked for whole or in ranges.
    fn answer(mut stream: TcpStream) {
        const BODY: &str = "{\"a\":1}";
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        loop {
            let mut range = None;
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|count| count > 0) && line.trim() != "" {
                if let Some(value) = line.to_lowercase().strip_prefix("range: bytes=") {
                    let (start, end) = value.trim().split_once('-').unwrap();
                    let end = end.parse().unwrap_or(BODY.len() - 1).min(BODY.len() - 1);
                    range = Some((start.parse::<usize>().unwrap(), end));
                }
                line.clear();
            }
            if line.is_empty() {
                return;
            }
            let (status, part, more) = match range {
                Some((start, end)) => (
                    "206 Partial Content",
                    &BODY[start..=end],
                    format!("content-range: bytes {start}-{end}/{}\r\n", BODY.len()),
                ),
                None => ("200 OK", BODY, String::new()),
            };
            let text = format!(
                "HTTP/1.1 {status}\r\nx-repo-commit: 0123\r\netag: \"e1\"\r\n{more}content-length: {}\r\n\r\n{part}",
                part.len()
            );
            if stream.write_all(text.as_bytes()).is_err() {
                return;
            }
        }
    }
}
