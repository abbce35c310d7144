//! Single operations at the shapes of known models, each against what the machine could do at most.

use metier_compute::block;
use metier_compute::kernel::{Ceilings, Precision};
use metier_compute::op::{self, AdamwStep, AttentionShape, Rotary, Sequence};
use metier_compute::{Gradients, Parameters, Tape, Tensor, Var};
use metier_core::{Result, stop};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One operation and how long it took.
#[derive(Debug, Clone, Serialize)]
pub struct Timed {
    /// The operation and its direction.
    pub operation: String,
    /// Shapes of what it is given.
    pub shape: String,
    /// The shortest run.
    pub seconds: f64,
    /// Multiplications and additions.
    pub flop: f64,
    /// Bytes that must at least be read and written.
    pub bytes: f64,
    /// The time that the ceilings would allow, over the time it took.
    pub share: f64,
}

/// Widths of a model.
struct Widths {
    rows: usize,
    length: usize,
    hidden: usize,
    inside: usize,
    heads: usize,
    kv_heads: usize,
    vocabulary: usize,
}

const MODELS: [Widths; 3] = [
    Widths { rows: 2048, length: 256, hidden: 256, inside: 688, heads: 8, kv_heads: 8, vocabulary: 4096 },
    Widths { rows: 2048, length: 512, hidden: 512, inside: 1376, heads: 8, kv_heads: 8, vocabulary: 32_000 },
    Widths { rows: 1024, length: 1024, hidden: 576, inside: 1536, heads: 9, kv_heads: 3, vocabulary: 49_152 },
];

/// Inputs of a layer that no cache holds.
const WIDE: usize = 2048;

/// Measures every operation, each for `duration`.
///
/// # Errors
/// When the memory does not suffice.
pub fn measure(duration: Duration, precision: Precision, ceilings: &Ceilings) -> Result<Vec<Timed>> {
    let mut bench = Bench { duration, precision, ceilings, done: Vec::new() };
    for model in MODELS {
        let Widths { rows, hidden, inside, .. } = model;
        for (inputs, outputs) in [(hidden, hidden), (hidden, inside), (inside, hidden)] {
            bench.linear(rows, inputs, outputs)?;
        }
        bench.model(&model)?;
    }
    let smallest = &MODELS[2];
    bench.linear(1, smallest.hidden, smallest.inside)?;
    bench.linear(1, smallest.hidden, smallest.vocabulary)?;
    bench.linear(1, WIDE, smallest.vocabulary)?;
    for inputs in [smallest.hidden, WIDE] {
        bench.line(inputs, smallest.vocabulary)?;
    }
    bench.adamw(1 << 24)?;
    Ok(bench.done)
}

struct Bench<'a> {
    duration: Duration,
    precision: Precision,
    ceilings: &'a Ceilings,
    done: Vec<Timed>,
}

fn noise(shape: &[usize]) -> Result<Tensor> {
    let mut state = 0x9e37_79b9_u32;
    let values = (0..shape.iter().product::<usize>()).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    });
    Tensor::from_vec(shape, values.collect())
}

fn bytes(numbers: usize) -> f64 {
    (numbers * size_of::<f32>()) as f64
}

