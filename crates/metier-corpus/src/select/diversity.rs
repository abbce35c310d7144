//! How different the documents of a set are, by vectors that stand for them and by their words.
//!
//! Sources: Friedman and Dieng 2023, *The Vendi Score* (arXiv:2210.02410), equation 3; Zhang, Wang and Charton 2024, *Only-IF*
//! (arXiv:2410.04717), for what it is good for.

use super::submodular::Features;
use metier_core::{Error, Place, Result};
use nalgebra::DMatrix;
use std::collections::HashMap;

/// What is added to each similarity of a document to itself before the logarithm of the determinant is taken, so that copies do not make it minus infinity.
pub const RIDGE: f64 = 1e-3;

/// How different vectors are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Diversity {
    /// 1 minus the cosine of two vectors, in the mean over all pairs.
    pub distance: f64,
    /// ln det(K + 10⁻³ I) for each vector, K being the cosines.
    pub log_det: f64,
    /// Vendi score: exp of the entropy of the eigenvalues of K/n. As many vectors with nothing in common have it; 1 if all are alike.
    pub vendi: f64,
}

/// Measures vectors. Time grows with their number times the square of the smaller of number and dimension, and memory with that square.
///
/// # Errors
/// The user's, for fewer than two vectors.
pub fn diversity(features: &Features) -> Result<Diversity> {
    let (rows, width) = (features.rows(), features.dimension());
    if rows < 2 {
        return Err(Error::user(Place::default(), format!("there are {rows} documents, and none differs from itself"))
            .hint("name two at least"));
    }
    let row = |number: usize| features.row(number as u32).iter().map(|value| f64::from(*value));
    let mut sum = vec![0.0; width];
    let mut squares = 0.0;
    for number in 0..rows {
        for (sum, value) in sum.iter_mut().zip(row(number)) {
            *sum += value;
            squares += value * value;
        }
    }
    let pairs = (rows as f64) * (rows as f64 - 1.0);
    let cosines = sum.iter().map(|value| value * value).sum::<f64>() - squares;
    let spectrum = spectrum(features);
    let size = rows as f64;
    let entropy: f64 =
        spectrum.iter().map(|value| value / size).filter(|share| *share > 0.0).map(|share| -share * share.ln()).sum();
    let zeros = (rows - spectrum.len()) as f64;
    let logarithms: f64 = spectrum.iter().map(|value| (value.max(0.0) + RIDGE).ln()).sum();
    Ok(Diversity {
        distance: 1.0 - cosines / pairs,
        log_det: (logarithms + zeros * RIDGE.ln()) / size,
        vendi: entropy.exp(),
    })
}

/// The eigenvalues of the cosines; where there are more vectors than dimensions, those of the smaller matrix that has the same ones, without zeros.
fn spectrum(features: &Features) -> Vec<f64> {
    let (rows, width) = (features.rows(), features.dimension());
    let product: DMatrix<f64> = if rows <= width {
        let row = |number: usize| features.row(number as u32);
        DMatrix::from_fn(rows, rows, |i, j| {
            row(i).iter().zip(row(j)).map(|(one, other)| f64::from(*one) * f64::from(*other)).sum::<f64>()
        })
    } else {
        let mut product = DMatrix::<f64>::zeros(width, width);
        for number in 0..rows {
            let row = features.row(number as u32);
            for (j, other) in row.iter().enumerate() {
                let other = f64::from(*other);
                for (cell, one) in product.column_mut(j).iter_mut().zip(row) {
                    *cell += f64::from(*one) * other;
                }
            }
        }
        product
    };
    product.symmetric_eigenvalues().iter().copied().collect()
}

/// The entropy of pairs of neighboring words, in bits: how far what follows what is spread. Words are letters and digits in a row, in lower case.
#[derive(Debug, Clone, Default)]
pub struct WordPairs {
    counts: HashMap<u64, u64>,
    total: u64,
}

impl WordPairs {
    /// Counts the pairs of a text.
    pub fn add(&mut self, text: &str) {
        let words: Vec<u64> = crate::dedup::words(text);
        for pair in words.windows(2) {
            *self.counts.entry(crate::dedup::mixed(pair)).or_default() += 1;
            self.total += 1;
        }
    }

    /// Bits for each pair; 0 where there is none.
    pub fn entropy(&self) -> f64 {
        let total = self.total as f64;
        let mut counts: Vec<u64> = self.counts.values().copied().collect();
        // In order, so that the sum is the same whatever the map's order is.
        counts.sort_unstable();
        counts.into_iter().map(|count| count as f64 / total).map(|share| -share * share.log2()).sum::<f64>().max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metier_testkit::{golden, hashed};

    fn of(rows: &[Vec<f32>]) -> Diversity {
        diversity(&Features::new(rows.concat(), rows[0].len()).unwrap()).unwrap()
    }

    #[test]
    fn figures_are_those_of_numpy() {
        for case in golden::read("diversity.json")["cases"].as_array().unwrap() {
            let number = |key: &str| case[key].as_f64().unwrap();
            let (rows, width) = (number("rows") as usize, number("width") as usize);
            let name = case["name"].as_str().unwrap();
            let values = hashed::even(name).take(rows * width).map(|value| value as f32).collect();
            let found = diversity(&Features::new(values, width).unwrap()).unwrap();
            for (found, key) in [(found.distance, "distance"), (found.log_det, "log_det"), (found.vendi, "vendi")] {
                let wanted = number(key);
                assert!((found - wanted).abs() <= 1e-8 * wanted.abs().max(1.0), "{key}: {found} and {wanted}");
            }
        }
    }

    #[test]
    fn copies_count_once_and_what_has_nothing_in_common_counts_each() {
        let axes: Vec<Vec<f32>> =
            (0..5).map(|axis| (0..5).map(|at| f32::from(u8::from(at == axis))).collect()).collect();
        let found = of(&axes);
        assert!((found.vendi - 5.0).abs() < 1e-12 && (found.distance - 1.0).abs() < 1e-12, "{found:?}");
        assert!((found.log_det - 1.001_f64.ln()).abs() < 1e-12, "{found:?}");
        let twice = of(&[axes.clone(), axes].concat());
        assert!((twice.vendi - 5.0).abs() < 1e-9 && twice.log_det < found.log_det, "{twice:?}");
        let copies = of(&vec![vec![1.0, 2.0]; 4]);
        assert!((copies.vendi - 1.0).abs() < 1e-6 && copies.distance.abs() < 1e-6, "{copies:?}");
        let one = Features::new(vec![1.0], 1).unwrap();
        assert!(diversity(&one).unwrap_err().to_string().contains("1 documents"));
    }

    #[test]
    fn pairs_of_words_are_counted_over_all_texts() {
        let mut pairs = WordPairs::default();
        assert!(pairs.entropy().abs() < 1e-12);
        for text in ["a b", "a B", "c d", "", "e"] {
            pairs.add(text);
        }
        let wanted = -(2.0_f64 / 3.0) * (2.0_f64 / 3.0).log2() - (1.0_f64 / 3.0) * (1.0_f64 / 3.0).log2();
        assert!((pairs.entropy() - wanted).abs() < 1e-12, "{}", pairs.entropy());
    }
}
