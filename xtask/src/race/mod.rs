//! Races with other programs: the same work on the same machine in turns, and a receipt of what was seen.

mod contender;
mod machine;
pub mod readme;
pub mod receipt;
mod table;

use crate::{assets, binary, python, shell};
use anyhow::{Context as _, Result, bail};
use contender::{OurTurn, Rounds, Serving};
use receipt::{Limit, Ours, Peer, Receipt};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use table::{RACES, Race, Rate};

/// Every contender has so many threads.
const THREADS: &str = "2";
/// Environments and compiled kernels of peers.
const SCRATCH: &str = "target/bench";

/// What the caller asks for.
#[derive(Debug, PartialEq)]
struct Wish<'a> {
    race: &'a str,
    rounds: usize,
    seconds: Option<u32>,
    python: Option<PathBuf>,
}

/// Lists the races, or runs one.
pub fn run(root: &Path, arguments: &[&str]) -> Result<bool> {
    if arguments.is_empty() {
        for race in RACES {
            let peers: Vec<&str> = race.peers.iter().map(|peer| peer.name).collect();
            println!("{}\n    {}\n    against {}\n", race.name, race.work, peers.join(", "));
        }
        return Ok(true);
    }
    let wish = wish(arguments)?;
    let Some(race) = RACES.iter().find(|race| race.name == wish.race) else {
        let known: Vec<&str> = RACES.iter().map(|race| race.name).collect();
        bail!("there is no race `{}`; there are: {}", wish.race, known.join(", "));
    };
    let head = python::head(&std::fs::read_to_string(root.join(race.script)).with_context(|| race.script.to_owned())?);
    let python = if let Some(python) = &wish.python {
        // Made absolute, not resolved: an environment's interpreter is a link that knows its place.
        python::with_packages(&std::path::absolute(python)?, &head.packages)?
    } else {
        let stem = Path::new(race.script).file_stem().unwrap_or_default();
        python::environment(&root.join(SCRATCH).join(stem), &head)?
    };
    let metier = binary::build(root, &["--release", "--package", "metier", "--bin", "metier"])?;
    let model = race.model.map(|asset| Model::fetch(root, &metier, asset)).transpose()?;
    let model = model.as_ref();
    if let Some(load) = machine::disturbance() {
        eprintln!("other work runs on this machine (load {load}): the figures will be rough");
    }
    let seconds = wish.seconds.unwrap_or(race.seconds).to_string();
    let peers = race
        .peers
        .iter()
        .map(|peer| {
            let arguments = peer_arguments(race, peer, &seconds);
            let mut command = Command::new(&python);
            command
                .args(&arguments)
                .args(model.map(Model::flag).into_iter().flatten())
                .current_dir(root)
                .envs(race.peer_environment.iter().copied());
            command.env("TORCHINDUCTOR_CACHE_DIR", root.join(SCRATCH).join("inductor"));
            Contender { name: peer.name, shown: shown("python", race.peer_environment, &arguments, model), command }
        })
        .collect();
    let arguments = our_arguments(race, &seconds);
    let mut command = Command::new(&metier);
    command.args(&arguments).args(model.map(Model::flag).into_iter().flatten());
    command.current_dir(root).envs(race.our_environment.iter().copied());
    let ours = Contender { name: "metier", shown: shown("metier", race.our_environment, &arguments, model), command };

    let outcome = compete(race.rate, ours, peers, wish.rounds)?;
    let receipt = outcome.receipt(race, machine::today()?, machine::commit(root)?)?;
    println!(
        "{}: {} {}, {:.2} of the best peer with {:.2} of the least memory",
        race.name,
        receipt.ours.median,
        race.rate.unit(),
        receipt.ratio_to_best_peer,
        receipt.memory_ratio
    );
    if wish.rounds < receipt::FEWEST_ROUNDS {
        println!("no receipt: it takes {} rounds or more", receipt::FEWEST_ROUNDS);
        return Ok(true);
    }
    let faults = receipt.faults();
    if !faults.is_empty() {
        bail!("no receipt: {}", faults.join("; "));
    }
    println!("written: {}", receipt.write(root)?);
    receipt::replace(&root.join(readme::PATH), &readme::text(&receipt::read_all(root)?))?;
    println!("written: {}", readme::PATH);
    Ok(true)
}

