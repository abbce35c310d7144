use super::Syntax;
use metier_core::data::CallPiece;

/// Reads calls out of a reply that grows.
///
/// What is handed over is never taken back: text that may turn out to begin a call is held until it is certain.
#[derive(Debug, Clone)]
pub struct CallReader {
    syntax: &'static Syntax,
    /// What is not handed over yet.
    held: String,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was handed over.
    Start,
    /// Text that may be followed by calls.
    Text,
    /// Text that is followed by none.
    Rest,
    /// In the name of a function.
    Name,
    /// In the arguments.
    Arguments { depth: usize, quoted: bool, escaped: bool },
    /// Behind the arguments.
    After,
    /// Behind the last call.
    Over,
}

impl CallReader {
    /// A reply that has not begun.
    pub fn new(syntax: &'static Syntax) -> Self {
        Self { syntax, held: String::new(), state: State::Start }
    }

    /// More of the reply; gives what is certain now.
    pub fn push(&mut self, text: &str) -> Vec<CallPiece> {
        self.held.push_str(text);
        let mut pieces = Vec::new();
        while self.step(&mut pieces) {}
        pieces
    }

    /// Nothing follows: gives the text that was held back. A call that was cut keeps the arguments it has.
    pub fn finish(&mut self) -> Vec<CallPiece> {
        let held = std::mem::take(&mut self.held);
        let text = matches!(self.state, State::Start | State::Text | State::Rest) && !held.is_empty();
        self.state = State::Over;
        if text { vec![CallPiece::Text(held)] } else { Vec::new() }
    }

    /// Goes on in what is held; false when more is needed.
    fn step(&mut self, pieces: &mut Vec<CallPiece>) -> bool {
        let syntax = self.syntax;
        match self.state {
            State::Start if !syntax.after_text => self.at_start(),
            State::Start | State::Text => self.in_text(pieces),
            State::Rest => {
                say(pieces, &mut self.held);
                false
            }
            State::Name => {
                let Some(at) = self.held.find(syntax.between) else { return false };
                pieces.push(CallPiece::Begin(self.held[..at].to_owned()));
                self.held.drain(..at + syntax.between.len());
                self.state = State::Arguments { depth: 0, quoted: false, escaped: false };
                true
            }
            State::Arguments { .. } => self.in_arguments(pieces),
            State::After => {
                let next = syntax.next.map(|next| [syntax.close, next].concat());
                match next {
                    Some(next) if self.held.starts_with(&next) => {
                        self.held.drain(..next.len());
                        self.state = State::Name;
                        true
                    }
                    Some(next) if next.starts_with(&self.held) => false,
                    _ => {
                        self.state = State::Over;
                        true
                    }
                }
            }
            State::Over => {
                self.held.clear();
                false
            }
        }
    }

    fn at_start(&mut self) -> bool {
        let open = self.syntax.open;
        if self.held.starts_with(open) {
            self.held.drain(..open.len());
            self.state = State::Name;
        } else if open.starts_with(&self.held) {
            return false;
        } else {
            self.state = State::Rest;
        }
        true
    }

    fn in_text(&mut self, pieces: &mut Vec<CallPiece>) -> bool {
        let Syntax { begin, open, .. } = *self.syntax;
        if let Some(at) = self.held.find(begin) {
            let call = &self.held[at..];
            if open.starts_with(call) && open.len() > call.len() {
                return false;
            }
            let held = self.held.split_off(at);
            let mut text = std::mem::replace(&mut self.held, held);
            if let Some(rest) = self.held.strip_prefix(open) {
                // White space between the text and its calls belongs to neither.
                text.truncate(text.trim_end().len());
                say(pieces, &mut text);
                self.held = rest.to_owned();
                self.state = State::Name;
            } else {
                say(pieces, &mut text);
                self.state = State::Rest;
            }
            return true;
        }
        let begun = (1..begin.len()).rev().find(|length| self.held.ends_with(&begin[..*length])).unwrap_or(0);
        let certain = self.held[..self.held.len() - begun].trim_end().len();
        let held = self.held.split_off(certain);
        let mut text = std::mem::replace(&mut self.held, held);
        if !text.is_empty() {
            self.state = State::Text;
        }
        say(pieces, &mut text);
        false
    }

