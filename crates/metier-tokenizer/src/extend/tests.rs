use super::*;
use crate::train::{Bpe, Split, train};
use metier_core::part::Build;
use serde_json::json;
use std::borrow::Cow;
use std::collections::HashMap;

fn texts(seed: u64, bytes: usize) -> Vec<String> {
    metier_testkit::corpus::prose(seed, bytes).lines().map(str::to_owned).collect()
}

/// The same texts with every small letter moved into Devanagari, as a word-by-word cipher would.
fn ciphered(texts: &[String]) -> Vec<String> {
    let moved = |c: char| if c.is_ascii_lowercase() { char::from_u32(0x915 + u32::from(c) - 97).unwrap() } else { c };
    texts.iter().map(|text| text.to_lowercase().chars().map(moved).collect()).collect()
}

fn counted(cut: impl Into<Cut>, texts: &[String]) -> Counted {
    let folder = metier_testkit::scratch("extend");
    let mut counting = crate::train::Counting::start(cut, folder.path(), 1 << 26).unwrap();
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

const GROWTH: LearnTokens = LearnTokens { tokens: 200, minimum_count: 2, allowed: Allowed::WithoutAscii };

fn learn(json: &str, words: &Counted, growth: LearnTokens) -> Result<Extended> {
    growth.extend(Given { json, words: Some(words), donor: None })
}

#[test]
fn old_texts_are_written_as_before_and_new_ones_shorter() {
    let json = base();
    let (mut old_text, mut new_text) = (texts(2, 2_000_000), ciphered(&texts(3, 200_000)));
    assert!(old_text.len() >= 10_000, "{} lines", old_text.len());
    // Blanks of both languages are the old one's, however often they are met.
    for (text, blanks) in new_text.iter_mut().zip((1..40).cycle()) {
        *text = format!("{text}\n\n{:blanks$}", "");
    }
    old_text.extend((1..40).map(|blanks| format!("in\n\n{:blanks$}columns\u{b}", "")));
    let split = cut_of(&json).unwrap();
    assert_eq!(split, Split::SmolLm.into());
    let extended = learn(&json, &counted(split.clone(), &new_text), GROWTH).unwrap();
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

    assert!(extended.tokens[..450].iter().zip(0..).all(|(origin, id)| *origin == Origin::Kept(id)));
    assert_eq!(extended.new_ids().collect::<Vec<_>>(), (450..650).collect::<Vec<_>>());
    for (id, parts) in (450..).zip(&extended.parts()) {
        let bytes = new.bytes_of(id).unwrap();
        let of_parts: Vec<u8> = parts.iter().flat_map(|part| old.bytes_of(*part).unwrap()).collect();
        assert_eq!(bytes, of_parts);
        assert!(parts.len() > 1 && parts.iter().all(|part| *part < 450));
        assert!(!bytes.iter().any(u8::is_ascii_graphic));
        if let Ok(text) = std::str::from_utf8(&bytes) {
            assert_eq!(new.encode(&[text], false).unwrap()[0].ids.last(), Some(&id), "{text:?}");
        }
    }
    assert_eq!(learn(&json, &counted(split, &new_text), GROWTH).unwrap(), extended, "the same words give the same");
}

#[test]
fn any_token_may_be_made_when_asked() {
    let json = base();
    let english = texts(5, 100_000);
    let words = counted(Split::SmolLm, &english);
    let growth = LearnTokens { tokens: 40, ..GROWTH };
    let refused = learn(&json, &words, growth).unwrap_err().to_string();
    assert!(refused.contains("of the 40 asked for"), "{refused}");
    let extended = learn(&json, &words, LearnTokens { allowed: Allowed::Any, ..growth }).unwrap();
    let new = HuggingFace::from_json(&extended.json).unwrap();
    assert!(new.bytes_of(450).unwrap().iter().any(u8::is_ascii_graphic));
}

#[test]
fn what_is_not_followed_is_refused_by_name() {
    let refused = |json: Value| cut_of(&json.to_string()).unwrap_err().to_string();
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
    assert!(cut_of("{").unwrap_err().to_string().contains("no JSON"));
}

/// Words of two scripts, the new one with vowel signs, which the old split takes for no letters.
#[test]
fn whole_words_become_tokens_and_other_words_are_written_as_before() {
    let json = base();
    let signed = |text: &String| text.replace('\u{919}', "\u{93e}").replace('\u{923}', "\u{94d}\u{937}");
    let indic = |seed, bytes| ciphered(&texts(seed, bytes)).iter().map(signed).collect::<Vec<_>>();
    let cut = WholeWords::default().cut(&json).unwrap();
    let words = counted(cut.clone(), &indic(3, 200_000));
    let given = Given { json: &json, words: Some(&words), donor: None };
    let extended = WholeWords { tokens: 60, ..WholeWords::default() }.extend(given).unwrap();
    let (old, new) = (HuggingFace::from_json(&json).unwrap(), HuggingFace::from_json(&extended.json).unwrap());
    assert_eq!((old.vocabulary_size(), new.vocabulary_size()), (450, 510));

    let mut old_text = texts(2, 500_000);
    old_text.push("it's they'll we've 12 34.5 caf\u{e9} ❤\u{fe0f}!\n\n  x".to_owned());
    assert_eq!(ids(&old, &old_text), ids(&new, &old_text), "a text in the old script changed");

    // Each word is a new token, or what it was.
    let held = indic(4, 50_000);
    let (mut whole, mut all) = (0, 0);
    for text in &held {
        let mut expected = Vec::new();
        cut.cutter().unwrap().words(text, |word| {
            let word = std::str::from_utf8(word).unwrap();
            let token = extended.new_ids().find(|id| new.bytes_of(*id).unwrap() == word.as_bytes());
            whole += usize::from(token.is_some());
            all += 1;
            expected
                .extend(token.map_or_else(|| old.encode(&[word], false).unwrap().remove(0).ids, |token| vec![token]));
        });
        let encoded = new.encode(&[text.as_str()], false).unwrap().remove(0).ids;
        assert_eq!(encoded, expected, "{text:?}");
        assert_eq!(&new.decode(&encoded, false).unwrap(), text);
    }
    assert!(whole * 3 > all, "{whole} of {all} words are tokens");
    let counts: HashMap<&[u8], u64> = words.iter().collect();
    let of_new: Vec<u64> = extended.new_ids().map(|id| counts[&*new.bytes_of(id).unwrap()]).collect();
    assert!(of_new.is_sorted_by(|a, b| a >= b), "{of_new:?}");
    assert_eq!(extended.rarest, of_new.last().copied());
    for (id, parts) in extended.new_ids().zip(extended.parts()) {
        let of_parts: Vec<u8> = parts.iter().flat_map(|part| old.bytes_of(*part).unwrap()).collect();
        assert_eq!(new.bytes_of(id).unwrap(), of_parts);
        assert!(parts.len() > 1 && parts.iter().all(|part| *part < 450));
    }

    // What was changed can be changed again, and a word that merges do not make is not made in silence.
    let more = WholeWords { tokens: 5, ..WholeWords::default() };
    assert_eq!(more.extend(Given { json: &extended.json, ..given }).unwrap().tokens.len(), 515);
    let mut unmade: Value = serde_json::from_str(&json).unwrap();
    unmade["model"]["vocab"]["zzqz"] = json!(450);
    let refused = more.extend(Given { json: &unmade.to_string(), ..given }).unwrap_err().to_string();
    assert!(refused.contains("1 words of the vocabulary are not made by its merges (\"zzqz\", id 450)"), "{refused}");
    let refused = WholeWords { tokens: 90_000, ..more }.extend(given).unwrap_err().to_string();
    assert!(refused.contains("of the 90000 asked for: no other word is met 2 times"), "{refused}");
}

fn ids(tokenizer: &HuggingFace, texts: &[String]) -> Vec<Vec<TokenId>> {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    tokenizer.encode(&texts, false).unwrap().into_iter().map(|encoded| encoded.ids).collect()
}

#[test]
fn what_documents_do_not_use_is_dropped_and_they_are_written_as_before() {
    let json = base();
    let used: Vec<String> = texts(6, 3000).into_iter().take(8).collect();
    let words = counted(Split::SmolLm, &used);
    let given = Given { json: &json, words: Some(&words), donor: None };
    let dropped = DropUnused::default().extend(given).unwrap();
    let (old, new) = (HuggingFace::from_json(&json).unwrap(), HuggingFace::from_json(&dropped.json).unwrap());
    assert_eq!(new.vocabulary_size(), dropped.tokens.len());
    assert!((257..440).contains(&dropped.tokens.len()), "{} tokens of 450", dropped.tokens.len());
    let kept = |id: TokenId| match dropped.tokens[id as usize] {
        Origin::Kept(old) => old,
        Origin::Made(_) => panic!("nothing is made"),
    };
    for (text, (before, after)) in used.iter().zip(ids(&old, &used).into_iter().zip(ids(&new, &used))) {
        assert_eq!(after.iter().map(|id| kept(*id)).collect::<Vec<_>>(), before, "{text:?}");
    }
    let other = texts(7, 20_000);
    for (text, ids) in other.iter().zip(ids(&new, &other)) {
        assert_eq!(&new.decode(&ids, false).unwrap(), text);
    }
    for id in 0..dropped.tokens.len() as TokenId {
        assert_eq!(new.bytes_of(id), old.bytes_of(kept(id)));
    }

    // What else names ids in the file names new ones.
    let last = dropped.tokens.len() as TokenId - 1;
    let mut named: Value = serde_json::from_str(&json).unwrap();
    let of = |sequence: &str| json!({ "Sequence": { "id": sequence, "type_id": 0 } });
    let begin = json!({ "SpecialToken": { "id": "<s>", "type_id": 0 } });
    named["post_processor"] = json!({ "type": "Sequence", "processors": [
        { "type": "BertProcessing", "sep": ["<s>", kept(last)], "cls": ["<s>", kept(last)] },
        { "type": "TemplateProcessing", "single": [begin, of("A")], "pair": [of("A"), begin, of("B")],
          "special_tokens": { "<s>": { "id": "<s>", "ids": [kept(last)], "tokens": ["<s>"] } } },
    ]});
    let named = named.to_string();
    let named = DropUnused::default().extend(Given { json: &named, ..given }).unwrap();
    let named: Value = serde_json::from_str(&named.json).unwrap();
    for place in ["0/sep/1", "0/cls/1", "1/special_tokens/<s>/ids/0"] {
        assert_eq!(named.pointer(&format!("/post_processor/processors/{place}")), Some(&json!(last)), "{place}");
    }
    assert!(last < kept(last));

    let all = counted(Split::SmolLm, &texts(1, 200_000));
    let frequent = DropUnused { minimum_count: 1000 }.extend(Given { words: Some(&all), ..given }).unwrap();
    assert!(frequent.tokens.len() < 450);
    assert!(DropUnused { minimum_count: 0 }.build(&Place::default()).is_err());
}

/// New tokens that are dropped again leave the vocabulary as it was.
#[test]
fn tokens_that_were_learned_can_be_dropped() {
    let json = base();
    let new_text = ciphered(&texts(3, 50_000));
    let extended = learn(&json, &counted(Split::SmolLm, &new_text), GROWTH).unwrap();
    let english = counted(Split::SmolLm, &texts(1, 200_000));
    let drop = |json: &str| DropUnused::default().extend(Given { json, words: Some(&english), donor: None }).unwrap();
    let (dropped, direct) = (drop(&extended.json), drop(&json));
    assert_eq!(dropped.tokens, direct.tokens);
    let read = |json: &str| serde_json::from_str::<Value>(json).unwrap();
    assert_eq!(read(&dropped.json), read(&direct.json));
}

#[test]
fn a_transplanted_vocabulary_says_what_its_tokens_were() {
    let json = base();
    let settings = Bpe { vocabulary_size: 600, split: Split::Gpt2, ..Bpe::default() };
    let learn = settings.build(&Place::default()).unwrap();
    let folder = metier_testkit::scratch("donor");
    let russian: Vec<String> = ciphered(&texts(8, 100_000));
    let both = [texts(9, 100_000), russian].concat();
    let donor = train(&*learn, both.iter().map(|text| Ok(Cow::Borrowed(text.as_str()))), folder.path(), 1 << 26);
    let donor = donor.unwrap().0.json;
    let given = Given { json: &json, words: None, donor: Some(&donor) };
    let moved = Transplant::default().extend(given).unwrap();
    let (old, new) = (HuggingFace::from_json(&json).unwrap(), HuggingFace::from_json(&donor).unwrap());
    assert_eq!((moved.tokens.len(), &moved.json), (new.vocabulary_size(), &donor));
    let mut made = 0;
    for (id, origin) in (0..).zip(&moved.tokens) {
        let bytes = new.bytes_of(id).unwrap();
        match origin {
            Origin::Kept(old_id) => assert_eq!(old.bytes_of(*old_id).unwrap(), bytes),
            Origin::Made(parts) => {
                made += 1;
                let whole: Vec<u8> = parts.iter().flat_map(|part| old.bytes_of(*part).unwrap()).collect();
                assert_eq!(whole, bytes);
            }
        }
    }
    assert!((50..550).contains(&made), "{made} tokens are new");

    assert!(Transplant::default().extend(Given { donor: None, ..given }).is_err());
    let same = [("nothing".to_owned(), "the".to_owned()), (" the".to_owned(), "nought".to_owned())].into();
    let refused = Transplant { same }.extend(given).unwrap_err();
    assert_eq!(refused.faults.len(), 2, "{refused}");
    let same = Transplant { same: [(" the".to_owned(), "a".to_owned())].into() };
    let moved = same.extend(given).unwrap();
    let find = |tokenizer: &HuggingFace, text: &str| tokenizer.encode(&[text], false).unwrap()[0].ids[0];
    assert_eq!(moved.tokens[find(&new, " the") as usize], Origin::Kept(find(&old, "a")));
}

#[test]
fn pages_have_their_headings_and_names_are_in_order() {
    metier_testkit::assert_pages(&records());
}
