//! A corpus in an object store: a server that speaks as much of S3 as reading takes, and fails as real ones do.

use crate::command::{RECIPE, artifact, fine, json, refused, rows};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// What the server holds, and how it behaves.
#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, Vec<u8>>,
    /// Requests that are answered with an error of the server before one is answered well.
    failing: usize,
    /// Answers to be cut off in the middle.
    cutting: usize,
    /// Whether a signature is not enough.
    closed: bool,
    /// Whether the first file that is read is then replaced.
    changing: bool,
    asked: Vec<String>,
}

struct Server {
    address: String,
    bucket: Arc<Mutex<Bucket>>,
}

impl Server {
    fn start(objects: &[(&str, &[u8])]) -> Self {
        let objects = objects.iter().map(|(key, bytes)| ((*key).to_owned(), bytes.to_vec())).collect();
        let bucket = Arc::new(Mutex::new(Bucket { objects, ..Bucket::default() }));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::clone(&bucket);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(connection, &shared));
            }
        });
        Self { address, bucket }
    }

    fn change(&self, change: impl FnOnce(&mut Bucket)) {
        change(&mut self.bucket.lock().unwrap());
    }

    /// `metier` that may ask this server and has keys for it.
    fn metier(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_metier"));
        command.current_dir(folder).args(["--threads", "2", "--json", "--store"]).arg(folder.join("store"));
        command.env("METIER_CACHE", folder.join("cache")).args(arguments);
        for (name, value) in [
            ("AWS_ENDPOINT", self.address.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ] {
            command.env(name, value);
        }
        command
    }
}

/// One request of a connection, which ends after it.
fn serve(mut connection: TcpStream, bucket: &Mutex<Bucket>) {
    let mut head = Vec::new();
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        head.push(line);
    }
    let Some(first) = head.first() else { return };
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default().to_owned());
    let header = |name: &str| {
        let found = head.iter().find(|line| line.to_lowercase().starts_with(&format!("{name}:")));
        found.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let mut bucket = bucket.lock().unwrap();
    bucket.asked.push(format!("{method} {target}"));
    let mut answer = |status: &str, headers: &str, body: &[u8], sent: usize| {
        let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
        let _ = connection.write_all(head.as_bytes());
        let _ = connection.write_all(&body[..if method == "HEAD" { 0 } else { sent }]);
    };
    if bucket.failing > 0 {
        bucket.failing -= 1;
        return answer("503 Slow Down", "", b"", 0);
    }
    if bucket.closed {
        return answer("403 Forbidden", "", b"<Error><Code>AccessDenied</Code></Error>", 40);
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let Some(key) = path.strip_prefix("/notes") else {
        let body = b"<Error><Code>NoSuchBucket</Code></Error>";
        return answer("404 Not Found", "", body, body.len());
    };
    if query.contains("list-type=2") {
        let prefix =
            query.split('&').find_map(|part| part.strip_prefix("prefix=")).unwrap_or_default().replace("%2F", "/");
        let entry = |(key, bytes): (&String, &Vec<u8>)| {
            let (tag, size) = (tag(bytes), bytes.len());
            format!(
                "<Contents><Key>{key}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>{tag}</ETag><Size>{size}</Size></Contents>"
            )
        };
        let all: String = bucket.objects.iter().filter(|(key, _)| key.starts_with(&prefix)).map(entry).collect();
        let body = format!("<ListBucketResult><IsTruncated>false</IsTruncated>{all}</ListBucketResult>");
        return answer("200 OK", "content-type: application/xml\r\n", body.as_bytes(), body.len());
    }
    let key = key.trim_start_matches('/').to_owned();
    let Some(bytes) = bucket.objects.get(&key).cloned() else {
        return answer("404 Not Found", "", b"", 0);
    };
    if header("if-match").is_some_and(|wanted| wanted != tag(&bytes)) {
        return answer("412 Precondition Failed", "", b"", 0);
    }
    let whole = format!("etag: {}\r\nlast-modified: Fri, 02 Jan 2026 03:04:05 GMT\r\n", tag(&bytes));
    let range = header("range").and_then(|range| {
        let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()? + 1))
    });
    let Some((from, to)) = range else {
        return answer("200 OK", &whole, &bytes, bytes.len());
    };
    let to = to.min(bytes.len());
    let part = &bytes[from..to];
    let headers = format!("{whole}content-range: bytes {from}-{}/{}\r\n", to - 1, bytes.len());
    let cut = usize::from(bucket.cutting > 0);
    bucket.cutting -= cut;
    answer("206 Partial Content", &headers, part, if cut > 0 { part.len() / 2 } else { part.len() });
    if std::mem::take(&mut bucket.changing) {
        bucket.objects.values_mut().for_each(|bytes| bytes.push(b'!'));
    }
}

