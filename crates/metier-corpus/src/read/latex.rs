use super::text::{NO_TEXT, whole};
use super::{Found, Invalid, Item, Raw, Read, Size, size_of_files, some_files};
use crate::latex;
use crate::packing::with_packed;
use metier_core::data::{Piece, Pieces};
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// # What it does
/// Reads LaTeX documents as text whose mathematics can still be read: `$...$` in a line, `$$...$$` on its own.
///
/// # How
/// A document is a file with a `\documentclass`; files that it names with `\input`, `\include` or `\subfile` are read in their
/// place, searched beside the file that names them, then beside the main file, never outside of the corpus. Gone are comments, the preamble, figures, tables
/// (`tabular` too), bibliography, acknowledgments, footnote marks, and what only points elsewhere (`\cite`, `\ref`, `\label`). Macros
/// are expanded as TeX does it, also where they begin or end an environment: `\newcommand`, `\renewcommand`, `\providecommand`,
/// `\DeclareMathOperator`, `\def`, `\let`, `\newenvironment`, with arguments and an optional one, at most 32 inside each other.
/// Mathematics stays as written, but for macros, labels and comments; environments of one equation become `$$`, those of several stay
/// inside it. Headings get `#` by level (a part or chapter one, a section two), items `- `, footnotes parentheses; `verbatim` is
/// fenced by ` ``` `; accents and marks become characters. A dollar sign of the text stays `\$`, so that a bare one is always mathematics.
/// Commands that are not known go, and their arguments in braces stay as text.
///
/// A brace or an environment that does not match is named with file, line and column, and the text is then the body with its files
/// put together and its comments taken out. A missing or unreadable included file, a macro that contains itself and one whose
/// arguments end at words are named likewise, and are left as they stand. Either way the document's `partial` says so.
///
/// # When to use
/// For papers and manuals whose source is at hand: equations and their names stay readable, which they do not in a PDF's text.
///
/// # Differs from the paper in
/// The paper tells what its cleaning is for; the rules are ours. Definitions hold from where they stand to the document's end, not
/// to the end of their group; conditions are not followed (`\iffalse` is); packages of the user's own are not read; tarballs are to be unpacked.
///
/// # Source
/// Maatouk et al. 2024, *Tele-LLMs* (arXiv:2409.05314), preparation of Tele-Data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Latex {
    /// Patterns of the files to read, against the path below the folder or the file's name alone.
    pub include: Vec<String>,
    /// Patterns of files to leave out.
    pub exclude: Vec<String>,
    /// The license of every document read; the asset's own when it is left out.
    pub license: Option<String>,
    /// What becomes of files that are no UTF-8.
    pub invalid: Invalid,
}

impl Default for Latex {
    fn default() -> Self {
        let include = with_packed(&["*.tex", "*.ltx"]);
        Self { include, exclude: Vec::new(), license: None, invalid: Invalid::Refuse }
    }
}

impl Read for Latex {
    fn files(&self, path: &Path) -> Result<Vec<(String, PathBuf)>> {
        some_files(path, &self.include, &self.exclude)
    }

    fn open_files<'a>(&'a self, path: &Path, files: Vec<(String, PathBuf)>, passed: usize) -> Found<'a> {
        let root = if path.is_file() { path.parent().unwrap_or(path) } else { path };
        // A file named without a folder lies in the one that is current.
        let root = if root.as_os_str().is_empty() { Path::new(".") } else { root }.to_path_buf();
        Box::new(files.into_iter().skip(passed).map(move |(name, path)| {
            let read = match whole(&name, &path, self.license.as_ref()) {
                Ok(read) => read,
                Err(error) => return self.invalid.rest(name, error),
            };
            let document = match read {
                Ok(document) if !latex::is_document(&document.text) => {
                    let reason = "LaTeX without a class: part of another document";
                    return Ok(Raw::known(Item::Skipped { id: name, reason }));
                }
                Ok(mut document) => {
                    let cleaned = latex::clean(&root, &path, &document.text);
                    let mark = document.pieces.0.first().map_or(0, |piece| piece.source);
                    let moved = |piece: Piece| Piece { source: piece.source + mark, ..piece };
                    document.pieces = Pieces(cleaned.pieces.0.into_iter().map(moved).collect());
                    document.text = cleaned.text;
                    document.partial = cleaned.faults.iter().map(ToString::to_string).collect();
                    Ok(document)
                }
                Err(error) => Err(error),
            };
            self.invalid.item(name, NO_TEXT, document).map(Raw::known)
        }))
    }

    fn size(&self, path: &Path) -> Result<Size> {
        size_of_files(path, &self.include, &self.exclude)
    }
}

