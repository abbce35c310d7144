//! GPT-2's split, 64 bytes at a time.
//!
//! The pattern is `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`. Every byte belongs to a run of
//! letters, numbers, spaces or others, and a part of the text begins where a run does, with three exceptions: one blank
//! before a run belongs to it, the last of several spaces before something else is a part of its own or that blank,
//! and an apostrophe that begins a part may take letters with it. As bit masks of 64 bytes the first two are a few
//! operations for all bytes together; the third is looked at where it happens.

use super::classes::{CLASSES, DIGIT, LETTER, NUMBER, SPACE, decode};

/// Bytes of a block.
const BLOCK: usize = 64;
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// One bit for each byte of a block.
#[derive(Default)]
struct Masks {
    letter: u64,
    number: u64,
    space: u64,
    /// U+0020.
    blank: u64,
    apostrophe: u64,
    /// The first byte of the last of several spaces, when something else follows.
    last_space: u64,
    /// Bytes that do not begin a character.
    inside: u64,
}

/// What the block before leaves to the next.
struct Carry {
    /// Whether its last byte is of these.
    letter: u64,
    number: u64,
    space: u64,
    blank: u64,
    other: u64,
    /// Bytes of a character that goes on, and its classes.
    rest: usize,
    rest_classes: u8,
    /// Bits of the next block that begin a part, or do not, whatever its masks say.
    begins: u64,
    goes_on: u64,
}

/// Calls `part` with the start and end of each part of the text, in order. With `digits`, each numeric character is
/// a part of its own that nothing before or after joins, as the step `Digits` with `individual_digits` makes it.
pub(super) fn split(text: &[u8], digits: bool, mut part: impl FnMut(usize, usize)) {
    let mut carry =
        Carry { letter: 0, number: 0, space: 0, blank: 0, other: 0, rest: 0, rest_classes: 0, begins: 0, goes_on: 0 };
    let mut from = 0;
    let mut base = 0;
    while base < text.len() {
        let masks = masks(text, base, digits, &mut carry);
        let mut starts = starts(&masks, digits, &mut carry);
        let left = text.len() - base;
        if left < BLOCK {
            starts &= (1 << left) - 1;
        }
        contractions(text, base, &mut starts, masks.apostrophe, &mut carry);
        while starts != 0 {
            let place = base + starts.trailing_zeros() as usize;
            if place > from {
                part(from, place);
                from = place;
            }
            starts &= starts - 1;
        }
        base += BLOCK;
    }
    if from < text.len() {
        part(from, text.len());
    }
}

fn starts(masks: &Masks, digits: bool, carry: &mut Carry) -> u64 {
    let Masks { letter, number, space, blank, last_space, inside, .. } = *masks;
    let other = !(letter | number | space);
    let after = |mask: u64, carried: u64| mask << 1 | carried;
    let after_blank = after(blank, carry.blank);
    let numbers = number & !after(number, carry.number);
    let begun = letter & !after(letter, carry.letter) | other & !after(other, carry.other);
    let mut starts = space & !after(space, carry.space) | last_space | begun & !after_blank;
    starts |= if digits { number & !inside } else { numbers & !after_blank };
    starts = starts & !carry.goes_on | carry.begins;
    carry.begins = 0;
    carry.goes_on = 0;
    carry.letter = letter >> 63;
    carry.number = number >> 63;
    carry.space = space >> 63;
    carry.blank = blank >> 63;
    carry.other = other >> 63;
    starts
}

/// Lets an apostrophe that begins a part take the letters after it that the pattern names.
#[inline]
fn contractions(text: &[u8], base: usize, starts: &mut u64, apostrophe: u64, carry: &mut Carry) {
    let mut found = apostrophe & *starts;
    while found != 0 {
        let bit = found.trailing_zeros() as usize;
        found &= found - 1;
        let at = base + bit;
        let letters = match (text.get(at + 1), text.get(at + 2)) {
            (Some(b's' | b't' | b'm' | b'd'), _) => 1,
            (Some(b'r' | b'v'), Some(b'e')) | (Some(b'l'), Some(b'l')) => 2,
            _ => continue,
        };
        let (inside, next) = (bit + 1, bit + 1 + letters);
        if inside < BLOCK {
            *starts &= !(1 << inside);
        } else {
            carry.goes_on |= 1 << (inside - BLOCK);
        }
        if at + 1 + letters == text.len() {
            continue;
        }
        if next < BLOCK {
            *starts |= 1 << next;
        } else {
            carry.begins |= 1 << (next - BLOCK);
        }
    }
}

