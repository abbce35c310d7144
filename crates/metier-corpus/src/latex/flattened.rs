//! What is left of a document that cannot be cleaned.

use super::include;
use super::out::Out;
use super::stream::Stream;
use std::path::Path;

/// The document's body with its files put together and its comments taken out, and no more.
pub(super) fn flattened(root: &Path, mut stream: Stream) -> Out {
    let mut out = Out::default();
    while let Some(letter) = stream.peek() {
        let source = stream.source();
        if letter == '%' {
            out.push(&stream.space().raw, None);
            continue;
        }
        let rest = stream.rest();
        let mut length = letter.len_utf8();
        if letter == '\\' {
            length += rest[1..].chars().next().map_or(0, char::len_utf8);
            if rest.starts_with("\\begin{document}") {
                stream.skip("\\begin{document}".len());
                out.truncate(0);
                stream.space();
                continue;
            }
            if rest.starts_with("\\end{document}") {
                stream.leave_file();
                continue;
            }
            if let Some(name) = ["input", "include", "subfile"].iter().find(|name| {
                rest[1..]
                    .strip_prefix(**name)
                    .is_some_and(|rest| !rest.starts_with(|letter: char| letter.is_ascii_alphabetic()))
            }) {
                stream.skip(1 + name.len());
                // What is wrong with it was told by the cleaning.
                if !matches!(include::enter(root, &mut stream), Ok(Ok(()))) {
                    out.push(&format!("\\{name}"), source);
                }
                continue;
            }
        }
        let end = rest[length..].find(['\\', '%']).map_or(rest.len(), |at| at + length);
        let text = rest[..end].to_owned();
        out.push(&text, source);
        stream.skip(end);
    }
    out
}
