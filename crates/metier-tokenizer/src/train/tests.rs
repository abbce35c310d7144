use super::*;
use metier_testkit::scratch;
use std::borrow::Cow;
use std::collections::BTreeMap;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

/// Texts with many ties, words in several scripts, and runs of one letter, whose pairs overlap.
fn texts() -> Vec<String> {
    let words = [
        "the",
        "token",
        "tokens",
        "tokenizer",
        "aaaa",
        "aaaaaaa",
        "été",
        "été's",
        "слово",
        "слова",
        "漢字",
        "don't",
        "12345",
        "x",
        "  ",
        "\n\n",
        "banana",
        "bananas",
        "ab",
        "abab",
        "ababab",
        "🎈🎈",
        "...",
        "--",
        "==",
        "https",
        "http",
    ];
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    (0..300)
        .map(|_| {
            let mut text = String::new();
            for _ in 0..next() % 60 {
                // The product of two numbers makes some words frequent and most rare.
                text.push_str(words[next() % words.len() * (next() % words.len()) / words.len()]);
                text.push_str([" ", " ", "", "\n"][next() % 4]);
            }
            text
        })
        .collect()
}

fn stream(texts: &[String]) -> impl Iterator<Item = Result<Cow<'_, str>>> {
    texts.iter().map(|text| Ok(Cow::Borrowed(text.as_str())))
}

fn bpe(size: u32) -> Bpe {
    Bpe { vocabulary_size: size, ..Bpe::default() }
}

#[test]
fn the_vocabulary_is_that_of_the_crates_trainer() {
    let texts = texts();
    for (size, least) in [(300, 1), (340, 2), (420, 1)] {
        let folder = scratch("bpe");
        let settings = Bpe { minimum_count: least, ..bpe(size) };
        let (learned, counted) = train(&settings, stream(&texts), folder.path(), 1 << 30).unwrap();
        assert_eq!((learned.tokens, counted.seen.left_out), (size as usize, 0));
        let mut theirs = Tokenizer::new(BPE::default());
        theirs.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
        let mut trainer: TrainerWrapper = BpeTrainerBuilder::new()
            .show_progress(false)
            .vocab_size(size as usize)
            .min_frequency(least)
            .special_tokens(vec![AddedToken::from("<|endoftext|>", true)])
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build()
            .into();
        theirs.train(&mut trainer, texts.iter().map(String::as_str)).unwrap();
        let theirs: serde_json::Value = serde_json::from_str(&theirs.to_string(false).unwrap()).unwrap();
        let ours: serde_json::Value = serde_json::from_str(&learned.json).unwrap();
        assert_eq!(ours["model"]["vocab"], theirs["model"]["vocab"]);
        assert_eq!(ours["model"]["merges"], theirs["model"]["merges"]);
        crate::scheme::from_json(&learned.json).unwrap();
    }
}

#[test]
fn runs_and_order_change_nothing() {
    let texts = texts();
    let folder = scratch("whole");
    let (whole, counted) = train(&bpe(360), stream(&texts), folder.path(), 1 << 30).unwrap();
    let mut expected: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    expected.extend(counted.iter().map(|(word, count)| (word.to_vec(), count)));
    assert_eq!(expected.values().sum::<u64>(), counted.seen.occurrences);

    // A run after every text.
    let folder = scratch("runs");
    let mut counting = Counting::start(Split::Gpt2, folder.path(), 0).unwrap();
    for end in 1..=texts.len() {
        counting.add(stream(&texts[..end])).unwrap();
    }
    drop(counting);
    assert!(std::fs::read_dir(folder.path()).unwrap().count() > 3);
    let mut counting = Counting::start(Split::Gpt2, folder.path(), 1 << 30).unwrap();
    counting.add(stream(&texts)).unwrap();
    let words = counting.finish().unwrap();
    assert!(words.iter().eq(counted.iter()));
    assert_eq!(words.seen, counted.seen);
    assert_eq!(bpe(360).learn(&words).unwrap(), whole);

    let reversed: Vec<String> = texts.iter().rev().cloned().collect();
    let folder = scratch("reversed");
    assert_eq!(train(&bpe(360), stream(&reversed), folder.path(), 1 << 30).unwrap().0, whole);
}

#[test]
fn an_interrupted_count_goes_on() {
    let texts = texts();
    let folder = scratch("not_interrupted");
    let (whole, _) = train(&bpe(360), stream(&texts), folder.path(), 1 << 30).unwrap();
    let folder = scratch("interrupted");
    for stop in [40, 41, 200] {
        let mut counting = Counting::start(Split::Gpt2, folder.path(), 0).unwrap();
        let failing = stream(&texts[..stop]).chain([Err(metier_core::stop::interrupted())]);
        assert!(counting.add(failing).is_err());
    }
    let (learned, counted) = train(&bpe(360), stream(&texts), folder.path(), 1 << 30).unwrap();
    assert_eq!((learned, counted.seen.texts), (whole.clone(), texts.len() as u64));
    // Done is done: nothing is read again.
    let none = std::iter::from_fn(|| -> Option<Result<Cow<'_, str>>> { panic!("a text is read") });
    assert_eq!(train(&bpe(360), none, folder.path(), 1 << 30).unwrap().0, whole);
}

#[test]
fn the_rarest_words_are_left_out_and_counted() {
    let texts = texts();
    let folder = scratch("rare");
    let (_, all) = train(&bpe(300), stream(&texts), folder.path(), 1 << 30).unwrap();
    let (_, few) = train(&bpe(270), stream(&texts), folder.path(), 4000).unwrap();
    assert!(few.seen.left_out > 0 && few.len() + few.seen.left_out as usize == all.len());
    let least = few.iter().map(|(_, count)| count).min().unwrap();
    assert_eq!(all.iter().filter(|(_, count)| *count >= least).count(), few.len());
    assert_eq!(few.seen.occurrences, all.seen.occurrences);
}

#[test]
fn what_cannot_be_learned_is_refused() {
    use metier_core::Place;
    use metier_core::part::Build;
    let folder = scratch("little");
    let error = train(&bpe(40_000), stream(&texts()), folder.path(), 1 << 30).err().unwrap().to_string();
    assert!(error.contains("tokens of the 40000 asked for"), "{error}");
    let folder = scratch("nothing");
    let error = train(&bpe(300), stream(&[String::new()]), folder.path(), 1 << 30).err().unwrap().to_string();
    assert!(error.contains("nothing to learn from"), "{error}");
    let special_tokens = ["", "<s>", "<s>", "a"].map(str::to_owned).to_vec();
    let settings = Bpe { vocabulary_size: 260, minimum_count: 0, special_tokens, ..Bpe::default() };
    let error = settings.build(&Place::key("learn")).err().unwrap().to_string();
    for said in
        ["learn.vocabulary_size: 260 ids", "minimum_count: 0", "is empty", "`<s>` stands twice", "single character"]
    {
        assert!(error.contains(said), "{said} is not in {error}");
    }
}
