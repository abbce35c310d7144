//! The threads that kernels run on.
//!
//! Work is a function of an index, and whoever is free takes the next index: the calling thread and those threads of the
//! crew that have woken. The caller waits for no thread that has not begun, so a machine that is busy with other work
//! costs little. Nothing is allocated on the way.

use std::any::Any;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use metier_core::{Error, Place, Result};

static CREW: Mutex<Option<Arc<Crew>>> = Mutex::new(None);

/// Runs kernels on `count` threads from now on; 0 means one for each core. No result depends on it.
pub fn set_threads(count: usize) -> Result<()> {
    let crew = Crew::new(count)
        .map_err(|error| Error::user(Place::key("threads"), format!("the system refuses {count} threads: {error}")))?;
    *lock(&CREW) = Some(Arc::new(crew));
    Ok(())
}

/// The number of threads that kernels run on.
pub fn threads() -> usize {
    crew().map_or(1, |crew| crew.threads)
}

/// `None` when the system gives no threads at all; work then runs on the caller's.
fn crew() -> Option<Arc<Crew>> {
    let mut slot = lock(&CREW);
    if slot.is_none() {
        *slot = Crew::new(0).ok().map(Arc::new);
    }
    slot.clone()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Below this many elementary steps a second thread costs more than it saves.
const WORTH_SHARING: usize = 1 << 15;
/// How often a thread without work looks for some before it sleeps: some hundreds of microseconds. Between two products of a decoding
/// step are some tens, and waking a thread costs as much as such a product.
const LOOKS: usize = 1 << 13;

/// Runs `work` for every index below `count`; `steps` is about how much work there is in all.
pub(crate) fn for_each(count: usize, steps: usize, work: impl Fn(usize) + Sync) {
    match crew().filter(|crew| count > 1 && steps >= WORTH_SHARING && crew.threads > 1) {
        Some(crew) => crew.run(count, &work),
        None => (0..count).for_each(work),
    }
}

/// Cuts `out` into pieces of `length` and runs `work` on each with its index.
pub(crate) fn chunks<T: Send>(out: &mut [T], length: usize, steps: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    let out = Pieces::new(out, length);
    #[expect(unsafe_code, reason = "hands pieces to threads")]
    // SAFETY: every index comes once.
    for_each(out.count(), steps, |index| work(index, unsafe { out.get(index) }));
}

/// As [`chunks`] over two outputs at once; both must have the same number of pieces.
pub(crate) fn chunks2(
    (first, first_length): (&mut [f32], usize),
    (second, second_length): (&mut [f32], usize),
    steps: usize,
    work: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) {
    let (first, second) = (Pieces::new(first, first_length), Pieces::new(second, second_length));
    for_each(first.count().min(second.count()), steps, |index| {
        #[expect(unsafe_code, reason = "hands pieces to threads")]
        // SAFETY: every index comes once.
        let (first, second) = unsafe { (first.get(index), second.get(index)) };
        work(index, first, second);
    });
}

/// Cuts three outputs into pieces of their lengths, one input into pieces of the first length, and runs `work` on each.
pub(crate) fn chunks4(
    outputs: [(&mut [f32], usize); 3],
    input: &[f32],
    steps: usize,
    work: impl Fn(&mut [f32], &mut [f32], &mut [f32], &[f32]) + Sync,
) {
    let length = outputs[0].1.max(1);
    let [first, second, third] = outputs.map(|(out, length)| Pieces::new(out, length));
    for_each(first.count(), steps, |index| {
        #[expect(unsafe_code, reason = "hands pieces to threads")]
        // SAFETY: every index comes once.
        let (first, second, third) = unsafe { (first.get(index), second.get(index), third.get(index)) };
        work(first, second, third, &input[piece(index, length, input.len())]);
    });
}

/// The elements of piece `index` when `total` elements are cut into pieces of `length`.
pub(crate) fn piece(index: usize, length: usize, total: usize) -> Range<usize> {
    let start = (index * length).min(total);
    start..(start + length).min(total)
}

/// A slice cut into pieces that threads take.
struct Pieces<T> {
    start: *mut T,
    total: usize,
    length: usize,
}

#[expect(unsafe_code, reason = "threads share the pointer")]
// SAFETY: it only gives out pieces that do not overlap, so sharing it moves elements between threads at most.
unsafe impl<T: Send> Sync for Pieces<T> {}

impl<T> Pieces<T> {
    fn new(slice: &mut [T], length: usize) -> Self {
        Self { start: slice.as_mut_ptr(), total: slice.len(), length: length.max(1) }
    }

    fn count(&self) -> usize {
        self.total.div_ceil(self.length)
    }

    /// # Safety
    /// The slice that this was made of is still borrowed for it, and nobody else has the piece of this index.
    #[expect(unsafe_code, clippy::mut_from_ref, reason = "the pieces of one slice go to several threads")]
    unsafe fn get(&self, index: usize) -> &mut [T] {
        let range = piece(index, self.length, self.total);
        // SAFETY: the range lies inside the slice, ranges of different indices do not overlap, and the caller vouches
        // for the rest.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

/// Threads that wait for work; they end with it.
struct Crew {
    shared: Arc<Shared>,
    /// With the caller's.
    threads: usize,
}

struct Shared {
    state: Mutex<State>,
    /// Goes up with each job, and once more at the end.
    round: AtomicUsize,
    /// The next index that nobody has taken.
    next: AtomicUsize,
    /// What [`State::active`] is, to look at without the lock.
    busy: AtomicUsize,
    begun: Condvar,
    done: Condvar,
}

struct State {
    job: Option<Job>,
    /// Threads of the crew that work on the job.
    active: usize,
    /// Threads of the crew that have to be woken.
    asleep: usize,
    panicked: Option<Box<dyn Any + Send>>,
    ended: bool,
}

#[derive(Clone, Copy)]
struct Job {
    work: *const (),
    call: unsafe fn(*const (), usize),
    count: usize,
}

#[expect(unsafe_code, reason = "threads share the pointer")]
// SAFETY: the work behind the pointer is `Sync` and outlives the job, see `Crew::run`.
unsafe impl Send for Job {}

/// # Safety
/// `work` points at an `F`.
#[expect(unsafe_code, reason = "the pointer has lost its type")]
unsafe fn call<F: Fn(usize)>(work: *const (), index: usize) {
    // SAFETY: the caller says so.
    unsafe { (*work.cast::<F>())(index) }
}

impl Crew {
    fn new(threads: usize) -> std::io::Result<Self> {
        let threads = if threads == 0 { thread::available_parallelism()?.get() } else { threads };
        let state = State { job: None, active: 0, asleep: 0, panicked: None, ended: false };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            round: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            begun: Condvar::new(),
            done: Condvar::new(),
        });
        let crew = Self { shared, threads };
        for index in 1..threads {
            let shared = Arc::clone(&crew.shared);
            thread::Builder::new().name(format!("kernel-{index}")).spawn(move || shared.serve())?;
        }
        Ok(crew)
    }

    /// Runs `work` for every index below `count`. When the crew is at work already, as inside of another job, the
    /// caller does all of it.
    fn run<F: Fn(usize) + Sync>(&self, count: usize, work: &F) {
        let shared = &*self.shared;
        let mut state = lock(&shared.state);
        if state.job.is_some() || state.active > 0 {
            drop(state);
            return (0..count).for_each(work);
        }
        let job = Job { work: std::ptr::from_ref(work).cast(), call: call::<F>, count };
        state.job = Some(job);
        shared.next.store(0, Ordering::Relaxed);
        shared.round.fetch_add(1, Ordering::Release);
        let asleep = state.asleep;
        drop(state);
        if asleep > 0 {
            shared.begun.notify_all();
        }
        let mine = panic::catch_unwind(AssertUnwindSafe(|| shared.take_part(job)));
        // From here on no thread begins, and this one stays until all that had begun are through: then `work` may go.
        lock(&shared.state).job = None;
        // They end soon mostly, and to be woken takes longer.
        Shared::look_until(|| shared.busy.load(Ordering::Acquire) == 0);
        let mut state = lock(&shared.state);
        while state.active > 0 {
            state = shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let theirs = state.panicked.take();
        drop(state);
        if let Some(panicked) = mine.err().or(theirs) {
            panic::resume_unwind(panicked);
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        lock(&self.shared.state).ended = true;
        self.shared.round.fetch_add(1, Ordering::Release);
        self.shared.begun.notify_all();
    }
}

impl Shared {
    fn take_part(&self, job: Job) {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= job.count {
                return;
            }
            #[expect(unsafe_code, reason = "calls the work")]
            // SAFETY: `Crew::run` made the job of a reference to `work` and does not return before all who take part have.
            unsafe {
                (job.call)(job.work, index);
            }
        }
    }

    /// Looks until it is so, but not for long.
    fn look_until(so: impl Fn() -> bool) {
        for _ in 0..LOOKS {
            if so() {
                return;
            }
            std::hint::spin_loop();
        }
    }

    /// What a thread of the crew does all its life.
    fn serve(&self) {
        let mut seen = 0;
        loop {
            Self::look_until(|| self.round.load(Ordering::Acquire) != seen);
            let mut state = lock(&self.state);
            let job = loop {
                if state.ended {
                    return;
                }
                let round = self.round.load(Ordering::Acquire);
                if round != seen
                    && let Some(job) = state.job
                {
                    seen = round;
                    state.active += 1;
                    self.busy.store(state.active, Ordering::Relaxed);
                    break job;
                }
                seen = round;
                state.asleep += 1;
                state = self.begun.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.asleep -= 1;
            };
            drop(state);
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| self.take_part(job)));
            let mut state = lock(&self.state);
            state.active -= 1;
            self.busy.store(state.active, Ordering::Release);
            if let Err(panicked) = outcome {
                state.panicked = Some(panicked);
            }
            if state.active == 0 {
                self.done.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_comes_once_also_within_a_job_and_from_many_threads() {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..200 {
                        let mut out = vec![0_usize; 1000 + round];
                        chunks(&mut out, 7, WORTH_SHARING, |index, piece| {
                            chunks(piece, 2, WORTH_SHARING, |inner, piece| piece.fill(index * 7 + inner * 2));
                        });
                        assert!((0..).zip(&out).all(|(at, value)| *value == at / 7 * 7 + at % 7 / 2 * 2));
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_in_a_piece_reaches_the_caller_and_the_crew_lives_on() {
        let caught = panic::catch_unwind(|| for_each(100, WORTH_SHARING, |index| assert!(index != 50, "fifty")));
        assert!(caught.is_err());
        let sum = AtomicUsize::new(0);
        for_each(100, WORTH_SHARING, |index| {
            sum.fetch_add(index, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 4950);
    }
}
