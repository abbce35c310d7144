use std::ops::Range;

use metier_core::Result;

use super::{mismatch, refuse};
use crate::kernel::Precision;
use crate::kernel::attention::{self, Layout};
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::{List, Tensor};

const OP: &str = "attention";

/// Heads and scaling of [`attention`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads; query head `h` reads head `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Columns of one head.
    pub head_dim: usize,
    /// What scores are multiplied by, mostly `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Whether a query sees no key behind its own; else it sees those on both sides.
    pub causal: bool,
    /// With `Some(w)` a query sees the keys that are less than `w` away from its own; `w` is at least 1.
    pub window: Option<usize>,
    /// With `Some(c)` a scaled score `s` becomes `c tanh(s / c)`, which lies between `-c` and `c`; `c` is above 0.
    pub softcap: Option<f32>,
}

impl AttentionShape {
    /// Refuses what no attention can be.
    pub(super) fn check(&self, op: &'static str) -> Result<()> {
        let Self { heads, kv_heads, window, softcap, .. } = *self;
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(refuse(op, format!("{heads} query heads do not share {kv_heads} key heads evenly")));
        }
        if window == Some(0) {
            return Err(refuse(op, "in a window of 0 keys no query sees any").hint("leave the window out to see all"));
        }
        match softcap.filter(|cap| !(cap.is_finite() && *cap > 0.0)) {
            Some(cap) => Err(refuse(op, format!("scores cannot be capped at {cap}")).hint("a soft cap is above 0")),
            None => Ok(()),
        }
    }
}

/// Rows that attend to each other: a document in a batch, or new rows behind others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// Rows of the queries.
    pub query: Range<usize>,
    /// Rows of keys and values. The last query stands at the last key.
    pub key: Range<usize>,
}

struct Attention {
    q: (Var, Tensor),
    k: (Var, Tensor),
    v: (Var, Tensor),
    out: Tensor,
    /// `ln sum e^score` for each row and head, `[N, H]`.
    normalizer: Tensor,
    shape: AttentionShape,
    precision: Precision,
    sequences: List<Sequence>,
}

/// Attention within each sequence, causal or bidirectional.
///
/// `q` is `[N, heads * head_dim]`, `k` and `v` `[M, kv_heads * head_dim]`, the output `[N, heads * head_dim]`.
/// With `n` queries and `m` keys, `m >= n`, query `i` stands at key `c = m - n + i`. It sees the keys `0 ..= c` (the last `window` of
/// them) when attention is causal, else all (those with `|key - c| < window`). `p = softmax(cap(scale q k^T))` over those, `y = p v`; `cap` is nothing or the soft cap of `shape`. Rows in no sequence give zeros; query ranges
/// may not overlap, key ranges may.
/// Probabilities exist for one tile at a time; backward computes them again from the kept normalizer:
/// `dv = p^T dy`, `ds = p (dy v^T - (dy . y)) cap' scale` with `cap' = 1 - tanh(s / c)^2`, `dq = ds k`, `dk = ds^T q`.
/// Source: Dao et al., arXiv 2205.14135; Dao, arXiv 2307.08691; both sides: Devlin et al., arXiv 1810.04805.
pub fn attention(
    tape: &mut Tape<'_>,
    q: Var,
    k: Var,
    v: Var,
    shape: &AttentionShape,
    sequences: &[Sequence],
) -> Result<Var> {
    let (queries, q_width) = tape.matrix(OP, "q", q)?;
    let (keys, k_width) = tape.matrix(OP, "k", k)?;
    let (q_value, k_value, v_value) = (tape.value(q)?.clone(), tape.value(k)?.clone(), tape.value(v)?.clone());
    if k_value.shape() != v_value.shape() {
        return Err(mismatch(OP, ("k", k_value.shape()), ("v", v_value.shape()), "the shapes must be equal"));
    }
    shape.check(OP)?;
    let AttentionShape { heads, kv_heads, head_dim, .. } = *shape;
    if heads.checked_mul(head_dim) != Some(q_width) || kv_heads.checked_mul(head_dim) != Some(k_width) {
        return Err(mismatch(
            OP,
            ("q", q_value.shape()),
            ("k", k_value.shape()),
            &format!("{heads} query and {kv_heads} key heads of {head_dim} columns are wanted"),
        ));
    }
    check_sequences(sequences, queries, keys)?;

    let mut out = Tensor::stale(q_value.shape())?;
    let mut normalizer = Tensor::stale(&[queries, heads])?;
    let precision = tape.precision();
    let layout = Layout { shape, sequences, precision };
    attention::forward(layout, [q_value.data(), k_value.data(), v_value.data()], out.data_mut(), normalizer.data_mut());
    let (kept, sequences) = (out.clone(), List::from(sequences));
    tape.push(OP, out, &[q, k, v], || Attention {
        q: (q, q_value),
        k: (k, k_value),
        v: (v, v_value),
        out: kept,
        normalizer,
        shape: *shape,
        precision,
        sequences,
    })
}

fn check_sequences(sequences: &[Sequence], queries: usize, keys: usize) -> Result<()> {
    for (index, sequence) in sequences.iter().enumerate() {
        let Sequence { query, key } = sequence;
        if query.start > query.end || key.start > key.end || query.end > queries || key.end > keys {
            return Err(refuse(
                OP,
                format!(
                    "sequence {index}, queries {query:?} and keys {key:?}, reaches past {queries} queries and {keys} keys"
                ),
            ));
        }
        if key.len() < query.len() {
            return Err(refuse(OP, format!("sequence {index} has {} queries but {} keys", query.len(), key.len()))
                .hint("every query needs a key at its own position"));
        }
    }
    let ranges = sequences.iter().map(|sequence| &sequence.query).filter(|range| !range.is_empty());
    // As they nearly always are.
    if ranges.clone().is_sorted_by(|before, after| before.end <= after.start) {
        return Ok(());
    }
    let mut ranges: Vec<&Range<usize>> = ranges.collect();
    ranges.sort_by_key(|range| range.start);
    match ranges.windows(2).find(|pair| pair[0].end > pair[1].start) {
        Some(pair) => Err(refuse(OP, format!("queries {:?} and {:?} overlap", pair[0], pair[1]))),
        None => Ok(()),
    }
}

impl Record<'_> for Attention {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let ((q, q_value), (k, k_value), (v, v_value)) = (&self.q, &self.k, &self.v);
        let layout = Layout { shape: &self.shape, sequences: &self.sequences, precision: self.precision };
        let mut dq = Tensor::stale(q_value.shape())?;
        let mut dk = Tensor::stale(k_value.shape())?;
        let mut dv = Tensor::stale(v_value.shape())?;
        attention::backward(
            layout,
            [q_value, k_value, v_value, &self.out, &self.normalizer, &gradient].map(Tensor::data),
            [dq.data_mut(), dk.data_mut(), dv.data_mut()],
        )?;
        drop(gradient);
        pass.accumulate(*q, dq)?;
        pass.accumulate(*k, dk)?;
        pass.accumulate(*v, dv)
    }
}
