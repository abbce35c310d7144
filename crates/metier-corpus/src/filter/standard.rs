use super::{Filter, Verdict, keep_ranges};
use metier_core::data::Document;
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::Range;

/// # What it does
/// Takes out of a standard what says nothing about its subject: cover, table of contents, revision history, references, and the
/// running headers of 3GPP and ETSI.
///
/// # How
/// Read line by line. A heading is a line without indent that begins with a clause number, `Annex` or `Appendix`, or that is one
/// of the usual titles (`Foreword`, `Abstract`, `References` ...). Gone are
/// - what stands before the first heading that a text begins with (`Abstract`, `Foreword`, `Introduction`, `Scope`, the contents, clause 1), if it
///   comes within 200 lines,
/// - the table of contents, up to the first heading that does not come again below,
/// - the sections `Status of This Memo`, `Copyright Notice`, `Change history`, `Revision history` and `Document history`, and those whose title ends in
///   `references` or `bibliography`, each up to the next heading of its level or above,
/// - lines such as `3GPP TS 38.331 V17.0.0 (2022-03)` and `3GPP` alone.
///
/// Clause numbers stay. Text is only taken away, so every byte kept still has its place in the source.
///
/// # When to use
/// On standards as plain text, after `rfc_pages` where they are in pages.
///
/// # Differs from the paper in
/// The paper tells what goes; how it is found is ours.
///
/// # Source
/// Maatouk et al. 2024, *Tele-LLMs* (arXiv:2409.05314), preparation of Tele-Data; layouts of RFC 2223 and of 3GPP TR 21.801.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Standard {}

/// Lines among which a cover must end.
const COVER: usize = 200;
/// Titles without a number that a text begins with.
const FIRST: &[&str] = &["abstract", "foreword", "introduction", "scope", "overview", "summary"];
const CONTENTS: &[&str] = &["contents", "table of contents"];
/// Titles of sections that go.
const GONE: &[&str] = &[
    "status of this memo",
    "status of this document",
    "copyright notice",
    "change history",
    "revision history",
    "document history",
    "version history",
];
/// Other usual titles without a number.
const OTHER: &[&str] = &[
    "acknowledgements",
    "acknowledgments",
    "author's address",
    "authors' addresses",
    "security considerations",
    "iana considerations",
    "conclusion",
    "conclusions",
    "conformance",
    "terminology",
    "intellectual property rights",
    "modal verbs terminology",
];

/// A heading: its level, and its words in lower case.
struct Heading {
    level: usize,
    title: String,
}

/// Whether a title is that of a list of other texts.
fn is_references(title: &str) -> bool {
    (title.ends_with("references") || title.ends_with("bibliography")) && title.split(' ').count() <= 4
}

fn heading(line: &str) -> Option<Heading> {
    let written = line.trim_end();
    if written.len() > 100
        || written.starts_with([' ', '\t'])
        || written.contains("...")
        || written.ends_with([',', ';'])
    {
        return None;
    }
    let mut words = written.split_whitespace();
    let first = words.next()?;
    let rest = words.collect::<Vec<_>>().join(" ").to_lowercase();
    // A page number behind a gap is that of a table of contents.
    let gap = written.rfind("  ").max(written.rfind('\t')).map_or("", |gap| written[gap..].trim());
    if !gap.is_empty() && gap.chars().all(|letter| letter.is_ascii_digit()) {
        return None;
    }
    let number = first.trim_end_matches('.');
    let numbered = number
        .split('.')
        .all(|part| !part.is_empty() && part.len() <= 3 && part.chars().all(|letter| letter.is_ascii_digit()));
    if numbered && rest.starts_with(char::is_alphabetic) && !rest.ends_with('.') {
        return Some(Heading { level: number.split('.').count(), title: rest });
    }
    if matches!(first, "Annex" | "ANNEX" | "Appendix" | "APPENDIX") {
        // Behind the letter and what is said of it: `A (informative):`.
        let (label, title) = rest.split_once([' ', ':']).unwrap_or((&rest, ""));
        let title = title.trim_start_matches(':').trim();
        let title = title.strip_prefix('(').and_then(|title| title.split_once(')')).map_or(title, |(_, title)| title);
        let lettered = label.trim_end_matches(['.', ':']).len() <= 2;
        return lettered
            .then(|| Heading { level: 1, title: title.trim_start_matches([':', '.', ' ', '-']).to_owned() });
    }
    let title = written.trim_end_matches([':', '.']).to_lowercase();
    let usual = [FIRST, CONTENTS, GONE, OTHER].iter().any(|titles| titles.contains(&title.as_str()));
    (usual || is_references(&title)).then_some(Heading { level: 1, title })
}

