use super::{Span, Tag, Tagger, whole};
use crate::layout::{Layout, Run, is_decimal, is_space};
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Dolma's four taggers, and one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// `pii_regex_v1`: over the whole text; what stands near `isbn`, `doi` or `#` is no phone number or address.
    RegexV1,
    /// `pii_regex_v2`: the same.
    RegexV2,
    /// `pii_regex_with_counts_v2`: the same, with the count.
    RegexWithCountsV2,
    /// `pii_regex_with_counts_fast_v2`: line by line, without looking around.
    RegexWithCountsFastV2,
    /// `pii_regex_v3`: the fast one with a share that does not count itself.
    RegexV3,
}

/// Dolma's own.
pub(super) const METHODS: &[Method] =
    &[Method::RegexV1, Method::RegexV2, Method::RegexWithCountsV2, Method::RegexWithCountsFastV2];

/// # What it does
/// Tags e-mail addresses, American phone numbers and IPv4 addresses.
///
/// # How
/// Scanners find the same spans as Dolma's patterns. An e-mail address is `something@domain` with a dot in the
/// domain, with the marks and spaces before it, and must be followed by white space, which belongs to the span. A
/// phone number is white space and 3, 3 and 4 digits, with brackets, dots, hyphens or spaces between. An IPv4 address
/// is four numbers up to 255 with dots. `doc_count` is the number of spans, `doc_frac` their share of the
/// characters, `doc` (of the slow methods) their number for each word; -1 where there is nothing to divide by.
///
/// # When to use
/// Before filters that mask addresses or drop pages that list them.
///
/// # Differs from the paper in
/// As in Dolma: `doc_frac` of the fast method counts the span `doc_count`, so it is one too large, which `regex_v3`
/// corrects; a text with more than 10,000 question marks is skipped by the fast method; the slow ones split the whole
/// span at the first `@` when they look for the dot. Not as in Dolma: for a text without words `regex_v1` and
/// `regex_with_counts_v2` fail there and give -1 here; Dolma's slow methods drop phone numbers of a text that has a
/// backspace character before an address of a page, which was meant to be a border of a word; here they stay.
///
/// # Source
/// Soldaini et al. 2024, Dolma (arXiv:2402.00159), section 5; Dolma 1.2.1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pii {
    /// Which of the taggers.
    pub tagger: Method,
}

impl Default for Pii {
    fn default() -> Self {
        Self { tagger: Method::RegexWithCountsFastV2 }
    }
}

const EMAIL: u16 = 0;
const PHONE: u16 = 1;
const IP: u16 = 2;
const DOC: u16 = 3;
const COUNT: u16 = 4;
const SHARE: u16 = 5;

impl Tag for Pii {
    fn name(&self) -> String {
        match self.tagger {
            Method::RegexV1 => "pii_regex_v1",
            Method::RegexV2 => "pii_regex_v2",
            Method::RegexWithCountsV2 => "pii_regex_with_counts_v2",
            Method::RegexWithCountsFastV2 => "pii_regex_with_counts_fast_v2",
            Method::RegexV3 => "pii_regex_v3",
        }
        .to_owned()
    }

    fn kinds(&self) -> Vec<String> {
        ["EMAIL_ADDRESS", "PHONE_NUMBER", "IP_ADDRESS", "doc", "doc_count", "doc_frac"].map(str::to_owned).to_vec()
    }

    fn start(&self) -> Box<dyn Tagger> {
        Box::new(Worker { tagger: self.tagger, found: Vec::new() })
    }
}

struct Worker {
    tagger: Method,
    found: Vec<(u16, Range<usize>)>,
}

/// More question marks than this are no text.
const QUESTIONS: usize = 10_000;
/// Characters around a phone number or address that are looked at.
const WINDOW: usize = 100;

