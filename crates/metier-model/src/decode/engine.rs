//! Many texts at once: each step is one pass over new rows of all of them.
//!
//! A text whose prompt is read gives one row, or with guesses a few; what is left of the pass goes to prompts that are
//! still being read, a chunk of each in turn. Rows do not depend on each other, so a reply is the same to the bit
//! whichever others are made beside it. When the pages run out, the text that came last gives its own back and reads
//! what it had again later. After Yu et al., Orca, 2022 (steps), and Kwon et al., arXiv 2309.06180 (pages).

use super::draft::Guessing;
use super::writing::Writing;
use super::{Cache, Draft, Drafted, Pages, ROWS};
use crate::decoder::{Advance, Decoder};
use metier_compute::op::logit_normalizers;
use metier_core::data::TokenId;
use metier_core::seam::{Ask, Delta, Exchange, Finish, Tokenize};
use metier_core::{Error, Result, stop};

/// Rows of prompts in a pass beside texts that go on: those wait for it.
const BESIDE: usize = 128;

/// What answers requests.
pub struct Engine<'m> {
    /// The model.
    pub decoder: &'m Decoder,
    /// Its tokenizer.
    pub tokenizer: &'m dyn Tokenize,
    /// Ids that end a reply.
    pub end_ids: &'m [TokenId],
    /// Where the caches lie.
    pub pages: &'m Pages,
    /// Most texts at once.
    pub texts: usize,
    /// What guesses ahead.
    pub draft: Option<&'m Draft>,
}

/// Gives the tokens of a request's prompt, and the most that may be made.
pub type ReadPrompt<'p> = dyn Fn(&Ask) -> Result<(Vec<TokenId>, usize)> + 'p;

/// A text on its way.
struct Text {
    number: usize,
    /// Prompt and reply.
    ids: Vec<TokenId>,
    cache: Cache,
    /// What the model that guesses has read.
    guessing: Cache,
    guesses: Vec<Drafted>,
    writing: Writing,
    failed: Option<Error>,
    /// Rows of the next pass, guesses left out.
    rows: usize,
}

impl Text {
    fn missing(&self) -> usize {
        self.ids.len() - self.cache.length()
    }

    /// Whether it has come to its end.
    fn is_over(&self) -> bool {
        self.writing.finish.is_some() || self.failed.is_some()
    }

    /// Whether its last token is all that is to be read.
    fn goes_on(&self) -> bool {
        self.missing() == 1 && !self.is_over()
    }

    /// Leaves its pages to others; what was in them is read again when there is room.
    fn give_back(&mut self) {
        self.cache = Cache::default();
        self.guesses.clear();
        self.rows = 0;
    }
}

