//! Markdown to text: what a document says, without the marks that say how it looks.

use crate::latex::Out;
use metier_core::data::Pieces;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use std::ops::Range;

/// What goes beyond CommonMark and is understood.
const OPTIONS: Options = Options::ENABLE_TABLES
    .union(Options::ENABLE_FOOTNOTES)
    .union(Options::ENABLE_STRIKETHROUGH)
    .union(Options::ENABLE_TASKLISTS)
    .union(Options::ENABLE_HEADING_ATTRIBUTES)
    .union(Options::ENABLE_YAML_STYLE_METADATA_BLOCKS)
    .union(Options::ENABLE_PLUSES_DELIMITED_METADATA_BLOCKS)
    .union(Options::ENABLE_MATH)
    .union(Options::ENABLE_GFM)
    .union(Options::ENABLE_WIKILINKS);

/// Levels of lists that indent what is in them.
const DEEPEST: usize = 16;

/// The text of a document, and where it stands in it.
pub fn plain(source: &str) -> (String, Pieces) {
    let mut writer =
        Writer { source, out: Out::default(), lists: Vec::new(), dropped: 0, gap: false, cells: 0, html: Html::Text };
    for (event, range) in Parser::new_ext(source, OPTIONS).into_offset_iter() {
        writer.event(event, range);
    }
    writer.out.finish()
}

/// Where in HTML the last character stood.
enum Html {
    Text,
    /// With the quotation mark that is open.
    Tag(Option<char>),
    Comment,
    /// Up to the end of this element.
    Hidden(&'static str),
}

struct Writer<'a> {
    source: &'a str,
    out: Out,
    /// The lists that are open, with the number of the next item.
    lists: Vec<Option<u64>>,
    /// How many elements are open of which nothing is written.
    dropped: usize,
    /// Whether something was left out last.
    gap: bool,
    /// Cells of the row that were begun.
    cells: usize,
    html: Html,
}

