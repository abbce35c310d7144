use super::*;
use crate::scheme::HuggingFace;
use metier_core::seam::Tokenize;
use metier_testkit::scratch;
use std::borrow::Cow;
use std::collections::BTreeMap;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::models::wordpiece::{WordPiece as Theirs, WordPieceTrainerBuilder};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
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
        let theirs: Value = serde_json::from_str(&theirs.to_string(false).unwrap()).unwrap();
        let ours: Value = serde_json::from_str(&learned.json).unwrap();
        assert_eq!(ours["model"]["vocab"], theirs["model"]["vocab"]);
        assert_eq!(ours["model"]["merges"], theirs["model"]["merges"]);
        crate::scheme::from_json(&learned.json).unwrap();
    }
}

fn word_piece(size: u32) -> WordPiece {
    WordPiece { vocabulary_size: size, ..WordPiece::default() }
}

fn unigram(size: u32) -> Unigram {
    Unigram { vocabulary_size: size, coverage: 1.0, ..Unigram::default() }
}

/// The tokens of a vocabulary in the order of their ids.
fn tokens_of(json: &str) -> Vec<String> {
    let tokenizer = Tokenizer::from_bytes(json).unwrap();
    (0..tokenizer.get_vocab_size(true) as u32).map(|id| tokenizer.id_to_token(id).unwrap()).collect()
}

#[test]
fn word_pieces_are_those_of_the_crates_trainer() {
    let texts = texts();
    for (size, least, lowercase) in [(120, 1, true), (150, 2, true), (200, 1, false)] {
        let folder = scratch("word_piece");
        let settings = WordPiece { minimum_count: least, lowercase, ..word_piece(size) };
        let (learned, _) = train(&settings, stream(&texts), folder.path(), 1 << 30).unwrap();
        let ours = tokens_of(&learned.json);
        assert_eq!((ours.len(), learned.tokens), (size as usize, size as usize));
        // The crate gives characters inside words their ids in the order of a hash table, if they have none before.
        let is_first = |token: &&String| token.trim_start_matches("##").chars().count() == 1 || token.starts_with('[');
        let first: Vec<AddedToken> =
            ours.iter().take_while(is_first).map(|token| AddedToken::from(token, true)).collect();
        assert!(first.len() > 60 && first.len() < ours.len() - 10, "{}", first.len());
        let mut theirs = Tokenizer::new(Theirs::default());
        theirs.with_normalizer(Some(BertNormalizer::new(true, true, None, lowercase))).unwrap();
        theirs.with_pre_tokenizer(Some(BertPreTokenizer));
        let trainer = WordPieceTrainerBuilder::new().show_progress(false).vocab_size(size as usize);
        let mut trainer: TrainerWrapper = trainer.min_frequency(least).special_tokens(first).build().into();
        theirs.train(&mut trainer, texts.iter().map(String::as_str)).unwrap();
        let theirs: Vec<String> = (0..size).map(|id| theirs.id_to_token(id).unwrap()).collect();
        assert_eq!(ours, theirs);
    }
    // The rarest characters go, and what they were in is unknown.
    let folder = scratch("alphabet");
    let settings = WordPiece { alphabet: 20, ..word_piece(80) };
    let (learned, _) = train(&settings, stream(&texts), folder.path(), 1 << 30).unwrap();
    let tokens = tokens_of(&learned.json);
    assert_eq!(tokens.iter().filter(|token| token.chars().count() == 1).count(), 20);
    let tokenizer = HuggingFace::from_json(&learned.json).unwrap();
    let ids = tokenizer.encode(&["tokens http"], false).unwrap().remove(0).ids;
    assert_eq!(tokenizer.id_of("[UNK]"), ids.last().copied());
}

