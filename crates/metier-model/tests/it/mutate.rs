//! Files of weights that are damaged: what tests and `examples/fuzz.rs` share.

use metier_testkit::fixture;
pub use metier_testkit::mutated;

/// What is damaged: a GGUF file, a safetensors file and two of PyTorch's.
pub const FILES: &[&str] = &["tiny-llama.gguf", "made.safetensors", "state_dict.bin", "state_dict_old.bin"];

/// The bytes of one of [`FILES`].
pub fn file(name: &str) -> Vec<u8> {
    if name != "made.safetensors" {
        return std::fs::read(fixture(format!("models/{name}"))).unwrap_or_default();
    }
    let mut header = String::from("{\"__metadata__\":{\"format\":\"pt\"}");
    for number in 0..40_usize {
        let (from, to) = (number * 24, (number + 1) * 24);
        let entry =
            format!(",\"layers.{number}.weight\":{{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[{from},{to}]}}");
        header.push_str(&entry);
    }
    header.push('}');
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + 40 * 24, 0);
    bytes
}
