//! A decoder-only language model: its weights, its forward pass, the places where adapters attach.

use crate::arch;
use crate::checkpoint::{AsStored, Checkpoint};
use crate::config::Config;
use crate::decode::{Cache, Pages};
use crate::layer::{self, Attachments, Keys, Leading, Linear, Model, NormKind, Part, Rows, VirtualKind, WeightShape};
use metier_compute::op::{self, Activation, CachedText, Head, Sequence};
use metier_compute::{List, ParameterId, Parameters, Tape, Tensor, Var};
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result};
use std::collections::BTreeSet;
use std::ops::Range;

/// A decoder-only language model.
pub struct Decoder {
    /// All weights, and those of adapters attached to it.
    pub parameters: Parameters,
    pub(crate) config: Config,
    pub(crate) model: Model,
    pub(crate) attachments: Attachments,
    recompute: bool,
    attention_dropout: f32,
}

/// Rows of one training step: texts one after another, without padding.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// The token of each row.
    pub ids: Vec<u32>,
    /// What each row is to predict.
    pub targets: Vec<u32>,
    /// How much each row counts; 0 leaves it out of the loss.
    pub weights: Vec<f32>,
    /// Position of each row in its text.
    pub positions: Vec<u32>,
    /// The rows of each text: attention does not cross from one to another.
    pub sequences: Vec<Range<usize>>,
}

/// A linear layer that an adapter can attach to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The weight's name without `.weight`: `model.layers.0.self_attn.q_proj`.
    pub name: String,
    /// What it does.
    pub part: Part,
    /// Columns of the weight.
    pub inputs: usize,
    /// Rows of the weight.
    pub outputs: usize,
    /// The weight, `[outputs, inputs]`.
    pub weight: ParameterId,
    /// The bias, `[outputs]`.
    pub bias: Option<ParameterId>,
}

/// New tokens of one text in a pass of [`Decoder::advance`].
pub struct Advance<'a> {
    /// What came before them.
    pub cache: &'a mut Cache,
    /// The tokens.
    pub ids: &'a [u32],
    /// How many of them, from the end, are to give logits.
    pub wanted: usize,
    /// Tokens of the whole text, as far as it is known.
    pub length: usize,
}

impl Site {
    /// The last part of the name: `q_proj`.
    pub fn leaf(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }

    /// The number of its block.
    pub fn block(&self) -> Option<usize> {
        layer::block_of(&self.name)
    }
}

/// How weights come into a model.
#[derive(Clone, Copy)]
struct Loading {
    trainable: bool,
    /// Rows of queries and keys as [`Checkpoint::is_interleaved`] says.
    interleaved: bool,
    /// Linear layers in NF4.
    quantized: bool,
}

