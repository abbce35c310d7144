//! How near the operations come to the machine's peak: the matrix products of a 135M Llama, and a whole
//! synthetic LoRA training step of that shape.
//!
//! `cargo run --release -p metier-compute --example speed [tokens] [sequence length] [layers]`
//!
//! Where the system tells it, everything is also measured in processor time over the number of threads: on a
//! machine that others use too, that is the figure that means something.

use std::time::{Duration, Instant};

use metier_compute::op::{self, AdamwStep, AttentionShape, Rotary, Sequence};
use metier_compute::{Gradients, ParameterId, Parameters, Tape, Tensor, Var, kernel, memory_peak};
use metier_core::Result;

const WIDTH: usize = 576;
const HIDDEN: usize = 1536;
const HEADS: usize = 9;
const KV_HEADS: usize = 3;
const HEAD: usize = 64;
const VOCABULARY: usize = 49152;
const RANK: usize = 16;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let tokens = arguments.next().unwrap_or(1024);
    let length = arguments.next().unwrap_or(tokens);
    let layers = arguments.next().unwrap_or(30);
    let best = kernel::measure_peak(Duration::from_secs(1));
    println!("{} threads, {:?}, peak {:.1} GFLOP/s", kernel::threads(), kernel::level(), best / 1e9);
    let peak = peak()?;
    println!("the same product, GFLOP/s: {}", peak.rate(PEAK_FLOP, peak));
    for (inputs, outputs) in [(WIDTH, WIDTH), (WIDTH, KV_HEADS * HEAD), (WIDTH, HIDDEN), (HIDDEN, WIDTH)] {
        product(tokens, inputs, outputs, peak)?;
    }
    head(tokens, peak)?;
    step(tokens, length, layers, peak)
}

/// Values between -0.5 and 0.5 without a pattern.
fn noise(shape: &[usize], scale: f32) -> Result<Tensor> {
    let mut state = 0x9e37_79b9_u32;
    let values = (0..shape.iter().product::<usize>()).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / (1 << 24) as f32 - 0.5) * scale
    });
    Tensor::from_vec(shape, values.collect())
}

/// A point in time, and the processor time that the threads of this process had used by then.
#[derive(Clone, Copy)]
struct Moment(Instant, Option<f64>);

/// Seconds by the clock, and of processor time for each thread.
#[derive(Clone, Copy)]
struct Spent {
    wall: f64,
    busy: f64,
}

impl Moment {
    fn now() -> Self {
        Self(Instant::now(), processor_seconds())
    }

    fn spent(self) -> Spent {
        let wall = self.0.elapsed().as_secs_f64();
        let busy = processor_seconds().zip(self.1).map(|(now, then)| (now - then) / kernel::threads() as f64);
        Spent { wall, busy: busy.unwrap_or(wall) }
    }
}

impl Spent {
    const NEVER: Self = Self { wall: f64::INFINITY, busy: f64::INFINITY };

    fn least(self, other: Self) -> Self {
        Self { wall: self.wall.min(other.wall), busy: self.busy.min(other.busy) }
    }

    /// The rates of so many operations, and the share of the peak of the latter.
    fn rate(self, flop: f64, peak: Self) -> String {
        let share = peak.busy / self.busy * flop / PEAK_FLOP * 100.0;
        format!("{:.1} ({:.1} busy, {share:.0} %)", flop / self.wall / 1e9, flop / self.busy / 1e9)
    }
}

/// What all threads have used, as Linux tells it.
fn processor_seconds() -> Option<f64> {
    let mut total = 0.0;
    for thread in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        total += text.split(' ').next()?.parse::<f64>().ok()?;
    }
    Some(total * 1e-9)
}

/// The shortest of some runs.
fn time(mut run: impl FnMut() -> Result<Spent>) -> Result<Spent> {
    let mut best = run()?;
    for _ in 0..7 {
        best = best.least(run()?);
    }
    Ok(best)
}

const PEAK_SIDE: usize = 1536;
const PEAK_FLOP: f64 = 2.0 * (PEAK_SIDE * PEAK_SIDE * PEAK_SIDE) as f64;

/// The time of one large product.
fn peak() -> Result<Spent> {
    let parameters = Parameters::new();
    let [a, b] = [noise(&[PEAK_SIDE, PEAK_SIDE], 1.0)?, noise(&[PEAK_SIDE, PEAK_SIDE], 1.0)?];
    time(|| {
        let mut tape = Tape::inference(&parameters);
        let (a, b) = (tape.constant(a.clone()), tape.constant(b.clone()));
        let start = Moment::now();
        op::linear(&mut tape, a, b, None)?;
        Ok(start.spent())
    })
}

