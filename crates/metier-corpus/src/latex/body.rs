//! Reading a document's body.

use super::macros::{Macros, Meaning, ends_in_backslash, ends_in_command, filled};
use super::out::Out;
use super::stream::{ADDED, DEPTH, Spot, Stream};
use super::words::{Command, Environment, accent, command, environment, symbol};
use super::{Stop, fault, include};
use metier_core::Fault;
use std::collections::BTreeSet;
use std::path::Path;
use unicode_normalization::UnicodeNormalization;

/// Most braces and environments that may be open inside each other.
const OPEN: usize = 10_000;

/// What is open.
#[derive(Debug, PartialEq, Eq)]
enum Open {
    /// A brace.
    Group,
    /// A heading of this level; its text begins at this byte.
    Heading { level: usize, before: usize, start: usize },
    /// An aside.
    Footnote,
    /// Mathematics between `open` and this end; its text begins at this byte.
    Math { end: End, start: usize },
    /// An environment; its text begins at this byte, and goes when it is to be dropped.
    Environment { name: String, start: usize, fate: Fate },
}

/// What becomes of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Its frame goes.
    Plain,
    /// Its frame is part of mathematics.
    Written,
    /// It goes, with the spans that were kept since there were so many.
    Dropped { kept: usize },
    /// The document defines what its end stands for.
    Defined,
    /// That has been put in its place; the end itself is still to come.
    Ended,
}

/// What ends mathematics.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Dollar,
    Dollars,
    Round,
    Square,
    Brace,
    /// The end of an environment that is part of the mathematics or not.
    Environment {
        name: String,
        whole: bool,
    },
}

impl End {
    fn mark(&self) -> &'static str {
        match self {
            Self::Dollar | Self::Round | Self::Brace => "$",
            Self::Dollars | Self::Square | Self::Environment { .. } => "$$",
        }
    }
}

/// A document being cleaned.
pub(super) struct Body<'a> {
    root: &'a Path,
    refused: &'a BTreeSet<String>,
    pub stream: Stream,
    pub out: Out,
    pub faults: Vec<Fault>,
    /// Spans kept and dropped.
    pub mathematics: (usize, usize),
    macros: Macros,
    open: Vec<(Open, Spot)>,
    /// How much of `open` is outside of the mathematics that is being read.
    math: Option<usize>,
    /// Headings that are open.
    headings: usize,
    preamble: bool,
    title: Option<String>,
    /// The section that is to be dropped: its level, its first byte, and the spans kept before it.
    cut: Option<(usize, usize, usize)>,
}

impl<'a> Body<'a> {
    pub(super) fn new(root: &'a Path, stream: Stream, refused: &'a BTreeSet<String>) -> Self {
        Self {
            root,
            refused,
            out: Out::default(),
            faults: Vec::new(),
            mathematics: (0, 0),
            macros: Macros::default(),
            open: Vec::new(),
            math: None,
            headings: 0,
            preamble: super::is_document(stream.text()),
            stream,
            title: None,
            cut: None,
        }
    }

    /// Reads to the end.
    pub(super) fn read(&mut self) -> Result<(), Stop> {
        while let Some(letter) = self.stream.peek() {
            let source = self.stream.source();
            match letter {
                ' ' | '\t' | '\r' | '\n' | '%' => self.space(source)?,
                '\\' => {
                    let spot = self.stream.spot();
                    self.stream.skip(1);
                    let name = self.stream.name();
                    self.command(&name, spot, source)?;
                }
                _ if self.preamble => self.stream.skip(letter.len_utf8()),
                '{' => {
                    self.open(Open::Group, self.stream.spot())?;
                    self.stream.skip(1);
                    if self.math.is_some() {
                        self.put("{", source);
                    }
                }
                '}' => self.close_brace(source)?,
                '$' => self.dollar(source)?,
                _ if self.math.is_none() && self.ligature(letter) => {}
                _ => {
                    let special = |letter: char| " \t\r\n%\\{}$~`'-".contains(letter);
                    let rest = self.stream.rest();
                    let end = rest[letter.len_utf8()..].find(special).map_or(rest.len(), |at| at + letter.len_utf8());
                    let word = rest[..end].to_owned();
                    self.word(&word, source);
                    self.stream.skip(end);
                }
            }
        }
        if let Some((open, spot)) = self.open.pop() {
            return Err(Stop::new(spot, format!("{} is never closed", said(&open))));
        }
        self.end_cut(0);
        Ok(())
    }

