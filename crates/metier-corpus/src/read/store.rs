//! Files of a corpus on this machine, in an object store, or on a web server: what is below an address, and the bytes of each.
//!
//! A folder of a store is listed once in a run. What the list says of a file is what is read: a file that changed since is refused.

use futures_util::TryStreamExt as _;
use metier_core::{Error, Fault, Place, Result};
use object_store::path::Path as Key;
use object_store::{GetOptions, ObjectMeta, ObjectStore, parse_url_opts};
// It brings the encryption that object_store asks web servers with.
use reqwest as _;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// How addresses begin.
const SCHEMES: [&str; 9] =
    ["s3://", "s3a://", "gs://", "az://", "azure://", "abfs://", "abfss://", "http://", "https://"];
/// How the names of settings in the environment begin: credentials, regions, endpoints.
const SETTINGS: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];
/// Bytes that are asked for at once, and held.
const BLOCK: u64 = 4 << 20;

/// Whether a path is the address of a store or a web server.
pub fn is_address(path: &Path) -> bool {
    path.to_str().is_some_and(|text| SCHEMES.iter().any(|scheme| text.starts_with(scheme)))
}

/// A file of a store, as the list of its folder said.
struct Object {
    store: Arc<dyn ObjectStore>,
    meta: ObjectMeta,
}

/// The files at an address, each by its name below it. Of one file, the name is the last of its address.
type Listing = BTreeMap<String, PathBuf>;

/// What is known in this run.
#[derive(Default)]
struct Known {
    stores: BTreeMap<String, Arc<dyn ObjectStore>>,
    listings: BTreeMap<PathBuf, Arc<Listing>>,
    objects: BTreeMap<PathBuf, Arc<Object>>,
}

static KNOWN: Mutex<Option<Known>> = Mutex::new(None);

