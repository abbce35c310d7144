//! What a run learns from, and what it is measured on: one pack, or several by their names.

use crate::sampler::Stream;
use metier_core::data::TokenId;
use metier_core::fault::near_miss;
use metier_core::{Error, Place, Result};
use metier_tokenizer::pack::{DocumentEntry, ExampleSummary, Lesson, Shards, Verdict};
use std::ops::Range;

/// What to write in place of a name that is not known, as a hint.
pub(crate) fn known(name: &str, names: &[&str]) -> String {
    let near = near_miss(name, names.iter().copied());
    near.map_or_else(|| format!("known: {}", names.join(", ")), |near| format!("did you mean `{near}`?"))
}

/// What a single source is called.
const ONLY: &str = "from";

/// Packs by name; a document's number counts through all of them.
pub struct Sources<'a> {
    packs: Vec<(String, &'a Shards)>,
    validation: Vec<(String, &'a Shards)>,
}

impl<'a> From<&'a Shards> for Sources<'a> {
    fn from(shards: &'a Shards) -> Self {
        Self { packs: vec![(ONLY.to_owned(), shards)], validation: Vec::new() }
    }
}

impl<'a> Sources<'a> {
    /// Packs to learn from, and others that are only measured on.
    ///
    /// # Errors
    /// When there is none, when they were packed with several tokenizers, and when those to learn from teach different things or
    /// those to measure on teach anything but replies.
    pub fn new(packs: &'a [(String, Shards)], validation: &'a [(String, Shards)]) -> Result<Self> {
        let Some((first, shards)) = packs.first() else {
            return Err(Error::program("a run was given no source"));
        };
        let lesson = |shards: &Shards| shards.examples().map(|examples| examples.lesson);
        for (name, other) in packs.iter().chain(validation) {
            if other.tokenizer_fingerprint() != shards.tokenizer_fingerprint() {
                let message = format!("`{name}` was packed with another tokenizer than `{first}`");
                return Err(Error::file(other.folder(), message).hint("pack them all with the model's tokenizer"));
            }
        }
        for (name, other) in packs {
            if lesson(other) != lesson(shards) {
                let message = format!(
                    "`{name}` holds something else than `{first}`: documents, replies, preferences, judgments or pairs"
                );
                return Err(Error::file(other.folder(), message).hint("mix packs of one kind"));
            }
        }
        for (name, other) in validation {
            if lesson(other).is_some_and(|lesson| lesson != Lesson::Replies) {
                let message =
                    format!("`{name}` holds replies with a verdict, or pairs, which have no loss of a next token");
                return Err(Error::file(other.folder(), message).hint("validate on packed documents or conversations"));
            }
        }
        let named = |packs: &'a [(String, Shards)]| packs.iter().map(|(name, shards)| (name.clone(), shards)).collect();
        Ok(Self { packs: named(packs), validation: named(validation) })
    }

    /// The names and packs to measure on.
    pub(crate) fn validation(&self) -> &[(String, &'a Shards)] {
        &self.validation
    }

    /// The names and packs to learn from.
    pub(crate) fn packs(&self) -> &[(String, &'a Shards)] {
        &self.packs
    }

    /// What packing counted of examples; none where documents were packed.
    pub(crate) fn examples(&self) -> Option<&'a ExampleSummary> {
        self.packs.first().and_then(|(_, shards)| shards.examples())
    }

    /// All documents, source by source.
    pub(crate) fn documents(&self) -> impl Iterator<Item = &'a DocumentEntry> {
        self.packs.iter().flat_map(|(_, shards)| shards.documents())
    }

    /// Tokens of the longest segment that a window of these sources, or one that is measured on, can have; the one before it is among them.
    pub(crate) fn longest(&self, context: usize) -> usize {
        let all = self.packs.iter().chain(&self.validation).flat_map(|(_, shards)| shards.documents());
        let longest = all.map(DocumentEntry::tokens).max().unwrap_or(0);
        longest.min(context as u64) as usize + 1
    }

