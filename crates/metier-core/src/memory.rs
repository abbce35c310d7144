//! How much memory may be used, is used and was used.

use crate::{Error, Place, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A limit that large buffers are asked for before they are allocated. Clones share the limit.
#[derive(Debug, Clone)]
pub struct Budget {
    limit: Option<u64>,
    used: Arc<AtomicU64>,
}

/// Bytes held from a [`Budget`] until dropped.
#[derive(Debug)]
pub struct Reservation {
    bytes: u64,
    used: Arc<AtomicU64>,
}

impl Budget {
    /// A budget of `limit_bytes`, or one that only counts.
    pub fn new(limit_bytes: Option<u64>) -> Self {
        Self { limit: limit_bytes, used: Arc::new(AtomicU64::new(0)) }
    }

    /// The limit in bytes.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Bytes reserved now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes `bytes` from the budget for `what` ("the token index"), or refuses with both numbers.
    pub fn reserve(&self, bytes: u64, what: &str) -> Result<Reservation> {
        let taken = self.used.try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            let sum = used.checked_add(bytes)?;
            (sum <= self.limit.unwrap_or(u64::MAX)).then_some(sum)
        });
        match taken {
            Ok(_) => Ok(Reservation { bytes, used: Arc::clone(&self.used) }),
            Err(used) => {
                let limit = self.limit.unwrap_or(u64::MAX);
                Err(Error::user(
                    Place::default(),
                    format!(
                        "{what} needs {} of memory, and {} of the limit of {} are left",
                        display(bytes),
                        display(limit.saturating_sub(used)),
                        display(limit)
                    ),
                )
                .hint("raise the limit with `--memory`, or choose smaller settings"))
            }
        }
    }
}

impl Reservation {
    /// The number of bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The most memory the process has held at once since its start or since [`reset_peak`], in bytes. Zero
/// where the system does not say.
pub fn peak_bytes() -> u64 {
    kibibytes("/proc/self/status", "VmHWM:").unwrap_or(0)
}

/// The memory the process holds now, in bytes. `None` where the system does not say.
pub fn resident_bytes() -> Option<u64> {
    kibibytes("/proc/self/status", "VmRSS:")
}

/// Begins a new count of [`peak_bytes`] from what is held now, where the system can.
pub fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Memory that can be had without swapping, in bytes: the machine's, or what is left of the
/// control group's limit when that is less. `None` where the system does not say.
pub fn available_bytes() -> Option<u64> {
    let machine = kibibytes("/proc/meminfo", "MemAvailable:")?;
    let group = number("/sys/fs/cgroup/memory.max")
        .zip(number("/sys/fs/cgroup/memory.current"))
        .map(|(limit, used)| limit.saturating_sub(used));
    Some(group.map_or(machine, |group| group.min(machine)))
}

/// A byte count for people: `98.4 MB`.
pub fn display(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A byte count a person wrote: `512MB`, `4 GiB`, `1.5G`, `1000`.
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1_048_576.0,
        "gib" => 1_073_741_824.0,
        "tib" => 1_099_511_627_776.0,
        _ => return None,
    };
    let bytes = number.trim().parse::<f64>().ok()? * scale;
    (bytes.is_finite() && bytes >= 0.0 && bytes < u64::MAX as f64).then_some(bytes as u64)
}

fn kibibytes(file: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|value| value * 1024)
}

fn number(file: &str) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_refuses_with_both_numbers_and_takes_back() {
        let budget = Budget::new(Some(1_000_000));
        let held = budget.reserve(900_000, "the index").unwrap();
        assert_eq!(held.bytes(), 900_000);
        let message = budget.clone().reserve(200_000, "the cache").unwrap_err().to_string();
        assert!(message.contains("the cache needs 200.0 kB") && message.contains("100.0 kB of the limit"), "{message}");
        drop(held);
        assert_eq!(budget.used(), 0);
        assert!(budget.reserve(1_000_000, "all").is_ok());
        assert!(Budget::new(None).reserve(u64::MAX, "everything").is_ok());
    }

    #[test]
    fn this_process_uses_some_memory() {
        let block = vec![1_u8; 64 << 20];
        let peak = peak_bytes();
        assert!(peak == 0 || peak > block.iter().map(|&byte| u64::from(byte)).sum());
        drop(block);
        reset_peak();
        assert!(peak_bytes() <= peak);
        assert!(resident_bytes().is_none_or(|held| held > 0));
        assert!(available_bytes().is_none_or(|bytes| bytes > 0));
    }

    #[test]
    fn sizes_are_written_and_read() {
        assert_eq!(display(98_362_432), "98.4 MB");
        assert_eq!(display(999), "999 B");
        assert_eq!(display(999_999_999), "1.0 GB");
        assert_eq!(parse("512MB"), Some(512_000_000));
        assert_eq!(parse(" 1.5 GiB"), Some(1_610_612_736));
        assert_eq!(parse("4096"), Some(4096));
        assert_eq!(parse("-1"), None);
        assert_eq!(parse("1 X"), None);
        assert_eq!(parse("nan"), None);
    }
}
