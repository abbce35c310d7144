//! What people and programs read.

use crate::model::synthetic;
use metier_core::seed::Seed;
use metier_eval::metric::BitsPerByte;
use metier_eval::report::{Interval, Paired, bootstrap, comparison_table, paired_bootstrap, single_table};

const METRIC: BitsPerByte = BitsPerByte {};

fn paired(documents: usize) -> Paired {
    let base = synthetic("a", documents, 3, 1.3, 0.3, 0.01);
    let other = synthetic("b", documents, 3, 1.2, 0.3, 0.01);
    paired_bootstrap(&base, &other, &METRIC, 500, Seed::new(1)).expect("the windows are the same")
}

#[test]
fn columns_line_up() {
    let mut domain = paired(20);
    domain.base = Interval { value: 1.5, low: 1.0, high: 2.0 };
    domain.other = Interval { value: 1.25, low: 1.0, high: 2.0 };
    domain.difference = Interval { value: -0.25, low: -0.3, high: -0.2 };
    domain.change_percent = Some(Interval { value: -16.666, low: -20.0, high: -10.0 });
    let mut general = domain.clone();
    general.difference = Interval { value: 0.01, low: -0.001, high: 0.02 };
    general.windows = 1234;
    let rows = [("domain".to_owned(), domain), ("general English".to_owned(), general)];
    let expected = "\
bits/byte, lower is better
texts              base  specialist  difference       95 % interval   change  windows  documents
domain           1.5000      1.2500     -0.2500  -0.3000 to -0.2000  -16.7 %       60         20
general English  1.5000      1.2500     +0.0100  -0.0010 to +0.0200  -16.7 %     1234         20
";
    assert_eq!(comparison_table(&METRIC, "base", "specialist", &rows), expected);
}

#[test]
fn few_documents_are_said_under_the_table() {
    let single = bootstrap(&synthetic("a", 3, 3, 1.0, 0.1, 0.1), &METRIC, 200, Seed::new(1)).unwrap();
    let table = single_table(&METRIC, &[("tiny".to_owned(), single)]);
    assert!(table.starts_with("texts  bits/byte"), "{table}");
    assert!(
        table.ends_with("tiny: fewer than 8 documents, so windows were drawn and the interval may be too narrow\n")
    );
}

#[test]
fn figures_and_json_hold_the_same_numbers() {
    let paired = paired(20);
    let figures = paired.figures();
    let names: Vec<&str> = figures.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "base",
            "bits_per_byte",
            "bytes",
            "change_percent",
            "change_percent_high",
            "change_percent_low",
            "difference",
            "difference_high",
            "difference_low",
            "documents",
            "high",
            "low",
            "value",
            "windows"
        ]
    );
    let text = serde_json::to_string(&paired).unwrap();
    assert_eq!(serde_json::from_str::<Paired>(&text).unwrap(), paired);
}
