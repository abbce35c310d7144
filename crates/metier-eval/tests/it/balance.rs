//! What is won in a trade and lost elsewhere, with numbers worked out by hand.

use crate::model::synthetic;
use metier_core::seed::Seed;
use metier_eval::report::{Balance, Step, Weighed, balance, balance_table};
use metier_eval::{Evaluation, Measured};
use metier_testkit::assert_near;

/// Questions, of which the first `right` are answered rightly.
fn questions(right: usize, all: usize) -> Evaluation {
    let mut evaluation = synthetic("q", all, 1, 1.0, 0.0, 0.0);
    for (number, window) in evaluation.windows.iter_mut().enumerate() {
        *window = Measured { right: Some(number < right), ..window.clone() };
    }
    evaluation
}

fn step(name: &str, facts: usize, ports: usize, bits: f64) -> Step {
    let sets = [
        ("facts", questions(facts, 20)),
        ("ports", questions(ports, 40)),
        ("english", synthetic("english", 30, 2, bits, 0.1, 0.0)),
    ];
    Step { name: name.to_owned(), sets: sets.map(|(set, evaluation)| (set.to_owned(), evaluation)).into() }
}

fn names(sets: &[&str]) -> Vec<String> {
    sets.iter().map(|set| (*set).to_owned()).collect()
}

fn weigh(steps: &[Step], speciality: &[&str], versatility: &[&str]) -> metier_core::Result<Vec<Balance>> {
    let (speciality, versatility) = (names(speciality), names(versatility));
    balance(steps, Weighed { speciality: &speciality, versatility: &versatility }, 1000, Seed::new(3))
}

#[test]
fn scores_are_means_over_sets_and_points_add_up() {
    let steps = [step("base", 5, 10, 1.0), step("read", 15, 20, 1.0), step("asked", 20, 40, 2.0)];
    let rows = weigh(&steps, &["facts", "ports"], &["english"]).unwrap();
    let english = |row: &Balance| row.sets["english"];
    // The bits a byte of the set scatter around 1 and 2.
    let bits = |step: &Step| {
        let windows = &step.sets["english"].windows;
        windows.iter().map(|window| window.nats).sum::<f64>() / (windows.len() * 1000) as f64 / std::f64::consts::LN_2
    };
    for (row, step) in rows.iter().zip(&steps) {
        assert_near("english", english(row), 2.0_f64.powf(-bits(step)), 1e-12, 0.0);
        assert_near("versatility", row.versatility.score.value, english(row), 1e-12, 0.0);
        let unified = f64::midpoint(row.speciality.score.value, english(row));
        assert_near("unified", row.unified.score.value, unified, 1e-12, 0.0);
    }
    let speciality: Vec<f64> = rows.iter().map(|row| row.speciality.score.value).collect();
    for (value, expected) in speciality.iter().zip([0.25, 0.625, 1.0]) {
        assert_near("speciality", *value, expected, 1e-12, 0.0);
    }
    assert!(rows[0].won.is_empty() && rows[0].unified.from_first.is_none() && rows[0].unified.from_last.is_none());
    let last = &rows[2];
    assert_near("from the first", last.speciality.from_first.unwrap().value, 0.75, 1e-12, 0.0);
    assert_near("from the last", last.speciality.from_last.unwrap().value, 0.375, 1e-12, 0.0);
    assert_near("facts", last.won["facts"], 0.25 / 4.0, 1e-12, 0.0);
    assert_near("ports", last.won["ports"], 0.5 / 4.0, 1e-12, 0.0);
    let won: f64 = last.won.values().sum();
    assert_near("all points", won, last.unified.from_last.unwrap().value, 1e-12, 0.0);
}

#[test]
fn what_is_hard_for_both_cancels_out() {
    // The second model is worse by the same factor on every window.
    let steps = [step("base", 10, 10, 1.0), step("tuned", 10, 10, 1.05)];
    let rows = weigh(&steps, &["facts"], &["english"]).unwrap();
    let change = rows[1].versatility.from_first.unwrap();
    let score = rows[1].versatility.score;
    assert!(change.high < 0.0, "{change:?}");
    assert!((change.high - change.low) * 10.0 < score.high - score.low, "{change:?} {score:?}");
    let same = rows[1].speciality.from_first.unwrap();
    assert_eq!((same.value, same.low, same.high), (0.0, 0.0, 0.0));
    assert_eq!(rows, weigh(&steps, &["facts"], &["english"]).unwrap());
}

#[test]
fn the_interval_of_a_share_is_the_binomial_one() {
    let steps = [step("base", 10, 10, 1.0), step("tuned", 10, 20, 1.0)];
    let rows = weigh(&steps, &["ports"], &["facts"]).unwrap();
    let error = |share: f64, all: f64| (share * (1.0 - share) / all).sqrt();
    let (ports, facts) = (error(0.5, 40.0), error(0.5, 20.0));
    for (score, error) in [(&rows[1].speciality, ports), (&rows[1].unified, ports.hypot(facts) / 2.0)] {
        let width = score.score.high - score.score.low;
        assert_near("width", width, 2.0 * 1.96 * error, 0.3 * error, 0.0);
    }
}

#[test]
fn what_cannot_be_weighed_is_refused() {
    let said = |result: metier_core::Result<Vec<Balance>>| result.unwrap_err().to_string();
    let steps = [step("base", 5, 10, 1.0), step("tuned", 6, 10, 1.0)];
    let missing = said(weigh(&steps, &["facts"], &["german"]));
    assert!(missing.contains("`base` was not measured on `german`") && missing.contains("english"), "{missing}");
    let mut other = step("other", 6, 10, 1.0);
    other.sets.insert("facts".to_owned(), questions(3, 19));
    let [base, _] = steps;
    let differs = said(weigh(&[base, other], &["facts"], &["english"]));
    assert!(differs.contains("`facts`") && differs.contains("20 windows"), "{differs}");
}

#[test]
fn the_table_has_points_of_a_hundred() {
    let rows = weigh(&[step("base", 5, 10, 1.0), step("tuned", 15, 10, 1.0)], &["facts"], &["ports"]).unwrap();
    let table = balance_table(&rows);
    let line = |start: &str| table.lines().find(|line| line.contains(start)).unwrap().to_owned();
    assert!(line("tuned").contains("speciality") && line("tuned").contains("75.00"), "{table}");
    assert!(line("tuned").contains("+50.00"), "{table}");
    assert!(line("base").contains("25.00") && line("base").ends_with('-'), "{table}");
}
