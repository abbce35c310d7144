use metier_core::Result;

use super::refuse;
use crate::kernel::elementwise;
use crate::kernel::threads::{chunks, piece};
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

/// Rows copied as one piece of work.
const ROWS: usize = 64;

struct Embedding {
    table: Var,
    ids: Vec<u32>,
    width: usize,
}

/// `y[n] = table[ids[n]]`.
///
/// `table` is `[V, D]`, the output `[N, D]`; an id of `V` or more is refused.
/// Backward: row `ids[n]` of `dtable` gets `dy[n]` added, in the order of `n`.
pub fn embedding(tape: &mut Tape<'_>, table: Var, ids: &[u32]) -> Result<Var> {
    let (count, width) = tape.matrix("embedding", "the table", table)?;
    if let Some(position) = ids.iter().position(|&id| id as usize >= count) {
        return Err(refuse(
            "embedding",
            format!("id {} at position {position} is outside the table {:?}", ids[position], [count, width]),
        ));
    }
    let mut out = Tensor::stale(&[ids.len(), width])?;
    let values = tape.value(table)?.data();
    chunks(out.data_mut(), ROWS * width, ids.len() * width, |index, rows| {
        let ids = &ids[piece(index, ROWS, ids.len())];
        for (row, &id) in rows.chunks_exact_mut(width.max(1)).zip(ids) {
            row.copy_from_slice(&values[id as usize * width..][..width]);
        }
    });
    tape.push("embedding", out, &[table], || Box::new(Embedding { table, ids: ids.to_vec(), width }))
}

impl Record<'_> for Embedding {
    fn backward(self: Box<Self>, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let width = self.width;
        pass.accumulate_with(self.table, |out, add| {
            if !add {
                out.fill(0.0);
            }
            for (row, &id) in gradient.data().chunks_exact(width.max(1)).zip(&self.ids) {
                elementwise::add_scaled(&mut out[id as usize * width..][..width], row, 1.0);
            }
            Ok(())
        })
    }
}