fn product(rows: usize, inputs: usize, outputs: usize, peak: Spent) -> Result<()> {
    let mut rates = Vec::new();
    for (train_x, train_weight) in [(false, false), (true, false), (false, true)] {
        let mut parameters = Parameters::new();
        let x = parameters.insert("x", noise(&[rows, inputs], 1.0)?, train_x)?;
        let weight = parameters.insert("weight", noise(&[outputs, inputs], 1.0)?, train_weight)?;
        let spent = time(|| {
            let mut gradients = Gradients::new();
            let mut tape = Tape::training(&parameters);
            let (x, weight) = (tape.parameter(x), tape.parameter(weight));
            let start = Moment::now();
            let y = op::linear(&mut tape, x, weight, None)?;
            let forward = start.spent();
            if !train_x && !train_weight {
                return Ok(forward);
            }
            let loss = op::sum(&mut tape, y)?;
            let start = Moment::now();
            tape.backward(loss, &mut gradients)?;
            Ok(start.spent())
        })?;
        rates.push(spent.rate(2.0 * (rows * inputs * outputs) as f64, peak));
    }
    println!(
        "[{rows}, {inputs}] x [{outputs}, {inputs}]: GFLOP/s forward {} | dx {} | dW {}",
        rates[0], rates[1], rates[2]
    );
    Ok(())
}

fn head(rows: usize, peak: Spent) -> Result<()> {
    for (name, train_x, train_head, products) in
        [("loss only", false, false, 1), ("loss and dx", true, false, 2), ("loss, dx and dhead", true, true, 3)]
    {
        let mut parameters = Parameters::new();
        let x = parameters.insert("x", noise(&[rows, WIDTH], 1.0)?, train_x)?;
        let table = parameters.insert("head", noise(&[VOCABULARY, WIDTH], 0.1)?, train_head)?;
        let targets: Vec<u32> = (0..rows as u32).map(|row| row * 37 % VOCABULARY as u32).collect();
        let mut best = Spent::NEVER;
        for _ in 0..3 {
            let mut tape = Tape::training(&parameters);
            let (x, table) = (tape.parameter(x), tape.parameter(table));
            let start = Moment::now();
            op::head_cross_entropy(&mut tape, x, table, &targets, &vec![1.0; rows])?;
            best = best.least(start.spent());
        }
        let flop = 2.0 * (rows * WIDTH * VOCABULARY * products) as f64;
        println!("head, {name}, GFLOP/s: {}", best.rate(flop, peak));
    }
    Ok(())
}

struct Site {
    weight: ParameterId,
    low_rank: (ParameterId, ParameterId),
}

struct Layer {
    norms: [ParameterId; 2],
    /// q, k, v, o, gate, up, down.
    sites: [Site; 7],
}

fn build(parameters: &mut Parameters, layers: usize) -> Result<(ParameterId, ParameterId, Vec<Layer>)> {
    let table = parameters.insert("table", noise(&[VOCABULARY, WIDTH], 0.1)?, false)?;
    let last = parameters.insert("norm", Tensor::full(&[WIDTH], 1.0)?, false)?;
    let keys = KV_HEADS * HEAD;
    let sizes = [
        (WIDTH, WIDTH),
        (keys, WIDTH),
        (keys, WIDTH),
        (WIDTH, WIDTH),
        (HIDDEN, WIDTH),
        (HIDDEN, WIDTH),
        (WIDTH, HIDDEN),
    ];
    let mut built = Vec::new();
    for layer in 0..layers {
        let mut norm =
            |which: &str| parameters.insert(format!("{layer}.norm.{which}"), Tensor::full(&[WIDTH], 1.0)?, false);
        let norms = [norm("attention")?, norm("feed")?];
        let mut sites = Vec::new();
        for (site, (outputs, inputs)) in sizes.into_iter().enumerate() {
            let name = format!("{layer}.{site}");
            let weight = parameters.insert(format!("{name}.weight"), noise(&[outputs, inputs], 0.1)?, false)?;
            let a = parameters.insert(format!("{name}.a"), noise(&[RANK, inputs], 0.1)?, true)?;
            let b = parameters.insert(format!("{name}.b"), Tensor::zeros(&[outputs, RANK])?, true)?;
            sites.push(Site { weight, low_rank: (a, b) });
        }
        if let Ok(sites) = sites.try_into() {
            built.push(Layer { norms, sites });
        }
    }
    Ok((table, last, built))
}

fn run_site(tape: &mut Tape<'_>, x: Var, site: &Site) -> Result<Var> {
    let (weight, a, b) =
        (tape.parameter(site.weight), tape.parameter(site.low_rank.0), tape.parameter(site.low_rank.1));
    op::low_rank_linear(tape, x, weight, a, b, 2.0)
}

