//! What a tape writes to, kept for the next tape of the thread.

use std::cell::RefCell;

use super::{Node, Var};
use crate::kernel::arena::Arena;
use crate::tensor::Tensor;

thread_local! {
    static SPARE: RefCell<Vec<Room<'static>>> = const { RefCell::new(Vec::new()) };
}

/// The lists of one tape. They are given back when it is dropped, so that a training step does not allocate them again.
#[derive(Default)]
pub(super) struct Room<'p> {
    pub nodes: Vec<Node<'p>>,
    /// Where the records of the nodes lie.
    pub records: Arena,
    /// The handle of each parameter that is on the tape.
    pub known: Vec<Option<Var>>,
    /// The gradient of each node, while one walks back.
    pub slots: Vec<Option<Tensor>>,
    /// Whether a gradient came to each node.
    pub reached: Vec<bool>,
}

impl Room<'_> {
    pub fn take() -> Self {
        SPARE.with_borrow_mut(Vec::pop).unwrap_or_default().emptied()
    }

    pub fn give_back(self) {
        let room = self.emptied();
        // When the thread ends there is nowhere to put it.
        SPARE.try_with(|spare| spare.borrow_mut().push(room)).unwrap_or(());
    }

    /// The same memory with nothing in it, which may outlive what was.
    fn emptied<'q>(mut self) -> Room<'q> {
        self.known.clear();
        self.slots.clear();
        self.reached.clear();
        // Collecting what was a list of the same kind leaves it where it is.
        #[expect(clippy::unnecessary_filter_map, reason = "the lifetime changes")]
        let nodes = self.nodes.into_iter().filter_map(|_| None).collect();
        self.records.rewind();
        Room { nodes, records: self.records, known: self.known, slots: self.slots, reached: self.reached }
    }
}
