//! Damages files for some minutes and reads them: `cargo run -p metier-corpus --example fuzz_readers -- 10 html 7`.
//!
//! The arguments are minutes, the end of the names of the files to damage (`html`, `jsonl`, `jsonl.bz2`, `jsonl.gz`,
//! `jsonl.zst`, `md`, `parquet`, `pdf`, `tex`, `txt`, `xml`; all of them when it is left out) and the first seed. Prints how many files were read, how many of them were refused, and the most memory
//! that was held. A panic, or a piece that does not stand in its source, ends it with the seed, which makes the same file again.

#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use flate2::read::MultiGzDecoder;
use metier_core::data::Pieces;
use metier_core::part::Build;
use metier_core::{Place, memory};
use metier_corpus::packing::{ENDINGS, pack};
use metier_corpus::read::{Html, Invalid, Item, Jsonl, Latex, Markdown, Mediawiki, Parquet, Pdf, Read, Text};
use metier_corpus::wikitext::Hidden;
use metier_corpus::{markdown, wikitext};
use metier_testkit::{fixture, hashed, mutated};
use std::io::Read as _;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What is put into pages, most of which changes how the rest is read.
const TAGS: &[&str] = &[
    "<table>",
    "</table>",
    "<td>",
    "</div>",
    "<a href=#>",
    "<pre>",
    "<title>",
    "<script>",
    "<!--",
    "<plaintext>",
    "<li>",
    "\0",
];
/// The same of LaTeX.
const COMMANDS: &[&str] = &[
    "\\begin{equation}",
    "\\end{",
    "\\newcommand{\\a}[2]{#1#2\\a}",
    "\\a{}{}",
    "\\input{main}",
    "\\verb|",
    "$",
    "$$",
    "\\[",
    "{",
    "}",
    "%",
    "\\begin{tabular}{cc}",
    "&",
    "\\\\",
    "\\def\\b#1{",
    "\\section{",
    "\u{301}",
];
/// The same of Markdown.
const MARKS: &[&str] = &[
    "# ",
    "\n\n",
    "- ",
    "1. ",
    "> ",
    "    ",
    "```\n",
    "`",
    "*",
    "_",
    "[",
    "](",
    "![",
    "[[",
    "]]",
    "<!--",
    "<div>",
    "<script>",
    "|",
    "\n|-|-|\n",
    "[^1]",
    "[^1]: ",
    "$$",
    "---\n",
    "&amp;",
    "\\",
    "\r\n",
    "\0",
    "- [ ] ",
];
/// The same of dumps of wikis.
const WIKI: &[&str] = &[
    "{{",
    "}}",
    "{{{",
    "}}}",
    "[[",
    "]]",
    "[[File:",
    "|",
    "\n{|\n",
    "\n|}",
    "''",
    "'''''",
    "\n== a ==\n",
    "\n* ",
    "\n----",
    "[http://a ",
    "&lt;ref>",
    "&lt;/ref>",
    "&lt;!--",
    "-->",
    "&lt;nowiki>",
    "&lt;br>",
    "&amp;nbsp;",
    "&#",
    "__TOC__",
    "<page>",
    "</page>",
    "<text>",
    "<ns>",
    "<![CDATA[",
    "]]>",
    "<?",
    "<!DOCTYPE",
    "\0",
];
/// The same of PDF.
const OBJECTS: &[&str] = &[
    "<<",
    ">>",
    "[",
    "]",
    "(",
    ")",
    " 0 R ",
    "endobj",
    "stream\n",
    "endstream",
    "/Filter /FlateDecode",
    "/Length 99999999999",
    "/Prev 0",
    "/Kids [1 0 R]",
    "/Type /ObjStm",
    "xref",
    "trailer",
    "startxref\n0",
    "-1",
    "4294967296",
    "BT /F1 1 Tf (x) Tj ET",
    "\0",
];
/// The same of JSON.
const SIGNS: &[&str] =
    &["\"", "\\", "\\u", "\\ud800", "{", "}", "[", "\n", "\r\n", "\0", "1e999", "\u{feff}", "\u{2028}"];

