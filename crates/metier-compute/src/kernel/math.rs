//! Functions of one number that compile to straight vector code.

/// `e^x` with a relative error near 1e-7; 0 below -87.3, infinity above 88.7, NaN for NaN.
///
/// The argument is split into `n ln 2 + r` with `|r| <= ln 2 / 2`; `e^r` is a polynomial of degree 7
/// (coefficients of the Cephes library's `expf`) and `2^n` is built from bits.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    /// Adding and taking away rounds to the nearest whole number.
    const ROUNDER: f32 = 12_582_912.0;
    let clamped = if x < -87.3 { -87.3 } else { x };
    let clamped = if clamped > 88.7 { 88.7 } else { clamped };
    let shifted = clamped * LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.987_569_1e-4_f32;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let y = (p * r) * r + r + 1.0;
    // 2^n in two factors, so that neither leaves the range of exponents.
    let whole = (shifted.to_bits() as i32) - (ROUNDER.to_bits() as i32);
    let half = whole >> 1;
    let first = f32::from_bits(((half + 127) as u32) << 23);
    let second = f32::from_bits(((whole - half + 127) as u32) << 23);
    let value = y * first * second;
    let value = if x < -87.3 { 0.0 } else { value };
    if x > 88.7 { f32::INFINITY } else { value }
}

/// `1 / (1 + e^-x)`.
#[expect(clippy::inline_always, reason = "must be compiled with the instruction set of its caller")]
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `x / (1 + e^-x)`.
#[expect(clippy::inline_always, reason = "must be compiled with the instruction set of its caller")]
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_parts_in_ten_million() {
        let mut worst = 0.0_f64;
        for step in -870_000..=887_000 {
            let x = step as f32 * 1e-4;
            let exact = f64::from(x).exp();
            worst = worst.max(((f64::from(exp(x)) - exact) / exact).abs());
        }
        assert!(worst < 2e-7, "{worst:e}");
    }

    #[test]
    fn exp_has_the_right_ends() {
        assert!((exp(0.0) - 1.0).abs() < f32::EPSILON);
        assert!(exp(-1000.0).abs() < f32::MIN_POSITIVE);
        assert!(exp(f32::NEG_INFINITY).abs() < f32::MIN_POSITIVE);
        assert!(exp(1000.0).is_infinite());
        assert!(exp(f32::NAN).is_nan());
        assert!((silu(-1e4)).abs() < f32::MIN_POSITIVE);
    }
}
