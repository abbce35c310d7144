//! The repository as the rules see it: every file they look at, read once.

use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// The files of a repository.
pub struct Tree {
    /// Its root.
    pub root: PathBuf,
    /// The files the rules look at, sorted by path.
    pub files: Vec<File>,
}

/// One file.
pub struct File {
    /// Relative to the root, with `/`.
    pub path: String,
    /// What it says.
    pub text: String,
    /// For Rust: the text with the insides of comments and strings blanked, byte for byte. Else empty.
    pub code: String,
}

/// Folders that hold nothing written by hand, or text that is not ours.
const SKIPPED: [&str; 5] = ["target", ".git", ".metier", "__pycache__", "fixtures/corpora"];
const READ: [&str; 6] = ["rs", "toml", "md", "py", "json", "sh"];

impl Tree {
    /// Reads the tree under `root`.
    pub fn read(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        let walk = WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(|entry| {
            let relative = relative(root, entry.path());
            !SKIPPED.contains(&relative.as_str())
                && !entry.file_name().to_str().is_some_and(|name| ["target", "__pycache__"].contains(&name))
        });
        for entry in walk {
            let entry = entry?;
            let path = relative(root, entry.path());
            let extension = Path::new(&path).extension().and_then(|e| e.to_str()).unwrap_or_default();
            let wanted = READ.contains(&extension) && (extension != "json" || path.starts_with("bench/receipts/"));
            if !entry.file_type().is_file() || !wanted {
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).with_context(|| path.clone())?;
            let code = if extension == "rs" { blank(&text) } else { String::new() };
            files.push(File { path, text, code });
        }
        Ok(Self { root: root.to_owned(), files })
    }

    /// The file at `path`.
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The Rust files, in order.
    pub fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.extension() == "rs")
    }

    /// Whether `path` is a file or folder.
    pub fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// The names of the folders in `crates/`, sorted.
    pub fn crates(&self) -> Vec<&str> {
        self.files
            .iter()
            .filter_map(|file| file.path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml"))
            .filter(|name| !name.contains('/'))
            .collect()
    }
}

impl File {
    /// The last part of the path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The folder, without a slash at the end.
    pub fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// What stands after the last dot.
    pub fn extension(&self) -> &str {
        self.name().rsplit_once('.').map_or("", |(_, extension)| extension)
    }

    /// The name without `.rs`.
    pub fn stem(&self) -> &str {
        self.name().split('.').next().unwrap_or_default()
    }
}

/// The number, from 1, of the line that holds byte `at`.
pub fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].split(|byte| *byte == b'\n').count()
}

/// Where `word` stands in `code` with no letter, digit or underscore on either side.
pub fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        !code[..*at].chars().next_back().is_some_and(inside)
            && !code[at + word.len()..].chars().next().is_some_and(inside)
    })
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

/// `source` with the insides of comments, strings and characters replaced by blanks; every byte keeps its place.
pub fn blank(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    let hide = |out: &mut Vec<u8>, from: usize, to: usize| {
        for byte in &mut out[from..to.min(bytes.len())] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    };
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                let end = source[at..].find('\n').map_or(bytes.len(), |length| at + length);
                hide(&mut out, at, end);
                end
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                let end = block_comment_end(bytes, at);
                hide(&mut out, at, end);
                end
            }
            b'"' => {
                let end = string_end(bytes, at, b'"');
                hide(&mut out, at + 1, end.saturating_sub(1));
                end
            }
            b'r' if !bytes[..at]
                .last()
                .is_some_and(|b| (b.is_ascii_alphanumeric() && !matches!(b, b'b' | b'c')) || *b == b'_') =>
            {
                match raw_string(source, at) {
                    Some((from, to, end)) => {
                        hide(&mut out, from, to);
                        end
                    }
                    None => at + 1,
                }
            }
            b'\'' => match character_end(source, at) {
                Some(end) => {
                    hide(&mut out, at + 1, end - 1);
                    end
                }
                None => at + 1,
            },
            _ => at + 1,
        };
        at = end.max(at + 1);
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at < bytes.len() {
        match &bytes[at..(at + 2).min(bytes.len())] {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The byte after the quote that ends what starts at `start`.
fn string_end(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// For `r"..."` or `r#"..."#` at `start`: the inside's range and the byte after it all.
fn raw_string(source: &str, start: usize) -> Option<(usize, usize, usize)> {
    let hashes = source[start + 1..].bytes().take_while(|byte| *byte == b'#').count();
    let from = start + 1 + hashes;
    if source.as_bytes().get(from) != Some(&b'"') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let to = source[from + 1..].find(&close).map_or(source.len(), |length| from + 1 + length);
    Some((from + 1, to, (to + close.len()).min(source.len())))
}

/// The byte after a character literal at `start`, or `None` for a lifetime.
fn character_end(source: &str, start: usize) -> Option<usize> {
    let mut rest = source[start + 1..].chars();
    let first = rest.next()?;
    if first == '\\' {
        return Some(string_end(source.as_bytes(), start, b'\''));
    }
    (rest.next() == Some('\'')).then(|| start + 1 + first.len_utf8() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_left() {
        let source = r#"let a = "unsafe \" x"; // unsafe
/* unsafe /* deep */ unsafe */ let b = r@"unsafe "quoted""@; let c = 'u'; fn f<'a>(x: &'a str) { '\'' }
let r = br"unsafe"; let é = "ü";"#
            .replace('@', "#");
        let source = source.as_str();
        let code = blank(source);
        assert_eq!(code.len(), source.len());
        assert!(!code.contains("unsafe"), "{code}");
        assert!(code.contains("fn f<'a>(x: &'a str)") && code.contains("let b ="), "{code}");
        assert_eq!(code.lines().count(), 3);
    }

    #[test]
    fn words_stand_alone() {
        assert_eq!(words("unsafe_code unsafe x_unsafe", "unsafe").collect::<Vec<_>>(), [12]);
    }
}
