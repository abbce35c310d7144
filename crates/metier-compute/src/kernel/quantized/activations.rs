//! Rows rounded to integers of 8 bits.

use std::cell::Cell;

use super::panel::TILE;
use super::{FEW, RUN, TURNS, place};
use crate::block::Coding;
use crate::kernel::threads::{for_each, piece};

/// Rows as integers of 8 bits, for weights of one coding.
///
/// The numbers lie in groups of four steps. Within a group the first 16 numbers of each step come first, side by side,
/// then the second 16 where a step has them: what lies in 64 bytes then belongs to four steps, in order.
#[derive(Default)]
pub(super) struct Activations {
    coding: Option<Coding>,
    rows: usize,
    groups: usize,
    codes: Vec<i8>,
    /// The scale of each step.
    scales: Vec<f32>,
    /// What the sum of products of each step begins with: `-center sum p`.
    starts: Vec<i32>,
    /// `d sum p` of each step.
    sums: Vec<f32>,
    /// The same three, a step of all rows of a tile side by side; made for more than [`FEW`] rows.
    tiled: Tiled,
}

#[derive(Default)]
struct Tiled {
    scales: Vec<[f32; TILE]>,
    starts: Vec<[i32; TILE]>,
    sums: Vec<[f32; TILE]>,
}

/// Rows that meet a panel together.
#[derive(Clone, Copy)]
pub(super) struct ActivationTile<'a> {
    /// One row after the other, as many as there are.
    codes: &'a [i8],
    width: usize,
    pub scales: &'a [[f32; TILE]],
    pub starts: &'a [[i32; TILE]],
    pub sums: &'a [[f32; TILE]],
}

impl<'a> ActivationTile<'a> {
    /// The codes of a row. A row past the end is one that is there: its product is thrown away.
    #[inline]
    pub fn row(&self, row: usize) -> &'a [i8] {
        let last = self.codes.len() - self.width;
        &self.codes[(row * self.width).min(last)..][..self.width]
    }
}

/// Parts of one row.
#[derive(Clone, Copy)]
pub(super) struct ActivationRow<'a> {
    pub codes: &'a [i8],
    pub scales: &'a [f32],
    pub starts: &'a [i32],
    pub sums: &'a [f32],
}

impl Activations {
    /// Rounds `x`, rows of `columns` numbers, with one scale for each `together` of them, and runs `work` on the result,
    /// which lies in memory that the calling thread keeps.
    pub fn with(x: &[f32], columns: usize, coding: Coding, together: usize, work: impl FnOnce(&Self)) {
        thread_local! {
            static MEMORY: Cell<Activations> = Cell::new(Activations::default());
        }
        let mut memory = MEMORY.take();
        memory.fill(x, columns, coding, together);
        work(&memory);
        MEMORY.set(memory);
    }

    fn fill(&mut self, x: &[f32], columns: usize, coding: Coding, together: usize) {
        let Coding { step, center, .. } = coding;
        self.coding = Some(coding);
        self.rows = x.len().checked_div(columns).unwrap_or(0);
        self.groups = columns.div_ceil(step * TURNS);
        let (steps, width) = (self.groups * TURNS, self.groups * TURNS * step);
        self.codes.resize(self.rows * width, 0);
        self.scales.resize(self.rows * steps, 0.0);
        self.starts.resize(self.rows * steps, 0);
        self.sums.resize(self.rows * steps, 0.0);
        let parts = Parts {
            codes: self.codes.as_mut_ptr(),
            scales: self.scales.as_mut_ptr(),
            starts: self.starts.as_mut_ptr(),
            sums: self.sums.as_mut_ptr(),
        };
        for_each(self.rows, x.len() * 2, |row| {
            #[expect(unsafe_code, reason = "threads write rows of four lists")]
            // SAFETY: the lists have `rows` times this many elements, each index comes once, and the lists are borrowed
            // throughout.
            let (codes, scales, starts, sums) = unsafe {
                (
                    std::slice::from_raw_parts_mut(parts.get().codes.add(row * width), width),
                    std::slice::from_raw_parts_mut(parts.get().scales.add(row * steps), steps),
                    std::slice::from_raw_parts_mut(parts.get().starts.add(row * steps), steps),
                    std::slice::from_raw_parts_mut(parts.get().sums.add(row * steps), steps),
                )
            };
            round_row(
                &x[piece(row, columns, x.len())],
                [step, together, usize::from(center)],
                (codes, scales),
                (starts, sums),
            );
        });
        if self.rows > FEW {
            self.tile_up(steps);
        }
    }

