//! Whose turn it is to compute. Models share the threads of the kernels; one computes at a time, token by token.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Turns in the order in which they were asked for.
#[derive(Default)]
pub(crate) struct Turns {
    line: Mutex<Line>,
    changed: Condvar,
}

#[derive(Default)]
struct Line {
    /// The number that the next to come draws.
    next: u64,
    /// The number whose turn it is.
    now: u64,
}

/// A turn; it ends when dropped.
pub(crate) struct Turn<'t>(&'t Turns);

impl Turns {
    /// Waits for a turn.
    pub(crate) fn wait(&self) -> Turn<'_> {
        self.draw(self.lock());
        Turn(self)
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self, mut line: MutexGuard<'_, Line>) {
        let mine = line.next;
        line.next += 1;
        while line.now != mine {
            line = self.changed.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Turn<'_> {
    /// Lets everyone who waits have a turn first.
    pub(crate) fn pass(&mut self) {
        let mut line = self.0.lock();
        if line.next > line.now + 1 {
            line.now += 1;
            self.0.changed.notify_all();
            self.0.draw(line);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().now += 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn one_at_a_time_and_each_in_turn() {
        let turns = Turns::default();
        let inside = AtomicUsize::new(0);
        let order = Mutex::new(Vec::new());
        let first = turns.wait();
        std::thread::scope(|scope| {
            for number in 0..3 {
                let (turns, inside, order) = (&turns, &inside, &order);
                scope.spawn(move || {
                    let mut turn = turns.wait();
                    for _ in 0..50 {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        order.lock().unwrap().push(number);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        turn.pass();
                    }
                });
            }
            while turns.lock().next < 4 {
                std::thread::yield_now();
            }
            drop(first);
        });
        let order = order.into_inner().unwrap();
        assert_eq!(order.len(), 150);
        for round in order.chunks(3) {
            let mut round = round.to_vec();
            round.sort_unstable();
            assert_eq!(round, [0, 1, 2], "everyone has a turn in each round");
        }
    }
}