fn run_layer(tape: &mut Tape<'_>, x: Var, layer: &Layer, positions: &[u32], sequences: &[Sequence]) -> Result<Var> {
    let turn = Rotary { head_dim: HEAD, theta: 10000.0, interleaved: false };
    let shape = AttentionShape { heads: HEADS, kv_heads: KV_HEADS, head_dim: HEAD, scale: 0.125, window: None };
    let [q, k, v, o, gate, up, down] = &layer.sites;
    let norm = tape.parameter(layer.norms[0]);
    let normal = op::rms_norm(tape, x, norm, 1e-5)?;
    let (q, k, v) = (run_site(tape, normal, q)?, run_site(tape, normal, k)?, run_site(tape, normal, v)?);
    let (q, k) = (op::rotary(tape, q, &turn, positions)?, op::rotary(tape, k, &turn, positions)?);
    let mixed = op::attention(tape, q, k, v, &shape, sequences)?;
    let mixed = run_site(tape, mixed, o)?;
    let x = op::add(tape, x, mixed)?;
    let norm = tape.parameter(layer.norms[1]);
    let normal = op::rms_norm(tape, x, norm, 1e-5)?;
    let (gate, up) = (run_site(tape, normal, gate)?, run_site(tape, normal, up)?);
    let hidden = op::swiglu(tape, gate, up)?;
    let fed = run_site(tape, hidden, down)?;
    op::add(tape, x, fed)
}

fn step(tokens: usize, length: usize, layers: usize, peak: Spent) -> Result<()> {
    let mut parameters = Parameters::new();
    let (table, last, built) = build(&mut parameters, layers)?;
    let ids: Vec<u32> = (0..tokens as u32).map(|token| token * 7919 % VOCABULARY as u32).collect();
    let positions: Vec<u32> = (0..tokens).map(|token| (token % length) as u32).collect();
    let sequences: Vec<Sequence> = (0..tokens)
        .step_by(length)
        .map(|start| start..(start + length).min(tokens))
        .map(|rows| Sequence { query: rows.clone(), key: rows })
        .collect();
    let mut moments: Vec<(ParameterId, Vec<f32>, Vec<f32>)> = parameters
        .iter()
        .filter(|(_, _, _, trainable)| *trainable)
        .map(|(id, _, tensor, _)| (id, vec![0.0; tensor.len()], vec![0.0; tensor.len()]))
        .collect();
    let mut best = [Spent::NEVER; 4];
    for number in 1..=5 {
        let start = Moment::now();
        let mut gradients = Gradients::new();
        let mut tape = Tape::training(&parameters);
        let rows = tape.parameter(table);
        let mut x = op::embedding(&mut tape, rows, &ids)?;
        for layer in &built {
            x = tape.scope(|tape| run_layer(tape, x, layer, &positions, &sequences))?;
        }
        let norm = tape.parameter(last);
        let x = op::rms_norm(&mut tape, x, norm, 1e-5)?;
        let loss = op::head_cross_entropy(&mut tape, x, rows, &ids, &vec![1.0; tokens])?;
        let forward = start.spent();
        let start_back = Moment::now();
        tape.backward(loss, &mut gradients)?;
        let backward = start_back.spent();
        let value = tape.value(loss)?.item()?;
        drop(tape);
        let start_update = Moment::now();
        let step = AdamwStep { rate: 1e-4, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.01, step: number };
        let norm = gradients.norm();
        for (id, m, v) in &mut moments {
            if let Some(gradient) = gradients.get(*id) {
                op::adamw_step(parameters.get_mut(*id).data_mut(), gradient.data(), m, v, &step)?;
            }
        }
        let total = start.spent();
        println!(
            "step {number}: {:.3} s, {:.3} s busy, loss {value:.4}, gradient norm {norm:.4}",
            total.wall, total.busy
        );
        for (best, now) in best.iter_mut().zip([forward, backward, start_update.spent(), total]) {
            *best = best.least(now);
        }
    }
    // Frozen weights: one product forward, one back; the head the same; attention two products forward, five
    // back, half of each behind the diagonal.
    let weights = layers * (2 * WIDTH * WIDTH + 2 * WIDTH * KV_HEADS * HEAD + 3 * WIDTH * HIDDEN) + VOCABULARY * WIDTH;
    let low_rank: usize = moments.iter().map(|(_, m, _)| m.len()).sum();
    let pairs: usize = sequences.iter().map(|sequence| sequence.query.len() * sequence.query.len() / 2).sum();
    let flop = (tokens * (4 * weights + 6 * low_rank) + layers * HEADS * HEAD * pairs * 14) as f64;
    println!("{layers} layers, {tokens} tokens in sequences of {length}");
    for (part, spent) in ["forward", "backward", "optimizer", "step"].iter().zip(best) {
        println!(
            "{part}: {:.3} s, {:.3} s busy, {:.0} tokens/s busy",
            spent.wall,
            spent.busy,
            tokens as f64 / spent.busy
        );
    }
    println!(
        "whole step, GFLOP/s: {}; tensors at most {:.0} MiB",
        best[3].rate(flop, peak),
        memory_peak() as f64 / f64::from(1 << 20)
    );
    Ok(())
}
