//! `metier import`.

use super::{Global, Verdict, count, duration, size, table};
use metier_core::{Error, Fault, Place, Result, memory, store};
use metier_model::checkpoint::{Checkpoint, Dtype, convert_folder};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What the receipt is called in the folder.
const RECEIPT: &str = "import.json";

/// Make a Hugging Face folder of a GGUF file or of PyTorch's files
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples: metier import model.gguf model/\n          metier import checkpoint/ model/ --dtype bf16\nPyTorch's files are read without running any code in them."
)]
pub struct Arguments {
    /// A GGUF file, or a folder with weights of PyTorch or safetensors
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// The folder to write, which must not exist
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// How weights are stored; left out, as in the model where that is a type of 16 bits, else f32
    #[arg(long, value_name = "TYPE")]
    dtype: Option<DtypeName>,
    /// Print the plan and stop
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum DtypeName {
    F32,
    Bf16,
    F16,
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    let start = Instant::now();
    let folder = &arguments.folder;
    if folder.exists() {
        return Err(Error::file(folder, "this exists already").hint("name a folder that is not there yet"));
    }
    let checkpoint = crate::stage::open_checkpoint(&arguments.model)?;
    let dtype = match arguments.dtype {
        None => checkpoint.dtype(),
        Some(DtypeName::F32) => Dtype::F32,
        Some(DtypeName::Bf16) => Dtype::BF16,
        Some(DtypeName::F16) => Dtype::F16,
    };
    let plan = Plan::of(&checkpoint, dtype)?;
    if let Some(limit) = global.memory.filter(|limit| *limit < plan.memory) {
        let message = format!("needs about {} of memory, and --memory allows {}", size(plan.memory), size(limit));
        return Err(Fault::new(Place::file(&arguments.model), message).hint("allow more").into());
    }
    if arguments.dry_run {
        return plan.print(&checkpoint, global);
    }
    let partial = beside(folder);
    let written = write(&checkpoint, &partial, dtype).and_then(|files| {
        let receipt = json!({
            "source": arguments.model, "files": files, "plan": plan.json(&checkpoint), "version": env!("CARGO_PKG_VERSION"),
            "real": {
                "seconds": start.elapsed().as_secs_f64(), "peak_memory_bytes": memory::peak_bytes(),
            },
        });
        store::write_atomic(partial.join(RECEIPT), format!("{receipt:#}\n"))?;
        std::fs::rename(&partial, folder).map_err(|error| Error::io(folder, "put the folder in its place", &error))?;
        Ok(receipt)
    });
    let receipt = match written {
        Ok(receipt) => receipt,
        Err(error) => {
            let _ = std::fs::remove_dir_all(&partial);
            return Err(error);
        }
    };
    if global.json {
        super::print_json(&receipt)?;
    } else {
        plan.print(&checkpoint, global)?;
        let took = duration(start.elapsed().as_secs_f64());
        super::print(&format!(
            "done in {took}, {} of memory at most\n{}\n",
            size(memory::peak_bytes()),
            folder.display()
        ))?;
    }
    Ok(Verdict::Fine)
}

/// Writes the folder, and says of which files it was made.
fn write(checkpoint: &Checkpoint, folder: &Path, dtype: Dtype) -> Result<Vec<Value>> {
    convert_folder(folder, checkpoint, dtype)?;
    let read = |path: &Path| {
        let (hash, bytes) = store::hash_and_size(path)?;
        Ok(json!({ "path": path, "bytes": bytes, "blake3": hash }))
    };
    checkpoint.weight_files().map(read).collect()
}

/// A name in the same folder for what is not whole yet.
fn beside(folder: &Path) -> PathBuf {
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    folder.with_file_name(format!(".{name}.{}.partial", std::process::id()))
}

struct Plan {
    tensors: u64,
    parameters: u64,
    disk: u64,
    memory: u64,
    dtype: Dtype,
}

impl Plan {
    fn of(checkpoint: &Checkpoint, dtype: Dtype) -> Result<Self> {
        let (mut parameters, mut largest) = (0, 0);
        let names = checkpoint.names();
        for name in &names {
            let values = checkpoint.shape(name)?.iter().product::<usize>() as u64;
            parameters += values;
            largest = largest.max(values);
        }
        let bytes = if dtype == Dtype::F32 { 4 } else { 2 };
        Ok(Self {
            tensors: names.len() as u64,
            parameters,
            disk: parameters * bytes,
            // A tensor as numbers and as it is written, and what the process holds whatever it does.
            memory: largest * (4 + bytes) + (64 << 20),
            dtype,
        })
    }

    fn json(&self, checkpoint: &Checkpoint) -> Value {
        json!({
            "model_type": checkpoint.config["model_type"], "tensors": self.tensors, "parameters": self.parameters,
            "dtype": format!("{:?}", self.dtype), "disk_bytes": self.disk, "memory_bytes": self.memory,
        })
    }

    fn print(&self, checkpoint: &Checkpoint, global: &Global) -> Result<Verdict> {
        if global.json {
            super::print_json(&self.json(checkpoint))?;
            return Ok(Verdict::Fine);
        }
        let row = |name: &str, value: String| vec![name.to_owned(), value];
        let kind = checkpoint.config["model_type"].as_str().unwrap_or("unknown");
        let rows = [
            row("architecture", kind.to_owned()),
            row("tensors", count(self.tensors)),
            row("parameters", count(self.parameters)),
            row("dtype", format!("{:?}", self.dtype)),
            row("disk", size(self.disk)),
            row("memory", size(self.memory)),
        ];
        super::print(&table(&["import", &checkpoint.path().display().to_string()], &rows, &[false, false]))?;
        Ok(Verdict::Fine)
    }
}
