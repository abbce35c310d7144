//! Comparisons of vocabularies, against the plain Python of `fixtures/reference/tokenizer_compare.py`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use metier_testkit::golden;
use metier_tokenizer::compare::{Candidate, CompareSettings, Domain, Sample, compare};
use metier_tokenizer::scheme;
use serde_json::Value;
use std::io::Read;

#[test]
fn every_figure_is_that_of_the_reference() {
    let golden = golden::read("tokenizer_compare.json");
    let number = |value: &Value| value.as_f64().expect("a number");
    let mut tokenizers = Vec::new();
    for (name, packed) in golden["tokenizers"].as_object().unwrap() {
        let bytes = BASE64_STANDARD.decode(packed.as_str().unwrap()).unwrap();
        let mut json = String::new();
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut json).unwrap();
        tokenizers.push((name.clone(), scheme::from_json(&json).unwrap()));
    }
    assert_eq!(tokenizers.len(), 5);
    let sample = |value: &Value| Sample {
        text: value["text"].as_str().unwrap().to_owned(),
        language: String::new(),
        boundaries: serde_json::from_value(value["boundaries"].clone()).unwrap(),
    };
    let domains: Vec<Domain> = golden["domains"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, samples)| Domain {
            name: name.clone(),
            samples: samples.as_array().unwrap().iter().map(sample).collect(),
        })
        .collect();
    let candidates: Vec<Candidate<'_>> = tokenizers
        .iter()
        .map(|(name, tokenizer)| Candidate { name: name.clone(), tokenizer: tokenizer.as_ref() })
        .collect();
    let settings = CompareSettings { alpha: number(&golden["alpha"]), price: number(&golden["price"]) };
    let rows = compare(&candidates, &domains, settings).unwrap();
    let expected = golden["rows"].as_array().unwrap();
    assert_eq!(rows.len(), expected.len());
    for row in &rows {
        let wanted =
            expected.iter().find(|wanted| wanted["tokenizer"] == *row.tokenizer && wanted["group"] == *row.group);
        let wanted = wanted.unwrap()["figures"].as_object().unwrap();
        let mut figures = row.figures();
        figures.insert("morph_boundaries", row.morph_boundaries as f64);
        for (name, wanted) in wanted {
            let place = format!("{} on {}: {name}", row.tokenizer, row.group);
            match figures.remove(name.as_str()) {
                None => assert!(wanted.is_null(), "{place}"),
                Some(figure) => {
                    let wanted = number(wanted);
                    assert!((figure - wanted).abs() <= 1e-9 * wanted.abs().max(1.0), "{place}: {figure}, not {wanted}");
                }
            }
        }
        assert!(figures.is_empty(), "{figures:?}");
    }
}
