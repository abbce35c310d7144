//! What `metier bench` measures: this machine's ceilings, single operations, whole training steps, answering, work on texts, and curation.

pub mod answer;
pub mod curate;
pub mod operations;
pub mod step;
pub mod text;

use metier_compute::kernel::Ceilings;
use serde_json::Value;

/// The ceilings as JSON; those of instructions that the processor lacks are left out.
pub fn ceilings_json(ceilings: &Ceilings) -> Value {
    let all = [
        ("f32_flop_per_second", Some(ceilings.f32_flop_per_second)),
        ("bf16_flop_per_second", ceilings.bf16_flop_per_second),
        ("int8_op_per_second", ceilings.int8_op_per_second),
        ("read_bytes_per_second", Some(ceilings.read_bytes_per_second)),
        ("copy_bytes_per_second", Some(ceilings.copy_bytes_per_second)),
    ];
    all.into_iter().filter_map(|(name, rate)| Some((name.to_owned(), Value::from(rate?)))).collect()
}
