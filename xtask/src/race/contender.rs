//! The programs that race: peers, which stay and take turns, and the command, which is started for each turn.

use super::receipt;
use super::table::Rate;
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Bytes in a MiB.
pub const MIB: f64 = 1024.0 * 1024.0;

/// What a peer's script prints for a turn.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PeerTurn {
    /// The most memory the process has had.
    pub peak_rss_mib: f64,
    /// Of the program behind the script.
    pub version: String,
    /// What is counted, in a second, by the median of what was timed; a race looks at one of them.
    pub tokens_per_second: Option<f64>,
    pub bytes_per_second: Option<f64>,
    pub documents_per_second: Option<f64>,
}

/// What `metier bench --json` prints.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct OurTurn {
    /// The most memory the process has had.
    pub peak_rss_bytes: f64,
    /// The machine's most, by name.
    pub ceilings: BTreeMap<String, f64>,
    /// The one of them that bounds its products.
    pub ceiling: String,
    /// How much of that was reached.
    pub share_of_ceiling: f64,
    /// What is counted, in a second, by the median of what was timed; a race looks at one of them.
    pub tokens_per_second: Option<f64>,
    pub bytes_per_second: Option<f64>,
    pub documents_per_second: Option<f64>,
}

impl PeerTurn {
    /// The rate that a race looks at.
    pub fn rate(&self, rate: Rate) -> Result<f64> {
        rate.of([self.tokens_per_second, self.bytes_per_second, self.documents_per_second])
    }
}

impl OurTurn {
    /// The rate that a race looks at.
    pub fn rate(&self, rate: Rate) -> Result<f64> {
        rate.of([self.tokens_per_second, self.bytes_per_second, self.documents_per_second])
    }
}

/// A peer's process: after it said that it is ready, each line `go` gives it a turn. While another has its turn it
/// waits for its input. When it is dropped its input ends, and so does it.
pub struct Serving {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Serving {
    /// Starts it and waits until it is ready.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}: `{}`", command.get_program().to_string_lossy()))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("a piped output is there")?);
        let mut serving = Self { name: name.to_owned(), child, input, output };
        let line = serving.line()?;
        let ready: Value = serde_json::from_str(&line)?;
        if ready["ready"] != true {
            bail!("{name} printed {line} where {{\"ready\": true}} was due");
        }
        Ok(serving)
    }

    /// Gives it a turn and waits for what it saw.
    pub fn turn(&mut self) -> Result<PeerTurn> {
        let name = self.name.clone();
        let input = self.input.as_mut().context("its input is open until it is dropped")?;
        // A peer that has ended is told apart below, with its exit status.
        let _ = input.write_all(b"go\n").and_then(|()| input.flush());
        let line = self.line()?;
        serde_json::from_str(&line)
            .with_context(|| format!("{name} printed {line} where the figures of a turn were due"))
    }

    /// Its next line that is an object of JSON; others are libraries' talk and shown.
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.output.read_line(&mut line)? == 0 {
                let status = self.child.wait()?;
                bail!("{} ended in the middle of the race ({status}); what it said stands above", self.name);
            }
            if line.starts_with('{') {
                return Ok(line.trim().to_owned());
            }
            eprint!("{line}");
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.input.take());
        // It may be in the middle of a turn that nobody wants any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the command for one turn; what it printed. Its memory is its own word, taken before it measures the machine's
