use super::*;
use crate::scheme::split::by_pattern;
use proptest::prelude::*;
use std::sync::LazyLock;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, PreTokenizerWrapper};

/// Every split that is known, by its own code and by the crate's expression.
static SPLITS: LazyLock<Vec<(Words, PreTokenizerWrapper)>> = LazyLock::new(|| {
    let patterns =
        [split::GPT2, GPT2_ORIGINAL, split::CL100K, split::LLAMA3, split::QWEN2, split::O200K, split::TEKKEN];
    let steps: Vec<_> =
        patterns.iter().map(|pattern| by_pattern(pattern)).chain([split::by_digit(split::GPT2)]).collect();
    let marked = steps.iter().map(|step| with_marks(step).unwrap());
    let all = marked.chain(steps.iter().cloned());
    all.map(|step| (Words::of(&step).unwrap(), serde_json::from_value(step).unwrap())).collect()
});

fn by_the_crate(step: &PreTokenizerWrapper, text: &str) -> Vec<(usize, usize)> {
    let mut parts = PreTokenizedString::from(text);
    step.pre_tokenize(&mut parts).unwrap();
    let parts = parts.get_splits(OffsetReferential::Original, OffsetType::Byte);
    parts.into_iter().map(|(_, offsets, _)| offsets).collect()
}

fn assert_same(text: &str) {
    for (words, step) in SPLITS.iter() {
        let mut parts = Vec::new();
        words.split(text.as_bytes(), |from, to| parts.push((from, to)));
        assert_eq!(parts, by_the_crate(step, text), "{words:?} of {text:?}");
    }
}

#[test]
fn texts_that_tell_patterns_apart_are_split_as_the_crate_does() {
    let long = "x".repeat(61);
    for text in [
        "",
        " ",
        "I'm sure they'll've said it's 'sand' and ''s. 'S 'LL 'ſ don'T",
        "a  b   c\n\n d \n  e\t\tf \u{3000}g\u{3000}\u{3000} h  ",
        "x = 12345; y[6] += 7.89\r\n\r\n\tif (a/b) // c\n/\n",
        "HTTPServer fooBar ÀÉÎ ǅungla 漢字かな हिन्दी e\u{301}a \u{301}\u{301}x !\u{301}b",
        "½ ① Ⅷ ٣٤ 1 2  3",
        " \u{a0}a\u{85}b\u{2028}",
        "वह ❤\u{fe0f} e\u{301}'s\u{301}a 'll\u{301}e 're\u{301} 's 1\u{301}a '\u{301}s \u{301}\u{302}b'd \u{301}",
        &format!("{long}e\u{301}\u{301}x 'll\u{301}{long}'s\u{301}"),
        &format!("{long} 's{long}'ll {long}  're"),
        &format!("{long}'s{long}'re{long}é'll{long}  "),
        &format!("{long}e'\u{3000} x{long}\u{3000}\u{3000}y"),
    ] {
        assert_same(text);
    }
    // Every place of a short text in a block.
    for before in 50..70 {
        assert_same(&format!("{}'re  'll\n é's 12", "a".repeat(before)));
        assert_same(&format!("{}\u{301}b 'll\u{20e3}ा1\u{301}", "a".repeat(before)));
        assert_same(&format!("{}\u{301}\u{301}ब", "!".repeat(before)));
        assert_same(&format!("{}  \u{3000} x", "1".repeat(before)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn any_text_is_split_as_the_crate_does(
        text in "(\\PC|[a-zA-Z]{1,9}|'(s|S|ll|Re|ſ)?|[ \n\r\t/]{1,4}|[0-9]{1,5}|\u{a0}|\u{3000}|\u{301}|[!-/]{1,3}|[éßЖ漢]){0,60}"
    ) {
        assert_same(&text);
    }
}
