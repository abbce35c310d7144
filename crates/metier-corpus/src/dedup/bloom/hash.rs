//! The hash function of Dolma's filters: that of aHash 0.8 on machines without AES instructions, which the published packages
//! of Dolma 1.2.1 use on every machine. The crate itself chooses by what it is compiled for, so it cannot be asked.

/// The multiplier of Knuth's generator for 64 bits.
const MULTIPLE: u64 = 6_364_136_223_846_793_005;
/// Digits of pi, behind the first 256 bits after its point.
const PI: [u64; 4] = [0x4528_21e6_38d0_1377, 0xbe54_66cf_34e9_0c6c, 0xc0ac_29b7_c97c_50dd, 0x3f84_d5b5_b547_0917];

/// What a list of texts hashes to, as Rust's standard library feeds a list of strings to a hasher: how many there are, and
/// each with the byte 255 behind it.
pub(super) fn hash(seeds: [u64; 4], texts: &[&str]) -> u64 {
    let mut hasher =
        Hasher { buffer: seeds[1] ^ PI[1], pad: seeds[0] ^ PI[0], keys: [seeds[2] ^ PI[2], seeds[3] ^ PI[3]] };
    hasher.number(texts.len() as u64);
    for text in texts {
        hasher.bytes(text.as_bytes());
        hasher.number(0xff);
    }
    folded(hasher.buffer, hasher.pad).rotate_left((hasher.buffer & 63) as u32)
}

struct Hasher {
    buffer: u64,
    pad: u64,
    keys: [u64; 2],
}

impl Hasher {
    fn number(&mut self, number: u64) {
        self.buffer = folded(number ^ self.buffer, MULTIPLE);
    }

    fn pair(&mut self, low: u64, high: u64) {
        let both = folded(low ^ self.keys[0], high ^ self.keys[1]);
        self.buffer = (self.buffer.wrapping_add(self.pad) ^ both).rotate_left(23);
    }

    /// The last 16 bytes first, then all blocks of 16 that do not reach the end; of less than that, two parts that may overlap.
    fn bytes(&mut self, bytes: &[u8]) {
        self.buffer = self.buffer.wrapping_add(bytes.len() as u64).wrapping_mul(MULTIPLE);
        let behind = |start: usize| bytes.split_at(start).1;
        match bytes.len() {
            0 => self.pair(0, 0),
            1 => self.pair(u64::from(bytes[0]), u64::from(bytes[0])),
            2..=3 => self.pair(little(&bytes[..2]), u64::from(bytes[bytes.len() - 1])),
            length @ 4..=8 => self.pair(little(&bytes[..4]), little(behind(length - 4))),
            length @ 9..=16 => self.pair(little(&bytes[..8]), little(behind(length - 8))),
            length => {
                self.block(behind(length - 16));
                bytes.chunks(16).take((length - 1) / 16).for_each(|block| self.block(block));
            }
        }
    }

    fn block(&mut self, block: &[u8]) {
        let (low, high) = block.split_at(8);
        self.pair(little(low), little(high));
    }
}

/// Up to eight bytes, the lowest first.
fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Both halves of a product.
fn folded(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    product as u64 ^ (product >> 64) as u64
}
