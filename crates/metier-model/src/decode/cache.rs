//! Keys and values of the rows that came before; an argument of decoding, never a state of the model.

use super::prefixes::{Prefixes, Serial};
use crate::config::Config;
use metier_compute::op::{KeyCoding, KeyPage, PageShape};
use metier_core::data::TokenId;
use metier_core::memory::{Budget, display};
use metier_core::{Error, Place, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The memory in which the caches of a model lie, in pages of [`KeyPage::ROWS`] rows, and the beginnings of texts that
/// are kept in it for others that begin alike. Those give way to what is asked for, the ones used longest ago first.
pub struct Pages {
    shape: PageShape,
    budget: Budget,
    prefixes: Mutex<Prefixes>,
    /// False where the keys of a text change with its length, and where rows of virtual tokens come before it.
    alike: bool,
    /// Rows of virtual tokens before each text.
    leading: usize,
}

impl Pages {
    /// Pages for a model, which hold at most `limit` bytes together; a quarter of them may be kept beginnings alone.
    pub fn new(config: &Config, coding: KeyCoding, limit: Option<u64>) -> Self {
        let shape = PageShape { blocks: config.layers, kv_heads: config.kv_heads, head_dim: config.head_dim, coding };
        let leading = config.design.leading;
        let whole = (config.context_length + leading).div_ceil(KeyPage::ROWS);
        let most = limit.map_or(whole, |limit| (limit / 4 / shape.bytes().max(1)) as usize);
        Self {
            shape,
            budget: Budget::new(limit),
            prefixes: Mutex::new(Prefixes::new(most)),
            alike: !config.keys_follow_length() && leading == 0,
            leading,
        }
    }

    /// Bytes that a text of `tokens` tokens takes.
    pub fn bytes_of(&self, tokens: usize) -> u64 {
        self.shape.bytes().saturating_mul((tokens + self.leading).div_ceil(KeyPage::ROWS) as u64)
    }

    /// Bytes in use and the most there may be.
    pub fn bytes(&self) -> (u64, Option<u64>) {
        (self.budget.used(), self.budget.limit())
    }

    /// The refusal of another page, when it is their own limit that refuses.
    fn full(&self) -> Option<Error> {
        let limit = self.budget.limit().filter(|limit| self.budget.used() + self.shape.bytes() > *limit)?;
        let message = format!(
            "keys and values of the texts need more than the {} that they may take, at {} for {} tokens",
            display(limit),
            display(self.shape.bytes()),
            KeyPage::ROWS
        );
        Some(Error::user(Place::key("cache"), message).hint("raise it with `--cache-memory`, or ask for fewer tokens"))
    }

    fn prefixes(&self) -> MutexGuard<'_, Prefixes> {
        self.prefixes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page, new or made by `make`; kept beginnings give way to it.
    fn page(&self, make: impl Fn() -> Result<KeyPage>) -> Result<Arc<KeyPage>> {
        loop {
            match make() {
                Ok(page) => return Ok(Arc::new(page)),
                Err(error) if !self.prefixes().forget_one() => return Err(self.full().unwrap_or(error)),
                Err(_) => {}
            }
        }
    }
}

/// The keys and values of one text in every block. A clone shares the pages; whoever adds rows to a shared one gets a
/// copy of it first.
#[derive(Clone, Default)]
pub struct Cache {
    pages: Vec<Arc<KeyPage>>,
    length: usize,
    /// Rows of virtual tokens before those of the tokens.
    leading: usize,
    /// The last page that is among the kept beginnings, and how many are.
    kept: (Serial, usize),
}

impl Cache {
    /// Tokens seen so far.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Rows of virtual tokens that were written.
    pub(crate) fn leading(&self) -> usize {
        self.leading
    }

    /// Rows that were written.
    pub(crate) fn rows(&self) -> usize {
        self.leading + self.length
    }

    /// Whether it holds any memory.
    pub(crate) fn has_pages(&self) -> bool {
        !self.pages.is_empty()
    }

    /// Pages that hold rows or have room for some.
    pub(crate) fn pages_mut(&mut self) -> &mut [Arc<KeyPage>] {
        &mut self.pages
    }

    /// Forgets all tokens behind the first `length`.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
        self.pages.truncate(self.rows().div_ceil(KeyPage::ROWS));
        debug_assert!(self.kept.1 <= self.pages.len(), "kept rows are never taken back");
    }

    /// Makes room for the rows of `rows` more tokens, in pages that no other text has. Refused when `pages` has none left; what room there
    /// is stays.
    pub fn reserve(&mut self, pages: &Pages, rows: usize) -> Result<()> {
        let (written, rows) = (self.rows(), rows + pages.leading - self.leading);
        if let Some(page) = self.pages.get_mut(written / KeyPage::ROWS)
            && rows > 0
            && Arc::get_mut(page).is_none()
        {
            let copied = pages.page(|| page.copy(&pages.budget))?;
            *page = copied;
        }
        while self.pages.len() * KeyPage::ROWS < written + rows {
            self.pages.push(pages.page(|| KeyPage::new(pages.shape, &pages.budget))?);
        }
        Ok(())
    }

    /// Notes that `rows` of tokens were written to the room that was made, `leading` of virtual tokens before them.
    pub(crate) fn grow(&mut self, rows: usize, leading: usize) {
        self.length += rows;
        self.leading = leading;
    }

    /// Where nothing has been read since the last whole page: takes over kept pages of the text `ids`, and gives the
    /// number of rows. The last id is always left to be read.
    pub fn take_kept(&mut self, pages: &Pages, ids: &[TokenId]) -> usize {
        let before = self.length;
        if !pages.alike || self.length != self.kept.1 * KeyPage::ROWS {
            return 0;
        }
        let mut prefixes = pages.prefixes();
        prefixes.begin();
        while self.length + KeyPage::ROWS < ids.len()
            && let Some((serial, page)) = prefixes.find(self.kept.0, &ids[self.length..][..KeyPage::ROWS])
        {
            self.pages.truncate(self.kept.1);
            self.pages.push(page);
            self.length += KeyPage::ROWS;
            self.kept = (serial, self.kept.1 + 1);
        }
        self.length - before
    }

    /// Puts whole pages of the text `ids` among the kept beginnings. Call it when no row will be taken back.
    pub fn keep(&mut self, pages: &Pages, ids: &[TokenId]) {
        if !pages.alike {
            return;
        }
        while (self.kept.1 + 1) * KeyPage::ROWS <= self.length {
            let number = self.kept.1;
            let here = &ids[number * KeyPage::ROWS..][..KeyPage::ROWS];
            let kept = pages.prefixes().keep(self.kept.0, here, &self.pages[number]);
            let Some((serial, page)) = kept else { return };
            self.pages[number] = page;
            self.kept = (serial, number + 1);
        }
    }

    /// What the next whole page of the text `ids` will be known by, while it is not there yet.
    pub(crate) fn next_page<'i>(&self, ids: &'i [TokenId]) -> Option<(Serial, &'i [TokenId])> {
        let start = self.kept.1 * KeyPage::ROWS;
        let here = ids.get(start..start + KeyPage::ROWS)?;
        (self.length == start).then_some((self.kept.0, here))
    }
}
