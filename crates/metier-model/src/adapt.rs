//! The places of a model that adapters attach to, and taking them off again.

use crate::arch;
use crate::checkpoint;
use crate::decoder::{Decoder, Site};
use crate::layer::{Attachments, Linear, Part, SiteAdapter, Sublayer, SublayerAdapter, Upkeep, VirtualTokens};
use metier_compute::{Dtype, ParameterId, Tape, Tensor, op};
use metier_core::fault::near_miss;
use metier_core::{Error, Fault, Place, Result};
use std::fmt::Write as _;
use std::sync::Arc;

/// What folding took off a model, to put it back.
pub struct Folded {
    weights: Vec<(ParameterId, Tensor)>,
    sites: Vec<Option<Arc<dyn SiteAdapter>>>,
    trainable: Vec<ParameterId>,
    attachments: Attachments,
}

impl Decoder {
    /// The linear layers that adapters can attach to, in a fixed order.
    pub fn sites(&self) -> Vec<Site> {
        self.linears()
            .map(|linear| Site {
                name: linear.site.clone(),
                part: linear.part,
                inputs: linear.inputs,
                outputs: linear.outputs,
                weight: linear.weight,
                bias: linear.bias,
            })
            .collect()
    }

    /// Puts a parameter of an adapter into the model. One of this name that is there gives way to it.
    pub fn put_parameter(&mut self, name: &str, tensor: Tensor, trainable: bool) -> Result<ParameterId> {
        let id = match self.parameters.find(name) {
            Some(id) => {
                *self.parameters.get_mut(id) = tensor;
                self.parameters.set_trainable(id, trainable);
                id
            }
            None => self.parameters.insert(name, tensor, trainable)?,
        };
        if !self.attachments.parameters.contains(&id) {
            self.attachments.parameters.push(id);
        }
        Ok(id)
    }

    /// Puts an adapter in the place of a linear layer.
    ///
    /// # Errors
    /// When the model has no such site or another adapter is there.
    pub fn attach_site(&mut self, site: &str, adapter: Arc<dyn SiteAdapter>) -> Result<()> {
        let Some(linear) = self.model.linears.iter_mut().find(|linear| linear.site == site) else {
            return Err(self.no_site(site));
        };
        occupy(&mut linear.adapter, adapter, site)
    }

    /// Puts an adapter around a sublayer of a block.
    ///
    /// # Errors
    /// When the model has no such block or another adapter is there.
    pub fn attach_sublayer(
        &mut self,
        block: usize,
        sublayer: Sublayer,
        adapter: Arc<dyn SublayerAdapter>,
    ) -> Result<()> {
        let layers = self.model.blocks.len();
        let place = format!("block {block}");
        let Some(found) = self.model.blocks.get_mut(block) else {
            let hint = format!("its blocks are numbered from 0 to {}", layers.saturating_sub(1));
            return Err(Fault::new(Place::key(place), "the model has no such block").hint(hint).into());
        };
        occupy(found.adapter_mut(sublayer), adapter, &place)
    }

    /// Puts virtual tokens before every text. They take their places of the context.
    ///
    /// # Errors
    /// When there are some already, or they leave no room for a text.
    pub fn attach_virtual_tokens(&mut self, tokens: Arc<dyn VirtualTokens>) -> Result<()> {
        let count = tokens.count();
        if count >= self.config.context_length {
            let message =
                format!("{count} virtual tokens leave no room in a context of {}", self.config.context_length);
            return Err(Error::user(Place::key("virtual_tokens"), message));
        }
        occupy(&mut self.attachments.virtual_tokens, tokens, "virtual tokens")?;
        self.config.context_length -= count;
        self.config.design.leading = count;
        Ok(())
    }

    /// Lets an adapter do something between steps of training.
    ///
    /// # Errors
    /// When another does already.
    pub fn attach_upkeep(&mut self, upkeep: Arc<dyn Upkeep>) -> Result<()> {
        occupy(&mut self.attachments.upkeep, upkeep, "between steps")
    }

    /// What is done between steps of training.
    pub fn upkeep(&self) -> Option<Arc<dyn Upkeep>> {
        self.attachments.upkeep.clone()
    }

    /// Lets training change one of the model's own weights in place; [`Decoder::detach`] brings back what it is now.
    pub fn train_in_place(&mut self, id: ParameterId) {
        if !self.attachments.originals.iter().any(|(known, _)| *known == id) {
            self.attachments.originals.push((id, self.parameters.get(id).clone()));
        }
        self.parameters.set_trainable(id, true);
    }

    /// The model's own weights that an adapter changes in place.
    pub fn trained_in_place(&self) -> impl Iterator<Item = ParameterId> {
        self.attachments.originals.iter().map(|(id, _)| *id)
    }

    /// Parameters of what is attached.
    pub fn adapter_parameters(&self) -> &[ParameterId] {
        &self.attachments.parameters
    }

