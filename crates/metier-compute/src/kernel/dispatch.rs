//! The choice of instruction set, made once.

use std::sync::OnceLock;

use metier_core::{Error, Place, Result};

/// The widest instructions that our own loops use. Matrix products choose for themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What every processor of the target has.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// AVX-512 with the products of pairs of bf16.
    Avx512Bf16,
    /// AMX tiles of bf16, besides all of the above.
    Amx,
}

impl Level {
    /// The word that forces it.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, level)| *level == self).map_or("portable", |(name, _)| name)
    }
}

/// What forces a level.
const VARIABLE: &str = "METIER_KERNEL";
const NAMES: [(&str, Level); 5] = [
    ("amx", Level::Amx),
    ("avx2", Level::Avx2),
    ("avx512", Level::Avx512),
    ("avx512bf16", Level::Avx512Bf16),
    ("portable", Level::Portable),
];

/// The level of this machine; `METIER_KERNEL=portable`, `avx2`, `avx512` or `avx512bf16` lowers it. What [`check_level`] would
/// refuse is passed over here.
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| wanted().ok().flatten().map_or_else(detect, |wanted| detect().min(wanted)))
}

/// Refuses a `METIER_KERNEL` that names no level, or one that this processor does not have.
pub fn check_level() -> Result<()> {
    match wanted()? {
        Some(level) if level > detect() => {
            let message = format!("`{}` cannot be used here, the most is `{}`", level.name(), detect().name());
            let hint = "leave the variable out; the processor must have the instructions, and the system allow `amx`";
            Err(Error::user(Place::key(VARIABLE), message).hint(hint))
        }
        _ => Ok(()),
    }
}

fn wanted() -> Result<Option<Level>> {
    let Ok(word) = std::env::var(VARIABLE) else { return Ok(None) };
    if let Some((_, level)) = NAMES.iter().find(|(name, _)| *name == word) {
        return Ok(Some(*level));
    }
    let known = NAMES.map(|(name, _)| name).join(", ");
    Err(Error::user(Place::key(VARIABLE), format!("`{word}` is no level")).hint(format!("known: {known}")))
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    let bf16 = is_x86_feature_detected!("avx512bf16");
    match (avx2, avx512, bf16) {
        (true, true, true) if super::amx::allowed() => Level::Amx,
        (true, true, true) => Level::Avx512Bf16,
        (true, true, false) => Level::Avx512,
        (true, false, _) => Level::Avx2,
        _ => Level::Portable,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Portable
}

/// Compiles a function once for each [`Level`] and calls the one that the machine can run.
///
/// The body does the same arithmetic at every level: nothing is contracted or reordered, so the levels
/// agree to the bit.
macro_rules! leveled {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        $visibility fn $name($($argument: $kind),*) $(-> $result)? {
            #[inline(always)]
            fn portable($($argument: $kind),*) $(-> $result)? $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($argument: $kind),*) $(-> $result)? { portable($($argument),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
            fn avx512($($argument: $kind),*) $(-> $result)? { portable($($argument),*) }
            match $crate::kernel::level() {
                #[cfg(target_arch = "x86_64")]
                #[expect(unsafe_code, reason = "a function for an instruction set can only be called so")]
                // SAFETY: the level is only reached when the processor was seen to have these features.
                level if level >= $crate::kernel::Level::Avx512 => unsafe { avx512($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                #[expect(unsafe_code, reason = "a function for an instruction set can only be called so")]
                // SAFETY: as above.
                $crate::kernel::Level::Avx2 => unsafe { avx2($($argument),*) },
                _ => portable($($argument),*),
            }
        }
    };
}
