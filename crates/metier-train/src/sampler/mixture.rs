//! Windows of several sources in fixed shares.

use super::shares::{Draw, PARTS, names, parts, place, undrawn, windows_of};
use super::{Request, Sampler, Stream};
use crate::sources::known;
use metier_core::part::{Build, Part};
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// # What it does
/// Draws windows from several packs, named under `from`, so that each has its share of the tokens: `shares = { general = 0.75, domain = 0.25 }`.
/// Replay is this too: a share of the text that the model was trained on before keeps what it knows.
///
/// # How
/// Window `p = step sequences + row` of the run belongs to the first source when `round(p s)` grows there, `s` being its share. What
/// is left goes the same way to the next source, by its share of the rest. Shares are whole billionths and the rounding is
/// exact, so after any number of windows each source is within one window for each source of its share, and hits it exactly
/// wherever `sequences` times each share is a whole number: in every step. All windows have `context` tokens. Each source goes
/// through epochs of its own, none of its windows twice in one. The permutation of `packed` is drawn anew for each, and where the
/// cuts lie too, so that the rest of a source that fills no window is another one each time. Examples are not cut, and so their
/// shares are of windows, not of tokens.
///
/// # When to use
/// Continued pretraining on a small domain, where the old text is replayed. How much: `metier fit` finds the largest share
/// of the domain that keeps the old text's loss, from a few short runs; `critical = "domain"` takes it from that stage. Without
/// shares to state, `packed` goes through several packs by their sizes.
///
/// # Differs from the paper in
/// The paper mixes by proportion without saying how they are met in a batch. Shares here are met in every few windows, not by chance.
///
/// # Source
/// Gu et al., *CMR Scaling Law: Predicting Critical Mixture Ratios for Continual Pre-training of Language Models*,
/// arXiv:2407.17467, section 3. Spreading evenly by rounding: Bresenham, *Algorithm for computer control of a digital plotter*, 1965.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mixture {
    /// Each source's share of the tokens, by its name under `from`. They sum to 1; one source may be
    /// left out and gets the rest. A share of 0 leaves a source out.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub shares: BTreeMap<String, f64>,
    /// In place of `shares`: the source of two that gets the critical ratio that the stage under `law` found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub critical: Option<String>,
    /// The critical ratio is multiplied by this; never more than all.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub times: f64,
}

impl Default for Mixture {
    fn default() -> Self {
        Self { shares: BTreeMap::new(), critical: None, times: 1.0 }
    }
}

impl Mixture {
    /// The share of each of these sources in [`PARTS`]; they sum to it.
    fn parts(&self, names: &[&str]) -> Result<Vec<u64>> {
        parts(&self.shares, names, "sampler.shares")
    }

    fn parts_of(&self, stream: &Stream) -> Result<Vec<u64>> {
        self.parts(&names(stream))
    }
}

impl Sampler for Mixture {
    fn windows(&self, stream: &Stream, request: &Request) -> Vec<Range<u64>> {
        let Ok(parts) = self.parts_of(stream) else { return Vec::new() };
        let first = request.step * request.sequences as u64;
        let draw = Draw::new(stream, request);
        let window = |position: u64| {
            let (source, number) = place(&parts, position)?;
            draw.window(source, number)
        };
        (first..first + request.sequences as u64).filter_map(window).collect()
    }

    fn steps_per_epoch(&self, stream: &Stream, context: usize, sequences: usize) -> Option<f64> {
        let parts = self.parts_of(stream).ok()?;
        let steps = stream.sources().iter().zip(parts).filter(|(_, part)| *part > 0).map(|(source, part)| {
            windows_of(source, context) as f64 * PARTS as f64 / (part as f64 * sequences.max(1) as f64)
        });
        steps.reduce(f64::max)
    }

    fn check_sources(&self, names: &[&str], _steps: u64) -> Result<()> {
        let Some(critical) = &self.critical else { return self.parts(names).map(|_| ()) };
        let mut faults = Vec::new();
        if !self.shares.is_empty() {
            faults.push(
                Fault::new(Place::key("sampler.critical"), "there are shares and a critical ratio")
                    .hint("leave one of `shares` and `critical` out"),
            );
        }
        if !names.contains(&critical.as_str()) {
            let message = format!("no source is called `{critical}`");
            faults.push(Fault::new(Place::key("sampler.critical"), message).hint(known(critical, names)));
        }
        if names.len() != 2 {
            let message = format!("a critical ratio is for two sources, and there are {}", names.len());
            faults.push(Fault::new(Place::key("sampler.critical"), message).hint("write `shares`"));
        }
        Error::collect((), faults)
    }

