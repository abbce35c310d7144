use super::*;
use metier_core::memory;

fn text(page: &str) -> String {
    let main = main_text(page);
    assert_pieces(&main, page);
    main.text
}

fn assert_pieces(main: &MainText, page: &str) {
    let mut last = 0;
    for piece in &main.pieces.0 {
        assert!(piece.start >= last, "pieces are in order");
        last = piece.start + piece.length;
        assert_eq!(main.text.as_bytes()[piece.start..last], page.as_bytes()[piece.source..][..piece.length]);
    }
}

const PARAGRAPH: &str = "A paragraph of the text that is long enough to be told from a list of links by what it says.";

#[test]
fn blocks_break_lines_and_code_keeps_its_space() {
    let page = "<title>T</title><h1>Head  <b>of</b>\n all</h1><p>One<br>two &amp; three&nbsp;&lt;four&gt;<p>Caf&eacute; and 5&#x20ac;\
        <ul><li>first<li>second <a href=x>link</a></ul><pre>\n  if a:\n\treturn  1\n\n</pre><dl><dt>term<dd>meaning</dl>";
    let expected = "T\n\nHead of all\n\nOne\ntwo & three <four>\n\nCafé and 5€\n\nfirst\nsecond link\n\n  if a:\n\treturn  1\n\nterm\nmeaning";
    assert_eq!(text(page), expected);
}

#[test]
fn rows_are_lines_and_cells_stand_between_tabs() {
    let page = "<h1>T</h1><table><tr><th>a<th>b<tr><td><p>1</p></td><td>2 <b>x</b></td></tr><tr><td><p>long<p>cell<td>3</table>";
    assert_eq!(text(page), "T\n\na\tb\n1\t2 x\nlong\n\ncell\n3");
}

#[test]
fn what_stands_beside_the_text_goes() {
    let page = format!(
        "<html><head><title>Name - Site</title><style>p{{}}</style><script>if (a < b) {{ '<p>no' }}</script></head><body>
        <div class='top-nav'><a href=/>Home</a><a href=/b>Blog</a></div><div id=cookie-banner><p>We use cookies. {PARAGRAPH}</div>
        <div><a href=a>One</a> <a href=b>Two</a></div>
        <div class=content><h1>Name<a class=headerlink href=#name>¶</a></h1><div class=toc><ul><li><a href=#a>A</a></ul></div>
        <p>{PARAGRAPH}</p><form><p>Your name</p><input><button>Send</button></form><p hidden>Not shown</p>
        <p style='display: none'>Not shown</p><h2><a href='#a'>#</a> A</h2><p>{PARAGRAPH}</p></div>
        <aside><h3>Related</h3><a href=r>R</a></aside><div class=comments><p>First! {PARAGRAPH}</p></div>
        <footer>© 2026</footer></body></html>"
    );
    assert_eq!(text(&page), format!("Name\n\n{PARAGRAPH}\n\nA\n\n{PARAGRAPH}"));
}

#[test]
fn names_are_not_believed_where_they_would_leave_nothing() {
    let page = format!("<body><nav><h1>All</h1><p>{PARAGRAPH}<p>{PARAGRAPH}</body>");
    assert_eq!(text(&page), format!("All\n\n{PARAGRAPH}\n\n{PARAGRAPH}"));
    let page = "<title>Index</title><h1>Index</h1><ul><li><a href=a>A</a><li><a href=b>B</a></ul>";
    assert_eq!(text(page), "Index\n\nA\nB");
}

#[test]
fn lists_of_links_go_where_they_stand_around_paragraphs_only() {
    let links = |local: &str| {
        let item = |number| format!("<li><a href='{local}{number}'>Link {number}</a>");
        (0..6).map(item).collect::<String>()
    };
    let (away, local) = (links("x"), links("#"));
    let page = format!(
        "<h1>T</h1><h2>See</h2><ul>{away}</ul><p>{PARAGRAPH}</p><ul>{local}</ul><p>{PARAGRAPH}</p><h2>Between</h2><ul>{away}</ul><p>{PARAGRAPH}</p>"
    );
    let between = "Link 0\nLink 1\nLink 2\nLink 3\nLink 4\nLink 5";
    let expected = format!("T\n\n{PARAGRAPH}\n\n{PARAGRAPH}\n\nBetween\n\n{between}\n\n{PARAGRAPH}");
    assert_eq!(text(&page), expected);
}

#[test]
fn a_title_that_no_heading_says_is_the_first_line() {
    assert_eq!(text("<title>Two words</title><p>Text."), "Two words\n\nText.");
    assert_eq!(text("<title>Two words</title><h1>2.1 Two words</h1><p>Text."), "2.1 Two words\n\nText.");
    assert_eq!(text("<title>Two words | A site</title><h1>Two words</h1><p>Text."), "Two words\n\nText.");
    assert_eq!(text("<p>Text.<svg><title>Image</title></svg>"), "Text.");
}

#[test]
fn unclosed_and_crossed_tags_lose_no_text() {
    assert_eq!(
        text("<div><b><i>one</b>two</i><p>three</div>four</td></span></table>five"),
        "onetwo\n\nthree\n\nfour\n\nfive"
    );
    assert_eq!(text("<a href=x><div id=c><p>one</a>two</p></div><a href=y>three"), "onetwo");
    assert_eq!(text("<p>a < b && c <"), "a < b && c <");
    assert_eq!(text("one\0two<p>\0</p>"), "onetwo");
    assert_eq!(
        text("<?xml version='1.0'?><html><head><title/><script src='a'/></head><body><p>Text.</p></body></html>"),
        "Text."
    );
    assert_eq!(text(""), "");
    assert_eq!(text("<!doctype html><script>never closed <p>x"), "");
}

#[test]
fn hostile_pages_are_read_in_bounded_memory_and_time() {
    let pages = [
        "<div>".repeat(100_000) + "deep",
        "<b><a href=x><p>".repeat(100_000) + "deep",
        "<table><tr><td>".repeat(100_000) + "deep",
        "a<p>".repeat(1_000_000),
        "a\n".repeat(2_000_000),
        "</div></p></td>".repeat(300_000),
        "<span class=".repeat(300_000),
        format!("<p {}>", "class='x' ".repeat(400_000)),
        "&amp;&#0;\0".repeat(400_000),
        "word ".repeat(1_000_000),
        "<!--".repeat(1_000_000),
    ];
    for page in pages {
        let (before, start) = (memory::resident_bytes().unwrap_or(0), std::time::Instant::now());
        memory::reset_peak();
        let main = main_text(&page);
        assert_pieces(&main, &page);
        let grown = memory::peak_bytes().saturating_sub(before);
        let planned = planned_memory(page.len() as u64) + (16 << 20);
        assert!(grown < planned, "{} bytes took {grown}, planned {planned}", page.len());
        assert!(start.elapsed().as_secs() < 20, "{:?} for {:?}", start.elapsed(), &page[..30]);
    }
    assert!(main_text(&"a<p>".repeat(page::MOST + 1)).full);
}
