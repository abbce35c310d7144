//! What the server has done, in the text format of Prometheus.

use crate::queue::Queue;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Upper bounds of the buckets of times, in seconds.
const BOUNDS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

/// Counts since the start.
#[derive(Default)]
pub(crate) struct Metrics(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    requests: BTreeMap<(&'static str, u16), u64>,
    /// By model and kind.
    tokens: BTreeMap<(String, &'static str), u64>,
    first_token: BTreeMap<String, Times>,
    job: BTreeMap<String, Times>,
}

/// A histogram.
#[derive(Default)]
struct Times {
    /// How many are at most each of [`BOUNDS`].
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Times {
    fn add(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        for (bucket, bound) in self.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(seconds <= bound);
        }
        self.count += 1;
        self.sum += seconds;
    }
}

impl Metrics {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request was answered with this status.
    pub(crate) fn request(&self, endpoint: &'static str, status: u16) {
        *self.lock().requests.entry((endpoint, status)).or_default() += 1;
    }

    /// A model read, made or guessed tokens of some kind.
    pub(crate) fn tokens(&self, model: &str, kind: &'static str, count: usize) {
        *self.lock().tokens.entry((model.to_owned(), kind)).or_default() += count as u64;
    }

    /// A job's first token came this long after the job.
    pub(crate) fn first_token(&self, model: &str, time: Duration) {
        self.lock().first_token.entry(model.to_owned()).or_default().add(time);
    }

    /// A job was over this long after it came.
    pub(crate) fn job(&self, model: &str, time: Duration) {
        self.lock().job.entry(model.to_owned()).or_default().add(time);
    }

    /// All of it, with the state of the queues.
    pub(crate) fn text<'q>(&self, queues: impl Iterator<Item = (&'q str, &'q Queue)>) -> String {
        let counts = self.lock();
        let mut out = String::new();
        head(&mut out, "metier_requests_total", "counter", "requests answered");
        for ((endpoint, status), count) in &counts.requests {
            let _ = writeln!(out, "metier_requests_total{{endpoint=\"{endpoint}\",status=\"{status}\"}} {count}");
        }
        let what = "tokens read (prompt; cached ones were known), made (completion), guessed (drafted) and taken of those (accepted)";
        head(&mut out, "metier_tokens_total", "counter", what);
        for ((model, kind), count) in &counts.tokens {
            let model = label(model);
            let _ = writeln!(out, "metier_tokens_total{{model=\"{model}\",kind=\"{kind}\"}} {count}");
        }
        times(&mut out, "metier_first_token_seconds", "from a request to its first token", &counts.first_token);
        times(&mut out, "metier_job_seconds", "from a request to its end", &counts.job);
        drop(counts);
        let queues: Vec<(String, (usize, usize))> =
            queues.map(|(model, queue)| (label(model), queue.counts())).collect();
        head(&mut out, "metier_queue_waiting", "gauge", "requests that wait for a model");
        for (model, (waiting, _)) in &queues {
            let _ = writeln!(out, "metier_queue_waiting{{model=\"{model}\"}} {waiting}");
        }
        head(&mut out, "metier_queue_running", "gauge", "requests that a model works on");
        for (model, (_, running)) in &queues {
            let _ = writeln!(out, "metier_queue_running{{model=\"{model}\"}} {running}");
        }
        if let Some(bytes) = metier_core::memory::resident_bytes() {
            head(&mut out, "process_resident_memory_bytes", "gauge", "memory the process holds");
            let _ = writeln!(out, "process_resident_memory_bytes {bytes}");
        }
        out
    }
}

fn head(out: &mut String, name: &str, kind: &str, what: &str) {
    let _ = writeln!(out, "# HELP {name} {what}\n# TYPE {name} {kind}");
}

fn times(out: &mut String, name: &str, what: &str, times: &BTreeMap<String, Times>) {
    head(out, name, "histogram", what);
    for (model, times) in times {
        let model = label(model);
        for (bound, bucket) in BOUNDS.iter().zip(times.buckets) {
            let _ = writeln!(out, "{name}_bucket{{model=\"{model}\",le=\"{bound}\"}} {bucket}");
        }
        let _ = writeln!(out, "{name}_bucket{{model=\"{model}\",le=\"+Inf\"}} {}", times.count);
        let _ = writeln!(out, "{name}_sum{{model=\"{model}\"}} {}", times.sum);
        let _ = writeln!(out, "{name}_count{{model=\"{model}\"}} {}", times.count);
    }
}

/// A label's value as the format wants it.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_out_under_their_labels() {
        let metrics = Metrics::default();
        metrics.request("chat", 200);
        metrics.request("chat", 200);
        metrics.tokens("a\"b", "completion", 4);
        metrics.job("m", Duration::from_millis(30));
        metrics.job("m", Duration::from_secs(400));
        let queue = Queue::new(1);
        let text = metrics.text([("m", &queue)].into_iter());
        for line in [
            "metier_requests_total{endpoint=\"chat\",status=\"200\"} 2",
            "metier_tokens_total{model=\"a\\\"b\",kind=\"completion\"} 4",
            "metier_job_seconds_bucket{model=\"m\",le=\"0.025\"} 0",
            "metier_job_seconds_bucket{model=\"m\",le=\"300\"} 1",
            "metier_job_seconds_bucket{model=\"m\",le=\"+Inf\"} 2",
            "metier_queue_waiting{model=\"m\"} 0",
        ] {
            assert!(text.lines().any(|said| said == line), "{line} in {text}");
        }
    }
}
