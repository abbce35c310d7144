//! Wikitext to text: what a page says, without the marks that say how it looks.
//!
//! What belongs together is found in one pass, and the text is written in another; nothing is recursive, and templates are not expanded.

mod brackets;

use crate::latex::Out;
use brackets::{Kind, Pair, pairs, tag};
use metier_core::data::Pieces;
use quick_xml::escape::resolve_html5_entity;

/// Elements of HTML that wikitext may have; what is none of them stays.
const TAGS: [&str; 66] = [
    "abbr",
    "b",
    "bdi",
    "bdo",
    "big",
    "blockquote",
    "br",
    "caption",
    "center",
    "cite",
    "code",
    "data",
    "dd",
    "del",
    "dfn",
    "div",
    "dl",
    "dt",
    "em",
    "font",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "i",
    "ins",
    "kbd",
    "languages",
    "li",
    "link",
    "mark",
    "meta",
    "noinclude",
    "nowiki",
    "ol",
    "onlyinclude",
    "p",
    "poem",
    "q",
    "rb",
    "ref",
    "rp",
    "rt",
    "rtc",
    "ruby",
    "s",
    "samp",
    "section",
    "small",
    "span",
    "strike",
    "strong",
    "sub",
    "sup",
    "table",
    "td",
    "th",
    "time",
    "tr",
    "tt",
    "u",
    "ul",
    "var",
];
/// Those of them that stand on lines of their own.
const LINES: [&str; 21] = [
    "blockquote",
    "br",
    "caption",
    "center",
    "dd",
    "div",
    "dl",
    "dt",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "li",
    "ol",
    "p",
    "poem",
    "table",
    "tr",
];
/// Beginnings of addresses.
const SCHEMES: [&str; 6] = ["https://", "http://", "//", "ftp://", "mailto:", "irc://"];
/// Levels of lists that indent what is in them.
const DEEPEST: usize = 16;
/// Bytes of the longest name of a namespace.
const LONGEST_SPACE: usize = 100;
/// Bytes of the longest name of a character or magic word.
const LONGEST_NAME: usize = 40;

/// The names of namespaces to which a link shows nothing: files and categories. In English they are known everywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hidden(Vec<String>);

impl Hidden {
    /// Adds a name in the wiki's own language.
    pub fn add(&mut self, name: &str) {
        self.0.push(name.trim().to_lowercase());
    }

    /// Whether a link to this page shows nothing: to a file, a category, or, without a label, the same page in another language.
    fn hides(&self, target: &str, labeled: bool) -> bool {
        let end = target.bytes().take(LONGEST_SPACE).position(|byte| byte == b':');
        let Some(space) = end.map(|end| &target[..end]) else { return false };
        let name = space.trim().replace('_', " ").to_lowercase();
        ["file", "image", "media", "category"].contains(&&*name)
            || self.0.contains(&name)
            || (!labeled && is_language(space))
    }
}

/// Whether this is the code of a language's wiki, such as `de` or `zh-min-nan`.
fn is_language(word: &str) -> bool {
    let mut parts = word.split('-');
    let first = parts.next().unwrap_or_default();
    let lower = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    word == "simple" || ((2..=3).contains(&first.len()) && lower(first) && parts.all(lower))
}

/// The text of a page, and where it stands in its wikitext.
pub fn plain(source: &str, hidden: &Hidden) -> (String, Pieces) {
    let mut writer = Writer {
        source,
        hidden,
        at: 0,
        out: Out::default(),
        ends: Vec::new(),
        external: 0,
        bracket: 0,
        item: 0,
        heading: None,
        bare: Vec::new(),
        gap: None,
    };
    let pairs = pairs(source);
    let mut next = pairs.iter().peekable();
    while writer.at < source.len() {
        while next.next_if(|pair| pair.start < writer.at).is_some() {}
        match next.peek() {
            Some(pair) if pair.start == writer.at => writer.pair(pair),
            _ => writer.sign(next.peek().map_or(source.len(), |pair| pair.start)),
        }
    }
    writer.end_line();
    writer.drop_bare(0);
    writer.out.finish()
}

struct Writer<'a> {
    source: &'a str,
    hidden: &'a Hidden,
    at: usize,
    out: Out,
    /// Where marks that end a link or a heading stand, and where what follows them does.
    ends: Vec<(usize, usize)>,
    /// External links that are open, each ended by a bracket on the line.
    external: usize,
    /// The next bracket or end of line, once it was searched.
    bracket: usize,
    /// Where the item of a list begins that is written.
    item: usize,
    /// The heading that is written: its level, and where it begins in the text.
    heading: Option<(usize, usize)>,
    /// Headings behind which nothing was written yet: their level, and where they begin and end in the text.
    bare: Vec<(usize, usize, usize)>,
    /// The text's length when something was left out last.
    gap: Option<usize>,
}

