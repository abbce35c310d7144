//! The frequencies of rotary positions, as trained or stretched to longer texts.

use metier_compute::op::Rotary;
use std::borrow::Cow;
use std::f64::consts::PI;
use std::sync::Arc;

/// How rotary positions are stretched beyond the texts a model was first trained on. `trained` is the length of those.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Scaling {
    /// Not at all.
    #[default]
    None,
    /// Every frequency is divided by `factor`.
    Linear {
        /// At least 1.
        factor: f32,
    },
    /// In a text of more than `trained` tokens the base grows with the text's length.
    /// Source: "NTK-aware scaled RoPE", 2023, as transformers has it.
    Dynamic {
        /// At least 1.
        factor: f32,
        /// In tokens.
        trained: usize,
    },
    /// High frequencies stay, low ones are divided by `factor`, those between are mixed; scores grow a little.
    /// Source: Peng et al., `YaRN`, arXiv 2309.00071, section 3.
    Yarn {
        /// At least 1.
        factor: f32,
        /// In tokens.
        trained: usize,
        /// A frequency stays that turns this often within `trained` tokens.
        fast: f32,
        /// A frequency is divided that turns only this often.
        slow: f32,
        /// What cosines and sines are multiplied by.
        magnitude: f32,
        /// Whether the bounds of the mixed frequencies are whole numbers.
        truncate: bool,
    },
    /// The same idea with other bounds and no growth.
    /// Source: Grattafiori et al., Llama 3, arXiv 2407.21783; the reference program's `apply_scaling`.
    Llama3 {
        /// At least 1.
        factor: f32,
        /// A frequency is divided whose wave is longer than `trained / low`.
        low: f32,
        /// A frequency stays whose wave is shorter than `trained / high`; above `low`.
        high: f32,
        /// In tokens.
        trained: usize,
    },
    /// Every frequency is divided by a number of its own, one list for texts of up to `trained` tokens and one for longer
    /// ones. Source: Ding et al., `LongRoPE`, arXiv 2402.13753.
    LongRope {
        /// For each pair.
        short: Arc<[f32]>,
        /// For each pair.
        long: Arc<[f32]>,
        /// In tokens.
        trained: usize,
        /// What cosines and sines are multiplied by.
        magnitude: f32,
    },
}

/// Rotary positions of one kind of layer.
#[derive(Debug, Clone)]
pub struct Turning {
    /// In texts no longer than those of the training.
    plain: Rotary,
    /// In longer ones, where their frequencies are others.
    long: Option<Rotary>,
    theta: f32,
    scaling: Scaling,
}

impl Turning {
    /// The first `turned` columns of each head of `head_dim` turn.
    pub fn new(head_dim: usize, turned: usize, theta: f32, scaling: Scaling) -> Self {
        let plain = Rotary { head_dim, ..Rotary::new(turned, theta) };
        let mut longer = None;
        let plain = match scaling {
            Scaling::None | Scaling::Dynamic { .. } => plain,
            Scaling::LongRope { ref short, ref long, magnitude, .. } => {
                let divided = |factors: &[f32]| {
                    let by = |frequency: f32, pair: usize| frequency / factors.get(pair).copied().unwrap_or(1.0);
                    Rotary { magnitude, ..change(&plain, by) }
                };
                longer = Some(divided(long));
                divided(short)
            }
            Scaling::Linear { factor } => change(&plain, |frequency, _| frequency / factor),
            Scaling::Yarn { factor, trained, fast, slow, magnitude, truncate } => {
                let (low, high) = ramp(trained, [fast, slow], truncate, turned, theta);
                let mixed = change(&plain, |frequency, pair| {
                    let kept = 1.0 - ((pair as f32 - low) / (high - low)).clamp(0.0, 1.0);
                    frequency / factor * (1.0 - kept) + frequency * kept
                });
                Rotary { magnitude, ..mixed }
            }
            Scaling::Llama3 { factor, low, high, trained } => change(&plain, |frequency, _| {
                let waves = trained as f32 * frequency / (2.0 * PI as f32);
                if waves < low {
                    frequency / factor
                } else if waves > high {
                    frequency
                } else {
                    let kept = (waves - low) / (high - low);
                    (1.0 - kept) * frequency / factor + kept * frequency
                }
            }),
        };
        Self { plain, long: longer, theta, scaling }
    }

    /// The same for heads whose pairs lie side by side, as GGUF files of a Llama have them.
    #[must_use]
    pub fn interleaved(mut self) -> Self {
        for rotary in std::iter::once(&mut self.plain).chain(&mut self.long) {
            rotary.interleaved = true;
        }
        self
    }

    /// How positions turn in a text of `length` tokens.
    pub fn in_text(&self, length: usize) -> Cow<'_, Rotary> {
        match self.scaling {
            Scaling::Dynamic { factor, trained } if length > trained => {
                let turned = 2 * self.plain.frequencies.len();
                let (factor, share) = (f64::from(factor), length as f64 / trained as f64);
                let power = turned as f64 / (turned as f64 - 2.0);
                let theta = f64::from(self.theta) * (factor * share - (factor - 1.0)).powf(power);
                let Rotary { frequencies, .. } = Rotary::new(turned, theta as f32);
                Cow::Owned(Rotary { frequencies, ..self.plain.clone() })
            }
            Scaling::LongRope { trained, .. } if length > trained => {
                Cow::Borrowed(self.long.as_ref().unwrap_or(&self.plain))
            }
            _ => Cow::Borrowed(&self.plain),
        }
    }
}

fn change(rotary: &Rotary, new: impl Fn(f32, usize) -> f32) -> Rotary {
    let frequencies = rotary.frequencies.iter().zip(0..).map(|(&frequency, pair)| new(frequency, pair)).collect();
    Rotary { frequencies, ..rotary.clone() }
}

/// Between which pairs `YaRN` mixes.
fn ramp(trained: usize, [fast, slow]: [f32; 2], truncate: bool, turned: usize, theta: f32) -> (f32, f32) {
    let pair_that_turns = |times: f32| {
        turned as f64 * (trained as f64 / (f64::from(times) * 2.0 * PI)).ln() / (2.0 * f64::from(theta).ln())
    };
    let (mut low, mut high) = (pair_that_turns(fast), pair_that_turns(slow));
    if truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    let (low, high) = (low.max(0.0), high.min(turned as f64 - 1.0));
    // Two equal bounds would divide by zero.
    (low as f32, if (high - low).abs() > 0.0 { high as f32 } else { (high + 0.001) as f32 })
}