/// A line that 3GPP and ETSI print on every page.
fn is_running(line: &str) -> bool {
    let line = line.trim();
    let labeled = line.contains("3GPP TS ")
        || line.contains("3GPP TR ")
        || line.starts_with("ETSI TS ")
        || line.starts_with("ETSI TR ");
    let version = line.rfind(" V").is_some_and(|at| line[at + 2..].starts_with(|letter: char| letter.is_ascii_digit()));
    let dated = line.split_once(" (20").is_some_and(|(_, rest)| rest.len() < 40 && rest.contains('-'));
    matches!(line, "3GPP" | "ETSI") || (labeled && version && dated && line.len() < 120)
}

impl Standard {
    fn kept(text: &str) -> Vec<Range<usize>> {
        let mut lines = Vec::new();
        let mut from = 0;
        for line in text.split_inclusive('\n') {
            lines.push((from..from + line.len(), heading(line)));
            from += line.len();
        }
        // How often each heading is still to come.
        let mut to_come: HashMap<&str, usize> = HashMap::new();
        for heading in lines.iter().filter_map(|(_, heading)| heading.as_ref()) {
            *to_come.entry(&heading.title).or_default() += 1;
        }
        let begins = |heading: &Heading| {
            FIRST.contains(&heading.title.as_str()) || CONTENTS.contains(&heading.title.as_str()) || heading.level == 1
        };
        let cover = lines.iter().take(COVER).position(|(_, heading)| {
            heading.as_ref().is_some_and(|heading| begins(heading) && !GONE.contains(&heading.title.as_str()))
        });
        let mut kept: Vec<Range<usize>> = Vec::new();
        let mut contents = false;
        let mut dropped: Option<usize> = None;
        for (number, (range, heading)) in lines.iter().enumerate() {
            if let Some(Heading { level, title }) = heading {
                let left = to_come.get_mut(title.as_str()).map_or(0, |left| {
                    *left -= 1;
                    *left
                });
                contents = CONTENTS.contains(&title.as_str()) || (contents && left > 0);
                if dropped.is_none_or(|of| *level <= of) {
                    dropped = (is_references(title) || GONE.contains(&title.as_str())).then_some(*level);
                }
            }
            let line = &text[range.clone()];
            if contents || dropped.is_some() || cover.is_some_and(|cover| number < cover) || is_running(line) {
                continue;
            }
            match kept.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => kept.push(range.clone()),
            }
        }
        kept
    }
}

impl Filter for Standard {
    fn apply(&self, document: Document) -> Verdict {
        let kept = Self::kept(&document.text);
        Verdict::Keep(keep_ranges(document, &kept))
    }
}

impl Build<dyn Filter> for Standard {
    fn build(self, _: &Place) -> Result<Box<dyn Filter>> {
        Ok(Box::new(self))
    }
}

/// The record of `standard`.
pub static PART: Part<dyn Filter> = Part::of::<Standard>("standard", 1);

#[cfg(test)]
mod tests {
    use super::super::{RfcPages, document};
    use super::*;

    fn clean(document: Document) -> Document {
        match (Standard {}).apply(document) {
            Verdict::Keep(document) => document,
            Verdict::Drop(reason) => panic!("{reason}"),
        }
    }

