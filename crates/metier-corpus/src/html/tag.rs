//! Elements, as far as reading a page tells them apart.

/// An element. Those that are read alike are one: a `div` and a `section`, all lists, all marks inside of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Article,
    Aside,
    Body,
    Break,
    Cell,
    Container,
    Footer,
    Form,
    /// One of `dt` and `dd`.
    Entry,
    Head,
    Header,
    /// Nothing in it is text of the page.
    Hidden,
    Heading(u8),
    Html,
    Inline,
    Item,
    Link,
    List,
    Main,
    Navigation,
    Paragraph,
    Preformatted,
    Row,
    Rule,
    Table,
    Title,
    /// An element without content and without a line of its own.
    Void,
}

impl Tag {
    /// The element of a name in lower case; `None` for names that are not known, whose content is read as if they were not there.
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"a" => Self::Link,
            b"article" => Self::Article,
            b"aside" => Self::Aside,
            b"body" => Self::Body,
            b"br" => Self::Break,
            b"td" | b"th" => Self::Cell,
            b"div" | b"section" | b"blockquote" | b"center" | b"details" | b"fieldset" | b"figure" | b"hgroup"
            | b"address" | b"dialog" | b"frameset" => Self::Container,
            b"footer" => Self::Footer,
            b"form" => Self::Form,
            b"dt" | b"dd" => Self::Entry,
            b"head" => Self::Head,
            b"header" => Self::Header,
            b"script" | b"style" | b"noscript" | b"noframes" | b"template" | b"svg" | b"canvas" | b"iframe"
            | b"object" | b"audio" | b"video" | b"select" | b"button" | b"textarea" | b"datalist" | b"map"
            | b"annotation" | b"annotation-xml" | b"progress" | b"meter" | b"applet" | b"rp" => Self::Hidden,
            [b'h', level @ b'1'..=b'6'] => Self::Heading(level - b'0'),
            b"html" => Self::Html,
            b"abbr" | b"acronym" | b"b" | b"big" | b"bdi" | b"bdo" | b"cite" | b"code" | b"data" | b"del" | b"dfn"
            | b"em" | b"font" | b"i" | b"ins" | b"kbd" | b"label" | b"mark" | b"q" | b"s" | b"samp" | b"small"
            | b"span" | b"strike" | b"strong" | b"sub" | b"sup" | b"time" | b"tt" | b"u" | b"var" => Self::Inline,
            b"li" => Self::Item,
            b"ul" | b"ol" | b"dl" | b"menu" | b"dir" => Self::List,
            b"main" => Self::Main,
            b"nav" => Self::Navigation,
            b"p" | b"figcaption" | b"caption" | b"summary" | b"legend" => Self::Paragraph,
            b"pre" | b"xmp" | b"listing" | b"plaintext" => Self::Preformatted,
            b"tr" => Self::Row,
            b"hr" => Self::Rule,
            b"table" => Self::Table,
            b"title" => Self::Title,
            b"area" | b"base" | b"col" | b"embed" | b"img" | b"input" | b"link" | b"meta" | b"param" | b"source"
            | b"track" | b"wbr" | b"frame" => Self::Void,
            _ => return None,
        })
    }

    /// Whether it stands in a line with what is around it.
    pub(super) fn is_inline(self) -> bool {
        matches!(self, Self::Hidden | Self::Inline | Self::Link | Self::Title | Self::Void)
    }

    /// Whether it never has content.
    pub(super) fn is_empty(self) -> bool {
        matches!(self, Self::Break | Self::Rule | Self::Void)
    }

    /// Whether an end inside of it closes nothing outside.
    fn is_wall(self) -> bool {
        matches!(self, Self::Cell | Self::Table | Self::Body)
    }

    /// Whether its start ends an `open` one that was not closed: a paragraph ends at the next block, an item at the next item.
    pub(super) fn ends(self, open: Self) -> bool {
        match open {
            Self::Paragraph | Self::Heading(_) => !self.is_inline() && self != Self::Break,
            Self::Item | Self::Entry | Self::Link => self == open,
            Self::Cell => matches!(self, Self::Cell | Self::Row),
            Self::Row => self == Self::Row,
            Self::Head => !self.is_inline(),
            _ => false,
        }
    }

    /// Whether its start ends nothing that is open around `open`.
    pub(super) fn keeps(self, open: Self) -> bool {
        match self {
            Self::Item | Self::Entry => open == Self::List || open.is_wall(),
            Self::Cell | Self::Row => open == Self::Table,
            Self::Link => open.is_wall(),
            _ => !open.is_inline(),
        }
    }

    /// Whether its end closes nothing that is open around `open`.
    pub(super) fn keeps_open(self, open: Self) -> bool {
        match self {
            Self::Row | Self::Table => matches!(open, Self::Table | Self::Body),
            Self::Inline => !open.is_inline(),
            _ => open.is_wall(),
        }
    }
}