    fn in_arguments(&mut self, pieces: &mut Vec<CallPiece>) -> bool {
        let State::Arguments { mut depth, mut quoted, mut escaped } = self.state else { return false };
        let mut end = None;
        for (at, byte) in self.held.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'{' | b'[' if !quoted => depth += 1,
                b'}' | b']' if !quoted => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        end = Some(at + 1);
                        break;
                    }
                }
                _ => {}
            }
        }
        let rest = self.held.split_off(end.unwrap_or(self.held.len()));
        let arguments = std::mem::replace(&mut self.held, rest);
        if !arguments.is_empty() {
            pieces.push(CallPiece::Arguments(arguments));
        }
        self.state = if end.is_some() { State::After } else { State::Arguments { depth, quoted, escaped } };
        end.is_some()
    }
}

/// Hands text over, if there is any.
fn say(pieces: &mut Vec<CallPiece>, text: &mut String) {
    if !text.is_empty() {
        pieces.push(CallPiece::Text(std::mem::take(text)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PLAIN, SYNTAXES};
    use super::*;
    use metier_core::seed::Seed;

    /// Text, then name and arguments of each call.
    type Read = (String, Vec<(String, String)>);

    fn read(syntax: &'static Syntax, pieces: &[&str]) -> Read {
        let mut reader = CallReader::new(syntax);
        let mut told: Vec<CallPiece> = pieces.iter().flat_map(|piece| reader.push(piece)).collect();
        told.extend(reader.finish());
        let (mut text, mut calls) = (String::new(), Vec::<(String, String)>::new());
        for piece in told {
            match piece {
                CallPiece::Text(more) => text += &more,
                CallPiece::Begin(name) => calls.push((name, String::new())),
                CallPiece::Arguments(more) => calls.last_mut().unwrap().1 += &more,
            }
        }
        (text, calls)
    }

    #[test]
    fn what_is_written_is_read_however_it_is_cut() {
        let calls = [("a.b", r#"{"x": "}\"{<tool_call>", "y": [1, {"z": "é"}]}"#), ("second", "{}")];
        for syntax in SYNTAXES.iter().chain([&PLAIN]) {
            let calls = if syntax.next.is_some() { &calls[..] } else { &calls[..1] };
            for text in if syntax.after_text { &["", "I look. [TO <tool_"][..] } else { &[""][..] } {
                let space = if text.is_empty() { "" } else { "\n" };
                let reply =
                    [text, space, &syntax.write(calls.iter().map(|(name, text)| (*name, (*text).to_owned())))].concat();
                let expected: Vec<_> =
                    calls.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
                for number in 0..200 {
                    let mut random = Seed::new(1).at(number);
                    let (mut pieces, mut rest) = (Vec::new(), reply.as_str());
                    while !rest.is_empty() {
                        let mut cut = 1 + random.below(9) as usize;
                        while !rest.is_char_boundary(cut.min(rest.len())) {
                            cut += 1;
                        }
                        let (piece, after) = rest.split_at(cut.min(rest.len()));
                        pieces.push(piece);
                        rest = after;
                    }
                    assert_eq!(
                        read(syntax, &pieces),
                        ((*text).to_owned(), expected.clone()),
                        "{} {pieces:?}",
                        syntax.name
                    );
                }
            }
        }
    }

    #[test]
    fn text_that_only_looks_like_a_call_is_text() {
        let text = |syntax: &'static Syntax, pieces: &[&str]| {
            let (text, calls) = read(syntax, pieces);
            assert!(calls.is_empty(), "{calls:?}");
            text
        };
        for syntax in SYNTAXES.iter().chain([&PLAIN]) {
            assert_eq!(
                text(syntax, &["{\"na", "me of it\": \"x\"}", " <tool", "_call", " [TOOL_CALL "]),
                "{\"name of it\": \"x\"} <tool_call [TOOL_CALL "
            );
            assert_eq!(text(syntax, &["{\"name\": "]), "{\"name\": ");
            assert_eq!(text(syntax, &["a ", " ", "b  "]), "a  b  ");
        }
    }

    #[test]
    fn a_call_that_is_cut_keeps_what_it_has() {
        let cut = read(&PLAIN, &["{\"name\": \"f\", \"arguments\": {\"x\": [1, "]);
        assert_eq!(cut, (String::new(), vec![("f".into(), "{\"x\": [1, ".into())]));
    }
}