    /// The fingerprint of the tokenizer that all were packed with.
    pub(crate) fn tokenizer_fingerprint(&self) -> &'a str {
        self.packs.first().map_or("", |(_, shards)| shards.tokenizer_fingerprint())
    }

    /// A document with its source's name.
    pub(crate) fn document(&self, number: usize) -> (&str, &'a DocumentEntry) {
        let (name, shards, number) = self.place(number);
        (name, &shards.documents()[number])
    }

    /// What a document's first token is predicted from, if anything.
    pub(crate) fn lead(&self, document: usize) -> Option<TokenId> {
        self.place(document).1.lead()
    }

    /// Ids of the tokens `range` of a document, counted from its first.
    pub(crate) fn read(&self, document: usize, range: Range<u64>) -> Result<Vec<TokenId>> {
        let (_, shards, number) = self.place(document);
        shards.read(number, range)
    }

    /// The pack of a document and its number there; behind the last document, a number that its pack refuses.
    fn place(&self, number: usize) -> (&str, &'a Shards, usize) {
        let (mut at, mut number) = (0, number);
        while at + 1 < self.packs.len() && number >= self.packs[at].1.documents().len() {
            number -= self.packs[at].1.documents().len();
            at += 1;
        }
        (&self.packs[at].0, self.packs[at].1, number)
    }

    /// The documents in a row: examples whole, other documents to be cut.
    ///
    /// # Errors
    /// When there is none to train on in one of the sources, or an example is longer than a window.
    pub(crate) fn stream(&self, context: usize) -> Result<Stream> {
        let several = self.packs.len() > 1;
        let streams = self.packs.iter().map(|(name, shards)| {
            let stream = stream_of(shards, context).map_err(|mut error| {
                for fault in error.faults.iter_mut().filter(|fault| several && fault.place.key.is_none()) {
                    fault.place.key = Some(format!("from.{name}"));
                }
                error
            });
            Ok((name.clone(), shards.documents().len(), stream?))
        });
        Stream::joined(streams.collect::<Result<Vec<_>>>()?)
    }
}

/// The documents of one pack in a row.
fn stream_of(shards: &Shards, context: usize) -> Result<Stream> {
    let lengths = shards.documents().iter().map(DocumentEntry::tokens);
    if shards.examples().is_none() {
        return Stream::new(lengths);
    }
    let (lengths, context): (Vec<u64>, _) = (lengths.collect(), context as u64);
    let documents = shards.documents();
    let units: Vec<usize> = documents.chunk_by(|_, next| !begins_row(next)).map(<[_]>::len).collect();
    let is_pair = shards.examples().is_some_and(|examples| examples.lesson == Lesson::Pairs);
    // A vector of one token is one, where a single token predicts nothing.
    Stream::of_examples(&lengths, &units, if is_pair { 1 } else { 2 }, context)?.map_err(|number| {
        let first: usize = units[..number].iter().sum();
        let id = &documents[first].id;
        let mut rest = &lengths[..];
        let of_units = units.iter().map(|unit| rest.split_off(..*unit).unwrap_or(&[]).iter().sum::<u64>());
        let of_units: Vec<u64> = of_units.collect();
        let longest = of_units.iter().max().unwrap_or(&0);
        let what = match units[number] {
            1 => "the example has",
            _ if is_pair => "the texts of its row have",
            _ => "it and the rejected reply have",
        };
        let message =
            format!("`{id}`: {what} {} tokens, and a window {context}; examples are not cut", of_units[number]);
        Error::user(Place::key("context"), message).hint(format!(
            "write `context = {longest}`, or pack again with `longest` and `longer = \"drop\"` or `\"cut\"`"
        ))
    })
}

/// Whether a document is the first of its row of examples; of others of its row, it is said what they are beside it.
pub(crate) fn begins_row(document: &DocumentEntry) -> bool {
    !document.verdict.is_some_and(Verdict::follows)
}
