//! PDFs of other programs, and such as want too much, through the command: each is read by a process of its own.

use crate::command::{artifact, fine, json, metier, refused, rows};
use metier_testkit::fixture;
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// `metier curate` of the folder `files` below `folder`, with these settings of the reader.
fn curate(folder: &Path, settings: &str) -> Command {
    let recipe = format!(
        "[recipe]\ntitle = \"test\"\nsource = \"test\"\n\n[[asset]]\nname = \"files\"\nkind = \"data\"\nsources = [{{ path = \"files\" }}]\n\n\
         [[stage]]\nname = \"documents\"\ndo = \"curate\"\nfrom = \"files\"\nread = {{ method = \"pdf\"{settings} }}\nselect = {{ method = \"hold_out\", fraction = 0.0 }}\n"
    );
    std::fs::write(folder.join("recipe.toml"), recipe).unwrap();
    let mut command = metier(folder);
    command.args(["run", "recipe.toml", "--json"]);
    command
}

/// The folder of what a run wrote.
fn written(command: &mut Command) -> PathBuf {
    artifact(&json(&fine(command)), "documents")
}

/// A folder with these files in its folder `files`.
fn project(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("files")).unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join("files").join(name), bytes).unwrap();
    }
    folder
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(fixture(format!("pdf/{name}.pdf"))).unwrap()
}

fn words(text: &str) -> Vec<String> {
    let letter = |sign: char| !(sign.is_alphanumeric() || sign == '_');
    text.split(letter).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[test]
fn files_of_other_programs_say_what_another_reader_reads_in_them() {
    let golden: Value = serde_json::from_slice(&std::fs::read(fixture("pdf/words.json")).unwrap()).unwrap();
    let golden = golden.as_object().unwrap();
    let files: Vec<_> = golden.keys().map(|name| (format!("{name}.pdf"), read(name))).collect();
    let files: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    let folder = project(&files);
    let whole = rows(&written(&mut curate(folder.path(), ", license = \"MIT\"")).join("train.jsonl"));
    let each = rows(&written(&mut curate(folder.path(), ", per_page = true")).join("train.jsonl"));
    assert_eq!(whole.len(), golden.len());
    let text = |rows: &[Value], id: &str| {
        let row = rows.iter().find(|row| row["id"] == id).unwrap_or_else(|| panic!("no {id}"));
        assert_eq!(row["source"], id);
        row["text"].as_str().unwrap().to_owned()
    };
    let mut pages = 0;
    for (name, wanted) in golden {
        let mut all = Vec::new();
        for (number, page) in (1..).zip(wanted.as_array().unwrap()) {
            let mut wanted: Vec<_> =
                page.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect();
            let mut found = words(&text(&each, &format!("{name}.pdf:{number}")));
            all.extend(found.clone());
            wanted.sort();
            found.sort();
            assert_eq!(found, wanted, "{name} page {number}");
            pages += 1;
        }
        assert_eq!(words(&text(&whole, &format!("{name}.pdf"))), all, "{name}");
    }
    assert_eq!(each.len(), pages);
    assert!(
        text(&whole, "weasyprint.pdf")
            .contains("quiet: flour, sifted twice, waits in fluffy sacks.\n\nDie Mühle steht am Fluß")
    );
    assert_eq!(text(&whole, "fpdf.pdf"), text(&whole, "opened.pdf"));
}

/// A PDF of these objects, the first of which is its catalog.
fn pdf(objects: &[Vec<u8>]) -> Vec<u8> {
    let (mut out, mut places) = (b"%PDF-1.4\n".to_vec(), Vec::new());
    for (number, object) in (1..).zip(objects) {
        places.push(out.len());
        out.extend(format!("{number} 0 obj\n").bytes());
        out.extend(object);
        out.extend(b"\nendobj\n");
    }
    let table = out.len();
    out.extend(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).bytes());
    for place in places {
        out.extend(format!("{place:010} 00000 n \n").bytes());
    }
    let size = objects.len() + 1;
    out.extend(format!("trailer << /Size {size} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n").bytes());
    out
}

fn stream(keys: &str, bytes: &[u8]) -> Vec<u8> {
    [format!("<< /Length {} {keys} >>\nstream\n", bytes.len()).as_bytes(), bytes, b"\nendstream"].concat()
}

/// A page that draws `content`, with these resources and what they name behind it, from object 6 on.
fn page(keys: &str, content: &[u8], resources: &str, more: &[Vec<u8>]) -> Vec<u8> {
    let page = format!(
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> {resources} >> >>"
    );
    let mut objects = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_vec(),
        page.into_bytes(),
        stream(keys, content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_vec(),
    ];
    objects.extend(more.iter().cloned());
    pdf(&objects)
}

