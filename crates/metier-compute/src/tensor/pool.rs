//! The pool of buffers, and the count of memory that tensors hold.
//!
//! Buffers come in size classes, eight to a doubling. A freed buffer waits in its class for the next
//! allocation, so a training loop in its steady state asks the system for nothing and touches no fresh
//! page. What waits unused is given back to the system as soon as keeping it would push the total past the
//! highest total that was ever live, with a little to spare.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use memmap2::MmapMut;
use metier_core::{Error, Place, Result};

const ELEMENT: u64 = 4;
/// Bytes that may wait in the pool above the highest live total.
const SLACK: u64 = 16 << 20;

static POOL: Mutex<Pool> = Mutex::new(Pool::new());

/// Refuses every allocation that would make tensors hold more than `bytes`; `None` takes the limit away.
pub fn set_memory_limit(bytes: Option<u64>) {
    pool().limit = bytes;
}

/// Bytes that live tensors hold now.
pub fn memory_in_use() -> u64 {
    pool().live
}

/// The highest value [`memory_in_use`] has had.
pub fn memory_peak() -> u64 {
    pool().peak
}

/// Gives every buffer that waits unused back to the system, and begins [`memory_peak`] anew: for the end of a
/// piece of work that needed more than what follows.
pub fn release_unused() {
    let mut pool = pool();
    pool.trim(0);
    pool.peak = pool.live;
}

pub(super) fn take(length: usize) -> Result<Storage> {
    pool().take(length, true)
}

/// For copy on write and the room that kernels need: they have no way to report a refusal.
pub(super) fn take_past_limit(length: usize) -> Storage {
    let taken = pool().take(length, false);
    taken.unwrap_or_else(|_| Storage::Heap(vec![0.0; length]))
}

pub(super) fn adopt(values: Vec<f32>) -> Result<Storage> {
    let mut pool = pool();
    pool.admit(values.len() as u64 * ELEMENT)?;
    pool.count(values.len());
    Ok(Storage::Heap(values))
}

pub(super) fn give_back(storage: Storage) {
    pool().give_back(storage);
}

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Pool {
    /// Waiting buffers by length; every length here is a size class.
    free: BTreeMap<usize, Vec<Storage>>,
    live: u64,
    waiting: u64,
    peak: u64,
    limit: Option<u64>,
}

impl Pool {
    const fn new() -> Self {
        Self { free: BTreeMap::new(), live: 0, waiting: 0, peak: 0, limit: None }
    }

    fn admit(&mut self, bytes: u64) -> Result<()> {
        if let Some(limit) = self.limit
            && self.live.saturating_add(bytes) > limit
        {
            return Err(Error::user(
                Place::key("memory"),
                format!(
                    "{} more would make tensors hold {}, over the limit of {}",
                    mebibytes(bytes),
                    mebibytes(self.live.saturating_add(bytes)),
                    mebibytes(limit)
                ),
            )
            .hint("raise the memory limit, or take a smaller batch, a shorter context or checkpointed layers"));
        }
        Ok(())
    }

    fn count(&mut self, length: usize) {
        self.live += length as u64 * ELEMENT;
        self.peak = self.peak.max(self.live);
    }

    fn take(&mut self, length: usize, limited: bool) -> Result<Storage> {
        let class = size_class(length);
        let bytes = (class as u64).saturating_mul(ELEMENT);
        if limited {
            self.admit(bytes)?;
        }
        if let Some(storage) = self.free.get_mut(&class).and_then(Vec::pop) {
            self.waiting -= bytes;
            self.count(class);
            return Ok(storage);
        }
        self.trim(self.most().saturating_sub(self.live.saturating_add(bytes)));
        let storage = Storage::zeros(class).ok_or_else(|| {
            Error::user(Place::key("memory"), format!("the system has no {} for a tensor", mebibytes(bytes)))
                .hint("take a smaller batch, a shorter context or a smaller model")
        })?;
        self.count(class);
        Ok(storage)
    }

    fn give_back(&mut self, storage: Storage) {
        let length = storage.as_slice().len();
        let bytes = length as u64 * ELEMENT;
        self.live = self.live.saturating_sub(bytes);
        // Adopted buffers come back too: without a bound here, who adopts one in each step would add one in each.
        let fits = self.live.saturating_add(self.waiting).saturating_add(bytes) <= self.most();
        if fits && length > 0 && length == size_class(length) {
            self.waiting += bytes;
            self.free.entry(length).or_default().push(storage);
        }
    }