impl Bench<'_> {
    /// Times `body`, forward only with `back` zero, and the walk back alone otherwise.
    fn time(
        &mut self,
        operation: &str,
        shape: String,
        (flop, bytes): (f64, f64),
        inputs: &[(Tensor, bool)],
        body: impl for<'p> Fn(&mut Tape<'p>, &[Var]) -> Result<Var>,
    ) -> Result<()> {
        let back = inputs.iter().any(|(_, wanted)| *wanted);
        let mut parameters = Parameters::new();
        let mut ids = Vec::new();
        for (number, (tensor, wanted)) in inputs.iter().enumerate() {
            ids.push(parameters.insert(number.to_string(), tensor.clone(), *wanted)?);
        }
        let (started, mut best, mut rounds) = (Instant::now(), f64::INFINITY, 0);
        while rounds < 3 || started.elapsed() < self.duration {
            if stop::requested() {
                return Err(stop::interrupted());
            }
            let mut tape = if back { Tape::training(&parameters) } else { Tape::inference(&parameters) };
            tape.set_precision(self.precision);
            let vars: Vec<Var> = ids.iter().map(|id| tape.parameter(*id)).collect();
            let mut began = Instant::now();
            let out = body(&mut tape, &vars)?;
            if back {
                let loss = op::sum(&mut tape, out)?;
                let mut gradients = Gradients::new();
                began = Instant::now();
                tape.backward(loss, &mut gradients)?;
            }
            best = best.min(began.elapsed().as_secs_f64());
            rounds += 1;
        }
        self.add(operation, shape, best, flop, bytes);
        Ok(())
    }

    fn add(&mut self, operation: &str, shape: String, seconds: f64, flop: f64, bytes: f64) {
        // Whatever is mostly read is held against the rate of reading.
        let memory = self.ceilings.read_bytes_per_second.max(self.ceilings.copy_bytes_per_second);
        let at_least = (flop / self.ceilings.flop_per_second(self.precision)).max(bytes / memory);
        self.done.push(Timed {
            operation: operation.to_owned(),
            shape,
            seconds,
            flop,
            bytes,
            share: at_least / seconds,
        });
    }

    fn linear(&mut self, rows: usize, inputs: usize, outputs: usize) -> Result<()> {
        let flop = 2.0 * (rows * inputs * outputs) as f64;
        let moved = bytes(rows * inputs + inputs * outputs + rows * outputs);
        let shape = format!("[{rows}, {inputs}] x [{outputs}, {inputs}]");
        let (x, weight) = (noise(&[rows, inputs])?, noise(&[outputs, inputs])?);
        let both = [("linear", false, false), ("linear dx", true, false), ("linear dW", false, true)];
        for (name, with_x, with_weight) in both.into_iter().take(if rows == 1 { 1 } else { 3 }) {
            let inputs = [(x.clone(), with_x), (weight.clone(), with_weight)];
            self.time(name, shape.clone(), (flop, moved), &inputs, |tape, v| op::linear(tape, v[0], v[1], None))?;
        }
        Ok(())
    }

    /// One row by a weight that stays in `bf16`.
    fn line(&mut self, inputs: usize, outputs: usize) -> Result<()> {
        let Some(block) = block::of_name("BF16") else { return Ok(()) };
        let shape = [outputs, inputs];
        let stored = block::quantize(block, noise(&shape)?.data())?;
        let range = 0..stored.len();
        let moved = range.len() as f64 + bytes(inputs + outputs);
        let weight = Tensor::from_blocks(&shape, block, Arc::new(stored), range)?;
        let given = [(noise(&[1, inputs])?, false), (weight, false)];
        let cost = (2.0 * (inputs * outputs) as f64, moved);
        self.time("linear, bf16 weight", format!("[1, {inputs}] x {shape:?}"), cost, &given, |tape, v| {
            op::linear(tape, v[0], v[1], None)
        })
    }

    fn model(&mut self, model: &Widths) -> Result<()> {
        let &Widths { rows, length, hidden, inside, heads, kv_heads, vocabulary } = model;
        let x = noise(&[rows, hidden])?;
        for (direction, back) in [("", false), (" back", true)] {
            let reads = if back { 3 } else { 2 };
            let norm = [(x.clone(), back), (Tensor::full(&[hidden], 1.0)?, back)];
            let cost = (0.0, bytes(reads * rows * hidden));
            let name = format!("rms_norm{direction}");
            self.time(&name, format!("[{rows}, {hidden}]"), cost, &norm, |tape, v| {
                op::rms_norm(tape, v[0], v[1], 1e-5)
            })?;

            let gates = [(noise(&[rows, inside])?, back), (noise(&[rows, inside])?, back)];
            let cost = (0.0, bytes((reads + if back { 2 } else { 1 }) * rows * inside));
            let name = format!("swiglu{direction}");
            self.time(&name, format!("[{rows}, {inside}]"), cost, &gates, |tape, v| op::swiglu(tape, v[0], v[1]))?;

            let head_dim = hidden / heads;
            let positions: Vec<u32> = (0..rows).map(|row| (row % length) as u32).collect();
            let turn = Rotary::new(head_dim, 10_000.0);
            let cost = (0.0, bytes(2 * rows * hidden));
            let name = format!("rotary{direction}");
            self.time(&name, format!("[{rows}, {hidden}]"), cost, &[(x.clone(), back)], |tape, v| {
                op::rotary(tape, v[0], &turn, &positions)
            })?;

            let scale = 1.0 / (head_dim as f32).sqrt();
            let shape = AttentionShape { heads, kv_heads, head_dim, scale, causal: true, window: None, softcap: None };
            let sequences: Vec<Sequence> = (0..rows / length)
                .map(|text| text * length..(text + 1) * length)
                .map(|rows| Sequence { query: rows.clone(), key: rows })
                .collect();
            let keys = noise(&[rows, kv_heads * head_dim])?;
            let qkv = [(x.clone(), back), (keys.clone(), back), (keys, back)];
            // Half of the pairs are seen; two products forward, five back.
            let flop = (rows * length * hidden * if back { 5 } else { 2 }) as f64;
            let name = format!("attention{direction}");
            let moved = bytes((reads + 1) * rows * hidden);
            self.time(&name, format!("[{rows}, {hidden}], texts of {length}"), (flop, moved), &qkv, |tape, v| {
                op::attention(tape, v[0], v[1], v[2], &shape, &sequences)
            })?;
        }
        self.head(rows, hidden, vocabulary)
    }

    /// Loss and both gradients, which the operation computes together.
    fn head(&mut self, rows: usize, hidden: usize, vocabulary: usize) -> Result<()> {
        let targets: Vec<u32> = (0..rows).map(|row| (row * 37 % vocabulary) as u32).collect();
        let weights = vec![1.0; rows];
        let mut parameters = Parameters::new();
        let x = parameters.insert("x", noise(&[rows, hidden])?, true)?;
        let table = parameters.insert("head", noise(&[vocabulary, hidden])?, true)?;
        let (started, mut best) = (Instant::now(), f64::INFINITY);
        while best.is_infinite() || started.elapsed() < self.duration {
            let mut tape = Tape::training(&parameters);
            tape.set_precision(self.precision);
            let (x, table) = (tape.parameter(x), tape.parameter(table));
            let began = Instant::now();
            op::head_cross_entropy(&mut tape, x, table, &targets, &weights)?;
            best = best.min(began.elapsed().as_secs_f64());
        }
        let flop = 6.0 * (rows * hidden * vocabulary) as f64;
        let moved = bytes(2 * vocabulary * hidden + 2 * rows * hidden);
        let shape = format!("[{rows}, {hidden}] x [{vocabulary}, {hidden}]");
        self.add("head_cross_entropy and back", shape, best, flop, moved);
        Ok(())
    }

    fn adamw(&mut self, numbers: usize) -> Result<()> {
        let [mut weights, gradient, mut m, mut v] =
            [noise(&[numbers])?, noise(&[numbers])?, Tensor::zeros(&[numbers])?, Tensor::zeros(&[numbers])?];
        let (started, mut best, mut step) = (Instant::now(), f64::INFINITY, 0);
        while step < 3 || started.elapsed() < self.duration {
            step += 1;
            let numbers =
                AdamwStep { rate: 1e-4, scale: 0.5, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0.1, step };
            let began = Instant::now();
            op::adamw_step(weights.data_mut(), gradient.data(), m.data_mut(), v.data_mut(), &numbers)?;
            best = best.min(began.elapsed().as_secs_f64());
        }
        self.add("adamw_step", format!("[{numbers}]"), best, 0.0, bytes(7 * numbers));
        Ok(())
    }
}
