//! A page's blocks, read from its tags in one pass. Nothing is recursive, and lists have a largest length.

use super::cue::{Aim, Cue, Names};
use super::tag::Tag;
use crate::latex::Out;
use html5gum::emitters::callback::{Callback, CallbackEmitter, CallbackEvent};
use html5gum::{Emitter, ForwardingEmitter, Span, State, Tokenizer};
use metier_core::data::Piece;
use std::convert::Infallible;

/// Elements that may be open inside each other; those further in are read as if their tags were not there.
const DEPTH: usize = 512;
/// Most blocks, elements and pieces that are told apart in one page.
pub(super) const MOST: usize = if cfg!(test) { 1 << 12 } else { 1 << 20 };
/// Bytes of the lists of all that is told apart: blocks, elements with what is counted of them, pieces twice; doubled as lists grow.
pub(super) const HELD: u64 =
    2 * MOST as u64 * (size_of::<Block>() + 2 * size_of::<Node>() + 2 * size_of::<Piece>()) as u64;
/// Those for each byte of a page, of which a block takes four.
pub(super) const HELD_OF_BYTE: u64 = HELD / MOST as u64 / 4;
/// Bytes of an attribute, and of a title, that are looked at.
const NAMES: usize = 512;
/// The place of an element that has none yet.
const NONE: u32 = u32::MAX;

/// An element with text in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    /// The element around it; the first is its own.
    pub parent: u32,
    pub tag: Tag,
    pub cue: Cue,
}

/// A run of text on lines of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    /// Where its text ends, with the line breaks behind it; it begins where the last one ends.
    pub end: u32,
    pub node: u32,
    /// Bytes of text in links.
    pub link: u32,
    /// Bytes of text in links to the same page.
    pub local: u32,
}

/// A page's text, all of it, and how it is divided.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub out: Out,
    pub blocks: Vec<Block>,
    pub nodes: Vec<Node>,
    pub title: String,
    /// Whether there was more than is told apart.
    pub full: bool,
}

/// What stands between the last text and the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    #[default]
    None,
    Space,
    Tab,
    Line,
    Paragraph,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    tag: Tag,
    cue: Cue,
    node: u32,
    link: Option<Link>,
}

/// A link that leads somewhere.
#[derive(Debug, Clone, Copy)]
struct Link {
    /// Where its text begins.
    from: usize,
    /// Whether it leads to the same page.
    local: bool,
}

impl Open {
    fn skips(&self) -> bool {
        self.tag == Tag::Hidden || self.cue == Cue::Mark
    }
}

#[derive(Debug, Default)]
struct Builder {
    page: Page,
    open: Vec<Open>,
    /// Elements that are open beyond [`DEPTH`].
    deeper: usize,
    skipped: usize,
    preformatted: usize,
    links: usize,
    local_links: usize,
    gap: Gap,
    /// Where in the page a single space before the next text stands.
    space: Option<usize>,
    /// Whether nothing was written in a cell or an item so far.
    fresh: bool,
    /// The blocks before the row of a table that is being read.
    row: usize,
    tag: Option<Tag>,
    attribute: Attribute,
    names: Names,
}

#[derive(Debug, Default, Clone, Copy)]
enum Attribute {
    #[default]
    Other,
    Address,
    Classes,
    Hidden,
    Id,
    Role,
    Style,
}

/// Hands tags to the builder.
struct Events<'a>(&'a mut Builder);

impl Callback<Infallible, usize> for Events<'_> {
    fn handle_event(&mut self, event: CallbackEvent<'_>, _: Span<usize>) -> Option<Infallible> {
        match event {
            CallbackEvent::OpenStartTag { name } => {
                self.0.tag = Tag::of(name);
                self.0.names = Names { section: name == b"section", ..Names::default() };
            }
            CallbackEvent::AttributeName { name } => self.0.attribute(name),
            CallbackEvent::AttributeValue { value } => self.0.value(value),
            CallbackEvent::CloseStartTag { self_closing } => self.0.start(self_closing),
            CallbackEvent::EndTag { name } => self.0.end(name),
            _ => {}
        }
        None
    }
}