    /// The linear layers with an adapter.
    pub fn adapted_sites(&self) -> Vec<String> {
        self.linears().filter(|linear| linear.adapter.is_some()).map(|linear| linear.site.clone()).collect()
    }

    /// Where the first adapter is, if there is any.
    pub fn adapted_at(&self) -> Option<String> {
        let site = self.linears().find(|linear| linear.adapter.is_some()).map(|linear| linear.site.clone());
        let block = || self.model.blocks.iter().position(|block| block.adapters().next().is_some());
        let tokens = || self.attachments.virtual_tokens.as_ref().map(|_| "virtual tokens".to_owned());
        let in_place = || self.attachments.originals.first().map(|(id, _)| self.parameters.name(*id).to_owned());
        site.or_else(|| block().map(|block| format!("block {block}"))).or_else(tokens).or_else(in_place)
    }

    /// Every number of what is attached that is no parameter, to tell one run from another.
    pub fn adapter_identity(&self) -> String {
        let mut text = String::new();
        for linear in self.linears() {
            if let Some(adapter) = &linear.adapter {
                let _ = writeln!(text, "{} {adapter:?}", linear.site);
            }
        }
        for (number, block) in self.model.blocks.iter().enumerate() {
            for adapter in block.adapters() {
                let _ = writeln!(text, "{number} {adapter:?}");
            }
        }
        if let Some(tokens) = &self.attachments.virtual_tokens {
            let _ = writeln!(text, "{tokens:?}");
        }
        if let Some(upkeep) = &self.attachments.upkeep {
            let _ = writeln!(text, "{upkeep:?}");
        }
        text
    }

    /// Takes everything off: the model is what it was before, to the bit. No weight is trainable then.
    pub fn detach(&mut self) {
        for linear in self.model.linears.iter_mut() {
            linear.adapter = None;
        }
        for block in &mut self.model.blocks {
            for sublayer in [Sublayer::Attention, Sublayer::FeedForward] {
                *block.adapter_mut(sublayer) = None;
            }
        }
        self.config.context_length += std::mem::take(&mut self.config.design.leading);
        let attachments = std::mem::take(&mut self.attachments);
        for (id, original) in attachments.originals {
            *self.parameters.get_mut(id) = original;
        }
        self.freeze();
    }

    /// Makes every weight frozen.
    pub fn freeze(&mut self) {
        let ids: Vec<_> = self.parameters.iter().map(|(id, ..)| id).collect();
        for id in ids {
            self.parameters.set_trainable(id, false);
        }
    }

    /// Works every adapter into the model's own weights: it is plain again and computes the same, but for rounding. No
    /// weight is trainable then. [`Decoder::unfold`] takes it back, to the bit.
    ///
    /// A low-rank addition is added to its weight in `f32`, ranks in order. Of any other adapter of a linear layer, which is
    /// affine, the new weight and bias are what it makes of the identity and of zeros.
    ///
    /// # Errors
    /// When nothing is attached, when what is attached is not part of any weight, when a weight to change is in fewer bits
    /// ([`Decoder::dequantize`] makes `f32` of it), and when a number would not be finite; the model is left as it was.
    pub fn fold(&mut self) -> Result<Folded> {
        let Some(place) = self.adapted_at() else {
            return Err(Error::user(
                Place::key("adapter"),
                "no adapter is attached to the model, there is nothing to fold",
            ));
        };
        let around = self.model.blocks.iter().any(|block| block.adapters().next().is_some());
        if around || self.attachments.virtual_tokens.is_some() {
            let message = "an adapter of this kind is part of no weight and cannot be folded";
            return Err(Fault::new(Place::key(place), message)
                .hint("use it beside its base: `metier serve MODEL --adapter NAME=FOLDER`")
                .into());
        }
        let in_blocks = |linear: &Linear| match self.parameters.get(linear.weight).dtype() {
            Dtype::Blocks(name) if linear.adapter.is_some() => Some((linear.site.clone(), name)),
            _ => None,
        };
        if let Some((site, name)) = self.linears().find_map(in_blocks) {
            let message = format!("the weight is in {name}, and an adapter cannot be folded into that");
            return Err(Fault::new(Place::key(site), message)
                .hint("make `f32` of all weights first (`dequantize = true` in an `export` stage)")
                .into());
        }
        let mut made = Vec::new();
        for linear in self.linears() {
            let Some(adapter) = &linear.adapter else { continue };
            let weight = if let Some(addition) = adapter.low_rank() {
                let mut weight = self.parameters.get(linear.weight).clone();
                let (a, b) = (self.parameters.get(addition.a), self.parameters.get(addition.b));
                add_product(weight.data_mut(), a.data(), b.data(), linear.inputs, addition.scale);
                weight
            } else {
                let plain = Linear { bias: None, ..linear.clone() };
                self.made_of(&plain, &identity(linear.inputs)?)?
            };
            made.push((&linear.site, linear.weight, weight));
            if let (Some(bias), None) = (linear.bias, adapter.low_rank()) {
                let bias_of = self.made_of(linear, &Tensor::zeros(&[1, linear.inputs])?)?;
                let values = bias_of.data().to_vec();
                made.push((&linear.site, bias, Tensor::from_vec(&[linear.outputs], values)?));
            }
        }
        let broken = made.iter().filter(|(.., tensor)| tensor.data().iter().any(|value| !value.is_finite()));
        let faults = broken.map(|(site, ..)| {
            Fault::new(Place::key(*site), "the folded weight has numbers that are not finite")
                .hint("the adapter's own numbers are too large or no numbers; the model is left as it was")
        });
        let faults: Vec<Fault> = faults.collect();
        Error::collect((), faults)?;
        let made: Vec<_> = made.into_iter().map(|(_, id, tensor)| (id, tensor)).collect();

        let trainable = self.parameters.iter().filter(|entry| entry.3).map(|(id, ..)| id).collect();
        let mut weights = Vec::new();
        for (id, tensor) in made {
            weights.push((id, std::mem::replace(self.parameters.get_mut(id), tensor)));
        }
        let sites = self.model.linears.iter_mut().map(|linear| linear.adapter.take()).collect();
        let attachments = std::mem::take(&mut self.attachments);
        self.freeze();
        Ok(Folded { weights, sites, trainable, attachments })
    }