    /// Writes a text, which stands at this byte of the main file unless something else does.
    fn put(&mut self, text: &str, source: Option<usize>) {
        let stands = |at: &usize| self.stream.text().get(*at..).is_some_and(|rest| rest.starts_with(text));
        self.out.push(text, source.filter(stands));
    }

    /// Writes a text as it is. In mathematics it stays apart from a command that a macro wrote before it.
    fn word(&mut self, word: &str, source: Option<usize>) {
        if self.math.is_some()
            && word.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && ends_in_command(&self.out.text)
        {
            self.out.push(" ", None);
        }
        self.put(word, source);
    }

    /// White space and comments: as they are in mathematics, one space, line or paragraph in text.
    fn space(&mut self, source: Option<usize>) -> Result<(), Stop> {
        let spot = self.stream.spot();
        let space = self.stream.space();
        if self.preamble || space.raw.is_empty() {
            return Ok(());
        }
        if let Some(math) = self.math {
            if space.paragraph && math + 1 == self.open.len() {
                return Err(Stop::new(spot, "a paragraph ends inside mathematics"));
            }
            if self.out.text.len() > self.out.mark {
                self.put(&space.raw, source);
            }
        } else if space.paragraph && self.headings == 0 {
            self.out.paragraph();
        } else if !self.out.at_gap() {
            let line = self.headings == 0 && space.raw.contains('\n');
            let written = if line { "\n" } else { " " };
            self.put(written, source);
        }
        Ok(())
    }

    /// Marks of the text that stand for one character.
    fn ligature(&mut self, letter: char) -> bool {
        let rest = self.stream.rest();
        let (length, mark) = match letter {
            '~' => (1, " "),
            '`' if rest.starts_with("``") => (2, "\""),
            '\'' if rest.starts_with("''") => (2, "\""),
            '`' => (1, "'"),
            '-' if rest.starts_with("---") => (3, "—"),
            '-' if rest.starts_with("--") => (2, "–"),
            _ => return false,
        };
        self.stream.skip(length);
        self.out.push(mark, None);
        true
    }

    fn open(&mut self, open: Open, spot: Spot) -> Result<(), Stop> {
        if self.open.len() >= OPEN {
            return Err(Stop::new(spot, format!("more than {OPEN} braces and environments are open")));
        }
        self.open.push((open, spot));
        Ok(())
    }

    fn close_brace(&mut self, source: Option<usize>) -> Result<(), Stop> {
        let spot = self.stream.spot();
        self.stream.skip(1);
        match self.open.pop() {
            Some((Open::Group, _)) => {
                if self.math.is_some() {
                    self.put("}", source);
                }
            }
            Some((Open::Heading { level, before, start }, _)) => {
                self.headings -= 1;
                let title = self.out.text.get(start..).unwrap_or_default().trim().to_lowercase();
                if title.is_empty() {
                    self.out.truncate(before);
                } else if title.contains("acknowledg") || matches!(title.as_str(), "references" | "bibliography") {
                    self.cut = Some((level, before, self.mathematics.0));
                }
                self.out.paragraph();
            }
            Some((Open::Footnote, _)) => self.out.push(")", None),
            Some((Open::Math { end: End::Brace, start }, _)) => self.close_math(&End::Brace, start),
            Some((open, opened)) => {
                let line = self.stream.place(opened);
                return Err(Stop::new(spot, format!("this brace closes {} of {line}", said(&open))));
            }
            None => return Err(Stop::new(spot, "this brace closes nothing")),
        }
        Ok(())
    }

    fn dollar(&mut self, source: Option<usize>) -> Result<(), Stop> {
        let spot = self.stream.spot();
        let double = self.stream.rest().starts_with("$$");
        let end = match self.open.last() {
            Some((Open::Math { end: End::Dollar, .. }, _)) => Some(End::Dollar),
            Some((Open::Math { end: End::Dollars, .. }, _)) if double => Some(End::Dollars),
            Some((Open::Math { .. }, _)) => return Err(Stop::new(spot, "a `$` inside mathematics")),
            _ => None,
        };
        if let Some(end) = end {
            self.stream.skip(end.mark().len());
            if let Some((Open::Math { start, .. }, _)) = self.open.pop() {
                self.close_math(&end, start);
            }
        } else if self.math.is_some() {
            self.put("$", source);
            self.stream.skip(1);
        } else {
            self.open_math(if double { End::Dollars } else { End::Dollar }, spot)?;
            self.stream.skip(if double { 2 } else { 1 });
        }
        Ok(())
    }

