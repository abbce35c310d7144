//! A decoder-only language model: its weights, its forward pass, the places where adapters attach.

use crate::arch;
use crate::checkpoint::{self, AsStored, Checkpoint};
use crate::config::Config;
use crate::decode::{Cache, Pages};
use crate::layer::{Keys, Linear, LowRank, Model, NormKind, Part, Rows, WeightShape};
use metier_compute::op::{self, CachedText, Head, Sequence};
use metier_compute::{List, ParameterId, Parameters, Tape, Tensor, Var};
use metier_core::fault::near_miss;
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result};
use std::collections::BTreeSet;
use std::ops::Range;

/// A decoder-only language model.
pub struct Decoder {
    /// All weights, and those of adapters attached to it.
    pub parameters: Parameters,
    config: Config,
    model: Model,
    recompute: bool,
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
    /// Columns of the weight.
    pub inputs: usize,
    /// Rows of the weight.
    pub outputs: usize,
    /// The weight, `[outputs, inputs]`.
    pub weight: ParameterId,
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
}

/// How weights come into a model.
#[derive(Clone, Copy)]
struct Loading {
    trainable: bool,
    /// Rows of queries and keys as [`Checkpoint::is_interleaved`] says.
    interleaved: bool,
}

impl Decoder {
    /// The model of a checkpoint. What does not fit is named with the file.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Self> {
        let names = checkpoint.names();
        Self::from_weights(&checkpoint.config, names.iter().map(String::as_str), |name| checkpoint.tensor(name))
            .map_err(|error| error.in_file(checkpoint.path()))
    }

    /// The same with quantized weights as they are stored, in the mapped file, to answer with: no weight is trainable.
    pub fn from_checkpoint_as_stored(checkpoint: &Checkpoint) -> Result<Self> {
        let names = checkpoint.names();
        let read = |name: &str| checkpoint.tensor_as_stored(name);
        let how = Loading { trainable: false, interleaved: checkpoint.is_interleaved() };
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
        Self::from_tensors(config, names, Loading { trainable: true, interleaved: false }, |name| {
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
        Ok(Self { parameters, config, model, recompute: false })
    }

    /// The same model without adapters, to attach another to. It shares the weights: they lie in memory once.
    pub fn shared(&self) -> Result<Self> {
        Self::assemble(self.config.clone(), self.parameters.clone())
    }

    /// Its numbers.
    pub fn config(&self) -> &Config {
        &self.config
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

    /// The head's weight, `[vocabulary, hidden]`.
    pub fn head(&self) -> &Tensor {
        self.parameters.get(self.head_id())
    }

    /// The parameter that is the head's weight.
    pub fn head_id(&self) -> ParameterId {
        self.model.head.weight
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
        self.check_rows(ids, positions, sequences)?;
        let positions = List::from(positions);
        let sequences: List<Sequence> =
            sequences.iter().map(|rows| Sequence { query: rows.clone(), key: rows.clone() }).collect();
        let longest = positions.iter().max().map_or(0, |last| *last as usize + 1);
        let linears = &self.model.linears;
        let mut x = self.model.embed(tape, ids, &positions)?;
        for block in &self.model.blocks {
            let (positions, sequences) = (positions.clone(), sequences.clone());
            let forward = move |tape: &mut Tape<'p>, x: Var| {
                let rows = Rows { positions: &positions, longest, linears };
                block.forward(tape, x, rows, Keys::Own(&sequences))
            };
            let next = if self.recompute {
                tape.checkpoint(&[x], move |tape, inputs| forward(tape, inputs[0]))?
            } else {
                tape.scope(|tape| forward(tape, x))?
            };
            tape.release(x);
            x = next;
        }
        self.model.final_norm(tape, x)
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
        let Head { weight, bias, softcap } = self.model.head;
        let head = Head { weight: tape.parameter(weight), bias: bias.map(|bias| tape.parameter(bias)), softcap };
        op::head_cross_entropy(tape, hidden, head, &batch.targets, &batch.weights)
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
        let (mut ids, mut positions, mut ranges) = (Vec::new(), Vec::new(), Vec::new());
        for text in &*texts {
            let first = text.cache.length();
            ranges.push(ids.len() + text.ids.len() - text.wanted.min(text.ids.len())..ids.len() + text.ids.len());
            ids.extend_from_slice(text.ids);
            positions.extend((first..first + text.ids.len()).map(|position| position as u32));
        }
        if ids.is_empty() {
            return Ok(());
        }
        let longest = texts.iter().map(|text| text.length).max().unwrap_or(0);
        let rows = Rows { positions: &positions, longest, linears: &self.model.linears };
        let mut tape = Tape::inference(&self.parameters);
        tape.set_precision(self.parameters.precision(ids.len()));
        let mut x = self.model.embed(&mut tape, &ids, &positions)?;
        let mut next = 0;
        let mut cached: Vec<CachedText<'_>> = texts
            .iter_mut()
            .map(|text| {
                let (first, rows) = (text.cache.length(), next..next + text.ids.len());
                next = rows.end;
                CachedText { rows, first, pages: text.cache.pages_mut() }
            })
            .collect();
        for block in &self.model.blocks {
            let next = tape.scope(|tape| block.forward(tape, x, rows, Keys::Cached(&mut cached)))?;
            tape.release(x);
            x = next;
        }
        for text in texts {
            text.cache.grow(text.ids.len());
        }
        let (x, width) = (tape.value(x)?.data(), self.config.hidden_size);
        for range in ranges {
            wanted.extend_from_slice(&x[range.start * width..range.end * width]);
        }
        Ok(())
    }

    /// Every linear layer, in a fixed order.
    pub(crate) fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.model.linears.iter()
    }

    /// The linear layers that adapters can attach to, in a fixed order.
    pub fn sites(&self) -> Vec<Site> {
        self.linears()
            .map(|linear| Site {
                name: linear.site.clone(),
                inputs: linear.inputs,
                outputs: linear.outputs,
                weight: linear.weight,
            })
            .collect()
    }

    /// Attaches `y += scale · (x Aᵀ) Bᵀ` to a site; `a` is `[rank, inputs]`, `b` is `[outputs, rank]`.
    pub fn attach_low_rank(&mut self, site: &str, a: ParameterId, b: ParameterId, scale: f32) -> Result<()> {
        let (shape_a, shape_b) = (self.parameters.get(a).shape().to_vec(), self.parameters.get(b).shape().to_vec());
        let Some(linear) = self.model.linears.iter_mut().find(|linear| linear.site == site) else {
            return Err(self.no_site(site));
        };
        let rank = shape_a.first().copied().unwrap_or_default();
        if rank == 0 || shape_a != [rank, linear.inputs] || shape_b != [linear.outputs, rank] {
            return Err(Fault::new(
                Place::key(site),
                format!("an addition of the shapes {shape_a:?} and {shape_b:?} does not fit"),
            )
            .hint(format!("right would be [rank, {}] and [{}, rank]", linear.inputs, linear.outputs))
            .into());
        }
        if linear.low_rank.is_some() {
            return Err(Fault::new(Place::key(site), "an adapter is attached here already")
                .hint("fold it into the weights first")
                .into());
        }
        linear.low_rank = Some(LowRank { a, b, scale });
        if self.config.design.interleaved {
            self.interleave(site, b)?;
        }
        Ok(())
    }

    /// Puts the rows of an addition to queries or keys where their weights, which are as stored, have them.
    fn interleave(&mut self, site: &str, b: ParameterId) -> Result<()> {
        let name = format!("{site}.weight");
        let heads =
            arch::weight_shapes(&self.config).into_iter().find(|weight| weight.name == name).and_then(|weight| {
                match weight.part {
                    Part::Query => Some(self.config.heads),
                    Part::Key => Some(self.config.kv_heads),
                    _ => None,
                }
            });
        if let Some(heads) = heads {
            let old = self.parameters.get(b);
            let (shape, rows) = (old.shape().to_vec(), old.shape()[0]);
            let values = checkpoint::interleaved(old.data(), heads, rows);
            self.parameters.get_mut(b).data_mut().copy_from_slice(Tensor::from_vec(&shape, values)?.data());
        }
        Ok(())
    }

    /// Takes an addition off a site again; nothing happens where none is attached.
    pub fn detach_low_rank(&mut self, site: &str) -> Option<LowRank> {
        self.model.linears.iter_mut().find(|linear| linear.site == site).and_then(|linear| linear.low_rank.take())
    }

    /// The sites with an addition, and the addition.
    pub fn attached(&self) -> Vec<(Site, LowRank)> {
        self.sites()
            .into_iter()
            .zip(self.linears())
            .filter_map(|(site, linear)| linear.low_rank.map(|low_rank| (site, low_rank)))
            .collect()
    }

    /// Every weight of the plain model with its name and its shape in a Hugging Face checkpoint, blocks in order.
    ///
    /// Refused while an adapter is attached: what would be written is not the model that was trained.
    pub fn tensors(&self) -> Result<Vec<(&str, Tensor)>> {
        if let Some((site, _)) = self.attached().first() {
            return Err(Fault::new(Place::key(&site.name), "an adapter is attached to the model")
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

    fn no_site(&self, name: &str) -> Error {
        let sites = self.sites();
        let near = near_miss(name, sites.iter().map(|site| site.name.as_str()));
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "sites are named as in `model.layers.0.self_attn.q_proj`".to_owned(),
        };
        Fault::new(Place::key(name), "the model has no such site").hint(hint).into()
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
