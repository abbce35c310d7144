//! What the tests ask of models.

use metier_compute::{Gradients, ParameterId, Tape};
use metier_model::decode::{Cache, Pages};
use metier_model::{Advance, Batch, Decoder, KeyCoding};
use metier_peft::folder::{Content, Form};

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The logits of every token of a text.
pub fn logits(decoder: &Decoder, ids: &[u32]) -> Vec<f32> {
    let positions: Vec<u32> = (0..ids.len() as u32).collect();
    let mut tape = Tape::inference(&decoder.parameters);
    let hidden = decoder.hidden(&mut tape, ids, &positions, &[0..ids.len()]).unwrap();
    decoder.logits(tape.value(hidden).unwrap()).unwrap().data().to_vec()
}

/// The same through the cache of decoding: some tokens at first, then one at a time, with a step back between.
pub fn decode(decoder: &Decoder, ids: &[u32]) -> Vec<f32> {
    let pages = Pages::new(decoder.config(), KeyCoding::F32, None);
    let mut cache = Cache::default();
    let mut all = Vec::new();
    let read = |cache: &mut Cache, ids: &[u32]| {
        let length = cache.length() + ids.len();
        let text = Advance { cache, ids, wanted: ids.len(), length };
        decoder.advance(&pages, &mut [text]).unwrap().data().to_vec()
    };
    all.extend(read(&mut cache, &ids[..4]));
    read(&mut cache, &ids[..2]);
    cache.truncate(4);
    for id in &ids[4..] {
        all.extend(read(&mut cache, &[*id]));
    }
    all
}

pub fn gradients_of(decoder: &Decoder, batch: &Batch) -> (f64, Gradients) {
    let mut gradients = Gradients::new();
    let mut tape = Tape::training(&decoder.parameters);
    let loss = decoder.loss(&mut tape, batch).unwrap();
    let value = tape.value(loss).unwrap().item().unwrap();
    tape.backward(loss, &mut gradients).unwrap();
    (f64::from(value), gradients)
}

/// The parameter that has a name in files, or in the model.
pub fn parameter(form: &Form, decoder: &Decoder, name: &str) -> Option<ParameterId> {
    let in_file = form.tensors.iter().find_map(|(known, content)| match content {
        Content::Parameter(id) if known == name => Some(*id),
        _ => None,
    });
    in_file.or_else(|| decoder.parameters.find(name))
}

/// The model's own weights, bit by bit.
pub fn frozen(decoder: &Decoder) -> Vec<u32> {
    let tensors = decoder.tensors().unwrap();
    tensors.iter().flat_map(|(_, tensor)| tensor.data()).map(|value| value.to_bits()).collect()
}
