use std::ops::Range;
use std::sync::Arc;

use metier_core::{Error, Result};

use super::{AttentionShape, mismatch, refuse};
use crate::kernel::pages::{self, KeyPage, Text};
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

const OP: &str = "cached_attention";

/// New rows of a text behind those in its pages.
pub struct CachedText<'a> {
    /// Which rows of queries, keys and values.
    pub rows: Range<usize>,
    /// Rows of the text that are in the pages already.
    pub first: usize,
    /// Pages with room for the new rows. Those that get new rows belong to this text alone.
    pub pages: &'a mut [Arc<KeyPage>],
}

/// Causal attention of new rows of several texts to their pages, each to its own.
///
/// `q` is `[N, heads * head_dim]`, `k` and `v` `[N, kv_heads * head_dim]`; the output has the shape of `q`. The rows of `k` and `v` go
/// into block `block` of the pages first; then the query at position `i` of a text sees the keys `0 ..= i` (the last `window` of them),
/// as in [`attention`](super::attention()). In pages that are not `f32` it sees what they keep. What a row gathers is the same to the bit
/// whichever other rows and texts come with it.
/// For a tape that records nothing. Source: Kwon et al., arXiv 2309.06180 (pages).
pub fn cached_attention(
    tape: &mut Tape<'_>,
    [q, k, v]: [Var; 3],
    shape: &AttentionShape,
    block: usize,
    texts: &mut [CachedText<'_>],
) -> Result<Var> {
    if tape.is_training() {
        return Err(Error::program("attention to a cache has no backward"));
    }
    shape.check(OP)?;
    if !shape.causal {
        let fault = refuse(
            OP,
            "keys in a cache are of what came before, and bidirectional attention sees what comes behind too",
        );
        return Err(fault.hint("compute the whole text at once, without a cache"));
    }
    let (rows, q_width) = tape.matrix(OP, "q", q)?;
    let (q, k, v) = (tape.value(q)?, tape.value(k)?, tape.value(v)?);
    let AttentionShape { heads, kv_heads, head_dim, .. } = *shape;
    if k.shape() != v.shape() || *k.shape() != [rows, kv_heads * head_dim] || q_width != heads * head_dim {
        let rule = format!("{heads} query and {kv_heads} key heads of {head_dim} columns and as many rows are wanted");
        return Err(mismatch(OP, ("q", q.shape()), ("k", k.shape()), &rule));
    }
    let mut next = 0;
    for text in &mut *texts {
        let CachedText { rows: mine, first, pages } = text;
        if mine.start != next || mine.end < next || mine.end > rows {
            return Err(refuse(OP, format!("the rows {mine:?} of a text do not follow row {next} of {rows}")));
        }
        next = mine.end;
        let room = pages.len() * KeyPage::ROWS;
        if room < *first + mine.len() {
            return Err(refuse(OP, format!("{room} rows in pages have no room for {} behind {first}", mine.len())));
        }
        if let Some(page) = pages.iter().find(|page| {
            let shape = page.shape();
            shape.kv_heads != kv_heads || shape.head_dim != head_dim || shape.blocks <= block
        }) {
            return Err(refuse(OP, format!("a page of {:?} is not of this model", page.shape())));
        }
        for (row, position) in mine.clone().zip(*first..) {
            let page = Arc::get_mut(&mut pages[position / KeyPage::ROWS]);
            let page = page.ok_or_else(|| Error::program("a page that is written to belongs to several texts"))?;
            let width = kv_heads * head_dim;
            let here = row * width..(row + 1) * width;
            page.write(block, position % KeyPage::ROWS, &k.data()[here.clone()], &v.data()[here]);
        }
    }
    if next != rows {
        return Err(refuse(OP, format!("{} of {rows} rows belong to no text", rows - next)));
    }
    let mut out = Tensor::stale(q.shape())?;
    let texts: Vec<Text<'_>> = texts
        .iter()
        .map(|text| Text { query: text.rows.clone(), first: text.first, pages: text.pages })
        .filter(|text| !text.query.is_empty())
        .collect();
    pages::forward(out.data_mut(), q.data(), shape, block, &texts);
    Ok(tape.constant(out))
}
