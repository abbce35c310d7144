//! What the gradients of a text say about a model before it is trained.

use crate::plan::check_attention;
use crate::reader::Reader;
use crate::run::{Run, bound, other_of};
use crate::sampler::Request;
use crate::sources::Sources;
use metier_compute::{Gradients, ParameterId, Tape, Tensor};
use metier_core::{Error, Place, Result, stop};
use metier_model::Decoder;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// The mean of the squared gradient of each trainable weight over `windows` windows of a run, one window at a time: the diagonal of
/// the empirical Fisher information. The windows are those that the sampler would give first with another seed.
///
/// # Errors
/// Those of reading the documents and of the objective, a gradient that is not finite, with the window, and [`Run::stop`].
pub fn squared_gradients<'a>(
    decoder: &mut Decoder,
    sources: impl Into<Sources<'a>>,
    run: &Run<'_>,
    windows: usize,
) -> Result<BTreeMap<ParameterId, Tensor>> {
    let sources = &sources.into();
    let stream = sources.stream(run.settings.context)?;
    check_attention(decoder, run.parts)?;
    let bound = bound(sources, run)?;
    let objective = bound.as_deref().unwrap_or(&*run.parts.objective.part);
    let other = other_of(decoder, run)?;
    decoder.set_recompute(run.settings.recompute);
    let seed = run.seed.derive("measure");
    let reader = Reader::new(sources, &stream, objective.reading(), seed);
    let mut squares: BTreeMap<ParameterId, Tensor> = BTreeMap::new();
    for step in 0..windows as u64 {
        if (run.stop)() {
            return Err(stop::interrupted());
        }
        let request = Request { step, sequences: 1, context: run.settings.context, seed };
        let window = run.parts.sampler.part.windows(&stream, &request);
        let batch = objective.batch(&reader.segments(&window, step)?)?;
        let mut gradients = Gradients::new();
        let mut tape = Tape::training(&decoder.parameters);
        tape.set_precision(run.settings.precision.into());
        let loss = objective.loss(decoder, &mut tape, &batch, other.as_ref())?;
        tape.backward(loss, &mut gradients)?;
        if !gradients.norm().is_finite() {
            return Err(Error::user(Place::key(format!("window {step}")), "the gradient is not finite")
                .hint("the model or the text is broken; look at it with `metier eval`"));
        }
        for (id, gradient) in gradients.iter() {
            let sum = match squares.entry(id) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(Tensor::zeros(gradient.shape())?),
            };
            let share = 1.0 / windows as f32;
            sum.data_mut().iter_mut().zip(gradient.data()).for_each(|(sum, value)| *sum += share * value * value);
        }
    }
    Ok(squares)
}
