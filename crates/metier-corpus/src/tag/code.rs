use super::{Span, Tag, Tagger, length, whole};
use crate::layout::{Layout, is_letter};
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is said of code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// `code_copyright_comments_v1`: the comment that states the copyright, or the comments at the top.
    CopyrightComments,
    /// `code_redpajama_taggers_v1`: lengths of lines, and shares of letters and digits.
    Redpajama,
}

/// All of them.
pub(super) const METHODS: &[Method] = &[Method::CopyrightComments, Method::Redpajama];

/// # What it does
/// Tags what filters of source code ask for: the comment that states a copyright, how long lines are, and how much of a file are letters and digits.
///
/// # How
/// `copyright_comments`: the first comment between `/*` and `*/` is a span `copyright_notice` when it has the word "copyright"; where there is no such
/// comment, the lines at the top that are empty or begin with `//`, `#` or `--` are a span `comment_block`. `doc` is the share of the
/// characters in the span. `redpajama`, each over the document: `max_line_length_doc`, `avg_line_length_doc`, `alnum_prop_doc` (characters that are
/// letters, digits or other numbers), and `alpha_token_prop_doc` (letters for each run of word characters or of others).
///
/// # When to use
/// On code, to leave out what is generated, minified or data, and to cut license headers.
///
/// # Differs from the paper in
/// Nothing known of Dolma's `code_copyright_comments_v1` and `code_redpajama_taggers_v1`, but that letters may be those of another version of Unicode. As there, the end of `comment_block` does not
/// count line feeds of lines that are not empty, so it lies too far to the left. What Dolma's `code_secrets_v1` and `code_starcoder_taggers_v1` are for, `secrets` and `comments` say in their own way.
///
/// # Source
/// Together Computer 2023, RedPajama-Data-1T; Soldaini et al. 2024, Dolma (arXiv:2402.00159); Dolma 1.2.1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Code {
    /// What is said of code.
    pub tagger: Method,
}

impl Default for Code {
    fn default() -> Self {
        Self { tagger: Method::Redpajama }
    }
}

impl Tag for Code {
    fn name(&self) -> String {
        match self.tagger {
            Method::CopyrightComments => "code_copyright_comments_v1",
            Method::Redpajama => "code_redpajama_taggers_v1",
        }
        .to_owned()
    }

    fn kinds(&self) -> Vec<String> {
        let kinds: &[&str] = match self.tagger {
            Method::CopyrightComments => &["copyright_notice", "comment_block", "doc"],
            Method::Redpajama => {
                &["max_line_length_doc", "avg_line_length_doc", "alnum_prop_doc", "alpha_token_prop_doc"]
            }
        };
        kinds.iter().map(|kind| (*kind).to_owned()).collect()
    }

    fn start(&self) -> Box<dyn Tagger> {
        Box::new(self.clone())
    }
}

impl Tagger for Code {
    fn tag(&mut self, layout: &Layout, spans: &mut Vec<Span>) {
        match self.tagger {
            Method::CopyrightComments => {
                let found = copyright(layout);
                spans.extend(found);
                let score = match (found, layout.characters()) {
                    (None, _) => 0.0,
                    (Some(_), 0) => -1.0,
                    (Some(span), all) => (span.end - span.start + 1) as f64 / all as f64,
                };
                spans.push(whole(layout, 2, score));
            }
            Method::Redpajama => {
                for (kind, score) in (0..).zip(numbers(layout)) {
                    spans.push(whole(layout, kind, score));
                }
            }
        }
    }
}

/// The comment that states the copyright, or those at the top.
fn copyright(layout: &Layout) -> Option<Span> {
    let text = layout.text();
    let block = text.find("/*").and_then(|from| Some((from, from + 2 + text[from + 2..].find("*/")? + 2)));
    if let Some((from, to)) = block {
        let (start, end) = (layout.character(from), layout.character(to));
        return states_copyright(&text[from..to]).then_some(Span { start, end, kind: 0, score: 1.0 });
    }
    let top = layout.lines().iter().map(|line| layout.slice(*line));
    let top = top.take_while(|line| line.is_empty() || ["//", "#", "--"].iter().any(|sign| line.starts_with(sign)));
    let end: usize = top.map(|line| line.chars().count().max(1)).sum();
    (end > 0).then_some(Span { start: 0, end, kind: 1, score: 1.0 })
}

/// Whether the word is there in any case; both letters without or with a dot that are no ASCII are an `i` to the pattern.
fn states_copyright(text: &str) -> bool {
    let plain = |letter: char| match letter {
        '\u{130}' | '\u{131}' => 'i',
        letter => letter.to_ascii_lowercase(),
    };
    text.chars().map(plain).collect::<String>().contains("copyright")
}

/// The characters at which Python ends a line.
fn ends_line(letter: char) -> bool {
    matches!(letter, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// The longest line and the mean one, and shares of letters and numbers.
fn numbers(layout: &Layout) -> [f64; 4] {
    let (mut longest, mut length, mut inside, mut lines) = (0_usize, 0_usize, 0_usize, 0_usize);
    let (mut letters, mut numbers) = (0_usize, 0_usize);
    let mut characters = layout.text().chars().peekable();
    while let Some(letter) = characters.next() {
        if ends_line(letter) {
            if letter == '\r' {
                characters.next_if_eq(&'\n');
            }
            (longest, lines, length) = (longest.max(length), lines + 1, 0);
            continue;
        }
        (length, inside) = (length + 1, inside + 1);
        if is_letter(letter) {
            letters += 1;
        } else if letter.is_numeric() {
            numbers += 1;
        }
    }
    if length > 0 {
        (longest, lines) = (longest.max(length), lines + 1);
    }
    let share = |part: usize, of: usize| if of == 0 { 0.0 } else { part as f64 / of as f64 };
    let tokens = length::tokens(layout.text());
    [longest as f64, share(inside, lines), share(letters + numbers, layout.characters()), share(letters, tokens)]
}

impl Build<dyn Tag> for Code {
    fn build(self, _: &Place) -> Result<Box<dyn Tag>> {
        Ok(Box::new(self))
    }
}

/// The record of `code`.
pub static PART: Part<dyn Tag> = Part::of::<Code>("code", 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_text_has_the_scores_that_dolma_gives_it() {
        let mut layout = Layout::default();
        layout.set("");
        let scores = |tagger: Method| {
            let mut spans = Vec::new();
            Code { tagger }.tag(&layout, &mut spans);
            spans.iter().map(|span| (span.end, span.score)).collect::<Vec<_>>()
        };
        assert_eq!(scores(Method::CopyrightComments), [(1, 1.0), (0, -1.0)]);
        assert_eq!(scores(Method::Redpajama), [(0, 0.0); 4]);
    }
}