impl Builder {
    fn attribute(&mut self, name: &[u8]) {
        self.attribute = match name {
            b"class" => Attribute::Classes,
            b"id" => Attribute::Id,
            b"href" => Attribute::Address,
            b"role" => Attribute::Role,
            b"style" => Attribute::Style,
            b"aria-hidden" => Attribute::Hidden,
            _ => Attribute::Other,
        };
        self.names.hidden |= name == b"hidden";
        if name == b"href" {
            self.names.link = Some(Aim::Elsewhere);
        }
    }

    fn value(&mut self, value: &[u8]) {
        let value = String::from_utf8_lossy(&value[..value.len().min(NAMES)]);
        match self.attribute {
            Attribute::Address if value.starts_with('#') => self.names.link = Some(Aim::Here),
            Attribute::Classes => self.names.classes = value.to_ascii_lowercase(),
            Attribute::Id => self.names.id = value.to_ascii_lowercase(),
            Attribute::Role => self.names.role = value.trim().to_ascii_lowercase(),
            Attribute::Style => {
                let style: String = value.split_ascii_whitespace().collect();
                self.names.hidden |= style.to_ascii_lowercase().contains("display:none");
            }
            Attribute::Hidden => self.names.hidden |= &*value == "true",
            Attribute::Address | Attribute::Other => {}
        }
    }

    fn start(&mut self, closed: bool) {
        let Some(tag) = self.tag.take() else { return };
        if self.deeper == 0 {
            self.close_implied(tag);
        }
        self.break_before(tag);
        if tag.is_empty() || closed && tag.is_inline() {
            return;
        }
        if self.open.len() == DEPTH {
            self.deeper += 1;
            return;
        }
        let from = self.page.out.text.len();
        let aim = self.names.link.filter(|_| tag == Tag::Link);
        let link = aim.map(|aim| Link { from, local: aim == Aim::Here });
        let open = Open { tag, cue: self.names.cue(tag), node: NONE, link };
        self.skipped += usize::from(open.skips());
        self.preformatted += usize::from(tag == Tag::Preformatted);
        self.links += usize::from(link.is_some());
        self.local_links += usize::from(link.is_some_and(|link| link.local));
        self.open.push(open);
    }

    /// Closes what a start tag says has ended.
    fn close_implied(&mut self, tag: Tag) {
        for at in (0..self.open.len()).rev() {
            let open = self.open[at].tag;
            if tag.ends(open) {
                self.close(at, tag == Tag::Link);
            } else if tag.keeps(open) {
                break;
            }
        }
    }

    fn end(&mut self, name: &[u8]) {
        let Some(tag) = Tag::of(name) else { return };
        if self.deeper > 0 && !tag.is_empty() {
            self.deeper -= 1;
            return;
        }
        let found = self.open.iter().rposition(|open| open.tag == tag || tag.keeps_open(open.tag));
        if let Some(at) = found.filter(|at| self.open[*at].tag == tag) {
            self.close(at, tag == Tag::Link);
        }
        self.break_after(tag);
    }

    /// Closes the elements from this one on, or this one `alone`.
    fn close(&mut self, at: usize, alone: bool) {
        let end = if alone { at + 1 } else { self.open.len() };
        for open in self.open.drain(at..end).rev() {
            self.skipped -= usize::from(open.skips());
            self.preformatted -= usize::from(open.tag == Tag::Preformatted);
            let Some(Link { from, local }) = open.link else { continue };
            self.links -= 1;
            self.local_links -= usize::from(local);
            // A link of a sign alone leads to the heading that it stands in, one of this word to a program's text.
            let out = &mut self.page.out;
            let text = out.text.get(from..).unwrap_or_default().trim_start();
            let is_source =
                || matches!(text, "Source" | "source" | "[source]" | "[src]") && !out.text[..from].ends_with('\n');
            if matches!(text, "¶" | "#" | "§" | "🔗" | "\u{f0c1}") || is_source() && from > 0 {
                out.truncate(out.text.len() - text.len());
                if let Some(block) = self.page.blocks.last_mut() {
                    block.end = block.end.min(out.text.len() as u32);
                    (block.link, block.local) = (0, 0);
                }
            }
        }
    }

