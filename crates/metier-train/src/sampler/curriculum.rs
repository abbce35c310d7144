//! Windows of several sources in shares that change at given steps.

use super::shares::{Draw, PARTS, counts, names, parts, place, undrawn, windows_of};
use super::{Request, Sampler, Source, Stream};
use metier_core::part::{Build, Part};
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// # What it does
/// Draws windows from several packs in shares that change: `phases = [{ steps = 300, shares = { general = 1.0, domain = 0.0 } },
/// { shares = { general = 0.5, domain = 0.5 } }]`. The last phase goes on to the end of the run.
///
/// # How
/// Within a phase, window `q`, counted from its first, belongs to a source as in `mixture`: after any number of windows of the phase
/// each source is within one window for each source of its share. A source goes on where the phase before left it: its epochs are
/// counted over the whole run, none of its windows comes twice in one, and a phase that leaves a source out only lets it wait. Every
/// step follows from the seed and its number alone.
///
/// # When to use
/// Good text at the end, while the rate falls to 0 (`wsd` with a decay as long as the last phase), so that the little there is counts
/// most; easy text before hard; one language before several. With shares that stay, `mixture` is the same.
///
/// # Differs from the paper in
/// Bengio et al. weigh examples by how hard they are; here whole packs are weighed, in as many phases as are written. `MiniCPM`
/// changes its shares once, where the rate begins to fall; a phase here begins at the step that is written, whatever the schedule does.
///
/// # Source
/// Bengio et al., *Curriculum Learning*, ICML 2009. The best text in the phase of decay: Hu et al., *`MiniCPM`: Unveiling the Potential
/// of Small Language Models with Scalable Training Strategies*, arXiv:2404.06395, section 5.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Curriculum {
    /// What is drawn, one after the other.
    pub phases: Vec<Phase>,
}

/// Steps with the same shares.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Phase {
    /// Number of steps; the last phase has none and goes on to the end of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub steps: Option<u64>,
    /// Each source's share of the tokens, by its name under `from`. They sum to 1; one source may be left out and gets the rest. A
    /// share of 0 leaves a source out.
    pub shares: BTreeMap<String, f64>,
}

/// A phase as it is drawn.
struct Drawn {
    /// The step it begins at.
    begin: u64,
    /// The step it ends before; the last one has no end.
    end: Option<u64>,
    /// Share of each source in [`PARTS`].
    parts: Vec<u64>,
}

impl Drawn {
    /// How many windows of each source the phase has before a step.
    fn counts(&self, step: u64, sequences: u64) -> Vec<u64> {
        let end = self.end.map_or(step, |end| end.min(step));
        counts(&self.parts, end.saturating_sub(self.begin).saturating_mul(sequences))
    }
}

impl Curriculum {
    /// The phases, for sources of these names.
    ///
    /// # Errors
    /// Those of shares, an empty list, and steps that are missing, 0 or too many, all together.
    fn drawn(&self, names: &[&str]) -> Result<Vec<Drawn>> {
        let mut faults = Vec::new();
        let mut refuse = |key: String, message: &str, hint: &str| {
            faults.push(Fault::new(Place::key(format!("sampler.{key}")), message).hint(hint));
        };
        if self.phases.is_empty() {
            refuse("phases".to_owned(), "there is no phase", "write `phases = [{ shares = { NAME = 1.0 } }]`");
        }
        let last = self.phases.len().saturating_sub(1);
        for (number, phase) in self.phases.iter().enumerate() {
            let key = format!("phases[{number}].steps");
            match phase.steps {
                None if number < last => {
                    refuse(key, "a phase that is not the last says how long it is", "write `steps = 300`");
                }
                Some(_) if number == last => {
                    refuse(key, "the last phase goes on to the end of the run", "leave `steps` out");
                }
                Some(0) => refuse(key, "a phase has at least one step", "write a whole number from 1 on"),
                _ => {}
            }
        }
        let mut drawn = Vec::with_capacity(self.phases.len());
        let mut begin = 0_u64;
        for (number, phase) in self.phases.iter().enumerate() {
            let end = phase.steps.map(|steps| begin.saturating_add(steps));
            match parts(&phase.shares, names, &format!("sampler.phases[{number}].shares")) {
                Ok(parts) => drawn.push(Drawn { begin, end, parts }),
                Err(error) => faults.extend(error.faults),
            }
            begin = end.unwrap_or(begin);
        }
        Error::collect(drawn, faults)
    }
}

impl Sampler for Curriculum {
    fn windows(&self, stream: &Stream, request: &Request) -> Vec<Range<u64>> {
        let Ok(phases) = self.drawn(&names(stream)) else { return Vec::new() };
        let (step, sequences) = (request.step, request.sequences as u64);
        let at = phases.partition_point(|phase| phase.begin <= step).saturating_sub(1);
        let Some(phase) = phases.get(at) else { return Vec::new() };
        let mut before = vec![0; stream.sources().len()];
        for earlier in &phases[..at] {
            before.iter_mut().zip(earlier.counts(step, sequences)).for_each(|(sum, count)| *sum += count);
        }
        let draw = Draw::new(stream, request);
        let first = (step - phase.begin) * sequences;
        let window = |position: u64| {
            let (source, number) = place(&phase.parts, position)?;
            draw.window(source, before.get(source)? + number)
        };
        (first..first + sequences).filter_map(window).collect()
    }

