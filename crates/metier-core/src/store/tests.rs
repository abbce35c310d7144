use super::*;
use serde_json::json;

fn key(steps: u32) -> Key {
    Key::new("train", json!({ "steps": steps })).input("from", "abc")
}

fn make(store: &Store, steps: u32, stage: &str) -> Artifact {
    let work = store.begin(&key(steps)).unwrap();
    fs::create_dir(work.path().join("shards")).unwrap();
    fs::write(work.path().join("shards/0.bin"), vec![7_u8; 1000]).unwrap();
    fs::write(work.scratch().unwrap().join("temporary.bin"), "x").unwrap();
    work.finish(Record::new(&key(steps), stage)).unwrap()
}

#[test]
fn a_finished_artifact_is_found_again_with_its_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let made = make(&Store::open(&path).unwrap(), 3, "adapt");
    let store = Store::open_read(&path).unwrap();
    assert_eq!(store.find(&key(3).id()).unwrap().unwrap(), made);
    assert_eq!(store.find(&key(4).id()).unwrap(), None);
    assert_eq!(made.record.files.len(), 1);
    assert_eq!(made.record.files[0].path, "shards/0.bin");
    assert_eq!(made.record.real.disk_bytes, 1000);
    assert!(made.file("shards/0.bin").unwrap().is_file());
    assert!(made.file("shards/1.bin").unwrap_err().to_string().contains("it has: shards/0.bin"));
    assert!(!made.path.join("scratch").exists());
    store.verify(&made).unwrap();
}

#[test]
fn work_left_behind_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let work = store.begin(&key(3)).unwrap();
    assert_eq!(work.resumed(), 0);
    let started = work.started();
    fs::write(work.scratch().unwrap().join("checkpoint"), "half").unwrap();
    drop(work);
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.find(&key(3).id()).unwrap(), None);
    let mut work = store.begin(&key(3)).unwrap();
    assert_eq!((work.resumed(), work.started()), (1, started));
    assert_eq!(fs::read_to_string(work.scratch().unwrap().join("checkpoint")).unwrap(), "half");
    work.clear().unwrap();
    assert!(!work.scratch().unwrap().join("checkpoint").exists());
}

#[test]
fn a_second_writer_is_told_who_holds_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let first = Store::open(folder.path()).unwrap();
    let error = Store::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
    assert!(error.contains(&folder.path().display().to_string()), "{error}");
    assert!(Store::open_read(folder.path()).is_ok());
    drop(first);
    assert!(Store::open(folder.path()).is_ok());
}

#[test]
fn a_changed_artifact_is_not_used_and_is_moved_away() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let made = make(&store, 3, "adapt");
    fs::write(made.path.join("shards/0.bin"), vec![8_u8; 1000]).unwrap();
    assert!(store.verify(&made).unwrap_err().to_string().contains("the file was changed"));
    fs::write(made.path.join("shards/0.bin"), "short").unwrap();
    assert_eq!(store.find(&made.id).unwrap(), None);
    let error = store.resolve(&made.id).unwrap_err().to_string();
    assert!(error.contains("has 5 bytes, and the record says 1000"), "{error}");
    make(&store, 3, "adapt");
    assert_eq!(fs::read_dir(folder.path().join("damaged")).unwrap().count(), 1);
    assert!(store.find(&made.id).unwrap().is_some());
}

#[test]
fn artifacts_are_resolved_by_path_prefix_and_stage() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let one = make(&store, 1, "adapt");
    let two = make(&store, 2, "pack");
    assert_eq!(store.list().unwrap().len(), 2);
    assert_eq!(store.resolve("adapt").unwrap().id, one.id);
    assert_eq!(store.resolve(&two.id[..8]).unwrap().id, two.id);
    assert_eq!(store.resolve(two.path.to_str().unwrap()).unwrap().id, two.id);
    store.name("quick", "tokens", &two.id).unwrap();
    store.name("other", "tokens", &one.id).unwrap();
    assert_eq!(store.resolve("quick/tokens").unwrap().id, two.id);
    assert_eq!(store.resolve("tokens").unwrap().id, one.id);
    store.name("quick", "tokens", &two.id).unwrap();
    assert_eq!(store.resolve("tokens").unwrap().id, two.id);
    store.note("run1", "adapt", "reused", json!({ "id": one.id })).unwrap();
    assert_eq!(store.events().unwrap().last().unwrap().event, "reused");
    let error = store.resolve("adpat").unwrap_err().to_string();
    assert!(error.contains("did you mean `adapt`?"), "{error}");
    assert!(store.resolve("../../etc").is_err());
}

#[test]
fn foreign_and_newer_folders_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.tex"), "x").unwrap();
    assert!(Store::open(folder.path()).unwrap_err().to_string().contains("is not an artifact store"));
    assert!(Store::open_read(folder.path()).unwrap_err().to_string().contains("no artifact store here"));
    fs::write(folder.path().join("format"), "2\n").unwrap();
    assert!(Store::open(folder.path()).unwrap_err().to_string().contains("format 2"));
    assert!(Store::open_read(folder.path()).unwrap_err().to_string().contains("format 2"));
}

#[test]
fn a_full_disk_is_named_and_leaves_the_store_intact() {
    const PROGRAM: &str = "METIER_TEST_FULL_DISK";
    if let Some(path) = std::env::var_os(PROGRAM) {
        fill(Path::new(&path));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let script = "mount -t tmpfs -o size=1m none \"$1\" && shift && exec \"$@\"";
    let name = "store::tests::a_full_disk_is_named_and_leaves_the_store_intact";
    for wrapper in [&["unshare", "-rm"][..], &["unshare", "-m"][..]] {
        let output = std::process::Command::new(wrapper[0])
            .args(&wrapper[1..])
            .args(["sh", "-c", script, "sh"])
            .arg(folder.path())
            .arg(&program)
            .args(["--exact", name, "--nocapture"])
            .env(PROGRAM, folder.path())
            .output();
        let text = match output {
            Ok(output) => {
                let text =
                    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
                if text.contains("1 passed") {
                    return;
                }
                assert!(!text.contains("running 1 test"), "{text}");
                text
            }
            Err(error) => error.to_string(),
        };
        eprintln!("no small disk could be mounted by {wrapper:?}: {text}");
    }
    eprintln!("skipped: a full disk was not tried");
}

fn fill(path: &Path) {
    let store = Store::open(path.join("store")).unwrap();
    let made = make(&store, 1, "adapt");
    let work = store.begin(&key(2)).unwrap();
    let error = write_atomic(work.path().join("big.bin"), vec![1_u8; 2 << 20]).unwrap_err().to_string();
    assert!(error.contains("big.bin: cannot write the file") && error.contains("the disk is full"), "{error}");
    drop(work);
    store.verify(&made).unwrap();
    assert_eq!(store.list().unwrap().len(), 1);
    drop(store);
    let store = Store::open(path.join("store")).unwrap();
    let work = store.begin(&key(2)).unwrap();
    assert_eq!(work.resumed(), 1);
    fs::write(work.path().join("small.bin"), "fits").unwrap();
    work.finish(Record::new(&key(2), "again")).unwrap();
    assert_eq!(store.list().unwrap().len(), 2);
}