    fn check(&self, stream: &Stream, context: usize, steps: u64, sequences: usize) -> Result<()> {
        if self.critical.is_some() {
            return Err(Error::program("a mixture was to be drawn whose critical ratio is not known yet"));
        }
        let parts = self.parts_of(stream)?;
        let windows = steps.saturating_mul(sequences as u64);
        Error::collect((), undrawn(stream, context, &parts, windows, "the run's"))
    }

    fn critical(&self) -> Option<(&str, f64)> {
        self.critical.as_deref().map(|source| (source, self.times))
    }
}

impl Build<dyn Sampler> for Mixture {
    fn build(self, _place: &Place) -> Result<Box<dyn Sampler>> {
        Ok(Box::new(self))
    }
}

/// The record of `mixture`.
pub static PART: Part<dyn Sampler> = Part::of::<Mixture>("mixture", 1);

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::super::shares::counts;
    use super::*;
    use metier_core::seed::Seed;
    use proptest::prelude::*;

    fn mixture(shares: &[(&str, f64)]) -> Mixture {
        let shares = shares.iter().map(|(name, share)| ((*name).to_owned(), *share)).collect();
        Mixture { shares, ..Mixture::default() }
    }

    fn stream(lengths: &[&[u64]]) -> Stream {
        let names = ["a", "b", "c"].map(str::to_owned);
        let streams = names
            .into_iter()
            .zip(lengths)
            .map(|(name, lengths)| (name, lengths.len(), Stream::new(lengths.iter().copied()).unwrap()));
        Stream::joined(streams).unwrap()
    }

    /// How many tokens of each source windows have.
    fn tokens(stream: &Stream, windows: &[Range<u64>]) -> Vec<u64> {
        let of = |source: &Source| {
            let own =
                windows.iter().filter(|window| window.start >= source.tokens.start && window.end <= source.tokens.end);
            own.map(|window| window.end - window.start).sum()
        };
        stream.sources().iter().map(of).collect()
    }

    proptest! {
        #[test]
        fn shares_are_met_within_a_window_for_each_source(
            cuts in prop::collection::vec(0.0_f64..1.0, 1..5),
            windows in 0_u64..100_000,
        ) {
            let mut cuts = cuts;
            cuts.extend([0.0, 1.0]);
            cuts.sort_by(f64::total_cmp);
            let names: Vec<String> = (1..cuts.len()).map(|at| format!("s{at}")).collect();
            let shares = names.iter().cloned().zip(cuts.windows(2).map(|pair| pair[1] - pair[0])).collect();
            let mixture = Mixture { shares, ..Mixture::default() };
            let parts = mixture.parts(&names.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
            prop_assert_eq!(parts.iter().sum::<u64>(), PARTS);
            let (now, next) = (counts(&parts, windows), counts(&parts, windows + 1));
            prop_assert_eq!(now.iter().sum::<u64>(), windows);
            prop_assert_eq!(now.iter().zip(&next).filter(|(now, next)| next > now).count(), 1);
            prop_assert!(now.iter().zip(&next).all(|(now, next)| next >= now));
            for (part, count) in parts.iter().zip(now) {
                let exact = *part as f64 / PARTS as f64 * windows as f64;
                prop_assert!((count as f64 - exact).abs() < parts.len() as f64);
            }
        }
    }

    #[test]
    fn every_step_has_the_shares_where_they_are_whole_windows() {
        let stream = stream(&[&[300, 50], &[90], &[70, 33]]);
        let mixture = mixture(&[("a", 0.5), ("b", 0.125)]);
        mixture.check(&stream, 8, 10, 8).unwrap();
        for step in 0..40 {
            let windows = mixture.windows(&stream, &Request { step, sequences: 8, context: 8, seed: Seed::new(4) });
            assert_eq!(tokens(&stream, &windows), [32, 8, 24], "step {step}");
        }
    }

    #[test]
    fn each_source_goes_through_epochs_of_its_own() {
        let stream = stream(&[&[64], &[48 + 5]]);
        let mixture = mixture(&[("a", 0.25), ("b", 0.75)]);
        // Six windows of `b` in eight: an epoch each; two of `a`, whose epoch takes four such steps.
        let step = |step| mixture.windows(&stream, &Request { step, sequences: 8, context: 8, seed: Seed::new(4) });
        let starts = |windows: Vec<Range<u64>>| {
            let mut own: Vec<u64> =
                windows.iter().filter(|window| window.start >= 64).map(|window| window.start).collect();
            own.sort_unstable();
            own
        };
        let mut rests = std::collections::BTreeSet::new();
        for number in 0..12 {
            let starts = starts(step(number));
            assert!(starts.windows(2).all(|pair| pair[1] - pair[0] == 8) && starts.len() == 6, "{starts:?}");
            rests.insert(starts[0]);
        }
        assert!(rests.len() > 3, "{rests:?}");
        let mut seen: Vec<u64> = (0..4).flat_map(step).map(|window| window.start).filter(|start| *start < 64).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..8).map(|window| window * 8).collect::<Vec<_>>());
        assert_eq!(step(5), step(5));
        assert_eq!(mixture.steps_per_epoch(&stream, 8, 8), Some(4.0));
    }

    #[test]
    fn examples_stay_whole() {
        let examples = |lengths: &[u64]| Stream::of_examples(lengths, &vec![1; lengths.len()], 2, 9).unwrap().unwrap();
        let pair = [("a".to_owned(), 3, examples(&[3, 4, 5])), ("b".to_owned(), 2, examples(&[6, 8]))];
        let stream = Stream::joined(pair).unwrap();
        let request = Request { step: 0, sequences: 4, context: 9, seed: Seed::new(1) };
        let mut windows = mixture(&[("a", 0.5)]).windows(&stream, &request);
        windows.sort_by_key(|window| window.start);
        assert_eq!(windows, [0..7, 7..12, 12..18, 18..26]);
    }

    #[test]
    fn shares_that_are_rounded_up_leave_the_rest_nothing() {
        let names = ["a", "b", "c"];
        let parts = mixture(&[("a", 0.500_000_4), ("b", 0.500_000_4)]).parts(&names).unwrap();
        assert_eq!((parts.iter().sum::<u64>(), parts[2]), (PARTS, 0));
        assert_eq!(counts(&parts, 100).iter().sum::<u64>(), 100);
        let thirds = mixture(&[("a", 1.0 / 3.0), ("b", 1.0 / 3.0)]).parts(&names).unwrap();
        assert_eq!(thirds, [333_333_333, 333_333_333, 333_333_334]);
    }

    #[test]
    fn what_cannot_be_mixed_is_refused() {
        let stream = stream(&[&[300], &[6]]);
        let said = |mixture: &Mixture| mixture.check(&stream, 8, 10, 8).unwrap_err().to_string();
        assert!(said(&mixture(&[("a", 0.5), ("b", 0.6)])).contains("sum to 1.1, not to 1"));
        assert!(said(&mixture(&[("a", 1.5), ("bb", 0.1)])).contains("1.5 is no share"));
        assert!(said(&mixture(&[("aa", 0.5)])).contains("no source is called `aa`"));
        assert!(said(&mixture(&[])).contains("no shares"));
        assert!(said(&mixture(&[("a", 0.5)])).contains("from.b: its 6 tokens do not fill"));
        mixture(&[("a", 1.0)]).check(&stream, 8, 10, 8).unwrap();
        let rare = mixture(&[("a", 0.001), ("b", 0.999)]).check(&stream, 4, 10, 8).unwrap_err().to_string();
        assert!(rare.contains("from.a: a share of 0.001 gets none of the run's 80 windows"), "{rare}");
        let open = Mixture { critical: Some("b".to_owned()), ..Mixture::default() };
        assert!(open.check(&stream, 4, 10, 8).is_err() && open.check_sources(&["a", "b"], 10).is_ok());
        assert!(open.check_sources(&["a", "b", "c"], 10).unwrap_err().to_string().contains("two sources"));
        assert!(open.check_sources(&["a", "bc"], 10).unwrap_err().to_string().contains("known: a, bc"));
    }
}
