//! A product with a weight in NF4 makes no whole copy of it: memory is counted for a process, so this test has one.

use metier_compute::{Gradients, Parameters, Tape, Tensor, memory_in_use, memory_peak, op, release_unused};

#[test]
fn a_product_and_its_gradient_unpack_a_tile_at_a_time() {
    const SIZE: usize = 4096;
    let whole = SIZE * SIZE * size_of::<f32>();
    let mut parameters = Parameters::new();
    let values = (0..SIZE * SIZE).map(|at| ((at * 7919) % 1009) as f32 / 504.5 - 1.0).collect();
    let weight = Tensor::from_vec(&[SIZE, SIZE], values).unwrap().in_nf4();
    assert!(weight.stored_bytes() * 7 < whole);
    let (weight, x) = (
        parameters.insert("weight", weight, false).unwrap(),
        parameters.insert("x", Tensor::full(&[3, SIZE], 0.5).unwrap(), true).unwrap(),
    );
    release_unused();
    let before = memory_in_use();
    let mut gradients = Gradients::new();
    let mut tape = Tape::training(&parameters);
    let (x, weight) = (tape.parameter(x), tape.parameter(weight));
    let y = op::linear(&mut tape, x, weight, None).unwrap();
    let loss = op::sum(&mut tape, y).unwrap();
    tape.backward(loss, &mut gradients).unwrap();
    let more = memory_peak() - before;
    assert!(more < whole as u64 / 8, "{more} bytes more than before, where the whole weight would take {whole}");
    assert!(gradients.norm() > 0.0);
}