    #[test]
    fn a_technical_specification_keeps_its_clauses_and_their_numbers() {
        let text = "3GPP TS 38.999 V17.1.0 (2022-03)\nTechnical Specification\nKeywords\nradio\n\nContents\n\
                    Foreword\t4\n1\tScope\t5\n2\tReferences\t5\nForeword\nMade by 3GPP.\n\n1\tScope\nThe present document says.\n\n\
                    2\tReferences\n[1]\t3GPP TR 21.905: \"Vocabulary\".\n2.1\tMore references\n[2] Another.\n3\tTerms\n3.1\tBeam\n\
                    As 3GPP TS 38.300 has it.\n3GPP\nRelease 17\t7\t3GPP TS 38.999 V17.1.0 (2022-03)\nIt goes on.\n\
                    Annex A (normative): Tables\n2 of 3 are used.\nAnnex B (informative): Change history\nDate\tMeeting\n2022-03\tRAN#95\n";
        assert_eq!(
            clean(document(text)).text,
            "Foreword\nMade by 3GPP.\n\n1\tScope\nThe present document says.\n\n3\tTerms\n3.1\tBeam\n\
             As 3GPP TS 38.300 has it.\nIt goes on.\nAnnex A (normative): Tables\n2 of 3 are used.\n"
        );
    }

    #[test]
    fn a_memo_keeps_its_abstract_and_what_follows_its_references() {
        let text = "Network Working Group\nRequest for Comments: 1\n\n   A Title\n\nStatus of This Memo\n\n   Free.\n\nAbstract\n\n   In short.\n\n\
                    Copyright Notice\n\n   Ours.\n\nTable of Contents\n\n   1. Introduction ..... 2\n   2. References ..... 3\n\n1. Introduction\n\n   Text.\n\n\
                    2. References\n\n2.1. Normative References\n\n   [A] B.\n\n3. Security Considerations\n\n   None.\n";
        assert_eq!(
            clean(document(text)).text,
            "Abstract\n\n   In short.\n\n1. Introduction\n\n   Text.\n\n3. Security Considerations\n\n   None.\n"
        );
        let plain = "A letter.\n\nIt has no headings.\n1. But a list\n";
        assert_eq!(clean(document("no heading at all\n")).text, "no heading at all\n");
        assert_eq!(clean(document(plain)).text, "1. But a list\n");
    }

    #[test]
    fn real_memos_lose_their_references_and_keep_their_sections() {
        let reader = crate::read::Text::default();
        let (mut bytes, mut left, mut sections, mut memos) = (0, 0, 0, 0);
        for item in crate::read::Read::open(&reader, &metier_testkit::fixture("corpora/rfc")).unwrap() {
            let crate::read::Item::Document(original) = item.unwrap() else { panic!("a fixture was skipped") };
            let Verdict::Keep(whole) = RfcPages::default().apply(original.clone()) else { panic!("{}", original.id) };
            let cleaned = clean(whole.clone());
            // A source may begin with a byte order mark, which its text has not.
            let mark = original.pieces.0[0].source;
            for piece in &cleaned.pieces.0 {
                let here = &cleaned.text[piece.start..piece.start + piece.length];
                assert_eq!(
                    here,
                    &original.text[piece.source - mark..piece.source - mark + piece.length],
                    "{}",
                    original.id
                );
            }
            let gone = |title: &str| is_references(title) || GONE.contains(&title) || CONTENTS.contains(&title);
            let kept: Vec<String> = cleaned.text.lines().filter_map(heading).map(|heading| heading.title).collect();
            assert!(!kept.iter().any(|title| gone(title)), "{}", original.id);
            bytes += whole.text.len();
            left += cleaned.text.len();
            sections += kept.len();
            memos += 1;
        }
        println!("{memos} memos: {left} of {bytes} bytes, {sections} headings");
        assert!(left * 100 > bytes * 80 && left * 100 < bytes * 97, "{left} of {bytes}");
        assert!(sections > 1500, "{sections}");
    }
}
