//! Beginnings of texts whose keys and values are kept for other texts that begin alike.

use metier_compute::op::KeyPage;
use metier_core::data::TokenId;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

/// The number of a kept page; 0 stands for the beginning of all texts.
pub(crate) type Serial = u64;

/// Kept pages. One is found by the page before it and its ids, all of them, so that no other text's is ever taken.
pub(crate) struct Prefixes {
    most: usize,
    pages: HashMap<(Serial, Box<[TokenId]>), Kept>,
    /// The last number that was given to a page, and to a use.
    serial: Serial,
    uses: u64,
}

struct Kept {
    serial: Serial,
    page: Arc<KeyPage>,
    used: u64,
}

impl Prefixes {
    /// At most `most` pages.
    pub fn new(most: usize) -> Self {
        Self { most, pages: HashMap::new(), serial: 0, uses: 0 }
    }

    /// Begins another use: pages found until the next one count as used together.
    pub fn begin(&mut self) {
        self.uses += 1;
    }

    /// The page with `ids` behind the page `before`.
    pub fn find(&mut self, before: Serial, ids: &[TokenId]) -> Option<(Serial, Arc<KeyPage>)> {
        let kept = self.pages.get_mut(&(before, ids.into()))?;
        kept.used = self.uses;
        Some((kept.serial, Arc::clone(&kept.page)))
    }

    /// Keeps a page, and gives the one that is kept: an older one with the same ids, if there is one. `None` when there
    /// are as many as may be, and texts have them all.
    pub fn keep(&mut self, before: Serial, ids: &[TokenId], page: &Arc<KeyPage>) -> Option<(Serial, Arc<KeyPage>)> {
        if let Some(found) = self.find(before, ids) {
            return Some(found);
        }
        if self.pages.len() >= self.most && !self.forget_one() {
            return None;
        }
        self.serial += 1;
        let kept = Kept { serial: self.serial, page: Arc::clone(page), used: self.uses };
        self.pages.insert((before, ids.into()), kept);
        Some((self.serial, Arc::clone(page)))
    }

    /// Gives up the page that was used longest ago of those that no text has; false when there is none. Of pages used
    /// together the last goes first, so that none stays behind one that is gone.
    pub fn forget_one(&mut self) -> bool {
        let unused = self.pages.iter().filter(|(_, kept)| Arc::strong_count(&kept.page) == 1);
        let oldest = unused.min_by_key(|(_, kept)| (kept.used, Reverse(kept.serial)));
        let Some(key) = oldest.map(|(key, _)| key.clone()) else { return false };
        self.pages.remove(&key).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metier_compute::op::{KeyCoding, PageShape};
    use metier_core::memory::Budget;

    #[test]
    fn pages_are_found_by_all_that_came_before_and_the_oldest_end_goes_first() {
        let shape = PageShape { blocks: 1, kv_heads: 1, head_dim: 4, coding: KeyCoding::F32 };
        let page = || Arc::new(KeyPage::new(shape, &Budget::new(None)).unwrap());
        let mut prefixes = Prefixes::new(3);
        prefixes.begin();
        let (root, _) = prefixes.keep(0, &[1, 2], &page()).unwrap();
        let (end, _) = prefixes.keep(root, &[3, 4], &page()).unwrap();
        prefixes.begin();
        let (other, held) = prefixes.keep(0, &[3, 4], &page()).unwrap();
        assert!(other != end && prefixes.find(other, &[3, 4]).is_none() && prefixes.find(0, &[1]).is_none());
        assert!(prefixes.keep(0, &[9, 9], &page()).is_some(), "the end of the oldest text gives way");
        assert!(prefixes.find(root, &[3, 4]).is_none() && prefixes.find(0, &[1, 2]).is_some());
        let again = page();
        assert!(Arc::ptr_eq(&prefixes.keep(0, &[3, 4], &again).unwrap().1, &held), "the first one stays");
        let _all: Vec<_> = [[1, 2], [9, 9]].iter().map(|ids| prefixes.find(0, ids).unwrap()).collect();
        assert!(!prefixes.forget_one() && prefixes.keep(0, &[7, 7], &page()).is_none(), "texts have them all");
    }
}
