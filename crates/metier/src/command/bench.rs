//! `metier bench`.

use super::{Global, Verdict, size, table};
use crate::bench::answer::{self, Work};
use crate::bench::ceilings_json;
use crate::bench::curate;
use crate::bench::operations::{self, Timed};
use crate::bench::step::{self, Measured, Shape};
use crate::bench::text;
use metier_compute::kernel::{self, Precision};
use metier_core::{Error, Result};
use metier_model::Decoder;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Measure this machine's ceilings, and how near operations and training steps come to them
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples: metier bench\n          metier bench --step s --seconds 10 --json\n          metier bench --answer decode --model model.gguf\n          metier bench --encode tokenizer.json --text corpus.txt\n          metier bench --curate 'dedup=[{ method = \"minhash\" }]' --text documents/"
)]
pub struct Arguments {
    /// Measure one training step and leave the operations out
    #[arg(long, value_name = "MODEL", value_enum)]
    step: Option<Shape>,
    /// Measure how fast a model answers and leave the operations out
    #[arg(long, value_name = "WORK", value_enum, requires = "model", conflicts_with_all = ["step", "precision", "encode", "learn"])]
    answer: Option<Work>,
    /// The model that answers: a folder, a GGUF file, an artifact's id or a stage name
    #[arg(long, value_name = "MODEL", requires = "answer")]
    model: Option<String>,
    /// Measure the encoding of a text by a tokenizer's file instead; each pass starts without what earlier ones met
    #[arg(long, value_name = "TOKENIZER", requires = "text", conflicts_with_all = ["step", "learn"])]
    encode: Option<PathBuf>,
    /// Let passes remember the words of earlier ones
    #[arg(long, requires = "encode")]
    warm: bool,
    /// Measure the learning of a vocabulary of so many ids from a text instead
    #[arg(long, value_name = "IDS", requires = "text", conflicts_with = "step", value_parser = clap::value_parser!(u32).range(258..=1 << 24))]
    learn: Option<u32>,
    /// Measure `metier curate` with this setting, and others when given again, on a folder of JSON lines instead
    #[arg(long, value_name = "KEY=VALUE", requires = "text", conflicts_with_all = ["step", "encode", "learn"])]
    curate: Vec<String>,
    /// The text for `--encode` and `--learn`, or the folder for `--curate`
    #[arg(long, value_name = "PATH")]
    text: Option<PathBuf>,
    /// How long each training step or answer is repeated; operations take a twentieth of it
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// How products see their inputs
    #[arg(long, value_enum, default_value_t = Inputs::F32)]
    precision: Inputs,
}

/// What inputs of products are rounded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Inputs {
    /// Nothing
    F32,
    /// bf16, summed in f32
    Bf16,
}

impl Arguments {
    /// What is done with the text.
    fn work(&self) -> Option<text::Work> {
        let encode = self.encode.as_ref().map(|path| text::Work::Encode { tokenizer: path.clone(), warm: self.warm });
        encode.or_else(|| self.learn.map(text::Work::Learn))
    }
}

fn execute_on_text(work: &text::Work, path: &Path, duration: Duration, global: &Global) -> Result<Verdict> {
    // The text goes first: what measures the memory's rates takes memory of its own.
    let mut measured = text::measure(work, path, duration)?;
    let ceilings = kernel::measure_ceilings(Duration::from_secs(1));
    measured.share_of_ceiling = measured.bytes_per_second / ceilings.read_bytes_per_second;
    if global.json {
        let mut report = json!({
            "threads": kernel::threads(),
            "ceilings": ceilings_json(&ceilings),
            "ceiling": "read_bytes_per_second",
        });
        merge(&mut report, json_of(&measured)?);
        return super::print_json(&report).map(|()| Verdict::Fine);
    }
    super::print(&format!(
        "{} threads: {:.1} MB/s, {} tokens, {} at most\n",
        kernel::threads(),
        measured.bytes_per_second / 1e6,
        super::count(measured.tokens),
        size(measured.peak_rss_bytes)
    ))?;
    Ok(Verdict::Fine)
}

