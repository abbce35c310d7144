//! Looking for passages: one query after the other, each with the places at which its passages were found.

use crate::evaluate::{Evaluation, Measured, Settings, each};
use crate::window::Window;
use metier_core::data::TextPair;
use metier_core::progress::Progress;
use metier_core::seam::Embed;
use metier_core::{Blame, Error, Fault, Place, Result, stop};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::Path;

/// Faults told of one file at most.
const MOST_FAULTS: usize = 20;

/// Texts whose vectors are asked for at once.
const BATCH: usize = 64;

/// What is looked for, and among what.
#[derive(Debug, Clone, Default)]
pub struct Retrieval {
    queries: Vec<Query>,
    /// Every different text.
    passages: Vec<Text>,
}

/// A text and where it stands.
#[derive(Debug, Clone)]
struct Text {
    text: String,
    place: Place,
}

#[derive(Debug, Clone)]
struct Query {
    id: String,
    asked: Text,
    /// Numbers of the passages that belong to it.
    relevant: Vec<usize>,
}

impl Retrieval {
    /// Reads a JSONL file of pairs ([`TextPair`]): anchors are queries, equal ones one query; positives and negatives are the passages, equal ones one
    /// passage. Those that belong to a query are the positives of its rows. A query is called after the line that it first stands in.
    ///
    /// # Errors
    /// When the file cannot be read or has no row, and every line that is no pair, with file and line.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::io(path, "read the pairs", &error).hint("name a JSONL file of pairs"))?;
        let (mut all, mut faults) = (Self::default(), Vec::new());
        let (mut queries, mut passages) = (HashMap::new(), HashMap::new());
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let place = Place { line: Some(index + 1), ..Place::file(path) };
            let pair: TextPair = match serde_json::from_str(line) {
                Ok(pair) => pair,
                Err(error) => {
                    let place = Place { column: Some(error.column().max(1)), ..place };
                    faults.push(
                        Fault::new(place, format!("this is no pair: {error}"))
                            .hint("a line is {\"anchor\": ..., \"positive\": ...}, and may have \"negative\""),
                    );
                    continue;
                }
            };
            faults.extend(pair.faults().into_iter().map(|(key, what)| Fault::new(place.clone().with_key(key), what)));
            let TextPair { anchor, positive, negative } = pair;
            let query = *queries.entry(anchor.clone()).or_insert_with(|| {
                let asked = Text { text: anchor, place: place.clone().with_key("anchor") };
                all.queries.push(Query { id: (index + 1).to_string(), asked, relevant: Vec::new() });
                all.queries.len() - 1
            });
            for (number, text) in std::iter::once(positive).chain(negative).enumerate() {
                let key = if number == 0 { "positive" } else { "negative" };
                let passage = *passages.entry(text.clone()).or_insert_with(|| {
                    all.passages.push(Text { text, place: place.clone().with_key(key) });
                    all.passages.len() - 1
                });
                let relevant = &mut all.queries[query].relevant;
                if number == 0 && !relevant.contains(&passage) {
                    relevant.push(passage);
                }
            }
        }
        if all.queries.is_empty() && faults.is_empty() {
            return Err(Error::file(path, "the file holds no pairs"));
        }
        faults.truncate(MOST_FAULTS);
        Error::collect(all, faults)
    }

    /// Number of queries.
    pub fn queries(&self) -> usize {
        self.queries.len()
    }

    /// Number of passages.
    pub fn passages(&self) -> usize {
        self.passages.len()
    }

    /// What tells each query's measurement from others: the query, what belongs to it, and all passages.
    fn windows(&self) -> Vec<Window> {
        let mut hash = blake3::Hasher::new();
        for passage in &self.passages {
            hash.update(&(passage.text.len() as u64).to_le_bytes());
            hash.update(passage.text.as_bytes());
        }
        let passages = hash.finalize().to_hex();
        let window = |query: &Query| {
            let relevant: Vec<_> = query.relevant.iter().map(|passage| &self.passages[*passage].text).collect();
            let text = format!("{passages} {:?} {relevant:?}", query.asked.text);
            Window { document: query.id.clone(), start: 0, end: text.len(), text }
        };
        self.queries.iter().map(window).collect()
    }
}

