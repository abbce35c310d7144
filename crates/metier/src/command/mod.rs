//! The command line: one file for each verb, the same global options for all.

mod bench;
mod chat;
mod check;
mod cluster;
mod curate;
mod decoding;
mod dedupe;
mod diff;
mod docs;
mod doctor;
mod embed;
mod explain;
mod fetch;
mod generate;
mod import;
mod inspect;
mod lines;
mod list;
mod mix;
mod plan;
mod reproduce;
mod run;
mod search;
mod serve;
mod stage;
mod tokenizer;
mod train;
mod why;

use crate::stage::VERBS;
use clap::CommandFactory;
use metier_core::memory::Budget;
use metier_core::progress::{self, Mode, write_line};
use metier_core::store::Store;
use metier_core::{Error, Fault, Place, Result};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

/// What every verb accepts.
#[derive(Debug, Clone, clap::Args)]
pub struct Global {
    /// Folder of finished and unfinished stages
    #[arg(long, global = true, env = "METIER_STORE", default_value = ".metier", value_name = "FOLDER")]
    pub store: PathBuf,
    /// Most memory to use, such as 8GiB; refused before work starts when it cannot be kept
    #[arg(long, global = true, value_name = "SIZE", value_parser = parse_size)]
    pub memory: Option<u64>,
    /// Threads to compute with; results do not depend on it
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Replaces the seed that decides every random choice
    #[arg(long, global = true, value_name = "N")]
    pub seed: Option<u64>,
    /// Write the result as JSON on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Say nothing but errors and results
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Use nothing from the network
    #[arg(long, global = true)]
    pub offline: bool,
    /// Let this cluster read, filter and tag documents; they are the same as without it (see `metier cluster`)
    #[arg(long, global = true, value_name = "HOST:PORT", value_parser = parse_scheduler)]
    pub cluster: Option<String>,
}

impl Global {
    /// Opens the store for writing.
    pub fn open_store(&self) -> Result<Store> {
        Store::open(&self.store)
    }

    /// Opens the store for reading.
    pub fn read_store(&self) -> Result<Store> {
        Store::open_read(&self.store)
    }

    /// The memory budget.
    pub fn budget(&self) -> Budget {
        Budget::new(self.memory)
    }
}

/// Turn documents into a specialist language model, with a receipt
#[derive(Debug, clap::Parser)]
#[command(
    name = "metier",
    version,
    max_term_width = 100,
    after_help = "Example: metier run recipes/quickstart.toml\nExit codes: 0 fine, 1 a check failed, 2 the input or the machine, 70 a fault of metier"
)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// Options that every verb accepts.
    #[command(flatten)]
    pub global: Global,
}

/// The command line, where a verb that is a stage says of itself what the stage does.
pub fn line() -> clap::Command {
    VERBS.iter().fold(Arguments::command(), |line, verb| {
        if line.find_subcommand(verb.name).is_none_or(|known| known.get_about().is_some()) {
            return line;
        }
        let mut about = verb.summary.to_owned();
        if let Some(first) = about.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        line.mut_subcommand(verb.name, |known| known.about(about))
    })
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Run(run::Arguments),
    Check(check::Arguments),
    Plan(plan::Arguments),
    Reproduce(reproduce::Arguments),
    List(list::Arguments),
    Explain(explain::Arguments),
    Why(why::Arguments),
    Diff(diff::Arguments),
    Inspect(inspect::Arguments),
    Fetch(fetch::Arguments),
    Doctor(doctor::Arguments),
    Bench(bench::Arguments),
    #[command(name = "curate")]
    Curate(curate::Arguments),
    #[command(name = "synthesize")]
    Synthesize(stage::Arguments),
    #[command(name = "pack")]
    Pack(stage::Arguments),
    #[command(name = "mine")]
    Mine(stage::Arguments),
    #[command(name = "blend")]
    Blend(stage::Arguments),
    #[command(name = "quota")]
    Quota(stage::Arguments),
    Mix(mix::Arguments),
    Dedupe(dedupe::Arguments),
    #[command(name = "repeats")]
    Repeats(stage::Arguments),
    #[command(name = "semantic")]
    Semantic(stage::Arguments),
    #[command(name = "create")]
    Create(stage::Arguments),
    #[command(name = "subset")]
    Subset(stage::Arguments),
    #[command(name = "diversity")]
    Diversity(stage::Arguments),
    Train(train::Arguments),
    #[command(name = "eval")]
    Eval(stage::Arguments),
    #[command(name = "judge")]
    Judge(stage::Arguments),
    #[command(name = "balance")]
    Balance(stage::Arguments),
    #[command(name = "merge")]
    Merge(stage::Arguments),
    #[command(name = "fit")]
    Fit(stage::Arguments),
    #[command(name = "advise")]
    Advise(stage::Arguments),
    #[command(name = "importance")]
    Importance(stage::Arguments),
    #[command(name = "export")]
    Export(stage::Arguments),
    Import(import::Arguments),
    Tokenizer(tokenizer::Arguments),
    Generate(generate::Arguments),
    Embed(embed::Arguments),
    Chat(chat::Arguments),
    Serve(serve::Arguments),
    Cluster(cluster::Arguments),
    #[command(hide = true)]
    Docs(docs::Arguments),
}