/// ceilings, which need more memory than a small model.
pub fn our_turn(command: &mut Command) -> Result<OurTurn> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{name}`"))?;
    if !output.status.success() {
        bail!("`{name}` failed ({}); what it said stands above", output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .with_context(|| format!("`{name}` printed {} where the figures of a turn were due", text.trim()))
}

/// Rates and memory over the rounds.
#[derive(Debug, Default)]
pub struct Rounds {
    rates: Vec<f64>,
    memory: f64,
}

impl Rounds {
    /// Adds a round.
    pub fn add(&mut self, rate: f64, memory: f64) {
        self.rates.push(rate);
        self.memory = self.memory.max(memory);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.rates.len()
    }

    /// Least, middle and greatest rate, and the most memory, rounded.
    pub fn figures(&self) -> Result<[f64; 4]> {
        let median = receipt::median(&self.rates).context("a race has one round or more")?;
        let min = self.rates.iter().copied().fold(f64::INFINITY, f64::min);
        let max = self.rates.iter().copied().fold(0.0, f64::max);
        Ok([min, median, max, self.memory].map(receipt::rounded))
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the figures are exact")]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_peer_takes_a_turn_for_each_line() {
        let script = r#"echo talk; echo '{"ready": true}'
            turn=0
            while read -r line; do
                turn=$((turn + 1))
                [ "$line" = go ] && echo "{\"tokens_per_second\": ${turn}00, \"peak_rss_mib\": 10, \"version\": \"1\", \"steps\": 3}"
            done"#;
        let mut peer = Serving::start("a fake", &mut shell(script)).unwrap();
        assert_eq!(peer.turn().unwrap().rate(Rate::Tokens).unwrap(), 100.0);
        let second = peer.turn().unwrap();
        assert_eq!((second.peak_rss_mib, second.version.as_str()), (10.0, "1"));
        assert_eq!(second.rate(Rate::Tokens).unwrap(), 200.0);
    }

    #[test]
    fn a_peer_that_fails_is_named() {
        let start = |script| Serving::start("a fake", &mut shell(script));
        let error = start("exit 3").err().unwrap().to_string();
        assert_eq!(error, "a fake ended in the middle of the race (exit status: 3); what it said stands above");
        let error = start("echo '{}'").err().unwrap().to_string();
        assert_eq!(error, "a fake printed {} where {\"ready\": true} was due");
        let mut peer = start(r#"echo '{"ready": true}'; read -r line; echo '{"tokens_per_second": 1}'"#).unwrap();
        let error = format!("{:#}", peer.turn().unwrap_err());
        assert!(error.contains("where the figures of a turn were due: missing field `peak_rss_mib`"), "{error}");
        assert!(peer.turn().unwrap_err().to_string().starts_with("a fake ended in the middle"));
    }

    #[test]
    fn our_turn_is_read_and_measured() {
        let report = r#"{"tokens_per_second": 5.5, "peak_rss_bytes": 1048576000, "ceilings": {"f32_flop_per_second": 2e11},
            "share_of_ceiling": 0.5, "ceiling": "f32_flop_per_second", "kernel": "avx512"}"#;
        let turn = our_turn(&mut shell(&format!("echo '{report}'"))).unwrap();
        assert_eq!((turn.rate(Rate::Tokens).unwrap(), turn.peak_rss_bytes), (5.5, 1_048_576_000.0));
        let error = turn.rate(Rate::Bytes).unwrap_err().to_string();
        assert_eq!(error, "a turn's figures have no rate in bytes/s");
        assert_eq!(turn.ceilings["f32_flop_per_second"], 2e11);
        let error = our_turn(&mut shell("exit 2")).unwrap_err().to_string();
        assert_eq!(error, "`sh` failed (exit status: 2); what it said stands above");
        let error = format!("{:#}", our_turn(&mut shell("echo '{}'")).unwrap_err());
        assert!(error.contains("missing field `peak_rss_bytes`"), "{error}");
    }

    #[test]
    fn rounds_are_summed_up() {
        let mut rounds = Rounds::default();
        assert!(rounds.figures().is_err());
        for (rate, memory) in [(3.0, 7.0), (1.0, 9.0), (2.0, 8.0)] {
            rounds.add(rate, memory);
        }
        assert_eq!(rounds.count(), 3);
        assert_eq!(rounds.figures().unwrap(), [1.0, 2.0, 3.0, 9.0]);
    }
}