impl Tagger for Worker {
    fn tag(&mut self, layout: &Layout, spans: &mut Vec<Span>) {
        let from = spans.len();
        self.found.clear();
        let text = layout.text();
        if matches!(self.tagger, Method::RegexWithCountsFastV2 | Method::RegexV3) {
            self.by_line(layout);
            spans.extend(self.found.iter().map(|(kind, range)| span(layout, *kind, range)));
            let count = self.found.len() as f64;
            let mut covered: usize = spans[from..].iter().map(|span| span.end - span.start).sum();
            spans.push(whole(layout, COUNT, count));
            if self.tagger == Method::RegexWithCountsFastV2 {
                covered += layout.characters();
            }
            let share = if text.is_empty() { -1.0 } else { covered as f64 / layout.characters() as f64 };
            spans.push(whole(layout, SHARE, share));
            return;
        }
        let all = 0..text.len();
        emails(text, &all, &mut self.found);
        phones(text, layout.words(), &all, &mut self.found);
        addresses(text, &all, &mut self.found);
        self.found.retain(
            |(kind, range)| if *kind == EMAIL { is_email(&text[range.clone()]) } else { plain_around(text, range) },
        );
        spans.extend(self.found.iter().map(|(kind, range)| span(layout, *kind, range)));
        let count = self.found.len() as f64;
        let words = layout.words().len();
        spans.push(whole(layout, DOC, if words == 0 { -1.0 } else { count / words as f64 }));
        if self.tagger == Method::RegexWithCountsV2 {
            spans.push(whole(layout, COUNT, count));
        }
    }
}

impl Worker {
    fn by_line(&mut self, layout: &Layout) {
        let text = layout.text();
        let bytes = text.as_bytes();
        if text.matches('?').nth(QUESTIONS).is_some() {
            return;
        }
        let mut words = layout.words();
        for line in layout.paragraphs() {
            let within = words.iter().take_while(|word| word.start < line.end).count();
            let (own, rest) = words.split_at(within);
            words = rest;
            if own.is_empty() {
                continue;
            }
            let range = line.start as usize..line.end as usize;
            let (mut at, mut digit, mut wide) = (false, false, false);
            for byte in &bytes[range.clone()] {
                at |= *byte == b'@';
                digit |= byte.is_ascii_digit();
                wide |= *byte >= 0x80;
            }
            if at {
                let first = self.found.len();
                emails(text, &range, &mut self.found);
                let mut kept = first;
                for index in first..self.found.len() {
                    if is_address(&text[self.found[index].1.clone()]) {
                        self.found.swap(kept, index);
                        kept += 1;
                    }
                }
                self.found.truncate(kept);
            }
            if digit || wide {
                phones(text, own, &range, &mut self.found);
            }
            if digit {
                addresses(text, &range, &mut self.found);
            }
        }
    }
}

fn span(layout: &Layout, kind: u16, range: &Range<usize>) -> Span {
    Span { start: layout.character(range.start), end: layout.character(range.end), kind, score: 1.0 }
}

/// Marks that may stand around an address.
fn is_mark(letter: char) -> bool {
    matches!(letter, '.' | '@' | ',' | '?' | '!' | ';' | ':' | ')' | '(') || is_space(letter)
}

/// Whether a letter may stand in a domain.
fn is_domain(letter: char) -> bool {
    letter == '.' || !is_mark(letter)
}

/// The first letter at a byte.
fn letter_at(text: &str, at: usize) -> Option<char> {
    text.get(at..)?.chars().next()
}

/// Where the run of letters that pass, ending at `at`, begins; not before `from`.
fn run_before(text: &str, from: usize, at: usize, passes: impl Fn(char) -> bool) -> usize {
    text[from..at]
        .char_indices()
        .rev()
        .take_while(|(_, letter)| passes(*letter))
        .last()
        .map_or(at, |(start, _)| from + start)
}

/// Where the run of letters that pass, beginning at `at`, ends; not behind `to`.
fn run_after(text: &str, at: usize, to: usize, passes: impl Fn(char) -> bool) -> usize {
    text[at..to].char_indices().find(|(_, letter)| !passes(*letter)).map_or(to, |(end, _)| at + end)
}

