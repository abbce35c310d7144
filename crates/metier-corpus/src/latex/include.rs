//! Files that a document includes.

use super::Stop;
use super::stream::{ADDED, Stream};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Goes into the file that is named next. The inner error says in words why there is none; the name is taken all the same.
pub(super) fn enter(root: &Path, stream: &mut Stream) -> Result<Result<(), String>, Stop> {
    stream.space();
    let name = if stream.rest().starts_with('{') {
        stream.argument()?
    } else {
        let rest = stream.rest();
        let end = rest.find(|letter: char| letter.is_whitespace() || "\\{}%".contains(letter)).unwrap_or(rest.len());
        let name = rest[..end].to_owned();
        stream.skip(end);
        name
    };
    let name = name.trim().trim_matches('"');
    let Some(path) = found(root, stream, name) else {
        return Ok(Err(format!("there is no file `{name}` in the corpus")));
    };
    let mut bytes = Vec::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(ADDED as u64 + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        return Ok(Err(format!("cannot read {}: {error}", path.display())));
    }
    let text: Rc<str> = match String::from_utf8(bytes) {
        Ok(text) => text.trim_start_matches('\u{feff}').into(),
        Err(error) => return Ok(Err(crate::read::no_text(&path, &error).to_string())),
    };
    if stream.enter_file(&path, &text)? {
        Ok(Ok(()))
    } else {
        Ok(Err(format!("{} includes itself, or too many files include each other", path.display())))
    }
}

/// The file of this name, with or without its ending, in the folder of the file that names it or of the main file; never one
/// outside of the corpus.
fn found(root: &Path, stream: &Stream, name: &str) -> Option<PathBuf> {
    let root = root.canonicalize().ok()?;
    let names = [format!("{name}.tex"), name.to_owned()];
    stream
        .folders()
        .iter()
        .flat_map(|folder| names.iter().map(|name| folder.join(name)))
        .find(|path| path.is_file() && path.canonicalize().is_ok_and(|path| path.starts_with(&root)))
}
