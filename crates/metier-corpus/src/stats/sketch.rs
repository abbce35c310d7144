//! Values of a stream in little memory: how they are spread.

use serde::Serialize;
use std::collections::BTreeMap;

/// Different values that are counted one by one; more of them are counted by buckets.
const DISTINCT: usize = if cfg!(test) { 64 } else { 1024 };
/// How many times larger the end of a bucket is than its beginning: what is read from one is wrong by half a hundredth of itself
/// at most.
const RATIO: f64 = 1.01;
/// More than the number of any bucket of positive values: the logarithm of the least positive one is -745.
const BUCKETS: i64 = 100_000;
/// Up to so many different values have a bar each.
const EACH: usize = 12;
/// Bars of a histogram, where there are more values.
const BARS: usize = 32;
/// Shares of values below which quantiles are told.
const SHARES: [f64; 7] = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99];
/// Positive values whose largest is so many times the least are seen better by their ratios.
const WIDE: f64 = 50.0;

/// Finite values counted exactly while they are few, and then in buckets whose borders are powers of 1.01 (Masson, Rim and Lee
/// 2019, `DDSketch`, section 2). What was added decides it, in any order but for the last digits of the mean.
#[derive(Debug, Clone, Default)]
pub struct Sketch {
    sum: f64,
    /// Least and largest value.
    ends: Option<(f64, f64)>,
    counts: BTreeMap<i64, u64>,
    in_buckets: bool,
}

/// How values are spread.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Number of values.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// The least.
    pub least: f64,
    /// The largest.
    pub largest: f64,
    /// Whether quantiles are values that were met; else they are wrong by 0.5 % of themselves at most.
    pub exact: bool,
    /// The value below which a share of all values lies.
    pub quantiles: Vec<Quantile>,
    /// Bars in order; of those for one value both ends are that value.
    pub histogram: Vec<Bar>,
}

impl Summary {
    /// The value of one of the quantiles: 0.01, 0.05, 0.25, 0.5, 0.75, 0.95 or 0.99.
    pub fn quantile(&self, share: f64) -> f64 {
        self.quantiles.iter().find(|one| one.share >= share).map_or(self.largest, |one| one.value)
    }
}

/// The value of rank ⌊share · (count − 1)⌋.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantile {
    /// The share.
    pub share: f64,
    /// The value.
    pub value: f64,
}

/// How many values lie in `from..to`; the last bar of a histogram has its end in it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bar {
    /// The first value.
    pub from: f64,
    /// The end.
    pub to: f64,
    /// Number of values.
    pub count: u64,
}

/// Whole numbers in the order of the values.
fn ordered(value: f64) -> i64 {
    // A negative zero is zero.
    let bits = (value + 0.0).to_bits() as i64;
    if bits < 0 { i64::MIN - bits } else { bits }
}

fn value_of(ordered: i64) -> f64 {
    let bits = if ordered < 0 { i64::MIN - ordered } else { ordered };
    f64::from_bits(bits as u64)
}

fn bucket(value: f64) -> i64 {
    if value == 0.0 {
        return 0;
    }
    let number = (value.abs().ln() / RATIO.ln()).ceil() as i64 + BUCKETS;
    if value < 0.0 { -number } else { number }
}

fn middle_of(bucket: i64) -> f64 {
    if bucket == 0 {
        return 0.0;
    }
    let end = ((bucket.abs() - BUCKETS) as f64 * RATIO.ln()).exp();
    2.0 * end / (RATIO + 1.0) * bucket.signum() as f64
}

impl Sketch {
    /// Takes in a value, which is finite.
    pub fn add(&mut self, value: f64) {
        self.sum += value;
        let (least, largest) = self.ends.unwrap_or((value, value));
        self.ends = Some((least.min(value), largest.max(value)));
        *self.counts.entry(if self.in_buckets { bucket(value) } else { ordered(value) }).or_default() += 1;
        if !self.in_buckets && self.counts.len() > DISTINCT {
            self.in_buckets = true;
            for (value, count) in std::mem::take(&mut self.counts) {
                *self.counts.entry(bucket(value_of(value))).or_default() += count;
            }
        }
    }

    /// Values in order, each with how often it was met.
    fn values(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let (least, largest) = self.ends.unwrap_or_default();
        let value = move |key: i64| {
            if self.in_buckets { middle_of(key).clamp(least, largest) } else { value_of(key) }
        };
        self.counts.iter().map(move |(key, count)| (value(*key), *count))
    }

    /// How the values are spread; `None` where there is none.
    pub fn summary(&self) -> Option<Summary> {
        let (least, largest) = self.ends?;
        let count = self.counts.values().sum();
        let quantile = |share: f64| {
            let rank = (share * (count - 1) as f64).floor() as u64;
            let mut passed = 0;
            let found = self.values().find(|(_, count)| {
                passed += count;
                passed > rank
            });
            Quantile { share, value: found.map_or(largest, |(value, _)| value) }
        };
        Some(Summary {
            count,
            mean: self.sum / count as f64,
            least,
            largest,
            exact: !self.in_buckets,
            quantiles: SHARES.map(quantile).to_vec(),
            histogram: self.histogram(least, largest),
        })
    }

