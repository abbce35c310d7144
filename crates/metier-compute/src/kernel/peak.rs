//! What the machine can do at most.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::Precision;
use super::matmul::{Matrix, multiply_as};
use super::threads::{self, for_each};

/// Rows, columns and depth of the product that [`measure_peak`] times.
const SIDE: usize = 1536;

/// The highest rate, in floating point operations a second, that a large `f32` matrix product reaches on
/// the kernel threads; repeats the product for `duration`, twice at least.
pub fn measure_peak(duration: Duration) -> f64 {
    let product = Product {
        rows: SIDE,
        columns: SIDE,
        depth: SIDE,
        left_turned: false,
        right_turned: false,
        precision: Precision::F32,
    };
    product.flop() / product.measure(duration)
}

/// A product of two matrices of `f32`, `[rows, depth]` by `[depth, columns]`; what is turned lies in memory transposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// Of the left matrix and the output.
    pub rows: usize,
    /// Of the right matrix and the output.
    pub columns: usize,
    /// Columns of the left matrix, rows of the right one.
    pub depth: usize,
    /// The left matrix lies as `[depth, rows]`.
    pub left_turned: bool,
    /// The right matrix lies as `[columns, depth]`.
    pub right_turned: bool,
    /// How both are seen.
    pub precision: Precision,
}

impl Product {
    /// Multiplications and additions.
    pub fn flop(&self) -> f64 {
        2.0 * self.rows as f64 * self.columns as f64 * self.depth as f64
    }

    /// The shortest run in `duration`, two at least, in seconds.
    pub fn measure(&self, duration: Duration) -> f64 {
        let &Self { rows, columns, depth, left_turned, right_turned, precision } = self;
        let noise = |count: usize, modulus: usize| -> Vec<f32> {
            (0..count).map(|at| (at % modulus) as f32 / modulus as f32 - 0.5).collect()
        };
        let (left, right) = (noise(rows * depth, 251), noise(depth * columns, 241));
        let a = Matrix::laid(&left, rows, depth, left_turned);
        let b = Matrix::laid(&right, depth, columns, right_turned);
        let mut out = vec![0.0_f32; rows * columns];
        let seconds = best_of(duration, || multiply_as(precision, &mut out, a, b, 1.0, false));
        black_box(&out);
        seconds
    }
}

/// The ceilings of this machine's kernel threads together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceilings {
    /// Multiplications and additions of `f32` in registers, at the chosen [`super::Level`].
    pub f32_flop_per_second: f64,
    /// The same of pairs of `bf16` into `f32`; `None` without AVX-512 BF16 or AMX.
    pub bf16_flop_per_second: Option<f64>,
    /// The same of fours of 8-bit integers into 32 bits; `None` without AVX-512 VNNI or AMX.
    pub int8_op_per_second: Option<f64>,
    /// Bytes read from memory, far more than the caches hold.
    pub read_bytes_per_second: f64,
    /// Bytes read and written by a copy in memory, both counted.
    pub copy_bytes_per_second: f64,
}

impl Ceilings {
    /// The field that [`Ceilings::flop_per_second`] reads.
    pub fn flop_name(&self, precision: Precision) -> &'static str {
        match precision {
            Precision::Bf16 if self.bf16_flop_per_second.is_some() => "bf16_flop_per_second",
            _ => "f32_flop_per_second",
        }
    }

    /// The rate of products whose inputs are seen so. Without instructions for `bf16` that is the rate of `f32`.
    pub fn flop_per_second(&self, precision: Precision) -> f64 {
        match precision {
            Precision::F32 => self.f32_flop_per_second,
            Precision::Bf16 => self.bf16_flop_per_second.unwrap_or(self.f32_flop_per_second),
        }
    }
}

/// Measures every ceiling, each for a fifth of `duration`.
pub fn measure_ceilings(duration: Duration) -> Ceilings {
    let share = duration / 5;
    let source = vec![1_u64; MEMORY / size_of::<u64>()];
    let mut target = source.clone();
    let piece = source.len() / (4 * threads::threads().max(1));
    let read = best_of(share, || {
        for_each(source.len().div_ceil(piece), MEMORY, |index| {
            black_box(total(&source[threads::piece(index, piece, source.len())]));
        });
    });
    let copy = best_of(share, || {
        threads::chunks(&mut target, piece, MEMORY, |index, target| {
            target.copy_from_slice(&source[threads::piece(index, piece, source.len())]);
        });
    });
    Ceilings {
        f32_flop_per_second: registers(share, f32_loop()),
        bf16_flop_per_second: bf16_loop().map(|work| registers(share, work)),
        int8_op_per_second: int8_loop().map(|work| registers(share, work)),
        read_bytes_per_second: MEMORY as f64 / read,
        copy_bytes_per_second: 2.0 * MEMORY as f64 / copy,
    }
}

/// Bytes that the memory's rates are measured over.
const MEMORY: usize = 512 << 20;
/// Turns of a loop in registers between looks at the clock.
const TURNS: usize = 1 << 20;
/// Registers that are added to side by side, which hides how long one addition takes.
const CHAINS: usize = 16;

