//! GPT-2's split, 64 bytes at a time.
//!
//! The pattern is `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`. Every byte belongs to a run of
//! letters, numbers, spaces or others, and a part of the text begins where a run does, with three exceptions: one blank
//! before a run belongs to it, the last of several spaces before something else is a part of its own or that blank,
//! and an apostrophe that begins a part may take letters with it. As bit masks of 64 bytes the first two are a few
//! operations for all bytes together; the third is looked at where it happens.

use super::classes::{CLASSES, DIGIT, LETTER, MARK, NUMBER, SPACE, decode};
use wide::i8x64;

/// Bytes of a block.
const BLOCK: usize = 64;

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
#[derive(Default)]
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

/// What differs among the splits of this kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Gpt2 {
    /// Each numeric character is a part of its own that nothing before or after joins, as the step `Digits` with
    /// `individual_digits` makes it.
    pub(super) digits: bool,
    /// Marks after a letter belong to it ([`with_marks`](crate::scheme::split::with_marks)).
    pub(super) marks: bool,
}

impl Gpt2 {
    /// Calls `part` with the start and end of each part of the text, in order.
    pub(super) fn split(self, text: &[u8], mut part: impl FnMut(usize, usize)) {
        let mut carry = Carry::default();
        let mut from = 0;
        let mut base = 0;
        while base < text.len() {
            let masks = masks(text, base, self, &mut carry);
            let mut starts = starts(&masks, self.digits, &mut carry);
            let left = text.len() - base;
            if left < BLOCK {
                starts &= (1 << left) - 1;
            }
            self.contractions(text, base, &mut starts, masks.apostrophe, &mut carry);
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

    /// Lets an apostrophe that begins a part take the letters after it that the pattern names.
    #[inline]
    fn contractions(self, text: &[u8], base: usize, starts: &mut u64, apostrophe: u64, carry: &mut Carry) {
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
            if self.marks && class_at(text, at + 1 + letters) & MARK != 0 {
                continue;
            }
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

fn masks(text: &[u8], base: usize, gpt2: Gpt2, carry: &mut Carry) -> Masks {
    let Gpt2 { digits, .. } = gpt2;
    let rest = &text[base..];
    let mut block = [b' '; BLOCK];
    match rest.first_chunk() {
        Some(whole) => block = *whole,
        None => block[..rest.len()].copy_from_slice(rest),
    }
    let (mut masks, others) = ascii(&block);
    let spaces = masks.space;
    if others != 0 || carry.rest != 0 {
        beyond_ascii(text, base, gpt2, &mut masks, others, carry);
    }
    let classes = class_at(text, base + BLOCK);
    let stop = if digits { SPACE | DIGIT } else { SPACE };
    let not_after = if digits { masks.space | masks.number } else { masks.space };
    masks.last_space |= spaces & !(not_after >> 1 | u64::from(classes & stop != 0) << 63);
    masks
}

/// The masks of the ASCII characters of 64 bytes, all but the last spaces, and where the other bytes are.
#[inline]
fn ascii(block: &[u8; BLOCK]) -> (Masks, u64) {
    let bytes = i8x64::from_ne_bytes(*block);
    let equal = |byte: u8| bytes.simd_eq(i8x64::splat(byte.cast_signed()));
    // The first of the range becomes the least of the signed numbers.
    let within = |bytes: i8x64, first: u8, count: u8| {
        let moved = bytes + i8x64::splat((0x80 - first).cast_signed());
        moved.simd_lt(i8x64::splat((0x80 + count).cast_signed()))
    };
    let blank = equal(b' ');
    let masks = Masks {
        letter: within(bytes | i8x64::splat(0x20), b'a', 26).to_bitmask(),
        number: within(bytes, b'0', 10).to_bitmask(),
        space: (within(bytes, b'\t', 5) | blank).to_bitmask(),
        blank: blank.to_bitmask(),
        apostrophe: equal(b'\'').to_bitmask(),
        ..Masks::default()
    };
    (masks, bytes.to_bitmask())
}

/// Adds the characters that are not ASCII, at the bytes `others`.
fn beyond_ascii(text: &[u8], base: usize, gpt2: Gpt2, masks: &mut Masks, mut others: u64, carry: &mut Carry) {
    let Gpt2 { digits, marks } = gpt2;
    let number_class = if digits { DIGIT } else { NUMBER };
    let stop = if digits { SPACE | DIGIT } else { SPACE };
    let bits_of = |from: usize, length: usize| (((1_u128 << length) - 1) << from) as u64;
    let letter_before = carry.letter;
    let add = |bits: u64, classes: u8, masks: &mut Masks| {
        let after_letter = (masks.letter << 1 | letter_before) & bits != 0;
        if classes & LETTER != 0 || marks && classes & MARK != 0 && after_letter {
            masks.letter |= bits;
        } else if classes & number_class != 0 {
            masks.number |= bits;
        } else if classes & SPACE != 0 {
            masks.space |= bits;
        }
    };
    let begun = bits_of(0, std::mem::take(&mut carry.rest));
    add(begun, carry.rest_classes, masks);
    masks.inside |= begun;
    others &= !begun;
    while others != 0 {
        let bit = others.trailing_zeros() as usize;
        let Some((code, length)) = decode(text, base + bit) else { break };
        let classes = CLASSES.of(code);
        let bits = bits_of(bit, length);
        others &= !bits;
        add(bits, classes, masks);
        masks.inside |= bits & !(1 << bit);
        if classes & SPACE != 0 && class_at(text, base + bit + length) & stop == 0 {
            masks.last_space |= 1 << bit;
        }
        if bit + length > BLOCK {
            carry.rest = bit + length - BLOCK;
            carry.rest_classes = classes;
        }
    }
}

/// The classes of the character that begins at `at`; those of a space at the end of the text.
fn class_at(text: &[u8], at: usize) -> u8 {
    decode(text, at).map_or(SPACE, |(code, _)| CLASSES.of(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_of_ascii_are_those_of_classes() {
        for first in 0..0x80_u8 {
            let block: [u8; BLOCK] = std::array::from_fn(|place| first.wrapping_add((place as u8).wrapping_mul(5)));
            let (masks, others) = ascii(&block);
            for (bit, byte) in block.iter().enumerate() {
                let classes = if byte.is_ascii() { CLASSES.of(u32::from(*byte)) } else { 0 };
                for (mask, expected) in [
                    (masks.letter, classes & LETTER != 0),
                    (masks.number, classes & NUMBER != 0),
                    (masks.space, classes & SPACE != 0),
                    (masks.blank, *byte == b' '),
                    (masks.apostrophe, *byte == b'\''),
                    (others, !byte.is_ascii()),
                ] {
                    assert_eq!(mask >> bit & 1 == 1, expected, "{byte}");
                }
            }
        }
    }
}
