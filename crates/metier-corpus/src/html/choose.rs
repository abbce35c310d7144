//! Which blocks of a page are its main text.
//!
//! What names of elements say is believed as long as it leaves most of the text that is no link. The text is in the innermost element
//! that holds nearly all of the rest and the page's heading. In it go lists of the page's own headings, and what is mostly links
//! before the first and behind the last paragraph.

use super::MainText;
use super::cue::Cue;
use super::page::{Node, Page};
use super::tag::Tag;
use std::ops::Range;

/// The share of text outside of links that an element must have so that its names are not believed.
const MOST: f64 = 0.6;
/// The same share where an element is not shown: pages that a script is to show hide all of it.
const NEARLY_ALL_HIDDEN: f64 = 0.95;
/// The share of text outside of links that the innermost element with the main text has.
const NEARLY_ALL: f64 = 0.8;
/// The share of text that a `main` must have.
const ENOUGH: f64 = 0.2;
/// The share of a line that is links where the line is one of links.
const LINKS: f64 = 0.6;
/// The share of a box that is links where the box stands beside the text.
const BOX: f64 = 0.25;
/// Lines of links that are a list, and those that are a list of the page's headings.
const LIST: usize = 5;
const CONTENTS: usize = 3;
/// Lines above a list that go with it.
const ABOVE: usize = 2;
/// Bytes outside of links that make a paragraph of a line, and bytes that a line above a list has at most.
const PARAGRAPH: u32 = 60;
const SHORT: usize = 40;
/// Bytes of a line that may be a heading, or turn pages.
const LONGEST: usize = 1000;
/// Bytes of a part of the title that a heading may be told by.
const PART: usize = 6;

/// Bytes of text, and how many of them are in links.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    text: u32,
    link: u32,
}

impl Held {
    fn plain(self) -> f64 {
        f64::from(self.text - self.link)
    }
}

pub(super) fn main_text(page: Page) -> MainText {
    let choice = Choice::new(&page);
    let kept = choice.kept();
    let title = choice.title(&kept);
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for at in kept {
        let from = choice.start(at);
        let to = from + choice.length(at) as usize;
        match ranges.last_mut() {
            Some(last) if last.end == from => last.end = to,
            _ => ranges.push(from..to),
        }
    }
    let full = page.full;
    let (text, pieces) = page.out.finish();
    // The last line break is cut off.
    for range in &mut ranges {
        *range = range.start.min(text.len())..range.end.min(text.len());
    }
    let mut pieces = pieces.keep(&ranges);
    let mut kept = title.map_or_else(String::new, |title| format!("{title}\n\n"));
    for piece in &mut pieces.0 {
        piece.start += kept.len();
    }
    kept.extend(ranges.into_iter().map(|range| &text[range]));
    let whole = kept.trim_end().len();
    kept.truncate(whole);
    MainText { text: kept, pieces: pieces.keep(std::slice::from_ref(&(0..whole))), full }
}

/// A page, and what is found out about it step by step.
struct Choice<'a> {
    page: &'a Page,
    /// The title, with single spaces.
    title: String,
    /// Whether each element is beside the main text, or in one that is.
    dropped: Vec<bool>,
    /// The heading that says the title.
    heading: Option<usize>,
}

impl<'a> Choice<'a> {
    fn new(page: &'a Page) -> Self {
        let dropped = dropped(page, &held(page, |_| true));
        let mut choice = Self { page, title: words(&page.title), dropped, heading: None };
        let says: Vec<usize> =
            (0..page.blocks.len()).filter(|at| choice.may_be_first(*at) && choice.says_title(*at)).collect();
        choice.heading = says.iter().find(|at| !choice.is_dropped(**at)).or(says.first()).copied();
        choice
    }

