//! Loops that treat every element alike.

use super::math::{sigmoid, silu};
use super::threads::{chunks, chunks2, piece};

/// Elements in one piece of work.
const PIECE: usize = 1 << 14;

leveled! {
    fn add_slices(into: &mut [f32], b: &[f32]) {
        for (into, b) in into.iter_mut().zip(b) {
            *into += b;
        }
    }
}

leveled! {
    fn scale_slice(into: &mut [f32], factor: f32) {
        for into in into {
            *into *= factor;
        }
    }
}

leveled! {
    /// `into *= b`, on one thread.
    pub(crate) fn multiply_slices(into: &mut [f32], b: &[f32]) {
        for (into, b) in into.iter_mut().zip(b) {
            *into *= b;
        }
    }
}

leveled! {
    fn add_scaled_slice(into: &mut [f32], b: &[f32], factor: f32) {
        for (into, b) in into.iter_mut().zip(b) {
            *into += factor * b;
        }
    }
}

leveled! {
    fn swiglu_slice(out: &mut [f32], gate: &[f32], up: &[f32]) {
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            *out = silu(*gate) * up;
        }
    }
}

leveled! {
    fn swiglu_both_slice(d_gate: &mut [f32], d_up: &mut [f32], gate: &[f32], up: &[f32], gradient: &[f32]) {
        for ((((d_gate, d_up), gate), up), gradient) in
            d_gate.iter_mut().zip(d_up).zip(gate).zip(up).zip(gradient)
        {
            let s = sigmoid(*gate);
            *d_gate = gradient * up * (s * (1.0 + gate * (1.0 - s)));
            *d_up = gradient * gate * s;
        }
    }
}

/// `into += b`.
pub(crate) fn add_in_place(into: &mut [f32], b: &[f32]) {
    let total = into.len();
    chunks(into, PIECE, total, |index, into| add_slices(into, &b[piece(index, PIECE, total)]));
}

/// `into *= factor`.
pub(crate) fn scale_in_place(into: &mut [f32], factor: f32) {
    let total = into.len();
    chunks(into, PIECE, total, |_, into| scale_slice(into, factor));
}

/// `into *= b`.
pub(crate) fn multiply_in_place(into: &mut [f32], b: &[f32]) {
    let total = into.len();
    chunks(into, PIECE, total, |index, into| multiply_slices(into, &b[piece(index, PIECE, total)]));
}

/// `into += factor b`, on one thread.
pub(crate) fn add_scaled(into: &mut [f32], b: &[f32], factor: f32) {
    add_scaled_slice(into, b, factor);
}

/// `out = factor b`, or `out += factor b`.
pub(crate) fn scaled(out: &mut [f32], b: &[f32], factor: f32, add: bool) {
    let total = out.len();
    chunks(out, PIECE, total, |index, out| {
        if !add {
            out.fill(0.0);
        }
        add_scaled_slice(out, &b[piece(index, PIECE, total)], factor);
    });
}

/// `out = silu(gate) up`.
pub(crate) fn swiglu(out: &mut [f32], gate: &[f32], up: &[f32]) {
    let total = out.len();
    chunks(out, PIECE, total * 8, |index, out| {
        let at = piece(index, PIECE, total);
        swiglu_slice(out, &gate[at.clone()], &up[at]);
    });
}

/// Both gradients of [`swiglu`].
pub(crate) fn swiglu_both(d_gate: &mut [f32], d_up: &mut [f32], gate: &[f32], up: &[f32], gradient: &[f32]) {
    let total = d_gate.len();
    chunks2((d_gate, PIECE), (d_up, PIECE), total * 8, |index, d_gate, d_up| {
        let at = piece(index, PIECE, total);
        swiglu_both_slice(d_gate, d_up, &gate[at.clone()], &up[at.clone()], &gradient[at]);
    });
}
