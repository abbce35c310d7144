use metier_core::Result;

use super::AdamwStep;
use super::adamw::{Factors, change};
use super::refuse;
use crate::kernel::threads::chunks4;

/// Weights that share a scale.
const BLOCK: usize = 256;
/// Words of a block's state: its scale, and its codes by fours.
const WORDS: usize = 1 + BLOCK / 4;
/// Blocks in one piece of work.
const PIECE: usize = 64;
/// Decades of the map.
const LEVELS: usize = 7;

/// Length of each of the two states of [`adamw_8bit_step`] for a tensor of so many weights.
pub fn adamw_8bit_state(weights: usize) -> usize {
    weights.div_ceil(BLOCK) + weights.div_ceil(4)
}

/// What the codes of one state stand for, from 0 to 1 or from -1 to 1: in each of seven decades up to 1 numbers at equal
/// distances, twice as many as in the decade below; besides them 0 and 1.
struct Map {
    values: [f32; 256],
    /// From where on a number belongs to each decade.
    bounds: [f32; LEVELS],
    /// From where on it is 1.
    top: f32,
    /// Numbers in the lowest decade.
    least: f32,
    signed: bool,
}

static SIGNED: Map = Map::new(true);
static UNSIGNED: Map = Map::new(false);

impl Map {
    const fn new(signed: bool) -> Self {
        let least: usize = if signed { 1 } else { 2 };
        let zero = if signed { 127 } else { 0 };
        let mut exact = [0.0_f64; 256];
        let mut bounds = [0.0; LEVELS];
        let mut code = 1;
        let (mut level, mut decade) = (0, 1e-6);
        while level < LEVELS {
            let first = code;
            while code < first + (least << level) {
                exact[code] = decade * (0.1 + 0.9 * ((code - first) as f64 + 0.5) / (least << level) as f64);
                code += 1;
            }
            bounds[level] = (f64::midpoint(exact[first - 1], exact[first])) as f32;
            level += 1;
            decade *= 10.0;
        }
        exact[code] = 1.0;
        let mut values = [0.0; 256];
        let mut at = 1;
        while at <= code {
            values[zero + at] = exact[at] as f32;
            if signed && at < code {
                values[zero - at] = -exact[at] as f32;
            }
            at += 1;
        }
        Self { values, bounds, top: f64::midpoint(exact[code - 1], 1.0) as f32, least: least as f32, signed }
    }

    /// The code whose value is nearest to a number from -1 to 1; of a map without sign, none but that of 0 itself
    /// gets the code of 0.
    #[inline(always)]
    fn code(&self, number: f32) -> u8 {
        const GAINS: [f32; LEVELS] = [1e6, 1e5, 1e4, 1e3, 1e2, 1e1, 1.0];
        let size = number.abs();
        let (mut gain, mut count) = (GAINS[0], self.least);
        for (level, (own, bound)) in GAINS.iter().zip(&self.bounds).enumerate().skip(1) {
            let above = size >= *bound;
            gain = if above { *own } else { gain };
            count = if above { self.least * (1 << level) as f32 } else { count };
        }
        // Codes of decades follow each other as numbers of a binary floating point do.
        let place = (size * gain - 0.1) * (count / 0.9);
        let place = if place < 0.0 { 0.0 } else { place };
        let place = if place >= count { count - 1.0 } else { place };
        let code = (count + place) as i32 - self.least as i32 + 1;
        let code = if size >= self.top { if self.signed { 128 } else { 255 } } else { code };
        if self.signed {
            let code = if size < self.bounds[0] { 0 } else { code };
            let least = if code > 127 { 127 } else { code };
            (if number < 0.0 { 127 - least } else { 127 + code }) as u8
        } else {
            (if size > 0.0 { code } else { 0 }) as u8
        }
    }

    #[expect(clippy::inline_always, reason = "must be compiled with the instruction set of its caller")]
    #[inline(always)]
    fn read(&self, state: &[f32], values: &mut [f32; BLOCK]) {
        let Some((scale, words)) = state.split_first() else { return };
        for (values, word) in values.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *values = word.to_bits().to_le_bytes().map(|code| scale * self.values[usize::from(code)]);
        }
    }

    #[expect(clippy::inline_always, reason = "must be compiled with the instruction set of its caller")]
    #[inline(always)]
    fn write(&self, state: &mut [f32], values: &[f32; BLOCK]) {
        let Some((scale, words)) = state.split_first_mut() else { return };
        let mut lanes = [0.0_f32; 16];
        for values in values.as_chunks::<16>().0 {
            for (lane, value) in lanes.iter_mut().zip(values) {
                let size = value.abs();
                *lane = if size > *lane { size } else { *lane };
            }
        }
        *scale = lanes.into_iter().fold(0.0, f32::max);
        let factor = if scale.is_normal() { 1.0 / *scale } else { 0.0 };
        let mut codes = [0; BLOCK];
        for (code, value) in codes.iter_mut().zip(values) {
            *code = self.code(value * factor);
        }
        for (word, codes) in words.iter_mut().zip(codes.as_chunks::<4>().0) {
            *word = f32::from_bits(u32::from_le_bytes(*codes));
        }
    }
}