    fn open_math(&mut self, end: End, spot: Spot) -> Result<(), Stop> {
        if end.mark() == "$$" {
            self.out.paragraph();
        }
        self.out.push(end.mark(), None);
        if let End::Environment { name, whole: true } = &end {
            self.out.push(&format!("\\begin{{{name}}}"), None);
        }
        self.math = Some(self.open.len());
        self.out.mark = self.out.text.len();
        self.open(Open::Math { end, start: self.out.mark }, spot)
    }

    fn close_math(&mut self, end: &End, start: usize) {
        self.math = None;
        self.out.trim(start, &[' ', '\n', '\t']);
        if ends_in_backslash(&self.out.text) {
            self.out.push(" ", None);
        }
        if let End::Environment { name, whole: true } = end {
            self.out.push(&format!("\\end{{{name}}}"), None);
        }
        self.out.push(end.mark(), None);
        self.mathematics.0 += 1;
        if end.mark() == "$$" {
            self.out.paragraph();
        }
    }

    /// Whether the innermost thing open is mathematics with this end, which is closed then.
    fn ends_math(&mut self, wanted: impl Fn(&End) -> bool) -> bool {
        match self.open.pop() {
            Some((Open::Math { end, start }, _)) if wanted(&end) => {
                self.close_math(&end, start);
                true
            }
            Some(other) => {
                self.open.push(other);
                false
            }
            None => false,
        }
    }

    fn command(&mut self, name: &str, spot: Spot, source: Option<usize>) -> Result<(), Stop> {
        match name {
            "begin" => return self.begin(spot),
            "end" => return self.end(spot),
            "input" | "include" | "subfile" => return self.include(name, spot),
            // A command that is only spoken of has no class behind it.
            "documentclass" | "documentstyle" => self.preamble |= self.stream.rest().starts_with(['[', '{']),
            // What follows is spoken of.
            "string" if self.stream.take('\\') => {
                let name = self.stream.name();
                if !self.preamble {
                    self.write_command(&name, None);
                }
            }
            "endinput" => self.stream.leave_file(),
            "makeatletter" | "makeatother" => self.stream.at_is_letter = name == "makeatletter",
            "iffalse" => return self.skip_condition(spot),
            "title" => {
                self.stream.optional();
                self.title = Some(self.stream.argument()?);
            }
            _ if self.macros.define(name, &mut self.stream)? => {}
            _ if self.preamble => {}
            _ if self.refused.contains(name) => self.write_command(name, source),
            _ => {
                let original = match self.macros.get(name) {
                    Some(Meaning::Original(other)) => Some(other.clone()),
                    Some(_) if !self.is_ours(name) => {
                        return self.expand(name, spot, source);
                    }
                    _ => None,
                };
                let name = original.as_deref().unwrap_or(name);
                return if self.math.is_some() {
                    self.math_command(name, source)
                } else {
                    self.text_command(name, spot)
                };
            }
        }
        Ok(())
    }

    /// Whether a command keeps its meaning here whatever the document defines.
    fn is_ours(&self, name: &str) -> bool {
        match command(name) {
            Some(Command::Pointer | Command::Ensure) => true,
            Some(_) => self.math.is_none(),
            None => false,
        }
    }

    /// Puts a macro's text in the place of its call.
    fn expand(&mut self, name: &str, spot: Spot, source: Option<usize>) -> Result<(), Stop> {
        let Some(Meaning::Text { arguments, default, body }) = self.macros.get(name).cloned() else {
            self.note(spot, format!("`\\{name}` is defined with arguments that end at a word, so it is left as it is"));
            self.write_command(name, source);
            return Ok(());
        };
        let mut given = Vec::new();
        if let Some(default) = default {
            given.push(self.stream.optional().unwrap_or(default));
        }
        while given.len() < arguments {
            given.push(self.stream.argument()?);
        }
        if arguments == 0 && self.math.is_none() && !name.contains(' ') && !body.trim_end().ends_with("\\xspace") {
            self.stream.skip_blank();
        }
        let text = filled(&body, &given, ADDED);
        let text = text.ok_or_else(|| Stop::new(spot, format!("`\\{name}` stands for more than {ADDED} bytes")))?;
        let Some((blamed, itself)) = self.stream.enter_macro(name, &text, spot)? else { return Ok(()) };
        let message = if itself {
            format!("`\\{blamed}` expands to itself, so it is left as it is")
        } else {
            format!("`\\{blamed}` stands in {DEPTH} macros inside each other, so it is left as it is")
        };
        Err(Stop::Refuse(spot, blamed, message))
    }