/// The end of the match when the domain begins at `at`: the shortest domain that white space follows, with a mark
/// between or none.
fn domain_end(text: &str, at: usize, to: usize) -> Option<usize> {
    let mut end = at;
    loop {
        let letter = letter_at(&text[..to], end).filter(|letter| is_domain(*letter))?;
        end += letter.len_utf8();
        let next = letter_at(&text[..to], end)?;
        let behind = end + next.len_utf8();
        if let Some(second) = letter_at(&text[..to], behind)
            && is_mark(next)
            && is_space(second)
        {
            return Some(behind + second.len_utf8());
        }
        if is_space(next) {
            return Some(behind);
        }
    }
}

/// Matches of `[.\s@,?!;:)(]*([^\s@]+@[^\s@,?!;:)(]+?)[.\s@,?!;:)(]?\s` in a range of the text.
fn emails(text: &str, range: &Range<usize>, found: &mut Vec<(u16, Range<usize>)>) {
    let mut from = range.start;
    let mut next = range.start;
    while let Some(offset) = text.as_bytes()[next..range.end].iter().position(|byte| *byte == b'@') {
        let at = next + offset;
        next = at + 1;
        let local = run_before(text, from, at, |letter| letter != '@' && !is_space(letter));
        if local == at || domain_end(text, at + 1, range.end).is_none() {
            continue;
        }
        let start = run_before(text, from, local, is_mark);
        // Of the places where the address can begin behind the marks, the last one is tried first.
        let mut place = run_after(text, start, range.end, is_mark);
        let end = loop {
            let sign = run_after(text, place, range.end, |letter| letter != '@' && !is_space(letter));
            if sign > place
                && letter_at(&text[..range.end], sign) == Some('@')
                && let Some(end) = domain_end(text, sign + 1, range.end)
            {
                break Some(end);
            }
            if place <= start {
                break None;
            }
            place -= text[start..place].chars().next_back().map_or(1, char::len_utf8);
        };
        if let Some(end) = end {
            found.push((EMAIL, start..end));
            from = end;
            next = next.max(end);
        }
    }
}

/// The fast method's test of an address: something before its `@`, and a dot behind it.
fn is_address(found: &str) -> bool {
    // What the pattern's group holds begins behind the marks, as far as an address is left.
    let marks = run_after(found, 0, found.len(), is_mark);
    let mut place = marks;
    loop {
        let sign = run_after(found, place, found.len(), |letter| letter != '@' && !is_space(letter));
        if sign > place
            && letter_at(found, sign) == Some('@')
            && domain_end(found, sign + 1, found.len()) == Some(found.len())
        {
            let end = domain_text(found, sign + 1);
            return &found[place..sign] != "(" && found[sign + 1..end].contains('.');
        }
        if place == 0 {
            return false;
        }
        place -= found[..place].chars().next_back().map_or(1, char::len_utf8);
    }
}

/// Where the domain that begins at `at` ends, of a match that goes to the end of `found`.
fn domain_text(found: &str, at: usize) -> usize {
    let without = |end: usize| end - found[..end].chars().next_back().map_or(0, char::len_utf8);
    let space = without(found.len());
    let mark = without(space);
    // A mark before the white space was taken when at least one letter is left for the domain.
    if mark > at && found[mark..space].chars().all(is_mark) { mark } else { space }
}

/// The slow methods' test, on the whole span.
fn is_email(found: &str) -> bool {
    let mut parts = found.split('@');
    let (addressee, domain) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    crate::layout::strip(addressee) != "(" && domain.contains('.')
}

