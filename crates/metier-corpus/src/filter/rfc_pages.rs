use super::{Filter, Verdict, keep_ranges};
use metier_core::data::Document;
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::Range;

/// # What it does
/// Takes page breaks out of paginated plain text such as RFCs: form feeds, running headers, page footers and
/// the blank lines around them. A paragraph that a page break cut in two is whole again.
///
/// # How
/// The text is cut into pages at form feeds. Of each page the first and last `lines` lines that are not blank
/// are looked at. One is taken away when it ends in a page number in brackets, when it begins with `RFC`, a
/// number and white space and stands at the top of a page, or when the same line, digits and spacing aside,
/// stands there on at least `share` of all pages and on at least two; such a line has three letters or is a
/// single number, so that a brace or the bit numbers over a packet diagram stay. Blank lines at both ends of a page go
/// too, but for one where a paragraph ends: the last line ends a sentence, or the next line is indented
/// otherwise. Text without form feeds is left as it is. Text is only taken away, so every byte kept still has
/// its place in the source.
///
/// # When to use
/// For RFCs and other documents that were laid out for a line printer.
///
/// # Differs from the paper in
/// Nothing: no paper stands behind it.
///
/// # Source
/// metier; the page layout is that of RFC 2223, section 3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RfcPages {
    /// Lines at the top and at the bottom of a page that may be headers and footers.
    #[schemars(range(min = 1, max = 10))]
    pub lines: usize,
    /// Share of pages on which a line must stand to be a running header or footer.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub share: f64,
}

impl Default for RfcPages {
    fn default() -> Self {
        Self { lines: 3, share: 0.25 }
    }
}

/// A page as ranges of its lines, line feeds included.
struct Page {
    lines: Vec<Range<usize>>,
}

impl RfcPages {
    /// The byte ranges that are kept; `None` when there is no page break.
    fn kept(&self, text: &str) -> Option<Vec<Range<usize>>> {
        let pages = pages(text);
        if pages.len() < 2 {
            return None;
        }
        let (tops, bottoms) = self.running(text, &pages);
        let needed = ((self.share * pages.len() as f64).ceil() as usize).max(2);
        let mut kept: Vec<Range<usize>> = Vec::new();
        for (number, page) in pages.iter().enumerate() {
            let mut lines = page.lines.as_slice();
            let blank = |range: &Range<usize>| text[range.clone()].trim().is_empty();
            if number > 0 {
                let mut looked_at = 0;
                let mut gone = 0;
                for (index, line) in lines.iter().enumerate() {
                    if blank(line) {
                        continue;
                    }
                    let written = &text[line.clone()];
                    let running = may_run(written) && tops.get(&shape(written)).is_some_and(|count| *count >= needed);
                    if looked_at == self.lines || !(is_header(written) || running) {
                        break;
                    }
                    looked_at += 1;
                    gone = index + 1;
                }
                lines = &lines[gone..];
            }
            let mut end = lines.len();
            let mut looked_at = 0;
            for (index, line) in lines.iter().enumerate().rev() {
                if blank(line) {
                    continue;
                }
                let written = &text[line.clone()];
                let running = number + 1 < pages.len()
                    && may_run(written)
                    && bottoms.get(&shape(written)).is_some_and(|count| *count >= needed);
                if looked_at == self.lines || !(is_footer(written) || running) {
                    break;
                }
                looked_at += 1;
                end = index;
            }
            lines = &lines[..end];
            while number > 0 && lines.first().is_some_and(blank) {
                lines = &lines[1..];
            }
            let mut trailing = None;
            while number + 1 < pages.len() && lines.last().is_some_and(blank) {
                trailing = lines.last().cloned();
                lines = &lines[..lines.len() - 1];
            }
            let Some(first) = lines.first() else { continue };
            if let Some(last) = kept.last().cloned()
                && (ends_paragraph(text, &last, first) || !text[last.clone()].ends_with('\n'))
            {
                kept.extend(blank_between(text, last.end, first.start));
            }
            kept.extend(lines.iter().cloned());
            if number + 1 == pages.len() {
                kept.extend(trailing);
            }
        }
        Some(kept)
    }

    /// How often each line stands at the top and at the bottom of a page.
    fn running(&self, text: &str, pages: &[Page]) -> (HashMap<String, usize>, HashMap<String, usize>) {
        let (mut tops, mut bottoms) = (HashMap::new(), HashMap::new());
        for (number, page) in pages.iter().enumerate() {
            let written: Vec<&str> =
                page.lines.iter().map(|line| &text[line.clone()]).filter(|line| !line.trim().is_empty()).collect();
            if number > 0 {
                for line in written.iter().take(self.lines) {
                    *tops.entry(shape(line)).or_default() += 1;
                }
            }
            if number + 1 < pages.len() {
                for line in written.iter().rev().take(self.lines) {
                    *bottoms.entry(shape(line)).or_default() += 1;
                }
            }
        }
        (tops, bottoms)
    }
}