    fn break_before(&mut self, tag: Tag) {
        self.fresh &= !matches!(tag, Tag::Table | Tag::List);
        match tag {
            Tag::Break | Tag::Item | Tag::Entry => self.widen(Gap::Line),
            Tag::Row => {
                self.row = self.page.blocks.len();
                self.gap = self.gap.max(Gap::Line);
            }
            // Cells of one line each share a line.
            Tag::Cell if self.page.blocks.len() == self.row + 1 && self.names.cue(tag) == Cue::None => {
                self.gap = Gap::Tab;
            }
            Tag::Cell => self.gap = self.gap.max(Gap::Line),
            _ if tag.is_inline() => {}
            _ => self.widen(Gap::Paragraph),
        }
        self.fresh |= matches!(tag, Tag::Cell | Tag::Item | Tag::Entry);
    }

    fn break_after(&mut self, tag: Tag) {
        self.fresh &= tag.is_inline();
        match tag {
            Tag::Item | Tag::Entry | Tag::Row => self.widen(Gap::Line),
            Tag::Cell | Tag::Break => {}
            _ if tag.is_inline() => {}
            _ => self.widen(Gap::Paragraph),
        }
    }

    /// At least this gap; but the first block of a cell stays in the line of its row, and that of an item begins it.
    fn widen(&mut self, gap: Gap) {
        let gap = if self.fresh { gap.min(Gap::Line) } else { gap };
        if self.gap != Gap::Tab {
            self.gap = self.gap.max(gap);
        }
    }

    /// A run of characters that ends at this byte of the page.
    fn text(&mut self, source: &str, text: &str, end: usize) {
        if self.skipped > 0 {
            return;
        }
        if self.open.last().is_some_and(|open| open.tag == Tag::Title) {
            if self.page.title.len() < NAMES {
                self.page.title.push_str(text);
            }
            return;
        }
        // Characters that are written in another way there stand nowhere.
        let begin = end.checked_sub(text.len()).filter(|begin| source.get(*begin..end) == Some(text));
        let parts: fn(char) -> bool = if self.preformatted > 0 { |letter| letter == '\n' } else { is_space };
        let mut at = 0;
        for part in text.split_inclusive(parts) {
            let word = part.trim_end_matches(parts);
            if !word.is_empty() {
                self.word(word, begin.map(|begin| begin + at));
            }
            at += part.len();
            if word.len() < part.len() {
                self.space(&part[word.len()..], begin.map(|begin| begin + at));
            }
        }
    }

    /// White space that ends at this byte of the page.
    fn space(&mut self, space: &str, end: Option<usize>) {
        if self.preformatted == 0 {
            self.gap = self.gap.max(Gap::Space);
            self.space = end.filter(|_| space == " ").map(|end| end - 1);
        } else if self.gap < Gap::Tab {
            self.push("\n", end.map(|end| end - 1));
        }
    }

    /// Text without white space that means anything, at this byte of the page.
    fn word(&mut self, word: &str, source: Option<usize>) {
        let gap = std::mem::take(&mut self.gap);
        self.fresh = false;
        let space = self.space.take();
        if gap >= Gap::Line || self.page.blocks.is_empty() {
            self.begin(gap);
        } else if gap == Gap::Tab {
            self.push("\t", None);
        } else if gap == Gap::Space && !self.page.out.at_gap() {
            self.push(" ", space);
        }
        // A NUL is what is left of a damaged page, and no character of a text.
        if word.contains('\0') {
            self.push(&word.replace('\0', ""), None);
        } else {
            self.push(word, source);
        }
    }