/// Forms each of which draws the next one twice.
fn doubling() -> Vec<u8> {
    let form = |next: usize| {
        let keys =
            format!("/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /Fm {next} 0 R >> >>");
        stream(&keys, b"/Fm Do /Fm Do")
    };
    let forms: Vec<_> =
        (7..=46).map(form).chain([stream("/Type /XObject /Subtype /Form /BBox [0 0 9 9]", b"")]).collect();
    page("", b"/Fm Do", "/XObject << /Fm 6 0 R >>", &forms)
}

#[test]
fn files_that_want_too_much_are_set_aside_and_the_others_read() {
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(b"BT /F1 12 Tf (x) Tj ET").unwrap();
    std::io::copy(&mut std::io::repeat(b' ').take(700 << 20), &mut packed).unwrap();
    let draws_itself = "/Type /XObject /Subtype /Form /BBox [0 0 1 1] /Resources << /XObject << /Fm 6 0 R >> >>";
    let hello: &[u8] = b"BT /F1 12 Tf 10 700 Td (Hello mill) Tj ET";
    let deep = format!("/X {}{}", "[".repeat(200_000), "]".repeat(200_000));
    let within = format!("{}{} TJ", "[".repeat(500_000), "]".repeat(500_000));
    let folder = project(&[
        ("bomb.pdf", page("/Filter /FlateDecode", &packed.finish().unwrap(), "", &[])),
        ("cut.pdf", read("typst")[..9000].to_vec()),
        ("cycle.pdf", page("", b"/Fm Do", "/XObject << /Fm 6 0 R >>", &[stream(draws_itself, b"/Fm Do")])),
        ("deep.pdf", page(&deep, hello, "", &[])),
        ("empty.pdf", Vec::new()),
        ("locked.pdf", read("locked")),
        ("no.pdf", b"plain text".to_vec()),
        ("ok.pdf", page("", hello, "", &[])),
        ("scan.pdf", read("scan")),
        ("within.pdf", page("", within.as_bytes(), "", &[])),
    ]);
    let out = written(&mut curate(folder.path(), ", invalid = \"quarantine\""));
    let train = rows(&out.join("train.jsonl"));
    let texts: Vec<_> = train.iter().map(|row| (row["id"].as_str().unwrap(), row["text"].as_str().unwrap())).collect();
    let said: Vec<_> = rows(&out.join("quarantined.jsonl"))
        .iter()
        .map(|row| format!("{}: {}", row["id"].as_str().unwrap(), row["reason"].as_str().unwrap()))
        .collect();
    let holds = |id: &str, what: &str| said.iter().any(|line| line.starts_with(id) && line.contains(what));
    assert!(texts.contains(&("ok.pdf", "Hello mill")), "{texts:?}");
    for (id, what) in [
        ("bomb.pdf", "reading the PDF takes more than 512 MiB of memory"),
        ("cycle.pdf", "the PDF has no text"),
        ("empty.pdf", "the file is no PDF, or damaged beyond reading"),
        ("locked.pdf", "the PDF is encrypted and wants a password\n  hint: remove the password"),
        ("no.pdf", "the file is no PDF"),
        ("scan.pdf", "the PDF has images only and no text: it is a scan\n  hint: let a program recognize"),
        ("within.pdf", "the PDF has no text"),
    ] {
        assert!(holds(id, what), "{id}: {what}: {said:#?}");
    }
    assert_eq!(said.len() + texts.len(), 10, "{said:#?}");

    let only =
        |name: &str, settings: &str| curate(folder.path(), &format!(", include = [\"{name}\", \"ok.pdf\"]{settings}"));
    refused(&mut only("locked.pdf", ""), &["locked.pdf: the PDF is encrypted and wants a password", "hint: "]);
    refused(&mut only("locked.pdf", ", per_page = true"), &["locked.pdf: the PDF is encrypted and wants a password"]);
    let out = written(&mut only("scan.pdf", ", invalid = \"skip\", per_page = true"));
    assert_eq!(rows(&out.join("train.jsonl"))[0]["id"], "ok.pdf:1");
    let dropped = rows(&out.join("dropped.jsonl"));
    assert_eq!((dropped.len(), dropped[0]["reason"].as_str()), (1, Some("no text in the PDF")));
}

#[test]
fn a_file_that_would_be_drawn_for_ever_is_ended() {
    let folder = project(&[("a.pdf", doubling())]);
    let said = ["a.pdf: reading the PDF takes more than 1 seconds", "hint: leave it out"];
    refused(&mut curate(folder.path(), ", seconds = 1"), &said);
}