leveled! {
    fn update(parameter: &mut [f32], m: &mut [f32], v: &mut [f32], gradient: &[f32], factors: Factors) {
        let states = m.chunks_mut(WORDS).zip(v.chunks_mut(WORDS));
        for ((parameter, gradient), (m, v)) in parameter.chunks_mut(BLOCK).zip(gradient.chunks(BLOCK)).zip(states) {
            let (mut m_values, mut v_values) = ([0.0; BLOCK], [0.0; BLOCK]);
            SIGNED.read(m, &mut m_values);
            UNSIGNED.read(v, &mut v_values);
            // What a short last block reads behind its end would otherwise take part in its scale.
            m_values[parameter.len()..].fill(0.0);
            v_values[parameter.len()..].fill(0.0);
            for (((parameter, gradient), m), v) in
                parameter.iter_mut().zip(gradient).zip(&mut m_values).zip(&mut v_values)
            {
                change(parameter, *gradient, m, v, factors);
            }
            SIGNED.write(m, &m_values);
            UNSIGNED.write(v, &v_values);
        }
    }
}

/// As [`adamw_step`](super::adamw_step), with `m` and `v` in 8 bits a number.
///
/// Blocks of 256 numbers share a scale, their greatest magnitude; a code stands for a number from -1 to 1 (`m`) or
/// from 0 to 1 (`v`), dense near 0, that the scale is multiplied with. A step reads the codes, does what AdamW does in
/// `f32`, and writes the nearest codes. No `v` above 0 becomes 0, since an `m` that is left would then be
/// divided by `epsilon` alone. `m` and `v` are [`adamw_8bit_state`] words each: for each block its scale, then its codes
/// as bits of words, the first in the lowest; all zero before the first step. A word is never
/// calculated with, so it may be any pattern. Source: Dettmers et al., 8-bit Optimizers via Block-wise Quantization,
/// arXiv 2110.02861, section 2.
pub fn adamw_8bit_step(
    parameter: &mut [f32],
    gradient: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    step: &AdamwStep,
) -> Result<()> {
    const NAME: &str = "adamw_8bit_step";
    let (length, state) = (parameter.len(), adamw_8bit_state(parameter.len()));
    if gradient.len() != length || m.len() != state || v.len() != state {
        let lengths = [length, gradient.len(), m.len(), v.len()];
        return Err(refuse(NAME, format!("parameter, gradient, m and v have the lengths {lengths:?}"))
            .hint(format!("they must be {:?}", [length, length, state, state])));
    }
    let factors = step.factors(NAME)?;
    let words = PIECE * WORDS;
    let outputs = [(parameter, PIECE * BLOCK), (m, words), (v, words)];
    chunks4(outputs, gradient, length * 32, |parameter, m, v, gradient| update(parameter, m, v, gradient, factors));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use metier_testkit::{assert_close, golden};

    #[test]
    fn maps_and_steps_agree_with_the_reference() {
        let golden = golden::read("adamw_8bit.json");
        assert_close("signed", &SIGNED.values, &golden::numbers(&golden["signed"]), 0.0, 1e-7);
        assert_close("unsigned", &UNSIGNED.values, &golden::numbers(&golden["unsigned"]), 0.0, 1e-7);
        let setting = |key: &str| golden["settings"][key].as_f64().unwrap() as f32;
        let mut parameter = golden::numbers(&golden["initial"]);
        let mut states = [(); 2].map(|()| vec![0.0; adamw_8bit_state(parameter.len())]);
        for (step, expected) in (1..).zip(golden["steps"].as_array().unwrap()) {
            let numbers = AdamwStep {
                rate: setting("rate"),
                scale: 0.5,
                beta1: setting("beta1"),
                beta2: setting("beta2"),
                epsilon: setting("epsilon"),
                decay: setting("decay"),
                step,
            };
            let gradient: Vec<f32> = golden::numbers(&expected["gradient"]).iter().map(|value| 2.0 * value).collect();
            let [m, v] = &mut states;
            adamw_8bit_step(&mut parameter, &gradient, m, v, &numbers).unwrap();
            let want = golden::numbers(&expected["parameter"]);
            assert_close(&format!("after step {step}"), &parameter, &want, 1e-7, 1e-5);
        }
    }

    #[test]
    fn a_code_is_the_nearest() {
        for (map, lowest) in [(&SIGNED, -1.0), (&UNSIGNED, 0.0)] {
            assert!(map.values.is_sorted_by(|a, b| a < b), "each code has a value of its own");
            for value in map.values {
                assert_eq!(map.values[usize::from(map.code(value))].to_bits(), value.to_bits());
            }
            let even = (0..200_001).map(|at| at as f32 / 200_000.0);
            let numbers = even.flat_map(|x| [x, x * x * x, x * 1e-5, x * 1e-8]).flat_map(|x| [x, x * lowest]);
            for number in numbers {
                let distance = |code: usize| (map.values[code] - number).abs();
                let code = usize::from(map.code(number));
                if !map.signed && number > 0.0 && code == 1 {
                    assert!(number <= f32::midpoint(map.values[1], map.values[2]));
                    continue;
                }
                let nearest = (code.saturating_sub(1)..=(code + 1).min(255)).map(distance).fold(f32::MAX, f32::min);
                assert!(distance(code) <= nearest + 1e-6 * number.abs(), "{number} became {}", map.values[code]);
            }
        }
    }

    #[test]
    fn absurd_numbers_do_no_harm() {
        let step = AdamwStep { rate: 0.1, scale: 1.0, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0.0, step: 1 };
        for value in [f32::NAN, f32::INFINITY, f32::MAX, f32::MIN_POSITIVE / 8.0, -0.0] {
            let mut parameter = vec![1.0; 300];
            let mut states = [(); 2].map(|()| vec![f32::NAN; adamw_8bit_state(300)]);
            let [m, v] = &mut states;
            adamw_8bit_step(&mut parameter, &[value; 300], m, v, &step).unwrap();
        }
    }
}
