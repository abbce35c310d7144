use metier_core::Result;

use super::index_select;
use crate::tape::{Tape, Var};

/// `y[n] = table[ids[n]]`.
///
/// `table` is `[V, D]`, the output `[N, D]`; an id of `V` or more is refused.
/// Of a table in blocks, which has no gradient, only the rows asked for become numbers.
/// Backward: row `ids[n]` of `dtable` gets `dy[n]` added, in the order of `n`.
pub fn embedding(tape: &mut Tape<'_>, table: Var, ids: &[u32]) -> Result<Var> {
    tape.matrix("embedding", "the table", table)?;
    if let Some(rows) = index_select::rows_of_blocks(tape, "embedding", table, ids)? {
        return Ok(tape.constant(rows));
    }
    index_select::selected(tape, "embedding", table, 0, ids)
}
