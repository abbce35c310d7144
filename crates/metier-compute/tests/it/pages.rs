//! Attention to keys in pages: what attention over whole texts gives, and the same bits however rows come in.

use std::sync::Arc;

use metier_compute::op::{self, AttentionShape, CachedText, KeyCoding, KeyPage, PageShape, Sequence};
use metier_compute::{Parameters, Tape, Tensor};
use metier_core::memory::Budget;
use metier_testkit::assert_close;

use crate::harness::noise;

/// Queries, keys and values of one text, some rows.
struct Text {
    rows: usize,
    parts: [Vec<f32>; 3],
}

impl Text {
    fn new(seed: u64, rows: usize, shape: &AttentionShape) -> Self {
        let widths = [shape.heads, shape.kv_heads, shape.kv_heads].map(|heads| heads * shape.head_dim);
        let mut seed = seed * 3;
        Self {
            rows,
            parts: widths.map(|width| {
                seed += 1;
                noise(seed, rows * width).iter().map(|x| x * 3.0).collect()
            }),
        }
    }

    fn part(&self, which: usize, rows: std::ops::Range<usize>) -> &[f32] {
        let width = self.parts[which].len() / self.rows;
        &self.parts[which][rows.start * width..rows.end * width]
    }
}

/// What the texts gather when each round brings these many new rows of each.
fn in_rounds(texts: &[Text], rounds: &[Vec<usize>], shape: &AttentionShape, coding: KeyCoding) -> Vec<Vec<f32>> {
    let parameters = Parameters::new();
    let budget = Budget::new(None);
    let page = PageShape { blocks: 2, kv_heads: shape.kv_heads, head_dim: shape.head_dim, coding };
    let mut pages: Vec<Vec<Arc<KeyPage>>> = texts
        .iter()
        .map(|text| {
            let count = text.rows.div_ceil(KeyPage::ROWS);
            (0..count).map(|_| Arc::new(KeyPage::new(page, &budget).unwrap())).collect()
        })
        .collect();
    let mut done = vec![0; texts.len()];
    let mut gathered = vec![Vec::new(); texts.len()];
    for round in rounds {
        let mut tape = Tape::inference(&parameters);
        let total: usize = round.iter().sum();
        let inputs = [0, 1, 2].map(|which| {
            let rows: Vec<f32> = texts
                .iter()
                .zip(&done)
                .zip(round)
                .flat_map(|((text, done), new)| text.part(which, *done..done + new).to_vec())
                .collect();
            let width = rows.len() / total;
            tape.constant(Tensor::from_vec(&[total, width], rows).unwrap())
        });
        let mut next = 0;
        let mut asked: Vec<CachedText<'_>> = pages
            .iter_mut()
            .zip(&done)
            .zip(round)
            .map(|((pages, done), new)| {
                let rows = next..next + new;
                next += new;
                CachedText { rows, first: *done, pages }
            })
            .collect();
        let out = op::cached_attention(&mut tape, inputs, shape, 1, &mut asked).unwrap();
        let mut rest = tape.value(out).unwrap().data();
        for ((gathered, done), new) in gathered.iter_mut().zip(&mut done).zip(round) {
            let (mine, behind) = rest.split_at(new * shape.heads * shape.head_dim);
            gathered.extend_from_slice(mine);
            rest = behind;
            *done += new;
        }
    }
    gathered
}

fn shapes() -> [AttentionShape; 3] {
    let plain =
        AttentionShape { heads: 6, kv_heads: 2, head_dim: 20, scale: 0.3, causal: true, window: None, softcap: None };
    [
        plain,
        AttentionShape { window: Some(45), softcap: Some(5.0), ..plain },
        AttentionShape { heads: 3, kv_heads: 3, head_dim: 64, scale: 0.125, ..plain },
    ]
}

#[test]
fn rows_in_pages_gather_what_rows_of_whole_texts_do() {
    let parameters = Parameters::new();
    for shape in shapes() {
        let text = Text::new(1, 1100, &shape);
        let got = in_rounds(std::slice::from_ref(&text), &[vec![text.rows]], &shape, KeyCoding::F32);
        let mut tape = Tape::inference(&parameters);
        let [q, k, v] = [0, 1, 2].map(|which| {
            let part = text.parts[which].clone();
            tape.constant(Tensor::from_vec(&[text.rows, part.len() / text.rows], part).unwrap())
        });
        let sequences = [Sequence { query: 0..text.rows, key: 0..text.rows }];
        let want = op::attention(&mut tape, q, k, v, &shape, &sequences).unwrap();
        let want: Vec<f64> = tape.value(want).unwrap().data().iter().copied().map(f64::from).collect();
        assert_close("pages", &got[0], &want, 1e-5, 1e-5);
    }
}