/// The shortest of the runs of `work` in `duration`, two at least, in seconds.
fn best_of(duration: Duration, mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    let mut rounds = 0;
    while rounds < 2 || start.elapsed() < duration {
        let round = Instant::now();
        work();
        best = best.min(round.elapsed().as_secs_f64());
        rounds += 1;
    }
    best
}

/// A loop in registers, and how many operations one turn has.
type Loop = (fn(usize), usize);

/// Operations a second of `work` on all threads.
fn registers(duration: Duration, (work, operations): Loop) -> f64 {
    let count = threads::threads();
    let seconds = best_of(duration, || for_each(count, usize::MAX, |_| work(TURNS)));
    (count * TURNS * operations) as f64 / seconds
}

/// Places that are read side by side: one stream does not fill the memory's queue.
const STREAMS: usize = 4;

leveled! {
    fn total(values: &[u64]) -> u64 {
        let quarters: [&[u64]; STREAMS] =
            std::array::from_fn(|stream| &values[values.len() / STREAMS * stream..][..values.len() / STREAMS]);
        let [a, b, c, d] = quarters.map(|values| values.as_chunks::<8>().0);
        let mut sums = [[0_u64; 8]; STREAMS];
        for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
            for lane in 0..8 {
                for (sums, values) in sums.iter_mut().zip([a, b, c, d]) {
                    sums[lane] = sums[lane].wrapping_add(values[lane]);
                }
            }
        }
        sums.as_flattened().iter().fold(0, |sum, value| sum.wrapping_add(*value))
    }
}

/// A function for an instruction set, of `TURNS` turns over `CHAINS` registers.
#[cfg(target_arch = "x86_64")]
macro_rules! chains {
    ($name:ident, $features:literal, $zero:expr, |$sum:ident, $value:ident| $step:expr) => {
        pub(super) fn $name(turns: usize) {
            #[target_feature(enable = $features)]
            fn run(turns: usize) {
                let $value = black_box($zero);
                let mut sums = [$zero; CHAINS];
                for _ in 0..turns {
                    for $sum in &mut sums {
                        *$sum = $step;
                    }
                }
                black_box(sums);
            }
            #[expect(unsafe_code, reason = "a function for an instruction set can only be called so")]
            // SAFETY: chosen only where the processor was seen to have these features.
            unsafe {
                run(turns);
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use super::{CHAINS, black_box};
    #[allow(clippy::wildcard_imports, reason = "the names of instructions; quiet in tests, so no expectation")]
    use std::arch::x86_64::*;

    chains!(avx512, "avx512f", _mm512_setzero_ps(), |sum, value| _mm512_fmadd_ps(value, value, *sum));
    chains!(avx2, "avx2,fma", _mm256_setzero_ps(), |sum, value| _mm256_fmadd_ps(value, value, *sum));
    chains!(int8, "avx512f,avx512vnni", _mm512_setzero_si512(), |sum, value| {
        _mm512_dpbusd_epi32(*sum, value, value)
    });
    chains!(bf16, "avx512f,avx512bf16", _mm512_setzero_ps(), |sum, value| {
        #[expect(unsafe_code, reason = "the same 512 bits, seen as pairs of bf16")]
        // SAFETY: both are 512 bits, and every pattern is a value.
        let pairs = unsafe { std::mem::transmute::<__m512, __m512bh>(value) };
        _mm512_dpbf16_ps(*sum, pairs, pairs)
    });
}

fn f32_portable(turns: usize) {
    let value = black_box([0.0_f32; 4]);
    let mut sums = [[0.0_f32; 4]; CHAINS / 2];
    for _ in 0..turns {
        for sum in &mut sums {
            for lane in 0..4 {
                sum[lane] += value[lane] * value[lane];
            }
        }
        // Without this the sums would be known beforehand.
        sums = black_box(sums);
    }
}

fn f32_loop() -> Loop {
    match super::level() {
        #[cfg(target_arch = "x86_64")]
        level if level >= super::Level::Avx512 => (wide::avx512, CHAINS * 32),
        #[cfg(target_arch = "x86_64")]
        super::Level::Avx2 => (wide::avx2, CHAINS * 16),
        _ => (f32_portable, CHAINS * 4),
    }
}

#[cfg(target_arch = "x86_64")]
fn bf16_loop() -> Option<Loop> {
    match super::level() {
        super::Level::Amx => Some((super::amx::turns_of_bf16, 65_536)),
        super::Level::Avx512Bf16 => Some((wide::bf16, CHAINS * 64)),
        _ => None,
    }
}

#[cfg(target_arch = "x86_64")]
fn int8_loop() -> Option<Loop> {
    if super::level() == super::Level::Amx {
        return Some((super::amx::turns_of_int8, 131_072));
    }
    let here = super::level() >= super::Level::Avx512 && is_x86_feature_detected!("avx512vnni");
    here.then_some((wide::int8 as fn(usize), CHAINS * 128))
}

#[cfg(not(target_arch = "x86_64"))]
fn bf16_loop() -> Option<Loop> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
fn int8_loop() -> Option<Loop> {
    None
}