fn masks(text: &[u8], base: usize, digits: bool, carry: &mut Carry) -> Masks {
    let whole = text.get(base..base + BLOCK).and_then(|block| <&[u8; BLOCK]>::try_from(block).ok());
    match whole {
        Some(block) if carry.rest == 0 && block.is_ascii() => {
            let mut masks = ascii(block);
            let classes = decode(text, base + BLOCK).map_or(SPACE, |(code, _)| CLASSES.of(code));
            let stop = if digits { SPACE | DIGIT } else { SPACE };
            let following = u64::from(classes & stop != 0);
            let not_after = if digits { masks.space | masks.number } else { masks.space };
            masks.last_space = masks.space & !(not_after >> 1 | following << 63);
            masks
        }
        _ => by_character(text, base, digits, carry),
    }
}

/// The masks of 64 ASCII bytes, all but the last spaces.
#[inline]
fn ascii(block: &[u8; BLOCK]) -> Masks {
    let mut masks = Masks::default();
    for (place, word) in block.as_chunks::<8>().0.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let least = |word: u64, byte: u8| word.wrapping_add(ONES * u64::from(0x80 - byte)) & HIGH;
        let equal = |byte: u8| !(word ^ (ONES * u64::from(byte))).wrapping_add(ONES * 0x7f) & HIGH;
        let small = word | (ONES * 0x20);
        let letter = least(small, b'a') & !least(small, b'z' + 1);
        let number = least(word, b'0') & !least(word, b'9' + 1);
        let blank = equal(b' ');
        let space = least(word, b'\t') & !least(word, b'\r' + 1) | blank;
        let shift = place * 8;
        masks.letter |= gathered(letter) << shift;
        masks.number |= gathered(number) << shift;
        masks.space |= gathered(space) << shift;
        masks.blank |= gathered(blank) << shift;
        masks.apostrophe |= gathered(equal(b'\'')) << shift;
    }
    masks
}

/// The highest bit of each byte, side by side.
#[inline]
fn gathered(flags: u64) -> u64 {
    (flags >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// The masks of up to 64 bytes of any text.
fn by_character(text: &[u8], base: usize, digits: bool, carry: &mut Carry) -> Masks {
    let mut masks = Masks::default();
    let number_class = if digits { DIGIT } else { NUMBER };
    let mark = |masks: &mut Masks, bits: u64, classes: u8| {
        if classes & LETTER != 0 {
            masks.letter |= bits;
        } else if classes & number_class != 0 {
            masks.number |= bits;
        } else if classes & SPACE != 0 {
            masks.space |= bits;
        }
    };
    let bits_of = |from: usize, length: usize| (((1_u128 << length) - 1) << from) as u64;
    let mut bit = carry.rest.min(BLOCK);
    mark(&mut masks, bits_of(0, bit), carry.rest_classes);
    masks.inside |= bits_of(0, bit);
    carry.rest = 0;
    while bit < BLOCK {
        let Some((code, length)) = decode(text, base + bit) else { break };
        let classes = CLASSES.of(code);
        mark(&mut masks, bits_of(bit, length), classes);
        masks.inside |= bits_of(bit + 1, length - 1);
        if classes & SPACE != 0 {
            if code == u32::from(' ') {
                masks.blank |= 1 << bit;
            }
            let next = decode(text, base + bit + length).map_or(SPACE, |(code, _)| CLASSES.of(code));
            if next & (SPACE | if digits { DIGIT } else { 0 }) == 0 {
                masks.last_space |= 1 << bit;
            }
        } else if code == u32::from('\'') {
            masks.apostrophe |= 1 << bit;
        }
        if bit + length > BLOCK {
            carry.rest = bit + length - BLOCK;
            carry.rest_classes = classes;
        }
        bit += length;
    }
    masks
}
