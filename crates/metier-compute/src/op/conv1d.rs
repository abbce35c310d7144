use std::ops::Range;

use metier_core::Result;

use super::{broadcast, mismatch, refuse};
use crate::kernel::matmul::{Matrix, multiply_here};
use crate::kernel::threads::chunks;
use crate::kernel::{elementwise, reduce};
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

const OP: &str = "conv1d";
/// How the filters of [`conv1d`] lie on its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv1d {
    /// From one output to the next, in elements of the input.
    pub stride: usize,
    /// From one tap of a filter to the next, in elements of the input.
    pub dilation: usize,
    /// Zeros before and behind the input. `(dilation * (taps - 1), 0)` is causal: no output sees what comes later.
    pub padding: (usize, usize),
    /// Parts of the channels that do not see each other; as many as channels for a depthwise convolution.
    pub groups: usize,
}

impl Default for Conv1d {
    fn default() -> Self {
        Self { stride: 1, dilation: 1, padding: (0, 0), groups: 1 }
    }
}

/// What the loops need to know.
#[derive(Clone, Copy)]
struct Plan {
    shape: Conv1d,
    batch: usize,
    /// Inputs and outputs of one group.
    inputs: usize,
    outputs: usize,
    taps: usize,
    length: usize,
    positions: usize,
}

struct Convolution {
    x: (Var, Tensor),
    weight: (Var, Tensor),
    bias: Option<Var>,
    plan: Plan,
}

/// `y[b, o, t] = bias[o] + sum over c and k of weight[o, c, k] x[b, c', t stride + k dilation - before]`.
///
/// `x` is `[B, C, T]`, `weight` `[O, C / groups, K]`, `bias` `[O]`, the output `[B, O, T']` with
/// `T' = (T + before + behind - dilation (K - 1) - 1) / stride + 1`, rounded down. Outputs and inputs are cut into
/// `groups` in order, and `c'` is channel `c` of the group of `o`; outside its length `x` is 0.
/// Backward: the same sum for each of its three factors, `dx` from `weight` and `dy`, `dweight` from `x` and `dy`,
/// `dbias = sum of dy over b and t`, each only when wanted. Refused for other numbers of dimensions, channels that
/// the groups do not divide, a stride, dilation, group count or `K` of 0, and filters longer than the padded `x`
/// (an empty `x` gives an empty output).
pub fn conv1d(tape: &mut Tape<'_>, x: Var, weight: Var, bias: Option<Var>, shape: &Conv1d) -> Result<Var> {
    let (value, filters) = (tape.value(x)?.clone(), tape.value(weight)?.clone());
    let plan = plan(value.shape(), filters.shape(), *shape)?;
    let outputs = filters.shape()[0];
    let bias_value = bias.map(|bias| tape.value(bias)).transpose()?;
    if let Some(bias) = bias_value
        && *bias.shape() != [outputs]
    {
        let shapes = (("weight", filters.shape()), ("bias", bias.shape()));
        return Err(mismatch(OP, shapes.0, shapes.1, "the bias needs one element for each output"));
    }
    let mut out = Tensor::stale(&[plan.batch, outputs, plan.positions])?;
    plan.forward(out.data_mut(), value.data(), filters.data(), bias_value.map(Tensor::data));
    let operands: Vec<Var> = [Some(x), Some(weight), bias].into_iter().flatten().collect();
    tape.push(OP, out, &operands, || Convolution { x: (x, value), weight: (weight, filters), bias, plan })
}

fn plan(x: &[usize], weight: &[usize], shape: Conv1d) -> Result<Plan> {
    let (&[batch, channels, length], &[filters, inputs, taps]) = (x, weight) else {
        return Err(mismatch(
            OP,
            ("x", x),
            ("weight", weight),
            "x is [batch, channels, length], the weight 3-dimensional",
        ));
    };
    let Conv1d { stride, dilation, padding, groups } = shape;
    if stride == 0 || dilation == 0 || groups == 0 || taps == 0 {
        let message = format!(
            "stride {stride}, dilation {dilation}, {groups} groups and {taps} taps for x {x:?} and weight {weight:?}"
        );
        return Err(refuse(OP, message).hint("each must be at least 1"));
    }
    if inputs.checked_mul(groups) != Some(channels) || !filters.is_multiple_of(groups) {
        let rule = format!("{groups} groups need as many parts of x's channels and of the outputs");
        return Err(mismatch(OP, ("x", x), ("weight", weight), &rule));
    }
    let span = dilation.checked_mul(taps - 1).and_then(|span| span.checked_add(1));
    let padded = length.checked_add(padding.0).and_then(|length| length.checked_add(padding.1));
    let positions = match (padded, span) {
        (Some(padded), Some(span)) if padded >= span => (padded - span) / stride + 1,
        _ if length == 0 => 0,
        _ => {
            let rule = format!("the filter is longer than x with its padding {padding:?}, or too large to count");
            return Err(mismatch(OP, ("x", x), ("weight", weight), &rule));
        }
    };
    Ok(Plan { shape, batch, inputs, outputs: filters / groups, taps, length, positions })
}