fn wish<'a>(arguments: &[&'a str]) -> Result<Wish<'a>> {
    const USAGE: &str = "`cargo xtask race NAME [--rounds N] [--seconds N] [--python PATH]`";
    let (race, mut flags) = match arguments {
        [race, flags @ ..] if !race.starts_with('-') => (*race, flags),
        _ => bail!("a race's name comes first: {USAGE}; `cargo xtask race` lists the names"),
    };
    let mut wish = Wish { race, rounds: receipt::FEWEST_ROUNDS, seconds: None, python: None };
    loop {
        flags = match flags {
            [] => return Ok(wish),
            ["--rounds", count, rest @ ..] => {
                wish.rounds = usize::try_from(positive("--rounds", count)?)?;
                rest
            }
            ["--seconds", count, rest @ ..] => {
                wish.seconds = Some(positive("--seconds", count)?);
                rest
            }
            ["--python", path, rest @ ..] => {
                wish.python = Some(PathBuf::from(path));
                rest
            }
            [flag @ ("--rounds" | "--seconds" | "--python")] => bail!("{flag} has no value: {USAGE}"),
            [other, ..] => bail!("`{other}` is no flag of a race: {USAGE}"),
        }
    }
}

fn positive(flag: &str, text: &str) -> Result<u32> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => bail!("{flag} takes a whole number above 0, not `{text}`"),
    }
}

fn peer_arguments<'a>(race: &Race, peer: &table::Peer, seconds: &'a str) -> Vec<&'a str> {
    let fixed = [&[race.script][..], race.script_arguments, peer.arguments].concat();
    [&fixed[..], &["--seconds", seconds, "--threads", THREADS, "--serve"]].concat()
}

fn our_arguments<'a>(race: &Race, seconds: &'a str) -> Vec<&'a str> {
    [race.ours, &["--seconds", seconds, "--threads", THREADS, "--json"]].concat()
}

/// A command line for the receipt: the program and the model by their names alone, after the variables set for it.
fn shown(program: &str, environment: &[(&str, &str)], arguments: &[&str], model: Option<&Model>) -> String {
    let set = environment.iter().map(|(name, value)| format!("{name}={}", shell::quoted(value)));
    let model = model.map(|model| ["--model", model.name()]);
    let words = arguments.iter().copied().chain(model.into_iter().flatten()).map(shell::quoted);
    set.chain([program.to_owned()]).chain(words).collect::<Vec<_>>().join(" ")
}

/// The model of a race, on disk.
struct Model(PathBuf);

impl Model {
    fn fetch(root: &Path, metier: &Path, asset: &str) -> Result<Self> {
        assets::fetch_one(root, Some(metier), asset).map(|path| Self(path.into()))
    }

    /// What a contender is given.
    fn flag(&self) -> [&OsStr; 2] {
        [OsStr::new("--model"), self.0.as_os_str()]
    }

    fn name(&self) -> &str {
        self.0.file_name().and_then(OsStr::to_str).unwrap_or_default()
    }
}

/// A program in the race.
struct Contender<'a> {
    name: &'a str,
    /// Its command line for the receipt.
    shown: String,
    command: Command,
}

/// What the rounds showed.
struct Outcome<'a> {
    ours: (String, Rounds, Vec<OurTurn>),
    peers: Vec<(&'a str, String, Rounds, String)>,
}

