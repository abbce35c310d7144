use super::*;
use crate::train::{Bpe, train};
use metier_core::part::Build;
use std::borrow::Cow;

fn texts(seed: u64, bytes: usize) -> Vec<String> {
    metier_testkit::corpus::prose(seed, bytes).lines().map(str::to_owned).collect()
}

/// The same texts with every small letter moved into Devanagari, as a word-by-word cipher would.
fn ciphered(texts: &[String]) -> Vec<String> {
    let moved = |c: char| if c.is_ascii_lowercase() { char::from_u32(0x915 + u32::from(c) - 97).unwrap() } else { c };
    texts.iter().map(|text| text.to_lowercase().chars().map(moved).collect()).collect()
}

fn counted(split: Split, texts: &[String]) -> Counted {
    let folder = metier_testkit::scratch("extend");
    let mut counting = crate::train::Counting::start(split, folder.path(), 1 << 26).unwrap();
    counting.add(texts.iter().map(|text| Ok(Cow::Borrowed(text.as_str())))).unwrap();
    counting.finish().unwrap()
}

fn base() -> String {
    let settings = Bpe { vocabulary_size: 450, split: Split::SmolLm, ..Bpe::default() };
    let learn = settings.build(&Place::default()).unwrap();
    let folder = metier_testkit::scratch("extend");
    let english = texts(1, 200_000);
    let texts = english.iter().map(|text| Ok(Cow::Borrowed(text.as_str())));
    train(&*learn, texts, folder.path(), 1 << 26).unwrap().0.json
}

const GROWTH: Growth = Growth { tokens: 200, minimum_count: 2, allowed: Allowed::WithoutAscii };

#[test]
fn old_texts_are_written_as_before_and_new_ones_shorter() {
    let json = base();
    let (old_text, new_text) = (texts(2, 100_000), ciphered(&texts(3, 200_000)));
    let split = split_of(&json).unwrap();
    assert_eq!(split, Split::SmolLm);
    let extended = extend(&json, &counted(split, &new_text), GROWTH).unwrap();
    let (old, new) = (HuggingFace::from_json(&json).unwrap(), HuggingFace::from_json(&extended.json).unwrap());
    assert_eq!((old.vocabulary_size(), new.vocabulary_size()), (450, 650));
    let ids = |tokenizer: &HuggingFace, texts: &[String]| -> Vec<Vec<TokenId>> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        tokenizer.encode(&texts, false).unwrap().into_iter().map(|encoded| encoded.ids).collect()
    };
    assert_eq!(ids(&old, &old_text), ids(&new, &old_text), "a text in the old script changed");
    let held = ciphered(&texts(4, 50_000));
    let count = |ids: Vec<Vec<TokenId>>| ids.iter().map(Vec::len).sum::<usize>() as f64;
    let (before, after) = (count(ids(&old, &held)), count(ids(&new, &held)));
    assert!(before / after > 2.0, "{before} tokens became {after}");
    for (text, ids) in held.iter().zip(ids(&new, &held)) {
        assert_eq!(&new.decode(&ids, false).unwrap(), text);
    }

    assert_eq!((extended.first, extended.parts.len()), (450, 200));
    for (id, parts) in (450..).zip(&extended.parts) {
        let bytes = new.bytes_of(id).unwrap();
        let of_parts: Vec<u8> = parts.iter().flat_map(|part| old.bytes_of(*part).unwrap()).collect();
        assert_eq!(bytes, of_parts);
        assert!(parts.len() > 1 && parts.iter().all(|part| *part < 450));
        assert!(!bytes.iter().any(u8::is_ascii_graphic));
        if let Ok(text) = std::str::from_utf8(&bytes) {
            assert_eq!(new.encode(&[text], false).unwrap()[0].ids.last(), Some(&id), "{text:?}");
        }
    }
    assert_eq!(extend(&json, &counted(split, &new_text), GROWTH).unwrap(), extended, "the same words give the same");
}

#[test]
fn any_token_may_be_made_when_asked() {
    let json = base();
    let english = texts(5, 100_000);
    let words = counted(Split::SmolLm, &english);
    let growth = Growth { tokens: 40, ..GROWTH };
    let refused = extend(&json, &words, growth).unwrap_err().to_string();
    assert!(refused.contains("of the 40 asked for"), "{refused}");
    let extended = extend(&json, &words, Growth { allowed: Allowed::Any, ..growth }).unwrap();
    let new = HuggingFace::from_json(&extended.json).unwrap();
    assert!(new.bytes_of(extended.first).unwrap().iter().any(u8::is_ascii_graphic));
}

#[test]
fn what_is_not_followed_is_refused_by_name() {
    let refused = |json: Value| split_of(&json.to_string()).unwrap_err().to_string();
    let base: Value = serde_json::from_str(&base()).unwrap();
    let with = |key: &str, value: Value| {
        let mut json = base.clone();
        *json.pointer_mut(key).unwrap() = value;
        json
    };
    assert!(refused(with("/model/type", json!("Unigram"))).contains("the type \"Unigram\" is not extended"));
    assert!(refused(with("/model/end_of_word_suffix", json!("</w>"))).contains("model.end_of_word_suffix"));
    assert!(refused(with("/normalizer", json!({ "type": "Lowercase" }))).contains("the normalizer"));
    assert!(refused(with("/pre_tokenizer", json!({ "type": "Whitespace" }))).contains("is not known"));
    assert!(split_of("{").unwrap_err().to_string().contains("no JSON"));
}
