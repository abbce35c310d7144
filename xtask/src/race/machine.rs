//! Where and when a race runs: processor, commit, date, and whether other work disturbs it.

use super::receipt::Machine;
use crate::shell;
use anyhow::Result;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Runnable programs, on average over a minute, above which figures are called rough.
const QUIET: f64 = 0.5;

/// This machine, with the ceilings that were measured on it.
pub fn machine(ceilings: BTreeMap<String, f64>) -> Result<Machine> {
    let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Ok(Machine {
        cpu: cpu(&information),
        cores: std::thread::available_parallelism()?.get(),
        flags: flags(&information),
        ceilings,
    })
}

/// The value of a line `key : value` of `/proc/cpuinfo`.
fn value<'a>(information: &'a str, key: &str) -> Option<&'a str> {
    let lines = information.lines().filter_map(|line| line.split_once(':'));
    lines.into_iter().find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim())
}

fn cpu(information: &str) -> String {
    let name = value(information, "model name").unwrap_or("unknown");
    match (value(information, "cpu family"), value(information, "model")) {
        (Some(family), Some(model)) => format!("{name} (family {family}, model {model})"),
        _ => name.to_owned(),
    }
}

/// The vector and matrix instructions that a race can turn on, sorted.
fn flags(information: &str) -> Vec<String> {
    let counts = |flag: &&str| *flag == "avx2" || flag.starts_with("avx512") || flag.starts_with("amx");
    let words = value(information, "flags").unwrap_or_default().split_whitespace();
    let mut flags: Vec<String> = words.filter(counts).map(str::to_owned).collect();
    flags.sort();
    flags
}

/// The commit of `root`, with `-changed` when files other than the races' own results differ from it.
pub fn commit(root: &Path) -> Result<String> {
    let hash = shell::output(Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).current_dir(root))?;
    let changed = shell::output(Command::new("git").current_dir(root).args([
        "status",
        "--porcelain",
        "--",
        ".",
        ":(exclude)bench/receipts",
        ":(exclude)bench/README.md",
    ]))?;
    Ok(format!("{}{}", hash.trim(), if changed.trim().is_empty() { "" } else { "-changed" }))
}

/// Today in UTC.
pub fn today() -> Result<String> {
    Ok(date(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 86_400))
}

/// The date of a day counted from 1970-01-01.
fn date(days: u64) -> String {
    let mut left = days;
    let mut year = 1970_u64;
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", left + 1)
}

/// How many other programs want the processors, when that is enough to disturb a race.
pub fn disturbance() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    let load: f64 = text.split(' ').next()?.parse().ok()?;
    (load > QUIET).then_some(load)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_described() {
        let information = "processor\t: 0\ncpu family\t: 6\nmodel\t\t: 207\nmodel name\t: Some Processor\n\
                           flags\t\t: fpu sse avx avx512f avx2 avx_vnni amx_tile avx512_vnni\n\nprocessor\t: 1\n";
        assert_eq!(cpu(information), "Some Processor (family 6, model 207)");
        assert_eq!(flags(information), ["amx_tile", "avx2", "avx512_vnni", "avx512f"]);
        assert_eq!(cpu(""), "unknown");
    }

    #[test]
    fn days_are_dates() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(19_722), "2023-12-31");
        assert_eq!(date(20_513), "2026-03-01");
    }
}
