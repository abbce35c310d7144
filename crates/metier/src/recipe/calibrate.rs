//! What this machine can do, measured in about half a second.

use crate::stage::Machine;
use metier_core::{Error, Result};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

const DISK_BYTES: usize = 32 << 20;

/// Measures arithmetic, memory and the disk under `store`.
pub fn measure(store: &Path) -> Result<Machine> {
    let flop_per_second = metier_compute::kernel::measure_peak(Duration::from_millis(300));
    Ok(Machine {
        flop_per_second,
        copy_bytes_per_second: copy_speed(),
        disk_bytes_per_second: disk_speed(store)?,
        threads: metier_compute::kernel::threads(),
    })
}

fn copy_speed() -> f64 {
    let source = vec![1_u8; 64 << 20];
    let mut target = source.clone();
    let began = Instant::now();
    let mut copied = 0;
    while began.elapsed() < Duration::from_millis(100) {
        target.copy_from_slice(std::hint::black_box(&source));
        std::hint::black_box(&mut target);
        copied += source.len();
    }
    copied as f64 / began.elapsed().as_secs_f64()
}

/// A file that goes away by itself, in the store or, before there is one, in the nearest folder above it.
pub fn scratch(store: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let folder = store.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    tempfile::Builder::new().prefix("calibrate-").tempfile_in(folder)
}

fn disk_speed(store: &Path) -> Result<f64> {
    let failed = |error: std::io::Error| Error::io(store, "write to the store", &error);
    let mut file = scratch(store).map_err(failed)?;
    let block = vec![7_u8; 1 << 20];
    let began = Instant::now();
    let mut written = 0;
    while written < DISK_BYTES && began.elapsed() < Duration::from_millis(600) {
        file.write_all(&block).map_err(failed)?;
        written += block.len();
    }
    file.as_file().sync_data().map_err(failed)?;
    Ok(written as f64 / began.elapsed().as_secs_f64())
}