#[test]
fn what_a_row_gathers_does_not_depend_on_the_others_to_the_bit() {
    for shape in shapes() {
        for coding in [KeyCoding::F32, KeyCoding::Int8, KeyCoding::Int4] {
            let lengths = [600, 530, 47];
            let texts: Vec<Text> = (1..).zip(lengths).map(|(seed, rows)| Text::new(seed, rows, &shape)).collect();
            let whole = in_rounds(&texts, &[lengths.to_vec()], &shape, coding);
            let mut rounds = vec![vec![512, 3, 1], vec![1, 500, 1], vec![5, 0, 30], vec![1, 1, 1], vec![70, 25, 13]];
            rounds.extend(std::iter::repeat_n(vec![1, 1, 1], 1));
            rounds.extend(std::iter::repeat_n(vec![1, 0, 0], 10));
            let pieces = in_rounds(&texts, &rounds, &shape, coding);
            assert_eq!(rounds.iter().map(|round| round[0]).sum::<usize>(), 600);
            for (whole, pieces) in whole.iter().zip(&pieces) {
                assert!(whole.iter().zip(pieces).all(|(a, b)| a.to_bits() == b.to_bits()), "{shape:?} {coding:?}");
            }
        }
    }
}

/// Where the root of the mean squared difference from `f32` is at most a share of the numbers' own.
#[test]
fn coded_keys_and_values_cost_as_little_as_is_said() {
    let mean = |numbers: &[f32]| (numbers.iter().map(|x| f64::from(x * x)).sum::<f64>() / numbers.len() as f64).sqrt();
    for shape in shapes() {
        let text = [Text::new(7, 300, &shape)];
        let exact = in_rounds(&text, &[vec![300]], &shape, KeyCoding::F32);
        for (coding, most) in [(KeyCoding::Int8, 0.03), (KeyCoding::Int4, 0.4)] {
            let coded = in_rounds(&text, &[vec![300]], &shape, coding);
            let off: Vec<f32> = coded[0].iter().zip(&exact[0]).map(|(a, b)| a - b).collect();
            let share = mean(&off) / mean(&exact[0]);
            eprintln!("{coding:?}: {share:.4}");
            assert!(share > 0.0 && share < most, "{coding:?} {shape:?}: {share}");
        }
    }
}

#[test]
fn pages_are_refused_before_the_budget_is_overdrawn_and_when_they_do_not_fit() {
    let shape = PageShape { blocks: 2, kv_heads: 2, head_dim: 20, coding: KeyCoding::F32 };
    let coded = PageShape { coding: KeyCoding::Int8, ..shape };
    assert_eq!(shape.bytes(), 2 * 2 * 32 * (20 + 32) * 4);
    assert!(coded.bytes() * 3 < shape.bytes());
    let budget = Budget::new(Some(shape.bytes() * 2));
    let first = KeyPage::new(shape, &budget).unwrap();
    let second = first.copy(&budget).unwrap();
    assert!(KeyPage::new(shape, &budget).is_err());
    drop(second);
    let mut pages = [Arc::new(first)];
    let parameters = Parameters::new();
    let attention = shapes()[0];
    let mut refused = |rows: usize, first: usize, block: usize| {
        let mut tape = Tape::inference(&parameters);
        let inputs = [6, 2, 2].map(|heads| tape.constant(Tensor::zeros(&[rows, heads * 20]).unwrap()));
        let mut texts = [CachedText { rows: 0..rows, first, pages: &mut pages }];
        op::cached_attention(&mut tape, inputs, &attention, block, &mut texts).is_err()
    };
    assert!(!refused(32, 0, 1) && refused(33, 0, 1) && refused(2, 31, 1) && refused(1, 0, 2));
    let shared = Arc::clone(&pages[0]);
    let mut tape = Tape::inference(&parameters);
    let inputs = [6, 2, 2].map(|heads| tape.constant(Tensor::zeros(&[1, heads * 20]).unwrap()));
    let mut texts = [CachedText { rows: 0..1, first: 0, pages: &mut pages }];
    let error = op::cached_attention(&mut tape, inputs, &attention, 0, &mut texts).unwrap_err();
    assert!(error.to_string().contains("several texts"), "{error}");
    drop(shared);
}
