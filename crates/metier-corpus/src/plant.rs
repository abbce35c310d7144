//! Faults planted into documents, so that it is known what cleaning has to find: copies, boilerplate, and personal data.

use crate::document_file::DocumentWriter;
use metier_core::Result;
use metier_core::data::Document;
use metier_core::seed::{Seed, Stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// The file of documents that [`Planter`] writes.
pub const PLANTED: &str = "planted.jsonl";

/// What is planted. Documents are cut at empty lines into pieces, which are documents of their own; pieces that are the same are written once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PlantSettings {
    /// Characters of a piece, about.
    #[schemars(range(min = 1))]
    pub characters: usize,
    /// The share of pieces that are copied at all.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub copied: f64,
    /// Copies for each piece of all, drawn from those that are copied: exact ones, of what was planted too.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub copies: f64,
    /// The probability that one of 64 paragraphs of boilerplate stands behind a paragraph.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub boilerplate: f64,
    /// The probability that a paragraph with a person's address and telephone number stands behind a paragraph.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub personal: f64,
}

impl Default for PlantSettings {
    fn default() -> Self {
        Self { characters: 4000, copied: 0.02, copies: 1.0, boilerplate: 0.2, personal: 0.05 }
    }
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlantReport {
    /// Pieces.
    pub originals: u64,
    /// Copies of them.
    pub copies: u64,
    /// Bytes of text.
    pub bytes: u64,
    /// Planted paragraphs, by kind, copies not counted.
    pub paragraphs: BTreeMap<Kind, u64>,
}

/// What a planted paragraph is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One of a few that stand everywhere.
    Boilerplate,
    /// With a person's address and number.
    Personal,
}

/// A line of [`PLANTED`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Planted {
    /// Its id.
    pub id: String,
    /// Its text.
    pub text: String,
    /// The license of the document it is from.
    pub license: String,
    /// The id of what it is a copy of.
    pub copy_of: Option<String>,
    /// Planted paragraphs: their first characters, the characters behind their last, and their kinds.
    pub spans: Vec<(usize, usize, Kind)>,
}

/// Writes documents with faults planted into them. Memory holds those that are copied, and a hash of each piece.
pub struct Planter {
    settings: PlantSettings,
    draws: Stream,
    boilerplate: Vec<String>,
    copied: Vec<Planted>,
    known: HashSet<[u8; 32]>,
    writer: DocumentWriter,
    report: PlantReport,
}

const SENTENCES: [&str; 12] = [
    "By going on you agree that this site keeps cookies on your machine.",
    "Sign up for our weekly letter and miss nothing any more.",
    "Share this page with your friends.",
    "All rights reserved by the owner of the site.",
    "Click here to see offers that were chosen for you.",
    "You have read three of five free pages this month.",
    "Log in or register to leave a comment below.",
    "This page was moved; your browser takes you there in five seconds.",
    "Download our app for a better way of reading.",
    "Advertisement. Scroll down to go on.",
    "Read our terms of use and our notes on privacy.",
    "People who liked this page also liked these.",
];
const NAMES: [&str; 8] = ["anna", "bruno", "clara", "dario", "edith", "felix", "greta", "hugo"];
const PARAGRAPHS: usize = 64;

impl Planter {
    /// Begins to write into a folder.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn new(settings: &PlantSettings, seed: Seed, folder: &Path) -> Result<Self> {
        let mut draws = seed.derive("plant").at(0);
        let boilerplate = (0..PARAGRAPHS)
            .map(|number| {
                let mut sentences = SENTENCES;
                draws.shuffle(&mut sentences);
                format!("{} Page {number} of this site.", sentences[..3].join(" "))
            })
            .collect();
        let writer = DocumentWriter::create(&folder.join(PLANTED))?;
        let (copied, known, report) = (Vec::new(), HashSet::new(), PlantReport::default());
        Ok(Self { settings: settings.clone(), draws, boilerplate, copied, known, writer, report })
    }

    /// Writes the pieces of a document, and copies of those before.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn add(&mut self, document: &Document) -> Result<()> {
        for (number, piece) in pieces(&document.text, self.settings.characters).into_iter().enumerate() {
            if !self.known.insert(*blake3::hash(piece.join("\n\n").as_bytes()).as_bytes()) {
                continue;
            }
            let (text, spans) = self.planted(&piece);
            let license = document.license.clone();
            let planted = Planted { id: format!("{}#{number}", document.id), text, license, copy_of: None, spans };
            self.report.originals += 1;
            for (_, _, kind) in &planted.spans {
                *self.report.paragraphs.entry(*kind).or_default() += 1;
            }
            self.write(&planted)?;
            if self.draws.unit() < self.settings.copied {
                self.copied.push(planted);
            }
            let wanted = self.settings.copies * self.report.originals as f64;
            while !self.copied.is_empty() && ((self.report.copies + 1) as f64) <= wanted {
                let original = &self.copied[self.draws.below(self.copied.len() as u64) as usize];
                let id = format!("{}~{}", original.id, self.report.copies);
                let copy = Planted { copy_of: Some(original.id.clone()), id, ..original.clone() };
                self.report.copies += 1;
                self.write(&copy)?;
            }
        }
        Ok(())
    }

    /// Brings everything to the disk.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn finish(self) -> Result<PlantReport> {
        self.writer.finish()?;
        Ok(self.report)
    }

    fn write(&mut self, planted: &Planted) -> Result<()> {
        self.report.bytes += planted.text.len() as u64;
        self.writer.write(planted)
    }

    /// A text of these paragraphs with faults between them.
    fn planted(&mut self, paragraphs: &[&str]) -> (String, Vec<(usize, usize, Kind)>) {
        let (mut text, mut characters, mut spans) = (String::new(), 0, Vec::new());
        let mut add = |paragraph: &str| {
            if characters > 0 {
                text.push_str("\n\n");
                characters += 2;
            }
            let start = characters;
            text.push_str(paragraph);
            characters += paragraph.chars().count();
            (start, characters)
        };
        for paragraph in paragraphs {
            add(paragraph);
            if self.draws.unit() < self.settings.boilerplate {
                let (start, end) = add(&self.boilerplate[self.draws.below(PARAGRAPHS as u64) as usize]);
                spans.push((start, end, Kind::Boilerplate));
            }
            if self.draws.unit() < self.settings.personal {
                let (start, end) = add(&personal(&mut self.draws));
                spans.push((start, end, Kind::Personal));
            }
        }
        (text, spans)
    }
}

