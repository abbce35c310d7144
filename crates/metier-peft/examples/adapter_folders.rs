//! Writes an adapter of each method that the PEFT library knows too, its base, and the logits of both together, for
//! `fixtures/reference/adapters.py`.
//!
//! ```text
//! cargo run -p metier-peft --example adapter_folders FOLDER
//! python fixtures/reference/adapters.py FOLDER
//! ```

use metier_compute::Tape;
use metier_core::part::choose;
use metier_core::seed::Seed;
use metier_core::settings::File;
use metier_core::{Result, store};
use metier_model::Decoder;
use metier_model::checkpoint::{Checkpoint, Dtype, write_folder};
use metier_peft::adapter::ADAPTERS;
use metier_peft::folder;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

/// Names of folders, and adapters as a recipe has them.
const CASES: [(&str, &str); 14] = [
    ("adalora", "method = 'adalora'\nstart_rank = 5\ntarget_rank = 3\ntargets = ['q_proj', 'down_proj']"),
    ("dora", "method = 'dora'\nrank = 3"),
    ("ia3", "method = 'ia3'"),
    ("ln_tuning", "method = 'ln_tuning'"),
    ("lora", "method = 'lora'\nrank = 4\nalpha = 6.0\nrank_stabilized = true"),
    (
        "lora-patterns",
        "method = 'lora'\nrank = 4\ntargets = ['v_proj', 'gate_proj']\nrank_pattern = { v_proj = 2 }\nalpha_pattern = { 'layers.0.mlp.gate_proj' = 3.0 }",
    ),
    ("oft", "method = 'oft'\nblock = 8\ntargets = ['q_proj', 'o_proj']"),
    ("oft-exact", "method = 'oft'\nblock = 4\nexact = true\ntargets = ['v_proj']"),
    ("p_tuning", "method = 'p_tuning'\ntokens = 5\nwidth = 9"),
    ("p_tuning-lstm", "method = 'p_tuning'\ntokens = 5\nwidth = 9\nencoder = 'lstm'"),
    ("prefix_tuning", "method = 'prefix_tuning'\ntokens = 6"),
    ("prefix_tuning-projected", "method = 'prefix_tuning'\ntokens = 6\nprojection = 11"),
    ("prompt_tuning", "method = 'prompt_tuning'\ntokens = 7"),
    ("vera", "method = 'vera'\nrank = 12"),
];

fn main() -> ExitCode {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: adapter_folders FOLDER");
        return ExitCode::from(2);
    };
    let written = CASES.iter().try_for_each(|(name, text)| write(&Path::new(&folder).join(name), text));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn write(to: &Path, text: &str) -> Result<()> {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models/tiny-llama.gguf");
    let checkpoint = Checkpoint::open(&model)?;
    let mut decoder = Decoder::from_checkpoint(&checkpoint)?;
    let tensors = decoder.tensors()?;
    let tensors = tensors.iter().map(|(name, tensor)| (*name, tensor.shape(), tensor.data()));
    write_folder(&to.join("base"), &checkpoint, tensors, Dtype::F32)?;
    let file = File::parse("adapter.toml", text)?;
    let adapter = choose("adapter", ADAPTERS, &file.root())?;
    let attached = adapter.part.attach(&mut decoder, Seed::new(5))?;
    // As if it had been trained.
    let ids: Vec<_> = decoder.parameters.iter().filter(|entry| entry.3).map(|(id, ..)| id).collect();
    for id in ids {
        let mut noise = Seed::new(6).derive(decoder.parameters.name(id)).at(0);
        decoder.parameters.get_mut(id).data_mut().iter_mut().for_each(|value| *value += 0.1 * noise.normal() as f32);
    }
    folder::save(&decoder, &attached, "base", &to.join("adapter"))?;
    let ids: Vec<u32> = (0..16).map(|at| (at * 37 + 5) % 256).collect();
    let positions: Vec<u32> = (0..16).collect();
    let mut tape = Tape::inference(&decoder.parameters);
    let hidden = decoder.hidden(&mut tape, &ids, &positions, std::slice::from_ref(&(0..16)))?;
    let logits = decoder.logits(tape.value(hidden)?)?;
    store::write_atomic(to.join("logits.json"), json!({ "ids": ids, "logits": logits.data() }).to_string())
}
