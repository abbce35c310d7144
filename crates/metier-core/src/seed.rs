//! Random choices as a function of a seed and a position, never of the order of threads.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A key from which independent streams are derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The seed a user wrote.
    pub fn new(value: u64) -> Self {
        Self(*blake3::hash(&value.to_le_bytes()).as_bytes())
    }

    /// The seed of a named purpose below this one (`"train"`, `"lora"`, a tensor's name).
    #[must_use]
    pub fn derive(&self, purpose: &str) -> Self {
        Self(*blake3::keyed_hash(&self.0, purpose.as_bytes()).as_bytes())
    }

    /// The stream of random numbers at a position (step, row, document number).
    pub fn at(&self, position: u64) -> Stream {
        let mut random = ChaCha8Rng::from_seed(self.0);
        random.set_stream(position);
        Stream(random)
    }
}

/// Random numbers in a fixed order.
#[derive(Debug, Clone)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A whole number below `bound`, without bias.
    ///
    /// # Panics
    /// When `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a random number below zero was asked for");
        let limit = u64::MAX - u64::MAX % bound;
        loop {
            let bits = self.bits();
            if bits < limit {
                return bits % bound;
            }
        }
    }

    /// A number in `0.0..1.0` with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A draw from the standard normal distribution (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Puts the items in a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_decides_its_stream() {
        let seed = Seed::new(7).derive("train");
        let again = seed.at(3).bits();
        seed.at(2).bits();
        assert_eq!(seed.at(3).bits(), again);
        assert_ne!(seed.at(4).bits(), again);
        assert_ne!(Seed::new(7).derive("other").at(3).bits(), again);
    }

    #[test]
    fn normal_draws_have_mean_zero_and_variance_one() {
        let mut stream = Seed::new(1).at(0);
        let draws: Vec<f64> = (0..20_000).map(|_| stream.normal()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04, "{mean} {variance}");
    }
}