    /// The most that live and waiting buffers may hold together.
    fn most(&self) -> u64 {
        self.peak.saturating_add(SLACK).min(self.limit.unwrap_or(u64::MAX))
    }

    /// Gives waiting buffers back to the system, largest first, until at most `keep` bytes wait.
    fn trim(&mut self, keep: u64) {
        while self.waiting > keep {
            let Some(mut entry) = self.free.last_entry() else { return };
            if entry.get_mut().pop().is_some() {
                self.waiting -= *entry.key() as u64 * ELEMENT;
            }
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }
}

/// The length that is really allocated for `length` elements: at most an eighth more.
fn size_class(length: usize) -> usize {
    if length == 0 {
        return 0;
    }
    if length <= 64 {
        return 64;
    }
    let step = 1_usize << (usize::BITS - 1 - (length - 1).leading_zeros()).saturating_sub(3);
    length.checked_next_multiple_of(step).unwrap_or(length)
}

/// From this many elements on a buffer is memory that the system maps for it alone, and gets back when it is dropped. What
/// the allocator holds below other memory in use stays with the process.
const MAPPED: usize = 1 << 16;

/// Numbers in memory.
#[derive(Debug)]
pub(super) enum Storage {
    Heap(Vec<f32>),
    /// Whole `f32`, of any bits.
    Mapped(MmapMut),
}

impl Default for Storage {
    fn default() -> Self {
        Self::Heap(Vec::new())
    }
}

impl Storage {
    /// Zeros from the system, of large buffers without touching the pages; `None` when there are not that many.
    fn zeros(length: usize) -> Option<Self> {
        if length >= MAPPED {
            return MmapMut::map_anon(length.checked_mul(size_of::<f32>())?).ok().map(Self::Mapped);
        }
        let mut values = Vec::new();
        values.try_reserve_exact(length).ok()?;
        values.resize(length, 0.0);
        Some(Self::Heap(values))
    }

    pub fn as_slice(&self) -> &[f32] {
        match self {
            Self::Heap(values) => values,
            #[expect(unsafe_code, reason = "bytes seen as numbers")]
            // SAFETY: a mapping begins with a page, so it is aligned; it is whole numbers, borrowed, and any bits are one.
            Self::Mapped(bytes) => unsafe {
                std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<f32>())
            },
        }
    }

    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        match self {
            Self::Heap(values) => values,
            #[expect(unsafe_code, reason = "bytes seen as numbers")]
            // SAFETY: as above, and borrowed for this alone.
            Self::Mapped(bytes) => unsafe {
                std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len() / size_of::<f32>())
            },
        }
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes_waste_at_most_an_eighth() {
        for length in (65..5000).chain([1 << 20, (1 << 20) + 1, 49152 * 576]) {
            let class = size_class(length);
            assert!(class >= length && class <= length + length / 8 + 1, "{length} -> {class}");
            assert_eq!(size_class(class), class);
        }
    }

    #[test]
    fn a_freed_buffer_is_taken_again() {
        let mut pool = Pool::new();
        let first = pool.take(1000, true).unwrap();
        let address = first.as_slice().as_ptr();
        pool.give_back(first);
        assert_eq!(pool.live, 0);
        let second = pool.take(1001, true).unwrap();
        assert_eq!(second.as_slice().as_ptr(), address);
    }

    #[test]
    fn adopted_buffers_do_not_pile_up() {
        let mut pool = Pool::new();
        for _ in 0..100 {
            let length = 1 << 18;
            pool.count(length);
            pool.give_back(Storage::Heap(vec![0.0; length]));
        }
        assert!(pool.waiting > 0 && pool.waiting <= pool.peak + SLACK, "{} bytes wait", pool.waiting);
    }

    #[test]
    fn the_limit_refuses_before_allocating_and_names_both_numbers() {
        let mut pool = Pool::new();
        pool.limit = Some(1 << 20);
        let held = pool.take(1 << 17, true).unwrap();
        let message = pool.take(1 << 18, true).unwrap_err().to_string();
        assert!(message.contains("1.5 MiB") && message.contains("limit of 1.0 MiB"), "{message}");
        pool.give_back(held);
        assert!(pool.take(1 << 18, true).is_ok());
    }

    #[test]
    fn waiting_buffers_are_given_up_when_other_sizes_are_asked_for() {
        let mut pool = Pool::new();
        for length in (1 << 22..1 << 24).step_by(1 << 20) {
            let storage = pool.take(length, true).unwrap();
            pool.give_back(storage);
        }
        assert!(pool.waiting <= pool.peak + SLACK);
    }
}
