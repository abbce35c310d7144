//! Which brackets and elements of a wikitext belong together.

use std::collections::BTreeSet;

/// What stands between two places that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing that is read: a template, a table, a comment, a footnote, a picture gallery.
    Dropped,
    /// A link, with the place of its first bar.
    Link(Option<usize>),
    /// What is read as it stands, between these places.
    Literal(usize, usize),
    /// A block of such.
    Block(usize, usize),
    /// A formula, between these places.
    Formula(usize, usize),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    pub start: usize,
    pub end: usize,
    pub kind: Kind,
}

/// What an element is whose content stands between two places.
type Make = fn(usize, usize) -> Kind;

/// Elements whose content is no wikitext.
#[rustfmt::skip]
const ELEMENTS: [(&str, Make); 26] = [
    ("categorytree", dropped),
    ("ce", Kind::Formula),
    ("chem", Kind::Formula),
    ("gallery", dropped),
    ("graph", dropped),
    ("hiero", dropped),
    ("imagemap", dropped),
    ("includeonly", dropped),
    ("indicator", dropped),
    ("inputbox", dropped),
    ("mapframe", dropped),
    ("maplink", dropped),
    ("math", Kind::Formula),
    ("nowiki", Kind::Literal),
    ("pre", Kind::Block),
    ("ref", dropped),
    ("references", dropped),
    ("score", dropped),
    ("script", dropped),
    ("source", Kind::Block),
    ("style", dropped),
    ("syntaxhighlight", Kind::Block),
    ("templatedata", dropped),
    ("templatestyles", dropped),
    ("timeline", dropped),
    ("title", dropped),
];

fn dropped(_: usize, _: usize) -> Kind {
    Kind::Dropped
}

/// The name of the tag that begins here, in lower case, and where the tag ends.
pub(super) fn tag(text: &str, at: usize) -> Option<(String, usize)> {
    let inside = text.get(at + 1..)?;
    let name = inside.strip_prefix('/').unwrap_or(inside);
    let name = &name[..name.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(name.len())];
    if !name.starts_with(|letter: char| letter.is_ascii_alphabetic()) || name.len() > 16 {
        return None;
    }
    let end = inside.find(['<', '>']).filter(|end| inside.as_bytes()[*end] == b'>')?;
    Some((name.to_ascii_lowercase(), at + 1 + end + 1))
}

/// An opening that has not found its end.
enum Open {
    /// Braces, as many as are left.
    Braces(usize, usize),
    Link(usize, Option<usize>),
    Table(usize),
}

/// Finds what belongs together, in the order of its beginnings. What crosses something that ends later is not counted, and takes no more time
/// than the text is long.
pub(super) fn pairs(text: &str) -> Vec<Pair> {
    let bytes = text.as_bytes();
    let (mut out, mut open) = (Vec::new(), Vec::new());
    // How many of each kind are open: braces, links, tables.
    let mut counts = [0_usize; 3];
    // Ends that were not found from somewhere on, so that they are not searched again.
    let mut missing = BTreeSet::new();
    let mut at = 0;
    while at < bytes.len() {
        let run = || bytes[at..].iter().take_while(|byte| **byte == bytes[at]).count();
        let begins_line = || matches!(text[..at].trim_end_matches([' ', ':']).as_bytes().last(), None | Some(b'\n'));
        match bytes[at] {
            b'<' => {
                let pair = element(text, at, &mut missing);
                at = pair.map_or(at + 1, |pair| pair.end);
                out.extend(pair);
            }
            b'{' if bytes.get(at + 1) == Some(&b'|') && begins_line() => {
                open.push(Open::Table(at));
                counts[2] += 1;
                at += 2;
            }
            b'{' => {
                let count = run();
                if count > 1 {
                    open.push(Open::Braces(at, count));
                    counts[0] += 1;
                }
                at += count;
            }
            b'}' => {
                let mut left = run();
                at += left;
                while left > 1 && counts[0] > 0 {
                    match open.last_mut() {
                        Some(Open::Braces(start, count)) => {
                            let both = (*count).min(left);
                            left -= both;
                            *count -= both;
                            let (start, count) = (*start, *count);
                            out.push(Pair { start: start + count, end: at - left, kind: Kind::Dropped });
                            if count < 2 {
                                close(&mut open, &mut counts);
                            }
                        }
                        _ => close(&mut open, &mut counts),
                    }
                }
            }
            b'|' if bytes.get(at + 1) == Some(&b'}')
                && bytes.get(at + 2) != Some(&b'}')
                && counts[2] > 0
                && begins_line() =>
            {
                at += 2;
                while let Some(last) = open.last() {
                    let start = if let Open::Table(start) = last { Some(*start) } else { None };
                    close(&mut open, &mut counts);
                    if let Some(start) = start {
                        out.push(Pair { start, end: at, kind: Kind::Dropped });
                        break;
                    }
                }
            }
            b'|' => {
                if let Some(Open::Link(_, bar @ None)) = open.last_mut() {
                    *bar = Some(at);
                }
                at += 1;
            }
            b'[' => {
                let count = run();
                at += count;
                if count > 1 {
                    open.push(Open::Link(at - 2, None));
                    counts[1] += 1;
                }
            }
            b']' if bytes.get(at + 1) == Some(&b']') => {
                at += 2;
                while counts[1] > 0 {
                    let link = if let Some(Open::Link(start, bar)) = open.last() { Some((*start, *bar)) } else { None };
                    close(&mut open, &mut counts);
                    if let Some((start, bar)) = link {
                        out.push(Pair { start, end: at, kind: Kind::Link(bar) });
                        break;
                    }
                }
            }
            _ => at += 1,
        }
    }
    out.sort_unstable_by_key(|pair| pair.start);
    out
}

/// Takes the last opening away.
fn close(open: &mut Vec<Open>, counts: &mut [usize; 3]) {
    match open.pop() {
        Some(Open::Braces(..)) => counts[0] -= 1,
        Some(Open::Link(..)) => counts[1] -= 1,
        Some(Open::Table(_)) => counts[2] -= 1,
        None => {}
    }
}

/// A comment, or an element whose content is no wikitext.
fn element(text: &str, at: usize, missing: &mut BTreeSet<&'static str>) -> Option<Pair> {
    if text[at..].starts_with("<!--") {
        // A comment without an end goes on to the end of the page.
        let end = text[at + 4..].find("-->").map_or(text.len(), |end| at + 4 + end + 3);
        return Some(Pair { start: at, end, kind: Kind::Dropped });
    }
    let (name, inner) = tag(text, at)?;
    let (name, kind) = ELEMENTS.into_iter().find(|(known, _)| *known == name)?;
    if text[at..].starts_with("</") || text[..inner].ends_with("/>") {
        return Some(Pair { start: at, end: inner, kind: Kind::Dropped });
    }
    if missing.contains(name) {
        return None;
    }
    for (found, _) in text[inner..].match_indices("</") {
        let close = inner + found;
        match tag(text, close) {
            Some((closed, end)) if closed == name => return Some(Pair { start: at, end, kind: kind(inner, close) }),
            _ => {}
        }
    }
    missing.insert(name);
    None
}
