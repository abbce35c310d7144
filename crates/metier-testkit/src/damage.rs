//! Damage to files, a function of a seed.

use crate::hashed;

/// Numbers that sizes, offsets and counts go wrong at.
const NUMBERS: [u64; 14] = [
    0,
    1,
    0x7f,
    0xff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 32,
    1 << 40,
    u64::MAX >> 1,
    1 << 63,
    u64::MAX - 31,
    u64::MAX - 7,
    u64::MAX,
];

/// The file with the damage of a seed: a few bytes, numbers, cuts, copies.
pub fn mutated(whole: &[u8], seed: u64) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let mut state = hashed::mixed(seed ^ 0x6675_7a7a);
    let mut below = |limit: usize| {
        state = hashed::mixed(state);
        (state % limit.max(1) as u64) as usize
    };
    for _ in 0..=below(6) {
        if bytes.is_empty() {
            break;
        }
        // Mostly the header, which is at the begin, or at the end of an archive.
        let reach = if below(4) == 0 { bytes.len() } else { bytes.len().min(6000) };
        let at = below(reach);
        let at = if below(5) == 0 { bytes.len() - 1 - at.min(bytes.len() - 1) } else { at };
        match below(8) {
            0 | 1 => bytes[at] = below(256) as u8,
            2 => bytes[at] ^= 1 << below(8),
            3 | 4 => {
                let number = NUMBERS[below(NUMBERS.len())].to_le_bytes();
                let width = [4, 8][below(2)].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&number[..width]);
            }
            5 => {
                let length = below(64).min(bytes.len() - at);
                let piece = bytes[at..at + length].to_vec();
                let to = below(bytes.len() - length + 1);
                bytes[to..to + length].copy_from_slice(&piece);
            }
            6 => {
                let length = below(200).min(bytes.len() - at);
                let piece = bytes[at..at + length].repeat(1 + below(4));
                bytes.splice(at..at, piece);
            }
            _ => {
                let length = below(100).min(bytes.len() - at);
                if below(3) == 0 {
                    bytes.truncate(at);
                } else {
                    bytes.drain(at..at + length);
                }
            }
        }
    }
    bytes
}