    fn start(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |before| self.page.blocks[before].end as usize)
    }

    fn length(&self, at: usize) -> u32 {
        self.page.blocks[at].end.saturating_sub(self.start(at) as u32)
    }

    fn text(&self, at: usize) -> &str {
        self.page.out.text.get(self.start(at)..self.page.blocks[at].end as usize).unwrap_or_default().trim()
    }

    fn is_dropped(&self, at: usize) -> bool {
        self.dropped[self.page.blocks[at].node as usize]
    }

    /// The blocks that are kept.
    fn kept(&self) -> Vec<usize> {
        let root = self.root();
        let mut inside = vec![false; self.page.nodes.len()];
        inside[root] = true;
        for at in root + 1..inside.len() {
            inside[at] = inside[self.page.nodes[at].parent as usize];
        }
        let blocks = 0..self.page.blocks.len();
        let mut kept: Vec<usize> =
            blocks.filter(|at| inside[self.page.blocks[*at].node as usize] && !self.is_dropped(*at)).collect();
        self.cut_lists(&mut kept);
        self.cut_edges(&mut kept);
        if let Some(heading) = self.heading
            && let Err(place) = kept.binary_search(&heading)
        {
            kept.insert(place, heading);
        }
        if kept.is_empty() { (0..self.page.blocks.len()).collect() } else { kept }
    }

    /// The element with the main text.
    fn root(&self) -> usize {
        let nodes = &self.page.nodes;
        let left = held(self.page, |at| !self.is_dropped(at));
        let main = (0..nodes.len()).filter(|at| nodes[*at].tag == Tag::Main && !self.dropped[*at]);
        let main = main.max_by_key(|at| left[*at].text);
        if let Some(main) = main.filter(|main| f64::from(left[*main].text) >= ENOUGH * f64::from(left[0].text)) {
            return main;
        }
        // The elements around the heading: the main text does not begin below it.
        let mut around = vec![self.heading.is_none_or(|heading| self.is_dropped(heading)); nodes.len()];
        if let Some(heading) = self.heading {
            let mut at = self.page.blocks[heading].node as usize;
            while at > 0 {
                around[at] = true;
                at = nodes[at].parent as usize;
            }
        }
        let holds = |at: usize| {
            matches!(
                nodes[at].tag,
                Tag::Article
                    | Tag::Body
                    | Tag::Cell
                    | Tag::Container
                    | Tag::Html
                    | Tag::Row
                    | Tag::Table
                    | Tag::Main
                    | Tag::Header
            ) && around[at]
                && !self.dropped[at]
                && left[at].plain() >= NEARLY_ALL * left[0].plain()
        };
        let mut root = 0;
        for (at, node) in nodes.iter().enumerate().skip(1) {
            if node.parent as usize == root && holds(at) {
                root = at;
            }
        }
        root
    }

    /// Cuts out lists of the page's headings, and lists of links before the first and behind the last paragraph.
    fn cut_lists(&self, kept: &mut Vec<usize>) {
        let plain = |at: usize| self.length(at).saturating_sub(self.page.blocks[at].link);
        let all: u32 = kept.iter().map(|at| plain(*at)).sum();
        let is_paragraph = |at: &usize| plain(*at) >= PARAGRAPH && !self.is_links(*at, |at| self.page.blocks[at].link);
        let first = kept.iter().position(is_paragraph).unwrap_or(0);
        let last = kept.iter().rposition(is_paragraph).unwrap_or(kept.len());
        let mut out: Vec<usize> = Vec::with_capacity(kept.len());
        let mut at = 0;
        while at < kept.len() {
            let run = |of: &dyn Fn(usize) -> u32| kept[at..].iter().take_while(|at| self.is_links(**at, of)).count();
            let (links, local) = (run(&|at| self.page.blocks[at].link), run(&|at| self.page.blocks[at].local));
            let is_outside = at + links <= first || at > last;
            let length = if local >= CONTENTS {
                local
            } else if links >= LIST && is_outside {
                links
            } else {
                0
            };
            let bytes: u32 = kept[at..at + length].iter().map(|at| self.length(*at)).sum();
            if length == 0 || bytes > all {
                out.push(kept[at]);
                at += 1;
                continue;
            }
            // What is written above the list goes with it.
            for _ in 0..ABOVE {
                out.pop_if(|above| {
                    Some(*above) != self.heading && (self.is_heading(*above) || self.text(*above).len() < SHORT)
                });
            }
            at += length;
        }
        *kept = out;
    }

    /// Cuts off lines for turning pages, and of links where these do not stand below a heading.
    fn cut_edges(&self, kept: &mut Vec<usize>) {
        let mut below_heading = false;
        let mut is_edge = |at: &usize| {
            let is_links = self.is_links(*at, |at| self.page.blocks[at].link);
            below_heading = self.is_heading(*at) || below_heading && is_links;
            !self.is_heading(*at)
                && (turns_pages(self.text(*at)) || names_maker(self.text(*at)) || is_links && !below_heading)
        };
        let edges: Vec<bool> = kept.iter().map(&mut is_edge).collect();
        let end = edges.iter().rposition(|edge| !edge).map_or(kept.len(), |last| last + 1);
        let is_first = |place: &usize| !edges[*place] || names_maker(self.text(kept[*place]));
        let begin = (0..end).find(is_first).unwrap_or(0);
        kept.truncate(end);
        kept.drain(..begin);
    }

    fn is_links(&self, at: usize, of: impl Fn(usize) -> u32) -> bool {
        f64::from(of(at)) > LINKS * self.text(at).len() as f64
    }

    fn is_heading(&self, at: usize) -> bool {
        let Node { tag, cue, .. } = self.page.nodes[self.page.blocks[at].node as usize];
        matches!(tag, Tag::Heading(_)) || cue == Cue::Title
    }

    /// Whether a block may be the page's heading: of those beside the text only the first kind.
    fn may_be_first(&self, at: usize) -> bool {
        let Node { tag, cue, .. } = self.page.nodes[self.page.blocks[at].node as usize];
        tag == Tag::Heading(1) || cue == Cue::Title || self.is_heading(at) && !self.is_dropped(at)
    }

    /// Whether a heading says what the title says, or a part of it. Where there is no title, the largest heading does.
    fn says_title(&self, at: usize) -> bool {
        if self.text(at).len() > LONGEST {
            return false;
        }
        let title = self.title.to_lowercase();
        let heading = words(self.text(at)).to_lowercase();
        let heading = heading.trim_start_matches(|letter: char| letter.is_ascii_digit() || " .".contains(letter));
        if title.is_empty() {
            return self.page.nodes[self.page.blocks[at].node as usize].tag == Tag::Heading(1);
        }
        let mut parts = title.split(|letter: char| "—–|·:(".contains(letter)).flat_map(|part| part.split(" - "));
        heading.len() >= PART && title.contains(heading)
            || heading == title
            || parts.any(|part| {
                let part = part.trim();
                !part.is_empty() && (part == heading || part.len() >= PART && heading.contains(part))
            })
    }

    /// The title, unless a heading that is kept says the same.
    fn title(&self, kept: &[usize]) -> Option<String> {
        let says_it = |at: usize| self.text(at).len() <= LONGEST && words(self.text(at)) == self.title;
        let said = self.heading.is_some() || kept.first().is_some_and(|first| says_it(*first));
        (!said && !self.title.is_empty()).then(|| self.title.clone())
    }
}

