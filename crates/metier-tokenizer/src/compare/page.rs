//! The comparison as one HTML file that needs nothing else.

use super::{CompareSettings, Row};
use metier_core::page::{escaped, frame, table};
use std::fmt::Write;

/// Where a figure is read.
type Figure = fn(&Row) -> Option<f64>;

/// What is drawn, by its title.
const PLOTS: [(&str, Figure); 4] = [
    ("Tokens a word (fewer is cheaper)", |row| Some(row.fertility)),
    ("Bytes a token", |row| Some(row.bytes_per_token)),
    ("Rényi efficiency", |row| Some(row.efficiency)),
    ("MorphScore: borders of morphemes where a token ends", |row| row.morph_score),
];
/// Of bars, by the place of a vocabulary in the list; told apart with color blindness too (Okabe and Ito 2008).
const COLORS: [&str; 8] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000"];
const BAR: usize = 14;
const LABEL: usize = 220;
const WIDTH: usize = 420;

/// The page of rows that [`compare`](super::compare) gave: a plot for each of four figures, and a table of all.
pub fn page(rows: &[Row], settings: CompareSettings) -> String {
    let mut out = String::new();
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        if !names.contains(&row.tokenizer.as_str()) {
            names.push(&row.tokenizer);
        }
    }
    for (title, figure) in PLOTS {
        plot(&mut out, title, rows, &names, figure);
    }
    out += "<h2>All figures</h2>\n";
    out += &all_figures(rows, settings);
    frame("Tokenizers compared", &out)
}

fn plot(out: &mut String, title: &str, rows: &[Row], names: &[&str], figure: Figure) {
    let largest = rows.iter().filter_map(figure).filter(|value| value.is_finite()).fold(0.0, f64::max);
    if largest <= 0.0 {
        return;
    }
    let mut bars = String::new();
    let (mut y, mut group) = (0, "");
    for row in rows {
        let Some(value) = figure(row).filter(|value| value.is_finite()) else { continue };
        if row.group != group {
            y += if group.is_empty() { 0 } else { BAR / 2 };
            group = &row.group;
        }
        let place = names.iter().position(|name| *name == row.tokenizer).unwrap_or_default();
        let width = value / largest * WIDTH as f64;
        let text = y + BAR - 3;
        let _ = writeln!(
            bars,
            "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{} · {}</text><rect x=\"{LABEL}\" y=\"{y}\" width=\"{width:.1}\" \
             height=\"{}\" fill=\"{}\"/><text x=\"{:.1}\" y=\"{text}\">{value:.3}</text>",
            LABEL - 6,
            escaped(group),
            escaped(&row.tokenizer),
            BAR - 2,
            COLORS[place % COLORS.len()],
            LABEL as f64 + width + 5.0,
        );
        y += BAR;
    }
    let _ = writeln!(
        out,
        "<h2>{title}</h2>\n<svg role=\"img\" aria-label=\"{title}\" width=\"{}\" height=\"{y}\">\n{bars}</svg>",
        LABEL + WIDTH + 60
    );
}

fn all_figures(rows: &[Row], settings: CompareSettings) -> String {
    let entropy = format!("H<sub>{}</sub>", settings.alpha);
    let share = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{:.1} %", value * 100.0));
    let cells = rows.iter().map(|row| {
        vec![
            row.group.clone(),
            row.tokenizer.clone(),
            row.vocabulary_size.to_string(),
            row.tokens.to_string(),
            format!("{:.3}", row.fertility),
            format!("{:.3}", row.characters_per_token),
            format!("{:.3}", row.bytes_per_token),
            share(Some(row.unknown_share)),
            share(Some(row.byte_share)),
            format!("{:.3}", row.renyi_entropy),
            format!("{:.3}", row.efficiency),
            row.morph_score.map_or("–".to_owned(), |score| format!("{score:.3}")),
            share(row.whole_word_share),
            format!("{:.3}", row.cost),
        ]
    });
    let headings = [
        "texts",
        "tokenizer",
        "ids",
        "tokens",
        "tokens/word",
        "characters/token",
        "bytes/token",
        "unknown",
        "parts of characters",
        &entropy,
        "efficiency",
        "MorphScore",
        "words of one token",
        "cost of a million characters",
    ];
    table(&headings, &cells.collect::<Vec<_>>(), 2)
}
