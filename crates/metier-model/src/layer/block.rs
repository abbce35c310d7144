//! One block: attention and a feed-forward block, each with what it adds to the residual stream.

use super::{Attention, Builder, FeedForward, Keys, Norm, Part, Rows, Sublayer, SublayerAdapter};
use metier_compute::op;
use metier_compute::{Tape, Var};
use metier_core::Result;
use std::sync::Arc;

/// One block.
#[derive(Debug, Clone)]
pub struct Block {
    attention_norm: Option<Norm>,
    attention: Attention,
    after_attention: Option<Norm>,
    attention_post_norm: Option<Norm>,
    feed_forward_norm: Option<Norm>,
    feed_forward: FeedForward,
    after_feed_forward: Option<Norm>,
    feed_forward_post_norm: Option<Norm>,
    /// Whether the feed-forward block reads the residual stream without what attention adds to it.
    parallel: bool,
    /// What adapters put around attention and around the feed-forward block.
    adapters: [Option<Arc<dyn SublayerAdapter>>; 2],
}

impl Block {
    pub(crate) fn new(builder: &mut Builder<'_>, number: usize) -> Result<Self> {
        Ok(Self {
            attention_norm: builder.norm(Part::AttentionNorm, number)?,
            attention: Attention::new(builder, number)?,
            after_attention: builder.norm(Part::AfterAttentionNorm, number)?,
            attention_post_norm: builder.norm(Part::AttentionPostNorm, number)?,
            feed_forward_norm: builder.norm(Part::FeedForwardNorm, number)?,
            feed_forward: FeedForward::new(builder, number)?,
            after_feed_forward: builder.norm(Part::AfterFeedForwardNorm, number)?,
            feed_forward_post_norm: builder.norm(Part::FeedForwardPostNorm, number)?,
            parallel: builder.config.design.parallel,
            adapters: [None, None],
        })
    }

    /// What an adapter puts around a sublayer.
    pub fn adapter_mut(&mut self, sublayer: Sublayer) -> &mut Option<Arc<dyn SublayerAdapter>> {
        &mut self.adapters[sublayer as usize]
    }

    /// What adapters put around both sublayers.
    pub fn adapters(&self) -> impl Iterator<Item = &Arc<dyn SublayerAdapter>> {
        self.adapters.iter().flatten()
    }

    fn adapted(&self, tape: &mut Tape<'_>, sublayer: Sublayer, read: Var, made: Var) -> Result<Var> {
        self.adapters[sublayer as usize].as_ref().map_or(Ok(made), |adapter| adapter.forward(tape, read, made))
    }

    /// The residual stream after this block, `[N, D]` to `[N, D]`.
    pub fn forward(&self, tape: &mut Tape<'_>, x: Var, rows: Rows<'_>, keys: Keys<'_, '_>) -> Result<Var> {
        let read = through(tape, self.attention_norm.as_ref(), x)?;
        let mixed = self.attention.forward(tape, read, rows, keys)?;
        let mixed = through(tape, self.after_attention.as_ref(), mixed)?;
        let mixed = self.adapted(tape, Sublayer::Attention, read, mixed)?;
        let after = op::add(tape, x, mixed)?;
        let after = through(tape, self.attention_post_norm.as_ref(), after)?;
        let read = match &self.feed_forward_norm {
            Some(norm) => norm.forward(tape, if self.parallel { x } else { after })?,
            None if self.parallel => read,
            None => after,
        };
        let made = self.feed_forward.forward(tape, read, rows.linears)?;
        let made = through(tape, self.after_feed_forward.as_ref(), made)?;
        let made = self.adapted(tape, Sublayer::FeedForward, read, made)?;
        let after = op::add(tape, after, made)?;
        through(tape, self.feed_forward_post_norm.as_ref(), after)
    }
}

/// `x` through a norm, if there is one.
fn through(tape: &mut Tape<'_>, norm: Option<&Norm>, x: Var) -> Result<Var> {
    norm.map_or(Ok(x), |norm| norm.forward(tape, x))
}
