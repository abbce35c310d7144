//! How near the operations come to the machine's peak: the matrix products of a 135M Llama, and a whole
//! synthetic LoRA training step of that shape.
//!
//! `cargo run --release -p metier-compute --example speed [tokens] [sequence length] [layers]`

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
    let peak = kernel::measure_peak(Duration::from_secs(2));
    println!("{} threads, {:?}, peak {:.1} GFLOP/s", kernel::threads(), kernel::level(), peak / 1e9);
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

/// The shortest of some runs, in seconds.
fn time(mut run: impl FnMut() -> Result<f64>) -> Result<f64> {
    let mut best = run()?;
    for _ in 0..7 {
        best = best.min(run()?);
    }
    Ok(best)
}

fn product(rows: usize, inputs: usize, outputs: usize, peak: f64) -> Result<()> {
    let mut rates = Vec::new();
    for (train_x, train_weight) in [(false, false), (true, false), (false, true)] {
        let mut parameters = Parameters::new();
        let x = parameters.insert("x", noise(&[rows, inputs], 1.0)?, train_x)?;
        let weight = parameters.insert("weight", noise(&[outputs, inputs], 1.0)?, train_weight)?;
        let seconds = time(|| {
            let mut gradients = Gradients::new();
            let mut tape = Tape::training(&parameters);
            let (x, weight) = (tape.parameter(x), tape.parameter(weight));
            let start = Instant::now();
            let y = op::linear(&mut tape, x, weight, None)?;
            let forward = start.elapsed().as_secs_f64();
            if !train_x && !train_weight {
                return Ok(forward);
            }
            let loss = op::sum(&mut tape, y)?;
            let start = Instant::now();
            tape.backward(loss, &mut gradients)?;
            Ok(start.elapsed().as_secs_f64())
        })?;
        rates.push(2.0 * (rows * inputs * outputs) as f64 / seconds);
    }
    println!(
        "[{rows}, {inputs}] x [{outputs}, {inputs}]: forward {} | dx {} | dW {}",
        share(rates[0], peak),
        share(rates[1], peak),
        share(rates[2], peak)
    );
    Ok(())
}

fn share(rate: f64, peak: f64) -> String {
    format!("{:.1} GFLOP/s ({:.0} %)", rate / 1e9, rate / peak * 100.0)
}

fn head(rows: usize, peak: f64) -> Result<()> {
    for (name, train_x, train_head, products) in
        [("loss only", false, false, 1), ("loss and dx", true, false, 2), ("loss, dx and dhead", true, true, 3)]
    {
        let mut parameters = Parameters::new();
        let x = parameters.insert("x", noise(&[rows, WIDTH], 1.0)?, train_x)?;
        let table = parameters.insert("head", noise(&[VOCABULARY, WIDTH], 0.1)?, train_head)?;
        let targets: Vec<u32> = (0..rows as u32).map(|row| row * 37 % VOCABULARY as u32).collect();
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let mut tape = Tape::training(&parameters);
            let (x, table) = (tape.parameter(x), tape.parameter(table));
            let start = Instant::now();
            op::head_cross_entropy(&mut tape, x, table, &targets, &vec![1.0; rows])?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        let flop = 2.0 * (rows * WIDTH * VOCABULARY * products) as f64;
        println!("head, {name}: {}", share(flop / best, peak));
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

fn step(tokens: usize, length: usize, layers: usize, peak: f64) -> Result<()> {
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
    let mut best = [f64::INFINITY; 3];
    let mut fastest = f64::INFINITY;
    for number in 1..=5 {
        let start = Instant::now();
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
        let forward = start.elapsed().as_secs_f64();
        tape.backward(loss, &mut gradients)?;
        let backward = start.elapsed().as_secs_f64() - forward;
        let value = tape.value(loss)?.item()?;
        drop(tape);
        let step = AdamwStep { rate: 1e-4, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.01, step: number };
        let norm = gradients.norm();
        for (id, m, v) in &mut moments {
            if let Some(gradient) = gradients.get(*id) {
                op::adamw_step(parameters.get_mut(*id).data_mut(), gradient.data(), m, v, &step)?;
            }
        }
        let total = start.elapsed().as_secs_f64();
        println!("step {number}: {total:.3} s, loss {value:.4}, gradient norm {norm:.4}");
        fastest = fastest.min(total);
        for (best, now) in best.iter_mut().zip([forward, backward, total - forward - backward]) {
            *best = best.min(now);
        }
    }
    // Frozen weights: one product forward, one back; the head the same; attention two products forward, five
    // back, half of each behind the diagonal.
    let weights = layers * (2 * WIDTH * WIDTH + 2 * WIDTH * KV_HEADS * HEAD + 3 * WIDTH * HIDDEN) + VOCABULARY * WIDTH;
    let low_rank: usize = moments.iter().map(|(_, m, _)| m.len()).sum();
    let pairs: usize = sequences.iter().map(|sequence| sequence.query.len() * sequence.query.len() / 2).sum();
    let flop = (tokens * (4 * weights + 6 * low_rank) + layers * HEADS * HEAD * pairs * 14) as f64;
    println!(
        "{layers} layers, {tokens} tokens in sequences of {length}: forward {:.3} s, backward {:.3} s, optimizer {:.3} s",
        best[0], best[1], best[2]
    );
    println!(
        "{:.0} tokens/s, {}, tensors at most {:.0} MiB",
        tokens as f64 / fastest,
        share(flop / fastest, peak),
        memory_peak() as f64 / f64::from(1 << 20)
    );
    Ok(())
}
