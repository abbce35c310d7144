//! What a training did to held-out windows: each before and after, compared in pairs.

use super::train::validation_figure;
use crate::command::table;
use metier_core::Result;
use metier_core::seed::Seed;
use metier_eval::metric::{Amount, Metric};
use metier_eval::report::{Interval, paired_bootstrap};
use metier_eval::{Evaluation, Measured};
use metier_train::HeldOut;
use std::collections::BTreeMap;

/// Times that windows are drawn anew to find an interval.
const RESAMPLES: usize = 2000;

/// The mean loss of a token.
struct Loss;

impl Metric for Loss {
    fn name(&self) -> &'static str {
        "loss"
    }

    fn title(&self) -> &'static str {
        "nats per token"
    }

    fn value(&self, amount: Amount) -> f64 {
        amount.nats / amount.tokens
    }
}

/// What came of the windows of a pack, in nats per token.
struct Change {
    before: f64,
    after: f64,
    /// The 95 % interval of the difference, where there are several windows to draw from.
    interval: Option<Interval>,
}

impl Change {
    fn new(windows: &HeldOut, seed: Seed) -> Result<Self> {
        let [before, after] = [0, 1].map(|which| evaluation(windows, which));
        let several = windows.nats.len() > 1;
        let paired = several.then(|| paired_bootstrap(&before, &after, &Loss, RESAMPLES, seed)).transpose()?;
        let interval = paired.map(|paired| paired.difference);
        Ok(Self { before: before.value(&Loss), after: after.value(&Loss), interval })
    }
}

/// The windows as an evaluation has them, each a text of its own so that windows are drawn.
fn evaluation(windows: &HeldOut, which: usize) -> Evaluation {
    let window = |(number, (nats, predicted)): (usize, (&[f64; 2], &u64))| Measured {
        document: number.to_string(),
        nats: nats[which],
        tokens: *predicted as usize,
        ..Measured::default()
    };
    Evaluation { windows: windows.nats.iter().zip(&windows.predicted).enumerate().map(window).collect() }
}

/// What is told of held-out packs.
#[derive(Default)]
pub(super) struct Told {
    /// Numbers by name.
    pub(super) figures: BTreeMap<String, f64>,
    /// A table for people, where there are packs.
    pub(super) table: Option<String>,
}

impl Told {
    /// The changes of the losses of these packs.
    ///
    /// # Errors
    /// When the windows of a pack hold nothing to predict.
    pub(super) fn new(packs: &[HeldOut], seed: Seed) -> Result<Self> {
        let (mut told, mut rows) = (Self::default(), Vec::new());
        for windows in packs {
            let Change { before, after, interval } = Change::new(windows, seed)?;
            let mut figure = |which: &str, value| told.figures.insert(validation_figure(&windows.name, which), value);
            figure("change", after - before);
            let mut shown = "-".to_owned();
            if let Some(Interval { low, high, .. }) = interval {
                figure("change_low", low);
                figure("change_high", high);
                shown = format!("{low:+.4} to {high:+.4}");
            }
            let [before, after, change] =
                [format!("{before:.4}"), format!("{after:.4}"), format!("{:+.4}", after - before)];
            rows.push(vec![windows.name.clone(), before, after, change, shown]);
        }
        if !rows.is_empty() {
            let headings = ["held-out pack", "before", "after", "change", "95 % interval"];
            let shown = table(&headings, &rows, &[false, true, true, true, true]);
            told.table = Some(format!("Loss in nats per token\n{shown}"));
        }
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_has_an_interval_over_windows_and_pairs_cancel_what_is_hard_for_both() {
        // Windows differ twentyfold, and each falls by a tenth of a nat per token.
        let nats: Vec<[f64; 2]> = (1..=20).map(|at| f64::from(at) * 40.0).map(|nats| [nats, nats - 1.0]).collect();
        let pack = HeldOut { name: "old".to_owned(), predicted: vec![10; nats.len()], nats };
        let Told { figures, table } = Told::new(std::slice::from_ref(&pack), Seed::new(3)).unwrap();
        assert!(figures.keys().eq(&names_of_changes()), "{figures:?}");
        assert!(figures.values().all(|value| (value + 0.1).abs() < 1e-9), "{figures:?}");
        assert!(table.unwrap().contains("-0.1000 to -0.1000"));
        let noisy: Vec<[f64; 2]> = (0..20).map(|at| [20.0, 20.0 + f64::from(at % 5) - 2.0]).collect();
        let figures = Told::new(&[HeldOut { nats: noisy, ..pack }], Seed::new(3)).unwrap().figures;
        let [change, high, low] = names_of_changes().map(|name| figures[&name]);
        assert!(low < -0.01 && high > 0.01 && change.abs() < 1e-9, "{figures:?}");
    }

    #[test]
    fn a_single_window_has_a_change_and_no_interval() {
        let pack = HeldOut { name: "old".to_owned(), nats: vec![[8.0, 4.0]], predicted: vec![4] };
        let Told { figures, table } = Told::new(&[pack], Seed::new(3)).unwrap();
        assert_eq!(figures, BTreeMap::from([("validation.old.change".to_owned(), -1.0)]));
        assert!(table.unwrap().contains("-1.0000"));
        assert!(Told::new(&[], Seed::new(3)).unwrap().table.is_none());
    }

    fn names_of_changes() -> [String; 3] {
        ["change", "change_high", "change_low"].map(|which| format!("validation.old.{which}"))
    }
}