/// The text cut at form feeds.
fn pages(text: &str) -> Vec<Page> {
    let mut pages = vec![Page { lines: Vec::new() }];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let range = at..at + line.len();
        at += line.len();
        match line.find('\u{c}') {
            None => {
                if let Some(page) = pages.last_mut() {
                    page.lines.push(range);
                }
            }
            Some(feed) => {
                if let Some(page) = pages.last_mut()
                    && !line[..feed].trim().is_empty()
                {
                    page.lines.push(range.start..range.start + feed);
                }
                // Form feeds in a row are one page break; text between two of them is a page of its own.
                let mut from = range.start + feed + 1;
                for piece in line[feed + 1..].split('\u{c}') {
                    let to = from + piece.len();
                    let written = !piece.trim().is_empty();
                    if written || to == range.end {
                        pages.push(Page { lines: written.then_some(from..to).into_iter().collect() });
                    }
                    from = to + 1;
                }
            }
        }
    }
    pages
}

/// A line with digits and spacing made equal.
fn shape(line: &str) -> String {
    let mut out = String::new();
    for word in line.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.extend(word.chars().map(|letter| if letter.is_ascii_digit() { '#' } else { letter }));
    }
    out
}

/// Has words, or is a page number: braces and the bit numbers over a diagram may repeat by chance.
fn may_run(line: &str) -> bool {
    let line = line.trim();
    line.chars().filter(|letter| letter.is_alphabetic()).count() >= 3
        || line.chars().all(|letter| letter.is_ascii_digit() || letter == '-')
}

/// Ends in `[Page 12]`, `[page iv]`, `[ Page 3 ]`.
fn is_footer(line: &str) -> bool {
    let line = line.trim_end();
    let Some((_, inside)) = line.strip_suffix(']').and_then(|line| line.rsplit_once('[')) else { return false };
    let mut words = inside.split_whitespace();
    let page = words.next().is_some_and(|word| word.eq_ignore_ascii_case("page"));
    let number = words.next().is_some_and(|word| {
        word.chars().all(|letter| letter.is_ascii_digit() || "-.".contains(letter))
            || word.chars().all(|letter| "ivxlcIVXLC".contains(letter))
            || word.split_once('-').is_some_and(|(_, number)| number.chars().all(|digit| digit.is_ascii_digit()))
    });
    page && number && words.next().is_none()
}

/// Begins with `RFC 793` or ends in it, with a gap of white space.
fn is_header(line: &str) -> bool {
    let line = line.trim();
    let numbered = |line: &str, rest_follows: bool| {
        line.strip_prefix("RFC").map(str::trim_start).is_some_and(|rest| {
            let digits = rest.chars().take_while(char::is_ascii_digit).count();
            digits > 0 && (!rest_follows || rest[digits..].is_empty() || rest[digits..].starts_with("  "))
        })
    };
    let last = line.rfind("  ").map_or("", |gap| line[gap..].trim());
    numbered(line, true) || (numbered(last, true) && last.len() < 10)
}

/// Whether a paragraph ends at `last` rather than going on in `next`.
fn ends_paragraph(text: &str, last: &Range<usize>, next: &Range<usize>) -> bool {
    let (last, next) = (&text[last.clone()], &text[next.clone()]);
    let indent = |line: &str| line.chars().take_while(|letter| *letter == ' ').count();
    let ends = last.trim_end().ends_with(['.', ':', '!', '?', ';']);
    let prose = next.trim_start().starts_with(|letter: char| letter.is_alphanumeric() || "(\"'".contains(letter));
    ends || indent(last) != indent(next) || !prose
}

/// A line feed of a blank line between two positions; where there is none any line feed, or else the form feed.
fn blank_between(text: &str, from: usize, to: usize) -> Option<Range<usize>> {
    let between = text.get(from..to)?;
    let mut at = from;
    for line in between.split_inclusive('\n') {
        if line == "\n" {
            return Some(at..at + 1);
        }
        at += line.len();
    }
    between.rfind('\n').or_else(|| between.find('\u{c}')).map(|feed| from + feed..from + feed + 1)
}

impl Filter for RfcPages {
    fn apply(&self, document: Document) -> Verdict {
        match self.kept(&document.text) {
            None => Verdict::Keep(document),
            Some(kept) => Verdict::Keep(keep_ranges(document, &kept)),
        }
    }
}

