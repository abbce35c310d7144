use super::{Known, Span, Tag, Tagger, whole};
use crate::layout::Layout;
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::ops::Range;

/// # What it does
/// Tags the comments of source code, and how much of a file they are.
///
/// # How
/// What stands under `key` in the document's metadata is the ending of the file's name (the reader must `keep` it) and decides the language; where nothing stands there, the name of the file that the document was read from does. Each comment with its signs is a span
/// `comment`; signs inside quoted text are none. In Python a string that is a statement is a `docstring`. `doc` is the share of the
/// characters that both are. Of a language that is not known only `unknown_language` is said. A text in whose first 100 characters an XML declaration stands is an `xml_template`.
///
/// # When to use
/// To leave out code without any explanation, or that is nearly all comment: that paper's data kept shares from 0.01 to 0.8.
///
/// # Differs from the paper in
/// Dolma's `code_starcoder_taggers_v1` cuts Python with its own parser, and counts docstrings without quotes and comments without `#`; other
/// languages it cuts with Pygments. Here one scanner knows the signs of some fifty languages. Stars are no attribute: a filter reads them from the metadata.
///
/// # Source
/// Li et al. 2023, StarCoder: may the source be with you! (arXiv:2305.06161), section 3.2; Soldaini et al. 2024, Dolma (arXiv:2402.00159).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Comments {
    /// Where the ending of the file's name stands in the metadata, if it does: a text as `py`, `.py` or a whole path.
    pub key: String,
}

impl Default for Comments {
    fn default() -> Self {
        Self { key: "ext".to_owned() }
    }
}

const COMMENT: u16 = 0;
const DOCSTRING: u16 = 1;
const DOC: u16 = 2;
const UNKNOWN: u16 = 3;
const XML: u16 = 4;

/// Characters in which the declaration of XML is looked for.
const BEGINNING: usize = 100;

/// The signs of a family of languages.
struct Signs {
    /// Endings of names, with spaces between.
    endings: &'static str,
    /// What begins a comment up to the end of the line.
    line: &'static [&'static str],
    /// What begins and ends a comment of several lines.
    block: &'static [(&'static str, &'static str)],
    /// What begins and ends quoted text; with a backslash before it, the end is none where `escapes`.
    quotes: &'static [&'static str],
    escapes: bool,
    /// Whether blocks may stand inside each other.
    nested: bool,
    /// Whether a comment up to the end of the line begins behind white space only.
    spaced: bool,
}

const PLAIN: Signs =
    Signs { endings: "", line: &[], block: &[], quotes: &["\"", "'"], escapes: true, nested: false, spaced: false };

static LANGUAGES: &[Signs] = &[
    Signs {
        endings: "c h cc cpp cxx hh hpp hxx c++ h++ ino cu cuh m mm java groovy gradle cs as proto thrift v sv svh glsl hlsl vert frag",
        line: &["//"],
        block: &[("/*", "*/")],
        ..PLAIN
    },
    Signs {
        endings: "js jsx mjs cjs es6 ts tsx go dart scss less",
        line: &["//"],
        block: &[("/*", "*/")],
        quotes: &["\"", "'", "`"],
        ..PLAIN
    },
    Signs {
        endings: "rs swift kt kts scala sbt d zig",
        line: &["//"],
        block: &[("/*", "*/")],
        // An apostrophe begins a lifetime as well as a letter.
        quotes: &["\"\"\"", "\""],
        nested: true,
        ..PLAIN
    },
    Signs { endings: "php phtml", line: &["//", "#"], block: &[("/*", "*/")], ..PLAIN },
    Signs { endings: "css", block: &[("/*", "*/")], ..PLAIN },
    Signs { endings: "py pyi pyw pyx gyp bzl wsgi", line: &["#"], quotes: &["\"\"\"", "'''", "\"", "'"], ..PLAIN },
    Signs { endings: "rb rake gemspec ru podspec", line: &["#"], block: &[("\n=begin", "\n=end")], ..PLAIN },
    Signs { endings: "jl", line: &["#"], block: &[("#=", "=#")], quotes: &["\"\"\"", "\""], nested: true, ..PLAIN },
    Signs { endings: "ps1 psm1", line: &["#"], block: &[("<#", "#>")], escapes: false, ..PLAIN },
    Signs {
        endings: "sh bash zsh ksh fish pl pm r awk tcl yaml yml toml cmake mk makefile dockerfile tf hcl nix ex exs cr conf",
        line: &["#"],
        spaced: true,
        ..PLAIN
    },
    Signs { endings: "sql pls ddl adb ads vhd vhdl", line: &["--"], block: &[("/*", "*/")], escapes: false, ..PLAIN },
    Signs { endings: "lua", line: &["--"], block: &[("--[[", "]]")], ..PLAIN },
    Signs { endings: "hs elm purs", line: &["--"], block: &[("{-", "-}")], quotes: &["\""], nested: true, ..PLAIN },
    Signs { endings: "ml mli fs fsi pas sml", block: &[("(*", "*)")], quotes: &["\""], nested: true, ..PLAIN },
    Signs { endings: "lisp lsp cl el clj cljs cljc scm rkt asm s", line: &[";"], quotes: &["\""], ..PLAIN },
    Signs { endings: "erl hrl tex sty cls m4 prolog", line: &["%"], quotes: &[], ..PLAIN },
    Signs { endings: "f90 f95 f03 f08", line: &["!"], escapes: false, ..PLAIN },
    Signs { endings: "vb vbs bas", line: &["'"], quotes: &["\""], escapes: false, ..PLAIN },
    Signs { endings: "html htm xhtml xml xsl xsd svg vue md", block: &[("<!--", "-->")], quotes: &[], ..PLAIN },
];

