//! Numbers out of integer hashes: the scripts under `fixtures/reference/` make the same ones, so that no file carries them.

/// `SplitMix64`.
pub fn mixed(state: u64) -> u64 {
    let mut state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// Numbers from -1 to 1 with 24 bits, exact in `f32`, that belong to a name: endlessly many.
pub fn even(name: &str) -> impl Iterator<Item = f64> + use<> {
    let base = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (0..).map(move |index| (mixed(base.wrapping_add(index)) >> 40) as f64 / f64::from(1 << 23) - 1.0)
}

/// The numbers that the scripts give a tensor of a model by its name: norms near 1, biases and matrices around 0.
pub fn weight(name: &str, shape: &[usize]) -> Vec<f32> {
    let change = |even: f64| match shape.len() {
        _ if name.strip_suffix(".bias").is_some() => even / 4.0,
        1 => 1.0 + even / 4.0,
        _ => even * 0.375,
    };
    even(name).take(shape.iter().product()).map(|even| change(even) as f32).collect()
}
