//! What names of elements say about their content: the words of `class`, `id` and `role`.

use super::tag::Tag;

/// What an element's names say of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Cue {
    #[default]
    None,
    /// The main text of the page.
    Content,
    /// The page's or section's title.
    Title,
    /// What stands above the main text, or in it above a part: a title or a banner.
    Header,
    /// A list of what the page holds.
    Contents,
    /// Something that stands on pages beside their text.
    Beside,
    /// A box: beside the page's text where it is made of links, and part of it where it is not.
    Box,
    /// Something that is not shown.
    Hidden,
    /// A mark inside of a line that belongs to the page's handling: a link to the heading, a line's number.
    Mark,
}

/// Where a link leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    Elsewhere,
    /// To the same page.
    Here,
}

/// The attributes of an element that are looked at, in lower case.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub classes: String,
    pub id: String,
    pub role: String,
    pub hidden: bool,
    pub link: Option<Aim>,
    /// Whether it is a `section`, whose `id` is most often made of its heading.
    pub section: bool,
}

impl Names {
    /// What these names say of an element.
    pub(super) fn cue(&self, tag: Tag) -> Cue {
        match tag {
            Tag::Navigation => return Cue::Beside,
            Tag::Html | Tag::Body => return Cue::None,
            Tag::Main | Tag::Article => return Cue::Content,
            _ if self.hidden => return if tag.is_inline() { Cue::Mark } else { Cue::Hidden },
            _ => {}
        }
        match &*self.role {
            "main" => return Cue::Content,
            "navigation" | "search" | "complementary" | "contentinfo" | "menu" | "menubar" | "dialog"
            | "alertdialog" | "toolbar" => return Cue::Beside,
            "banner" => return Cue::Header,
            "doc-toc" => return Cue::Contents,
            _ => {}
        }
        let classes = || self.classes.split_ascii_whitespace();
        let mut cue = match tag {
            Tag::Footer | Tag::Form => Cue::Beside,
            Tag::Header => Cue::Header,
            _ if classes().any(|name| name == "topic") && classes().any(|name| name == "contents") => Cue::Contents,
            _ => Cue::None,
        };
        // The `id` of a heading or of its section is made of its words, and says nothing of the kind.
        let slug = self.section
            || matches!(tag, Tag::Heading(_))
            || classes().any(|name| name.starts_with("sect"))
            || self.id.matches(['-', '_']).count() > 2;
        let id = Some(&*self.id).filter(|id| !slug || of_block(id) == Cue::Content);
        for name in classes().chain(id) {
            let of_name = match tag {
                _ if tag.is_inline() => of_inline(name),
                Tag::Heading(_) if of_block(name) != Cue::Title => Cue::None,
                _ => of_block(name),
            };
            // What is said first stands, but for a content's name, which is often that of a part beside too.
            if matches!(cue, Cue::None | Cue::Content | Cue::Header) && of_name != Cue::None {
                cue = of_name;
            }
        }
        cue
    }
}

fn of_inline(name: &str) -> Cue {
    let mark = matches!(
        name,
        "headerlink"
            | "permalink"
            | "header-anchor"
            | "heading-anchor"
            | "anchorjs-link"
            | "viewcode-link"
            | "viewcode-back"
            | "mw-editsection"
            | "editsection"
            | "editlink"
            | "sr-only"
            | "screen-reader-text"
            | "visually-hidden"
            | "skip-link"
            | "skip-to-content"
            | "lineno"
            | "linenos"
            | "line-number"
            | "line-numbers"
            | "linenumber"
            | "out-of-band"
            | "rightside"
            | "since-source"
            | "srclink"
            | "src"
            | "selflink"
            | "hideme"
            | "docs-sourcelink"
            | "doc-anchor"
            | "copybtn"
            | "summary_toggle"
            | "tooltiptext"
            | "docs-heading-anchor-permalink"
            | "method-click-advice"
            | "test-arrow"
            | "sourcelink"
    );
    if mark { Cue::Mark } else { Cue::None }
}

fn of_block(name: &str) -> Cue {
    match name {
        "content" | "main" | "main-content" | "maincontent" | "page-content" | "article" | "post" | "entry"
        | "entry-content" | "post-content" | "article-body" | "markdown-body" | "mw-content-text"
        | "documentwrapper" | "body" | "bodywrapper" | "documentation" | "document" | "rst-content" => {
            return Cue::Content;
        }
        "title" | "headertitle" | "page-title" | "post-title" | "entry-title" => return Cue::Title,
        "header" | "page-header" | "masthead" | "banner" | "titlearea" | "title-block" | "package-header" => {
            return Cue::Header;
        }
        "toc" | "localtoc" | "pagetoc" | "page-toc" | "minitoc" | "table-of-contents" | "tableofcontents"
        | "toctitle" | "contents-list" | "fancy_toc" | "indexgroup" | "shortcontents" | "short-contents"
        | "summarytoc" | "toc-container" | "on-this-page" => return Cue::Contents,
        _ => {}
    }
    let words = || name.split(|letter: char| !letter.is_ascii_alphanumeric());
    let beside = |word: &str| {
        matches!(
            word,
            "nav"
                | "navbar"
                | "navigation"
                | "navheader"
                | "navfooter"
                | "navlist"
                | "navrow"
                | "navpath"
                | "navlinks"
                | "topnav"
                | "bottomnav"
                | "subnav"
                | "sidenav"
                | "leftnav"
                | "mainnav"
                | "menu"
                | "menubar"
                | "breadcrumb"
                | "breadcrumbs"
                | "crumbs"
                | "crosslinks"
                | "sphinxsidebar"
                | "sphinxsidebarwrapper"
                | "footer"
                | "cookie"
                | "cookies"
                | "consent"
                | "gdpr"
                | "ad"
                | "ads"
                | "advert"
                | "advertisement"
                | "adsense"
                | "sponsor"
                | "sponsors"
                | "promo"
                | "share"
                | "sharing"
                | "social"
                | "related"
                | "comments"
                | "commentlist"
                | "disqus"
                | "respond"
                | "pagination"
                | "paginator"
                | "pager"
                | "prevnext"
                | "search"
                | "searchbox"
                | "login"
                | "signup"
                | "newsletter"
                | "subscribe"
                | "popup"
                | "modal"
                | "tooltip"
                | "copyright"
                | "tags"
                | "byline"
                | "byline2"
                | "ethical"
                | "rightsidebar"
                | "leftsidebar"
                | "linenos"
                | "linenodiv"
                | "gutter"
                | "skip"
                | "skiplink"
                | "printonly"
                | "toolbar"
                | "widget"
                | "widgets"
                | "pagefooter"
                | "colophon"
        )
    };
    let hidden = ["sr-only", "screen-reader-text", "visually-hidden", "noprint", "hidden", "hideme"].contains(&name);
    match () {
        () if hidden || words().any(beside) => Cue::Beside,
        () if words().any(|word| word == "sidebar") => Cue::Box,
        () => Cue::None,
    }
}
