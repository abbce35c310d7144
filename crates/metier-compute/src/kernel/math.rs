//! Functions of one number that compile to straight vector code.

/// Adding and taking away rounds to the nearest whole number.
const ROUNDER: f32 = 12_582_912.0;

/// `e^x` with a relative error near 1e-7; 0 below -87.3, infinity above 88.7, NaN for NaN.
///
/// The argument is split into `n ln 2 + r` with `|r| <= ln 2 / 2`; `e^r` is a polynomial of degree 7
/// (coefficients of the Cephes library's `expf`) and `2^n` is built from bits.
#[expect(clippy::inline_always, reason = "must be compiled with the instruction set of its caller")]
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let clamped = if x < -87.3 { -87.3 } else { x };
    let clamped = if clamped > 88.7 { 88.7 } else { clamped };
    let (y, shifted) = split_exp(clamped);
    // 2^n in two factors, so that neither leaves the range of exponents.
    let whole = (shifted.to_bits() as i32) - (ROUNDER.to_bits() as i32);
    let half = whole >> 1;
    let first = f32::from_bits(((half + 127) as u32) << 23);
    let second = f32::from_bits(((whole - half + 127) as u32) << 23);
    let value = y * first * second;
    let value = if x < -87.3 { 0.0 } else { value };
    if x > 88.7 { f32::INFINITY } else { value }
}

/// As [`exp`] for `x` of at most 80, in fewer instructions.
#[expect(clippy::inline_always, reason = "must be compiled with the instruction set of its caller")]
#[inline(always)]
pub(super) fn exp_of_small(x: f32) -> f32 {
    let clamped = if x < -87.3 { -87.3 } else { x };
    let (y, shifted) = split_exp(clamped);
    // The bits of `n` are the lowest of `shifted`; those above fall out.
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if x < -87.3 { 0.0 } else { y * power }
}

/// `e^r`, and `n` added to [`ROUNDER`], where `x = n ln 2 + r`.
#[inline(always)]
fn split_exp(x: f32) -> (f32, f32) {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let shifted = x * LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.987_569_1e-4_f32;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    ((p * r) * r + r + 1.0, shifted)
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

/// The hyperbolic tangent with a relative error below 4e-7; near 0 a polynomial (coefficients of the Cephes library's
/// `tanhf`), since the difference of two numbers near 1 would lose all digits there.
#[expect(clippy::inline_always, reason = "must be compiled with the instruction set of its caller")]
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let square = x * x;
    let mut p = -5.704_988_7e-3_f32;
    p = p * square + 2.063_909e-2;
    p = p * square - 5.373_971_6e-2;
    p = p * square + 1.333_144_2e-1;
    p = p * square - 3.333_328e-1;
    let near = p * square * x + x;
    let far = 1.0 - 2.0 / (1.0 + exp(2.0 * x));
    if x.abs() < 0.625 { near } else { far }
}

/// The error function, within 6e-7: formula 7.1.26 of Abramowitz and Stegun.
#[expect(clippy::inline_always, reason = "must be compiled with the instruction set of its caller")]
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let positive = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * positive);
    let mut p = 1.061_405_4_f32;
    p = p * t - 1.453_152;
    p = p * t + 1.421_413_7;
    p = p * t - 0.284_496_74;
    p = p * t + 0.254_829_6;
    (1.0 - p * t * exp(-positive * positive)).copysign(x)
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
    fn tanh_and_erf_are_as_near_as_they_say() {
        // The error function in f64, by the trapezoid rule on the integral of its density.
        let (mut exact, mut worst_erf, mut worst_tanh) = (0.0_f64, 0.0_f64, 0.0_f64);
        let density = |x: f64| std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp();
        for step in 0..60_000 {
            let x = f64::from(step) * 1e-4;
            for sign in [1.0, -1.0] {
                worst_erf = worst_erf.max((f64::from(erf((sign * x) as f32)) - sign * exact).abs());
                let (x, exact) = (f64::from((sign * x) as f32), f64::from((sign * x) as f32).tanh());
                worst_tanh = worst_tanh.max((f64::from(tanh(x as f32)) - exact).abs() / exact.abs().max(1e-30));
            }
            exact += 0.5e-4 * (density(x) + density(x + 1e-4));
        }
        assert!(worst_erf < 6e-7, "{worst_erf:e}");
        assert!(worst_tanh < 4e-7, "{worst_tanh:e}");
        assert!((tanh(100.0) - 1.0).abs() < f32::EPSILON && (tanh(-100.0) + 1.0).abs() < f32::EPSILON);
        assert!(tanh(f32::NAN).is_nan() && erf(f32::NAN).is_nan());
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