    fn note(&mut self, spot: Spot, message: String) {
        if self.faults.len() < super::FAULTS {
            self.faults.push(fault(self.stream.place(spot), message));
        }
    }

    /// Writes a command as it stands in the source.
    fn write_command(&mut self, name: &str, source: Option<usize>) {
        self.put("\\", source);
        self.put(name, source.map(|at| at + 1));
    }

    fn math_command(&mut self, name: &str, source: Option<usize>) -> Result<(), Stop> {
        match name {
            ")" if self.ends_math(|end| *end == End::Round) => {}
            "]" if self.ends_math(|end| *end == End::Square) => {}
            "ensuremath" | "xspace" => {}
            _ if name == "label" || command(name) == Some(Command::Pointer) => {
                self.stream.optional();
                self.stream.argument()?;
                // Else a line of its own would stay behind as a blank one.
                if self.out.text.ends_with([' ', '\n']) {
                    self.stream.space();
                }
            }
            _ => self.write_command(name, source),
        }
        Ok(())
    }

    fn text_command(&mut self, name: &str, spot: Spot) -> Result<(), Stop> {
        if let Some(meaning) = command(name) {
            return self.known(name, meaning, spot);
        }
        match name {
            "(" => return self.open_math(End::Round, spot),
            "[" => return self.open_math(End::Square, spot),
            ")" | "]" => return Err(Stop::new(spot, format!("`\\{name}` closes nothing"))),
            _ => {}
        }
        let is_word = name.starts_with(|letter: char| letter.is_ascii_alphabetic());
        if let Some(symbol) = symbol(name) {
            if symbol != " " || !self.out.at_gap() {
                self.out.push(symbol, None);
            }
        } else if let Some(accent) = accent(name) {
            let letter = self.stream.argument()?;
            let letter = match letter.trim() {
                "\\i" => "i",
                "\\j" => "j",
                letter => letter,
            };
            let mut letters = letter.chars();
            let written: String = letters.next().into_iter().chain([accent]).chain(letters).nfc().collect();
            self.out.push(if letter.is_empty() { "" } else { &written }, None);
            return Ok(());
        } else if is_word {
            self.stream.take('*');
            self.optional(spot);
        }
        if is_word {
            self.stream.skip_blank();
        }
        Ok(())
    }

    fn known(&mut self, name: &str, meaning: Command, spot: Spot) -> Result<(), Stop> {
        match meaning {
            Command::Arguments(number) => {
                self.stream.take('*');
                self.drop_arguments(number)?;
            }
            Command::Pointer => {
                self.stream.take('*');
                // A line's end too, but not a paragraph's.
                if !self.out.text.ends_with("\n\n") {
                    self.out.trim(self.out.mark, &[' ', '\n']);
                }
                while self.stream.optional().is_some() {}
                self.stream.argument()?;
            }
            Command::Heading(level) => {
                self.stream.take('*');
                self.stream.optional();
                self.heading(level, spot)?;
            }
            Command::Footnote => {
                self.stream.optional();
                self.stream.space();
                if self.stream.take('{') {
                    self.out.trim(self.out.mark, &[' ']);
                    self.out.push(" (", None);
                    self.open(Open::Footnote, spot)?;
                }
            }
            Command::Ensure => {
                self.stream.space();
                if self.stream.take('{') {
                    self.open_math(End::Brace, spot)?;
                }
            }
            Command::Item => {
                self.out.line();
                self.out.push("- ", None);
                self.out.mark = self.out.text.len();
                if let Some(label) = self.stream.optional() {
                    self.stream.insert("", &format!("{label} "), spot);
                }
            }
            Command::Verbatim => {
                self.stream.take('*');
                self.stream.optional();
                let Some(mark) = self.stream.peek() else { return Ok(()) };
                self.stream.skip(mark.len_utf8());
                let end = if mark == '{' { '}' } else { mark };
                let inside = self.stream.until(&end.to_string());
                let inside = inside.ok_or_else(|| Stop::new(spot, format!("this `\\{name}` never ends")))?;
                self.out.push(&format!("`{inside}`"), None);
            }
            Command::Title => {
                if let Some(title) = self.title.take() {
                    self.stream.insert("", &format!("\\part*{{{title}}}"), spot);
                }
            }
            Command::Acknowledgment => {
                self.stream.skip_blank();
                if self.stream.peek() == Some('{') {
                    self.stream.argument()?;
                } else {
                    self.end_cut(2);
                    self.cut = Some((2, self.out.text.len(), self.mathematics.0));
                }
            }
            Command::Appendix => {
                self.end_cut(0);
                if name == "bibliography" {
                    self.stream.argument()?;
                }
            }
            Command::Length => {
                let rest = self.stream.rest();
                let length = rest.trim_start_matches(' ');
                let length =
                    length.trim_start_matches(|letter: char| letter.is_ascii_alphanumeric() || "-.".contains(letter));
                let skipped = rest.len() - length.len();
                self.stream.skip(skipped);
            }
            Command::Break => {
                self.stream.take('*');
                self.stream.optional();
                if self.headings > 0 && !self.out.at_gap() {
                    self.out.push(" ", None);
                } else if self.headings == 0 {
                    self.out.line();
                }
            }
        }
        Ok(())
    }

