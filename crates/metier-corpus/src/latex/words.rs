//! What commands and environments mean to the cleaner.

/// What a command of the text does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// Its first arguments (so many) go; what follows stays.
    Arguments(usize),
    /// It points at something: it goes with its argument and with the space before it.
    Pointer,
    /// A heading of this level; 1 is the greatest.
    Heading(usize),
    /// Its argument is an aside.
    Footnote,
    /// Its argument is mathematics.
    Ensure,
    /// An entry of a list.
    Item,
    /// The text between a character and its next occurrence stands as it is.
    Verbatim,
    /// The title stands here.
    Title,
    /// What follows is an acknowledgment, up to the next heading.
    Acknowledgment,
    /// A section that was to be dropped ends here at the latest.
    Appendix,
    /// A length without braces follows.
    Length,
    /// A new line.
    Break,
}

/// The meaning of a command, if it is one of those that users' macros do not replace.
pub(super) fn command(name: &str) -> Option<Command> {
    use Command::{Arguments, Pointer};
    Some(match name {
        "part" | "chapter" => Command::Heading(1),
        "section" => Command::Heading(2),
        "subsection" => Command::Heading(3),
        "subsubsection" => Command::Heading(4),
        "paragraph" => Command::Heading(5),
        "subparagraph" => Command::Heading(6),
        "footnote" => Command::Footnote,
        "ensuremath" => Command::Ensure,
        "item" => Command::Item,
        "verb" | "lstinline" => Command::Verbatim,
        "maketitle" => Command::Title,
        "acknowledgments" | "acknowledgements" | "acknowledgment" | "acknowledgement" | "acknowledge" | "ack" => {
            Command::Acknowledgment
        }
        "appendix" | "bibliography" | "printbibliography" => Command::Appendix,
        "vskip" | "hskip" | "kern" => Command::Length,
        "\\" | "newline" | "linebreak" => Command::Break,
        "ref" | "eqref" | "pageref" | "autoref" | "nameref" | "vref" | "cref" | "Cref" => Pointer,
        "footnotemark" => Arguments(0),
        "label" | "nocite" | "index" | "textcolor" | "colorbox" | "href" | "parbox" | "raisebox" | "scalebox"
        | "color" | "bibliographystyle" | "includegraphics" | "vspace" | "hspace" | "pagestyle" | "thispagestyle"
        | "pagenumbering" | "markright" | "usepackage" | "RequirePackage" | "author" | "date" | "affiliation"
        | "address" | "email" | "institute" | "thanks" | "pacs" | "hypersetup" | "newcounter" | "newlength"
        | "theoremstyle" | "addbibresource" | "printindex" | "hyphenation" | "begin minipage" | "begin multicols"
        | "begin spacing" | "begin tabular" | "begin longtable" | "begin supertabular" | "begin deluxetable" => {
            Arguments(1)
        }
        "setlength" | "addtolength" | "setcounter" | "addtocounter" | "markboth" | "newtheorem" | "multicolumn"
        | "resizebox" | "rule" | "begin adjustwidth" | "begin list" | "newcolumntype" | "begin tabular*"
        | "begin tabularx" | "begin tabulary" => Arguments(2),
        "definecolor" | "addcontentsline" => Arguments(3),
        name if name.starts_with("cite") || name.ends_with("cite") || name.starts_with("Cite") => Pointer,
        _ => return None,
    })
}