/// Starts the peers one after another, then lets everyone take turns; each round begins with the next contender.
fn compete<'a>(rate: Rate, mut ours: Contender<'a>, peers: Vec<Contender<'a>>, rounds: usize) -> Result<Outcome<'a>> {
    let mut outcome = Outcome { ours: (ours.shown, Rounds::default(), Vec::new()), peers: Vec::new() };
    let mut serving = Vec::new();
    for mut peer in peers {
        eprintln!("{} warms up: {}", peer.name, peer.shown);
        serving.push(Serving::start(peer.name, &mut peer.command)?);
        outcome.peers.push((peer.name, peer.shown, Rounds::default(), String::new()));
    }
    let contenders = serving.len() + 1;
    for round in 0..rounds {
        for place in 0..contenders {
            let who = (round + place) % contenders;
            let (name, reached, memory) = if who == 0 {
                let turn = contender::our_turn(&mut ours.command)?;
                let (reached, memory) = (turn.rate(rate)?, turn.peak_rss_bytes / contender::MIB);
                outcome.ours.1.add(reached, memory);
                outcome.ours.2.push(turn);
                (ours.name, reached, memory)
            } else {
                let turn = serving[who - 1].turn()?;
                let (name, _, rounds, version) = &mut outcome.peers[who - 1];
                let reached = turn.rate(rate)?;
                rounds.add(reached, turn.peak_rss_mib);
                *version = turn.version;
                (*name, reached, turn.peak_rss_mib)
            };
            let unit = rate.unit();
            eprintln!("round {} of {rounds}: {name:<24} {reached:>10.1} {unit} {memory:>8.0} MiB", round + 1);
        }
    }
    Ok(outcome)
}

impl Outcome<'_> {
    fn receipt(self, race: &Race, date: String, commit: String) -> Result<Receipt> {
        let (command, rounds, turns) = self.ours;
        let [min, median, max, peak_rss_mib] = rounds.figures()?;
        let unit = race.rate.unit().to_owned();
        let ours = Ours { command, unit: unit.clone(), median, min, max, rounds: rounds.count(), peak_rss_mib };
        let mut peers = Vec::new();
        for (name, command, rounds, version) in self.peers {
            let [min, median, max, peak_rss_mib] = rounds.figures()?;
            let (name, unit) = (name.to_owned(), unit.clone());
            peers.push(Peer { name, version, command, unit, median, min, max, rounds: rounds.count(), peak_rss_mib });
        }
        let (ratio_to_best_peer, memory_ratio) = receipt::ratios(&ours, &peers).context("a race has a peer")?;
        let (ceilings, limit) = limit(&turns)?;
        Ok(Receipt {
            race: race.name.to_owned(),
            date,
            commit,
            machine: machine::machine(ceilings)?,
            work: race.work.to_owned(),
            ours,
            peers,
            ratio_to_best_peer,
            memory_ratio,
            limit,
        })
    }
}