const LATEX: &str = r"\documentclass{article}
\newcommand{\rate}[1]{R_{#1}} \def\half{\frac{1}{2}}
\title{On rates}\author{A. Nobody}
\begin{document}\maketitle
\begin{abstract}What a link carries, \emph{at most}.\end{abstract}
\section{Rates}\label{sec:rates}
The rate is $\rate{1} = \half \log(1 + \mathrm{SNR})$, see \cite{shannon}~[\ref{sec:rates}] --- or not\footnote{A note.}.
% A comment
\begin{equation}\label{eq:one} C = B \log_2\left(1 + \frac{S}{N}\right) \end{equation}
\begin{itemize}\item one \item two \verb|x_{y}| \end{itemize}
\begin{table}\begin{tabular}{l|r} a & b \\ \hline 1 & 2 \end{tabular}\caption{Numbers}\end{table}
\begin{figure}\includegraphics{x}\caption{A caption with \textbf{bold} text}\end{figure}
\input{missing} \begin{verbatim} \not{read} \end{verbatim} \'e \ss \o
\bibliography{all}
\end{document}
";

const MARKDOWN: &str = "---
title: A page
---

# A *page* {#id}

Text with `code`, **bold** [links](http://a.b 't') and ![images](a.png).[^1]

<details open><summary>More</summary>

- one
  1. deep

     more
- [x] done

</details>

| a | b |
|---|--:|
| 1 | $x_1$ |

```rust
fn main() {}
```

> [!NOTE]
> quoted

[^1]: A note &amp; <b>more</b><!-- no -->

Under
=====

[r]: http://x 'y'
[r] [[wiki|link]]
";

/// Files of the kinds there are: an end of names and contents.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let mut files: Vec<(&str, Vec<u8>)> = vec![("tex", LATEX.into())];
    let folder = std::fs::read_dir(fixture("corpora/pages")).expect("a fixture");
    let mut pages: Vec<_> = folder.flatten().map(|file| file.path()).collect();
    pages.sort();
    for path in pages.iter().filter(|path| path.extension().is_some_and(|end| end == "html")) {
        files.push(("html", std::fs::read(path).expect("a fixture")));
    }
    let packed = std::fs::read(fixture("corpora/agglutination.jsonl.gz")).expect("a fixture");
    let mut lines = String::new();
    MultiGzDecoder::new(&packed[..]).read_to_string(&mut lines).expect("a fixture");
    let numbered = |(number, line): (usize, &str)| format!("{{\"id\": \"{number}\", {}", line.trim_start_matches('{'));
    let lines = lines.lines().take(40).enumerate().map(numbered).collect::<Vec<_>>().join("\n");
    for (kind, ending) in ["jsonl.bz2", "jsonl.gz", "jsonl.zst"].into_iter().zip(ENDINGS) {
        files.push((kind, packed_as(ending, lines.as_bytes())));
    }
    for name in ["gzip", "plain", "snappy", "zstd"] {
        files.push(("parquet", std::fs::read(fixture(format!("tables/{name}.parquet"))).expect("a fixture")));
    }
    files.push(("md", std::fs::read(fixture("../CONTRIBUTING.md")).expect("a document")));
    files.push(("md", MARKDOWN.into()));
    for name in ["chromium", "fpdf", "matplotlib", "opened", "scan", "typst", "weasyprint"] {
        files.push(("pdf", std::fs::read(fixture(format!("pdf/{name}.pdf"))).expect("a fixture")));
    }
    files.push(("xml", std::fs::read(fixture("wiki/pages.xml")).expect("a fixture")));
    files.push(("jsonl", lines.into_bytes()));
    files.push(("txt", std::fs::read(fixture("corpora/general/austen-01.txt")).expect("a fixture")));
    files
}

/// What no file of these should take.
const SLOW: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    if let Some(code) = metier_corpus::pdf::answer() {
        return code;
    }
    let mut arguments = std::env::args().skip(1);
    let minutes: f64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(10.0);
    let kind = arguments.next();
    let mut seed: u64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(0);
    let end = Instant::now() + Duration::from_secs_f64(60.0 * minutes);
    let files: Vec<_> = files().into_iter().filter(|(name, _)| kind.as_ref().is_none_or(|kind| kind == name)).collect();
    assert!(!files.is_empty(), "no files of the kind {kind:?}");
    let scratch = metier_testkit::scratch("fuzz");
    let before = memory::peak_bytes();
    let (mut read, mut refused, mut longest) = (0_u64, 0_u64, Duration::ZERO);
    while Instant::now() < end {
        for (name, whole) in &files {
            let bytes = damaged(name, whole, seed);
            let path = scratch.path().join(format!("main.{name}"));
            std::fs::write(&path, &bytes).expect("a scratch folder");
            let start = Instant::now();
            let found = catch_unwind(|| documents(name, &path, &bytes));
            longest = longest.max(start.elapsed());
            if start.elapsed() > SLOW {
                println!("{name}: {:?} with the seed {seed}", start.elapsed());
            }
            let Ok(Some(failed)) = found else {
                println!("{name}: wrong with the seed {seed}");
                return ExitCode::FAILURE;
            };
            read += 1;
            refused += u64::from(failed);
            seed += 1;
        }
    }
    let growth = memory::peak_bytes().saturating_sub(before) >> 20;
    println!(
        "{read} files in {minutes} minutes, {refused} refused, no panic; {growth} MiB more held at most; longest {longest:?}"
    );
    ExitCode::SUCCESS
}

/// Reads a file to its end: whether something of it was refused; `None` when a document is not what stands in the file.
fn documents(name: &str, path: &Path, bytes: &[u8]) -> Option<bool> {
    // What is no text is passed over, so that what lies behind is read too.
    let (place, invalid) = (Place::default(), Invalid::Skip);
    let reader: Box<dyn Read> = match name {
        "html" => Html::default().build(&place),
        "tex" => Latex { invalid, ..Latex::default() }.build(&place),
        "md" => Markdown { invalid, ..Markdown::default() }.build(&place),
        "parquet" => Parquet { invalid, ..Parquet::default() }.build(&place),
        "pdf" => Pdf::default().build(&place),
        "xml" => Mediawiki::default().build(&place),
        "txt" => Text { invalid, ..Text::default() }.build(&place),
        _ => Jsonl { invalid, ..Jsonl::default() }.build(&place),
    }
    .expect("default settings");
    let source = String::from_utf8_lossy(bytes);
    let stands = match name {
        "html" => {
            let decoded = metier_corpus::html::decode(bytes);
            let main = metier_corpus::html::main_text(&decoded.text);
            stand(&main.text, &main.pieces, &decoded.text)
        }
        "md" => {
            let (text, pieces) = markdown::plain(&source);
            stand(&text, &pieces, &source)
        }
        "xml" => {
            let (text, pieces) = wikitext::plain(&source, &Hidden::default());
            stand(&text, &pieces, &source)
        }
        _ => true,
    };
    if !stands {
        return None;
    }
    let size = reader.size(path);
    let Ok(found) = reader.open(path) else { return Some(true) };
    let mut refused = size.is_err();
    for item in found {
        match item {
            Ok(Item::Document(document)) if document.id.is_empty() => return None,
            Ok(_) => {}
            Err(error) if error.faults.is_empty() => return None,
            Err(_) => {
                refused = true;
                break;
            }
        }
    }
    Some(refused)
}

/// Whether the pieces of a text stand in its source.
fn stand(text: &str, pieces: &Pieces, source: &str) -> bool {
    pieces.0.iter().all(|piece| {
        let own = text.as_bytes().get(piece.start..piece.start + piece.length);
        own.is_some() && own == source.as_bytes().get(piece.source..piece.source + piece.length)
    })
}

/// A text in a compressed form.
fn packed_as(ending: &str, text: &[u8]) -> Vec<u8> {
    let scratch = metier_testkit::scratch("packed");
    let path = scratch.path().join("file");
    metier_core::store::write_atomic_with(&path, |file| {
        pack(&path, Some(ending), file, |file| {
            file.write_all(text).expect("a scratch folder");
            Ok(())
        })
    })
    .expect("a scratch folder");
    std::fs::read(path).expect("a scratch folder")
}

/// The file with the damage of a seed, and with what means something to its reader in wrong places.
fn damaged(name: &str, whole: &[u8], seed: u64) -> Vec<u8> {
    let mut bytes = mutated(whole, seed);
    let pieces = match name {
        "html" => TAGS,
        "tex" => COMMANDS,
        "md" => MARKS,
        "pdf" => OBJECTS,
        "xml" => WIKI,
        "jsonl" | "txt" => SIGNS,
        _ => return bytes,
    };
    let mut draw = hashed::mixed(seed ^ 0x7061_6765) as usize;
    for _ in 0..draw % 8 {
        draw = hashed::mixed(draw as u64) as usize;
        let at = draw / 32 % (bytes.len() + 1);
        bytes.splice(at..at, pieces[draw % pieces.len()].bytes());
    }
    bytes
}
