//! `metier doctor`.

use super::{Global, Verdict, size, table};
use crate::recipe::calibrate;
use metier_core::store::Store;
use metier_core::{Error, Result, memory};
use serde_json::json;

/// Look at this machine: processor, memory, disk, clients and folders, and name what is missing
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: metier doctor")]
pub struct Arguments {}

struct Finding {
    what: &'static str,
    good: bool,
    text: String,
    remedy: Option<&'static str>,
}

/// Runs the verb.
pub fn execute(_: &Arguments, global: &Global) -> Result<Verdict> {
    let mut findings = vec![processor(), memory_here(), store(global), cache()];
    findings.extend(clients());
    if findings[2].good {
        let machine = calibrate::measure(&global.store)?;
        findings.push(Finding {
            what: "speed",
            good: true,
            text: format!(
                "{:.0} GFLOP/s f32 with {} threads, memory copy {:.1} GB/s, disk {:.2} GB/s",
                machine.flop_per_second / 1e9,
                machine.threads,
                machine.copy_bytes_per_second / 1e9,
                machine.disk_bytes_per_second / 1e9
            ),
            remedy: None,
        });
    }
    if global.json {
        let findings: Vec<_> = findings
            .iter()
            .map(|finding| json!({ "what": finding.what, "good": finding.good, "text": finding.text, "remedy": finding.remedy }))
            .collect();
        super::print_json(&json!({ "version": env!("CARGO_PKG_VERSION"), "findings": findings }))?;
        return Ok(Verdict::Fine);
    }
    let rows: Vec<_> = findings
        .iter()
        .map(|finding| {
            vec![finding.what.to_owned(), if finding.good { "ok" } else { "missing" }.to_owned(), finding.text.clone()]
        })
        .collect();
    super::print(&format!(
        "metier {}\n{}",
        env!("CARGO_PKG_VERSION"),
        table(&["", "", ""], &rows, &[false; 3]).trim_start()
    ))?;
    for finding in findings.iter().filter(|finding| !finding.good) {
        if let Some(remedy) = finding.remedy {
            super::print(&format!("{}: {remedy}\n", finding.what))?;
        }
    }
    Ok(Verdict::Fine)
}

fn processor() -> Finding {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        text.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
    };
    let flags = field("flags").unwrap_or_default();
    let has = |name: &str| flags.split(' ').any(|flag| flag == name);
    let kinds: Vec<&str> = [
        ("avx2", "AVX2"),
        ("fma", "FMA"),
        ("avx512f", "AVX-512"),
        ("avx512_bf16", "AVX-512 BF16"),
        ("amx_bf16", "AMX"),
    ]
    .into_iter()
    .filter(|(flag, _)| has(flag))
    .map(|(_, name)| name)
    .collect();
    Finding {
        what: "processor",
        good: true,
        text: format!(
            "{}, {} threads, {}",
            field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            std::thread::available_parallelism().map_or(1, usize::from),
            if kinds.is_empty() { "no vector units known here".to_owned() } else { kinds.join(" ") }
        ),
        remedy: None,
    }
}

fn memory_here() -> Finding {
    let available = memory::available_bytes().unwrap_or(0);
    Finding {
        what: "memory",
        good: available >= 4 << 30,
        text: format!("{} free", size(available)),
        remedy: Some("the quickstart needs about 4 GB; close other programs, or lower `micro_batch` and `context`"),
    }
}

fn store(global: &Global) -> Finding {
    let path = &global.store;
    let found = Store::open_if_any(path).map(|store| if store.is_some() { "" } else { ", not made yet" });
    let writable = || calibrate::scratch(path).map_err(|error| Error::io(path, "write to the store", &error));
    match found.and_then(|state| writable().map(|_| state)) {
        Ok(state) => Finding { what: "store", good: true, text: format!("{}{state}", path.display()), remedy: None },
        Err(error) => Finding {
            what: "store",
            good: false,
            text: error.to_string().replace('\n', " "),
            remedy: Some("name another folder with --store"),
        },
    }
}

fn cache() -> Finding {
    match crate::fetch::Cache::open() {
        Ok(cache) => Finding { what: "cache", good: true, text: cache.path().display().to_string(), remedy: None },
        Err(error) => Finding {
            what: "cache",
            good: false,
            text: error.to_string().replace('\n', " "),
            remedy: Some("set METIER_CACHE to a folder you may write to"),
        },
    }
}

fn clients() -> Vec<Finding> {
    [
        ("pip", "brings `pypi:` assets; install Python 3 with pip"),
        ("npm", "brings `npm:` assets; install Node.js"),
        ("apt-get", "brings `deb:` assets; there on Debian and Ubuntu only"),
    ]
    .into_iter()
    .map(|(what, remedy)| {
        let found = std::env::var_os("PATH").and_then(|paths| {
            std::env::split_paths(&paths).map(|folder| folder.join(what)).find(|path| path.is_file())
        });
        Finding {
            what,
            good: found.is_some(),
            text: found.map_or("not on the PATH".to_owned(), |path| path.display().to_string()),
            remedy: Some(remedy),
        }
    })
    .collect()
}
