//! Beam and contrastive search against `fixtures/reference/searches.py`.

use super::architectures::cases;
use metier_core::data::TokenId;
use metier_core::seam::{Finish, Generate, GenerateRequest, Prompt, Sampling};
use metier_model::decode::{BeamSearch, ContrastiveSearch, Pages};
use metier_model::{Decoder, KeyCoding};
use metier_testkit::golden;

fn decoder() -> Decoder {
    cases().iter().find(|case| case.name == "llama").unwrap().decoder()
}

#[test]
fn beams_find_what_transformers_finds() {
    let golden = golden::read("searches.json");
    let decoder = decoder();
    let pages = Pages::new(decoder.config(), KeyCoding::F32, None);
    for case in golden["beam"].as_array().unwrap() {
        let ends = golden::ids(&case["ends"]);
        let search = BeamSearch {
            beams: case["beams"].as_u64().unwrap() as usize,
            length_penalty: case["length_penalty"].as_f64().unwrap(),
            most: golden["most"].as_u64().unwrap() as usize,
            end_ids: &ends,
            vocabulary: 53,
        };
        let found = search.run(&decoder, &pages, &golden::ids(&case["prompt"])).unwrap();
        let replies: Vec<Vec<TokenId>> = case["replies"].as_array().unwrap().iter().map(golden::ids).collect();
        let got: Vec<Vec<TokenId>> =
            found.iter().map(|found| found.tokens.iter().map(|token| token.0).collect()).collect();
        assert_eq!(got, replies, "{case}");
        for (found, score) in found.iter().zip(golden::numbers(&case["scores"])) {
            assert!((found.score - f64::from(score)).abs() <= 1e-4 * found.score.abs(), "{} {score}", found.score);
        }
    }
}

#[test]
fn contrastive_search_takes_the_tokens_of_its_formula() {
    let golden = golden::read("searches.json");
    let decoder = decoder();
    let pages = Pages::new(decoder.config(), KeyCoding::F32, None);
    let most = golden["most"].as_u64().unwrap() as usize;
    for case in golden["contrastive"].as_array().unwrap() {
        let search = ContrastiveSearch {
            alpha: case["alpha"].as_f64().unwrap() as f32,
            count: case["count"].as_u64().unwrap() as usize,
            vocabulary: 53,
        };
        let mut got = Vec::new();
        let mut take = |id: TokenId, _: f32| {
            got.push(id);
            Ok(true)
        };
        search.run(&decoder, &pages, &golden::ids(&case["prompt"]), most, &mut take).unwrap();
        assert_eq!(got, golden::ids(&case["reply"]), "{case}");
    }
}

#[test]
fn one_beam_and_no_contrast_are_greedy_and_wrong_settings_are_refused() {
    let model = super::tiny::model(true);
    let request = GenerateRequest {
        prompt: Prompt::Text("to be".into()),
        max_tokens: Some(12),
        stop: vec![],
        sampling: Sampling::default(),
        top_logprobs: 0,
    };
    let greedy = model.generate(std::slice::from_ref(&request)).unwrap().remove(0);
    let (beam, score) = model.beam_search(&request, 1, 0.0).unwrap().remove(0);
    let contrast = model.contrastive_search(&request, 0.0, 5).unwrap();
    assert_eq!((&beam.text, &contrast.text), (&greedy.text, &greedy.text));
    assert_eq!((beam.prompt_tokens, contrast.finish), (greedy.prompt_tokens, greedy.finish));
    let sum: f32 = beam.tokens.iter().map(|token| token.logprob).sum();
    assert!(beam.finish == Finish::Stop || (score - f64::from(sum)).abs() < 1e-3);
    let best = model.beam_search(&request, 6, 1.0).unwrap();
    assert!(best.len() == 6 && best.windows(2).all(|pair| pair[0].1 >= pair[1].1));
    assert!(model.beam_search(&request, 0, 1.0).is_err() && model.beam_search(&request, 2, f64::NAN).is_err());
    assert!(model.contrastive_search(&request, 1.5, 4).is_err() && model.contrastive_search(&request, 0.5, 0).is_err());
}