/// How a verb ended that met no error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Exit 0.
    Fine,
    /// Exit 1: a check of the recipe does not hold.
    CheckFailed,
}

/// Runs one verb.
pub fn execute(arguments: Arguments) -> Result<Verdict> {
    let global = arguments.global;
    if let Verb::Cluster(verb) = &arguments.verb {
        return cluster::execute(verb);
    }
    if global.cluster.is_some() && !matches!(arguments.verb, Verb::Run(_) | Verb::Reproduce(_) | Verb::Curate(_)) {
        return Err(Fault::new(Place::key("--cluster"), "this verb has nothing for a cluster to do")
            .hint("it belongs to `run`, `reproduce` and `curate`")
            .into());
    }
    progress::set_mode(if global.quiet {
        Mode::Silent
    } else if global.json && std::io::stdout().is_terminal() {
        // A bar would stand in the middle of lines for programs.
        Mode::Plain
    } else {
        Mode::Auto
    });
    metier_compute::kernel::check_level()?;
    if let Some(threads) = global.threads {
        metier_compute::kernel::set_threads(usize::from(threads))?;
        metier_tokenizer::set_threads(usize::from(threads))?;
    }
    if let Some(bytes) = global.memory {
        metier_compute::set_memory_limit(Some(bytes));
    }
    metier_core::stop::install()?;
    match arguments.verb {
        Verb::Run(verb) => run::execute(&verb, &global),
        Verb::Check(verb) => check::execute(&verb, &global),
        Verb::Plan(verb) => plan::execute(&verb, &global),
        Verb::Reproduce(verb) => reproduce::execute(&verb, &global),
        Verb::List(verb) => list::execute(&verb, &global),
        Verb::Explain(verb) => explain::execute(&verb, &global),
        Verb::Why(verb) => why::execute(&verb, &global),
        Verb::Diff(verb) => diff::execute(&verb, &global),
        Verb::Inspect(verb) => inspect::execute(&verb, &global),
        Verb::Fetch(verb) => fetch::execute(&verb, &global),
        Verb::Doctor(verb) => doctor::execute(&verb, &global),
        Verb::Bench(verb) => bench::execute(&verb, &global),
        Verb::Curate(verb) => curate::execute(&verb, &global),
        Verb::Synthesize(verb) => stage::execute("synthesize", &verb, &global),
        Verb::Mine(verb) => stage::execute("mine", &verb, &global),
        Verb::Mix(verb) => mix::execute(&verb, &global),
        Verb::Dedupe(verb) => dedupe::execute(&verb, &global),
        Verb::Create(verb) => stage::execute("create", &verb, &global),
        Verb::Judge(verb) => stage::execute("judge", &verb, &global),
        Verb::Balance(verb) => stage::execute("balance", &verb, &global),
        Verb::Blend(verb) => stage::execute("blend", &verb, &global),
        Verb::Quota(verb) => stage::execute("quota", &verb, &global),
        Verb::Repeats(verb) => stage::execute("repeats", &verb, &global),
        Verb::Semantic(verb) => stage::execute("semantic", &verb, &global),
        Verb::Subset(verb) => stage::execute("subset", &verb, &global),
        Verb::Diversity(verb) => stage::execute("diversity", &verb, &global),
        Verb::Advise(verb) => stage::execute("advise", &verb, &global),
        Verb::Fit(verb) => stage::execute("fit", &verb, &global),
        Verb::Importance(verb) => stage::execute("importance", &verb, &global),
        Verb::Pack(verb) => stage::execute("pack", &verb, &global),
        Verb::Train(verb) => train::execute(&verb, &global),
        Verb::Eval(verb) => stage::execute("eval", &verb, &global),
        Verb::Merge(verb) => stage::execute("merge", &verb, &global),
        Verb::Export(verb) => stage::execute("export", &verb, &global),
        Verb::Import(verb) => import::execute(&verb, &global),
        Verb::Tokenizer(verb) => tokenizer::execute(&verb, &global),
        Verb::Generate(verb) => generate::execute(&verb, &global),
        Verb::Embed(verb) => embed::execute(&verb, &global),
        Verb::Chat(verb) => chat::execute(&verb, &global),
        Verb::Serve(verb) => serve::execute(&verb, &global),
        Verb::Docs(verb) => docs::execute(&verb),
        Verb::Cluster(verb) => cluster::execute(&verb),
    }
}

