//! The same as one HTML file.

use super::{Attribute, Stats, Summary};
use metier_core::page::{Bars, data, escaped, frame, short, table};
use serde_json::json;
use std::fmt::Write as _;

/// The `id` under which the page holds its numbers, for programs.
pub const NUMBERS: &str = "stats";

/// A page with a table of all attributes and a histogram of each.
pub fn page(told: &Stats) -> String {
    let mut out = format!(
        "<p>{} documents of {} characters. Scores of attributes with more than 1,024 different ones are counted in buckets: \
         their quantiles are right to 0.5 %.</p>\n",
        told.documents, told.characters
    );
    if told.attributes.is_empty() {
        out += "<p>No tagger has said anything of them.</p>\n";
    } else {
        let headings = [
            "attribute",
            "documents",
            "share",
            "spans",
            "characters in spans",
            "least",
            "5 %",
            "median",
            "95 %",
            "largest",
            "mean",
        ];
        let rows: Vec<Vec<String>> = told.attributes.iter().map(|(name, attribute)| row(name, attribute)).collect();
        let _ = writeln!(out, "<div style=\"overflow-x:auto;white-space:nowrap\">{}</div>", table(&headings, &rows, 1));
    }
    out += "<h2>Texts</h2>\n<div class=\"grid\">\n";
    for (name, summary) in &told.texts {
        plot(&mut out, name, "a document", summary);
    }
    out += "</div>\n<h2>Attributes</h2>\n<div class=\"grid\">\n";
    let scores = told.attributes.iter().filter_map(|(name, attribute)| Some((name, attribute.scores.as_ref()?)));
    let (alike, others): (Vec<_>, Vec<_>) = scores.partition(|(_, scores)| scores.largest <= scores.least);
    for (name, scores) in others {
        plot(&mut out, name, "scores of spans", scores);
    }
    out += "</div>\n";
    if !alike.is_empty() {
        let named: Vec<_> =
            alike.iter().map(|(name, scores)| format!("{} ({})", escaped(name), short(scores.least))).collect();
        let _ = writeln!(out, "<p>All scores are the same: {}.</p>", named.join(", "));
    }
    frame("What was said of documents", &(out + &data(NUMBERS, &json!(told))))
}

/// Figures of how values are spread, as the table has them: least, 5 %, median, 95 %, largest, mean.
fn spread(summary: &Summary) -> [f64; 6] {
    let [low, median, high] = [0.05, 0.5, 0.95].map(|share| summary.quantile(share));
    [summary.least, low, median, high, summary.largest, summary.mean]
}

fn row(name: &str, attribute: &Attribute) -> Vec<String> {
    let percent = |share: f64| format!("{:.2} %", share * 100.0);
    let spread = match &attribute.scores {
        Some(scores) => spread(scores).map(short),
        None => [const { String::new() }; 6],
    };
    let counted = [
        attribute.documents.to_string(),
        percent(attribute.share),
        attribute.spans.to_string(),
        percent(attribute.covered),
    ];
    std::iter::once(name.to_owned()).chain(counted).chain(spread).collect()
}

fn plot(out: &mut String, name: &str, what: &str, summary: &Summary) {
    let bars: Vec<_> = summary.histogram.iter().map(|bar| (bar.from, bar.to, bar.count)).collect();
    let [_, low, median, high, ..] = spread(summary).map(short);
    let _ = writeln!(
        out,
        "<figure>{}<figcaption>{}: 90 % of them from {low} to {high}, median {median}</figcaption></figure>",
        Bars { title: name, bars: &bars }.svg(),
        escaped(what)
    );
}