fn execute_on_documents(settings: &[String], path: &Path, duration: Duration, global: &Global) -> Result<Verdict> {
    let measured = curate::measure(settings, path, duration, global)?;
    let share = measured.bytes_per_second / measured.parse_bytes_per_second;
    if global.json {
        let mut report = json!({
            "threads": kernel::threads(),
            "ceilings": { "parse_bytes_per_second": measured.parse_bytes_per_second },
            "ceiling": "parse_bytes_per_second",
            "share_of_ceiling": share,
        });
        merge(&mut report, json_of(&measured)?);
        return super::print_json(&report).map(|()| Verdict::Fine);
    }
    super::print(&format!(
        "{} threads: {:.1} MB/s, {:.0} documents/s, {:.0} % of one thread that only parses, {} at most\n",
        kernel::threads(),
        measured.bytes_per_second / 1e6,
        measured.documents_per_second,
        share * 100.0,
        size(measured.peak_rss_bytes)
    ))?;
    Ok(Verdict::Fine)
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    let duration = Duration::from_secs(arguments.seconds.into());
    if let (Some(work), Some(model)) = (arguments.answer, &arguments.model) {
        return answer(work, &super::inspect::model_path(model, global)?, duration, global);
    }
    if let (false, Some(text)) = (arguments.curate.is_empty(), &arguments.text) {
        return execute_on_documents(&arguments.curate, text, duration, global);
    }
    if let (Some(work), Some(text)) = (arguments.work(), &arguments.text) {
        return execute_on_text(&work, text, duration, global);
    }
    let precision = match arguments.precision {
        Inputs::F32 => Precision::F32,
        Inputs::Bf16 => Precision::Bf16,
    };
    // The step goes first: what measures the memory's rates takes more memory than a small model.
    let measured = arguments.step.map(|shape| step::measure(shape, precision, duration)).transpose()?;
    let ceilings = kernel::measure_ceilings(Duration::from_secs(2));
    let mut report = report(&ceilings);
    let precision_name = match precision {
        Precision::F32 => "f32",
        Precision::Bf16 => "bf16",
    };
    merge(&mut report, json!({ "precision": precision_name, "ceiling": ceilings.flop_name(precision) }));
    if !global.json {
        print_ceilings(&ceilings)?;
    }
    if let Some(mut measured) = measured {
        measured.share_of_ceiling = measured.flop_per_second / ceilings.flop_per_second(precision);
        if global.json {
            merge(&mut report, json_of(&measured)?);
            return super::print_json(&report).map(|()| Verdict::Fine);
        }
        super::print(&format!("\n{}", steps_table(&[measured])))?;
        return Ok(Verdict::Fine);
    }
    let timed = operations::measure(duration / 20, precision, &ceilings)?;
    if !global.json {
        let note = "what fits in a cache can be above the memory's ceiling";
        super::print(&format!("\n{}{note}\n", operations_table(&timed)))?;
    }
    let mut steps = Vec::new();
    for shape in [Shape::S, Shape::M] {
        let mut measured = step::measure(shape, precision, duration)?;
        measured.share_of_ceiling = measured.flop_per_second / ceilings.flop_per_second(precision);
        steps.push(measured);
    }
    if global.json {
        merge(&mut report, json!({ "operations": json_of(&timed)?, "steps": json_of(&steps)? }));
        return super::print_json(&report).map(|()| Verdict::Fine);
    }
    super::print(&format!("\n{}", steps_table(&steps)))?;
    Ok(Verdict::Fine)
}

