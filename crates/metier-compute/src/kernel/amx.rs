//! Tiles of AMX: whether they may be used, how they are set up, and the products in them.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

/// Rows of a tile, and words of 32 bits in a row.
pub(super) const SIDE: usize = 16;

/// Bits of `cpuid` leaf 7, register `edx`.
const BF16: u32 = 1 << 22;
const TILE: u32 = 1 << 24;
const INT8: u32 = 1 << 25;

/// The number of the state that Linux gives to a process on request, and the call's.
const TILE_DATA: u64 = 18;
const ARCH_PRCTL: u64 = 158;
const REQUEST: u64 = 0x1023;

/// True when the processor has tiles for bf16 and 8-bit integers and the system lets this process use them.
pub(super) fn allowed() -> bool {
    static ALLOWED: OnceLock<bool> = OnceLock::new();
    *ALLOWED.get_or_init(|| {
        let wanted = BF16 | TILE | INT8;
        __cpuid_count(0, 0).eax >= 7 && __cpuid_count(7, 0).edx & wanted == wanted && request()
    })
}

#[cfg(target_os = "linux")]
fn request() -> bool {
    let result: i64;
    #[expect(unsafe_code, reason = "a call of the system that no library here makes")]
    // SAFETY: the call takes two numbers, touches no memory of ours, and answers 0 or a fault; `rcx` and `r11` are
    // what every call of the system overwrites.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL as i64 => result,
            in("rdi") REQUEST,
            in("rsi") TILE_DATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn request() -> bool {
    false
}

/// Asks for the eight lines of the cache from an offset on: loads of tiles do not start the processor's own fetching.
macro_rules! next {
    ($panel:literal, $offset:literal) => {
        concat!(
            "prefetcht0 [{",
            $panel,
            "} + ",
            $offset,
            "]\n",
            "prefetcht0 [{",
            $panel,
            "} + ",
            $offset,
            " + 64]\n",
            "prefetcht0 [{",
            $panel,
            "} + ",
            $offset,
            " + 128]\n",
            "prefetcht0 [{",
            $panel,
            "} + ",
            $offset,
            " + 192]\n",
            "prefetcht0 [{",
            $panel,
            "} + ",
            $offset,
            " + 256]\n",
            "prefetcht0 [{",
            $panel,
            "} + ",
            $offset,
            " + 320]\n",
            "prefetcht0 [{",
            $panel,
            "} + ",
            $offset,
            " + 384]\n",
            "prefetcht0 [{",
            $panel,
            "} + ",
            $offset,
            " + 448]"
        )
    };
}

/// The tiles of this thread, all of them 16 rows of 64 bytes, until it is dropped.
///
/// Between its making and its end the system keeps 8 KiB more for the thread, so it is made for a piece of work.
pub(super) struct Tiles(());

#[repr(C, align(64))]
struct Shape {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Tiles {
    /// Sets the tiles of this thread up.
    ///
    /// # Safety
    /// [`allowed`] is true, and no other `Tiles` lives on this thread.
    #[expect(unsafe_code, reason = "changes the state of the processor")]
    pub unsafe fn new() -> Self {
        let mut shape = Shape { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        shape.row_bytes[..8].fill(64);
        shape.rows[..8].fill(16);
        // SAFETY: the processor has tiles as the caller promises, and `shape` is the 64 bytes that they are set by.
        unsafe {
            asm!("ldtilecfg [{shape}]", shape = in(reg) &raw const shape, options(nostack, readonly));
        }
        Self(())
    }

    /// `out = left right`, or `+=`, of 32 rows and 32 columns.
    ///
    /// `left` and `right` are panels of `steps` steps, each two tiles of 1,024 bytes: 16 rows of 16 pairs of bf16, and
    /// 16 pairs of 16 columns. Rows of `out` lie `row_step` elements apart.
    ///
    /// # Safety
    /// The panels are so long, `steps` is not 0, and 32 rows of 32 elements from `out` on may be read and written.
    #[inline]
    #[expect(unsafe_code, reason = "instructions that the compiler does not know")]
    pub unsafe fn multiply(
        _tiles: &Self,
        left: *const f32,
        right: *const f32,
        steps: usize,
        out: *mut f32,
        row_step: usize,
        add: bool,
    ) {
        // SAFETY: every address lies in the panels or in `out` as the caller promises.
        unsafe {
            asm!(
                "test {add:e}, {add:e}",
                "jz 2f",
                "tileloadd tmm0, [{out} + {row}*1]",
                "tileloadd tmm1, [{out} + {row}*1 + 64]",
                "tileloadd tmm2, [{low} + {row}*1]",
                "tileloadd tmm3, [{low} + {row}*1 + 64]",
                "jmp 3f",
                "2:",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "3:",
                "tileloadd tmm4, [{left} + {line}*1]",
                "tileloadd tmm6, [{right} + {line}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                next!("left", 2048),
                next!("right", 2048),
                "tileloadd tmm7, [{right} + {line}*1 + 1024]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                next!("left", 2560),
                next!("right", 2560),
                "tileloadd tmm5, [{left} + {line}*1 + 1024]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                next!("left", 3072),
                next!("right", 3072),
                "tdpbf16ps tmm3, tmm5, tmm7",
                next!("left", 3584),
                next!("right", 3584),
                "add {left}, 2048",
                "add {right}, 2048",
                "dec {steps}",
                "jnz 3b",
                "tilestored [{out} + {row}*1], tmm0",
                "tilestored [{out} + {row}*1 + 64], tmm1",
                "tilestored [{low} + {row}*1], tmm2",
                "tilestored [{low} + {row}*1 + 64], tmm3",
                add = in(reg) u32::from(add),
                out = in(reg) out,
                low = in(reg) out.wrapping_add(SIDE * row_step),
                row = in(reg) row_step * size_of::<f32>(),
                line = in(reg) 64_usize,
                left = inout(reg) left => _,
                right = inout(reg) right => _,
                steps = inout(reg) steps => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

impl Drop for Tiles {
    #[expect(unsafe_code, reason = "changes the state of the processor")]
    fn drop(&mut self) {
        // SAFETY: whoever made it had a processor with tiles.
        unsafe {
            asm!("tilerelease", options(nostack, nomem));
        }
    }
}

/// A function of so many turns of four products in registers, for the ceiling.
macro_rules! turns {
    ($(#[$meta:meta])* $name:ident, $instruction:literal) => {
        $(#[$meta])*
        ///
        /// # Panics
        /// Without AMX.
        pub(super) fn $name(turns: usize) {
            assert!(allowed(), "no tiles here");
            #[expect(unsafe_code, reason = "instructions that the compiler does not know")]
            // SAFETY: tiles are allowed, and none live on this thread: products drop theirs before they return. The
            // loop touches registers only.
            unsafe {
                let _tiles = Tiles::new();
                asm!(
                    "2:",
                    concat!($instruction, " tmm0, tmm4, tmm6"),
                    concat!($instruction, " tmm1, tmm4, tmm7"),
                    concat!($instruction, " tmm2, tmm5, tmm6"),
                    concat!($instruction, " tmm3, tmm5, tmm7"),
                    "dec {turns}",
                    "jnz 2b",
                    turns = inout(reg) turns => _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    options(nostack, nomem),
                );
            }
        }
    };
}

turns!(
    /// Turns of products of bf16 pairs: 65,536 multiplications and additions each.
    turns_of_bf16,
    "tdpbf16ps"
);
turns!(
    /// Turns of products of fours of 8-bit integers: 131,072 multiplications and additions each.
    turns_of_int8,
    "tdpbssd"
);