#[test]
fn pieces_are_learned_and_texts_come_back() {
    let texts = texts();
    let folder = scratch("unigram");
    let settings = Unigram { pieces: vec!["ab".to_owned(), "==".to_owned()], byte_fallback: true, ..unigram(400) };
    let (learned, _) = train(&settings, stream(&texts), folder.path(), 1 << 30).unwrap();
    let tokens = tokens_of(&learned.json);
    assert_eq!((tokens.len(), learned.tokens), (400, 400));
    assert_eq!(tokens[..5], ["<unk>", "<s>", "</s>", "ab", "=="]);
    assert_eq!((tokens[5].as_str(), tokens[260].as_str()), ("<0x00>", "<0xFF>"));
    // Words that are met often are pieces, and no piece goes across the user's.
    assert!(["▁the", "▁token", "▁banana"].iter().all(|word| tokens.iter().any(|token| token == word)), "{tokens:?}");
    assert!(tokens[261..].iter().all(|token| !token.contains("ab") && !token.contains("==")));
    let tokenizer = HuggingFace::from_json(&learned.json).unwrap();
    let plain = Tokenizer::from_bytes(&learned.json).unwrap();
    for text in texts.iter().take(50).map(String::as_str).chain(["ab the == tokens Ω漢 🎉", "bananas\tab"]) {
        let ids = tokenizer.encode(&[text], false).unwrap().remove(0).ids;
        assert_eq!(ids, plain.encode(text, false).unwrap().get_ids());
        let mut back = tokenizer.decode(&ids, false).unwrap();
        back.retain(|character| !character.is_whitespace());
        assert_eq!(back, text.split_whitespace().collect::<String>(), "{text:?}");
    }
}

#[test]
fn threads_and_interruptions_change_no_piece() {
    let texts = texts();
    let learners: [(&dyn Learn, &str); 2] = [(&unigram(150), "unigram"), (&word_piece(150), "word_piece")];
    for (learner, name) in learners {
        let folder = scratch(name);
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let many = rayon::ThreadPoolBuilder::new().num_threads(5).build().unwrap();
        let learn = |folder: &Path| train(learner, stream(&texts), folder, 1 << 30).unwrap().0;
        let whole = alone.install(|| learn(folder.path()));
        let folder = scratch(&format!("{name}_threads"));
        assert_eq!(many.install(|| learn(folder.path())), whole);
        let folder = scratch(&format!("{name}_interrupted"));
        for end in [40, 41, 200] {
            let mut counting = Counting::start(learner.cut(), folder.path(), 0).unwrap();
            counting.add(stream(&texts[..end])).unwrap();
        }
        assert!(std::fs::read_dir(folder.path()).unwrap().count() > 2);
        assert_eq!(learn(folder.path()), whole);
        // Words that were cut otherwise are counted anew.
        let folder = scratch(&format!("{name}_other"));
        train(&bpe(360), stream(&texts), folder.path(), 1 << 30).unwrap();
        assert_eq!(learn(folder.path()), whole);
    }
}

#[test]
fn pieces_and_word_pieces_that_cannot_be_learned_are_refused() {
    use metier_core::Place;
    use metier_core::part::Build;
    let refused = |learner: &dyn Learn, said: &str| {
        let folder = scratch("refused");
        let error = train(learner, stream(&texts()), folder.path(), 1 << 30).err().unwrap().to_string();
        assert!(error.contains(said), "{error}");
    };
    refused(&unigram(20), "20 ids are too few:");
    refused(&unigram(20_000), "tokens of the 20000 asked for");
    refused(&word_piece(20), "20 ids are too few:");
    refused(&word_piece(20_000), "no other pair of neighbors is met 2 times");
    let faults = |error: Error, said: &[&str]| {
        let error = error.to_string();
        for said in said {
            assert!(error.contains(said), "{said} is not in {error}");
        }
    };
    let settings = Unigram {
        coverage: 0.0,
        longest_piece: 0,
        seed_pieces: 0,
        special_tokens: vec!["<s>".to_owned()],
        pieces: vec!["a".to_owned(), "a".to_owned(), "<s>".to_owned()],
        byte_fallback: true,
        ..unigram(260)
    };
    let said = [
        "learn.coverage: 0 is",
        "longest_piece: 0",
        "seed_pieces: 0",
        "`<unk>` is missing",
        "`a` is empty, or stands twice",
        "260 ids leave none",
    ];
    faults(settings.build(&Place::key("learn")).err().unwrap(), &said);
    for coverage in [f64::NAN, 1.5, -1.0] {
        let settings = Unigram { coverage, ..unigram(300) };
        faults(settings.build(&Place::key("learn")).err().unwrap(), &["coverage"]);
    }
    let settings = WordPiece { alphabet: 0, minimum_count: 0, special_tokens: Vec::new(), ..word_piece(0) };
    faults(
        settings.build(&Place::key("learn")).err().unwrap(),
        &["alphabet: 0", "minimum_count: 0", "`[UNK]` is missing"],
    );
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
