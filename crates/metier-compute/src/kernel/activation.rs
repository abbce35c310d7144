//! Functions of one element, and their slopes.

use super::math::{erf, exp, sigmoid, silu, tanh};
use super::threads::{chunks, piece};
use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// Elements in one piece of work.
const PIECE: usize = 1 << 14;
/// `sqrt(2 / pi)`.
const GELU_SCALE: f32 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
/// The weight of the cube inside the tanh approximation of GELU.
const GELU_CUBE: f32 = 0.044_715;

/// A function of one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activation {
    /// `e^x`.
    Exp,
    /// `x (1 + erf(x / sqrt 2)) / 2` (Hendrycks and Gimpel 2016, arXiv:1606.08415); `erf` is within 6e-7.
    Gelu,
    /// GELU's approximation by `tanh(sqrt(2 / pi) (x + 0.044715 x^3))`, section 2 of the same paper.
    GeluTanh,
    /// The natural logarithm.
    Log,
    /// `1 / x`.
    Reciprocal,
    /// `max(x, 0)`; the slope at 0 is 0.
    Relu,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `x / (1 + e^-x)`.
    Silu,
    /// The square root.
    Sqrt,
    /// `x^2`.
    Square,
    /// The hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// Every one of them.
    pub const ALL: [Self; 11] = [
        Self::Exp,
        Self::Gelu,
        Self::GeluTanh,
        Self::Log,
        Self::Reciprocal,
        Self::Relu,
        Self::Sigmoid,
        Self::Silu,
        Self::Sqrt,
        Self::Square,
        Self::Tanh,
    ];

    /// What messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exp => "exp",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_tanh",
            Self::Log => "log",
            Self::Reciprocal => "reciprocal",
            Self::Relu => "relu",
            Self::Sigmoid => "sigmoid",
            Self::Silu => "silu",
            Self::Sqrt => "sqrt",
            Self::Square => "square",
            Self::Tanh => "tanh",
        }
    }
}

#[expect(clippy::inline_always, reason = "must be compiled with the instruction set of its caller")]
#[inline(always)]
fn set(out: &mut [f32], x: &[f32], f: impl Fn(f32) -> f32) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = f(*x);
    }
}

#[expect(clippy::inline_always, reason = "must be compiled with the instruction set of its caller")]
#[inline(always)]
fn scale(out: &mut [f32], x: &[f32], f: impl Fn(f32) -> f32) {
    for (out, x) in out.iter_mut().zip(x) {
        *out *= f(*x);
    }
}

#[expect(clippy::inline_always, reason = "must be compiled with the instruction set of its caller")]
#[inline(always)]
fn gelu_tanh_inner(x: f32) -> f32 {
    GELU_SCALE * (x + GELU_CUBE * x * x * x)
}

leveled! {
    fn value_slice(out: &mut [f32], x: &[f32], kind: Activation) {
        match kind {
            Activation::Exp => set(out, x, exp),
            Activation::Gelu => set(out, x, |x| 0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2))),
            Activation::GeluTanh => set(out, x, |x| 0.5 * x * (1.0 + tanh(gelu_tanh_inner(x)))),
            Activation::Log => set(out, x, f32::ln),
            Activation::Reciprocal => set(out, x, |x| 1.0 / x),
            // Written so that NaN stays NaN.
            Activation::Relu => set(out, x, |x| if x < 0.0 { 0.0 } else { x }),
            Activation::Sigmoid => set(out, x, sigmoid),
            Activation::Silu => set(out, x, silu),
            Activation::Sqrt => set(out, x, f32::sqrt),
            Activation::Square => set(out, x, |x| x * x),
            Activation::Tanh => set(out, x, tanh),
        }
    }
}

leveled! {
    fn slope_slice(gradient: &mut [f32], x: &[f32], kind: Activation) {
        match kind {
            Activation::Exp => scale(gradient, x, exp),
            Activation::Gelu => scale(gradient, x, |x| {
                let density = 0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * exp(-0.5 * x * x);
                0.5 * (1.0 + erf(x * FRAC_1_SQRT_2)) + x * density
            }),
            Activation::GeluTanh => scale(gradient, x, |x| {
                let t = tanh(gelu_tanh_inner(x));
                0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * GELU_SCALE * (1.0 + 3.0 * GELU_CUBE * x * x)
            }),
            Activation::Log => scale(gradient, x, |x| 1.0 / x),
            Activation::Reciprocal => scale(gradient, x, |x| -1.0 / (x * x)),
            Activation::Relu => scale(gradient, x, |x| if x > 0.0 { 1.0 } else { 0.0 }),
            Activation::Sigmoid => scale(gradient, x, |x| {
                let s = sigmoid(x);
                s * (1.0 - s)
            }),
            Activation::Silu => scale(gradient, x, |x| {
                let s = sigmoid(x);
                s * (1.0 + x * (1.0 - s))
            }),
            Activation::Sqrt => scale(gradient, x, |x| 0.5 / x.sqrt()),
            Activation::Square => scale(gradient, x, |x| 2.0 * x),
            Activation::Tanh => scale(gradient, x, |x| {
                let t = tanh(x);
                1.0 - t * t
            }),
        }
    }
}

/// `out = f(x)`.
pub(crate) fn values(out: &mut [f32], x: &[f32], kind: Activation) {
    let total = out.len();
    chunks(out, PIECE, total * 8, |index, out| value_slice(out, &x[piece(index, PIECE, total)], kind));
}

/// `gradient *= f'(x)`.
pub(crate) fn multiply_by_slopes(gradient: &mut [f32], x: &[f32], kind: Activation) {
    let total = gradient.len();
    chunks(gradient, PIECE, total * 8, |index, gradient| {
        slope_slice(gradient, &x[piece(index, PIECE, total)], kind);
    });
}