    fn steps_per_epoch(&self, stream: &Stream, context: usize, sequences: usize) -> Option<f64> {
        let phases = self.drawn(&names(stream)).ok()?;
        let epoch_of = |(source, of): (usize, &Source)| {
            let mut left = windows_of(of, context) as f64;
            for phase in &phases {
                let in_step = phase.parts[source] as f64 / PARTS as f64 * sequences.max(1) as f64;
                let steps = phase.end.map_or(f64::INFINITY, |end| (end - phase.begin) as f64);
                if in_step > 0.0 && left <= in_step * steps {
                    return Some(phase.begin as f64 + left / in_step);
                }
                left -= if in_step > 0.0 { in_step * steps } else { 0.0 };
            }
            None
        };
        let drawn = |(source, _): &(usize, &Source)| phases.iter().any(|phase| phase.parts[*source] > 0);
        let epochs: Option<Vec<f64>> = stream.sources().iter().enumerate().filter(drawn).map(epoch_of).collect();
        epochs?.into_iter().reduce(f64::max)
    }

    fn check_sources(&self, names: &[&str], steps: u64) -> Result<()> {
        let mut faults = self.drawn(names).err().map_or_else(Vec::new, |error| error.faults);
        let mut begin = 0_u64;
        for (number, phase) in self.phases.iter().enumerate() {
            if begin >= steps {
                let place = Place::key(format!("sampler.phases[{number}]"));
                let message = format!("it begins after {begin} steps, and the run has {steps}");
                faults.push(Fault::new(place, message).hint("shorten the phases before it, or train for more `steps`"));
            }
            begin = begin.saturating_add(phase.steps.unwrap_or(0));
        }
        Error::collect((), faults)
    }

    fn check(&self, stream: &Stream, context: usize, steps: u64, sequences: usize) -> Result<()> {
        let names = names(stream);
        self.check_sources(&names, steps)?;
        let mut faults: Vec<Fault> = Vec::new();
        for (number, phase) in (1..).zip(self.drawn(&names)?) {
            let windows = (phase.end.unwrap_or(steps).min(steps) - phase.begin).saturating_mul(sequences as u64);
            let whose = format!("phase {number}'s");
            for fault in undrawn(stream, context, &phase.parts, windows, &whose) {
                // A source that is too short is so in every phase.
                if !faults.contains(&fault) {
                    faults.push(fault);
                }
            }
        }
        Error::collect((), faults)
    }
}

impl Build<dyn Sampler> for Curriculum {
    fn build(self, _place: &Place) -> Result<Box<dyn Sampler>> {
        Ok(Box::new(self))
    }
}

/// The record of `curriculum`.
pub static PART: Part<dyn Sampler> = Part::of::<Curriculum>("curriculum", 1);

#[cfg(test)]
mod tests {
    use super::super::Mixture;
    use super::*;
    use metier_core::seed::Seed;
    use proptest::prelude::*;

    fn shares(shares: &[(&str, f64)]) -> BTreeMap<String, f64> {
        shares.iter().map(|(name, share)| ((*name).to_owned(), *share)).collect()
    }

    fn stream(lengths: &[u64]) -> Stream {
        let streams = ["a", "b", "c"].into_iter().zip(lengths);
        Stream::joined(streams.map(|(name, length)| (name.to_owned(), 1, Stream::new([*length]).unwrap()))).unwrap()
    }

    fn request(step: u64, sequences: usize) -> Request {
        Request { step, sequences, context: 8, seed: Seed::new(4) }
    }

    /// The source of a window.
    fn source_of(stream: &Stream, window: &Range<u64>) -> usize {
        stream.sources().iter().position(|source| source.tokens.contains(&window.start)).unwrap()
    }

