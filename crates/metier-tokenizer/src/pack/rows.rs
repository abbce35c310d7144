//! Rows of examples in JSONL: which kinds there are, and what each must have.

use metier_core::data::{Conversation, Message, Role, TextPair, Tool};
use metier_core::{Error, Fault, Place, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// What examples ask a model to learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lesson {
    /// To give each reply as it stands.
    Replies,
    /// To give one reply rather than another: each row is two documents, the chosen one first.
    Preferences,
    /// To give a reply that was called good, and not one that was called bad.
    Judgments,
    /// To give texts that belong together vectors of one direction: each row is two documents or more, the anchor first.
    Pairs,
}

impl Lesson {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Replies, Self::Preferences, Self::Judgments, Self::Pairs];

    /// The keys that tell its rows from others.
    pub fn keys(self) -> &'static str {
        match self {
            Self::Replies => "`messages` or `completion`",
            Self::Preferences => "`chosen` and `rejected`",
            Self::Judgments => "`completion` and `label`",
            Self::Pairs => "`anchor` and `positive`",
        }
    }
}

/// What is said of a reply, or of a text beside others of its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Better than the other of its row.
    Chosen,
    /// Worse than the other of its row.
    Rejected,
    /// Good by itself.
    Good,
    /// Bad by itself.
    Bad,
    /// What the other texts of its row are compared with.
    Anchor,
    /// Belongs to the anchor of its row.
    Positive,
    /// Does not belong to the anchor of its row.
    Negative,
}

impl Verdict {
    /// Whether the document before it belongs to the same row, which stays together.
    pub fn follows(self) -> bool {
        matches!(self, Self::Rejected | Self::Positive | Self::Negative)
    }

    /// Whether it is said of a text of a pair, all tokens of which count.
    pub fn is_of_pair(self) -> bool {
        matches!(self, Self::Anchor | Self::Positive | Self::Negative)
    }
}

/// A prompt or a reply, as a row writes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said {
    Text(String),
    Turns(Vec<Message>),
}

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// File and line.
    pub place: Place,
    /// What comes before the reply; every reply of a model in `replies` counts. Empty for a pair.
    pub prompt: Said,
    /// One reply, the chosen one and the rejected one, or the texts of a pair.
    pub replies: Vec<(Said, Option<Verdict>)>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    pub lesson: Lesson,
}

/// The keys of each kind of row, and those that may be left out.
const KINDS: [(&[&str], &[&str]); 6] = [
    (&["messages"], &["tools"]),
    (&["prompt", "completion"], &["tools"]),
    (&["prompt", "chosen", "rejected"], &["tools"]),
    (&["prompt", "completion", "label"], &["tools"]),
    (&["anchor", "positive"], &["negative"]),
    (&["query", "positive"], &["negative"]),
];

/// Faults that are told one by one; the rest is counted.
pub(super) const SHOWN: usize = 50;

/// The files of examples at a path: itself, or those of a folder whose names end in `.jsonl`, in order.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let failed = |error: &std::io::Error| Error::io(path, "read the examples", error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| failed(&error))? {
        let file = entry.map_err(|error| failed(&error))?.path();
        if file.is_file() && file.extension().is_some_and(|end| end == "jsonl") {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(Error::file(path, "the folder has no file of examples").hint("their names end in `.jsonl`"));
    }
    files.sort();
    Ok(files)
}

/// Reads the rows of a file, each with its line; lines of white space are passed over. `ignore` names keys that are not read.
pub(super) fn read<'a>(path: &'a Path, ignore: &'a [String]) -> Result<impl Iterator<Item = Result<Row>> + 'a> {
    let file = File::open(path).map_err(|error| Error::io(path, "open the examples", &error))?;
    let lines = BufReader::new(file).lines().enumerate();
    Ok(lines.filter_map(move |(index, line)| match line {
        Err(error) => Some(Err(Error::io(path, "read the examples", &error))),
        Ok(line) if line.trim().is_empty() => None,
        Ok(line) => Some(parse(&line, Place { line: Some(index + 1), ..Place::file(path) }, ignore)),
    }))
}

