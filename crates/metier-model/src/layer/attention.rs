//! Self-attention, causal or bidirectional: projections, norms of heads, positions, and the cache of decoding.

use super::dropped_attention::dropped_attention;
use super::{Builder, LinearId, Norm, Part, Rows, Turning};
use metier_compute::op::{self, AttentionShape, CachedText, Sequence, Span};
use metier_compute::{Tape, Var};
use metier_core::Result;

/// Where attention finds keys and values.
pub enum Keys<'a, 'c> {
    /// Among the rows themselves.
    Own(&'a [Sequence]),
    /// In the caches of texts, to which the rows are added.
    Cached(&'a mut [CachedText<'c>]),
}

/// Where queries, keys and values come from.
#[derive(Debug, Clone)]
enum Projections {
    /// Three layers.
    Apart { query: LinearId, key: LinearId, value: LinearId },
    /// One layer, whose outputs are all queries, then all keys, then all values.
    Together(LinearId),
    /// One layer, whose outputs are the query, key and value of the first head, then those of the second, and so on.
    ByHead(LinearId),
}

/// Attention of one block.
#[derive(Debug, Clone)]
pub struct Attention {
    projections: Projections,
    query_norm: Option<Norm>,
    key_norm: Option<Norm>,
    output: LinearId,
    turning: Option<Turning>,
    shape: AttentionShape,
    /// The number of its block.
    block: usize,
}

impl Attention {
    pub(crate) fn new(builder: &mut Builder<'_>, block: usize) -> Result<Self> {
        let config = builder.config;
        let projections = if builder.has(Part::QueryKeyValue) {
            Projections::Together(builder.linear(Part::QueryKeyValue, block, 0)?)
        } else if builder.has(Part::QueryKeyValueByHead) {
            Projections::ByHead(builder.linear(Part::QueryKeyValueByHead, block, 0)?)
        } else {
            Projections::Apart {
                query: builder.linear(Part::Query, block, 0)?,
                key: builder.linear(Part::Key, block, 0)?,
                value: builder.linear(Part::Value, block, 0)?,
            }
        };
        Ok(Self {
            projections,
            query_norm: builder.norm(Part::QueryNorm, block)?,
            key_norm: builder.norm(Part::KeyNorm, block)?,
            output: builder.linear(Part::Output, block, 0)?,
            turning: config.turning(block),
            shape: AttentionShape {
                heads: config.heads,
                kv_heads: config.kv_heads,
                head_dim: config.head_dim,
                scale: config.attention_scale(block),
                causal: config.design.causal,
                window: config.window(block),
                softcap: config.design.attention_softcap,
            },
            block,
        })
    }

    /// What the rows `x` `[N, D]` gather from the keys they see: `[N, D]`.
    pub fn forward(&self, tape: &mut Tape<'_>, x: Var, rows: Rows<'_>, keys: Keys<'_, '_>) -> Result<Var> {
        let [mut query, mut key, mut value] = self.project(tape, x, rows)?;
        if let Some(norm) = &self.query_norm {
            query = norm.forward_by_head(tape, query, self.shape.head_dim)?;
        }
        if let Some(norm) = &self.key_norm {
            key = norm.forward_by_head(tape, key, self.shape.head_dim)?;
        }
        if let Some(turning) = &self.turning {
            let rotary = turning.in_text(rows.longest);
            query = op::rotary(tape, query, &rotary, rows.positions)?;
            key = op::rotary(tape, key, &rotary, rows.positions)?;
        }
        if let Some((leading, table)) = rows.keys {
            [key, value] = leading.instead(tape, table, self.block, [key, value])?;
        }
        let noise = tape.noise().filter(|_| rows.dropout > 0.0);
        let mixed = match (keys, noise) {
            (Keys::Own(sequences), Some(noise)) => {
                let dropout = (rows.dropout, noise.derive(&format!("attention {}", self.block)));
                dropped_attention(tape, [query, key, value], &self.shape, sequences, dropout)?
            }
            (Keys::Own(sequences), None) => op::attention(tape, query, key, value, &self.shape, sequences)?,
            (Keys::Cached(texts), _) => {
                op::cached_attention(tape, [query, key, value], &self.shape, self.block, texts)?
            }
        };
        rows.linears[self.output].forward(tape, mixed)
    }

    /// Queries, keys and values.
    fn project(&self, tape: &mut Tape<'_>, x: Var, rows: Rows<'_>) -> Result<[Var; 3]> {
        let AttentionShape { heads, kv_heads, head_dim, .. } = self.shape;
        match self.projections {
            Projections::Apart { query, key, value } => Ok([
                rows.linears[query].forward(tape, x)?,
                rows.linears[key].forward(tape, x)?,
                rows.linears[value].forward(tape, x)?,
            ]),
            Projections::Together(all) => {
                let all = rows.linears[all].forward(tape, x)?;
                let every = Span::from(0..rows.positions.len());
                let (query, key) = (heads * head_dim, kv_heads * head_dim);
                let mut part = |columns: std::ops::Range<usize>| op::slice(tape, all, &[every, columns.into()]);
                Ok([part(0..query)?, part(query..query + key)?, part(query + key..query + 2 * key)?])
            }
            Projections::ByHead(all) => {
                let count = rows.positions.len();
                let all = rows.linears[all].forward(tape, x)?;
                let all = op::reshape(tape, all, &[count, heads, 3, head_dim])?;
                let mut part = |which: usize| {
                    let spans = [0..count, 0..heads, which..which + 1].map(Span::from);
                    let part = op::slice(tape, all, &spans)?;
                    op::reshape(tape, part, &[count, heads * head_dim])
                };
                Ok([part(0)?, part(1)?, part(2)?])
            }
        }
    }
}