/// Prints an error: talk on standard error, and with `--json` the faults on standard output.
pub fn report_error(error: &Error, json: bool) {
    if json {
        let faults: Vec<_> = error
            .faults
            .iter()
            .map(|fault| {
                serde_json::json!({
                    "file": fault.place.file, "line": fault.place.line, "column": fault.place.column,
                    "key": fault.place.key, "message": fault.message, "hint": fault.hint,
                })
            })
            .collect();
        let _ = print_line(&serde_json::json!({ "faults": faults }));
    }
    for fault in &error.faults {
        write_line(&format!("error: {fault}"));
    }
    if error.faults.len() > 1 {
        write_line(&format!("{} faults", error.faults.len()));
    }
    if error.blame == metier_core::Blame::Program {
        write_line("this is a fault of metier; please report it with the command you ran");
    }
}

/// Writes one JSON value and a line break on standard output.
pub fn print_json(value: &serde_json::Value) -> Result<()> {
    print(&format!("{value:#}\n"))
}

/// Writes one JSON value as one line on standard output: for verbs whose result comes after a line for each event.
pub fn print_line(value: &serde_json::Value) -> Result<()> {
    print(&format!("{value}\n"))
}

/// Writes text on standard output; a reader that has gone away is no fault.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::io("standard output", "write", &error))
        }
        _ => Ok(()),
    }
}

/// Says something to the person at the terminal, unless `--quiet`.
pub fn talk(global: &Global, text: &str) {
    if !global.quiet {
        write_line(text);
    }
}

fn parse_scheduler(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>().ok())?);
    port.map(|_| text.to_owned()).ok_or_else(|| "write a host and a port, such as 127.0.0.1:50050".to_owned())
}

fn parse_size(text: &str) -> Result<u64, String> {
    metier_core::memory::parse(text).ok_or_else(|| "write a number and a unit, such as 8GiB or 500MB".to_owned())
}

pub use metier_core::memory::display as size;
pub use metier_core::progress::duration;

/// A count for people: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Columns aligned under their headings; numbers to the right when `right` says so.
pub fn table(headings: &[&str], rows: &[Vec<String>], right: &[bool]) -> String {
    let widths: Vec<usize> = headings
        .iter()
        .enumerate()
        .map(|(column, heading)| {
            rows.iter().map(|row| row[column].chars().count()).chain([heading.chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let cells: Vec<String> = cells
            .iter()
            .zip(&widths)
            .zip(right)
            .map(|((cell, width), right)| if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") })
            .collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    let mut out = line(headings.to_vec());
    for row in rows {
        out += &line(row.iter().map(String::as_str).collect());
    }
    out
}

/// A name and a path out of `NAME=PATH`, a path, or what stands for a result in the store.
pub fn named(given: &str, what: &str, global: &Global) -> Result<(String, PathBuf)> {
    let (name, rest) = match given.split_once('=') {
        Some((name, rest)) if !Path::new(given).exists() => (Some(name), rest),
        _ => (None, given),
    };
    let path = PathBuf::from(rest);
    let stem = path.file_stem().map_or_else(|| rest.to_owned(), |stem| stem.to_string_lossy().into_owned());
    let name = name.map_or(stem, str::to_owned);
    if path.exists() {
        return Ok((name, path));
    }
    if !global.store.exists() {
        return Err(not_found(what, rest));
    }
    Ok((name, global.read_store()?.resolve(rest)?.path))
}

/// The fault of a name that is neither here nor in the store.
pub fn not_found(what: &str, name: &str) -> Error {
    Fault::new(Place::key(name), format!("no {what} is called this"))
        .hint("name a path, an artifact's id (its first letters will do) or a stage of the newest run")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_read_well() {
        assert_eq!((count(0), count(1_234_567)), ("0".into(), "1,234,567".into()));
        assert!(parse_size("8GiB").is_ok() && parse_size("8 apples").is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        line().debug_assert();
    }
}