impl Writer<'_> {
    /// Writes something that belongs together, or goes on in it.
    fn pair(&mut self, pair: &Pair) {
        let Pair { start, end, kind } = *pair;
        self.at = end;
        match kind {
            Kind::Dropped => self.gap = Some(self.out.text.len()),
            Kind::Literal(from, to) => self.raw(from, to),
            Kind::Block(from, to) => {
                let block = &self.source[from..to];
                let blank = block.len() - block.trim_start_matches('\n').len();
                self.out.paragraph();
                self.raw(from + blank, to);
                self.out.paragraph();
            }
            Kind::Formula(from, to) => {
                self.out.push("$", None);
                self.raw(from, to);
                self.out.push("$", None);
            }
            Kind::Link(bar) => {
                let target = &self.source[start + 2..bar.unwrap_or(end - 2)];
                let blank = target.len() - target.trim_start_matches([' ', ':']).len();
                let label = bar.map(|bar| self.source[bar + 1..end - 2].trim().is_empty());
                if target.trim_start().starts_with(':') || !self.hidden.hides(target.trim(), bar.is_some()) {
                    let (from, to) = match (bar, label) {
                        (Some(bar), Some(false)) => (bar + 1, end - 2),
                        _ => (start + 2 + blank, start + 2 + target.len()),
                    };
                    self.at = from;
                    self.ends.push((to, end));
                } else {
                    self.gap = Some(self.out.text.len());
                }
            }
        }
    }

    /// Writes what begins here, or a run of text that ends before `limit`.
    fn sign(&mut self, limit: usize) {
        let (at, source) = (self.at, self.source);
        if let Some((_, behind)) = self.ends.pop_if(|(mark, _)| *mark <= at) {
            self.at = at.max(behind);
            return;
        }
        let bytes = source.as_bytes();
        if (at == 0 || bytes[at - 1] == b'\n') && self.begin_line() {
            return;
        }
        let known = match bytes[at] {
            b'\n' => {
                self.end_line();
                self.at += 1;
                if source[self.at..].trim_start_matches(' ').starts_with('\n') {
                    self.out.paragraph();
                } else {
                    self.out.line();
                }
                true
            }
            b'\'' => self.apostrophes(),
            b'<' => self.tag(),
            b'[' => self.address(),
            b']' if self.external > 0 => {
                self.external -= 1;
                self.at += 1;
                true
            }
            b'&' => self.character(),
            b'_' => self.magic_word(),
            b'\0' => {
                self.at += 1;
                true
            }
            _ => false,
        };
        if !known {
            let limit = self.ends.last().map_or(limit, |(mark, _)| limit.min(*mark));
            let text = &bytes[at..limit];
            let end =
                text.iter().skip(1).position(|byte| b"\n'<[]&_\0".contains(byte)).map_or(limit, |end| at + 1 + end);
            self.at = end;
            self.words(at, end);
        }
    }

    /// Reads what has a meaning at the beginning of a line only: whether there was any.
    fn begin_line(&mut self) -> bool {
        let rest = &self.source[self.at..];
        let run = |signs: &[char]| rest.len() - rest.trim_start_matches(signs).len();
        match rest.as_bytes()[0] {
            b'=' => {
                let end = rest.find('\n').unwrap_or(rest.len());
                let line = rest[..end].trim_end();
                let line = line
                    .strip_suffix("-->")
                    .and_then(|line| line.rfind("<!--"))
                    .map_or(line, |cut| line[..cut].trim_end());
                let inside = line.trim_matches('=');
                let level = run(&['=']).min(line.len() - line.trim_end_matches('=').len());
                if inside.trim().is_empty() || level == 0 {
                    return false;
                }
                self.out.paragraph();
                self.drop_bare(level);
                self.heading = Some((level, self.out.text.len()));
                let from = self.at + run(&['=']);
                self.ends.push((from + inside.trim_end().len(), self.at + end));
                self.at = from + inside.len() - inside.trim_start().len();
            }
            b'*' | b'#' | b':' | b';' => {
                let signs = run(&['*', '#', ':', ';']);
                self.out.line();
                if rest[..signs].ends_with(['*', '#']) {
                    self.item = self.out.text.len();
                    self.out.push(&"  ".repeat(signs.min(DEEPEST) - 1), None);
                    self.out.push("- ", None);
                    self.out.mark = self.out.text.len();
                }
                self.at += signs + rest[signs..].len() - rest[signs..].trim_start_matches(' ').len();
            }
            b'-' if rest.starts_with("----") => self.at += run(&['-']),
            _ => return false,
        }
        true
    }

    /// Ends a heading, and takes an item away of which nothing was left.
    fn end_line(&mut self) {
        self.external = 0;
        if self.out.mark > 0 && self.out.mark == self.out.text.len() {
            self.out.truncate(self.item);
        }
        if let Some((level, start)) = self.heading.take() {
            self.out.paragraph();
            self.bare.push((level, start, self.out.text.len()));
        }
    }

    /// Takes headings away behind which nothing stands, where one of this level follows.
    fn drop_bare(&mut self, level: usize) {
        self.out.paragraph();
        while let Some((own, start, end)) = self.bare.pop() {
            if self.out.text.len() > end {
                self.bare.clear();
            } else if own >= level {
                self.out.truncate(start);
            } else {
                self.bare.push((own, start, end));
                break;
            }
        }
    }

    /// Marks of emphasis; one apostrophe is none.
    fn apostrophes(&mut self) -> bool {
        let rest = &self.source[self.at..];
        let count = rest.len() - rest.trim_start_matches('\'').len();
        let left = if count == 4 { 1 } else { count.saturating_sub(5) };
        if count > 1 {
            self.at += count;
            self.words(self.at - left, self.at);
        }
        count > 1
    }

    fn tag(&mut self) -> bool {
        let Some((name, end)) = tag(self.source, self.at) else { return false };
        if !TAGS.contains(&&*name) {
            return false;
        }
        self.at = end;
        if LINES.contains(&&*name) {
            self.out.line();
        }
        true
    }

    /// An address in brackets, which leaves its label.
    fn address(&mut self) -> bool {
        let rest = &self.source[self.at + 1..];
        if !SCHEMES.iter().any(|scheme| rest.starts_with(scheme)) {
            return false;
        }
        if self.bracket <= self.at {
            self.bracket = rest.find([']', '\n']).map_or(self.source.len(), |end| self.at + 1 + end);
        }
        let inside = self.source.get(self.at + 1..self.bracket).unwrap_or_default();
        if self.source.as_bytes().get(self.bracket) != Some(&b']') {
            return false;
        }
        match inside.split_once(' ') {
            Some((address, label)) if !label.trim().is_empty() => {
                self.at += 2 + address.len() + label.len() - label.trim_start().len();
                self.external += 1;
            }
            _ => {
                self.at = self.bracket + 1;
                self.gap = Some(self.out.text.len());
            }
        }
        true
    }

    /// A character that is written by its name or number.
    fn character(&mut self) -> bool {
        let rest = &self.source.as_bytes()[self.at + 1..];
        let Some(end) = rest.iter().take(LONGEST_NAME).position(|byte| *byte == b';') else { return false };
        let name = &self.source[self.at + 1..self.at + 1 + end];
        let numbered = |number: &str| match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => number.parse().ok(),
        };
        let text = match name.strip_prefix('#') {
            Some(number) => {
                numbered(number).and_then(char::from_u32).filter(|letter| *letter != '\0').map(String::from)
            }
            None => resolve_html5_entity(name).map(str::to_owned),
        };
        let Some(text) = text else { return false };
        self.at += end + 2;
        self.out.push(if text == "\u{a0}" { " " } else { &text }, None);
        true
    }

    /// A word such as `__TOC__`, which is no text.
    fn magic_word(&mut self) -> bool {
        let rest = &self.source[self.at..];
        let Some(inside) = rest.strip_prefix("__") else { return false };
        let end = inside.char_indices().take(LONGEST_NAME).find(|(_, letter)| !letter.is_uppercase()).map(|(at, _)| at);
        match end {
            Some(end) if end > 2 && inside[end..].starts_with("__") => {
                self.at += end + 4;
                self.gap = Some(self.out.text.len());
                true
            }
            _ => false,
        }
    }

    /// Writes a run of text, without the blanks and empty parentheses that what was left out leaves behind.
    fn words(&mut self, from: usize, to: usize) {
        let mut text = &self.source[from..to];
        if self.gap == Some(self.out.text.len()) {
            if self.out.text.ends_with('(') {
                text = text.trim_start_matches([' ', ',', ';']);
                if let Some(behind) = text.strip_prefix(')') {
                    text = behind;
                    self.out.truncate(self.out.text.len() - 1);
                }
            }
            if text.starts_with([',', '.', ';', ')']) {
                self.out.trim(self.out.mark, &[' ']);
            }
            if self.out.at_gap() {
                text = text.trim_start_matches(' ');
            }
        }
        self.out.push(text, Some(to - text.len()));
    }

    /// Writes what is no wikitext.
    fn raw(&mut self, from: usize, to: usize) {
        let mut at = from;
        for part in self.source[from..to].split('\0') {
            self.out.push(part, Some(at));
            at += part.len() + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text, whose pieces stand in the source.
    fn text(source: &str) -> String {
        let mut hidden = Hidden::default();
        hidden.add("Datei");
        let (text, pieces) = plain(source, &hidden);
        let mut end = 0;
        for piece in &pieces.0 {
            assert!(piece.start >= end, "{source}");
            end = piece.start + piece.length;
            assert_eq!(text[piece.start..end], source[piece.source..piece.source + piece.length], "{source}");
        }
        text
    }

    #[test]
    fn marks_go_and_words_stay() {
        for (source, expected) in [
            ("'''Bold''', ''slanted'', '''''both''''' and don't", "Bold, slanted, both and don't"),
            (
                "[[River]]s, [[river|a stream]], [[:Category:X|x]], [[:Category:Y]], [[A (b)|]].",
                "Rivers, a stream, x, Category:Y, A (b).",
            ),
            (
                "[[File:a.jpg|thumb|A [[caption]]]]Text[[Category:X]] [[datei:b.png]] [[de:Fluss]][[w:Page|note]]",
                "Text note",
            ),
            ("See [http://a.b the label], [http://c.d] and http://e.f.", "See the label, and http://e.f."),
            ("{{Infobox|a=[[b]]|c={{d|{{{e|}}}}}}}\n'''It''' ({{lang|de|es}}) is{{cn}}, {{x}}so.", "It is, so."),
            (
                "a<ref>no {{x}}</ref> b<ref name=\"y\" /> c<!-- no\n --> d<br/>e<sup>2</sup> <foo> x < y",
                "a b c d\ne2 <foo> x < y",
            ),
            ("{|class=x\n! a\n|-\n| b {{c|}}\n{| \n| in\n|}\n|}\nText", "Text"),
            (
                "* one\n* two\n** deep\n# first\n:* mixed\n; term : said\n: in\n* {{x}}\nend",
                "- one\n- two\n  - deep\n- first\n  - mixed\nterm : said\nin\nend",
            ),
            (
                "Intro\n== A ''b'' == <!-- x -->\ntext\n=== C ===\nmore\n== References ==\n{{reflist}}\n== Links ==\n=== None ===\n",
                "Intro\n\nA b\n\ntext\n\nC\n\nmore",
            ),
            (
                "__NOTOC__a &amp; b&nbsp;c &#65;&#x42; &ndash; &nope; &\n----\nend __init__",
                "a & b c AB – &nope; &\nend __init__",
            ),
            (
                "<nowiki>[[a]] {{b}}</nowiki> <math>a_{b}</math>\n<syntaxhighlight lang=c>\n  if (a) {{ b; }}\n</syntaxhighlight>c",
                "[[a]] {{b}} $a_{b}$\n\n  if (a) {{ b; }}\n\nc",
            ),
            ("One\ntwo\n\n\n\nthree", "One\ntwo\n\nthree"),
            ("open {{ here [[ and }} end ]] x [[a", "open end ]] x [[a"),
            ("NUL\0 byte, ''''four''''", "NUL byte, 'four'"),
            ("", ""),
        ] {
            assert_eq!(text(source), expected, "{source}");
        }
    }

    #[test]
    fn hostile_pages_take_time_in_proportion() {
        let start = std::time::Instant::now();
        for part in [
            "{{",
            "}}",
            "[[",
            "]]",
            "{|\n",
            "|}\n",
            "[[a|",
            "{{a|",
            "<ref>",
            "<ref ",
            "<!--",
            "<nowiki>",
            "<pre></b>",
            "[http://a ",
            "[//",
            "''",
            "'",
            "&",
            "&#",
            "__",
            "__A",
            "==a==\n",
            "=a\n",
            "*\n",
            ":",
            "\n ",
            "((",
            "({{a}}",
            "{{{",
            "{{a}}}",
            "[[File:",
            "\0",
            "<",
            "]",
            "[[a]]",
            "{{[[",
            "}}]]",
            "<math>",
            "- ",
            "--",
            "a: {|",
        ] {
            text(&part.repeat(1_000_000 / part.len()));
            text(&format!("{}{}", part.repeat(500_000 / part.len()), "]]}}|}</ref>".repeat(10_000)));
        }
        assert!(start.elapsed().as_secs() < 120, "{:?}", start.elapsed());
    }
}
