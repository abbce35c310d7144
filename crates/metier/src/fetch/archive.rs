//! Named files out of wheels, zip files and compressed tar files; nothing else is ever written.

use flate2::read::GzDecoder;
use metier_core::fault::near_miss;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Component, Path, PathBuf};

/// True for a relative path of plain names joined by `/`.
pub(super) fn is_inner_path(name: &str) -> bool {
    let path = Path::new(name);
    !name.is_empty()
        && !name.contains(['\\', '\0'])
        && !name.ends_with('/')
        && path.components().all(|component| matches!(component, Component::Normal(_)))
}

/// Copies the `wanted` files of an archive to the paths given for them. An error is a reason in words.
pub(super) fn extract(archive: &Path, wanted: &BTreeMap<String, PathBuf>) -> Result<(), String> {
    let name = archive.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    let open = || File::open(archive).map(BufReader::new).map_err(|error| format!("cannot open {name}: {error}"));
    if ends(&[".whl", ".zip"]) {
        extract_zip(open()?, wanted)
    } else if ends(&[".tar.gz", ".tgz"]) {
        extract_tar(GzDecoder::new(open()?), wanted)
    } else if ends(&[".tar"]) {
        extract_tar(open()?, wanted)
    } else {
        Err(format!("`{name}` is no archive metier can read: it reads .whl, .zip, .tar, .tar.gz, .tgz and .deb"))
    }
}

fn extract_zip(file: BufReader<File>, wanted: &BTreeMap<String, PathBuf>) -> Result<(), String> {
    let mut archive = zip::ZipArchive::new(file).map_err(|error| format!("the zip file is broken: {error}"))?;
    for (name, target) in wanted {
        let Some(index) = archive.index_for_name(name) else {
            let known: Vec<String> = archive.file_names().flatten().map(std::borrow::Cow::into_owned).collect();
            return Err(missing(name, known.iter().map(String::as_str)));
        };
        let mut entry = archive.by_index(index).map_err(|error| format!("cannot read `{name}`: {error}"))?;
        if !entry.is_file() {
            return Err(format!("`{name}` is not a file in the archive"));
        }
        write(&mut entry, target, name)?;
    }
    Ok(())
}

/// Copies the `wanted` files of a tar stream to the paths given for them.
pub(super) fn extract_tar(stream: impl Read, wanted: &BTreeMap<String, PathBuf>) -> Result<(), String> {
    let broken = |error: io::Error| format!("the tar file is broken: {error}");
    let mut archive = tar::Archive::new(stream);
    let mut left = wanted.clone();
    let mut known = Vec::new();
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.to_string_lossy().into_owned();
        let path = path.strip_prefix("./").unwrap_or(&path).to_owned();
        if let Some(target) = left.remove(&path) {
            if !entry.header().entry_type().is_file() {
                return Err(format!("`{path}` is not a plain file in the archive"));
            }
            write(&mut entry, &target, &path)?;
            if left.is_empty() {
                return Ok(());
            }
        } else if known.len() < 10_000 {
            known.push(path);
        }
    }
    match left.keys().next() {
        Some(name) => Err(missing(name, known.iter().map(String::as_str))),
        None => Ok(()),
    }
}

fn write(from: &mut impl Read, target: &Path, name: &str) -> Result<(), String> {
    let copied = (|| {
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::create_new(target)?;
        io::copy(from, &mut file)?;
        file.sync_all()
    })();
    copied.map_err(|error| format!("cannot take `{name}` out of the archive: {error}"))
}

fn missing<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let base = name.rsplit('/').next().unwrap_or(name);
    let same = known.clone().find(|known| known.rsplit('/').next() == Some(base));
    if let Some(near) = same.or_else(|| near_miss(name, known.clone())) {
        return format!("the archive has no file `{name}`; did you mean `{near}`?");
    }
    let first: Vec<&str> = known.take(8).collect();
    format!("the archive has no file `{name}`; it begins with: {}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn wanted(name: &str, target: &Path) -> BTreeMap<String, PathBuf> {
        [(name.to_owned(), target.to_path_buf())].into()
    }

    #[test]
    fn a_path_that_leaves_the_folder_is_no_inner_path() {
        for bad in ["", "../a", "a/../../b", "/etc/passwd", "a\\b", "a/", "./a", "a\0b"] {
            assert!(!is_inner_path(bad), "{bad}");
        }
        assert!(is_inner_path("package/data/a-b.txt"));
    }

    #[test]
    fn only_the_named_file_of_a_hostile_zip_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("a.whl");
        let mut zip = zip::ZipWriter::new(File::create(&archive).unwrap());
        for name in ["../escaped.txt", "/absolute.txt", "package/data.txt"] {
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(b"text").unwrap();
        }
        zip.finish().unwrap();
        let target = folder.path().join("inner").join("data.txt");
        extract(&archive, &wanted("package/data.txt", &target)).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "text");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        let reason = extract(&archive, &wanted("pakcage/data.txt", &target)).unwrap_err();
        assert!(reason.contains("did you mean `package/data.txt`?"), "{reason}");
    }

    #[test]
    fn a_link_in_a_tar_file_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("a.tar");
        let mut tar = tar::Builder::new(File::create(&archive).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, "package/link", "/etc/passwd").unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        header.set_mode(0o644);
        tar.append_data(&mut header, "package/data.txt", &b"text"[..]).unwrap();
        tar.finish().unwrap();
        let target = folder.path().join("out.txt");
        let reason = extract(&archive, &wanted("package/link", &target)).unwrap_err();
        assert!(reason.contains("not a plain file"), "{reason}");
        assert!(!target.exists());
        extract(&archive, &wanted("package/data.txt", &target)).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "text");
        assert!(extract(&archive, &wanted("none.bin", &target)).unwrap_err().contains("it begins with"));
    }

    #[test]
    fn broken_archives_are_reasons() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.whl", "a.tgz", "a.tar", "a.rar"] {
            let archive = folder.path().join(name);
            fs::write(&archive, vec![7_u8; 2000]).unwrap();
            assert!(extract(&archive, &wanted("x", &folder.path().join("x"))).is_err(), "{name}");
        }
    }
}