    /// Drops an argument in brackets, but not the mathematics of a theorem's name.
    fn optional(&mut self, spot: Spot) {
        if let Some(text) = self.stream.optional().filter(|text| text.contains('$') || text.contains("\\(")) {
            self.stream.insert("", &format!("({text}) "), spot);
        }
    }

    fn drop_arguments(&mut self, number: usize) -> Result<(), Stop> {
        for _ in 0..number {
            while self.stream.optional().is_some() {}
            self.stream.argument()?;
        }
        while self.stream.optional().is_some() {}
        Ok(())
    }

    fn heading(&mut self, level: usize, spot: Spot) -> Result<(), Stop> {
        self.stream.space();
        if !self.stream.take('{') {
            return Ok(());
        }
        self.end_cut(level);
        let before = self.out.text.len();
        self.out.paragraph();
        self.out.push(&format!("{} ", "#".repeat(level)), None);
        self.headings += 1;
        self.out.mark = self.out.text.len();
        self.open(Open::Heading { level, before, start: self.out.mark }, spot)
    }

    /// Drops the section that was to be dropped, where one of this level begins.
    fn end_cut(&mut self, level: usize) {
        if let Some((_, start, kept)) = self.cut.take_if(|(of, ..)| level <= *of) {
            self.out.truncate(start);
            self.drop_spans(kept);
            self.out.paragraph();
        }
    }

    /// Counts the spans since there were so many as dropped.
    fn drop_spans(&mut self, kept: usize) {
        let gone = self.mathematics.0.saturating_sub(kept);
        self.mathematics.0 -= gone;
        self.mathematics.1 += gone;
    }

    fn begin(&mut self, spot: Spot) -> Result<(), Stop> {
        let name = self.stream.argument()?.trim().to_owned();
        let meaning = environment(&name);
        match meaning {
            Environment::Skipped | Environment::Verbatim => return self.raw(&name, meaning, spot),
            _ if name == "document" => {
                self.preamble = false;
                self.out.paragraph();
                return Ok(());
            }
            _ if self.preamble => return Ok(()),
            _ => {}
        }
        let start = self.out.text.len();
        let begin = format!("begin {name}");
        if self.macros.get(&begin).is_some() && !self.refused.contains(&begin) {
            self.open(Open::Environment { name, start, fate: Fate::Defined }, spot)?;
            return self.expand(&begin, spot, None);
        }
        if self.math.is_some() {
            self.out.push(&format!("\\begin{{{name}}}"), None);
            return self.open(Open::Environment { name, start, fate: Fate::Written }, spot);
        }
        if let Environment::Math { whole } = meaning {
            return self.open_math(End::Environment { name, whole }, spot);
        }
        self.out.paragraph();
        let kept = self.mathematics.0;
        let fate = if meaning == Environment::Dropped { Fate::Dropped { kept } } else { Fate::Plain };
        self.open(Open::Environment { name, start, fate }, spot)?;
        self.optional(spot);
        if let Some(Command::Arguments(number)) = command(&begin) {
            self.drop_arguments(number)?;
        }
        if meaning == Environment::Abstract {
            self.stream.insert("", "\\section*{Abstract}", spot);
        }
        Ok(())
    }