impl Writer<'_> {
    fn event(&mut self, event: Event, range: Range<usize>) {
        match event {
            Event::Start(Tag::Image { .. } | Tag::MetadataBlock(_)) => self.dropped += 1,
            Event::End(TagEnd::Image | TagEnd::MetadataBlock(_)) => (self.dropped, self.gap) = (self.dropped - 1, true),
            _ if self.dropped > 0 => {}
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) | Event::Code(text) => self.push(&text, range),
            Event::InlineMath(_) | Event::DisplayMath(_) => {
                let source = self.source;
                self.push(source.get(range.clone()).unwrap_or_default(), range);
            }
            Event::Html(text) => self.html(&text, range.start),
            Event::InlineHtml(tag) if tag.get(..3).is_some_and(|tag| tag.eq_ignore_ascii_case("<br")) => {
                self.out.line();
            }
            Event::HardBreak => self.out.line(),
            Event::SoftBreak if !self.out.at_gap() => self.out.push(" ", None),
            Event::TaskListMarker(done) => self.out.push(if done { "[x] " } else { "[ ] " }, None),
            Event::Rule => self.block(),
            Event::InlineHtml(_) | Event::FootnoteReference(_) => self.gap = true,
            Event::SoftBreak => {}
        }
    }

    fn start(&mut self, tag: &Tag) {
        match tag {
            Tag::List(number) => {
                if self.lists.is_empty() {
                    self.block();
                }
                self.lists.push(*number);
            }
            Tag::Item => {
                self.out.line();
                self.out.push(&"  ".repeat(self.lists.len().clamp(1, DEEPEST) - 1), None);
                let mark = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number = number.saturating_add(1);
                        format!("{}. ", *number - 1)
                    }
                    _ => "- ".to_owned(),
                };
                self.out.push(&mark, None);
                self.out.mark = self.out.text.len();
            }
            Tag::Paragraph
            | Tag::Heading { .. }
            | Tag::CodeBlock(_)
            | Tag::BlockQuote(_)
            | Tag::FootnoteDefinition(_)
            | Tag::Table(_) => self.block(),
            Tag::HtmlBlock => {
                self.block();
                self.html = Html::Text;
            }
            Tag::TableHead | Tag::TableRow => {
                self.out.line();
                self.cells = 0;
            }
            Tag::TableCell => {
                if self.cells > 0 {
                    self.out.push("\t", None);
                }
                self.cells += 1;
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::List(_) => {
                self.lists.pop();
                if self.lists.is_empty() {
                    self.block();
                }
            }
            TagEnd::Item | TagEnd::TableHead | TagEnd::TableRow => self.out.line(),
            TagEnd::Paragraph
            | TagEnd::Heading(_)
            | TagEnd::CodeBlock
            | TagEnd::HtmlBlock
            | TagEnd::BlockQuote(_)
            | TagEnd::FootnoteDefinition
            | TagEnd::Table => self.block(),
            _ => {}
        }
    }

    /// Ends a block: in lists by a line, and behind an item's mark by nothing.
    fn block(&mut self) {
        let behind_mark = self.out.mark > 0 && self.out.mark == self.out.text.len();
        match (behind_mark, self.lists.is_empty()) {
            (true, _) => {}
            (false, true) => self.out.paragraph(),
            (false, false) => self.out.line(),
        }
    }

    /// Writes a text that stands in this range of the source, perhaps between marks or written in another way.
    fn push(&mut self, text: &str, range: Range<usize>) {
        let found = self.source.get(range.clone()).and_then(|source| source.find(text));
        let both = std::mem::take(&mut self.gap) && self.out.at_gap();
        let shown = if both { text.trim_start_matches(' ') } else { text };
        self.part(shown, found.map(|at| range.start + at + text.len() - shown.len()));
    }

    /// Writes a text without its NUL bytes.
    fn part(&mut self, text: &str, mut source: Option<usize>) {
        for part in text.split('\0') {
            self.out.push(part, source);
            source = source.map(|at| at + part.len() + 1);
        }
    }

    /// Writes what stands between the tags of a line of HTML.
    fn html(&mut self, line: &str, start: usize) {
        let mut from = 0;
        for (at, letter) in line.char_indices() {
            let rest = &line[at + letter.len_utf8()..];
            match &self.html {
                Html::Text
                    if letter == '<'
                        && rest.starts_with(|next: char| next.is_ascii_alphabetic() || "/!?".contains(next)) =>
                {
                    self.words(&line[from..at], start + from);
                    let hidden = |name: &&str| rest.get(..name.len()).is_some_and(|tag| tag.eq_ignore_ascii_case(name));
                    self.html = match HIDDEN.into_iter().find(hidden) {
                        _ if rest.starts_with("!--") => Html::Comment,
                        Some(name) => Html::Hidden(name),
                        None => Html::Tag(None),
                    };
                }
                Html::Tag(Some(quote)) if *quote == letter => self.html = Html::Tag(None),
                Html::Tag(None) if letter == '"' || letter == '\'' => self.html = Html::Tag(Some(letter)),
                Html::Tag(None) if letter == '>' => (self.html, from) = (Html::Text, at + 1),
                Html::Comment if letter == '>' && line[..at].ends_with("--") => {
                    (self.html, from) = (Html::Text, at + 1);
                }
                Html::Hidden(name) if letter == '<' && rest.starts_with('/') && rest[1..].starts_with(name) => {
                    self.html = Html::Tag(None);
                }
                _ => {}
            }
        }
        if matches!(self.html, Html::Text) {
            self.words(&line[from..], start + from);
            self.out.line();
        }
    }

    /// Writes what stands between two tags, with the space before it where words are there.
    fn words(&mut self, text: &str, start: usize) {
        let words = text.trim();
        if text.starts_with(char::is_whitespace) && !self.out.at_gap() {
            self.out.push(" ", None);
        }
        self.part(words, Some(start + text.len() - text.trim_start().len()));
        if text.ends_with(char::is_whitespace) && !self.out.at_gap() {
            self.out.push(" ", None);
        }
    }
}

