//! Examples to shards: conversations, prompts with replies, replies that were judged, and pairs of texts.

use super::dialogue::{Dialogue, Written};
use super::entry::{ExampleSummary, PackSummary};
use super::rows::{self, Lesson, Row, SHOWN, Said, Verdict};
use super::write::{Lessons, Writer};
use super::{Longer, PackSettings};
use metier_core::data::{Document, Metadata, Pieces};
use metier_core::seam::Encoded;
use metier_core::{Blame, Error, Fault, Place, Result, stop};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::Path;

/// Rows that are encoded at once.
const BATCH: usize = 256;

/// Where examples come from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// A file of JSON lines, or a folder of files whose names end in `.jsonl`.
    pub path: &'a Path,
    /// Their license, as an SPDX expression or a short note.
    pub license: &'a str,
}

/// Writes examples as shards into `folder`, which is created; shards that lie there are replaced. A row of preferences becomes
/// two documents, the chosen one first; a pair of texts two or more, the anchor first. `progress` is told of each row.
///
/// A row is a JSON object with the keys `messages`; `prompt` and `completion`; `prompt`, `chosen` and `rejected`; or `prompt`,
/// `completion` and `label`, whose values are texts or, but for the label, lists of messages; or `anchor` and `positive`, perhaps with `negative`
/// ([`TextPair`](metier_core::data::TextPair)). All rows are of one kind. What is
/// learned of turns is as [`Dialogue`] says; of a text the whole reply, with the end-of-text token if there is one. All tokens of a pair's texts
/// count; they are those that [`Embed`](metier_core::seam::Embed) reads, with the tokens that the tokenizer puts around texts that stand alone.
///
/// # Errors
/// All faults of all rows together, each with file and line: a row of another kind, a template that breaks the dialogue's contract, an
/// example that is too long. Also when there is nothing to learn in any row.
pub fn pack_examples(
    origin: Origin<'_>,
    dialogue: &Dialogue<'_>,
    settings: &PackSettings,
    folder: &Path,
    progress: &dyn Fn(),
) -> Result<(PackSummary, ExampleSummary)> {
    settings.check(true)?;
    let mut packer = Packer::new(dialogue, settings, folder)?;
    for file in rows::files(origin.path)? {
        let name = match file.strip_prefix(origin.path) {
            Ok(name) if !name.as_os_str().is_empty() => name.to_string_lossy().into_owned(),
            _ => file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        };
        let sha256 = sha256(&file)?;
        let document = |place: &Place| Document {
            id: format!("{name}:{}", place.line.unwrap_or(0)),
            text: String::new(),
            source: name.clone(),
            source_sha256: sha256.clone(),
            license: origin.license.to_owned(),
            pieces: Pieces::default(),
            partial: Vec::new(),
            metadata: Metadata::new(),
        };
        let rows = rows::read(&file, &settings.ignore)?;
        packer.rows(rows.map(|row| row.map(|row| (document(&row.place), row))), progress)?;
    }
    packer.finish(origin.path)
}

/// Writes documents as shards as [`pack_examples`] does, of which only what follows their openings is learned. Of each document the bytes of its
/// opening are given; `path` is where they come from.
///
/// # Errors
/// As there; an opening that does not end at a character of its document is the program's fault.
pub fn pack_endings(
    documents: impl Iterator<Item = Result<(Document, usize)>>,
    path: &Path,
    dialogue: &Dialogue<'_>,
    settings: &PackSettings,
    folder: &Path,
    progress: &dyn Fn(),
) -> Result<(PackSummary, ExampleSummary)> {
    settings.check(false)?;
    let mut packer = Packer::new(dialogue, settings, folder)?;
    let row = |(document, opening): (Document, usize)| {
        let Some((opening, rest)) = document.text.split_at_checked(opening) else {
            return Err(Error::program(format!("the opening of {} ends in no character", document.id)));
        };
        let row = Row {
            place: Place::file(path).with_key(&document.id),
            prompt: Said::Text(opening.to_owned()),
            replies: vec![(Said::Text(rest.to_owned()), None)],
            tools: Vec::new(),
            lesson: Lesson::Replies,
        };
        Ok((document, row))
    };
    packer.rows(documents.map(|document| document.and_then(row)), progress)?;
    packer.finish(path)
}

#[derive(Default)]
struct Counts {
    rows: u64,
    tokens: u64,
    learned: u64,
    cut: u64,
    dropped: BTreeMap<String, u64>,
}