impl Build<dyn Filter> for RfcPages {
    fn build(self, _: &Place) -> Result<Box<dyn Filter>> {
        Ok(Box::new(self))
    }
}

/// The record of `rfc_pages`.
pub static PART: Part<dyn Filter> = Part::of::<RfcPages>("rfc_pages", 3);

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;
    use proptest::prelude::*;

    fn clean(text: &str) -> Document {
        match RfcPages::default().apply(document(text)) {
            Verdict::Keep(document) => document,
            Verdict::Drop(reason) => panic!("{reason}"),
        }
    }

    #[test]
    fn a_paragraph_cut_by_a_page_is_whole_again() {
        let text = "   The first part of a sentence that goes\n\n\nPostel & Reynolds      [Page 1]\n\u{c}\n\n\
                    RFC 959                October 1985\nFile Transfer Protocol\n\n\n   on to the next page.\n\n\n\
                    Postel & Reynolds      [Page 2]\n\u{c}\n\nRFC 959                October 1985\n\
                    File Transfer Protocol\n\n\n   A new paragraph.\n";
        assert_eq!(
            clean(text).text,
            "   The first part of a sentence that goes\n   on to the next page.\n\n   A new paragraph.\n"
        );
    }

    #[test]
    fn lines_of_a_program_or_a_diagram_are_no_running_headers() {
        let page = " 0 1 2 3 4 5 6 7\n+-------+-------+\nif (a) {\n   stop();\n}\n\nAuthor    [Page 1]\n";
        let text = format!("{page}\u{c}\n{page}\u{c}\n{page}");
        let cleaned = clean(&text).text;
        assert_eq!(cleaned.matches("}\n").count(), 3, "{cleaned}");
        assert_eq!(cleaned.matches(" 0 1 2 3 4 5 6 7\n").count(), 3, "{cleaned}");
    }

    #[test]
    fn words_around_form_feeds_stay_and_stay_apart() {
        assert_eq!(clean("one\u{c}two\u{c}three\n").text, "one\u{c}two\u{c}three\n");
        assert_eq!(clean("last words\u{c}next words.\n").text, "last words\u{c}next words.\n");
        assert_eq!(clean("foo bar\u{c}\nRFC 1   a header\n\nbaz\n").text, "foo bar\nbaz\n");
        assert_eq!(clean("one.\n\u{c}\u{c}\n\ntwo.\n").text, "one.\n\ntwo.\n");
    }

    #[test]
    fn text_without_pages_is_left_alone() {
        let text = "RFC 9110   a line\n\n\n[Page 3]\nwords\n";
        assert_eq!(clean(text).text, text);
    }

    #[test]
    fn no_header_or_footer_stays_in_any_real_document() {
        let folder = metier_testkit::fixture("corpora/rfc");
        let reader = crate::read::Text::default();
        let (mut paginated, mut bytes, mut kept) = (0, 0, 0);
        for original in crate::read::Read::open(&reader, &folder).unwrap() {
            let crate::read::Item::Document(original) = original.unwrap() else { panic!("a fixture was skipped") };
            let cleaned = clean(&original.text);
            assert!(!cleaned.text.contains('\u{c}'), "{}", original.id);
            if original.text.contains('\u{c}') {
                paginated += 1;
                let left: Vec<_> = cleaned.text.lines().filter(|line| is_footer(line)).collect();
                assert!(left.is_empty(), "{}: {left:?}", original.id);
            }
            for piece in &cleaned.pieces.0 {
                assert_eq!(
                    cleaned.text[piece.start..piece.start + piece.length],
                    original.text[piece.source..piece.source + piece.length]
                );
            }
            assert_eq!(cleaned.pieces.0.iter().map(|piece| piece.length).sum::<usize>(), cleaned.text.len());
            bytes += original.text.len();
            kept += cleaned.text.len();
        }
        assert!(paginated > 50, "{paginated}");
        assert!(kept * 100 > bytes * 85 && kept < bytes, "{kept} of {bytes}");
    }

    proptest! {
        #[test]
        fn every_kept_byte_stands_in_the_source(text in "([a-z .:]{0,12}(\n|\u{c}|\\[Page [0-9]\\]|RFC 9  x|é){0,3}){0,30}") {
            let cleaned = clean(&text);
            for piece in &cleaned.pieces.0 {
                prop_assert_eq!(
                    &cleaned.text[piece.start..piece.start + piece.length],
                    &text[piece.source..piece.source + piece.length]
                );
            }
        }
    }
}
