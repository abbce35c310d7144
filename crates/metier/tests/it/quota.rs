//! So many documents of each cell.

use crate::command::{artifact, fine, json, metier, refused, rows};

const RECIPE: &str = r#"
[recipe]
title = "test"
source = "test"

[[asset]]
name = "notes"
kind = "data"
license = "CC0-1.0"
sources = [{ path = "notes.jsonl" }]

[[stage]]
name = "tagged"
do = "curate"
from = "notes"
read = { method = "jsonl", keep = ["language"] }
tag = [{ method = "comments", key = "language" }, { method = "secrets" }]
select.fraction = 0.1

[[stage]]
name = "balanced"
do = "quota"
from = "tagged"
cells = [
  { name = "leaking", where = "spans(secrets__secrets__assigned) > 0", documents = 5 },
  { name = "python", where = "metadata.language = 'py'", documents = 40 },
  { name = "explained", where = "comments__comments__doc > 0.2", documents = 12 },
]

[[check]]
that = "balanced.documents >= 57"

[[check]]
that = "balanced.python.documents <= 40"
"#;

#[test]
fn a_small_set_is_drawn_cell_by_cell() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = String::new();
    for number in 0..200 {
        let text = match number % 4 {
            0 => format!("def f{number}(value):\n    return value + {number} # é"),
            1 => format!("// explains all of {number}\nint f{number}();"),
            2 => format!("int f{number}(int a, int b, int c) {{ return a + b + c + {number}; }}"),
            _ => format!("char *password{number} = \"qk{number}-Zp91x\";"),
        };
        let language = ["py", "c", "c", "c"][number % 4];
        lines += &serde_json::json!({ "text": text, "language": language }).to_string();
        lines.push('\n');
    }
    std::fs::write(folder.path().join("notes.jsonl"), lines).unwrap();
    let recipe = folder.path().join("quota.toml");
    std::fs::write(&recipe, RECIPE).unwrap();
    let report = json(&fine(metier(folder.path()).arg("run").arg(&recipe).arg("--json")));
    let balanced = artifact(&report, "balanced");
    let documents = rows(&balanced.join("train.jsonl"));
    let holding = |part: &str| documents.iter().filter(|row| row["text"].as_str().unwrap().contains(part)).count();
    assert_eq!([holding("password"), holding("def "), holding("// explains"), documents.len()], [5, 40, 12, 57]);
    assert_eq!(rows(&balanced.join("train.attributes.jsonl")).len(), 57);
    let run = |from: &str, to: &str, texts: &[&str]| {
        std::fs::write(&recipe, RECIPE.replace(from, to)).unwrap();
        refused(metier(folder.path()).arg("run").arg(&recipe), texts);
    };
    run("documents = 40", "documents = 400", &["1 of 3 cells", "python: 400 wanted", "there"]);
    run(
        "metadata.language =",
        "metadata.language ==>",
        &["quota.toml:24", "cell `python`: character 21", "metadata.language =="],
    );
    let most = format!("documents = {}", i64::MAX);
    run("documents = 12", &most, &["memory"]);
    run("\"python\"", "\"leaking\"", &["quota.toml", "two cells are called `leaking`"]);
    run("documents = 12", "documents = 0", &["`explained` takes no document"]);
}