fn parse(line: &str, place: Place, ignore: &[String]) -> Result<Row> {
    let value: Value = serde_json::from_str(line).map_err(|error| {
        let place = Place { column: Some(error.column()), ..place.clone() };
        Error::user(place, format!("this is no JSON: {error}")).hint("write one JSON object a line")
    })?;
    let Value::Object(mut keys) = value else {
        return Err(Error::user(place, "this is no JSON object").hint("write one JSON object a line"));
    };
    keys.retain(|key, _| !ignore.contains(key));
    let fits = |(needed, more): &(&[&str], &[&str])| {
        needed.iter().all(|key| keys.contains_key(*key))
            && keys.keys().all(|key| needed.contains(&key.as_str()) || more.contains(&key.as_str()))
    };
    let Some(kind) = KINDS.iter().position(fits) else { return Err(unknown(&keys, place).into()) };
    if kind >= 4 {
        return pair(keys, &place);
    }
    let mut reader = Reader { keys, place, faults: Vec::new() };
    let tools = reader.value("tools").unwrap_or_default();
    let row = match kind {
        0 => {
            let turns = reader.value::<Vec<Message>>("messages").unwrap_or_default();
            Row::new(&reader.place, Lesson::Replies, Said::Turns(Vec::new()), vec![(Said::Turns(turns), None)], tools)
        }
        1 => {
            let [prompt, completion] = reader.said(["prompt", "completion"]);
            Row::new(&reader.place, Lesson::Replies, prompt, vec![(completion, None)], tools)
        }
        2 => {
            let [prompt, chosen, rejected] = reader.said(["prompt", "chosen", "rejected"]);
            let replies = vec![(chosen, Some(Verdict::Chosen)), (rejected, Some(Verdict::Rejected))];
            Row::new(&reader.place, Lesson::Preferences, prompt, replies, tools)
        }
        _ => {
            let [prompt, completion] = reader.said(["prompt", "completion"]);
            let verdict = if reader.value("label").unwrap_or(false) { Verdict::Good } else { Verdict::Bad };
            Row::new(&reader.place, Lesson::Judgments, prompt, vec![(completion, Some(verdict))], tools)
        }
    };
    Error::collect(row, reader.faults)
}

/// A row of texts that belong together.
fn pair(keys: Map<String, Value>, place: &Place) -> Result<Row> {
    let pair: TextPair = serde_json::from_value(Value::Object(keys)).map_err(|error| {
        let hint = "`anchor` and `positive` are texts, `negative` is one or a list of them";
        Error::user(place.clone(), error.to_string()).hint(hint)
    })?;
    let faults = pair.faults();
    let texts = pair.texts().map(|(key, text)| {
        let verdict = match key {
            "anchor" => Verdict::Anchor,
            "positive" => Verdict::Positive,
            _ => Verdict::Negative,
        };
        (Said::Text(text.to_owned()), Some(verdict))
    });
    let row = Row::new(place, Lesson::Pairs, Said::Text(String::new()), texts.collect(), Vec::new());
    Error::collect(row, faults.into_iter().map(|(key, what)| Fault::new(place.clone().with_key(key), what)).collect())
}

fn unknown(keys: &Map<String, Value>, place: Place) -> Fault {
    let known: Vec<_> = KINDS.iter().map(|(needed, _)| format!("`{}`", needed.join("`, `"))).collect();
    let found: Vec<_> = keys.keys().map(|key| format!("`{key}`")).collect();
    let found = if found.is_empty() { "nothing".to_owned() } else { found.join(", ") };
    Fault::new(place, format!("a row of {found} is no example")).hint(format!(
        "a row has {}, and may have `tools`, or `negative` beside a `positive`; `ignore = [\"KEY\"]` leaves a key unread",
        known.join(" or ")
    ))
}

impl Row {
    fn new(
        place: &Place,
        lesson: Lesson,
        prompt: Said,
        replies: Vec<(Said, Option<Verdict>)>,
        tools: Vec<Tool>,
    ) -> Self {
        Self { place: place.clone(), prompt, replies, tools, lesson }
    }

    /// The conversation of a reply, and how many of its turns are the prompt; `None` where the row is texts.
    pub(super) fn conversation(&self, reply: &Said) -> Option<(Conversation, usize)> {
        let (Said::Turns(prompt), Said::Turns(reply)) = (&self.prompt, reply) else { return None };
        let messages = prompt.iter().chain(reply).cloned().collect();
        Some((Conversation { messages, tools: self.tools.clone() }, prompt.len()))
    }
}

struct Reader {
    keys: Map<String, Value>,
    place: Place,
    faults: Vec<Fault>,
}

impl Reader {
    fn value<T: for<'d> Deserialize<'d>>(&mut self, key: &str) -> Option<T> {
        let value = self.keys.remove(key)?;
        let place = self.place.clone().with_key(key);
        serde_json::from_value(value).map_err(|error| self.faults.push(Fault::new(place, error.to_string()))).ok()
    }