    /// Undoes [`Decoder::fold`], to the bit.
    pub fn unfold(&mut self, folded: Folded) {
        for (id, tensor) in folded.weights {
            *self.parameters.get_mut(id) = tensor;
        }
        for (linear, adapter) in self.model.linears.iter_mut().zip(folded.sites) {
            linear.adapter = adapter;
        }
        self.attachments = folded.attachments;
        for id in folded.trainable {
            self.parameters.set_trainable(id, true);
        }
    }

    /// What a layer makes of rows, turned: `[outputs, rows]`.
    fn made_of(&self, linear: &Linear, rows: &Tensor) -> Result<Tensor> {
        let mut tape = Tape::inference(&self.parameters);
        let x = tape.constant(rows.clone());
        let y = linear.forward(&mut tape, x)?;
        let turned = op::permute(&mut tape, y, &[1, 0])?;
        Ok(tape.value(turned)?.clone())
    }

    /// A tensor whose first axis is a site's outputs, with its rows where the model has them. Weights of queries and keys
    /// are as the file stores them in a model that was loaded so.
    pub fn in_order_of(&self, site: &str, tensor: Tensor) -> Result<Tensor> {
        if !self.config.design.interleaved {
            return Ok(tensor);
        }
        let name = format!("{site}.weight");
        let heads =
            arch::weight_shapes(&self.config).into_iter().find(|weight| weight.name == name).and_then(|weight| {
                match weight.part {
                    Part::Query => Some(self.config.heads),
                    Part::Key => Some(self.config.kv_heads),
                    _ => None,
                }
            });
        let Some(heads) = heads else { return Ok(tensor) };
        let values = checkpoint::interleaved(tensor.data(), heads, tensor.shape()[0]);
        Tensor::from_vec(tensor.shape(), values)
    }

    /// Refuses a model whose queries and keys are in the order of a GGUF file, for adapters that have no other.
    pub fn refuse_interleaved(&self, method: &str) -> Result<()> {
        if !self.config.design.interleaved {
            return Ok(());
        }
        let message = format!("`{method}` cannot be put on a GGUF file's weights as they are stored");
        Err(Fault::new(Place::key("adapter"), message)
            .hint("write the model as a Hugging Face folder first (`metier export`)")
            .into())
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

/// Puts an adapter into its place.
fn occupy<T: ?Sized>(slot: &mut Option<Arc<T>>, adapter: Arc<T>, place: &str) -> Result<()> {
    if slot.is_some() {
        return Err(Fault::new(Place::key(place), "an adapter is attached here already")
            .hint("fold it into the weights or take it off first")
            .into());
    }
    *slot = Some(adapter);
    Ok(())
}

fn identity(size: usize) -> Result<Tensor> {
    let mut tensor = Tensor::zeros(&[size, size])?;
    tensor.data_mut().iter_mut().step_by(size + 1).for_each(|value| *value = 1.0);
    Ok(tensor)
}

/// `weight += scale · b a`, ranks in order; `weight` is `[outputs, inputs]`.
fn add_product(weight: &mut [f32], a: &[f32], b: &[f32], inputs: usize, scale: f32) {
    let rank = a.len() / inputs;
    let mut sum = vec![0.0_f32; inputs];
    for (row, b) in weight.chunks_exact_mut(inputs).zip(b.chunks_exact(rank)) {
        sum.fill(0.0);
        for (b, a) in b.iter().zip(a.chunks_exact(inputs)) {
            for (sum, a) in sum.iter_mut().zip(a) {
                *sum += b * a;
            }
        }
        for (weight, sum) in row.iter_mut().zip(&sum) {
            *weight += scale * sum;
        }
    }
}