/// What each element and all in it holds, of the blocks that count.
fn held(page: &Page, counts: impl Fn(usize) -> bool) -> Vec<Held> {
    let mut held = vec![Held::default(); page.nodes.len()];
    let mut start = 0;
    for (at, block) in page.blocks.iter().enumerate() {
        if counts(at) {
            let held = &mut held[block.node as usize];
            held.text += block.end.saturating_sub(start);
            held.link += block.link.min(block.end.saturating_sub(start));
        }
        start = block.end;
    }
    // Elements stand behind those they are in.
    for at in (1..page.nodes.len()).rev() {
        let Held { text, link } = held[at];
        let parent = &mut held[page.nodes[at].parent as usize];
        parent.text += text;
        parent.link += link;
    }
    held
}

/// Whether each element is beside the main text, or in one that is.
fn dropped(page: &Page, held: &[Held]) -> Vec<bool> {
    let mut dropped = vec![false; page.nodes.len()];
    let mut content = vec![false; page.nodes.len()];
    let all = held[0].plain();
    for (at, node) in page.nodes.iter().enumerate().skip(1) {
        let parent = node.parent as usize;
        let plain = held[at].plain();
        content[at] = content[parent] || node.cue == Cue::Content && plain > ENOUGH * all;
        let most = if node.cue == Cue::Hidden { NEARLY_ALL_HIDDEN } else { MOST };
        let beside = match node.cue {
            Cue::Beside | Cue::Contents | Cue::Hidden => true,
            Cue::Header => !content[parent],
            Cue::Box => f64::from(held[at].link) > BOX * f64::from(held[at].text),
            _ => node.tag == Tag::Aside && !content[parent],
        };
        dropped[at] = dropped[parent] || beside && plain < most * all;
    }
    dropped
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a line says who made the page, and when.
fn names_maker(text: &str) -> bool {
    const MAKERS: [&str; 12] = [
        "copyright",
        "©",
        "(c) ",
        "generated by",
        "generated on",
        "last updated",
        "last update:",
        "last modified",
        "last edited",
        "powered by",
        "built with",
        "created using",
    ];
    if text.len() > 300 {
        return false;
    }
    let lower = text.to_lowercase();
    MAKERS.iter().any(|begin| lower.starts_with(begin))
}

/// Whether a line is made of words that lead elsewhere.
fn turns_pages(text: &str) -> bool {
    const TURNS: [&str; 14] = [
        "next",
        "previous",
        "prev",
        "up",
        "home",
        "top",
        "index",
        "contents",
        "back",
        "to",
        "skip",
        "navigation",
        "search",
        "menu",
    ];
    if text.len() > 80 {
        return false;
    }
    let lower = text.to_lowercase();
    let mut words = lower.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    words.all(|word| TURNS.contains(&word))
}