/// A person that nobody is.
fn personal(draws: &mut Stream) -> String {
    let mut digits = |width: u32| format!("{:0width$}", draws.below(10_u64.pow(width)), width = width as usize);
    let (mail, phone) = (digits(6), format!("{}-{}-{}", digits(3), digits(3), digits(4)));
    let name = NAMES[draws.below(NAMES.len() as u64) as usize];
    format!("Written by {name}{mail}@mail.example , who answers under {phone} on weekdays.")
}

/// Paragraphs that together have about so many characters.
fn pieces(text: &str, characters: usize) -> Vec<Vec<&str>> {
    let mut out: Vec<Vec<&str>> = Vec::new();
    let mut length = characters;
    for paragraph in text
        .split("\n\n")
        .map(|paragraph| paragraph.trim_matches('\n'))
        .filter(|paragraph| !paragraph.trim().is_empty())
    {
        if length >= characters {
            out.push(Vec::new());
            length = 0;
        }
        length += paragraph.chars().count() + 2;
        out.last_mut().into_iter().for_each(|piece| piece.push(paragraph));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(id: &str, text: &str) -> Document {
        let pieces = metier_core::data::Pieces::whole(text.len());
        let (id, text) = (id.to_owned(), text.to_owned());
        Document {
            id,
            text,
            source: String::new(),
            source_sha256: String::new(),
            license: "CC0-1.0".into(),
            pieces,
            partial: Vec::new(),
            metadata: metier_core::data::Metadata::new(),
        }
    }

    fn plant(settings: &PlantSettings) -> (PlantReport, Vec<Planted>) {
        let folder = tempfile::tempdir().unwrap();
        let mut planter = Planter::new(settings, Seed::new(3), folder.path()).unwrap();
        for number in 0..200 {
            let text: Vec<String> = (0..9).map(|at| format!("Zeile {at} für {}.", number / 2 * 2)).collect();
            planter.add(&document(&format!("d{number}"), &text.join("\n\n"))).unwrap();
        }
        let report = planter.finish().unwrap();
        let text = std::fs::read_to_string(folder.path().join(PLANTED)).unwrap();
        (report, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    #[test]
    fn what_is_planted_stands_where_it_is_said_to() {
        let settings = PlantSettings { characters: 60, copied: 0.1, copies: 1.5, boilerplate: 0.5, personal: 0.25 };
        let (report, written) = plant(&settings);
        assert_eq!(written.len() as u64, report.originals + report.copies);
        // Every second document is the one before it, of which pieces are written once.
        assert!(report.originals == 300 && report.copies == 450, "{report:?}");
        let mut texts: BTreeMap<&str, &Planted> = BTreeMap::new();
        let mut found: BTreeMap<Kind, u64> = BTreeMap::new();
        for planted in &written {
            if let Some(original) = &planted.copy_of {
                assert_eq!(
                    (&texts[original.as_str()].text, &texts[original.as_str()].spans),
                    (&planted.text, &planted.spans)
                );
                continue;
            }
            assert!(texts.insert(&planted.id, planted).is_none());
            let letters: Vec<char> = planted.text.chars().collect();
            for (start, end, kind) in &planted.spans {
                let span: String = letters[*start..*end].iter().collect();
                *found.entry(*kind).or_default() += 1;
                assert!(planted.text.split("\n\n").any(|paragraph| paragraph == span));
                assert_eq!(*kind == Kind::Personal, span.contains("@mail.example"), "{span}");
            }
        }
        assert_eq!(found, report.paragraphs);
        assert!(
            (300..600).contains(&(found[&Kind::Boilerplate])) && (150..300).contains(&found[&Kind::Personal]),
            "{found:?}"
        );
        assert_eq!(plant(&settings).0, report);
        let (clean, written) = plant(&PlantSettings { copies: 0.0, boilerplate: 0.0, personal: 0.0, ..settings });
        assert!(
            clean.copies == 0 && clean.paragraphs.is_empty() && written.iter().all(|planted| planted.spans.is_empty())
        );
    }
}