fn tag(bytes: &[u8]) -> String {
    let sum = bytes.iter().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    format!("\"{sum:x}\"")
}

fn packed(text: &str) -> Vec<u8> {
    let mut gzip = flate2::read::GzEncoder::new(text.as_bytes(), flate2::Compression::fast());
    let mut out = Vec::new();
    gzip.read_to_end(&mut out).unwrap();
    out
}

fn recipe(folder: &Path, address: &str, read: &str) {
    let before = RECIPE.split("[[stage]]").nth(1).unwrap();
    let stage = before.replace("method = \"text\", include = [\"*.txt\"]", read);
    let asset = format!(
        "[[asset]]\nname = \"notes\"\nkind = \"data\"\nlicense = \"MIT\"\nsources = [{{ store = \"{address}\" }}]\n"
    );
    std::fs::write(
        folder.join("recipe.toml"),
        format!("[recipe]\ntitle = \"t\"\nsource = \"t\"\n\n{asset}\n[[stage]]{stage}"),
    )
    .unwrap();
}

/// Ids and texts of the documents that a run wrote, and the id of what it wrote.
fn documents(command: &mut Command) -> (Vec<(String, String)>, String) {
    let said = json(&fine(command));
    let folder = artifact(&said, said["stages"][0]["name"].as_str().unwrap());
    let mut out = Vec::new();
    for file in ["train.jsonl", "held_out.jsonl"] {
        for row in rows(&folder.join(file)) {
            out.push((row["id"].as_str().unwrap().to_owned(), row["text"].as_str().unwrap().to_owned()));
        }
    }
    out.sort();
    (out, folder.file_name().unwrap().to_string_lossy().into_owned())
}

fn lines(from: usize, count: usize) -> String {
    let line = |number| format!("{{\"text\":\"note {number} {}\"}}", "word ".repeat(50));
    (from..from + count).map(line).collect::<Vec<_>>().join("\n") + "\n"
}

