//! What was said of documents, in numbers and on a page.

use crate::command::{fine, json, metier, refused, rows};
use serde_json::Value;

#[test]
fn a_page_says_of_attributes_what_lies_beside_documents() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("notes")).unwrap();
    for number in 0..40_usize {
        let text = format!("note {number} has {}a few words of its own", "many more than ".repeat(number));
        std::fs::write(folder.path().join(format!("notes/{number}.txt")), text).unwrap();
    }
    let settings = ["curate", "from=notes", "tag=[{ method = \"gopher\", version = 1 }, { method = \"c4\" }]"];
    fine(metier(folder.path()).args(settings).args(["read.method=text", "select.fraction=0.25"]));
    let page = folder.path().join("stats.html");
    let told = json(&fine(metier(folder.path()).args(["curate", "stats", "curate", "--json", "--html"]).arg(&page)));
    assert_eq!(told["documents"], 40);
    // What the attributes themselves say.
    let artifacts = std::fs::read_dir(folder.path().join("store/artifacts")).unwrap();
    let artifact = artifacts.map(|entry| entry.unwrap().path()).find(|path| path.join("train.jsonl").exists()).unwrap();
    let both = ["train", "held_out"].map(|file| rows(&artifact.join(format!("{file}.attributes.jsonl"))));
    let name = "gopher_v1__gopher_v1__word_count";
    let mut words: Vec<f64> =
        both.iter().flatten().map(|row| row["attributes"][name][0][2].as_f64().unwrap()).collect();
    words.sort_by(f64::total_cmp);
    let scores = &told["attributes"][name]["scores"];
    assert_eq!((scores["least"].as_f64(), scores["largest"].as_f64()), (Some(words[0]), Some(words[39])));
    assert_eq!(scores["quantiles"][3], serde_json::json!({ "share": 0.5, "value": words[19] }));
    let counted: u64 = scores["histogram"].as_array().unwrap().iter().map(|bar| bar["count"].as_u64().unwrap()).sum();
    assert_eq!((counted, told["attributes"][name]["documents"].as_u64()), (40, Some(40)));
    let flagged = &told["attributes"]["c4_v2__c4_v2__lines_with_no_ending_punctuation"];
    assert_eq!((flagged["share"].as_f64(), flagged["covered"].as_f64()), (Some(1.0), Some(1.0)));
    // The page holds the same numbers, and nothing from elsewhere.
    let html = std::fs::read_to_string(&page).unwrap();
    let (_, rest) = html.split_once("id=\"stats\">").unwrap();
    let numbers: Value = serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap();
    assert_eq!(numbers, told);
    assert!(html.matches("<svg").count() > 10 && !html.contains("src=") && !html.contains("http"));
    let table = fine(metier(folder.path()).args(["curate", "stats", "curate"]));
    let text = String::from_utf8_lossy(&table.stdout);
    assert!(text.lines().any(|line| line.starts_with(name) && line.contains("100.00 %")), "{text}");
    refused(metier(folder.path()).args(["curate", "stats", "curated"]), &["curated"]);
    refused(metier(folder.path()).args(["curate", "stats", "notes"]), &["no file here fits", "reads other files"]);
}
