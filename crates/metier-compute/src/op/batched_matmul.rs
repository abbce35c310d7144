use metier_core::Result;

use super::{broadcast, mismatch};
use crate::kernel::axis::by_blocks;
use crate::kernel::matmul::{Matrix, multiply, multiply_here};
use crate::kernel::walk::count;
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

const OP: &str = "batched_matmul";

/// Which operands of [`batched_matmul`] are stored with rows and columns exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Transpose {
    /// The first.
    pub a: bool,
    /// The second.
    pub b: bool,
}

struct BatchedMatmul {
    a: (Var, Tensor),
    b: (Var, Tensor),
    batch: Batch,
    transpose: Transpose,
}

/// Sizes of one product, and which matrix of each operand belongs to which of the output.
struct Batch {
    rows: usize,
    depth: usize,
    columns: usize,
    of_a: Vec<usize>,
    of_b: Vec<usize>,
    /// The matrices of each operand.
    counts: [usize; 2],
}

/// Matrices of one size that lie end to end.
#[derive(Clone, Copy)]
struct Stack<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    transposed: bool,
}

/// `y = a b` for each matrix of a batch.
///
/// `a` is `[.., N, K]` and `b` `[.., K, M]`, or `[.., K, N]` and `[.., M, K]` where `transpose` says so; the output
/// is `[.., N, M]`. What stands before the last two dimensions stretches to fit as in `add`.
/// Backward: `da = dy b^T`, `db = a^T dy`, transposed where the operand is and summed over what it was stretched
/// to, each only when wanted. Refused for fewer than two dimensions and for sizes that do not fit.
pub fn batched_matmul(tape: &mut Tape<'_>, a: Var, b: Var, transpose: Transpose) -> Result<Var> {
    let (left, right) = (tape.value(a)?.clone(), tape.value(b)?.clone());
    let shapes = (("a", left.shape()), ("b", right.shape()));
    let (Some((a_batch, &a_last)), Some((b_batch, &b_last))) =
        (left.shape().split_last_chunk(), right.shape().split_last_chunk())
    else {
        return Err(mismatch(OP, shapes.0, shapes.1, "each needs rows and columns"));
    };
    let [rows, depth] = turned(a_last, transpose.a);
    let [b_depth, columns] = turned(b_last, transpose.b);
    if depth != b_depth {
        return Err(mismatch(OP, shapes.0, shapes.1, &format!("a has {depth} columns to multiply, b {b_depth} rows")));
    }
    let mut shape = broadcast::stretched(OP, ("the batch of a", a_batch), ("the batch of b", b_batch))?;
    let batch = if count(b_batch) == 1 && !transpose.a {
        // One matrix for all rows: the batch is more rows.
        Batch { rows: rows * count(a_batch), depth, columns, of_a: vec![0], of_b: vec![0], counts: [1, 1] }
    } else {
        let (of_a, of_b) = (broadcast::sources(a_batch, &shape), broadcast::sources(b_batch, &shape));
        Batch { rows, depth, columns, of_a, of_b, counts: [count(a_batch), count(b_batch)] }
    };
    shape.extend([rows, columns]);
    let mut out = Tensor::stale(&shape)?;
    let jobs: Vec<_> = batch.of_a.iter().zip(&batch.of_b).map(|(&a, &b)| vec![(a, b)]).collect();
    products(out.data_mut(), &jobs, batch.a(&left, transpose.a), batch.b(&right, transpose.b), false);
    tape.push(OP, out, &[a, b], || BatchedMatmul { a: (a, left), b: (b, right), batch, transpose })
}

fn turned([rows, columns]: [usize; 2], transposed: bool) -> [usize; 2] {
    if transposed { [columns, rows] } else { [rows, columns] }
}

impl Batch {
    fn a<'a>(&self, a: &'a Tensor, transposed: bool) -> Stack<'a> {
        let [rows, columns] = turned([self.rows, self.depth], transposed);
        Stack { data: a.data(), rows, columns, transposed }
    }

    fn b<'a>(&self, b: &'a Tensor, transposed: bool) -> Stack<'a> {
        let [rows, columns] = turned([self.depth, self.columns], transposed);
        Stack { data: b.data(), rows, columns, transposed }
    }
}

impl<'a> Stack<'a> {
    fn turned(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    fn matrix(self, index: usize) -> Matrix<'a> {
        let length = self.rows * self.columns;
        let matrix = Matrix::new(&self.data[index * length..(index + 1) * length], self.rows, self.columns);
        if self.transposed { matrix.transposed() } else { matrix }
    }
}

/// Writes to each matrix of `out` the sum of the products in its list, or adds it.
fn products(out: &mut [f32], jobs: &[Vec<(usize, usize)>], left: Stack<'_>, right: Stack<'_>, add: bool) {
    let length = out.len() / jobs.len().max(1);
    if length == 0 {
        return;
    }
    let depth = if left.transposed { left.rows } else { left.columns };
    let columns = if right.transposed { right.rows } else { right.columns };
    let total: usize = jobs.iter().map(Vec::len).sum();
    // Few products are each cut into tiles; of many, each is the work of one thread.
    let many = jobs.len() >= 4;
    let each = |index: usize, out: &mut [f32]| {
        if jobs[index].is_empty() && !add {
            out.fill(0.0);
        }
        for (position, &(a, b)) in jobs[index].iter().enumerate() {
            let (a, b, add) = (left.matrix(a), right.matrix(b), add || position > 0);
            if many { multiply_here(out, columns, a, b, 1.0, add) } else { multiply(out, a, b, 1.0, add) }
        }
    };
    if many {
        by_blocks(out, length, length * depth * total / 8, each);
    } else {
        out.chunks_exact_mut(length).enumerate().for_each(|(index, out)| each(index, out));
    }
}

/// For each matrix of an operand, the matrices of the output that it went into and the partners it had there.
fn uses(count: usize, own: &[usize], partner: &[usize], partner_first: bool) -> Vec<Vec<(usize, usize)>> {
    let mut uses = vec![Vec::new(); count];
    for (index, (&own, &partner)) in own.iter().zip(partner).enumerate() {
        uses[own].push(if partner_first { (partner, index) } else { (index, partner) });
    }
    uses
}

impl Record<'_> for BatchedMatmul {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let Self { a: (a, left), b: (b, right), batch, transpose } = &self;
        let dy = Stack { data: gradient.data(), rows: batch.rows, columns: batch.columns, transposed: false };
        let (left, right) = (batch.a(left, transpose.a), batch.b(right, transpose.b));
        pass.accumulate_with(*a, |out, add| {
            let jobs = uses(batch.counts[0], &batch.of_a, &batch.of_b, transpose.a);
            let (first, second) = if transpose.a { (right, dy.turned()) } else { (dy, right.turned()) };
            products(out, &jobs, first, second, add);
            Ok(())
        })?;
        pass.accumulate_with(*b, |out, add| {
            let jobs = uses(batch.counts[1], &batch.of_b, &batch.of_a, !transpose.b);
            let (first, second) = if transpose.b { (dy.turned(), left) } else { (left.turned(), dy) };
            products(out, &jobs, first, second, add);
            Ok(())
        })
    }
}