impl Decoder {
    /// The model of a checkpoint. What does not fit is named with the file.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Self> {
        let names = checkpoint.names();
        Self::from_weights(&checkpoint.config, names.iter().map(String::as_str), |name| checkpoint.tensor(name))
            .map_err(|error| error.in_file(checkpoint.path()))
    }

    /// The same with the linear layers stored in NF4 as they are read, so that they never lie in memory as `f32` all together.
    pub fn from_checkpoint_in_nf4(checkpoint: &Checkpoint) -> Result<Self> {
        let names = checkpoint.names();
        let how = Loading { trainable: false, interleaved: false, quantized: true };
        Self::from_tensors(&checkpoint.config, names.iter().map(String::as_str), how, |name| {
            let (shape, values) = checkpoint.tensor(name)?;
            Ok(AsStored { tensor: Tensor::from_vec(&shape, values)?, outputs_first: false })
        })
        .map_err(|error| error.in_file(checkpoint.path()))
    }

    /// The same with quantized weights as they are stored, in the mapped file, to answer with: no weight is trainable.
    pub fn from_checkpoint_as_stored(checkpoint: &Checkpoint) -> Result<Self> {
        let names = checkpoint.names();
        let read = |name: &str| checkpoint.tensor_as_stored(name);
        let how = Loading { trainable: false, interleaved: checkpoint.is_interleaved(), quantized: false };
        Self::from_tensors(&checkpoint.config, names.iter().map(String::as_str), how, read)
            .map_err(|error| error.in_file(checkpoint.path()))
    }

    /// A model with weights from `read`, which gives the shape and the values of one of `names`.
    ///
    /// `config` is a `config.json`. Missing and superfluous tensors, wrong shapes and tensors that cannot
    /// be read are named all together. Every weight is trainable.
    pub fn from_weights<'n>(
        config: &serde_json::Value,
        names: impl IntoIterator<Item = &'n str>,
        mut read: impl FnMut(&str) -> Result<(Vec<usize>, Vec<f32>)>,
    ) -> Result<Self> {
        Self::from_tensors(config, names, Loading { trainable: true, interleaved: false, quantized: false }, |name| {
            let (shape, values) = read(name)?;
            Ok(AsStored { tensor: Tensor::from_vec(&shape, values)?, outputs_first: false })
        })
    }

    /// As [`Decoder::from_weights`], as `how` says.
    fn from_tensors<'n>(
        config: &serde_json::Value,
        names: impl IntoIterator<Item = &'n str>,
        how: Loading,
        mut read: impl FnMut(&str) -> Result<AsStored>,
    ) -> Result<Self> {
        arch::of(config)?;
        let mut config = Config::from_json(config)?;
        config.design.interleaved = how.interleaved;
        let mut present: BTreeSet<&str> = names.into_iter().collect();
        let mut faults = Vec::new();
        let mut parameters = Parameters::new();
        for (weight, name) in arch::stored_weights(&config, present.iter().copied()) {
            let shape = weight.stored();
            if !present.remove(name.as_str()) {
                faults
                    .push(Fault::new(Place::key(name), format!("the tensor is missing, its shape would be {shape:?}")));
                continue;
            }
            match read(&name) {
                Err(error) => faults.extend(error.faults),
                Ok(AsStored { tensor, outputs_first }) => {
                    let shape = if outputs_first { weight.shape } else { shape };
                    if tensor.shape() != shape {
                        let message = format!("the tensor has the shape {:?}, not {shape:?}", tensor.shape());
                        faults.push(Fault::new(Place::key(name), message));
                        continue;
                    }
                    let tensor = if weight.transposed && !outputs_first { transposed(&tensor)? } else { tensor };
                    let is_linear = weight.part.is_linear() && tensor.shape().len() == 2;
                    let tensor = if how.quantized && is_linear { tensor.in_nf4() } else { tensor };
                    parameters.insert(weight.name, tensor, how.trainable)?;
                }
            }
        }
        faults.extend(present.into_iter().filter(|name| !arch::is_superfluous(name, &config)).map(|name| {
            Fault::new(Place::key(name), "the architecture has no such tensor")
                .hint("leaving it out may change the results")
        }));
        Error::collect((), faults)?;
        Self::assemble(config, parameters)
    }

    /// A model with random weights: normal with deviation 0.02, norms that change nothing, biases zero. Each weight
    /// depends on the seed and its name only.
    pub fn random(config: &Config, seed: Seed) -> Result<Self> {
        Error::collect((), config.faults())?;
        let mut parameters = Parameters::new();
        let norm = if config.design.norm == NormKind::RmsOffset { 0.0 } else { 1.0 };
        for WeightShape { name, shape, .. } in arch::weight_shapes(config) {
            let tensor = if name.strip_suffix(".bias").is_some() {
                Tensor::zeros(&shape)?
            } else if shape.len() == 1 {
                Tensor::full(&shape, norm)?
            } else {
                let mut stream = seed.derive(&name).at(0);
                let mut tensor = Tensor::zeros(&shape)?;
                tensor.data_mut().fill_with(|| 0.02 * stream.normal() as f32);
                tensor
            };
            parameters.insert(name, tensor, true)?;
        }
        Self::assemble(config.clone(), parameters)
    }

    fn assemble(config: Config, parameters: Parameters) -> Result<Self> {
        let model = Model::new(&config, &parameters)?;
        Ok(Self {
            parameters,
            config,
            model,
            attachments: Attachments::default(),
            recompute: false,
            attention_dropout: 0.0,
        })
    }

    /// The same model without adapters, to attach another to. It shares the weights: they lie in memory once.
    pub fn shared(&self) -> Result<Self> {
        let (mut config, mut parameters) = (self.config.clone(), self.parameters.clone());
        config.context_length += std::mem::take(&mut config.design.leading);
        for (id, original) in &self.attachments.originals {
            *parameters.get_mut(*id) = original.clone();
        }
        Self::assemble(config, parameters)
    }

    /// Its numbers.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether a token sees itself and those before it only.
    pub fn is_causal(&self) -> bool {
        self.config.is_causal()
    }

    /// Whether training keeps only the residual stream between blocks and computes the rest again in the
    /// walk back: about a third more time for a fraction of the memory. Off at first.
    pub fn set_recompute(&mut self, recompute: bool) {
        self.recompute = recompute;
    }

    /// What [`Decoder::set_recompute`] set.
    pub fn recompute(&self) -> bool {
        self.recompute
    }

    /// The rate at which attention leaves out probabilities, on tapes with noise; 0 at first. Probabilities are stored then:
    /// memory and time grow with the square of a text's length.
    pub fn set_attention_dropout(&mut self, rate: f32) {
        self.attention_dropout = rate;
    }

    /// The head's weight, `[vocabulary, hidden]`.
    pub fn head(&self) -> &Tensor {
        self.parameters.get(self.head_id())
    }

    /// The parameter that is the head's weight.
    pub fn head_id(&self) -> ParameterId {
        self.model.head.weight
    }

    /// The parameter that has the rows of tokens, `[vocabulary, hidden]`.
    pub fn embedding_id(&self) -> ParameterId {
        self.model.embedding
    }

    /// What makes logits of the last hidden states, for the operations of heads.
    fn values_of_head(&self) -> Head<&Tensor> {
        let Head { weight, bias, softcap } = self.model.head;
        Head { weight: self.parameters.get(weight), bias: bias.map(|bias| self.parameters.get(bias)), softcap }
    }

    /// The logits of last hidden states `[rows, hidden]`: `[rows, vocabulary]`.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        op::head_logits(hidden, self.values_of_head())
    }

    /// The logits of last hidden states on a tape, whole: `[rows, hidden]` to `[rows, vocabulary]`.
    pub fn logits_on(&self, tape: &mut Tape<'_>, hidden: Var) -> Result<Var> {
        let Head { weight, bias, softcap } = self.model.head;
        let (weight, bias) = (tape.parameter(weight), bias.map(|bias| tape.parameter(bias)));
        let logits = op::linear(tape, hidden, weight, bias)?;
        let Some(cap) = softcap else { return Ok(logits) };
        let logits = op::scale(tape, logits, 1.0 / cap)?;
        let logits = op::activation(tape, logits, Activation::Tanh)?;
        op::scale(tape, logits, cap)
    }

    /// For each of the last hidden states `[rows, hidden]` the log-probability of its target, and whether that has the
    /// largest logit.
    pub fn log_probabilities(&self, hidden: &Tensor, targets: &[u32]) -> Result<Vec<(f32, bool)>> {
        op::head_log_probabilities(hidden, self.values_of_head(), targets)
    }

    /// The last hidden state of each row, final norm applied: `[rows, hidden]`.
    ///
    /// `sequences` are the rows of each text; together they cover all rows in order.
    pub fn hidden<'p>(
        &'p self,
        tape: &mut Tape<'p>,
        ids: &[u32],
        positions: &[u32],
        sequences: &[Range<usize>],
    ) -> Result<Var> {
        self.hidden_behind(self.config.layers, tape, ids, positions, sequences)
    }

    /// The hidden state of each row behind the first `layers` blocks: `[rows, hidden]`. The final norm is applied behind the last block
    /// alone, as in the `hidden_states` of transformers. The rest is as in [`Decoder::hidden`].
    pub fn hidden_behind<'p>(
        &'p self,
        layers: usize,
        tape: &mut Tape<'p>,
        ids: &[u32],
        positions: &[u32],
        sequences: &[Range<usize>],
    ) -> Result<Var> {
        self.check_rows(ids, positions, sequences)?;
        let leading = self.leading(sequences.iter().map(|rows| (rows.clone(), true)));
        let count = leading.as_ref().map_or(0, |leading| leading.count);
        let positions = leading.as_ref().map_or_else(|| List::from(positions), |leading| leading.positions(positions));
        let sequences: List<Sequence> = (0..)
            .zip(sequences)
            .map(|(number, rows)| rows.start + number * count..rows.end + (number + 1) * count)
            .map(|rows| Sequence { query: rows.clone(), key: rows })
            .collect();
        let longest = positions.iter().max().map_or(0, |last| *last as usize + 1);
        let (linears, dropout) = (&self.model.linears, self.attention_dropout);
        let (mut x, keys) = self.enter(tape, ids, &positions, leading.as_ref())?;
        for block in self.model.blocks.iter().take(layers) {
            let (positions, sequences, leading) = (positions.clone(), sequences.clone(), leading.clone());
            let forward = move |tape: &mut Tape<'p>, x: Var, keys: Option<Var>| {
                let keys = leading.as_ref().zip(keys);
                let rows = Rows { positions: &positions, longest, linears, keys, dropout };
                block.forward(tape, x, rows, Keys::Own(&sequences))
            };
            let next = if self.recompute {
                let inputs = [x, keys.unwrap_or(x)];
                let inputs = &inputs[..=usize::from(keys.is_some())];
                tape.checkpoint(inputs, move |tape, inputs| forward(tape, inputs[0], inputs.get(1).copied()))?
            } else {
                tape.scope(|tape| forward(tape, x, keys))?
            };
            tape.release(x);
            x = next;
        }
        if let Some(leading) = leading {
            x = op::index_select(tape, x, 0, &leading.texts)?;
        }
        if layers < self.config.layers { Ok(x) } else { self.model.final_norm(tape, x) }
    }

    /// The rows of virtual tokens in a pass over texts of these rows, which begin there or go on.
    fn leading(&self, texts: impl IntoIterator<Item = (Range<usize>, bool)>) -> Option<Leading> {
        let tokens = self.attachments.virtual_tokens.as_ref()?;
        Some(Leading::new(tokens.count(), texts))
    }

    /// The first rows of a pass, and keys and values of virtual tokens.
    fn enter(
        &self,
        tape: &mut Tape<'_>,
        ids: &[u32],
        positions: &[u32],
        leading: Option<&Leading>,
    ) -> Result<(Var, Option<Var>)> {
        let (mut x, mut keys) = (self.model.embed(tape, ids)?, None);
        if let (Some(leading), Some(tokens)) = (leading, &self.attachments.virtual_tokens) {
            let table = tokens.table(tape)?;
            x = match tokens.kind() {
                VirtualKind::Rows => leading.before(tape, table, x)?,
                VirtualKind::KeysAndValues => {
                    keys = Some(table);
                    leading.zeros_before(tape, x)?
                }
            };
        }
        Ok((self.model.place(tape, x, positions)?, keys))
    }

    /// The weighted mean of the rows' cross-entropies in nats: one element.
    pub fn loss<'p>(&'p self, tape: &mut Tape<'p>, batch: &Batch) -> Result<Var> {
        let rows = batch.ids.len();
        if batch.targets.len() != rows || batch.weights.len() != rows {
            return Err(Error::program(format!(
                "a batch of {rows} tokens has {} targets and {} weights",
                batch.targets.len(),
                batch.weights.len()
            )));
        }
        let hidden = self.hidden(tape, &batch.ids, &batch.positions, &batch.sequences)?;
        self.cross_entropy(tape, hidden, &batch.targets, &batch.weights)
    }

    /// The weighted mean of the cross-entropies of last hidden states `[rows, hidden]` in nats: one element.
    pub fn cross_entropy(&self, tape: &mut Tape<'_>, hidden: Var, targets: &[u32], weights: &[f32]) -> Result<Var> {
        let Head { weight, bias, softcap } = self.model.head;
        let head = Head { weight: tape.parameter(weight), bias: bias.map(|bias| tape.parameter(bias)), softcap };
        op::head_cross_entropy(tape, hidden, head, targets, weights)
    }

    /// Continues several texts in one pass, and gives the logits of what follows the rows that were asked for:
    /// `[rows, vocabulary]`, text by text.
    ///
    /// What a row gives does not depend on the other rows of the pass, to the bit, and so neither on how a text is cut
    /// into passes. Only where keys follow the length of their text (dynamic scaling) it depends on [`Advance::length`], and
    /// with weights in blocks on a processor with tiles on whether a pass has many rows
    /// ([`Parameters::precision`](metier_compute::Parameters::precision)).
    pub fn advance(&self, pages: &Pages, texts: &mut [Advance<'_>]) -> Result<Tensor> {
        self.logits(&self.advance_hidden(pages, texts)?)
    }

    /// As [`Decoder::advance`], with the last hidden states in place of logits: `[rows, hidden]`.
    pub fn advance_hidden(&self, pages: &Pages, texts: &mut [Advance<'_>]) -> Result<Tensor> {
        for text in &mut *texts {
            self.check_length(text.cache.length().saturating_add(text.ids.len()))?;
            self.check_ids(text.ids)?;
            text.cache.reserve(pages, text.ids.len())?;
        }
        let width = self.config.hidden_size;
        let together = if self.config.keys_follow_length() { 1 } else { texts.len().max(1) };
        let mut wanted = Vec::new();
        for texts in texts.chunks_mut(together) {
            self.pass(texts, &mut wanted)?;
        }
        let mut tape = Tape::inference(&self.parameters);
        let x = tape.constant(Tensor::from_vec(&[wanted.len() / width, width], wanted)?);
        let normed = self.model.final_norm(&mut tape, x)?;
        Ok(tape.value(normed)?.clone())
    }

    /// One pass through all blocks; the hidden states that are asked for go behind `wanted`.
    fn pass(&self, texts: &mut [Advance<'_>], wanted: &mut Vec<f32>) -> Result<()> {
        let (mut ids, mut positions, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for text in &*texts {
            let first = text.cache.length();
            rows.push((ids.len()..ids.len() + text.ids.len(), text.cache.leading() == 0));
            ids.extend_from_slice(text.ids);
            positions.extend((first..first + text.ids.len()).map(|position| position as u32));
        }
        if ids.is_empty() {
            return Ok(());
        }
        let leading = self.leading(rows.iter().cloned());
        let count = leading.as_ref().map_or(0, |leading| leading.count);
        let positions =
            leading.as_ref().map_or_else(|| List::from(&positions[..]), |leading| leading.positions(&positions));
        let longest = texts.iter().map(|text| text.length + count).max().unwrap_or(0);
        let mut tape = Tape::inference(&self.parameters);
        tape.set_precision(self.parameters.precision(positions.len()));
        let (mut x, keys) = self.enter(&mut tape, &ids, &positions, leading.as_ref())?;
        let linears = &self.model.linears;
        let keys = leading.as_ref().zip(keys);
        let rows_of_pass = Rows { positions: &positions, longest, linears, keys, dropout: 0.0 };
        let mut next = 0;
        let mut cached: Vec<CachedText<'_>> = texts
            .iter_mut()
            .map(|text| {
                let before = if text.cache.leading() == 0 { count } else { 0 };
                let (first, rows) = (text.cache.rows(), next..next + before + text.ids.len());
                next = rows.end;
                CachedText { rows, first, pages: text.cache.pages_mut() }
            })
            .collect();
        for block in &self.model.blocks {
            let next = tape.scope(|tape| block.forward(tape, x, rows_of_pass, Keys::Cached(&mut cached)))?;
            tape.release(x);
            x = next;
        }
        for text in &mut *texts {
            text.cache.grow(text.ids.len(), count);
        }
        if let Some(leading) = &leading {
            x = op::index_select(&mut tape, x, 0, &leading.texts)?;
        }
        let (x, width) = (tape.value(x)?.data(), self.config.hidden_size);
        for (text, (range, _)) in texts.iter().zip(rows) {
            let first = range.end - text.wanted.min(text.ids.len());
            wanted.extend_from_slice(&x[first * width..range.end * width]);
        }
        Ok(())
    }

    /// Every linear layer, in a fixed order.
    pub(crate) fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.model.linears.iter()
    }

    /// Every weight of the plain model with its name and its shape in a Hugging Face checkpoint, blocks in order.
    ///
    /// Refused while an adapter is attached: what would be written is not the model that was trained.
    pub fn tensors(&self) -> Result<Vec<(&str, Tensor)>> {
        if let Some(place) = self.adapted_at() {
            return Err(Fault::new(Place::key(place), "an adapter is attached to the model")
                .hint("fold the adapter before the weights are written")
                .into());
        }
        if self.config.design.interleaved {
            return Err(Error::program("the weights of a model that was loaded as stored are in the file's order"));
        }
        arch::weight_shapes(&self.config)
            .into_iter()
            .map(|WeightShape { name, transposed: is_transposed, .. }| {
                let id = self.parameters.find(&name);
                let id = id.ok_or_else(|| Error::program(format!("the weight `{name}` is gone")))?;
                let tensor = self.parameters.get(id);
                let tensor = if is_transposed { transposed(tensor)? } else { tensor.clone() };
                Ok((self.parameters.name(id), tensor))
            })
            .collect()
    }

    /// Refuses a text of `tokens` tokens that is longer than the context, with both lengths.
    pub fn check_length(&self, tokens: usize) -> Result<()> {
        let limit = self.config.context_length;
        if tokens <= limit {
            return Ok(());
        }
        Err(Fault::new(
            Place::default(),
            format!("a text of {tokens} tokens is longer than the model's context of {limit}"),
        )
        .hint("shorten the text; it is never cut silently")
        .into())
    }

    fn check_ids(&self, ids: &[u32]) -> Result<()> {
        let size = self.config.vocabulary_size;
        match ids.iter().find(|&&id| id as usize >= size) {
            None => Ok(()),
            Some(id) => Err(Fault::new(Place::default(), format!("token {id} is not among the model's {size} ids"))
                .hint("the tokenizer belongs to another model")
                .into()),
        }
    }

    fn check_rows(&self, ids: &[u32], positions: &[u32], sequences: &[Range<usize>]) -> Result<()> {
        self.check_ids(ids)?;
        let mut next = 0;
        for rows in sequences {
            if rows.start != next || rows.end <= rows.start {
                return Err(Error::program(format!("the rows {rows:?} of a text do not follow row {next}")));
            }
            self.check_length(rows.len())?;
            next = rows.end;
        }
        if next != ids.len() || positions.len() != ids.len() {
            return Err(Error::program(format!(
                "{} tokens have {} positions and {next} rows in texts",
                ids.len(),
                positions.len()
            )));
        }
        Ok(())
    }
}

/// A matrix with rows and columns exchanged.
fn transposed(matrix: &Tensor) -> Result<Tensor> {
    let &[rows, columns] = matrix.shape() else {
        return Err(Error::program(format!("{:?} is no matrix", matrix.shape())));
    };
    let mut out = Tensor::zeros(&[columns, rows])?;
    for (column, out) in out.data_mut().chunks_exact_mut(rows.max(1)).enumerate() {
        for (out, row) in out.iter_mut().zip(matrix.data().chunks_exact(columns)) {
            *out = row[column];
        }
    }
    Ok(out)
}
