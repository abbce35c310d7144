//! Intervals against what theory says, and what is refused.

use crate::model::synthetic;
use metier_core::seed::Seed;
use metier_eval::metric::{BitsPerByte, Metric, Perplexity};
use metier_eval::report::{Resampled, bootstrap, paired_bootstrap};
use metier_testkit::assert_near;

const METRIC: BitsPerByte = BitsPerByte {};

/// Mean and standard error of numbers.
fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    (mean, (variance / count).sqrt())
}

#[test]
fn the_interval_of_a_mean_is_the_normal_one() {
    let evaluation = synthetic("a", 100, 1, 1.2, 0.1, 0.1);
    let values: Vec<f64> = evaluation.windows.iter().map(|w| w.nats / 1000.0 / std::f64::consts::LN_2).collect();
    let (mean, error) = mean_and_error(&values);
    let single = bootstrap(&evaluation, &METRIC, 10_000, Seed::new(1)).unwrap();
    assert_near("value", single.value.value, mean, 1e-12, 0.0);
    assert_near("low", single.value.low, mean - 1.96 * error, 0.06 * error, 0.0);
    assert_near("high", single.value.high, mean + 1.96 * error, 0.06 * error, 0.0);
}

#[test]
fn pairing_takes_out_what_is_hard_for_both() {
    let base = synthetic("a", 40, 3, 1.3, 0.3, 0.01);
    let other = synthetic("b", 40, 3, 1.2, 0.3, 0.01);
    let paired = paired_bootstrap(&base, &other, &METRIC, 10_000, Seed::new(1)).unwrap();
    let differences: Vec<f64> = (0..40)
        .map(|document| {
            let sum = |e: &metier_eval::Evaluation| -> f64 {
                e.windows[document * 3..][..3].iter().map(|w| w.nats / 3000.0 / std::f64::consts::LN_2).sum()
            };
            sum(&other) - sum(&base)
        })
        .collect();
    let (mean, error) = mean_and_error(&differences);
    assert_eq!(paired.resampled, Resampled::Documents);
    assert_near("difference", paired.difference.value, mean, 1e-12, 0.0);
    assert_near("low", paired.difference.low, mean - 1.96 * error, 0.15 * error, 0.0);
    assert_near("high", paired.difference.high, mean + 1.96 * error, 0.15 * error, 0.0);
    assert!(paired.difference.high < 0.0 && paired.difference.high - paired.difference.low < 0.01);
    assert!(paired.base.high - paired.base.low > 0.05, "unpaired intervals stay wide");
    assert_near(
        "change",
        paired.change_percent.expect("the base is above 0").value,
        (paired.other.value / paired.base.value - 1.0) * 100.0,
        1e-12,
        0.0,
    );
    assert_eq!(paired.by_document.len(), 40);
    let again = paired_bootstrap(&base, &other, &METRIC, 10_000, Seed::new(1)).unwrap();
    assert_eq!(paired, again);
    assert_ne!(paired.difference, paired_bootstrap(&base, &other, &METRIC, 10_000, Seed::new(2)).unwrap().difference);
}

#[test]
fn windows_of_one_document_are_drawn_together() {
    let mut evaluation = synthetic("a", 20, 10, 1.0, 0.0, 0.0);
    for (index, window) in evaluation.windows.iter_mut().enumerate() {
        window.nats *= 1.0 + 0.1 * Seed::new(5).at(index as u64 / 10).normal();
    }
    let whole = bootstrap(&evaluation, &METRIC, 4000, Seed::new(1)).unwrap();
    for (index, window) in evaluation.windows.iter_mut().enumerate() {
        window.document = format!("w{index:03}");
    }
    let apart = bootstrap(&evaluation, &METRIC, 4000, Seed::new(1)).unwrap();
    let width = |interval: metier_eval::report::Interval| interval.high - interval.low;
    let ratio = width(whole.value) / width(apart.value);
    assert!((2.6..3.8).contains(&ratio), "ten like windows widen the interval by about √10, not {ratio}");
}

#[test]
fn equal_models_have_an_interval_around_zero() {
    let base = synthetic("a", 30, 2, 1.2, 0.2, 0.05);
    let other = synthetic("b", 30, 2, 1.2, 0.2, 0.05);
    let paired = paired_bootstrap(&base, &other, &METRIC, 2000, Seed::new(1)).unwrap();
    assert!(paired.difference.low < 0.0 && paired.difference.high > 0.0, "{:?}", paired.difference);
    let same = paired_bootstrap(&base, &base, &METRIC, 200, Seed::new(1)).unwrap();
    assert_eq!((same.difference.low, same.difference.high), (0.0, 0.0));
}

#[test]
fn few_documents_fall_back_to_windows() {
    let evaluation = synthetic("a", 7, 5, 1.0, 0.1, 0.1);
    assert_eq!(bootstrap(&evaluation, &METRIC, 200, Seed::new(1)).unwrap().resampled, Resampled::Windows);
    let evaluation = synthetic("a", 8, 5, 1.0, 0.1, 0.1);
    assert_eq!(bootstrap(&evaluation, &METRIC, 200, Seed::new(1)).unwrap().resampled, Resampled::Documents);
    let error = bootstrap(&synthetic("a", 1, 1, 1.0, 0.1, 0.1), &METRIC, 200, Seed::new(1)).unwrap_err();
    assert!(error.to_string().contains("single window"), "{error}");
}

#[test]
fn other_windows_are_refused() {
    let base = synthetic("a", 10, 2, 1.0, 0.1, 0.1);
    let refused = |other: &metier_eval::Evaluation| {
        paired_bootstrap(&base, other, &METRIC, 200, Seed::new(1)).unwrap_err().to_string()
    };
    assert!(refused(&synthetic("a", 10, 1, 1.0, 0.1, 0.1)).contains("20 windows and the other 10"));
    let mut moved = base.clone();
    moved.windows[3].start += 1;
    assert!(refused(&moved).contains("window 4 is `d001` from byte 1000 to 2000 in one and `d001` from byte 1001"));
    let mut changed = base.clone();
    changed.windows[3].hash = "1".repeat(16);
    assert!(refused(&changed).contains("the text of `d001` from byte 1000 to 2000 differs"));
}

#[test]
fn other_metrics_can_be_compared_too() {
    let base = synthetic("a", 10, 2, 1.0, 0.1, 0.1);
    let other = synthetic("b", 10, 2, 0.9, 0.1, 0.1);
    let metric = Perplexity {};
    let paired = paired_bootstrap(&base, &other, &metric, 500, Seed::new(1)).unwrap();
    assert_near("perplexity", paired.other.value, metric.value(other.total()), 1e-12, 0.0);
    assert!(paired.figures()["perplexity"] > 1.0);
}
