//! `encipher`: documents to the same documents in a made-up language.

use super::{Context, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work};
use metier_core::progress::Progress;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate};
use metier_core::{Fault, Result, stop};
use metier_corpus::cipher::Cipher;
use metier_corpus::{DocumentWriter, HELD_OUT, TRAIN, read_documents};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// Bytes written for each byte read, about: letters become ones of three bytes.
const GROWTH: f64 = 2.5;
/// Bytes read in a second, about.
const BYTES_PER_SECOND: f64 = 20e6;

/// The record of `encipher`.
pub static VERB: Verb = Verb {
    name: "encipher",
    version: 1,
    summary: "put the words of documents under a cipher, in another script: a language that no model knows",
    makes: Kind::Documents,
    inputs: &[InputSlot { key: "from", kind: Kind::Documents, required: true, many: false, text: "the documents" }],
    parts: &[],
    settings: <Settings as JsonSchema>::json_schema,
    read: read_settings,
};

/// How much becomes the other language; the recipe's seed is the cipher's key.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// The part of all words that are ciphered, drawn for each anew: with less than 1 the text mixes both languages.
    #[schemars(range(min = 0.0, max = 1.0))]
    share: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { share: 1.0 }
    }
}

struct Encipher(Settings);

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let settings: Settings = table.read()?;
    if !(0.0..=1.0).contains(&settings.share) {
        let message = format!("{} is out of range", settings.share);
        return Err(Fault::new(table.place_of("share"), message).hint("it is in 0..=1").into());
    }
    Ok(Box::new(Encipher(settings)))
}

impl Work for Encipher {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.0 })
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        ["bytes", "documents", "held_out_bytes", "held_out_documents"].map(str::to_owned).to_vec()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, _: &Machine) -> Result<(Estimate, Flow)> {
        let flow = inputs.get("from").cloned().unwrap_or_default();
        let larger = |bytes: Option<u64>| bytes.map(|bytes| (bytes as f64 * GROWTH) as u64);
        let all = flow.bytes.unwrap_or_default() + flow.held_out_bytes.unwrap_or_default();
        let estimate = Estimate {
            rows: flow.documents,
            memory_bytes: Some(64 << 20),
            disk_bytes: larger(Some(all)),
            seconds: Some(all as f64 / BYTES_PER_SECOND),
            ..Estimate::default()
        };
        let held_out_bytes = larger(flow.held_out_bytes);
        Ok((estimate, Flow { bytes: larger(flow.bytes), held_out_bytes, path: None, ..flow }))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        context.start_over()?;
        let from = &context.input("from")?.path;
        let cipher = Cipher::new(context.seed, self.0.share);
        let progress = Progress::new("documents", None, "documents");
        let mut figures = BTreeMap::new();
        let mut documents = 0;
        for (file, prefix) in [(TRAIN, ""), (HELD_OUT, "held_out_")] {
            let mut writer = DocumentWriter::create(&context.work.join(file))?;
            let (mut count, mut bytes) = (0_u64, 0);
            for document in read_documents(&from.join(file))? {
                stop::check()?;
                let document = cipher.document(&document?);
                (count, bytes) = (count + 1, bytes + document.text.len());
                writer.write(&document)?;
                progress.add(1);
            }
            writer.finish()?;
            documents += count;
            figures.insert(format!("{prefix}documents"), count as f64);
            figures.insert(format!("{prefix}bytes"), bytes as f64);
        }
        progress.finish();
        Ok(Outcome { counts: Counts { read: documents, out: documents, ..Counts::default() }, figures, table: None })
    }
}
