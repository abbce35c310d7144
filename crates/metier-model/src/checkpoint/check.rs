//! Whether configuration, tensors and tokenizer belong together.

use super::{Checkpoint, Kind, Stored};
use crate::arch;
use crate::config::Config;
use crate::layer::Part;
use metier_core::{Error, Fault, Place, Result};

impl Checkpoint {
    /// Every fault of a configuration, of tensors that lack, have a wrong shape or a type that no weight has, and of a
    /// tokenizer with more ids than the model has rows for. Of an architecture that is not built only the last is known.
    pub(super) fn check(&self) -> Result<()> {
        let mut faults = Vec::new();
        let mut embedding = "model.embed_tokens.weight".to_owned();
        if arch::of(&self.config).is_ok() {
            match Config::for_tensors(&self.config, self.tensors.keys().map(String::as_str)) {
                Ok(config) => {
                    let weights = arch::stored_weights(&config, self.tensors.keys().map(String::as_str));
                    let name = config.design.architecture.weight_name(Part::Embedding);
                    if let Some((_, stored)) = weights.iter().find(|(weight, _)| Some(&weight.name) == name.as_ref()) {
                        embedding.clone_from(stored);
                    }
                    for (weight, stored) in &weights {
                        faults.extend(self.fault_of(stored, &weight.stored()));
                    }
                }
                Err(error) => faults.extend(error.faults),
            }
        }
        for fault in &mut faults {
            fault.place.file.get_or_insert_with(|| self.path.clone());
        }
        let rows = self.tensors.get(&embedding).and_then(|tensor| tensor.shape.first().copied());
        let ids = self.tokenizer.vocabulary_size();
        if let Some(rows) = rows.filter(|&rows| rows < ids) {
            let message = format!("the tokenizer has {ids} ids, and the model's embedding only {rows} rows");
            faults.push(
                Fault::new(Place::file(&self.path).with_key(embedding), message)
                    .hint("tokenizer and weights are of different models"),
            );
        }
        Error::collect((), faults)
    }

    fn fault_of(&self, name: &str, want: &[usize]) -> Option<Fault> {
        let Some(Stored { shape, kind, .. }) = self.tensors.get(name) else {
            return Some(
                Fault::new(Place::key(name), "the tensor is missing")
                    .hint(format!("the configuration asks for one of shape {want:?}")),
            );
        };
        if shape != want {
            let message = format!("the tensor has shape {shape:?}, and the configuration asks for {want:?}");
            return Some(Fault::new(Place::key(name), message));
        }
        match kind {
            Kind::Blocks(_) => None,
            Kind::Other(kind) => {
                let message = format!("the tensor is stored as {kind}, which no weight may be");
                Some(Fault::new(Place::key(name), message).hint("weights are read as F32, F16 or BF16"))
            }
        }
    }
}
