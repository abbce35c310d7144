//! The labeled pages of `fixtures/corpora/pages`.

use metier_core::data::Document;
use metier_corpus::read::{Html, Item, Read};
use metier_testkit::fixture;
use std::collections::HashMap;

fn pages() -> Vec<Document> {
    let reader = Html::default();
    let items = reader.open(&fixture("corpora/pages")).expect("fixtures are good input");
    items
        .filter_map(|item| match item.expect("fixtures are good input") {
            Item::Document(document) => Some(document),
            Item::Skipped { .. } | Item::Quarantined { .. } => None,
        })
        .collect()
}

/// The harmonic mean of precision and recall of words, each counted as often as it stands in both.
fn f1(kept: &str, wanted: &str) -> f64 {
    let mut left: HashMap<String, usize> = HashMap::new();
    wanted.split_whitespace().for_each(|word| *left.entry(word.to_owned()).or_default() += 1);
    let mut both = 0;
    for word in kept.split_whitespace() {
        if let Some(count @ 1..) = left.get_mut(word) {
            *count -= 1;
            both += 1;
        }
    }
    let all = kept.split_whitespace().count() + wanted.split_whitespace().count();
    2.0 * f64::from(both) / all.max(1) as f64
}

#[test]
fn words_of_labeled_pages_are_kept_and_no_others() {
    let table = std::fs::read_to_string(fixture("corpora/pages/README.md")).expect("a fixture");
    let mut figures = [Vec::new(), Vec::new()];
    for document in pages() {
        let name = document.id.trim_end_matches(".html");
        let wanted = std::fs::read_to_string(fixture(format!("corpora/pages/{name}.txt"))).expect("a fixture");
        let row =
            table.lines().find(|row| row.starts_with(&format!("| `{name}` |"))).expect("every page is in the table");
        let figure = f1(&document.text, &wanted);
        println!("{figure:.3} {name}");
        figures[usize::from(row.ends_with("| hold back |"))].push(figure);
    }
    let mean = |figures: &[f64]| figures.iter().sum::<f64>() / figures.len() as f64;
    let [developed, held_back] = &figures;
    println!("developed with {:.4}, held back {:.4}", mean(developed), mean(held_back));
    assert_eq!((developed.len(), held_back.len()), (20, 20));
    assert!(mean(developed) >= 0.95 && mean(held_back) >= 0.95, "{} {}", mean(developed), mean(held_back));
}

#[test]
fn text_of_pages_in_utf_8_stands_in_them() {
    let mut covered = 0;
    for document in pages().into_iter().filter(|document| !document.pieces.0.is_empty()) {
        let source = std::fs::read(fixture("corpora/pages").join(&document.source)).expect("a fixture");
        let mut bytes = 0;
        for piece in &document.pieces.0 {
            let here = &document.text.as_bytes()[piece.start..][..piece.length];
            assert_eq!(here, &source[piece.source..][..piece.length], "{}", document.id);
            bytes += piece.length;
        }
        assert!(bytes * 10 >= document.text.len() * 8, "{}: {bytes} of {}", document.id, document.text.len());
        covered += 1;
    }
    assert!(covered >= 30, "{covered} pages");
}