impl Engine<'_> {
    /// Answers what `exchange` hands over until it has no more.
    pub fn run(&self, exchange: &mut dyn Exchange, prompt: &ReadPrompt<'_>) -> Result<()> {
        let mut texts: Vec<Text> = Vec::new();
        let mut number = 0;
        loop {
            self.let_go(&mut texts, exchange);
            exchange.between();
            while texts.len() < self.texts.max(1)
                && let Some(ask) = exchange.next(texts.len())
            {
                match prompt(&ask).and_then(|(ids, most)| Ok((Writing::new(ask, ids.len(), most)?, ids))) {
                    Err(error) => exchange.finish(number, Err(error)),
                    Ok((writing, ids)) => texts.push(Text {
                        number,
                        ids,
                        cache: Cache::default(),
                        guessing: Cache::default(),
                        guesses: Vec::new(),
                        writing,
                        failed: None,
                        rows: 0,
                    }),
                }
                number += 1;
            }
            if texts.is_empty() {
                return Ok(());
            }
            let step = stop::check().and_then(|()| self.step(&mut texts, exchange));
            if let Err(error) = step {
                for text in texts {
                    exchange.finish(text.number, Err(error.clone()));
                }
                return Err(error);
            }
        }
    }

    /// Hands over the replies that have ended.
    fn let_go(&self, texts: &mut Vec<Text>, exchange: &mut dyn Exchange) {
        for mut text in texts.extract_if(.., |text| text.is_over()) {
            let number = text.number;
            if let Some(error) = text.failed {
                exchange.finish(number, Err(error));
                continue;
            }
            // All pages of the text count as used together from now on.
            text.cache.keep(self.pages, &text.ids);
            Cache::default().take_kept(self.pages, &text.ids);
            let reply = text.writing.reply(&mut |delta| exchange.delta(number, delta));
            exchange.finish(number, Ok(reply));
        }
    }

    /// One pass.
    fn step(&self, texts: &mut [Text], exchange: &mut dyn Exchange) -> Result<()> {
        for text in &mut *texts {
            text.rows = usize::from(text.goes_on());
            if !text.goes_on() && !exchange.wanted(text.number) {
                text.writing.finish = Some(Finish::Cancelled);
            }
        }
        self.guess(texts)?;
        self.share_rows(texts);
        self.make_room(texts);
        let mut read: Vec<&mut Text> = texts.iter_mut().filter(|text| text.rows > 0 && !text.is_over()).collect();
        let mut steps = Vec::new();
        for text in &mut read {
            let (from, length) = (text.cache.length(), text.ids.len());
            // The guesses stand behind the text while they are read.
            text.ids.extend(text.guesses.iter().map(|guess| guess.id));
            let ids = &text.ids[from..from + text.rows + text.guesses.len()];
            let wanted = if from + text.rows == length { 1 + text.guesses.len() } else { 0 };
            steps.push(Advance { cache: &mut text.cache, ids, wanted, length });
        }
        if steps.is_empty() {
            return Ok(());
        }
        let wanted: Vec<usize> = steps.iter().map(|step| step.wanted).collect();
        let logits = self.decoder.advance(self.pages, &mut steps)?;
        drop(steps);
        let vocabulary = self.decoder.config().vocabulary_size;
        let mut rows = logits.data().chunks_exact(vocabulary).zip(logit_normalizers(&logits)?);
        for (text, wanted) in read.into_iter().zip(wanted) {
            let guesses = std::mem::take(&mut text.guesses);
            text.ids.truncate(text.ids.len() - guesses.len());
            let number = text.number;
            let mut tell = |delta: Delta<'_>| exchange.delta(number, delta);
            let rows: Vec<(&[f32], f32)> = rows.by_ref().take(wanted).collect();
            for (at, row) in rows.into_iter().enumerate() {
                let ends = (self.tokenizer, self.end_ids);
                match text.writing.take(&mut text.ids, row, guesses.get(at), ends, &mut tell) {
                    Ok(true) if text.writing.finish.is_none() => {}
                    Ok(_) => break,
                    Err(error) => {
                        text.failed = Some(error);
                        break;
                    }
                }
            }
            // The rows of guesses that were not taken are no part of the text.
            let read = if wanted > 0 { text.ids.len() - 1 } else { text.cache.length() };
            text.cache.truncate(read);
            text.guessing.truncate(read);
            text.cache.keep(self.pages, &text.ids);
        }
        Ok(())
    }

    /// Guesses what follows the texts that go on.
    fn guess(&self, texts: &mut [Text]) -> Result<()> {
        let Some(draft) = self.draft.filter(|_| !self.decoder.config().keys_follow_length()) else { return Ok(()) };
        let mut going: Vec<&mut Text> = texts.iter_mut().filter(|text| text.goes_on()).collect();
        let mut wanting: Vec<Guessing<'_>> = going
            .iter_mut()
            .map(|text| Guessing {
                ids: &text.ids,
                writing: &text.writing,
                cache: &mut text.guessing,
                // The pass itself makes one.
                most: (text.writing.most - text.writing.length()).saturating_sub(1),
                guesses: Vec::new(),
            })
            .collect();
        draft.guess(&mut wanting, self.tokenizer.vocabulary_size())?;
        let guesses: Vec<Vec<Drafted>> = wanting.into_iter().map(|text| text.guesses).collect();
        for (text, guesses) in going.into_iter().zip(guesses) {
            text.guesses = guesses;
        }
        Ok(())
    }

    /// Says how many rows of each prompt the pass reads. A text whose next page another is about to read waits for it.
    fn share_rows(&self, texts: &mut [Text]) {
        let mut left = if texts.iter().any(Text::goes_on) { BESIDE } else { ROWS };
        let mut coming = Vec::new();
        for text in texts.iter_mut().filter(|text| text.rows == 0 && !text.is_over()) {
            text.writing.cached += text.cache.take_kept(self.pages, &text.ids);
            let page = text.cache.next_page(&text.ids).map(|(before, ids)| (before, ids.to_vec()));
            if page.is_some() && coming.contains(&page) {
                continue;
            }
            coming.push(page);
            text.rows = text.missing().min(left);
            left -= text.rows;
        }
    }

    /// Finds pages for the rows of the pass, for the text that came first before all others.
    fn make_room(&self, texts: &mut [Text]) {
        for index in 0..texts.len() {
            while texts[index].rows > 0 && !texts[index].is_over() {
                let (before, rest) = texts.split_at_mut(index);
                let Some((text, behind)) = rest.split_first_mut() else { return };
                let rows = text.rows + text.guesses.len();
                let Err(error) = text.cache.reserve(self.pages, rows) else { break };
                let has_pages = |text: &Text| text.cache.has_pages();
                if !text.guesses.is_empty() {
                    text.guesses.clear();
                } else if let Some(last) = behind.iter_mut().rfind(|text| has_pages(text)) {
                    last.give_back();
                } else if before.iter().any(has_pages) {
                    text.rows = 0;
                } else {
                    text.failed = Some(error);
                }
            }
        }
    }
}