/// Cuts `start..start + count` where groups of `group` channels end.
fn blocks(start: usize, count: usize, group: usize) -> impl Iterator<Item = Range<usize>> {
    let end = start + count;
    let mut at = start;
    std::iter::from_fn(move || {
        let block = at..((at / group + 1) * group).min(end);
        at = block.end;
        (!block.is_empty()).then_some(block)
    })
}

impl Plan {
    /// The outputs that tap `tap` reaches, and the input of the first of them.
    fn reach(&self, tap: usize) -> (Range<usize>, usize) {
        let Conv1d { stride, dilation, padding: (before, _), .. } = self.shape;
        let shift = tap.saturating_mul(dilation);
        let first = before.saturating_sub(shift).div_ceil(stride);
        let end = (self.length + before).saturating_sub(shift).div_ceil(stride).min(self.positions);
        if first >= end { (0..0, 0) } else { (first..end, first * stride + shift - before) }
    }

    /// The taps of a filter; none where no channel of the one side meets one of the other.
    fn each_tap(&self) -> Range<usize> {
        if self.inputs == 0 || self.outputs == 0 { 0..0 } else { 0..self.taps }
    }

    /// Channels that one piece of work covers of `count`: many share the packing of what they are multiplied with,
    /// but several threads want a piece each.
    fn piece(count: usize) -> usize {
        (count / 8).clamp(32, 128)
    }

    /// True when a filter is one row of the input, slid along.
    fn is_row(&self) -> bool {
        self.inputs == 1 && self.shape.stride == 1
    }

    fn forward(&self, out: &mut [f32], x: &[f32], weight: &[f32], bias: Option<&[f32]>) {
        let Self { inputs, outputs, taps, length, positions, .. } = *self;
        let filters = outputs * self.shape.groups;
        let steps = out.len() * inputs * taps / 8;
        let channels = Self::piece(filters * self.batch);
        chunks(out, channels * positions, steps, |index, out| {
            let first = index * channels;
            for rows in blocks(first, out.len() / positions, outputs) {
                let out = &mut out[(rows.start - first) * positions..(rows.end - first) * positions];
                let filter = rows.start % filters;
                for (row, out) in out.chunks_exact_mut(positions).enumerate() {
                    out.fill(bias.map_or(0.0, |bias| bias[filter + row]));
                }
                let x = &x[rows.start / outputs * inputs * length..][..inputs * length];
                let weight = &weight[filter * inputs * taps..][..rows.len() * inputs * taps];
                for tap in self.each_tap() {
                    let (reached, from) = self.reach(tap);
                    if reached.is_empty() {
                        continue;
                    }
                    if self.is_row() {
                        for (out, weight) in out.chunks_exact_mut(positions).zip(weight.chunks_exact(taps)) {
                            let x = &x[from..from + reached.len()];
                            elementwise::add_scaled(&mut out[reached.clone()], x, weight[tap]);
                        }
                        continue;
                    }
                    let weight = Matrix::spread(&weight[tap..], rows.len(), inputs, inputs * taps, taps);
                    let x = Matrix::spread(&x[from..], inputs, reached.len(), length, self.shape.stride);
                    multiply_here(&mut out[reached.start..], positions, weight, x, 1.0, true);
                }
            }
        });
    }