    fn histogram(&self, least: f64, largest: f64) -> Vec<Bar> {
        if !self.in_buckets && self.counts.len() <= EACH {
            return self.values().map(|(value, count)| Bar { from: value, to: value, count }).collect();
        }
        let above_zero = self.values().find(|(value, _)| *value > 0.0).map_or(0.0, |(value, _)| value);
        let positive = if least > 0.0 { least } else { above_zero };
        let by_ratio = least >= 0.0 && largest > WIDE * positive;
        let mut bars = Vec::with_capacity(BARS + 1);
        // Zero has no logarithm, and gets a bar of its own.
        let zeros = if by_ratio { self.values().find(|(value, _)| *value == 0.0) } else { None };
        bars.extend(zeros.map(|(_, count)| Bar { from: 0.0, to: 0.0, count }));
        let first = bars.len();
        let low = if by_ratio { positive } else { least };
        let scale = |value: f64| if by_ratio { (value / low).ln() } else { value - low };
        let width = scale(largest) / BARS as f64;
        let border = |number: usize| match number {
            0 => low,
            BARS => largest,
            _ if by_ratio => low * (number as f64 * width).exp(),
            _ => low + number as f64 * width,
        };
        bars.extend((0..BARS).map(|number| Bar { from: border(number), to: border(number + 1), count: 0 }));
        for (value, count) in self.values().filter(|(value, _)| !by_ratio || *value > 0.0) {
            let mut number = ((scale(value) / width) as usize).min(BARS - 1);
            // Rounding may lead to the bar beside.
            if value < bars[first + number].from {
                number -= 1;
            } else if number + 1 < BARS && value >= bars[first + number].to {
                number += 1;
            }
            bars[first + number].count += count;
        }
        bars
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "ends and borders are values that were met")]
mod tests {
    use super::*;
    use metier_core::seed::Seed;

    fn sketch(values: &[f64]) -> Summary {
        let mut sketch = Sketch::default();
        for value in values {
            sketch.add(*value);
        }
        sketch.summary().unwrap()
    }

    #[test]
    fn few_values_are_counted_one_by_one() {
        let told = sketch(&[3.0, -1.0, 3.0, 0.0, -0.0, 7.5]);
        assert!(told.exact && told.count == 6 && (told.least, told.largest) == (-1.0, 7.5));
        let bars: Vec<_> = told.histogram.iter().map(|bar| (bar.from, bar.to, bar.count)).collect();
        assert_eq!(bars, [(-1.0, -1.0, 1), (0.0, 0.0, 2), (3.0, 3.0, 2), (7.5, 7.5, 1)]);
        assert_eq!(told.quantiles.iter().map(|at| at.value).collect::<Vec<_>>(), [-1.0, -1.0, 0.0, 0.0, 3.0, 3.0, 3.0]);
        assert!(Sketch::default().summary().is_none());
    }

    #[test]
    fn quantiles_of_many_values_are_within_half_a_hundredth() {
        let mut stream = Seed::new(4).at(0);
        for kind in 0..4 {
            let mut values: Vec<f64> = (0..20_000)
                .map(|_| match kind {
                    0 => stream.normal().exp(),
                    1 => stream.normal() * 1e6,
                    2 => (stream.below(9) * stream.below(1_000_000)) as f64,
                    _ => stream.unit() * 1e-4,
                })
                .collect();
            let told = sketch(&values);
            values.sort_by(f64::total_cmp);
            assert!(!told.exact);
            for Quantile { share, value } in &told.quantiles {
                let right = values[(share * (values.len() - 1) as f64) as usize];
                assert!((value - right).abs() <= 0.005 * right.abs() + 1e-12, "{kind} {share}: {value}, not {right}");
            }
            assert_eq!(told.histogram.iter().map(|bar| bar.count).sum::<u64>(), told.count);
            let mut at = 0;
            for bar in told.histogram.iter().take(told.histogram.len() - 1) {
                let is_in = |value: f64| value < bar.to || (bar.from == bar.to && value == bar.to);
                let right = values[at..].iter().take_while(|value| is_in(**value)).count();
                // Values near a border may be counted beyond it.
                assert!(right.abs_diff(bar.count as usize) <= 200, "{kind}: {bar:?} has {right}");
                at += right;
            }
            assert_eq!(told.histogram[0].from, if kind == 2 { 0.0 } else { told.least });
            assert_eq!(told.histogram.last().unwrap().to, told.largest);
        }
    }

    #[test]
    fn the_largest_and_the_least_numbers_have_buckets() {
        let mut values: Vec<f64> = (0..2000).map(f64::from).collect();
        values.extend([f64::MAX, f64::MIN, f64::from_bits(1), -f64::from_bits(1)]);
        let told = sketch(&values);
        assert_eq!((told.least, told.largest, told.count), (f64::MIN, f64::MAX, 2004));
        assert!(told.quantiles.iter().all(|at| at.value.is_finite()));
    }
}
