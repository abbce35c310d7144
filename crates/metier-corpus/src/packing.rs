//! Compressed files, told by the ends of their names.

use metier_core::{Error, Result};
use std::fs::File;
use std::io::{BufRead, BufWriter, Read, Write};
use std::path::Path;

/// How names of compressed files end, without the dot.
pub const ENDINGS: [&str; 3] = ["bz2", "gz", "zst"];

/// The patterns, each followed by that of such files when they are compressed.
pub(crate) fn with_packed(patterns: &[&str]) -> Vec<String> {
    let each = |pattern: &&str| {
        let packed = ENDINGS.map(|ending| format!("{pattern}.{ending}"));
        std::iter::once((*pattern).to_owned()).chain(packed)
    };
    patterns.iter().flat_map(each).collect()
}

/// The ending that says how a file is compressed.
pub fn ending(path: &Path) -> Option<&'static str> {
    let ending = path.extension()?;
    ENDINGS.into_iter().find(|known| ending == *known)
}

/// Whether a file holds JSON lines, as its name says.
pub fn is_lines(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let packed = |plain: &str| ENDINGS.iter().any(|ending| name.ends_with(&format!("{plain}.{ending}")));
    name.ends_with(".jsonl") || packed(".jsonl") || packed(".json")
}

/// What is in a file's bytes, which are decompressed as its name says. Of zstd, windows of up to 128 MiB are held; a file that wants
/// more is refused.
pub(crate) fn unpacked<'a>(path: &Path, bytes: impl BufRead + Send + 'a) -> std::io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match ending(path) {
        Some("bz2") => Box::new(bzip2::bufread::MultiBzDecoder::new(bytes)),
        Some("gz") => Box::new(flate2::bufread::MultiGzDecoder::new(bytes)),
        Some("zst") => Box::new(zstd::Decoder::with_buffer(bytes)?),
        _ => Box::new(bytes),
    })
}

/// Writes a file, compressed as `ending` says.
pub fn pack<T>(
    path: &Path,
    ending: Option<&str>,
    file: &mut BufWriter<File>,
    write: impl FnOnce(&mut dyn Write) -> Result<T>,
) -> Result<T> {
    let failed = |error| Error::io(path, "write", &error);
    match ending {
        Some("bz2") => {
            let mut file = bzip2::write::BzEncoder::new(file, bzip2::Compression::default());
            let written = write(&mut file)?;
            file.finish().map_err(failed)?;
            Ok(written)
        }
        Some("gz") => {
            let mut file = flate2::write::GzEncoder::new(file, flate2::Compression::default());
            let written = write(&mut file)?;
            file.finish().map_err(failed)?;
            Ok(written)
        }
        Some("zst") => {
            let mut file = zstd::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL).map_err(failed)?;
            let written = write(&mut file)?;
            file.finish().map_err(failed)?;
            Ok(written)
        }
        _ => write(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(folder: &Path, name: &str, text: &[u8]) -> Vec<u8> {
        let path = folder.join(name);
        metier_core::store::write_atomic_with(&path, |file| {
            pack(&path, ending(&path), file, |file| {
                file.write_all(text).map_err(|error| Error::io(&path, "write", &error))
            })
        })
        .unwrap();
        std::fs::read(&path).unwrap()
    }

    fn read(name: &str, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut out = Vec::new();
        unpacked(Path::new(name), bytes)?.read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn what_is_packed_comes_back_and_no_part_of_a_file_passes_for_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let text = "Of what is packed, all is to come back.\n".repeat(50).into_bytes();
        assert_eq!(packed(folder.path(), "a.txt", &text), text);
        for ending in ENDINGS {
            let name = format!("a.txt.{ending}");
            let bytes = packed(folder.path(), &name, &text);
            assert!(bytes.len() < text.len() / 4, "{name}");
            assert_eq!(read(&name, &bytes).unwrap(), text, "{name}");
            assert_eq!(read(&name, &[&bytes[..], &bytes].concat()).unwrap().len(), 2 * text.len(), "{name}");
            for length in 0..bytes.len() {
                assert!(read(&name, &bytes[..length]).is_err(), "{length} bytes of {name}");
            }
            assert!(read(&name, &[&bytes[..], b"no more"].concat()).is_err(), "{name}");
            assert!(read(&name, b"\0\0\0\0 plain").is_err(), "{name}");
        }
    }

    #[test]
    fn a_window_that_would_fill_the_memory_is_refused() {
        // A frame whose header says that 2 GiB of what was before are looked back at, and one of 128 MiB.
        let frame = |log: u8| [0x28, 0xb5, 0x2f, 0xfd, 0x00, (log - 10) << 3, 0x01, 0x00, 0x00];
        let said = read("a.zst", &frame(31)).unwrap_err().to_string();
        assert!(said.contains("too much memory"), "{said}");
        assert_eq!(read("a.zst", &frame(27)).unwrap(), b"");
    }

    #[test]
    fn files_of_lines_are_told_by_their_names() {
        let lines = ["a.jsonl", "b/a.jsonl.zst", "a.json.gz"];
        assert!(lines.iter().all(|name| is_lines(Path::new(name))));
        assert!(!["a.txt.gz", "a.gz", "a.json", "jsonl"].iter().any(|name| is_lines(Path::new(name))));
    }
}