#[test]
fn files_of_a_bucket_are_read_as_files_of_a_folder_are() {
    let table = std::fs::read(metier_testkit::fixture("tables/zstd.parquet")).unwrap();
    let (first, second) = (lines(0, 40_000), lines(40_000, 20));
    let objects: &[(&str, &[u8])] = &[
        ("corpus/a.jsonl", first.as_bytes()),
        ("corpus/deep/b.jsonl.gz", &packed(&second)),
        ("corpus/c.txt", b"A text of one file."),
        ("corpus/d.parquet", &table),
        ("corpus/.hidden.txt", b"no"),
        ("corpus-2/e.txt", b"elsewhere"),
    ];
    let (server, folder, plain) = (Server::start(objects), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (key, bytes) in objects {
        let path = plain.path().join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let local = plain.path().join("corpus");
    for read in ["jsonl", "text", "parquet"] {
        let method = format!("read.method={read}");
        let invalid = "read.invalid=skip";
        let there =
            documents(&mut server.metier(folder.path(), &["curate", "from=s3://notes/corpus", &method, invalid]));
        let here = documents(
            &mut server.metier(folder.path(), &["curate", &format!("from={}", local.display()), &method, invalid]),
        );
        assert_eq!(there.0, here.0, "{read}");
        assert!(!there.0.is_empty());
    }
    // 10 MB in blocks of 4 MiB.
    let asked =
        server.bucket.lock().unwrap().asked.iter().filter(|line| line.contains("GET /notes/corpus/a.jsonl")).count();
    assert!(asked >= 3, "{asked}");
    let one = documents(
        &mut server.metier(folder.path(), &["curate", "from=s3://notes/corpus/c.txt", "select.fraction=0.0"]),
    );
    assert_eq!(one.0, [("c.txt".to_owned(), "A text of one file.".to_owned())]);
}

#[test]
fn a_server_that_fails_or_cuts_off_is_asked_again() {
    let text = lines(0, 30_000);
    let server = Server::start(&[("corpus/a.jsonl", text.as_bytes())]);
    let folder = tempfile::tempdir().unwrap();
    recipe(folder.path(), "s3://notes/corpus/", "method = \"jsonl\"");
    server.change(|bucket| (bucket.failing, bucket.cutting) = (2, 2));
    let (found, id) = documents(&mut server.metier(folder.path(), &["run", "recipe.toml"]));
    assert_eq!(found.len(), 30_000);
    let last = found.iter().find(|(id, _)| id == "a.jsonl:30000").unwrap();
    assert!(last.1.starts_with("note 29999 word"));
    server.change(|bucket| assert_eq!((bucket.failing, bucket.cutting), (0, 0)));

    // What did not change is not read again, and what did is.
    let reads =
        |server: &Server| server.bucket.lock().unwrap().asked.iter().filter(|line| line.contains("/corpus/a")).count();
    let before = reads(&server);
    assert_eq!(documents(&mut server.metier(folder.path(), &["run", "recipe.toml"])).1, id);
    assert!(reads(&server) <= before + 1, "no more than a look for the plan");
    server.change(|bucket| bucket.objects.values_mut().for_each(|bytes| bytes.extend(lines(30_000, 1).into_bytes())));
    let (found, other) = documents(&mut server.metier(folder.path(), &["run", "recipe.toml"]));
    assert_eq!(found.len(), 30_001);
    assert_ne!(other, id);
}

#[test]
fn what_cannot_be_read_is_said_with_its_address() {
    let server = Server::start(&[("corpus/a.jsonl", lines(0, 30_000).as_bytes())]);
    let folder = tempfile::tempdir().unwrap();
    let ask = |address: &str, said: &[&str]| {
        recipe(folder.path(), address, "method = \"jsonl\"");
        refused(&mut server.metier(folder.path(), &["run", "recipe.toml"]), said)
    };
    ask(
        "s3://notes/nothing",
        &["s3://notes/nothing: there is no such file, folder or bucket", "hint: check the spelling"],
    );
    ask("s3://other/corpus", &["s3://other/corpus: there is no such file, folder or bucket"]);
    ask("ftp://notes/corpus", &["`ftp://notes/corpus` is no address of a store", "s3://bucket/folder"]);
    server.change(|bucket| bucket.changing = true);
    ask(
        "s3://notes/corpus",
        &["s3://notes/corpus/a.jsonl: the file changed since its folder was listed", "hint: start again"],
    );
    server.change(|bucket| bucket.closed = true);
    ask("s3://notes/corpus", &["s3://notes/corpus: the store does not let you read this", "AWS_ACCESS_KEY_ID"]);
    let offline = &mut server.metier(folder.path(), &["--offline", "run", "recipe.toml"]);
    refused(offline, &["nothing is fetched with `--offline`"]);
    let offline = &mut server.metier(folder.path(), &["--offline", "curate", "from=s3://notes/corpus"]);
    refused(offline, &["nothing is read out of a store with `--offline`"]);
}

#[test]
fn a_web_server_gives_one_file() {
    let server = Server::start(&[("corpus/a.jsonl", lines(0, 10).as_bytes())]);
    let folder = tempfile::tempdir().unwrap();
    let address = format!("from={}/notes/corpus/a.jsonl", server.address);
    let (found, _) = documents(&mut server.metier(folder.path(), &["curate", &address, "read.method=jsonl"]));
    assert_eq!(found.len(), 10);
}