impl Tag for Comments {
    fn name(&self) -> String {
        "comments".to_owned()
    }

    fn kinds(&self) -> Vec<String> {
        ["comment", "docstring", "doc", "unknown_language", "xml_template"].map(str::to_owned).to_vec()
    }

    fn start(&self) -> Box<dyn Tagger> {
        Box::new(self.clone())
    }
}

impl Tagger for Comments {
    fn tag(&mut self, layout: &Layout, spans: &mut Vec<Span>) {
        tag(layout, "", spans);
    }

    fn tag_with(&mut self, layout: &Layout, known: &Known, spans: &mut Vec<Span>) -> Result<()> {
        tag(layout, known.value(&self.key).map_or(Some(known.source), Value::as_str).unwrap_or_default(), spans);
        Ok(())
    }
}

fn tag(layout: &Layout, name: &str, spans: &mut Vec<Span>) {
    let text = layout.text();
    let declared = text.find("<?xml version=").is_some_and(|at| layout.character(at) < BEGINNING);
    if declared {
        spans.push(whole(layout, XML, 1.0));
    }
    let ending = name.rsplit(['.', '/']).next().unwrap_or_default().to_ascii_lowercase();
    let known = |signs: &&Signs| !ending.is_empty() && signs.endings.split(' ').any(|known| known == ending);
    let Some(signs) = LANGUAGES.iter().find(known) else {
        spans.push(whole(layout, UNKNOWN, 1.0));
        return;
    };
    let mut inside = 0;
    let documented = signs.quotes.contains(&"'''");
    scan(text, signs, documented, |kind, bytes| {
        let (start, end) = (layout.character(bytes.start), layout.character(bytes.end));
        inside += end - start;
        spans.push(Span { start, end, kind, score: 1.0 });
    });
    let share = if text.is_empty() { 0.0 } else { inside as f64 / layout.characters() as f64 };
    spans.push(whole(layout, DOC, share));
}

/// Calls with the bytes of each comment and docstring, in order.
fn scan(text: &str, signs: &Signs, documented: bool, mut found: impl FnMut(u16, Range<usize>)) {
    let mut at = 0;
    // Whether nothing but white space stands before on the line, and brackets that are open: a string there is a statement.
    let (mut first, mut open) = (true, 0_usize);
    while at < text.len() {
        let rest = &text[at..];
        if let Some((begin, end)) = signs.block.iter().find(|(begin, _)| opens(text, at, begin)) {
            let length = block_length(rest, begin, end, signs.nested);
            found(COMMENT, at + usize::from(rest.starts_with('\n'))..at + length);
            at += length;
        } else if signs.line.iter().any(|sign| rest.starts_with(sign)) && !(signs.spaced && joined(text, at)) {
            let length = rest.find('\n').unwrap_or(rest.len());
            found(COMMENT, at..at + length);
            at += length;
        } else if let Some(quote) = signs.quotes.iter().find(|quote| rest.starts_with(**quote)) {
            let length = quoted_length(rest, quote, signs.escapes);
            if documented && first && open == 0 {
                found(DOCSTRING, at..at + length);
            }
            (at, first) = (at + length, false);
        } else {
            let letter = rest.chars().next().unwrap_or(' ');
            match letter {
                '\n' => first = true,
                '(' | '[' | '{' => (first, open) = (false, open + 1),
                ')' | ']' | '}' => (first, open) = (false, open.saturating_sub(1)),
                letter if letter.is_whitespace() => {}
                // What a backslash takes away its meaning from, and a letter of its own: `'"'`.
                '\\' | '\'' => {
                    first = false;
                    at += if letter == '\\' || rest.starts_with("'\\") {
                        rest.chars().skip(1).take(1 + usize::from(letter == '\'')).map(char::len_utf8).sum()
                    } else {
                        2 * usize::from(rest.starts_with("'\"'"))
                    };
                }
                // `r"..."` is a string too.
                'r' | 'R' | 'u' | 'U' if rest[1..].starts_with(['"', '\'']) => {}
                _ => first = false,
            }
            at += letter.len_utf8();
        }
    }
}

/// Whether something other than white space stands right before.
fn joined(text: &str, at: usize) -> bool {
    text[..at].chars().next_back().is_some_and(|letter| !letter.is_whitespace())
}

/// Whether a block begins here; one that must stand at the beginning of a line may be the first of the text.
fn opens(text: &str, at: usize, begin: &str) -> bool {
    text[at..].starts_with(begin) || (at == 0 && begin.starts_with('\n') && text.starts_with(&begin[1..]))
}

