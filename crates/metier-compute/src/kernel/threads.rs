//! The threads that kernels run on.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use metier_core::{Error, Place, Result};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

static POOL: Mutex<Option<Arc<ThreadPool>>> = Mutex::new(None);

/// Runs kernels on `count` threads from now on; 0 means one for each core. No result depends on it.
pub fn set_threads(count: usize) -> Result<()> {
    let pool = build(count)
        .map_err(|error| Error::user(Place::key("threads"), format!("the system refuses {count} threads: {error}")))?;
    *POOL.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(pool));
    Ok(())
}

/// The number of threads that kernels run on.
pub fn threads() -> usize {
    pool().map_or(1, |pool| pool.current_num_threads())
}

fn build(count: usize) -> Result<ThreadPool, rayon::ThreadPoolBuildError> {
    ThreadPoolBuilder::new().num_threads(count).thread_name(|index| format!("kernel-{index}")).build()
}

/// `None` when the system gives no threads at all; work then runs on the caller's.
fn pool() -> Option<Arc<ThreadPool>> {
    let mut slot = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if slot.is_none() {
        *slot = build(0).ok().map(Arc::new);
    }
    slot.clone()
}

/// Below this many elementary steps a second thread costs more than it saves.
const WORTH_SHARING: usize = 1 << 15;

/// Runs `work` for every index below `count`; `steps` is about how much work there is in all.
pub(crate) fn for_each(count: usize, steps: usize, work: impl Fn(usize) + Sync) {
    spread((0..count).collect(), steps, work);
}

/// Cuts `out` into pieces of `length` and runs `work` on each with its index.
pub(crate) fn chunks<T: Send>(out: &mut [T], length: usize, steps: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    let pieces: Vec<_> = out.chunks_mut(length.max(1)).enumerate().collect();
    spread(pieces, steps, |(index, piece)| work(index, piece));
}

/// As [`chunks`] over two outputs at once; both must have the same number of pieces.
pub(crate) fn chunks2(
    (first, first_length): (&mut [f32], usize),
    (second, second_length): (&mut [f32], usize),
    steps: usize,
    work: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) {
    let pieces = first.chunks_mut(first_length.max(1)).zip(second.chunks_mut(second_length.max(1)));
    let pieces: Vec<_> = pieces.enumerate().collect();
    spread(pieces, steps, |(index, (a, b))| work(index, a, b));
}

/// The elements of piece `index` when `total` elements are cut into pieces of `length`.
pub(crate) fn piece(index: usize, length: usize, total: usize) -> Range<usize> {
    let start = (index * length).min(total);
    start..(start + length).min(total)
}

/// Cuts three outputs and one input of one length into pieces of `length` and runs `work` on each.
pub(crate) fn chunks4(
    [first, second, third]: [&mut [f32]; 3],
    input: &[f32],
    length: usize,
    steps: usize,
    work: impl Fn(&mut [f32], &mut [f32], &mut [f32], &[f32]) + Sync,
) {
    let length = length.max(1);
    let outputs = first.chunks_mut(length).zip(second.chunks_mut(length)).zip(third.chunks_mut(length));
    let pieces: Vec<_> = outputs.zip(input.chunks(length)).collect();
    spread(pieces, steps, |(((a, b), c), input)| work(a, b, c, input));
}

/// Runs `work` on every piece.
fn spread<T: Send>(pieces: Vec<T>, steps: usize, work: impl Fn(T) + Sync) {
    if pieces.len() < 2 || steps < WORTH_SHARING {
        return pieces.into_iter().for_each(work);
    }
    match pool().filter(|pool| pool.current_num_threads() > 1) {
        Some(pool) => pool.install(|| pieces.into_par_iter().with_max_len(1).for_each(&work)),
        None => pieces.into_iter().for_each(work),
    }
}