fn known<T>(look: impl FnOnce(&mut Known) -> T) -> T {
    look(KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// What is at an address, as far as a store says it without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// SHA-256 of the lines `name size tag version time` of its files.
    pub identity: String,
    /// Bytes of all files.
    pub bytes: u64,
}

/// What is at an address. Another answer means that a file is new, gone or changed.
pub fn stored(address: &Path) -> Result<Stored> {
    let mut stored = Stored { identity: String::new(), bytes: 0 };
    let mut hash = Sha256::new();
    for (name, path) in listing(address)?.iter() {
        let meta = &object(path)?.meta;
        let (tag, version) = (meta.e_tag.as_deref().unwrap_or("-"), meta.version.as_deref().unwrap_or("-"));
        hash.update(format!("{name} {} {tag} {version} {}\n", meta.size, meta.last_modified.to_rfc3339()));
        stored.bytes += meta.size;
    }
    stored.identity = super::hex(&hash.finalize());
    Ok(stored)
}

/// The files at an address, each by its name below it.
pub(super) fn listing(address: &Path) -> Result<Arc<Listing>> {
    if let Some(listing) = known(|known| known.listings.get(address).cloned()) {
        return Ok(listing);
    }
    let (store, base, key) = place(address)?;
    let folder = address.to_str().is_some_and(|text| text.ends_with('/')) || key.as_ref().is_empty();
    let found = if folder { None } else { head(address, &store, &key)? };
    let metas = match found {
        Some(file) => vec![file],
        None => wait(address, store.list(Some(&key)).try_collect::<Vec<_>>())?,
    };
    if metas.is_empty() {
        return Err(absent(address));
    }
    let mut listing = Listing::new();
    for meta in metas {
        let below = meta
            .location
            .prefix_match(&key)
            .map(|parts| parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"));
        let name = below
            .filter(|name| !name.is_empty())
            .or_else(|| meta.location.filename().map(str::to_owned))
            .unwrap_or_default();
        let path = PathBuf::from(format!("{base}{}", meta.location));
        known(|known| known.objects.insert(path.clone(), Arc::new(Object { store: Arc::clone(&store), meta })));
        listing.insert(name, path);
    }
    let listing = Arc::new(listing);
    known(|known| known.listings.insert(address.to_path_buf(), Arc::clone(&listing)));
    Ok(listing)
}

/// A file, as it was listed or, where another process did that, as it is now.
fn object(path: &Path) -> Result<Arc<Object>> {
    if let Some(object) = known(|known| known.objects.get(path).cloned()) {
        return Ok(object);
    }
    let (store, _, key) = place(path)?;
    let Some(meta) = head(path, &store, &key)? else { return Err(absent(path)) };
    let object = Arc::new(Object { store, meta });
    known(|known| known.objects.insert(path.to_path_buf(), Arc::clone(&object)));
    Ok(object)
}

/// What a store says of a file, if there is one.
fn head(address: &Path, store: &Arc<dyn ObjectStore>, key: &Key) -> Result<Option<ObjectMeta>> {
    let options = GetOptions { head: true, ..GetOptions::default() };
    wait(address, async {
        match store.get_opts(key, options).await {
            Ok(found) => Ok(Some(found.meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    })
}

/// The store of an address, what the addresses of its files begin with, and the key there.
fn place(address: &Path) -> Result<(Arc<dyn ObjectStore>, String, Key)> {
    let wrong = |error: &dyn std::fmt::Display| {
        let hint = "write it as s3://bucket/folder, gs://bucket/folder, az://container/folder or https://host/folder";
        fault(address, format!("the address is not understood: {error}"), hint)
    };
    let text = address.to_str().unwrap_or_default();
    let url = url::Url::parse(text).map_err(|error| wrong(&error))?;
    // The rest of an address is a key, in which nothing is escaped; that of a web server is as it is written.
    let begins =
        text.find("://").and_then(|at| text[at + 3..].find('/').map(|slash| at + 4 + slash)).unwrap_or(text.len());
    let (base, rest) = (format!("{}/", text[..begins].trim_end_matches('/')), &text[begins..]);
    let web = url.scheme().starts_with("http");
    let key = if web {
        Key::from_url_path(rest).map_err(|error| wrong(&error))?
    } else {
        Key::parse(rest.trim_end_matches('/')).map_err(|error| wrong(&error))?
    };
    if let Some(store) = known(|known| known.stores.get(&base).cloned()) {
        return Ok((store, base, key));
    }
    // The program chooses by whom secrets are kept; only what is chosen first counts.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let named = |(name, _): &(String, String)| SETTINGS.iter().any(|start| name.starts_with(start));
    let mut settings: Vec<_> = std::env::vars().filter(named).collect();
    if url.scheme() == "http" {
        settings.push(("allow_http".to_owned(), "true".to_owned()));
    }
    let root = url::Url::parse(&base).map_err(|error| wrong(&error))?;
    let (store, _) = parse_url_opts(&root, settings).map_err(|error| said(address, &error))?;
    let store: Arc<dyn ObjectStore> = Arc::from(store);
    known(|known| known.stores.insert(base.clone(), Arc::clone(&store)));
    Ok((store, base, key))
}

/// Waits for a store. In a thread of its own, since the one that asks may be of a runtime.
fn wait<T: Send>(address: &Path, asked: impl Future<Output = object_store::Result<T>> + Send) -> Result<T> {
    static RUNTIME: OnceLock<std::io::Result<tokio::runtime::Runtime>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| tokio::runtime::Builder::new_current_thread().enable_all().build());
    let runtime =
        runtime.as_ref().map_err(|error| Error::program(format!("no runtime to ask a store with: {error}")))?;
    std::thread::scope(|scope| scope.spawn(move || runtime.block_on(asked)).join())
        .map_err(|_| Error::program("asking a store panicked"))?
        .map_err(|error| said(address, &error))
}

fn fault(address: &Path, message: impl Into<String>, hint: &str) -> Error {
    Fault::new(Place::file(address), message).hint(hint).into()
}

fn absent(address: &Path) -> Error {
    fault(
        address,
        "there is no such file, folder or bucket",
        "check the spelling of the address, and of an endpoint in the environment",
    )
}

/// What a store says is wrong. Of a list of files the crate tells the kinds of faults by their words only.
fn said(address: &Path, error: &object_store::Error) -> Error {
    use object_store::Error as Wrong;
    let message = error.to_string();
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    match error {
        Wrong::NotFound { .. } => absent(address),
        Wrong::Precondition { .. } | Wrong::NotModified { .. } => {
            let hint = "start again, and let nothing write there meanwhile";
            fault(address, "the file changed since its folder was listed", hint)
        }
        Wrong::PermissionDenied { .. } | Wrong::Unauthenticated { .. } => closed(address),
        _ if has(&["401 Unauthorized", "403 Forbidden", "Missing AccessKeyId"]) => closed(address),
        _ if has(&["404 Not Found"]) => absent(address),
        _ if has(&["PROPFIND"]) => {
            let hint = "name one file, without a slash behind it; only servers that know WebDAV list folders";
            fault(address, "the server does not list what is in its folders", hint)
        }
        _ => {
            let hint =
                "check the address and the network and, of a store of your own, AWS_ENDPOINT and AWS_ALLOW_HTTP=true";
            fault(address, message.lines().next().unwrap_or_default(), hint)
        }
    }
}

fn closed(address: &Path) -> Error {
    let hint = "set its credentials in the environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true where anyone may read";
    fault(address, "the store does not let you read this", hint)
}

/// A file of a corpus that can be read from any place on.
pub(crate) enum File {
    Here(std::fs::File),
    There(Remote),
}

/// A file of a store.
#[derive(Clone)]
pub(crate) struct Remote {
    path: Arc<Path>,
    object: Arc<Object>,
    at: u64,
    /// What was asked for last, and where it begins.
    block: bytes::Bytes,
    begins: u64,
}

impl File {
    pub fn open(path: &Path) -> Result<Self> {
        if is_address(path) {
            let (path, object) = (path.into(), object(path)?);
            return Ok(Self::There(Remote { path, object, at: 0, block: bytes::Bytes::new(), begins: 0 }));
        }
        std::fs::File::open(path).map(Self::Here).map_err(|error| Error::io(path, "open", &error))
    }

    /// Bytes in it.
    pub fn length(&self) -> std::io::Result<u64> {
        match self {
            Self::Here(file) => Ok(file.metadata()?.len()),
            Self::There(remote) => Ok(remote.object.meta.size),
        }
    }

    /// The same file from a byte on.
    pub fn from(&self, start: u64) -> std::io::Result<Self> {
        let mut file = match self {
            Self::Here(file) => Self::Here(file.try_clone()?),
            Self::There(remote) => Self::There(remote.clone()),
        };
        file.seek(SeekFrom::Start(start))?;
        Ok(file)
    }
}

impl Read for File {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Here(file) => file.read(out),
            Self::There(remote) => remote.read(out),
        }
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        match self {
            Self::Here(file) => file.seek(to),
            Self::There(remote) => remote.seek(to),
        }
    }
}

impl Read for Remote {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let meta = &self.object.meta;
        if self.at >= meta.size || out.is_empty() {
            return Ok(0);
        }
        if !(self.begins..self.begins + self.block.len() as u64).contains(&self.at) {
            let end = (self.at + BLOCK).min(meta.size);
            let same = (meta.e_tag.clone(), meta.version.clone());
            let unchanged = same.0.is_none().then_some(meta.last_modified);
            let options = GetOptions {
                range: Some((self.at..end).into()),
                if_match: same.0,
                version: same.1,
                if_unmodified_since: unchanged,
                ..GetOptions::default()
            };
            let asked = async { self.object.store.get_opts(&meta.location, options).await?.bytes().await };
            let block = wait(&self.path, asked).map_err(std::io::Error::other)?;
            if block.len() as u64 != end - self.at {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            (self.block, self.begins) = (block, self.at);
        }
        let rest = &self.block[(self.at - self.begins) as usize..];
        let length = rest.len().min(out.len());
        out[..length].copy_from_slice(&rest[..length]);
        self.at += length as u64;
        Ok(length)
    }
}

impl Seek for Remote {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(step) => self.object.meta.size.checked_add_signed(step),
            SeekFrom::Current(step) => self.at.checked_add_signed(step),
        };
        self.at = place.ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
