//! Many rows: 16 lines of the weight at a time, unpacked once, meet all rows.

use std::cell::Cell;
use std::ops::Range;

use super::activations::{ActivationTile, Activations};
use super::{Lines, RUN, TURNS};
#[cfg(target_arch = "x86_64")]
use super::{avx2, vnni};
use crate::block::{Coding, Weight};
use crate::kernel::matmul::Output;
use crate::kernel::threads::{for_each, piece};

/// Lines of a panel.
pub(super) const LINES: usize = 16;
/// Numbers of a line that lie side by side in a panel, as products of integers take them.
pub(super) const FOUR: usize = 4;
/// Rows that meet a panel at a time.
pub(super) const TILE: usize = 8;

/// Lines of a weight. The steps of the first of four sums come first, then those of the second, and so on; of a step,
/// four numbers of each line, then the next four.
#[derive(Default)]
pub(super) struct Panel {
    pub codes: Vec<u8>,
    /// For each step, one of each line.
    pub scales: Vec<[f32; LINES]>,
    pub minima: Vec<[f32; LINES]>,
    lines: Lines,
}

impl Panel {
    /// Takes lines `mine` in; those that a panel has beyond are zero.
    fn fill(&mut self, weight: &Weight<'_>, mine: Range<usize>, x: &Activations) {
        let coding = x.coding();
        self.lines.prepare(x, LINES);
        for (line, row) in mine.enumerate() {
            self.lines.read(line, weight, row, coding);
        }
        self.codes.resize(self.lines.codes.len(), 0);
        self.scales.resize(self.lines.steps, [0.0; LINES]);
        self.minima.resize(self.lines.steps, [0.0; LINES]);
        turn(self, coding.step, x.groups());
    }
}

leveled! {
    /// Puts what lies line after line side by side.
    fn turn(panel: &mut Panel, step: usize, groups: usize) {
        let Lines { codes, scales, minima, steps, width, .. } = &panel.lines;
        for group in 0..groups {
            for turn in 0..TURNS {
                let (from, to) = (group * TURNS + turn, turn * groups + group);
                for line in 0..LINES {
                    panel.scales[to][line] = scales[line * steps + from];
                    panel.minima[to][line] = minima[line * steps + from];
                }
                for run in 0..step / RUN {
                    let place = (group * step / RUN + run) * (TURNS * RUN) + turn * RUN;
                    let out = &mut panel.codes[(to * step + run * RUN) * LINES..][..RUN * LINES];
                    let (fours, _) = out.as_chunks_mut::<{ LINES * FOUR }>();
                    for line in 0..LINES {
                        let (codes, _) = codes[line * width + place..][..RUN].as_chunks::<FOUR>();
                        for (out, codes) in fours.iter_mut().zip(codes) {
                            out[line * FOUR..(line + 1) * FOUR].copy_from_slice(codes);
                        }
                    }
                }
            }
        }
    }
}

/// `out = x weight^T`, or `+=`.
pub(super) fn multiply(out: Output, x: &Activations, weight: &Weight<'_>) {
    thread_local! {
        static MEMORY: Cell<Panel> = Cell::new(Panel::default());
    }
    let (coding, groups, rows) = (x.coding(), x.groups(), x.rows());
    for_each(weight.rows.div_ceil(LINES), weight.rows * weight.columns * rows, |index| {
        let mut panel = MEMORY.take();
        let mine = piece(index, LINES, weight.rows);
        panel.fill(weight, mine.clone(), x);
        for first in (0..rows).step_by(TILE) {
            let count = TILE.min(rows - first);
            let mut sums = [[0.0; LINES]; TILE];
            meet(&mut sums, &panel, x.tile(first / TILE), coding, groups);
            for (row, sums) in sums[..count].iter().enumerate() {
                #[expect(unsafe_code, reason = "pieces write columns of rows, which are not one slice")]
                // SAFETY: each column belongs to one piece, and the output is borrowed throughout.
                unsafe {
                    out.write((first + row) * weight.rows + mine.start, &sums[..mine.len()]);
                }
            }
        }
        MEMORY.set(panel);
    });
}

fn meet(out: &mut [[f32; LINES]; TILE], panel: &Panel, tile: ActivationTile<'_>, coding: Coding, groups: usize) {
    #[cfg(target_arch = "x86_64")]
    if vnni::meet(out, panel, tile, coding, groups) || avx2::meet(out, panel, tile, coding, groups) {
        return;
    }
    for (row, out) in out.iter_mut().enumerate() {
        *out = meet_one(panel, tile, row, coding.step, groups);
    }
}

leveled! {
    fn meet_one(panel: &Panel, tile: ActivationTile<'_>, row: usize, step: usize, groups: usize) -> [f32; LINES] {
        let mut turns = [[0.0_f32; LINES]; TURNS];
        for (turn, sums) in turns.iter_mut().enumerate() {
            for group in 0..groups {
                let (index, from) = (group * TURNS + turn, turn * groups + group);
                let codes = &panel.codes[from * step * LINES..][..step * LINES];
                let mut whole = [tile.starts[index][row]; LINES];
                for (four, codes) in codes.chunks_exact(LINES * FOUR).enumerate() {
                    let (run, within) = (four / (RUN / FOUR), four % (RUN / FOUR) * FOUR);
                    let place = (group * step / RUN + run) * (TURNS * RUN) + turn * RUN + within;
                    let values = &tile.row(row)[place..place + FOUR];
                    for lane in 0..LINES {
                        for number in 0..FOUR {
                            whole[lane] += i32::from(codes[lane * FOUR + number]) * i32::from(values[number]);
                        }
                    }
                }
                let (scales, minima) = (&panel.scales[from], &panel.minima[from]);
                for lane in 0..LINES {
                    sums[lane] += whole[lane] as f32 * (scales[lane] * tile.scales[index][row]);
                    sums[lane] += minima[lane] * tile.sums[index][row];
                }
            }
        }
        std::array::from_fn(|lane| (turns[0][lane] + turns[1][lane]) + (turns[2][lane] + turns[3][lane]))
    }
}
