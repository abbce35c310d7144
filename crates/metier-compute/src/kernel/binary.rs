//! Functions of two elements, and their slopes.

/// A function of two elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Maximum,
    Minimum,
}

#[expect(clippy::inline_always, reason = "must be compiled with the instruction set of its caller")]
#[inline(always)]
fn set(out: &mut [f32], [a, b]: [&[f32]; 2], f: impl Fn(f32, f32) -> f32) {
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out = f(*a, *b);
    }
}

#[expect(clippy::inline_always, reason = "must be compiled with the instruction set of its caller")]
#[inline(always)]
fn set_or_add(out: &mut [f32], [a, b, dy]: [&[f32]; 3], add: bool, slope: impl Fn(f32, f32, f32) -> f32) {
    let elements = out.iter_mut().zip(a).zip(b).zip(dy);
    if add {
        for (((out, a), b), dy) in elements {
            *out += slope(*a, *b, *dy);
        }
    } else {
        for (((out, a), b), dy) in elements {
            *out = slope(*a, *b, *dy);
        }
    }
}

/// What of the gradient goes to the greater of two: all, or half when they are equal.
#[expect(clippy::inline_always, reason = "must be compiled with the instruction set of its caller")]
#[inline(always)]
fn share(this: f32, other: f32, dy: f32) -> f32 {
    let half = if this >= other { 0.5 * dy } else { 0.0 };
    if this > other { dy } else { half }
}

leveled! {
    /// `out = f(a, b)`. The greater and the smaller of a number and NaN are NaN.
    pub(crate) fn values(out: &mut [f32], operands: [&[f32]; 2], kind: Binary) {
        match kind {
            Binary::Add => set(out, operands, |a, b| a + b),
            Binary::Subtract => set(out, operands, |a, b| a - b),
            Binary::Multiply => set(out, operands, |a, b| a * b),
            Binary::Divide => set(out, operands, |a, b| a / b),
            Binary::Maximum => set(out, operands, |a, b| if a > b || a.is_nan() { a } else { b }),
            Binary::Minimum => set(out, operands, |a, b| if a < b || a.is_nan() { a } else { b }),
        }
    }
}

leveled! {
    /// The gradient of the first operand (`first`) or of the second; `operands` are both and that of the output.
    pub(crate) fn gradients(out: &mut [f32], operands: [&[f32]; 3], kind: Binary, first: bool, add: bool) {
        match (kind, first) {
            (Binary::Add, _) | (Binary::Subtract, true) => set_or_add(out, operands, add, |_, _, dy| dy),
            (Binary::Subtract, false) => set_or_add(out, operands, add, |_, _, dy| -dy),
            (Binary::Multiply, true) => set_or_add(out, operands, add, |_, b, dy| b * dy),
            (Binary::Multiply, false) => set_or_add(out, operands, add, |a, _, dy| a * dy),
            (Binary::Divide, true) => set_or_add(out, operands, add, |_, b, dy| dy / b),
            (Binary::Divide, false) => set_or_add(out, operands, add, |a, b, dy| -dy * (a / b) / b),
            (Binary::Maximum, true) | (Binary::Minimum, false) => set_or_add(out, operands, add, share),
            (Binary::Maximum, false) | (Binary::Minimum, true) => {
                set_or_add(out, operands, add, |a, b, dy| share(b, a, dy));
            }
        }
    }
}