    /// Ends the block before, and begins one.
    fn begin(&mut self, gap: Gap) {
        let blocks = &mut self.page.blocks;
        let before = blocks.len().checked_sub(2).map_or(0, |before| blocks[before].end as usize);
        self.page.out.trim(before, &[' ', '\t', '\n']);
        if self.page.out.text.len() == before {
            blocks.pop();
        } else {
            self.push(if gap == Gap::Paragraph { "\n\n" } else { "\n" }, None);
        }
        if self.page.blocks.len() < MOST {
            let (end, node) = (self.page.out.text.len() as u32, self.node());
            self.page.blocks.push(Block { end, node, link: 0, local: 0 });
        } else {
            self.page.full = true;
        }
    }

    fn push(&mut self, text: &str, source: Option<usize>) {
        let page = &mut self.page;
        page.full |= page.out.pieces() >= MOST;
        page.out.push(text, source.filter(|_| page.out.pieces() < MOST));
        if let Some(block) = page.blocks.last_mut() {
            block.end = page.out.text.len() as u32;
            block.link += if self.links > 0 { text.len() as u32 } else { 0 };
            block.local += if self.local_links > 0 { text.len() as u32 } else { 0 };
        }
    }

    /// The element that text stands in now.
    fn node(&mut self) -> u32 {
        let known = self.open.iter().rposition(|open| open.node != NONE);
        let mut parent = known.map_or(0, |at| self.open[at].node);
        for open in &mut self.open[known.map_or(0, |at| at + 1)..] {
            if !open.tag.is_inline() && self.page.nodes.len() < MOST {
                self.page.nodes.push(Node { parent, tag: open.tag, cue: open.cue });
                parent = self.page.nodes.len() as u32 - 1;
                open.node = parent;
            }
        }
        parent
    }
}

fn is_space(letter: char) -> bool {
    letter.is_ascii_whitespace() || letter == '\u{a0}'
}

/// What the tokenizer finds, with text handed on as it is found, so that its place in the page is known.
struct Emit<'a> {
    inner: CallbackEmitter<Events<'a>, Infallible, usize>,
    source: &'a str,
    at: usize,
    /// Whether `<script/>` is closed, as in XML.
    xml: bool,
    closed: bool,
}

impl ForwardingEmitter for Emit<'_> {
    type Token = Infallible;

    fn inner(&mut self) -> &mut impl Emitter<Token = Infallible> {
        &mut self.inner
    }

    fn move_position(&mut self, offset: isize) {
        self.at = self.at.saturating_add_signed(offset);
        self.inner.move_position(offset);
    }

    fn emit_string(&mut self, text: &[u8]) {
        self.inner.callback_mut().0.text(self.source, &String::from_utf8_lossy(text), self.at);
    }

    fn emit_error(&mut self, _: html5gum::Error) {}

    fn should_emit_errors(&mut self) -> bool {
        false
    }

    fn init_start_tag(&mut self) {
        self.closed = false;
        self.inner.init_start_tag();
    }

    fn set_self_closing(&mut self) {
        self.closed = self.xml;
        self.inner.set_self_closing();
    }

    fn emit_current_tag(&mut self) -> Option<State> {
        let state = self.inner.emit_current_tag();
        if std::mem::take(&mut self.closed) { None } else { state }
    }
}

/// Reads a page.
pub(super) fn read(source: &str) -> Page {
    let mut builder = Builder::default();
    builder.page.nodes.push(Node { parent: 0, tag: Tag::Html, cue: Cue::None });
    let mut inner = CallbackEmitter::new(Events(&mut builder));
    inner.naively_switch_states(true);
    let xml = source.trim_start().starts_with("<?xml");
    let emit = Emit { inner, source, at: 0, xml, closed: false };
    let Ok(()) = Tokenizer::new_with_emitter(source, emit).finish();
    builder.page
}
