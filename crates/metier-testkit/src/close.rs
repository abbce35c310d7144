//! Comparing numbers with a tolerance.

/// A number that can be compared: `f32`, `f64` and the integers that fit.
pub trait Number: Copy {
    /// The value as `f64`.
    fn value(self) -> f64;
}

impl Number for f32 {
    fn value(self) -> f64 {
        f64::from(self)
    }
}

impl Number for f64 {
    fn value(self) -> f64 {
        self
    }
}

/// The largest `|got - want|` and its index; NaN or an infinity against anything but itself counts as infinite.
pub fn worst_difference<A: Number, B: Number>(got: &[A], want: &[B]) -> (usize, f64) {
    let mut worst = (0, 0.0);
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        let difference = difference(got.value(), want.value());
        if difference > worst.1 {
            worst = (index, difference);
        }
    }
    worst
}

/// Holds when each `|got - want| <= absolute + relative * |want|`.
///
/// # Panics
/// When the lengths differ or a number is out of tolerance; the message names `name`, how many are out, and the
/// worst with its index. NaN is close to nothing.
#[track_caller]
#[expect(clippy::panic, reason = "a test library speaks by panics")]
pub fn assert_close<A: Number, B: Number>(name: &str, got: &[A], want: &[B], absolute: f64, relative: f64) {
    assert_eq!(got.len(), want.len(), "{name}: {} numbers, expected {}", got.len(), want.len());
    let mut out = 0_usize;
    let mut worst = (0, f64::NEG_INFINITY);
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        let want = want.value();
        let tolerance = if want.is_finite() { absolute + relative * want.abs() } else { 0.0 };
        let beyond = difference(got.value(), want) - tolerance;
        if beyond > 0.0 {
            out += 1;
            if beyond > worst.1 {
                worst = (index, beyond);
            }
        }
    }
    if out > 0 {
        let (index, _) = worst;
        let (got_there, want_there) = (got[index].value(), want[index].value());
        panic!(
            "{name}: {out} of {} numbers are out of tolerance (absolute {absolute:e}, relative {relative:e}); \
             worst at {index}: got {got_there}, expected {want_there}, difference {:e}",
            got.len(),
            difference(got_there, want_there)
        );
    }
}

/// [`assert_close`] for one number.
///
/// # Panics
/// When it is out of tolerance.
#[track_caller]
pub fn assert_near(name: &str, got: f64, want: f64, absolute: f64, relative: f64) {
    assert_close(name, &[got], &[want], absolute, relative);
}

fn difference(got: f64, want: f64) -> f64 {
    if got.is_finite() && want.is_finite() {
        (got - want).abs()
    } else if got.is_infinite() && want.is_infinite() && got.is_sign_positive() == want.is_sign_positive() {
        0.0
    } else {
        f64::INFINITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_tolerance_passes() {
        assert_close("x", &[1.0_f32, -2.0, f32::NEG_INFINITY], &[1.000_1_f64, -2.01, f64::NEG_INFINITY], 1e-3, 1e-2);
        assert_near("y", 5.0, 5.5, 0.0, 0.1);
        assert_eq!(worst_difference(&[1.0_f32, 2.0], &[1.5_f32, 4.0]), (1, 2.0));
    }

    #[test]
    #[should_panic(expected = "weights: 1 of 3 numbers are out of tolerance")]
    fn one_out_of_tolerance_is_named() {
        assert_close("weights", &[1.0_f32, 2.0, 3.0], &[1.0_f32, 2.5, 3.0], 0.1, 0.0);
    }

    #[test]
    #[should_panic(expected = "worst at 0")]
    fn nothing_is_close_to_nan() {
        assert_close("x", &[f32::NAN], &[f32::NAN], 1e9, 1e9);
    }
}
