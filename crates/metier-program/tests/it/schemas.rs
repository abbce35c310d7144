//! Replies held to many schemas, looked at by another program.

use crate::sample;
use metier_core::data::Form;
use metier_core::seed::Seed;
use metier_program::constrain::Constrainer;
use metier_testkit::bytes::{Bytes, END};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Replies of each schema.
const SAMPLES: usize = 2;

#[test]
fn another_program_finds_replies_of_600_schemas_valid_asset() {
    let Some(python) = metier_testkit::asset("schema checker") else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemas/schemas.py");
    let run = |arguments: &[&str]| {
        let output = Command::new(&python).arg(&script).args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (well, schemas, said) = run(&["draw", "1", "400"]);
    assert!(well, "{said}");
    let constrainer = Constrainer::new(&Bytes { begin: false }, &[END]).unwrap();
    let mut random = Seed::new(9).derive("schemas").at(0);
    let (mut lines, mut refusals, mut replies) = (String::new(), Vec::new(), 0);
    for line in schemas.lines() {
        let schema: Value = serde_json::from_str(line).unwrap();
        let form = Form::JsonSchema(schema.clone());
        if let Err(error) = constrainer.constrain(&form) {
            refusals.push(format!("{error} for {line}"));
            continue;
        }
        for _ in 0..SAMPLES {
            let reply = sample::reply(&constrainer, &form, &mut random);
            writeln!(lines, "{}", json!({ "schema": schema, "reply": reply })).unwrap();
            replies += 1;
        }
    }
    assert!(refusals.is_empty(), "{} refused: {refusals:#?}", refusals.len());
    assert!(replies >= 1000, "{replies} replies");
    let folder = metier_testkit::scratch("schemas");
    let file = folder.file("replies.jsonl", &lines);
    let (well, out, said) = run(&["check", file.to_str().unwrap()]);
    assert!(well && out.contains("all as expected"), "{out}{said}");
}
