//! How often a training step asks the system for memory after the first ones.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use metier_compute::kernel::Precision;
use metier_core::Place;
use metier_core::part::Build;
use metier_core::seed::Seed;
use metier_model::{Batch, Config, Decoder};
use metier_train::Learner;
use metier_train::optimizer::{Adamw, Optimizer};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, which counts how often it is asked, by any thread.
struct Counting;

static ASKED: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait")]
// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ASKED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ASKED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Rows of two texts, the second longer than the first.
fn batch() -> Batch {
    let lengths = [20, 44];
    let ids: Vec<u32> = (0..64).map(|at| at * 7 % 61).collect();
    Batch {
        targets: ids.iter().map(|id| (id * 5 + 3) % 61).collect(),
        weights: vec![1.0; ids.len()],
        positions: lengths.into_iter().flat_map(|length| 0..length).collect(),
        sequences: vec![0..20, 20..64],
        ids,
    }
}

/// So many steps in a row without asking are warm ones. A thread that is first given work late warms up late.
const QUIET: usize = 8;

/// How often each step asked, until it was quiet or 60 steps had been made.
fn asked_per_step(precision: Precision, recompute: bool) -> Vec<usize> {
    let config = Config {
        vocabulary_size: 61,
        hidden_size: 32,
        intermediate_size: 48,
        layers: 3,
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        context_length: 64,
        norm_epsilon: 1e-5,
        rope_theta: 10_000.0,
        tied_embeddings: true,
        attention_bias: false,
        feed_forward_bias: false,
        ..Config::default()
    };
    let mut decoder = Decoder::random(&config, Seed::new(1)).unwrap();
    decoder.set_recompute(recompute);
    let optimizer: Box<dyn Optimizer> = Adamw::default().build(&Place::default()).unwrap();
    let mut learner = Learner::new(&mut decoder, &*optimizer, &[]).unwrap();
    learner.precision = precision;
    let batch = batch();
    let mut asked = Vec::with_capacity(60);
    while asked.len() < 60 && !asked.ends_with(&[0; QUIET]) {
        let before = ASKED.load(Ordering::Relaxed);
        learner.clear();
        let loss = learner.add(1.0, |decoder, tape| decoder.loss(tape, &batch)).unwrap();
        let scale = (1.0 / (learner.gradient_norm() + 1e-6)).min(1.0);
        learner.update(&*optimizer, 1e-3, scale as f32, asked.len() as u64 + 1, u64::MAX).unwrap();
        assert!(loss.is_finite());
        asked.push(ASKED.load(Ordering::Relaxed) - before);
    }
    asked
}

#[test]
fn a_warm_step_asks_the_system_for_nothing() {
    for precision in [Precision::F32, Precision::Bf16] {
        for recompute in [false, true] {
            let asked = asked_per_step(precision, recompute);
            assert!(asked.ends_with(&[0; QUIET]), "{precision:?}, recompute {recompute}: {asked:?} times");
        }
    }
}
