//! What stands before documents, and what is learned from it.

use crate::kit::{Bench, END, Letters, decoder, never, shards_with};
use metier_compute::Tape;
use metier_core::data::TokenId;
use metier_core::seed::Seed;
use metier_model::Decoder;
use metier_tokenizer::pack::{PackSettings, Shards};
use metier_train::objective::Causal;
use metier_train::sampler::Packed;
use metier_train::{TrainSettings, View, preview};
use std::path::Path;

/// Documents of several lengths, each beginning with 9 and a token of its own.
fn documents() -> Vec<Vec<TokenId>> {
    (0..7).map(|n| [9, n].into_iter().chain((0..5 + 6 * n).map(|token| (token * 7 + n) % 60)).collect()).collect()
}

fn packed(folder: &Path, end_of_document: bool) -> Shards {
    let settings = PackSettings { end_of_document, ..PackSettings::default() };
    shards_with(folder, &documents(), &settings)
}

/// Each token of each document that an epoch of windows predicts, with what it is predicted from.
fn predicted(shards: &Shards) -> Vec<(usize, u64, TokenId, TokenId)> {
    let mut seen = Vec::new();
    let (sampler, objective, seed) = (&Packed::default(), &Causal {}, Seed::new(1));
    // Some epochs: it has 12 windows.
    let view = View { sampler, objective, tokenizer: &Letters, context: 16, seed, examples: 100 };
    for shown in preview(shards, &view).unwrap().concat() {
        for (number, pair) in shown.range.rev().zip(shown.seen.windows(2).rev()) {
            seen.push((shown.document, number, pair[0].id, pair[1].id));
        }
    }
    seen.sort_unstable();
    seen.dedup();
    seen
}

#[test]
fn every_token_is_predicted_from_the_one_before_it_and_the_first_from_an_end() {
    let folder = tempfile::tempdir().unwrap();
    for end in [true, false] {
        let shards = packed(&folder.path().join(end.to_string()), end);
        assert_eq!(shards.lead(), end.then_some(END));
        let mut wanted = Vec::new();
        for (document, ids) in documents().into_iter().enumerate() {
            let (end, first) = (end.then_some(END), u64::from(!end));
            let ids: Vec<_> = end.into_iter().chain(ids).chain(end).collect();
            wanted.extend((first..).zip(ids.windows(2)).map(|(number, pair)| (document, number, pair[0], pair[1])));
        }
        assert_eq!(predicted(&shards), wanted);
    }
}

/// The probability of a document's first token after an end.
fn first(decoder: &Decoder) -> f64 {
    let mut tape = Tape::inference(&decoder.parameters);
    let all = 0..1;
    let hidden = decoder.hidden(&mut tape, &[END], &[0], std::slice::from_ref(&all)).unwrap();
    f64::from(decoder.log_probabilities(tape.value(hidden).unwrap(), &[9]).unwrap()[0].0).exp()
}

#[test]
fn what_begins_a_document_is_learned() {
    const STEPS: u64 = 150;
    let mut bench = Bench::new();
    bench.settings = TrainSettings { steps: STEPS, ..bench.settings };
    let learned = [true, false].map(|end| {
        bench.shards = packed(&bench.folder.path().join(format!("pack {end}")), end);
        let mut decoder = decoder();
        let report = bench.train_model(&mut decoder, &bench.work(&format!("work {end}")), &never).unwrap();
        let windows = bench.settings.sequences as u64 * STEPS;
        // Every place of a window predicts something where there are ends.
        assert!(!end || report.tokens > windows * 15, "{}", report.tokens);
        first(&decoder)
    });
    assert!(learned[0] > 0.8 && learned[1] < 0.2, "{learned:?}");
}