/// Bytes up to the end of a block, or of the text.
fn block_length(rest: &str, begin: &str, end: &str, nested: bool) -> usize {
    let (mut at, mut depth) = (begin.len().min(rest.len()), 1);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(end.as_bytes()) {
            (at, depth) = (at + end.len(), depth - 1);
            if depth == 0 {
                return at;
            }
        } else if nested && here.starts_with(begin.as_bytes()) {
            (at, depth) = (at + begin.len(), depth + 1);
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Bytes of quoted text with its signs: up to the sign, or, where one letter is the sign and it is none of the long ones, the end of the line.
fn quoted_length(rest: &str, quote: &str, escapes: bool) -> usize {
    let bytes = rest.as_bytes();
    let mut at = quote.len();
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if escapes => at += 2,
            b'\n' if quote.len() == 1 && quote != "`" => return at,
            _ if bytes[at..].starts_with(quote.as_bytes()) => return at + quote.len(),
            _ => at += 1,
        }
    }
    // A backslash may have stood before a letter of several bytes.
    rest.len()
}

impl Build<dyn Tag> for Comments {
    fn build(self, _: &Place) -> Result<Box<dyn Tag>> {
        Ok(Box::new(self))
    }
}

/// The record of `comments`.
pub static PART: Part<dyn Tag> = Part::of::<Comments>("comments", 1);

#[cfg(test)]
mod tests {
    use super::*;
    use metier_core::data::Metadata;

    fn found(ending: &str, text: &str) -> (Vec<String>, f64) {
        let mut layout = Layout::default();
        layout.set(text);
        let mut spans = Vec::new();
        tag(&layout, ending, &mut spans);
        let letters: Vec<char> = text.chars().collect();
        let said = |span: &&Span| span.kind <= DOCSTRING;
        let texts = spans.iter().filter(said).map(|span| letters[span.start..span.end].iter().collect()).collect();
        (texts, spans.iter().find(|span| span.kind == DOC).map_or(-1.0, |span| span.score))
    }

    #[test]
    fn comments_are_found_and_signs_inside_quotes_are_none() {
        let python = "\"\"\"All.\"\"\"\nx = '''# no''' # yes\ndef f(a=\"b\"):\n    r'doc'\n    g(\n'no')";
        let rust = "/* a /* b */ c */ let q = '\"'; // d\nlet s: &'static str = \"// no\"; // e";
        let cases: &[(&str, &str, &[&str])] = &[
            (
                "c",
                "int a; // é one\nchar *b = \"// no\"; /* two\n */ c = '\"'; // three",
                &["// é one", "/* two\n */", "// three"],
            ),
            ("src/lib.rs", rust, &["/* a /* b */ c */", "// d", "// e"]),
            ("rs", "let q = '\\''; // a\nlet p = '\\\\'; // b", &["// a", "// b"]),
            (".py", python, &["\"\"\"All.\"\"\"", "# yes", "'doc'"]),
            ("sh", "echo ${x#y} $# # yes\n# too", &["# yes", "# too"]),
            ("js", "let t = `a // no ${b}`; // yes", &["// yes"]),
            (
                "rb",
                "=begin\none\n=end\nx # two\n=begin\nthree\n=end",
                &["=begin\none\n=end", "# two", "=begin\nthree\n=end"],
            ),
            ("sql", "select '--no', 'a\\' -- yes", &["-- yes"]),
            ("html", "<p># // <!-- one --> \"<!-- two", &["<!-- one -->", "<!-- two"]),
            ("tex", "50\\% of \"it % yes", &["% yes"]),
            ("c", "/* never ends", &["/* never ends"]),
            ("c", "\"\\é\\", &[]),
            ("c", "", &[]),
        ];
        for (ending, text, comments) in cases {
            let (own, share) = found(ending, text);
            assert_eq!(own, *comments, "{ending}: {text}");
            let inside: usize = comments.iter().map(|comment| comment.chars().count()).sum();
            let all = text.chars().count().max(1);
            assert!((share - inside as f64 / all as f64).abs() < 1e-12, "{ending}: {text}");
        }
    }

    #[test]
    fn the_metadata_decides_and_then_the_name_of_the_file() {
        let metadata = Metadata::from_iter([("ext".to_owned(), "py".into())]);
        let mut layout = Layout::default();
        layout.set("# a // b");
        for (metadata, source, share) in
            [(Some(&metadata), "a.c", 1.0), (None, "src/a.py", 1.0), (None, "src/a.c", 0.5), (None, "in.jsonl:1", -1.0)]
        {
            let mut spans = Vec::new();
            Comments::default().start().tag_with(&layout, &Known { source, metadata }, &mut spans).unwrap();
            let found = spans.iter().find(|span| span.kind == DOC).map_or(-1.0, |span| span.score);
            assert!((found - share).abs() < 1e-12, "{source}: {found}");
        }
    }

    #[test]
    fn a_language_that_is_not_known_is_said() {
        for ending in ["", "unheard", "a/b."] {
            assert!(found(ending, "# x").1 < 0.0, "{ending}");
        }
    }
}