    /// The values of keys, all texts or all turns.
    fn said<const N: usize>(&mut self, keys: [&str; N]) -> [Said; N] {
        let said = keys.map(|key| match self.keys.get(key) {
            Some(Value::String(text)) => Said::Text(text.clone()),
            _ => Said::Turns(self.value(key).unwrap_or_default()),
        });
        let texts = said.iter().filter(|said| matches!(said, Said::Text(_))).count();
        if texts != 0 && texts != N {
            let message = format!("some of `{}` are texts and some are turns", keys.join("`, `"));
            self.faults
                .push(Fault::new(self.place.clone(), message).hint("write all as texts, or all as lists of messages"));
        }
        if texts != 0 && self.keys.contains_key("tools") {
            self.faults.push(Fault::new(self.place.clone(), "texts have no `tools`"));
        }
        for (key, said) in keys.iter().zip(&said).skip(1) {
            let replies = match said {
                Said::Text(text) => !text.is_empty(),
                Said::Turns(turns) => turns.iter().any(|turn| turn.role == Role::Assistant),
            };
            if !replies && self.faults.is_empty() {
                self.faults.push(Fault::new(self.place.clone().with_key(*key), "there is no reply in it"));
            }
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(line: &str) -> Result<Row> {
        parse(line, Place { line: Some(7), ..Place::file("rows.jsonl") }, &["score".to_owned()])
    }

    #[test]
    fn each_kind_is_known_by_its_keys() {
        let text = |text: &str| Said::Text(text.to_owned());
        let found = row(r#"{"prompt": "a", "completion": "b", "score": 3}"#).unwrap();
        assert_eq!((&found.prompt, &found.replies[..]), (&text("a"), &[(text("b"), None)][..]));
        let found = row(r#"{"prompt": "a", "rejected": "c", "chosen": "b"}"#).unwrap();
        assert_eq!(found.lesson, Lesson::Preferences);
        assert_eq!(found.replies, [(text("b"), Some(Verdict::Chosen)), (text("c"), Some(Verdict::Rejected))]);
        let found = row(r#"{"prompt": "a", "completion": "b", "label": false}"#).unwrap();
        assert_eq!((found.lesson, found.replies[0].1), (Lesson::Judgments, Some(Verdict::Bad)));
        let found = row(r#"{"query": "a", "positive": "b", "negative": ["c", "d"], "score": 1}"#).unwrap();
        assert_eq!(found.lesson, Lesson::Pairs);
        let said =
            [("a", Verdict::Anchor), ("b", Verdict::Positive), ("c", Verdict::Negative), ("d", Verdict::Negative)];
        assert_eq!(found.replies, said.map(|(words, verdict)| (text(words), Some(verdict))));
        let found = row(r#"{"messages": [{"role": "user", "content": "a"}]}"#).unwrap();
        let (conversation, prompt) = found.conversation(&found.replies[0].0).unwrap();
        assert_eq!((conversation.messages.len(), prompt), (1, 0));
    }

    #[test]
    fn other_rows_are_refused_with_file_and_line() {
        for (line, words) in [
            (r#"{"text": "a"}"#, "rows.jsonl:7: a row of `text` is no example"),
            (r#"{"prompt": "a", "completion": "b", "rating": 1}"#, "`ignore = [\"KEY\"]`"),
            (r#"{"prompt": "a", "completion": [{"role": "assistant", "content": "b"}]}"#, "some are turns"),
            (r#"{"prompt": "a", "completion": 3}"#, "rows.jsonl:7: completion: invalid type"),
            (r#"{"prompt": "a", "completion": "b", "label": "good"}"#, "rows.jsonl:7: label: invalid type"),
            (r#"{"prompt": "a", "completion": ""}"#, "rows.jsonl:7: completion: there is no reply"),
            (r#"{"messages": [{"role": "model", "content": "a"}]}"#, "unknown variant `model`"),
            (r#"{"anchor": "a"}"#, "rows.jsonl:7: a row of `anchor` is no example"),
            (r#"{"anchor": "a", "positive": 3}"#, "rows.jsonl:7: invalid type"),
            (r#"{"anchor": "a", "positive": "b", "negative": {}}"#, "a text or a list of texts"),
            (r#"{"anchor": "a", "positive": " "}"#, "rows.jsonl:7: positive: the text is empty"),
            (
                r#"{"anchor": "a", "positive": "b", "negative": "b"}"#,
                "rows.jsonl:7: negative: the negative is the positive",
            ),
            ("[1]", "rows.jsonl:7: this is no JSON object"),
            ("{", "rows.jsonl:7:1: this is no JSON"),
        ] {
            let error = row(line).unwrap_err().to_string();
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