    fn tile_up(&mut self, steps: usize) {
        let length = self.rows.div_ceil(TILE) * steps;
        self.tiled.scales.resize(length, [0.0; TILE]);
        self.tiled.starts.resize(length, [0; TILE]);
        self.tiled.sums.resize(length, [0.0; TILE]);
        for tile in 0..self.rows.div_ceil(TILE) {
            for place in 0..TILE {
                // A row past the end is one that is there: its product is thrown away.
                let row = (tile * TILE + place).min(self.rows - 1) * steps;
                for step in 0..steps {
                    let (to, from) = (tile * steps + step, row + step);
                    self.tiled.scales[to][place] = self.scales[from];
                    self.tiled.starts[to][place] = self.starts[from];
                    self.tiled.sums[to][place] = self.sums[from];
                }
            }
        }
    }

    /// Rows `index * TILE ..`, of more than [`FEW`].
    pub fn tile(&self, index: usize) -> ActivationTile<'_> {
        let steps = self.groups * TURNS;
        let mine = index * steps..(index + 1) * steps;
        let width = steps * self.coding().step;
        let codes = &self.codes[index * TILE * width..self.codes.len().min((index + 1) * TILE * width)];
        ActivationTile {
            codes,
            width,
            scales: &self.tiled.scales[mine.clone()],
            starts: &self.tiled.starts[mine.clone()],
            sums: &self.tiled.sums[mine],
        }
    }

    pub fn coding(&self) -> Coding {
        self.coding.unwrap_or(Coding { step: RUN, bits: 8, center: 0, has_minimum: false })
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Groups of four steps in a row.
    pub fn groups(&self) -> usize {
        self.groups
    }

    pub fn row(&self, row: usize) -> ActivationRow<'_> {
        let steps = self.groups * TURNS;
        let width = steps * self.coding().step;
        let of_step = row * steps..(row + 1) * steps;
        ActivationRow {
            codes: &self.codes[row * width..(row + 1) * width],
            scales: &self.scales[of_step.clone()],
            starts: &self.starts[of_step.clone()],
            sums: &self.sums[of_step],
        }
    }
}

/// Where the lists of [`Activations`] begin.
#[derive(Clone, Copy)]
struct Parts {
    codes: *mut i8,
    scales: *mut f32,
    starts: *mut i32,
    sums: *mut f32,
}

#[expect(unsafe_code, reason = "threads share the pointers")]
// SAFETY: each thread writes rows of its own.
unsafe impl Sync for Parts {}

impl Parts {
    /// All of them, so that a closure takes the whole and not one pointer.
    fn get(&self) -> Self {
        *self
    }
}

leveled! {
    fn round_row(x: &[f32], sizes: [usize; 3], first: (&mut [i8], &mut [f32]), second: (&mut [i32], &mut [f32])) {
        /// At this size the last bit of a number is 1.
        const WHOLE: f32 = 12_582_912.0;
        let [step, together, center] = sizes;
        let ((codes, scales), (starts, sums)) = (first, second);
        codes.fill(0);
        scales.fill(0.0);
        starts.fill(0);
        sums.fill(0.0);
        for (part, x) in x.chunks(together).enumerate() {
            let mut most = [0.0_f32; RUN];
            for run in x.chunks_exact(RUN) {
                for lane in 0..RUN {
                    let size = run[lane].abs();
                    most[lane] = if size > most[lane] { size } else { most[lane] };
                }
            }
            let most = most.iter().fold(0.0_f32, |most, &size| if size > most { size } else { most });
            let (scale, inverse) = if most > 0.0 { (most / 127.0, 127.0 / most) } else { (0.0, 0.0) };
            for (number, x) in x.chunks(step).enumerate() {
                let at = part * together + number * step;
                let mut total = 0_i32;
                for (run, x) in x.chunks_exact(RUN).enumerate() {
                    let place = place(step, at + run * RUN);
                    let codes = &mut codes[place..place + RUN];
                    for lane in 0..RUN {
                        let code = (x[lane] * inverse + WHOLE).to_bits() as i32 - WHOLE.to_bits() as i32;
                        codes[lane] = code as i8;
                        total += i32::from(codes[lane]);
                    }
                }
                let index = at / step;
                scales[index] = scale;
                starts[index] = -(center as i32) * total;
                sums[index] = scale * total as f32;
            }
        }
    }
}
