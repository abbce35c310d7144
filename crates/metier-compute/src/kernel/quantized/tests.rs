use super::*;
use crate::block::{BLOCKS, Block, quantize};
use crate::kernel::matmul::Matrix;
use crate::kernel::threads;
use metier_core::seed::Seed;

/// Bytes of a random matrix of `block`; of a type that is not written, whatever bytes have finite scales.
fn weight(block: &'static dyn Block, rows: usize, columns: usize) -> Vec<u8> {
    let mut stream = Seed::new(5).derive(block.name()).at(0);
    if block.writer().is_some() {
        let values: Vec<f32> = (0..rows * columns).map(|_| stream.normal() as f32).collect();
        return quantize(block, &values).unwrap();
    }
    let length = rows * columns / block.values() * block.bytes();
    // A byte below 0x3c keeps every half number below 1.06.
    (0..length).map(|_| (stream.normal().abs() * 20.0) as u8 % 0x3c).collect()
}

fn rows_of(rows: usize, columns: usize) -> Vec<f32> {
    let mut stream = Seed::new(6).at(0);
    (0..rows * columns).map(|_| stream.normal() as f32).collect()
}

fn product(x: &[f32], weight: &Weight<'_>) -> Vec<f32> {
    let mut out = vec![f32::NAN; x.len() / weight.columns * weight.rows];
    multiply(&mut out, x, weight);
    out
}

fn coded() -> impl Iterator<Item = &'static dyn Block> {
    BLOCKS.iter().copied().filter(|block| block.coding().is_some())
}

/// Rounding `x` to 127 steps of the largest of its part is the only error besides that of a sum in `f32`: in a part of `n`
/// numbers each is at most half a step off, and the product no more than `sum |w| max |x| / 254`.
#[test]
fn products_are_those_of_the_dequantized_weight_within_the_rounding_of_the_rows() {
    for block in coded() {
        for (rows, lines, columns) in [(1, 7, block.values()), (3, 32, 2 * 256), (9, 19, 256 + 512), (21, 33, 256)] {
            let bytes = weight(block, lines, columns);
            let numbers = crate::block::dequantize(block, &bytes).unwrap();
            let x = rows_of(rows, columns);
            let found = product(&x, &Weight { block, bytes: &bytes, rows: lines, columns });
            for (at, found) in found.iter().enumerate() {
                let (x, w) = (&x[at / lines * columns..][..columns], &numbers[at % lines * columns..][..columns]);
                let (mut exact, mut allowed) = (0.0_f64, 0.0_f64);
                for (x, w) in x.chunks(block.values()).zip(w.chunks(block.values())) {
                    let most = x.iter().fold(0.0_f64, |most, x| most.max(f64::from(x.abs())));
                    exact += x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum::<f64>();
                    allowed += w.iter().map(|w| f64::from(w.abs())).sum::<f64>() * most / 254.0 * 1.01;
                }
                let off = (f64::from(*found) - exact).abs();
                assert!(off <= allowed, "{} {rows} x {lines} x {columns}, {at}: {found} for {exact}", block.name());
            }
        }
    }
}

/// Rounding errors are as often up as down: over many products they stay near a hundredth of what is there.
#[test]
fn the_error_of_many_products_is_small() {
    for block in coded().filter(|block| block.writer().is_some()) {
        let (rows, lines, columns) = (16, 64, 768);
        let bytes = weight(block, lines, columns);
        let numbers = crate::block::dequantize(block, &bytes).unwrap();
        let x = rows_of(rows, columns);
        let found = product(&x, &Weight { block, bytes: &bytes, rows: lines, columns });
        let (mut off, mut all) = (0.0_f64, 0.0_f64);
        for (at, found) in found.iter().enumerate() {
            let (x, w) = (&x[at / lines * columns..][..columns], &numbers[at % lines * columns..][..columns]);
            let exact: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
            off += (f64::from(*found) - exact).powi(2);
            all += exact.powi(2);
        }
        assert!((off / all).sqrt() < 0.01, "{}: {}", block.name(), (off / all).sqrt());
    }
}

/// Few rows and many, on one thread and two, with special instructions and without: the same bits.
#[test]
fn every_way_gives_the_same_bits() {
    for block in coded() {
        for (lines, columns) in [(37, 3 * 256), (6, 256), (16, block.values())] {
            let bytes = weight(block, lines, columns);
            let weight = Weight { block, bytes: &bytes, rows: lines, columns };
            let x = rows_of(SOME + 13, columns);
            let many = product(&x, &weight);
            for few in (1..=FEW).chain([11, 16, SOME]) {
                assert_eq!(product(&x[..few * columns], &weight), many[..few * lines], "{} {few}", block.name());
            }
            threads::set_threads(1).unwrap();
            assert_eq!(product(&x, &weight), many, "{}", block.name());
            threads::set_threads(0).unwrap();
            let mut plain = Vec::new();
            let coding = block.coding().unwrap();
            Activations::with(&x, columns, coding, block.values(), |x| {
                let mut one = Lines::default();
                one.prepare(x, 1);
                for number in 0..x.rows() {
                    for line in 0..lines {
                        one.read(0, &weight, line, coding);
                        plain.push(few::product(&one, x.row(number), coding.step));
                    }
                }
            });
            assert_eq!(plain, many, "{}", block.name());
        }
    }
}

/// Numbers that are stored by themselves give what the same weight gives in `f32`, to the bit, few rows and many.
#[test]
fn numbers_stored_by_themselves_are_as_good_as_in_f32() {
    for block in BLOCKS.iter().copied().filter(|block| block.numbers().is_some()) {
        for (lines, columns) in [(37, 7), (100, 576), (8, 16), (67, 187 * 11), (1, 1), (1030, 700), (9, 40_000)] {
            let bytes = weight(block, lines, columns);
            let numbers = crate::block::dequantize(block, &bytes).unwrap();
            let stored = Weight { block, bytes: &bytes, rows: lines, columns };
            for rows in [1, 2, 3, 4, 5, 7, 8, 9, 40] {
                let x = rows_of(rows, columns);
                // The whole product is packed, whatever the rows that are asked for.
                let many: Vec<f32> = x.iter().copied().cycle().take(50 * columns).collect();
                let mut all = vec![0.0; 50 * lines];
                let right = Matrix::new(&numbers, lines, columns).transposed();
                crate::kernel::matmul::multiply(&mut all, Matrix::new(&many, 50, columns), right, 1.0, false);
                let found = product(&x, &stored);
                let off = found.iter().zip(&all).position(|(found, wanted)| found.to_bits() != wanted.to_bits());
                assert_eq!(off, None, "{} {lines} {columns} {rows}", block.name());
            }
        }
    }
}

#[test]
fn nothing_may_be_empty() {
    let block = crate::block::of_name("Q8_0").unwrap();
    let bytes = weight(block, 5, 64);
    assert!(product(&[], &Weight { block, bytes: &bytes, rows: 5, columns: 64 }).is_empty());
    multiply(&mut [], &rows_of(2, 64), &Weight { block, bytes: &[], rows: 0, columns: 64 });
    multiply(&mut [], &[], &Weight { block, bytes: &[], rows: 3, columns: 0 });
}
