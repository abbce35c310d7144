//! How far a long piece of work is, with its rate and the time left, on standard error.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A bar when standard error is a terminal, plain lines otherwise.
    Auto,
    /// Plain lines, one about every ten seconds.
    Plain,
    /// Nothing.
    Silent,
}

static MODE: AtomicU8 = AtomicU8::new(0);

const PLAIN_INTERVAL: Duration = Duration::from_secs(10);
/// Bars on the terminal, the newest last: what is written while they are there goes above that one.
static BARS: Mutex<Vec<ProgressBar>> = Mutex::new(Vec::new());

/// Chooses how every later [`Progress`] is shown.
pub fn set_mode(mode: Mode) {
    MODE.store(mode as u8, Ordering::Relaxed);
}

/// How progress is shown now.
pub fn mode() -> Mode {
    match MODE.load(Ordering::Relaxed) {
        0 => Mode::Auto,
        1 => Mode::Plain,
        _ => Mode::Silent,
    }
}

/// Writes a line to standard error, unless the mode is [`Mode::Silent`].
pub fn say(line: &str) {
    if mode() != Mode::Silent {
        write_line(line);
    }
}

/// One piece of work under way. All methods take `&self` and may be called from many threads.
pub struct Progress {
    label: String,
    unit: String,
    total: Option<u64>,
    done: AtomicU64,
    base: AtomicU64,
    note: Mutex<String>,
    panel: Mutex<String>,
    started: Instant,
    face: Face,
}

enum Face {
    Bar(ProgressBar),
    Plain(Mutex<Instant>),
    Silent,
}

impl Progress {
    /// Begins work called `label` of `total` units (`"tokens"`, `"bytes"`, `"documents"`).
    pub fn new(label: &str, total: Option<u64>, unit: &str) -> Self {
        let face = match mode() {
            Mode::Silent => Face::Silent,
            Mode::Auto if std::io::stderr().is_terminal() => {
                let bar = bar(label, total);
                bars().push(bar.clone());
                Face::Bar(bar)
            }
            Mode::Auto | Mode::Plain => Face::Plain(Mutex::new(Instant::now())),
        };
        Self {
            label: label.to_owned(),
            unit: unit.to_owned(),
            total,
            done: AtomicU64::new(0),
            base: AtomicU64::new(0),
            note: Mutex::new(String::new()),
            panel: Mutex::new(String::new()),
            started: Instant::now(),
            face,
        }
    }

    /// Says that `done` units were finished before this run; they do not count in the rate.
    pub fn resume_at(&self, done: u64) {
        self.base.store(done, Ordering::Relaxed);
        self.set(done);
    }

    /// Adds `count` finished units.
    pub fn add(&self, count: u64) {
        let done = self.done.fetch_add(count, Ordering::Relaxed) + count;
        self.show(done);
    }

    /// Sets the number of finished units.
    pub fn set(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.show(done);
    }