fn answer(work: Work, model: &Path, duration: Duration, global: &Global) -> Result<Verdict> {
    let begun = Instant::now();
    let open = || Decoder::from_checkpoint_as_stored(&crate::stage::open_checkpoint(model)?);
    let decoder = open()?;
    let mut measured = answer::measure(work, &decoder, open, begun, duration)?;
    let ceilings = kernel::measure_ceilings(Duration::from_secs(2));
    measured.compare(work, &decoder, &ceilings);
    if global.json {
        let mut report = report(&ceilings);
        merge(&mut report, json_of(&measured)?);
        return super::print_json(&report).map(|()| Verdict::Fine);
    }
    let heads = ["work", "tokens", "tokens/s", "of ceiling", "opened in", "memory"];
    let row = vec![
        measured.answer.clone(),
        super::count(measured.tokens),
        format!("{:.1}", measured.tokens_per_second),
        format!("{:.0} % ({})", measured.share_of_ceiling * 100.0, measured.ceiling),
        format!("{:.2} s", measured.open_seconds),
        size(measured.peak_rss_bytes),
    ];
    print_ceilings(&ceilings)?;
    super::print(&format!("\n{}", table(&heads, &[row], &[false, true, true, true, true, true])))?;
    Ok(Verdict::Fine)
}

/// What every report begins with.
fn report(ceilings: &kernel::Ceilings) -> Value {
    json!({
        "kernel": kernel::level().name(),
        "threads": kernel::threads(),
        "ceilings": ceilings_json(ceilings),
    })
}

fn print_ceilings(ceilings: &kernel::Ceilings) -> Result<()> {
    super::print(&format!("{} threads, {} kernels\n\n", kernel::threads(), kernel::level().name()))?;
    super::print(&ceilings_table(ceilings))
}

fn json_of(value: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(value)
        .map_err(|error| Error::program(format!("what was measured does not serialize: {error}")))
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

fn ceilings_table(ceilings: &kernel::Ceilings) -> String {
    let rate = |rate: Option<f64>| rate.map_or_else(|| "no such instructions".to_owned(), |rate| giga(rate, "GFLOP/s"));
    let rows = [
        ("f32", rate(Some(ceilings.f32_flop_per_second))),
        ("bf16", rate(ceilings.bf16_flop_per_second)),
        ("int8", rate(ceilings.int8_op_per_second)),
        ("read", giga(ceilings.read_bytes_per_second, "GB/s")),
        ("copy, both ways", giga(ceilings.copy_bytes_per_second, "GB/s")),
    ];
    table(&["ceiling", "measured"], &rows.map(|(name, text)| vec![name.to_owned(), text]), &[false, true])
}

fn giga(rate: f64, unit: &str) -> String {
    format!("{:.1} {unit}", rate / 1e9)
}

fn operations_table(timed: &[Timed]) -> String {
    let rows: Vec<Vec<String>> = timed
        .iter()
        .map(|timed| {
            let flop =
                if timed.flop > 0.0 { format!("{:.1}", timed.flop / timed.seconds / 1e9) } else { String::new() };
            vec![
                timed.operation.clone(),
                timed.shape.clone(),
                format!("{:.3}", timed.seconds * 1e3),
                flop,
                format!("{:.1}", timed.bytes / timed.seconds / 1e9),
                format!("{:.0} %", timed.share * 100.0),
            ]
        })
        .collect();
    table(
        &["operation", "shape", "ms", "GFLOP/s", "GB/s", "of ceiling"],
        &rows,
        &[false, false, true, true, true, true],
    )
}

fn steps_table(steps: &[Measured]) -> String {
    let rows: Vec<Vec<String>> = steps
        .iter()
        .map(|step| {
            vec![
                step.step.clone(),
                super::count(step.parameters),
                super::count(step.trainable),
                super::count(step.tokens),
                format!("{:.0}", step.tokens_per_second),
                format!("{:.1}", step.flop_per_second / 1e9),
                format!("{:.0} %", step.share_of_ceiling * 100.0),
                size(step.tensor_bytes),
            ]
        })
        .collect();
    table(
        &["training step", "parameters", "trained", "tokens", "tokens/s", "GFLOP/s", "of ceiling", "tensors"],
        &rows,
        &[false, true, true, true, true, true, true, true],
    )
}
