//! A server under test, and the least that a client needs: bytes out, bytes in.

use crate::command::metier;
use metier_serve::{Served, Settings};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A `metier serve` of its own; ended when dropped.
pub struct Server {
    child: Child,
    pub address: String,
    _folder: tempfile::TempDir,
}

/// Something that answers at an address.
pub trait Answers {
    fn address(&self) -> &str;

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(2))).unwrap();
        stream
    }

    /// One request on a connection of its own.
    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut stream = self.connect();
        write(&mut stream, method, path, headers, body);
        let mut bytes = Vec::new();
        // A server that has answered may close before all was read of a body that it refuses.
        let _ = stream.read_to_end(&mut bytes);
        Response::parse(&bytes)
    }

    fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], b"")
    }

    fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Response {
        self.send("POST", path, &[("content-type", "application/json")], body.as_ref())
    }

    /// A chat request of this text with these fields added.
    fn chat(&self, text: &str, more: &str) -> Response {
        self.post("/v1/chat/completions", chat_body(text, more))
    }

    /// The value of a line of the metrics; 0 when there is none.
    fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
        value.map_or(0.0, |value| value.parse().unwrap())
    }
}

/// A server in this process.
pub struct Inside {
    address: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<metier_core::Result<()>>>,
}

impl Inside {
    /// Serves models at a free port.
    pub fn start(models: Vec<Served>, settings: Settings) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (address, told) = std::sync::mpsc::channel();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let ready = |ready: std::net::SocketAddr| {
                address.send(ready.to_string()).unwrap();
                Ok(())
            };
            metier_serve::Server::run(models, &settings, ready, || stopped.load(Ordering::Relaxed))
        });
        Self { address: told.recv().unwrap(), stop, thread: Some(thread) }
    }

    /// Ends it, and gives how that went.
    pub fn end(mut self) -> metier_core::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Answers for Inside {
    fn address(&self) -> &str {
        &self.address
    }
}

impl Answers for Server {
    fn address(&self) -> &str {
        &self.address
    }
}

/// A model of the repository, twice: chat template, 256 tokens of context.
pub fn tiny() -> String {
    metier_testkit::fixture("models/tiny-llama.gguf").display().to_string()
}

impl Server {
    /// Serves the tiny model as `tiny`.
    pub fn tiny(more: &[&str]) -> Self {
        let model = format!("tiny={}", tiny());
        Self::start(&[&[model.as_str()], more].concat())
    }

    /// Serves what the arguments say, at a free port.
    pub fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = metier(folder.path());
        command.args(["serve", "--port", "0", "--json"]).args(arguments);
        command.env_remove("METIER_API_KEY");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        while !said.ends_with("}\n") {
            if out.read_line(&mut said).unwrap() == 0 {
                let output = child.wait_with_output().unwrap();
                panic!("no address: {said}{}", String::from_utf8_lossy(&output.stderr));
            }
        }
        let ready: Value = serde_json::from_str(&said).unwrap();
        let address = ready["address"].as_str().unwrap().to_owned();
        Self { child, address, _folder: folder }
    }

    /// Asks it politely to end.
    pub fn terminate(&self) {
        let id = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    }

    /// How it ended, and what it said on standard error.
    pub fn ended(mut self) -> (ExitStatus, String) {
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_mins(1), "the server does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap(), said)
    }

    /// Waits until a condition holds.
    pub fn wait_for(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(begun.elapsed() < Duration::from_mins(1), "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A chat request for the tiny model.
pub fn chat_body(text: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { ", " };
    format!(r#"{{"model": "tiny", "messages": [{{"role": "user", "content": "{text}"}}]{comma}{more}}}"#)
}

/// Writes a request that asks for the connection to be closed.
pub fn write(stream: &mut TcpStream, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "host") {
        head += "host: localhost\r\n";
    }
    for (name, value) in headers {
        head += &[name, ": ", value, "\r\n"].concat();
    }
    head += "\r\n";
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
}

/// What a server answered.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no response: {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = &bytes[end + 4..];
        let body = if head.contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_vec() };
        Self { status, head, body }
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The message of an error object.
    pub fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap_or_else(|| panic!("no error: {self:?}")).to_owned()
    }

    /// The data of server-sent events, and whether the stream was closed as it should be.
    pub fn events(&self) -> (Vec<Value>, bool) {
        let text = self.text();
        let data: Vec<&str> = text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
        let done = data.last() == Some(&"[DONE]");
        (data.iter().filter(|data| **data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect(), done)
    }
}

/// The bytes of a chunked body, as far as it came.
fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        let chunk = &rest[end + 2..];
        if size == 0 || chunk.len() < size + 2 {
            break;
        }
        body.extend_from_slice(&chunk[..size]);
        rest = &chunk[size + 2..];
    }
    body
}

/// Runs one of the Python scripts beside these tests against a server.
pub fn python(python: &Path, script: &str, arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serve").join(script);
    let output = std::process::Command::new(python).arg(&script).args(arguments).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("all as expected"), "{}: {said}", script.display());
}