/// Elements of HTML whose content is no text.
const HIDDEN: [&str; 2] = ["script", "style"];

#[cfg(test)]
mod tests {
    use super::*;

    /// The text, whose pieces stand in the source.
    fn text(source: &str) -> String {
        let (text, pieces) = plain(source);
        let mut end = 0;
        for piece in &pieces.0 {
            assert!(piece.start >= end, "{source}");
            end = piece.start + piece.length;
            assert_eq!(text[piece.start..end], source[piece.source..piece.source + piece.length]);
        }
        text
    }

    #[test]
    fn marks_go_and_words_stay() {
        for (source, expected) in [
            ("# A *title* { #id }\n\nOne\ntwo **three** _four_ ~~five~~.", "A title\n\nOne two three four five."),
            ("Under\n=====\n\nline\\\nbroken  \ntwice", "Under\n\nline\nbroken\ntwice"),
            ("---\ntitle: x\n---\n\nText", "Text"),
            ("+++\ntitle = 1\n+++\nText", "Text"),
            (
                "See [the *label*](http://a.b 'title'), [ref][r], [[Page|note]], <http://c.d>.\n\n[r]: http://x",
                "See the label, ref, note, http://c.d.",
            ),
            ("![logo](a.png) [![badge](b.svg)](c)\n\nText ![x](y) on", "Text on"),
            ("a <!-- no --> b[^1] c\n\n[^1]: d", "a b c\n\nd"),
            (
                "- one\n- two\n  - deep\n\n1. first\n\n   more\n2. second",
                "- one\n- two\n  - deep\n\n1. first\nmore\n2. second",
            ),
            ("7. seven\n8. eight\n\n* [ ] open\n* [x] done", "7. seven\n8. eight\n\n- [ ] open\n- [x] done"),
            (
                "Run `a  b` or:\n\n```rust\nfn main() {\n    run();\n}\n```\n\n    indented\n",
                "Run a  b or:\n\nfn main() {\n    run();\n}\n\nindented",
            ),
            ("| a | b |\n|---|:-:|\n| 1 | *2* |\n", "a\tb\n1\t2"),
            ("> [!NOTE]\n> quoted\n> text\n\n***\n\nend[^1]\n\n[^1]: The note.", "quoted text\n\nend\n\nThe note."),
            ("a &amp; b \\* c &#x41; $x_1 * y_2$ costs $5", "a & b * c A $x_1 * y_2$ costs $5"),
            ("", ""),
        ] {
            assert_eq!(text(source), expected, "{source}");
        }
    }

    #[test]
    fn html_leaves_its_text_and_comments_nothing() {
        for (source, expected) in [
            ("a<!-- no --> b <b>c</b><br>d", "a b c\nd"),
            ("<!-- one\ntwo -->\n\nText", "Text"),
            ("<p align=\"a>b\">\n  <img src=x>Words here\n</p>\n\nText", "Words here\n\nText"),
            ("<details><summary>More</summary>\n\nInside\n\n</details>", "More\n\nInside"),
            ("<script>\nlet x = '<b>';\n</script>\n<style>p {}</style>\n\nText", "Text"),
            ("<div>1 < 2 &amp; on</div>", "1 < 2 &amp; on"),
        ] {
            assert_eq!(text(source), expected, "{source}");
        }
    }

    #[test]
    fn hostile_documents_take_time_in_proportion() {
        let start = std::time::Instant::now();
        for part in [
            "> ", "- ", "[", "*a", "`", "<a ", "<!-- ", "![[", "$", "|", "\n|-", "[^1]: ", "\0", "#", "&", "<b>\n",
            "1. \n   ",
        ] {
            text(&part.repeat(100_000 / part.len()));
        }
        let nested: Vec<_> = (0..500).map(|depth| format!("{}- {depth}\n", "  ".repeat(depth))).collect();
        let nested = nested.concat();
        assert_eq!(text(&nested).lines().count(), 500);
        assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
    }
}
