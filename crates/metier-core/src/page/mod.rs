//! HTML pages of one file, light and dark, that need no other file and no network.

mod bars;
mod plot;
mod waterfall;

pub use bars::{Bars, short};
pub use plot::{Plot, figure};
pub use waterfall::{Row, Waterfall};

use serde_json::Value;
use std::fmt::Write;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#222;--paper:#fff;--faint:#ddd;--soft:#666;--line:#0072b2;--mark:#d55e00}\
@media(prefers-color-scheme:dark){:root{--ink:#ddd;--paper:#181818;--faint:#3a3a3a;--soft:#999;--line:#56b4e9;--mark:#e69f00}}\
body{font:14px/1.4 system-ui,sans-serif;margin:2em;color:var(--ink);background:var(--paper)}\
h2{margin:1.6em 0 .4em}h3{margin:1.2em 0 .3em}summary{cursor:pointer}\
table{border-collapse:collapse;margin:.4em 0 1em}td,th{padding:.25em .6em;text-align:right;border-bottom:1px solid var(--faint)}\
.left1 :is(td,th):first-child,.left2 :is(td,th):nth-child(-n+2){text-align:left}td{overflow-wrap:anywhere}\
svg{display:block;max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:var(--ink)}\
.plot text{fill:var(--soft)}.plot .grid{stroke:var(--faint)}.plot .axis{stroke:var(--soft);fill:none}\
.plot .raw,.plot .line{fill:none;stroke:var(--line);stroke-width:1.6;stroke-linejoin:round}.plot .raw{opacity:.4;stroke-width:1}\
.plot .band{fill:var(--line);opacity:.2}.plot .dot{fill:var(--line)}.plot .gain{fill:#009e73}.plot .loss{fill:var(--mark)}\
.plot .mark{stroke:var(--mark);stroke-dasharray:5 4}.plot text.mark{fill:var(--mark);stroke:none}\
.grid{display:flex;flex-wrap:wrap;gap:.6em 2em}figure{margin:0;max-width:380px}figure h3{overflow-wrap:anywhere;font-size:1em}\
figcaption{color:var(--soft)}\
.plot .over rect{fill:transparent}.plot .over rect:hover{fill:var(--ink);opacity:.15}";

/// A whole page: its title, which is also its first heading, and what follows, as HTML.
pub fn frame(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\n\
         <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n{body}</body></html>\n"
    )
}

/// A table of texts below headings, which are HTML; the first `left` columns (1 or 2) stand to the left, the others to the
/// right.
pub fn table(headings: &[&str], rows: &[Vec<String>], left: usize) -> String {
    let mut out = format!("<table class=\"left{left}\"><tr>");
    for heading in headings {
        let _ = write!(out, "<th>{heading}</th>");
    }
    out += "</tr>\n";
    for row in rows {
        out += "<tr>";
        for cell in row {
            let _ = write!(out, "<td>{}</td>", escaped(cell));
        }
        out += "</tr>\n";
    }
    out + "</table>\n"
}

/// Numbers of the page for programs that read it: the text of the one script whose `id` this is, of type `application/json`.
pub fn data(id: &str, value: &Value) -> String {
    // Within JSON, a `<` stands in strings only.
    let text = value.to_string().replace('<', "\\u003c");
    format!("<script type=\"application/json\" id=\"{}\">{text}</script>\n", escaped(id))
}

/// A text as HTML shows it.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_in_a_text_becomes_markup() {
        let evil = "</script><b>&\"";
        let page = frame(evil, &(table(&["a"], &[vec![evil.to_owned()]], 1) + &data("numbers", &json!({ "a": evil }))));
        assert_eq!(page.matches("<b>").count(), 0, "{page}");
        assert_eq!(page.matches("</script>").count(), 1);
        let (_, rest) = page.split_once("id=\"numbers\">").unwrap();
        let (text, _) = rest.split_once("</script>").unwrap();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap()["a"], evil);
    }
}