/// What a command of the text prints, if it prints a fixed text.
pub(super) fn symbol(name: &str) -> Option<&'static str> {
    Some(match name {
        "%" => "%",
        "&" => "&",
        "#" => "#",
        "_" | "textunderscore" => "_",
        "{" | "textbraceleft" | "lbrace" => "{",
        "}" | "textbraceright" | "rbrace" => "}",
        // So that a bare one is always mathematics.
        "$" | "textdollar" => "\\$",
        " " | "\n" | "\t" | "," | ";" | ":" | "quad" | "qquad" | "enspace" | "thinspace" => " ",
        "!" | "/" | "-" | "@" | "xspace" => "",
        "ss" => "ß",
        "ae" => "æ",
        "AE" => "Æ",
        "oe" => "œ",
        "OE" => "Œ",
        "o" => "ø",
        "O" => "Ø",
        "l" => "ł",
        "L" => "Ł",
        "aa" => "å",
        "AA" => "Å",
        "i" => "ı",
        "j" => "ȷ",
        "S" => "§",
        "P" => "¶",
        "copyright" | "textcopyright" => "©",
        "textregistered" => "®",
        "texttrademark" => "™",
        "textdegree" => "°",
        "pounds" => "£",
        "euro" | "texteuro" => "€",
        "dag" => "†",
        "ddag" => "‡",
        "ldots" | "dots" | "textellipsis" => "…",
        "textendash" => "–",
        "textemdash" => "—",
        "textquoteleft" => "‘",
        "textquoteright" => "’",
        "textquotedblleft" | "textquotedblright" => "\"",
        "textbackslash" => "\\",
        "textasciitilde" => "~",
        "textasciicircum" => "^",
        "textbar" => "|",
        "textless" => "<",
        "textgreater" => ">",
        "slash" => "/",
        "TeX" => "TeX",
        "LaTeX" => "LaTeX",
        "LaTeXe" => "LaTeX2e",
        "BibTeX" => "BibTeX",
        _ => return None,
    })
}

/// The combining character that an accent's command puts on the next letter.
pub(super) fn accent(name: &str) -> Option<char> {
    Some(match name {
        "`" => '\u{300}',
        "'" => '\u{301}',
        "^" => '\u{302}',
        "~" => '\u{303}',
        "=" => '\u{304}',
        "u" => '\u{306}',
        "." => '\u{307}',
        "\"" => '\u{308}',
        "r" => '\u{30a}',
        "H" => '\u{30b}',
        "v" => '\u{30c}',
        "d" => '\u{323}',
        "c" => '\u{327}',
        "k" => '\u{328}',
        "b" => '\u{331}',
        _ => return None,
    })
}

/// What an environment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Environment {
    /// Mathematics; `whole` when its frame is part of it.
    Math {
        /// Whether the frame stays.
        whole: bool,
    },
    /// Goes with all it holds, which is read for what it defines.
    Dropped,
    /// Goes unread.
    Skipped,
    /// Text that stands as it is.
    Verbatim,
    /// The summary, with a heading of its own.
    Abstract,
    /// Anything else: the frame goes, the content stays.
    Plain,
}

/// The meaning of an environment, with or without a star.
pub(super) fn environment(name: &str) -> Environment {
    match name.strip_suffix('*').unwrap_or(name) {
        "equation" | "displaymath" | "math" => Environment::Math { whole: false },
        "align" | "aligned" | "alignat" | "xalignat" | "xxalignat" | "flalign" | "gather" | "multline" | "eqnarray"
        | "dmath" | "IEEEeqnarray" => Environment::Math { whole: true },
        "figure" | "wrapfigure" | "sidewaysfigure" | "subfigure" | "SCfigure" | "teaserfigure" | "table"
        | "wraptable" | "sidewaystable" | "longtable" | "tabular" | "tabularx" | "tabulary" | "supertabular"
        | "tabbing" | "deluxetable" | "tikzpicture" | "picture" | "pspicture" | "thebibliography" | "references"
        | "acknowledgments" | "acknowledgements" | "acknowledgment" | "acknowledgement" | "acks" | "ack"
        | "theindex" => Environment::Dropped,
        "comment" | "filecontents" | "CCSXML" => Environment::Skipped,
        "verbatim" | "Verbatim" | "lstlisting" | "minted" | "alltt" => Environment::Verbatim,
        "abstract" => Environment::Abstract,
        _ => Environment::Plain,
    }
}