/// Looks for the passages of each query by the cosine of the vectors of `model`, and writes a line for each query to `file`, in order; else as
/// [`evaluate`](crate::evaluate). `progress` counts queries. Among passages that are equally near, those that do not belong to the query come first.
pub fn evaluate_retrieval(
    model: &dyn Embed,
    retrieval: &Retrieval,
    settings: &Settings,
    progress: &Progress,
    file: impl AsRef<Path>,
) -> Result<Evaluation> {
    let windows = retrieval.windows();
    let passages = OnceCell::new();
    each(&windows, settings, progress, file.as_ref(), &|group| {
        if passages.get().is_none() {
            let texts: Vec<&Text> = retrieval.passages.iter().collect();
            let told = |done: usize| progress.note(&format!("{done} of {} passages read", texts.len()));
            // It is empty, so it takes them.
            let _ = passages.set(vectors(model, &texts, &told)?);
        }
        let passages = passages.get().map_or(&[][..], Vec::as_slice);
        let asked: Vec<&Text> = retrieval.queries[group.clone()].iter().map(|query| &query.asked).collect();
        let queries = vectors(model, &asked, &|_| ())?;
        let measured = retrieval.queries[group.clone()].iter().zip(&queries).zip(&windows[group]).map(
            |((query, vector), window)| Measured {
                document: window.document.clone(),
                start: window.start,
                end: window.end,
                hash: window.hash(),
                ranks: ranks(vector, passages, &query.relevant),
                ..Measured::default()
            },
        );
        Ok(measured.collect())
    })
}

/// The places, from 1, of the relevant passages among all, by falling product with the query's vector.
fn ranks(query: &[f32], passages: &[Vec<f32>], relevant: &[usize]) -> Vec<usize> {
    let product = |passage: &Vec<f32>| -> f64 {
        query.iter().zip(passage).map(|(one, other)| f64::from(*one) * f64::from(*other)).sum()
    };
    let scores: Vec<f64> = passages.iter().map(product).collect();
    let mut found: Vec<f64> = relevant.iter().map(|passage| scores[*passage]).collect();
    found.sort_by(|one, other| other.total_cmp(one));
    let others: Vec<f64> =
        (0..scores.len()).filter(|passage| !relevant.contains(passage)).map(|at| scores[at]).collect();
    let rank = |(before, score): (usize, &f64)| 1 + before + others.iter().filter(|other| *other >= score).count();
    found.iter().enumerate().map(rank).collect()
}

/// The vectors of texts. A text that has none is told with its place.
fn vectors(model: &dyn Embed, texts: &[&Text], told: &dyn Fn(usize)) -> Result<Vec<Vec<f32>>> {
    let mut out = Vec::with_capacity(texts.len());
    for texts in texts.chunks(BATCH) {
        stop::check()?;
        let asked: Vec<&str> = texts.iter().map(|text| text.text.as_str()).collect();
        let found = model.embed(&asked).map_err(|error| placed(model, texts, error))?;
        if found.len() != texts.len() {
            return Err(Error::program(format!("{} texts were read, {} vectors came", texts.len(), found.len())));
        }
        for (text, found) in texts.iter().zip(found) {
            if found.vector.iter().any(|number| !number.is_finite()) {
                return Err(Error::user(
                    text.place.clone(),
                    "the model gave a vector with numbers that are not finite",
                )
                .hint("the model's weights may hold such numbers"));
            }
            out.push(found.vector);
        }
        told(out.len());
    }
    Ok(out)
}