    fn end(&mut self, spot: Spot) -> Result<(), Stop> {
        let name = self.stream.argument()?.trim().to_owned();
        if name == "document" {
            self.stream.leave_file();
            return Ok(());
        }
        if self.preamble || self.ends_math(|end| matches!(end, End::Environment { name: of, .. } if *of == name)) {
            return Ok(());
        }
        // An environment that the document defines ends in two steps: what its end stands for, then the end itself.
        let defined = self.open.iter_mut().rev().find_map(|(open, _)| match open {
            Open::Environment { name: of, fate: fate @ Fate::Defined, .. } if *of == name => Some(fate),
            _ => None,
        });
        if let Some(fate) = defined {
            *fate = Fate::Ended;
            self.stream.insert("", &format!("\\end{{{name}}}"), spot);
            return self.expand(&format!("end {name}"), spot, None);
        }
        match self.open.pop() {
            Some((Open::Environment { name: of, start, fate }, _)) if of == name => {
                match fate {
                    Fate::Written => self.out.push(&format!("\\end{{{name}}}"), None),
                    Fate::Dropped { kept } => {
                        self.out.truncate(start);
                        self.drop_spans(kept);
                        self.cut.take_if(|(_, at, _)| *at >= start);
                        self.out.paragraph();
                    }
                    Fate::Plain => self.out.paragraph(),
                    Fate::Defined | Fate::Ended => {}
                }
                Ok(())
            }
            Some((open, opened)) => {
                let place = self.stream.place(opened);
                Err(Stop::new(spot, format!("`\\end{{{name}}}` closes {} of {place}", said(&open))))
            }
            None => Err(Stop::new(spot, format!("`\\end{{{name}}}` closes nothing"))),
        }
    }

    /// Takes an environment that is not read as LaTeX.
    fn raw(&mut self, name: &str, meaning: Environment, spot: Spot) -> Result<(), Stop> {
        if meaning == Environment::Verbatim {
            self.stream.optional();
            if name == "minted" {
                self.stream.argument()?;
            }
        }
        let source = self.stream.source();
        let inside = self.stream.until(&format!("\\end{{{name}}}"));
        let inside = inside.ok_or_else(|| Stop::new(spot, format!("`\\begin{{{name}}}` is never closed")))?;
        if meaning == Environment::Verbatim && !self.preamble {
            let code = inside.strip_prefix('\n').unwrap_or(&inside);
            self.out.paragraph();
            self.out.push("```\n", None);
            self.put(code.trim_end(), source.map(|at| at + inside.len() - code.len()));
            self.out.push("\n```\n\n", None);
        }
        Ok(())
    }

    /// Goes on behind the branch that is never taken.
    fn skip_condition(&mut self, spot: Spot) -> Result<(), Stop> {
        let rest = self.stream.rest();
        let (mut depth, mut at) = (0_usize, 0);
        while let Some(backslash) = rest[at..].find('\\') {
            at += backslash + 1;
            let name = rest[at..].split(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or_default();
            // A command of one character may be a backslash itself.
            at += name.len().max(rest[at..].chars().next().map_or(0, char::len_utf8));
            match name {
                "iff" | "ifthenelse" => {}
                "else" | "fi" if depth == 0 => {
                    self.stream.skip(at);
                    return Ok(());
                }
                "fi" => depth -= 1,
                name if name.starts_with("if") => depth += 1,
                _ => {}
            }
        }
        Err(Stop::new(spot, "this `\\iffalse` is never closed"))
    }

    fn include(&mut self, name: &str, spot: Spot) -> Result<(), Stop> {
        if let Err(message) = include::enter(self.root, &mut self.stream)? {
            self.note(spot, format!("`\\{name}`: {message}"));
        }
        Ok(())
    }
}

/// What is open, in words.
fn said(open: &Open) -> String {
    match open {
        Open::Group | Open::Heading { .. } | Open::Footnote => "the brace".to_owned(),
        Open::Math { end: End::Environment { name, .. }, .. } | Open::Environment { name, .. } => {
            format!("`\\begin{{{name}}}`")
        }
        Open::Math { .. } => "the mathematics".to_owned(),
    }
}