/// Whether nothing around the span says that it is a number of something else.
fn plain_around(text: &str, range: &Range<usize>) -> bool {
    let start = text[..range.start].char_indices().rev().take(WINDOW).last().map_or(range.start, |(start, _)| start);
    let end = text[range.end..].char_indices().nth(WINDOW).map_or(text.len(), |(end, _)| range.end + end);
    let context = &text[start..end];
    !["isbn", "doi", "#"].iter().any(|word| context.contains(word))
}

/// The end of `count` digits that begin at `at`.
fn digits(text: &str, at: usize, count: usize) -> Option<usize> {
    let mut end = at;
    for _ in 0..count {
        end += letter_at(text, end).filter(|letter| is_decimal(*letter))?.len_utf8();
    }
    Some(end)
}

/// Matches of `\s+\(?(\d{3})\)?[-\. ]*(\d{3})[-. ]?(\d{4})` in a range, whose words these are.
fn phones(text: &str, words: &[Run], range: &Range<usize>, found: &mut Vec<(u16, Range<usize>)>) {
    let bytes = text.as_bytes();
    let within = &text[..range.end];
    let mut from = range.start;
    for (number, word) in words.iter().enumerate() {
        let at = word.start as usize;
        let first = bytes[at];
        if !(first == b'(' || first.is_ascii_digit() || first >= 0x80) || at < from {
            continue;
        }
        let before = number.checked_sub(1).map_or(range.start, |before| words[before].end as usize).max(from);
        if before == at {
            continue;
        }
        let is = |at: usize, letters: &[u8]| bytes[..range.end].get(at).is_some_and(|byte| letters.contains(byte));
        let matched = || {
            let mut end = digits(within, at + usize::from(first == b'('), 3)?;
            end += usize::from(is(end, b")"));
            while is(end, b"-. ") {
                end += 1;
            }
            end = digits(within, end, 3)?;
            end += usize::from(is(end, b"-. "));
            digits(within, end, 4)
        };
        if let Some(end) = matched() {
            found.push((PHONE, before..end));
            from = end;
        }
    }
}

/// Matches of four numbers up to 255 with dots between.
fn addresses(text: &str, range: &Range<usize>, found: &mut Vec<(u16, Range<usize>)>) {
    let bytes = &text.as_bytes()[..range.end];
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let fits =
        |at: usize, length: usize| (at..at + length).all(digit) && (length < 3 || bytes[at..at + 3] <= b"255"[..]);
    let mut from = range.start;
    let mut next = range.start;
    while let Some(offset) = bytes[next..].iter().position(|byte| *byte == b'.') {
        let dot = next + offset;
        next = dot + 1;
        if !digit(dot + 1) || dot == from {
            continue;
        }
        let Some(length) = (1..=3).rev().find(|length| dot >= from + length && fits(dot - length, *length)) else {
            continue;
        };
        let mut at = dot + 1;
        let mut whole = true;
        for _ in 0..2 {
            let length =
                (1..=3).find(|length| bytes.get(at + length) == Some(&b'.')).filter(|length| fits(at, *length));
            whole &= length.is_some();
            at += length.map_or(0, |length| length + 1);
        }
        if let Some(last) = (1..=3).rev().find(|length| fits(at, *length)).filter(|_| whole) {
            found.push((IP, dot - length..at + last));
            from = at + last;
            next = from;
        }
    }
}

impl Build<dyn Tag> for Pii {
    fn build(self, _: &Place) -> Result<Box<dyn Tag>> {
        Ok(Box::new(self))
    }
}

/// The record of `pii`.
pub static PART: Part<dyn Tag> = Part::of::<Pii>("pii", 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corrected_share_counts_addresses_only() {
        let mut layout = Layout::default();
        layout.set("write to a@b.example now");
        let share = |method: Method| {
            let mut spans = Vec::new();
            Pii { tagger: method }.start().tag(&layout, &mut spans);
            spans.last().map(|span| span.score)
        };
        assert_eq!(share(Method::RegexV3), Some(13.0 / 24.0));
        assert_eq!(share(Method::RegexWithCountsFastV2), Some(37.0 / 24.0));
    }
}