impl Build<dyn Read> for Latex {
    fn build(self, _: &Place) -> Result<Box<dyn Read>> {
        Ok(Box::new(self))
    }
}

/// The record of `latex`.
pub static PART: Part<dyn Read> = Part::of::<Latex>("latex", 1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CurateSettings, Parts, TRAIN, curate, read_documents, select::HoldOut};
    use metier_core::{progress::Progress, seed::Seed};

    const MAIN: &str = "\u{feff}\\documentclass{article}\n\\begin{document}\nSee $x$. \\input{part}\n\\end{document}\n";

    fn write(folder: &Path, files: &[(&str, &[u8])]) {
        for (name, bytes) in files {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }

    #[test]
    fn documents_are_cleaned_and_parts_are_read_inside_them_only() {
        let folder = tempfile::tempdir().unwrap();
        write(
            folder.path(),
            &[("main.tex", MAIN.as_bytes()), ("part.tex", b"In part % no\none."), ("a.bib", b"@book{a}")],
        );
        let reader = Latex::default();
        let items: Vec<_> = reader.open(folder.path()).unwrap().map(Result::unwrap).collect();
        let Item::Document(document) = &items[0] else { panic!("{:?}", items[0]) };
        assert_eq!((document.id.as_str(), document.text.as_str()), ("main.tex", "See $x$. In part one."));
        assert_eq!(document.partial, [""; 0]);
        let (from, to) = document.pieces.source_of(0, 4).unwrap();
        assert_eq!(&MAIN.as_bytes()[from..to], b"See ");
        let reason = "LaTeX without a class: part of another document";
        assert_eq!(items[1..], [Item::Skipped { id: "part.tex".into(), reason }]);
        assert_eq!(reader.size(folder.path()).unwrap().documents, 2);
        let alone: Vec<_> = reader.open(&folder.path().join("main.tex")).unwrap().map(Result::unwrap).collect();
        assert!(matches!(&alone[..], [Item::Document(same)] if same.text == document.text));
    }

    #[test]
    fn what_could_not_be_cleaned_stands_in_the_document_and_is_counted() {
        let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let broken = "\\documentclass{a}\n\\begin{document}\n{ never % closed\n\\end{document}\n";
        write(
            folder.path(),
            &[("main.tex", MAIN.as_bytes()), ("part.tex", b"Part."), ("broken.tex", broken.as_bytes())],
        );
        let (read, select) = (Latex::default(), HoldOut { fraction: 0.0 });
        let parts = Parts {
            read: &read,
            filters: Vec::new(),
            tags: Vec::new(),
            dedups: Vec::new(),
            select: &select,
            cluster: None,
        };
        let progress = Progress::new("documents", None, "documents");
        let report =
            curate(&CurateSettings::default(), &parts, folder.path(), Seed::new(1), out.path(), &progress).unwrap();
        assert_eq!((report.read, report.kept, report.partial), (3, 2, 1));
        let documents: Vec<_> = read_documents(&out.path().join(TRAIN)).unwrap().map(Result::unwrap).collect();
        assert_eq!(documents[0].text, "{ never");
        assert!(documents[0].partial[0].ends_with("broken.tex:3:1: the brace is never closed"), "{documents:?}");
        assert!(documents[1].partial.is_empty());
    }

    #[test]
    fn other_encodings_are_refused_or_skipped() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[("a.tex", b"\\documentclass{a}\ncaf\xe9")]);
        let error = Latex::default().open(folder.path()).unwrap().next().unwrap().unwrap_err().to_string();
        assert!(error.contains("a.tex:2:4: byte 21 (0xe9) is no UTF-8"), "{error}");
        let skipping = Latex { invalid: Invalid::Skip, ..Latex::default() };
        let item = skipping.open(folder.path()).unwrap().next().unwrap().unwrap();
        assert_eq!(item, Item::Skipped { id: "a.tex".into(), reason: NO_TEXT });
    }
}