    /// A short text beside the count, such as `loss 2.31`.
    pub fn note(&self, text: &str) {
        text.clone_into(&mut self.note.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether there is a terminal to show a [`panel`](Self::panel) on.
    pub fn is_drawn(&self) -> bool {
        matches!(self.face, Face::Bar(_))
    }

    /// Lines below the bar while it is on a terminal; see [`panel`].
    pub fn panel(&self, rows: &[(&str, String)]) {
        if self.is_drawn() {
            *self.panel.lock().unwrap_or_else(PoisonError::into_inner) = panel(rows, width());
            self.show(self.done());
        }
    }

    /// Units finished so far.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Units a second since the start of this run.
    pub fn rate(&self) -> f64 {
        let done = self.done().saturating_sub(self.base.load(Ordering::Relaxed));
        done as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }

    /// Ends the work and leaves one line that sums it up.
    pub fn finish(&self) {
        let line = self.line(false);
        match &self.face {
            Face::Bar(bar) => {
                bar.finish_and_clear();
                write_line(&line);
            }
            Face::Plain(_) => write_line(&line),
            Face::Silent => {}
        }
    }

    fn show(&self, done: u64) {
        match &self.face {
            Face::Bar(bar) => {
                bar.set_position(done);
                let panel = self.panel.lock().unwrap_or_else(PoisonError::into_inner);
                bar.set_message(self.tail(true) + &panel);
            }
            Face::Plain(last) => {
                let Ok(mut last) = last.try_lock() else { return };
                if last.elapsed() >= PLAIN_INTERVAL {
                    *last = Instant::now();
                    write_line(&self.line(true));
                }
            }
            Face::Silent => {}
        }
    }

    fn line(&self, running: bool) -> String {
        let done = self.done();
        let count = match self.total {
            Some(total) => format!("{done}/{total}"),
            None => done.to_string(),
        };
        format!("{}: {count} {}", self.label, self.tail(running))
    }

    fn tail(&self, running: bool) -> String {
        let rate = self.rate();
        let mut text = format!("{}, {} {}/s", self.unit, short(rate), self.unit);
        if running {
            if let Some(total) = self.total.filter(|_| rate > 0.0) {
                let left = total.saturating_sub(self.done()) as f64 / rate;
                text = format!("{text}, {} left", duration(left));
            }
        } else {
            text = format!("{text}, {}", duration(self.started.elapsed().as_secs_f64()));
        }
        let note = self.note.lock().unwrap_or_else(PoisonError::into_inner);
        if !note.is_empty() {
            text.push_str(", ");
            text.push_str(&note);
        }
        text
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Face::Bar(bar) = &self.face {
            bar.finish_and_clear();
            bars().retain(|known| !known.is_finished());
        }
    }
}

fn bars() -> MutexGuard<'static, Vec<ProgressBar>> {
    BARS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes every bar off the terminal, before the process ends in the middle of its work. Nothing else of a terminal is ever
/// changed, so there is nothing else to restore.
pub(crate) fn clear() {
    bars().drain(..).for_each(|bar| bar.finish_and_clear());
}

/// Columns of the terminal behind standard error, 80 where it does not say.
pub fn width() -> usize {
    console::Term::stderr().size_checked().map_or(80, |(_, columns)| usize::from(columns))
}

/// Rows of a label and a text, each on a line of its own that begins with its line break and is no wider than `width`.
pub fn panel(rows: &[(&str, String)], width: usize) -> String {
    let label = rows.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    let line = |(name, text): &(&str, String)| {
        let name = console::style(format!("{name:<label$}")).for_stderr().dim();
        format!("\n{}", console::truncate_str(&format!("  {name}  {text}"), width, "…"))
    };
    rows.iter().map(line).collect()
}

fn bar(label: &str, total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{prefix} [{bar:24}] {pos}/{len} {msg}"),
        None => (ProgressBar::new_spinner(), "{prefix} {spinner} {pos} {msg}"),
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("=> "));
    bar.set_prefix(label.to_owned());
    bar
}

/// Writes a line on standard error, whatever the mode. It may be closed; work goes on without its talk.
pub fn write_line(line: &str) {
    let write = || {
        let _ = writeln!(std::io::stderr(), "{line}");
    };
    let newest = bars().last().cloned();
    match newest {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// A number with three digits or so: `1.23k`, `45.6`, `789M`.
pub fn short(value: f64) -> String {
    let (value, unit) = match value {
        v if v >= 1e9 => (v / 1e9, "G"),
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e3 => (v / 1e3, "k"),
        v => (v, ""),
    };
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}{unit}")
}

/// Seconds for people: `2h 05m`, `3m 20s`, `4.5s`.
pub fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1}s");
    }
    let whole = seconds.min(1e15).round() as u64;
    if whole < 3600 {
        format!("{}m {:02}s", whole / 60, whole % 60)
    } else {
        format!("{}h {:02}m", whole / 3600, whole % 3600 / 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::{ProgressDrawTarget, TermLike};
    use std::io;
    use std::sync::Arc;

    fn quiet(total: Option<u64>) -> Progress {
        with_face(total, Face::Silent)
    }

    fn with_face(total: Option<u64>, face: Face) -> Progress {
        Progress {
            label: "train".into(),
            unit: "tokens".into(),
            total,
            done: AtomicU64::new(0),
            base: AtomicU64::new(0),
            note: Mutex::new(String::new()),
            panel: Mutex::new(String::new()),
            started: Instant::now().checked_sub(Duration::from_secs(10)).unwrap(),
            face,
        }
    }

    #[test]
    fn a_line_has_count_rate_time_left_and_note() {
        let progress = quiet(Some(1000));
        progress.add(100);
        progress.note("loss 2.31");
        let line = progress.line(true);
        assert!(line.starts_with("train: 100/1000 tokens, ") && line.ends_with("left, loss 2.31"), "{line}");
        assert!((9.0..=10.0).contains(&progress.rate()), "{}", progress.rate());
    }

    #[test]
    fn resumed_units_do_not_count_in_the_rate() {
        let progress = quiet(None);
        progress.resume_at(5000);
        progress.add(100);
        assert_eq!(progress.done(), 5100);
        assert!((9.0..=10.0).contains(&progress.rate()));
    }

    /// A terminal that keeps what is written on it.
    #[derive(Debug, Clone, Default)]
    struct Screen(Arc<Mutex<String>>);

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            60
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(&format!("{text}\n"))
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panel_stands_below_the_bar() {
        let screen = Screen::default();
        let bar = bar("train", Some(20));
        bar.set_draw_target(ProgressDrawTarget::term_like(Box::new(screen.clone())));
        let progress = with_face(Some(20), Face::Bar(bar));
        progress.set(5);
        let long = "x".repeat(500);
        progress.panel(&[("loss", "2.3100  ▇▅▃▁".to_owned()), ("speed", long)]);
        if let Face::Bar(bar) = &progress.face {
            bar.force_draw();
        }
        let shown = screen.0.lock().unwrap().clone();
        // Lines are not broken but filled up to the width of the screen.
        let (_, rest) = shown.rsplit_once("5/20").expect("the bar");
        let (loss, speed) = (rest.find("  loss   2.3100  ▇▅▃▁  "), rest.find("  speed  xxx"));
        assert!(loss.is_some() && loss < speed, "{shown}");
        assert!(rest.contains("x…") && !rest.contains(&"x".repeat(width())), "{shown}");
    }

    #[test]
    fn many_threads_may_count() {
        let progress = quiet(None);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| progress.add(1)));
            }
        });
        assert_eq!(progress.done(), 4000);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(1234.0), "1.23k");
        assert_eq!(short(45.64), "45.6");
        assert_eq!(duration(4.46), "4.5s");
        assert_eq!(duration(200.0), "3m 20s");
        assert_eq!(duration(7500.0), "2h 05m");
    }
}
