//! The program that works with a cluster: one of its own, for what it takes is as much again as all of this one.

use metier_core::{Error, Fault, Place, Result};
use metier_corpus::Task;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

/// The program's name.
const NAME: &str = "metier-cluster";

/// The program: beside this one, or where the shell finds programs.
pub fn program() -> Result<PathBuf> {
    let name = format!("{NAME}{}", std::env::consts::EXE_SUFFIX);
    let beside = std::env::current_exe().ok().and_then(|here| here.parent().map(|folder| folder.join(&name)));
    let listed = std::env::var_os("PATH").unwrap_or_default();
    let places = beside.into_iter().chain(std::env::split_paths(&listed).map(|folder| folder.join(&name)));
    places.into_iter().find(|place| place.is_file()).ok_or_else(|| {
        Fault::new(Place::key(NAME), "is neither beside metier nor in a folder of PATH")
            .hint("build it from metier's sources: cargo install --path crates/metier-cluster --locked")
            .into()
    })
}

/// A cluster, and what it is asked.
pub struct Cluster {
    /// The scheduler, as HOST:PORT.
    pub scheduler: String,
    /// What it is asked.
    pub task: Task,
}

impl metier_corpus::Cluster for Cluster {
    fn open(&self, files: u64) -> Result<Box<dyn BufRead + Send>> {
        let program = program()?;
        let failed = |error: std::io::Error| Error::io(&program, "run", &error);
        let task = serde_json::to_vec(&self.task)
            .map_err(|error| Error::program(format!("a task does not serialize: {error}")))?;
        let mut look = Command::new(&program);
        look.args(["look", "--scheduler", &self.scheduler, "--files", &files.to_string()]);
        let mut child = look.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(mut input), Some(output)) = (input, output) else {
            return Err(Error::program("a process has no pipes"));
        };
        let said = Said { child, lines: BufReader::with_capacity(1 << 17, output) };
        // It says itself why it does not read on.
        let _ = input.write_all(&task);
        Ok(Box::new(said))
    }
}

/// What the program says; it ends with this.
struct Said {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Read for Said {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.lines.read(out)
    }
}

impl BufRead for Said {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.lines.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.lines.consume(amount);
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