/// Faults of rows, the first ones in full.
#[derive(Default)]
struct Faults {
    shown: Vec<Fault>,
    more: usize,
}

impl Faults {
    fn push(&mut self, fault: Fault) {
        if self.shown.len() < SHOWN { self.shown.push(fault) } else { self.more += 1 }
    }

    /// The value, or `None` with the faults kept. A fault that is not the user's is passed on.
    fn take<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.blame == Blame::User => {
                for fault in error.faults {
                    self.push(fault);
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

struct Packer<'a> {
    dialogue: &'a Dialogue<'a>,
    settings: &'a PackSettings,
    writer: Writer<'a>,
    faults: Faults,
    /// Which kind the first row was of, and where it stands.
    first: Option<(Lesson, Place)>,
    counts: Counts,
}

/// A text with its tokens.
struct Text {
    written: Written,
    encoded: Encoded,
    learned: Vec<Range<u64>>,
}

/// A row as a document without its text, and the texts it is written as.
type Prepared = (Document, Row, Vec<Written>);

impl<'a> Packer<'a> {
    fn new(dialogue: &'a Dialogue<'a>, settings: &'a PackSettings, folder: &'a Path) -> Result<Self> {
        let writer = Writer::new(folder, dialogue.tokenizer, settings)?;
        Ok(Self { dialogue, settings, writer, faults: Faults::default(), first: None, counts: Counts::default() })
    }

    /// Writes rows, each with the document it becomes, which is given its text here.
    fn rows(&mut self, rows: impl Iterator<Item = Result<(Document, Row)>>, progress: &dyn Fn()) -> Result<()> {
        let mut batch = Vec::new();
        for row in rows {
            stop::check()?;
            progress();
            self.counts.rows += 1;
            batch.extend(self.prepared(row)?);
            if batch.len() >= BATCH {
                self.batch(std::mem::take(&mut batch))?;
            }
        }
        self.batch(batch)
    }

    /// The row's texts, or none where it has faults.
    fn prepared(&mut self, row: Result<(Document, Row)>) -> Result<Option<Prepared>> {
        let Some((document, row)) = self.faults.take(row)? else { return Ok(None) };
        let (lesson, place) = self.first.get_or_insert_with(|| (row.lesson, row.place.clone()));
        if *lesson != row.lesson {
            let message = format!("this is a row of {}, and {place} is one of {}", word(row.lesson), word(*lesson));
            self.faults.push(Fault::new(row.place, message).hint("pack rows of each kind by themselves"));
            return Ok(None);
        }
        let written = self.faults.take(self.dialogue.write(&row))?;
        Ok(written.map(|written| (document, row, written)))
    }

    fn batch(&mut self, rows: Vec<Prepared>) -> Result<()> {
        let texts: Vec<(&str, bool)> =
            rows.iter().flat_map(|(_, _, texts)| texts).map(|text| (text.text.as_str(), text.special)).collect();
        let mut encoded = self.encode(&texts)?.into_iter();
        for (document, row, written) in rows {
            let encoded: Vec<Encoded> = encoded.by_ref().take(written.len()).collect();
            self.row(&document, &row, written, encoded)?;
        }
        Ok(())
    }

    /// The tokens of texts, which are read with special tokens or without.
    fn encode(&self, texts: &[(&str, bool)]) -> Result<Vec<Encoded>> {
        let mut out: Vec<Option<Encoded>> = vec![None; texts.len()];
        for special in [false, true] {
            let of: Vec<usize> = (0..texts.len()).filter(|&number| texts[number].1 == special).collect();
            let these: Vec<&str> = of.iter().map(|&number| texts[number].0).collect();
            for (number, encoded) in of.into_iter().zip(self.dialogue.tokenizer.encode(&these, special)?) {
                out[number] = Some(encoded);
            }
        }
        out.into_iter()
            .map(|encoded| encoded.ok_or_else(|| Error::program("the tokenizer did not answer for every text")))
            .collect()
    }

    fn row(&mut self, document: &Document, row: &Row, written: Vec<Written>, encoded: Vec<Encoded>) -> Result<()> {
        let mut texts = Vec::new();
        let is_pair = row.lesson == Lesson::Pairs;
        for (written, mut encoded) in written.into_iter().zip(encoded) {
            if is_pair {
                self.writer.surround(&mut encoded, written.text.len());
            } else if !written.special {
                self.writer.frame(&mut encoded, written.text.len());
            }
            let learned = match encoded.ids.len() as u64 {
                _ if !is_pair => self.dialogue.learned(&written, &encoded, &row.place),
                0 => Err(Error::user(row.place.clone(), "a text of the row has no tokens")),
                count => Ok(std::iter::once(0..count).collect()),
            };
            let Some(learned) = self.faults.take(learned)? else { return Ok(()) };
            texts.push(Text { written, encoded, learned });
        }
        if let Some(longest) = self.settings.longest
            && !self.shorten(&mut texts, longest, &row.place)
        {
            return Ok(());
        }
        if !is_pair && texts.iter().any(|text| targets(&text.learned) == 0) {
            *self.counts.dropped.entry("nothing to learn".to_owned()).or_default() += 1;
            return Ok(());
        }
        let mut negatives = 0;
        for Text { written, encoded, learned } in texts {
            self.counts.tokens += encoded.ids.len() as u64;
            self.counts.learned += if is_pair { encoded.ids.len() as u64 } else { targets(&learned) };
            let id = match written.verdict {
                Some(Verdict::Chosen) => format!("{} chosen", document.id),
                Some(Verdict::Rejected) => format!("{} rejected", document.id),
                Some(Verdict::Anchor) => format!("{} anchor", document.id),
                Some(Verdict::Positive) => format!("{} positive", document.id),
                Some(Verdict::Negative) => {
                    negatives += 1;
                    format!("{} negative {negatives}", document.id)
                }
                Some(Verdict::Good | Verdict::Bad) | None => document.id.clone(),
            };
            let document = Document { id, text: written.text, ..document.clone() };
            let lessons = Lessons { learned: Some(learned), verdict: written.verdict };
            self.writer.document(&document, &encoded, lessons)?;
        }
        Ok(())
    }

    /// Does with texts of more than `longest` tokens what the settings say; whether the row stays.
    fn shorten(&mut self, texts: &mut [Text], longest: u64, place: &Place) -> bool {
        let most = texts.iter().map(|text| text.encoded.ids.len() as u64).max().unwrap_or(0);
        if most <= longest {
            return true;
        }
        match self.settings.longer {
            Longer::Refuse => {
                let message = format!("the example has {most} tokens, and `longest` is {longest}");
                self.faults.push(Fault::new(place.clone(), message).hint(
                    "raise `longest` and the `context` of training, or write `longer = \"drop\"` or `longer = \"cut\"`",
                ));
                false
            }
            Longer::Drop => {
                *self.counts.dropped.entry(format!("more than {longest} tokens")).or_default() += 1;
                false
            }
            Longer::Cut => {
                for text in texts {
                    self.counts.cut += u64::from(text.encoded.ids.len() as u64 > longest);
                    text.encoded.ids.truncate(longest as usize);
                    text.encoded.ends.truncate(longest as usize);
                    text.learned.retain(|range| range.start < longest);
                    if let Some(last) = text.learned.last_mut() {
                        last.end = last.end.min(longest);
                    }
                }
                true
            }
        }
    }

    fn finish(self, path: &Path) -> Result<(PackSummary, ExampleSummary)> {
        let Faults { mut shown, more } = self.faults;
        if more > 0 {
            shown.push(Fault::new(Place::file(path), format!("and {more} more")));
        }
        Error::collect((), shown)?;
        let Counts { rows, learned, cut, dropped, .. } = self.counts;
        let Some((lesson, _)) = self.first else {
            return Err(Error::file(path, "there is nothing to pack: no file has a row"));
        };
        if learned == 0 {
            let mut message = format!("none of {rows} rows has a token to learn");
            for (reason, count) in &dropped {
                let _ = write!(message, "; {count} had {reason}");
            }
            return Err(Error::file(path, message).hint("a row has a reply of the model, and fits `longest`"));
        }
        let summary = ExampleSummary { lesson, dialogue: self.dialogue.fingerprint(), rows, learned, cut, dropped };
        Ok((self.writer.finish(Some(summary.clone()))?, summary))
    }
}

/// Tokens to be learned that follow one.
fn targets(learned: &[Range<u64>]) -> u64 {
    learned.iter().map(|range| range.end.saturating_sub(range.start.max(1))).sum()
}

fn word(lesson: Lesson) -> &'static str {
    match lesson {
        Lesson::Replies => "replies",
        Lesson::Preferences => "preferences",
        Lesson::Judgments => "judgments",
        Lesson::Pairs => "pairs of texts",
    }
}

fn sha256(path: &Path) -> Result<String> {
    let failed = |error: std::io::Error| Error::io(path, "read the examples", &error);
    let mut file = BufReader::with_capacity(1 << 16, File::open(path).map_err(failed)?);
    let mut hasher = Sha256::new();
    loop {
        let bytes = file.fill_buf().map_err(failed)?;
        if bytes.is_empty() {
            break;
        }
        hasher.update(bytes);
        let count = bytes.len();
        file.consume(count);
    }
    Ok(hasher.finalize().iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    }))
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::{DocumentEntry, Shards};
    use metier_core::data::{Conversation, Role, TokenId};
    use metier_testkit::bytes::{Bytes, END};

    const BYTES: Bytes = Bytes { begin: false };

    /// `<user>` and `<assistant>` turns, each with `<end>` and a line break; the last of a model's turns ends without one.
    #[expect(clippy::unnecessary_wraps, reason = "a template may refuse")]
    fn render(conversation: &Conversation, prompt: bool) -> Result<String> {
        let mut text = String::new();
        for message in &conversation.messages {
            let who = if message.role == Role::Assistant { "model" } else { "person" };
            let _ = writeln!(text, "[{who}]{}<end>", message.content);
        }
        if prompt {
            text += "[model]";
        }
        Ok(text)
    }

    /// Packs lines; gives the shards, or every fault.
    fn packed_with(
        render: &super::super::Render<'_>,
        settings: &PackSettings,
        lines: &[&str],
    ) -> Result<(Shards, ExampleSummary)> {
        let folder = metier_testkit::scratch("examples");
        folder.file("rows.jsonl", lines.join("\n"));
        let dialogue = Dialogue { tokenizer: &BYTES, template: Some(("a template", render)), ends: &[END] };
        let origin = Origin { path: &folder.path().join("rows.jsonl"), license: "CC0-1.0" };
        let (_, summary) = pack_examples(origin, &dialogue, settings, &folder.path().join("pack"), &|| ())?;
        let shards = Shards::open(folder.path().join("pack"))?;
        shards.verify()?;
        assert_eq!(shards.examples(), Some(&summary));
        Ok((shards, summary))
    }

    fn packed(settings: &PackSettings, lines: &[&str]) -> Result<(Shards, ExampleSummary)> {
        packed_with(&render, settings, lines)
    }

    fn refused(settings: &PackSettings, lines: &[&str]) -> Error {
        packed(settings, lines).err().unwrap()
    }

    /// What a model learns to write of a document, with each range in brackets.
    fn learned(shards: &Shards, document: usize) -> Vec<String> {
        let entry: &DocumentEntry = &shards.documents()[document];
        let text = |range: &Range<u64>| -> String {
            let ids = shards.read(document, range.clone()).unwrap();
            ids.iter()
                .map(|id: &TokenId| u8::try_from(*id).map_or("<end>".to_owned(), |byte| char::from(byte).to_string()))
                .collect()
        };
        entry.learned.as_ref().unwrap().iter().map(text).collect()
    }

    const TWO: &str = r#"{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "so"}, {"role": "assistant", "content": "bc"}]}"#;

    #[test]
    fn every_reply_of_a_conversation_is_learned_with_its_end_and_without_headers() {
        let (shards, summary) = packed(&PackSettings::default(), &[TWO]).unwrap();
        assert_eq!(learned(&shards, 0), ["a<end>", "bc<end>"]);
        assert_eq!((summary.rows, summary.learned, summary.lesson), (1, 5, Lesson::Replies));
        let entry = &shards.documents()[0];
        assert_eq!(
            (entry.id.as_str(), entry.source.as_str(), entry.license.as_str()),
            ("rows.jsonl:1", "rows.jsonl", "CC0-1.0")
        );
        assert_eq!(entry.targets(0..entry.tokens()), 5);
        assert_eq!(entry.targets(0..entry.tokens() - 4), 2);
        // No token is put around a conversation that its template did not write.
        assert_eq!(shards.read(0, entry.tokens() - 1..entry.tokens()).unwrap(), [TokenId::from(b'\n')]);
    }

    #[test]
    fn turns_of_a_prompt_are_not_learned() {
        let row = r#"{"prompt": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "so"}], "completion": [{"role": "assistant", "content": "bc"}]}"#;
        let (shards, _) = packed(&PackSettings::default(), &[row]).unwrap();
        assert_eq!(learned(&shards, 0), ["bc<end>"]);
    }

    #[test]
    fn texts_pairs_and_judgments() {
        let (shards, _) = packed(&PackSettings::default(), &[r#"{"prompt": "2+2=", "completion": "4"}"#]).unwrap();
        assert_eq!(learned(&shards, 0), ["4<end>"]);
        let none = PackSettings { end_of_document: false, ..PackSettings::default() };
        let (shards, _) = packed(&none, &[r#"{"prompt": "", "completion": "45<end>"}"#]).unwrap();
        assert_eq!(learned(&shards, 0), ["45<end>"]);
        assert_eq!(shards.documents()[0].tokens(), 7, "special tokens in a text are not read");
        let (shards, summary) =
            packed(&PackSettings::default(), &[r#"{"prompt": "2+2=", "chosen": "4", "rejected": "22"}"#]).unwrap();
        assert_eq!(summary.lesson, Lesson::Preferences);
        let said: Vec<_> = shards.documents().iter().map(|entry| (entry.id.as_str(), entry.verdict)).collect();
        assert_eq!(
            said,
            [("rows.jsonl:1 chosen", Some(Verdict::Chosen)), ("rows.jsonl:1 rejected", Some(Verdict::Rejected))]
        );
        assert_eq!((learned(&shards, 0), learned(&shards, 1)), (vec!["4<end>".to_owned()], vec!["22<end>".to_owned()]));
        let (shards, _) = packed(&none, &[r#"{"prompt": "2+2=", "completion": "4", "label": true}"#]).unwrap();
        assert_eq!(shards.documents()[0].verdict, Some(Verdict::Good));
    }

    #[test]
    fn texts_of_a_pair_are_documents_of_which_all_counts_and_nothing_ends() {
        let rows =
            [r#"{"anchor": "a", "positive": "bc", "negative": ["d<end>", "e"]}"#, r#"{"query": "f", "positive": "g"}"#];
        let (shards, summary) = packed(&PackSettings::default(), &rows).unwrap();
        assert_eq!((summary.lesson, summary.rows, summary.learned), (Lesson::Pairs, 2, 12));
        let of: Vec<_> = shards.documents().iter().map(|entry| (entry.id.as_str(), entry.verdict.unwrap())).collect();
        let expected = [
            ("rows.jsonl:1 anchor", Verdict::Anchor),
            ("rows.jsonl:1 positive", Verdict::Positive),
            ("rows.jsonl:1 negative 1", Verdict::Negative),
            ("rows.jsonl:1 negative 2", Verdict::Negative),
            ("rows.jsonl:2 anchor", Verdict::Anchor),
            ("rows.jsonl:2 positive", Verdict::Positive),
        ];
        assert_eq!(of, expected);
        assert_eq!(["a", "bc", "d<end>"].map(str::to_owned), [0, 1, 2].map(|number| learned(&shards, number).concat()));
        let folder = metier_testkit::scratch("examples");
        folder.file("rows.jsonl", rows[1]);
        let tokenizer = Bytes { begin: true };
        let dialogue = Dialogue { tokenizer: &tokenizer, template: None, ends: &[END] };
        let origin = Origin { path: &folder.path().join("rows.jsonl"), license: "CC0-1.0" };
        pack_examples(origin, &dialogue, &PackSettings::default(), &folder.path().join("pack"), &|| ()).unwrap();
        let shards = Shards::open(folder.path().join("pack")).unwrap();
        let begin = metier_core::seam::Tokenize::begin_of_text(&tokenizer).unwrap();
        assert_eq!(shards.read(0, 0..2).unwrap(), [begin, TokenId::from(b'f')]);
        let long = PackSettings { longest: Some(2), longer: Longer::Drop, ..PackSettings::default() };
        let (shards, summary) = packed(&long, &rows).unwrap();
        assert_eq!((shards.documents().len(), summary.dropped["more than 2 tokens"]), (2, 1));
        let error = refused(&PackSettings::default(), &[rows[0], r#"{"prompt": "a", "completion": "b"}"#]).to_string();
        assert!(
            error.contains("rows.jsonl:2: this is a row of replies, and") && error.contains("pairs of texts"),
            "{error}"
        );
    }

    #[test]
    fn long_examples_are_refused_dropped_or_cut_and_counted() {
        let lines = [
            r#"{"prompt": "ab", "completion": "cdef"}"#,
            r#"{"prompt": "abcdefg", "completion": "h"}"#,
            r#"{"prompt": "a", "completion": "b"}"#,
        ];
        let at = |longer| PackSettings { longest: Some(5), longer, ..PackSettings::default() };
        let error = refused(&at(Longer::Refuse), &lines).to_string();
        assert!(
            error.contains("rows.jsonl:1: the example has 7 tokens") && error.contains("rows.jsonl:2: "),
            "{error}"
        );
        let (shards, summary) = packed(&at(Longer::Drop), &lines).unwrap();
        assert_eq!((shards.documents().len(), summary.dropped["more than 5 tokens"]), (1, 2));
        let (shards, summary) = packed(&at(Longer::Cut), &lines).unwrap();
        assert_eq!(
            (learned(&shards, 0), summary.cut, summary.dropped["nothing to learn"]),
            (vec!["cde".to_owned()], 2, 1)
        );
        assert_eq!(shards.documents()[0].tokens(), 5);
        let error = refused(&PackSettings { longer: Longer::Cut, longest: Some(1), ..PackSettings::default() }, &lines);
        assert!(error.to_string().contains("longest: an example has two tokens at least"), "{error}");
    }

    #[test]
    fn faults_of_all_rows_come_together() {
        let marked = r#"{"messages": [{"role": "user", "content": "x<end>y"}, {"role": "assistant", "content": "a"}]}"#;
        let error = refused(
            &PackSettings::default(),
            &[TWO, "{", r#"{"text": "a"}"#, marked, "", r#"{"prompt": "a", "completion": "b", "label": true}"#],
        );
        let text = error.to_string();
        assert_eq!(error.faults.len(), 4, "{text}");
        for words in [
            "rows.jsonl:2:",
            "rows.jsonl:3: a row of `text`",
            "rows.jsonl:4: turn 1 has the special token `<end>` in its text",
            "rows.jsonl:6: this is a row of judgments",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let many: Vec<String> = (0..60).map(|_| "{}".to_owned()).collect();
        let error = refused(&PackSettings::default(), &many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(error.faults.len(), SHOWN + 1);
        assert!(error.to_string().ends_with("and 10 more"), "{error}");
    }

    #[test]
    fn rows_without_anything_to_learn_are_refused() {
        let asked = r#"{"prompt": "", "completion": "b"}"#;
        let none = PackSettings { end_of_document: false, ..PackSettings::default() };
        let error = refused(&none, &[asked, asked]).to_string();
        assert!(error.contains("none of 2 rows has a token to learn"), "{error}");
        assert!(refused(&none, &[]).to_string().contains("nothing to pack"));
    }

    #[test]
    fn templates_that_break_the_contract_are_refused_by_name() {
        // What was said before is written in capitals once something follows.
        let capitals = |conversation: &Conversation, prompt: bool| {
            let mut conversation = conversation.clone();
            if let Some((_, before)) = conversation.messages.split_last_mut().filter(|_| !prompt) {
                for message in before {
                    message.content.make_ascii_uppercase();
                }
            }
            render(&conversation, prompt)
        };
        let error = packed_with(&capitals, &PackSettings::default(), &[TWO]).err().unwrap().to_string();
        assert!(error.contains("rows.jsonl:1: chat template: ") && error.contains("no prefix"), "{error}");
        let endless =
            |conversation: &Conversation, prompt: bool| Ok(render(conversation, prompt)?.replace("<end>", ""));
        let error = packed_with(&endless, &PackSettings::default(), &[TWO]).err().unwrap().to_string();
        assert!(error.contains("does not end reply 1"), "{error}");
    }

    #[test]
    fn the_contract_has_a_fingerprint_of_all_its_parts() {
        let of = |template: Option<(&'static str, &'static super::super::Render<'static>)>,
                  ends: &'static [TokenId]| {
            Dialogue { tokenizer: &BYTES, template, ends }.fingerprint()
        };
        let all = [of(None, &[END]), of(None, &[]), of(Some(("a", &render)), &[END]), of(Some(("b", &render)), &[END])];
        let mut once = all.to_vec();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), all.len());
    }
}