    proptest! {
        #[test]
        fn every_phase_has_its_shares_and_no_window_comes_twice_in_an_epoch(
            lengths in prop::array::uniform3(17_u64..200),
            phases in prop::collection::vec((1_u64..30, prop::array::uniform3(0_u32..5)), 1..5),
            sequences in 1_usize..5,
        ) {
            let stream = stream(&lengths);
            let last = phases.len() - 1;
            let written = phases.iter().enumerate().map(|(at, (steps, weights))| {
                let sum: u32 = weights.iter().sum();
                // All of `a` where no weight was drawn.
                let share = |source: usize| if sum == 0 { f64::from(source == 0) } else { f64::from(weights[source]) / f64::from(sum) };
                let shares = ["a", "b", "c"].into_iter().zip(0..).map(|(name, source)| (name.to_owned(), share(source)));
                Phase { steps: (at < last).then_some(*steps), shares: shares.collect() }
            });
            let curriculum = Curriculum { phases: written.collect() };
            let mut seen: [Vec<u64>; 3] = Default::default();
            let mut step = 0;
            for (phase, (steps, _)) in curriculum.phases.iter().zip(&phases) {
                let mut drawn = [0_u64; 3];
                for _ in 0..*steps {
                    let windows = curriculum.windows(&stream, &request(step, sequences));
                    prop_assert_eq!(windows.len(), sequences);
                    for window in &windows {
                        let source = source_of(&stream, window);
                        drawn[source] += 1;
                        seen[source].push(window.start);
                    }
                    step += 1;
                    let all: u64 = drawn.iter().sum();
                    for (count, share) in drawn.iter().zip(phase.shares.values()) {
                        prop_assert!((*count as f64 - share * all as f64).abs() < 3.0, "{drawn:?} of {phase:?}");
                    }
                }
            }
            for (source, starts) in stream.sources().iter().zip(&seen) {
                for epoch in starts.chunks(windows_of(source, 8) as usize) {
                    let mut epoch = epoch.to_vec();
                    epoch.sort_unstable();
                    prop_assert!(epoch.windows(2).all(|pair| pair[1] - pair[0] >= 8), "{epoch:?}");
                }
            }
        }
    }

    #[test]
    fn a_single_phase_is_a_mixture_and_a_source_that_waited_goes_on() {
        let stream = stream(&[160, 80, 40]);
        let mixed = shares(&[("a", 0.5), ("b", 0.25), ("c", 0.25)]);
        let mixture = Mixture { shares: mixed.clone(), ..Mixture::default() };
        let single = Curriculum { phases: vec![Phase { steps: None, shares: mixed.clone() }] };
        let alone = Phase { steps: Some(10), shares: shares(&[("a", 1.0), ("b", 0.0), ("c", 0.0)]) };
        let waited = Curriculum { phases: vec![alone, Phase { steps: None, shares: mixed }] };
        let rest = |windows: &[Range<u64>]| -> Vec<Range<u64>> {
            windows.iter().filter(|window| source_of(&stream, window) > 0).cloned().collect()
        };
        for step in 0..30 {
            let expected = mixture.windows(&stream, &request(step, 4));
            assert_eq!(single.windows(&stream, &request(step, 4)), expected, "step {step}");
            assert_eq!(rest(&waited.windows(&stream, &request(step + 10, 4))), rest(&expected), "step {step}");
        }
        assert_eq!(single.steps_per_epoch(&stream, 8, 4), mixture.steps_per_epoch(&stream, 8, 4));
        // Ten windows of `b`, one a step from the eleventh step on; five of `c`; `a` has come through by the fifth step.
        assert_eq!(waited.steps_per_epoch(&stream, 8, 4), Some(20.0));
        let never = Curriculum {
            phases: vec![
                Phase { steps: Some(2), shares: shares(&[("a", 0.0), ("b", 1.0), ("c", 0.0)]) },
                Phase { steps: None, shares: shares(&[("a", 1.0), ("b", 0.0), ("c", 0.0)]) },
            ],
        };
        assert_eq!(never.steps_per_epoch(&stream, 8, 4), None);
    }

    #[test]
    fn what_cannot_be_followed_is_refused_all_of_it_together() {
        let keys = |phases: Vec<Phase>, steps: u64| -> Vec<String> {
            let error = Curriculum { phases }.check_sources(&["a", "b"], steps).unwrap_err();
            let mut keys: Vec<_> = error.faults.into_iter().filter_map(|fault| fault.place.key).collect();
            keys.sort();
            keys
        };
        let phase = |steps: Option<u64>, given: &[(&str, f64)]| Phase { steps, shares: shares(given) };
        assert_eq!(keys(Vec::new(), 9), ["sampler.phases"]);
        let wrong = vec![
            phase(None, &[("a", 0.5), ("bb", 0.5)]),
            phase(Some(0), &[("a", 0.5), ("b", 0.6)]),
            phase(Some(3), &[("a", -0.5)]),
        ];
        let expected = ["[0].shares.bb", "[0].steps", "[1].shares", "[1].steps", "[2].shares.a", "[2].steps"];
        assert_eq!(keys(wrong, 9), expected.map(|key| format!("sampler.phases{key}")));
        let late = || vec![phase(Some(5), &[("a", 1.0)]), phase(Some(4), &[("a", 0.5)]), phase(None, &[("b", 0.5)])];
        assert_eq!(keys(late(), 9), ["sampler.phases[2]"]);
        assert_eq!(keys(late(), 5), ["sampler.phases[1]", "sampler.phases[2]"]);
        Curriculum { phases: late() }.check_sources(&["a", "b"], 10).unwrap();
        let rare = vec![phase(Some(1), &[("a", 0.01)]), phase(None, &[("a", 0.5)])];
        let error = Curriculum { phases: rare }.check(&stream(&[100, 7]), 8, 9, 2).unwrap_err().to_string();
        assert!(error.contains("from.a: a share of 0.01 gets none of phase 1's 2 windows"), "{error}");
        assert_eq!(error.matches("its 7 tokens do not fill a window of 8").count(), 1, "{error}");
    }
}
