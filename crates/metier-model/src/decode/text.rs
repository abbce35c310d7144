//! Bytes of tokens to text: whole characters only, and stop texts wherever they begin.

/// Text that grows token by token.
///
/// What is handed over is never taken back: bytes that do not make a whole character yet, and text that
/// may turn out to begin a stop text, are held until the next token decides.
#[derive(Debug, Clone, Default)]
pub struct TextStream {
    stops: Vec<String>,
    text: String,
    pending: Vec<u8>,
    handed: usize,
    starts: Vec<usize>,
    stopped: bool,
}

/// The finished text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// All of it, without the stop text.
    pub text: String,
    /// How many of the tokens pushed begin inside it.
    pub tokens: usize,
}

impl TextStream {
    /// A text that ends before any of `stops`; empty ones are ignored.
    pub fn new(stops: &[String]) -> Self {
        Self { stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(), ..Self::default() }
    }

    /// Adds the bytes of a token and gives the text that is certain now. Bytes that are no UTF-8 become
    /// U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> &str {
        self.starts.push(self.text.len() + self.pending.len());
        if self.stopped {
            return "";
        }
        self.pending.extend_from_slice(bytes);
        self.decode(false);
        self.hand_over(false)
    }

    /// How many of the tokens pushed begin in the text that was handed over.
    pub fn settled(&self) -> usize {
        self.starts.partition_point(|start| *start < self.handed)
    }

    /// True once a stop text stands in the text; what follows is not part of it.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// No token follows: gives the text that was held back.
    pub fn finish(&mut self) -> &str {
        if !self.stopped {
            self.decode(true);
        }
        self.hand_over(true)
    }

    /// The text so far, without what is held back as an unfinished character.
    pub fn into_piece(self) -> Piece {
        let end = self.text.len();
        let tokens = self.starts.iter().filter(|start| **start < end || !self.stopped).count();
        Piece { text: self.text, tokens }
    }

    fn decode(&mut self, all: bool) {
        let mut rest: &[u8] = &self.pending;
        let left = loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.text.push_str(text);
                    break 0;
                }
                Err(error) => {
                    let (whole, broken) = rest.split_at(error.valid_up_to());
                    self.text.push_str(&String::from_utf8_lossy(whole));
                    match error.error_len() {
                        Some(length) => {
                            self.text.push(char::REPLACEMENT_CHARACTER);
                            rest = &broken[length..];
                        }
                        None if all => {
                            self.text.push(char::REPLACEMENT_CHARACTER);
                            break 0;
                        }
                        None => break broken.len(),
                    }
                }
            }
        };
        let decoded = self.pending.len() - left;
        self.pending.drain(..decoded);
    }

    fn hand_over(&mut self, all: bool) -> &str {
        let fresh = &self.text[self.handed..];
        if let Some(at) = self.stops.iter().filter_map(|stop| fresh.find(stop.as_str())).min() {
            self.text.truncate(self.handed + at);
            self.pending.clear();
            self.stopped = true;
        }
        let held = if all || self.stopped { 0 } else { self.held_back() };
        let from = std::mem::replace(&mut self.handed, self.text.len() - held);
        &self.text[from..self.handed]
    }

    /// Length of the longest end of the text that begins a stop text.
    fn held_back(&self) -> usize {
        let fresh = &self.text[self.handed..];
        let begun = |stop: &String| {
            (1..stop.len()).rev().find(|&length| stop.is_char_boundary(length) && fresh.ends_with(&stop[..length]))
        };
        self.stops.iter().filter_map(begun).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], tokens: &[&[u8]]) -> (Vec<String>, Piece) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut stream = TextStream::new(&stops);
        let mut pieces: Vec<String> = tokens.iter().map(|token| stream.push(token).to_owned()).collect();
        pieces.push(stream.finish().to_owned());
        (pieces, stream.into_piece())
    }

    #[test]
    fn characters_come_whole() {
        let (pieces, whole) = run(&[], &[b"a\xe2", b"\x82", b"\xac!", b"\xf0\x9f"]);
        assert_eq!(pieces, ["a", "", "€!", "", "\u{fffd}"]);
        assert_eq!(whole, Piece { text: "a€!\u{fffd}".into(), tokens: 4 });
    }

    #[test]
    fn a_stop_text_may_span_tokens() {
        let (pieces, whole) = run(&["\nUser:"], &[b"Hi", b".\n", b"Us", b"er: no", b"more"]);
        assert_eq!(pieces, ["Hi", ".", "", "", "", ""]);
        assert_eq!(whole, Piece { text: "Hi.".into(), tokens: 2 });
    }

    #[test]
    fn what_only_looked_like_a_stop_text_comes_later() {
        let (pieces, whole) = run(&["abc", "bd"], &[b"xab", b"d", b"ab"]);
        assert_eq!(pieces, ["x", "a", "", ""]);
        assert_eq!(whole.text, "xa");
        let (pieces, whole) = run(&["abc"], &[b"xab", b"e", b"ab"]);
        assert_eq!(pieces, ["x", "abe", "", "ab"]);
        assert_eq!(whole.text, "xabeab");
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_text(text in "[ab€c]{0,24}", cuts in proptest::collection::vec(1_usize..4, 0..30)) {
            let stops = ["bab".to_owned(), "€c".to_owned()];
            let expected = stops.iter().filter_map(|stop| text.find(stop.as_str())).min().map_or(text.as_str(), |at| &text[..at]);
            let mut stream = TextStream::new(&stops);
            let mut handed = String::new();
            let mut rest = text.as_bytes();
            let mut cuts = cuts.into_iter();
            while !rest.is_empty() && !stream.stopped() {
                let (token, after) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
                handed.push_str(stream.push(token));
                rest = after;
            }
            handed.push_str(stream.finish());
            prop_assert_eq!(&handed, expected);
            prop_assert_eq!(stream.into_piece().text, expected);
        }
    }
}
