//! Words as numbers.

use std::collections::HashMap;

/// A text cut into words and single marks, each with the blanks before it; joined, they are the text.
pub(crate) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let blanks = rest.len() - rest.trim_start().len();
        let of_word = |letter: char| letter.is_alphanumeric() || letter == '\'';
        let word = rest[blanks..].find(|letter| !of_word(letter)).unwrap_or(rest.len() - blanks);
        let mark = rest[blanks..].chars().next().map_or(0, char::len_utf8);
        let (piece, after) = rest.split_at(blanks + if word > 0 { word } else { mark });
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// The words of a text in lower case, without the marks around them.
pub(crate) fn bare(text: &str) -> impl Iterator<Item = String> {
    let bare = |word: &str| word.trim_matches(|letter: char| !letter.is_alphanumeric()).to_lowercase();
    text.split_whitespace().map(bare).filter(|word| !word.is_empty())
}

/// A number for each word, in the order in which they were met.
#[derive(Default)]
pub(crate) struct Words {
    ids: HashMap<String, u32>,
    texts: Vec<String>,
}

impl Words {
    /// With words of one's own, which no text has.
    pub fn new(reserved: &[&str]) -> Self {
        Self { ids: HashMap::new(), texts: reserved.iter().map(|word| (*word).to_owned()).collect() }
    }

    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// The number of a word, a new one if it was not met.
    pub fn learn(&mut self, word: &str) -> u32 {
        if let Some(id) = self.find(word) {
            return id;
        }
        let id = self.texts.len() as u32;
        self.texts.push(word.to_owned());
        self.ids.insert(word.to_owned(), id);
        id
    }

    pub fn find(&self, word: &str) -> Option<u32> {
        self.ids.get(word).copied()
    }

    pub fn text(&self, id: u32) -> &str {
        &self.texts[id as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_joined_are_the_text() {
        let text = " Lily's dog:\n\"Wow!\" — é漢 1,000 \n";
        let all: Vec<&str> = pieces(text).collect();
        assert_eq!(all[..5], [" Lily's", " dog", ":", "\n\"", "Wow"]);
        assert_eq!(all.concat(), text);
        assert_eq!(pieces("").count(), 0);
        assert_eq!(bare(text).collect::<Vec<_>>(), ["lily's", "dog", "wow", "é漢", "1,000"]);
    }
}