    fn input_gradient(&self, out: &mut [f32], weight: &[f32], dy: &[f32], add: bool) {
        let Self { inputs, outputs, taps, length, positions, .. } = *self;
        let stride = self.shape.stride;
        let steps = out.len() * outputs * taps / 8;
        let channels = Self::piece(inputs * self.shape.groups * self.batch);
        chunks(out, channels * length, steps, |index, out| {
            if !add {
                out.fill(0.0);
            }
            let first = index * channels;
            let mut spread = Vec::new();
            for rows in blocks(first, out.len() / length, inputs) {
                let out = &mut out[(rows.start - first) * length..(rows.end - first) * length];
                let group = rows.start / inputs;
                let dy = &dy[group * outputs * positions..][..outputs * positions];
                let weight = &weight[group % self.shape.groups * outputs * inputs * taps..][..outputs * inputs * taps];
                for tap in self.each_tap() {
                    let (reached, from) = self.reach(tap);
                    if reached.is_empty() {
                        continue;
                    }
                    if self.is_row() && outputs == 1 {
                        elementwise::add_scaled(&mut out[from..from + reached.len()], &dy[reached], weight[tap]);
                        continue;
                    }
                    let column = rows.start % inputs * taps + tap;
                    let weight = Matrix::spread(&weight[column..], outputs, rows.len(), inputs * taps, taps);
                    let dy = Matrix::strided(&dy[reached.start..], outputs, reached.len(), positions);
                    if stride == 1 {
                        multiply_here(&mut out[from..], length, weight.transposed(), dy, 1.0, true);
                        continue;
                    }
                    spread.resize(rows.len() * reached.len(), 0.0);
                    multiply_here(&mut spread, reached.len(), weight.transposed(), dy, 1.0, false);
                    for (out, spread) in out.chunks_exact_mut(length).zip(spread.chunks_exact(reached.len())) {
                        out[from..].iter_mut().step_by(stride).zip(spread).for_each(|(out, value)| *out += value);
                    }
                }
            }
        });
    }

    fn weight_gradient(&self, out: &mut [f32], x: &[f32], dy: &[f32], add: bool) {
        let Self { inputs, outputs, taps, length, positions, batch, .. } = *self;
        let (width, groups) = (inputs * taps, self.shape.groups);
        let steps = out.len() * batch * positions / 8;
        let channels = Self::piece(outputs * groups);
        chunks(out, channels * width, steps, |index, out| {
            if !add {
                out.fill(0.0);
            }
            let first = index * channels;
            let mut sums = Vec::new();
            for rows in blocks(first, out.len() / width, outputs) {
                let out = &mut out[(rows.start - first) * width..(rows.end - first) * width];
                for tap in self.each_tap() {
                    let (reached, from) = self.reach(tap);
                    sums.clear();
                    sums.resize(rows.len() * inputs, 0.0);
                    for item in (0..batch).filter(|_| !reached.is_empty()) {
                        let dy = &dy[(item * groups * outputs + rows.start) * positions..][..rows.len() * positions];
                        let group = item * groups + rows.start / outputs;
                        let x = &x[group * inputs * length..][..inputs * length];
                        if self.is_row() {
                            for (sum, dy) in sums.iter_mut().zip(dy.chunks_exact(positions)) {
                                *sum += reduce::dot(&dy[reached.clone()], &x[from..from + reached.len()]);
                            }
                            continue;
                        }
                        let dy = Matrix::strided(&dy[reached.start..], rows.len(), reached.len(), positions);
                        let x = Matrix::spread(&x[from..], inputs, reached.len(), length, self.shape.stride);
                        multiply_here(&mut sums, inputs, dy, x.transposed(), 1.0, true);
                    }
                    out[tap..].iter_mut().step_by(taps).zip(&sums).for_each(|(out, sum)| *out += sum);
                }
            }
        });
    }
}

impl Record<'_> for Convolution {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let Self { x: (x, value), weight: (weight, filters), bias, plan } = &self;
        pass.accumulate_with(*x, |out, add| {
            plan.input_gradient(out, filters.data(), gradient.data(), add);
            Ok(())
        })?;
        pass.accumulate_with(*weight, |out, add| {
            plan.weight_gradient(out, value.data(), gradient.data(), add);
            Ok(())
        })?;
        let Some(bias) = bias.filter(|bias| pass.needs(*bias)) else { return Ok(()) };
        let outputs = filters.shape()[0];
        pass.accumulate(bias, broadcast::reduced(gradient, &[outputs, 1])?.reshape(&[outputs])?)
    }
}
