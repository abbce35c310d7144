//! Files of weights with seeded damage: readers refuse or accept, they never panic, and they hold no more memory than the file's
//! size class. `examples/fuzz.rs` does the same for as long as it is told to.

use crate::mutate::{self, FILES, mutated};
use metier_core::memory;
use metier_model::checkpoint::count_tensors;
use std::path::Path;

/// More than the readers hold of files of 100 kB, and far less than any count in a damaged header.
const MOST_GROWTH: u64 = 64 << 20;

#[test]
fn damaged_files_are_refused_in_bounded_memory() {
    for file in FILES {
        let whole = mutate::file(file);
        count_tensors(Path::new(file), &whole).unwrap();
        let before = memory::resident_bytes().unwrap_or_default();
        let mut refused = 0;
        for seed in 0..1500 {
            let bytes = mutated(&whole, seed);
            if count_tensors(Path::new(file), &bytes).is_err() {
                refused += 1;
            }
        }
        assert!(refused > 150, "{file}: only {refused} of 1500 damaged files are refused");
        let growth = memory::peak_bytes().saturating_sub(before);
        assert!(growth < MOST_GROWTH, "{file}: {growth} bytes more are held");
    }
}
