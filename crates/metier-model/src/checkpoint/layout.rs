//! What a file has otherwise than a Hugging Face checkpoint in the numbers of a tensor.

/// How the numbers of a tensor lie. Rows are those of Hugging Face's order, outputs first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// As there.
    Same,
    /// The rows of each head in pairs that turn together, where Hugging Face has them in two halves.
    Interleaved {
        /// Of the queries or of the keys.
        heads: usize,
    },
    /// All queries, all keys, all values, where Hugging Face has query, key and value of one head after another.
    ByKind {
        /// Of each kind.
        heads: usize,
    },
    /// Outputs first, where Hugging Face has inputs first.
    OutputsFirst,
    /// One more.
    PlusOne,
}

impl Layout {
    /// Where the file has Hugging Face's row `row`.
    fn row(self, row: usize, rows: usize) -> usize {
        match self {
            Self::Same | Self::OutputsFirst | Self::PlusOne => row,
            Self::Interleaved { heads } => {
                let of_head = rows / heads;
                let (head, place) = (row / of_head, row % of_head);
                let half = of_head / 2;
                head * of_head + 2 * (place % half) + place / half
            }
            Self::ByKind { heads } => {
                let width = rows / (3 * heads);
                let (head, place) = (row / (3 * width), row % (3 * width));
                place / width * heads * width + head * width + place % width
            }
        }
    }

    /// Why `rows` cannot lie so, if they cannot.
    pub(super) fn fault(self, rows: usize) -> Option<String> {
        match self {
            Self::Interleaved { heads } if heads == 0 || !rows.is_multiple_of(2 * heads) => {
                Some(format!("its {rows} rows are no {heads} heads of an even number each"))
            }
            Self::ByKind { heads } if heads == 0 || !rows.is_multiple_of(3 * heads) => {
                Some(format!("its {rows} rows are no queries, keys and values of {heads} heads"))
            }
            _ => None,
        }
    }

    /// Whether only rows change their places, so that blocks do not matter.
    pub(super) fn moves_rows(self) -> bool {
        matches!(self, Self::Interleaved { .. } | Self::ByKind { .. })
    }

    /// Rows, of numbers or of the bytes of their blocks, in Hugging Face's order out of the file's.
    pub(super) fn rows_read<T: Copy>(self, stored: &[T], rows: usize) -> Vec<T> {
        let width = stored.len() / rows.max(1);
        let mut out = Vec::with_capacity(stored.len());
        for row in 0..rows {
            let from = self.row(row, rows) * width;
            out.extend_from_slice(&stored[from..from + width]);
        }
        out
    }

    /// Rows in the file's order out of Hugging Face's.
    pub(super) fn rows_written<T: Copy>(self, values: &[T], rows: usize) -> Vec<T> {
        let width = values.len() / rows.max(1);
        let mut out = values.to_vec();
        for (row, values) in values.chunks_exact(width.max(1)).enumerate().take(rows) {
            let to = self.row(row, rows) * width;
            out[to..to + width].copy_from_slice(values);
        }
        out
    }

    /// The numbers of a Hugging Face checkpoint; `shape` is theirs.
    pub(super) fn read(self, stored: Vec<f32>, shape: &[usize]) -> Vec<f32> {
        match self {
            Self::Same => stored,
            Self::PlusOne => stored.into_iter().map(|x| x - 1.0).collect(),
            Self::OutputsFirst => exchanged(&stored, shape.first().copied().unwrap_or(1)),
            Self::Interleaved { .. } | Self::ByKind { .. } => {
                self.rows_read(&stored, shape.first().copied().unwrap_or(1))
            }
        }
    }

    /// The numbers of the file; `shape` is that of the Hugging Face checkpoint.
    pub(super) fn written(self, values: Vec<f32>, shape: &[usize]) -> Vec<f32> {
        match self {
            Self::Same => values,
            Self::PlusOne => values.into_iter().map(|x| x + 1.0).collect(),
            Self::OutputsFirst => exchanged(&values, shape.last().copied().unwrap_or(1)),
            Self::Interleaved { .. } | Self::ByKind { .. } => {
                self.rows_written(&values, shape.first().copied().unwrap_or(1))
            }
        }
    }
}

/// A matrix with rows and columns exchanged: `columns` is what it has as columns and will have as rows.
fn exchanged(matrix: &[f32], columns: usize) -> Vec<f32> {
    let columns = columns.max(1);
    (0..columns).flat_map(|column| matrix.iter().skip(column).step_by(columns).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_head_come_back_in_halves() {
        // Two heads of four rows, one column: the pairs (0, 2) and (1, 3) of each head lie side by side.
        let two = Layout::Interleaved { heads: 2 };
        assert_eq!(two.rows_read(&[0., 2., 1., 3., 4., 6., 5., 7.], 8), [0., 1., 2., 3., 4., 5., 6., 7.]);
        assert_eq!(two.rows_written(&[0., 1., 2., 3., 4., 5., 6., 7.], 8), [0., 2., 1., 3., 4., 6., 5., 7.]);
        assert_eq!(Layout::Interleaved { heads: 1 }.rows_read(&[0., 0.5, 1., 1.5], 2), [0., 0.5, 1., 1.5]);
        assert!(Layout::Interleaved { heads: 2 }.fault(6).is_some() && two.fault(8).is_none());
    }

    #[test]
    fn kinds_become_heads() {
        // Queries 0 and 1 of two heads of one row, then keys 2 and 3, then values 4 and 5.
        let by_kind = Layout::ByKind { heads: 2 };
        assert_eq!(by_kind.rows_read(&[0, 1, 2, 3, 4, 5], 6), [0, 2, 4, 1, 3, 5]);
        assert_eq!(by_kind.rows_written(&[0, 2, 4, 1, 3, 5], 6), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn matrices_turn_and_norms_move() {
        let values = vec![1., 2., 3., 4., 5., 6.];
        let written = Layout::OutputsFirst.written(values.clone(), &[2, 3]);
        assert_eq!(written, [1., 4., 2., 5., 3., 6.]);
        assert_eq!(Layout::OutputsFirst.read(written, &[2, 3]), values);
        assert_eq!(Layout::PlusOne.read(Layout::PlusOne.written(vec![0.5, -0.25], &[2]), &[2]), [0.5, -0.25]);
    }
}
