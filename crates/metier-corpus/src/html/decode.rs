//! Bytes of a page to characters.

use encoding_rs::{Encoding, UTF_8};
use std::borrow::Cow;

/// Bytes in which a page states its encoding.
const BEGINNING: usize = 4096;

/// A page in characters.
pub struct Decoded<'a> {
    /// The characters.
    pub text: Cow<'a, str>,
    /// The byte of the page at which the text begins, where the text is as it stands there.
    pub begin: Option<usize>,
    /// The encoding's name, where bytes of the page are not of it and were read as U+FFFD.
    pub broken: Option<&'static str>,
}

/// Decodes by the byte order mark, else by the encoding that the page states, else as UTF-8.
pub fn decode(bytes: &[u8]) -> Decoded<'_> {
    let (encoding, mark) = Encoding::for_bom(bytes).unwrap_or_else(|| (stated(bytes).unwrap_or(UTF_8), 0));
    let (text, broken) = encoding.decode_without_bom_handling(&bytes[mark..]);
    let same = encoding == UTF_8 && matches!(text, Cow::Borrowed(_));
    Decoded { text, begin: same.then_some(mark), broken: broken.then_some(encoding.name()) }
}

/// The encoding of a `meta` element or of an XML declaration.
fn stated(bytes: &[u8]) -> Option<&'static Encoding> {
    let beginning = bytes[..bytes.len().min(BEGINNING)].to_ascii_lowercase();
    let beginning = String::from_utf8_lossy(&beginning);
    ["charset", "encoding"].iter().find_map(|word| {
        beginning.match_indices(word).find_map(|(at, _)| {
            let value = beginning[at + word.len()..].trim_start().strip_prefix('=')?.trim_start();
            let value = value.trim_start_matches(['"', '\'']);
            let end = value.find(|letter: char| letter.is_whitespace() || "\"';>?/".contains(letter))?;
            let encoding = Encoding::for_label(&value.as_bytes()[..end])?;
            // A page that could state it in ASCII is none of UTF-16.
            Some(if encoding.is_ascii_compatible() { encoding } else { UTF_8 })
        })
    })
}
