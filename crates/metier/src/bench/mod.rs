//! What `metier bench` measures: this machine's ceilings, single operations, whole training steps.

pub mod operations;
pub mod step;

use metier_compute::kernel::Ceilings;
use serde_json::{Value, json};

/// The ceilings as JSON.
pub fn ceilings_json(ceilings: &Ceilings) -> Value {
    json!({
        "f32_flop_per_second": ceilings.f32_flop_per_second,
        "bf16_flop_per_second": ceilings.bf16_flop_per_second,
        "int8_op_per_second": ceilings.int8_op_per_second,
        "read_bytes_per_second": ceilings.read_bytes_per_second,
        "copy_bytes_per_second": ceilings.copy_bytes_per_second,
    })
}