/// The machine's ceilings, each the highest that any round measured, and our share of the one that bounds us.
fn limit(turns: &[OurTurn]) -> Result<(BTreeMap<String, f64>, Limit)> {
    let mut ceilings: BTreeMap<String, f64> = BTreeMap::new();
    for (name, value) in turns.iter().flat_map(|turn| &turn.ceilings) {
        let highest = ceilings.entry(name.clone()).or_default();
        *highest = highest.max(receipt::rounded(*value));
    }
    let what = turns.first().context("a race has a turn")?.ceiling.clone();
    let missing = || format!("`metier bench` printed no ceiling `{what}`");
    let value = *ceilings.get(&what).with_context(missing)?;
    // A share is of its own round's ceiling.
    let reached = turns
        .iter()
        .map(|turn| Ok(turn.share_of_ceiling * turn.ceilings.get(&what).with_context(missing)?))
        .collect::<Result<Vec<f64>>>()?;
    let share = receipt::rounded(receipt::median(&reached).with_context(missing)? / value);
    Ok((ceilings, Limit { what, value, share }))
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

    fn fake(name: &'static str, script: &str) -> Contender<'static> {
        Contender { name, shown: format!("{name} --serve"), command: shell(script) }
    }

    /// A peer of this rate that writes its name into `order` at each turn.
    fn peer(name: &'static str, rate: u32, order: &Path) -> Contender<'static> {
        fake(
            name,
            &format!(
                r#"echo '{{"ready": true}}'
                while read -r line; do
                    echo {name} >> '{}'
                    echo '{{"tokens_per_second": {rate}, "peak_rss_mib": {rate}, "version": "1.0"}}'
                done"#,
                order.display()
            ),
        )
    }

    #[test]
    fn contenders_take_turns_and_a_receipt_comes_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let order = folder.path().join("order");
        let ours = format!(
            r#"echo ours >> '{}'; turn=$(grep -c ours '{0}')
            echo "{{\"tokens_per_second\": ${{turn}}00, \"peak_rss_bytes\": 104857600, \"share_of_ceiling\": 0.5, \"ceiling\": \"f32_flop_per_second\",
                \"ceilings\": {{\"f32_flop_per_second\": 1${{turn}}0000000000, \"read_bytes_per_second\": 2e10}}}}""#,
            order.display()
        );
        let outcome =
            compete(RACES[0].rate, fake("ours", &ours), vec![peer("a", 200, &order), peer("b", 100, &order)], 5)
                .unwrap();
        let turns = std::fs::read_to_string(&order).unwrap().replace('\n', " ");
        assert_eq!(turns, "ours a b a b ours b ours a ours a b a b ours ");
        let receipt = outcome.receipt(&RACES[0], "2026-01-31".to_owned(), "0123456789ab".to_owned()).unwrap();
        assert_eq!(receipt.faults(), Vec::<String>::new());
        assert_eq!([receipt.ours.min, receipt.ours.median, receipt.ours.max], [100.0, 300.0, 500.0]);
        assert_eq!((receipt.ratio_to_best_peer, receipt.memory_ratio), (1.5, 1.0));
        assert_eq!((receipt.peers[0].name.as_str(), receipt.peers[0].rounds), ("a", 5));
        // Half of the median ceiling, 1.3e11, by the highest.
        assert_eq!((receipt.limit.value, receipt.limit.share), (1.5e11, 0.43333));
        assert_eq!(receipt.machine.ceilings["read_bytes_per_second"], 2e10);
    }

    #[test]
    fn a_wish_says_what_would_have_been_right() {
        let python = Some(PathBuf::from("/p"));
        let want = Wish { race: "train-s", rounds: 7, seconds: Some(3), python };
        assert_eq!(wish(&["train-s", "--rounds", "7", "--seconds", "3", "--python", "/p"]).unwrap(), want);
        assert_eq!(wish(&["train-s"]).unwrap().rounds, 5);
        let error = |arguments: &[&str]| wish(arguments).unwrap_err().to_string();
        assert!(error(&["--rounds", "7"]).starts_with("a race's name comes first"));
        assert_eq!(error(&["train-s", "--rounds", "0"]), "--rounds takes a whole number above 0, not `0`");
        assert!(error(&["train-s", "--seconds"]).starts_with("--seconds has no value"));
        assert!(error(&["train-s", "--fast"]).starts_with("`--fast` is no flag of a race"));
        let unknown = run(Path::new("."), &["train-x"]).unwrap_err().to_string();
        assert!(
            unknown.starts_with("there is no race `train-x`; there are: train-s, train-10m, train-m,"),
            "{unknown}"
        );
    }

    #[test]
    fn commands_are_shown_as_one_would_type_them() {
        let race = RACES.iter().find(|race| race.name == "train-s-f32-avx2").unwrap();
        assert_eq!(
            shown("metier", race.our_environment, &our_arguments(race, "10"), None),
            "METIER_KERNEL=avx2 metier bench --step s --seconds 10 --threads 2 --json"
        );
        assert_eq!(
            shown("python", race.peer_environment, &peer_arguments(race, &race.peers[1], "10"), None),
            "ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 ONEDNN_MAX_CPU_ISA=AVX2 python bench/train_step.py \
             --model s --dtype f32 --mode compile --seconds 10 --threads 2 --serve"
        );
        let race = RACES.iter().find(|race| race.name == "decode-smollm2-135m-q4_1").unwrap();
        let model = Model(PathBuf::from("/cache/model.gguf"));
        assert_eq!(
            shown("metier", race.our_environment, &our_arguments(race, "5"), Some(&model)),
            "metier bench --answer decode --seconds 5 --threads 2 --json --model model.gguf"
        );
        assert_eq!(model.flag(), ["--model", "/cache/model.gguf"]);
    }
}