/// The same error with the places of the texts that it is about: they are asked for again one by one.
fn placed(model: &dyn Embed, texts: &[&Text], error: Error) -> Error {
    if error.blame != Blame::User || stop::is_interruption(&error) {
        return error;
    }
    let faults = texts.iter().filter_map(|text| {
        let error = model.embed(&[&text.text]).err()?;
        Some(error.faults.into_iter().map(|fault| Fault { place: text.place.clone(), ..fault }))
    });
    let faults: Vec<Fault> = faults.flatten().take(MOST_FAULTS).collect();
    if faults.is_empty() { error } else { Error { faults, ..error } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metier_core::progress::{Mode, set_mode};
    use metier_core::seam::Embedded;

    fn read(text: &str) -> Result<Retrieval> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pairs.jsonl");
        std::fs::write(&path, text).unwrap();
        Retrieval::read(&path)
    }

    /// A text is a number of degrees.
    struct Degrees;

    impl Embed for Degrees {
        fn dimension(&self) -> usize {
            2
        }

        fn embed(&self, texts: &[&str]) -> Result<Vec<Embedded>> {
            let embedded = |text: &&str| {
                let degrees: f32 = text.parse().map_err(|_| Error::user(Place::key("text 1"), "no degrees"))?;
                let (sine, cosine) = degrees.to_radians().sin_cos();
                Ok(Embedded { vector: vec![cosine, sine], tokens: 1 })
            };
            texts.iter().map(embedded).collect()
        }
    }

    const PAIRS: &str = "{\"anchor\": \"0\", \"positive\": \"10\"}\n{\"query\": \"50\", \"positive\": \"70\", \"negative\": \"45\"}\n{\"anchor\": \"0\", \"positive\": \"20\"}\n{\"anchor\": \"90\", \"positive\": \"0\"}\n";

    #[test]
    fn every_relevant_passage_has_its_place() {
        set_mode(Mode::Silent);
        let retrieval = read(PAIRS).unwrap();
        assert_eq!((retrieval.queries(), retrieval.passages()), (3, 5));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("windows.jsonl");
        let settings = Settings { batch: 2, ..Settings::default() };
        let measure =
            || evaluate_retrieval(&Degrees, &retrieval, &settings, &Progress::new("test", None, "queries"), &file);
        let found = measure().unwrap();
        let ranks: Vec<_> = found.windows.iter().map(|window| window.ranks.clone()).collect();
        // Of the first query the passages of 0, 10, 20, 45 and 70 degrees follow each other, of the second 45, 70, 20, 10, 0.
        assert_eq!(ranks, [vec![2, 3], vec![2], vec![5]]);
        let whole = std::fs::read(&file).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        std::fs::write(&file, &whole[..first + 9]).unwrap();
        assert_eq!(measure().unwrap(), found);
        assert_eq!(std::fs::read(&file).unwrap(), whole);
    }

    #[test]
    fn the_same_vector_for_all_finds_nothing() {
        assert_eq!(ranks(&[1.0, 0.0], &vec![vec![1.0, 0.0]; 4], &[0, 2]), [3, 4]);
    }

    #[test]
    fn lines_that_are_no_pairs_and_texts_without_a_vector_have_their_place() {
        let error = read("{\"anchor\": \"a\"}\n\n{\"anchor\": \"a\", \"positive\": \"\"}\n").unwrap_err();
        let text = error.to_string();
        assert_eq!(error.faults.len(), 2, "{text}");
        assert!(
            text.contains("pairs.jsonl:1:") && text.contains("pairs.jsonl:3: positive: the text is empty"),
            "{text}"
        );
        assert!(read("").unwrap_err().to_string().contains("no pairs"));
        set_mode(Mode::Silent);
        let retrieval =
            read("{\"anchor\": \"1\", \"positive\": \"2\"}\n{\"anchor\": \"3\", \"positive\": \"east\"}\n").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let progress = Progress::new("test", None, "queries");
        let error =
            evaluate_retrieval(&Degrees, &retrieval, &Settings::default(), &progress, folder.path().join("windows"));
        let text = error.unwrap_err().to_string();
        assert!(text.contains("pairs.jsonl:2: positive: no degrees"), "{text}");
    }
}
