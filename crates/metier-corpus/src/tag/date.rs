use super::{Known, Span, Tag, Tagger, whole};
use crate::layout::Layout;
use metier_core::part::{Build, Part};
use metier_core::{Error, Fault, Place, Result};
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// # What it does
/// Tags the year from which a document is, and the period to which it belongs, where its metadata or its beginning says so. A year is never guessed.
///
/// # How
/// What stands under `key` in the document's metadata decides (the reader must `keep` it): a year as a number, or a text in which one year stands. Where there is
/// none, dates are looked for in the first `characters` of the text: "12 May 1876", "May 12, 1876", "May 1876", "1876-05-12", and a year behind "copyright" or "(c)". If all
/// of them are of one year, it is the document's. `year` is the year as the score, over the document or over the first date that says it. When there are
/// several, each is a span `candidate` with its year, and the document is `ambiguous`; with none it is `undated`. Years from `earliest` to `latest` count.
///
/// `bounds` cuts time into periods: with 1750, 1820 and 1850 a year from 1750 to 1819 gives `period_1750_1820`, and one before or behind all of them
/// `outside`.
///
/// # When to use
/// To train a model for each period, or to leave out what is too new.
///
/// # Differs from the paper in
/// Fittschen et al. join a library's catalog with what is known of authors, and ask a model for the year in which a work was written; here only what is
/// stated counts. A catalog joined by other means is read as metadata. Periods are half open, as there.
///
/// # Source
/// Fittschen et al. 2026, Pretraining Language Models for Diachronic Linguistic Change Discovery (arXiv:2504.05523).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Date {
    /// What the document's date is called in its metadata.
    pub key: String,
    /// Characters at the beginning of the text in which dates are looked for; 0 for none.
    pub characters: usize,
    /// The first year that counts.
    #[schemars(range(min = 1, max = 9999))]
    pub earliest: u32,
    /// The last year that counts.
    #[schemars(range(min = 1, max = 9999))]
    pub latest: u32,
    /// Borders of periods, each later than the one before.
    pub bounds: Vec<u32>,
}

impl Default for Date {
    fn default() -> Self {
        Self { key: "date".to_owned(), characters: 1000, earliest: 1450, latest: 2100, bounds: Vec::new() }
    }
}

const YEAR: u16 = 0;
const CANDIDATE: u16 = 1;
const AMBIGUOUS: u16 = 2;
const UNDATED: u16 = 3;
const OUTSIDE: u16 = 4;
/// The first of the periods.
const PERIODS: u16 = 5;

const MONTH: &str = r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?";

struct Dates {
    settings: Date,
    pattern: Regex,
    year: Regex,
}

impl Tag for Arc<Dates> {
    fn name(&self) -> String {
        "date".to_owned()
    }

    fn kinds(&self) -> Vec<String> {
        let own = ["year", "candidate", "ambiguous", "undated", "outside"].map(str::to_owned);
        let periods = self.settings.bounds.windows(2).map(|bounds| format!("period_{}_{}", bounds[0], bounds[1]));
        own.into_iter().chain(periods).collect()
    }

    fn start(&self) -> Box<dyn Tagger> {
        Box::new(Worker(Arc::clone(self)))
    }
}

struct Worker(Arc<Dates>);

impl Tagger for Worker {
    fn tag(&mut self, layout: &Layout, spans: &mut Vec<Span>) {
        self.0.say(layout, &Known::default(), spans);
    }

    fn tag_with(&mut self, layout: &Layout, known: &Known, spans: &mut Vec<Span>) -> Result<()> {
        self.0.say(layout, known, spans);
        Ok(())
    }
}

impl Dates {
    fn say(&self, layout: &Layout, known: &Known, spans: &mut Vec<Span>) {
        if let Some(year) = self.stated(known) {
            spans.push(whole(layout, YEAR, f64::from(year)));
            self.period(layout, year, spans);
            return;
        }
        let found = self.found(layout);
        let Some((first, others)) = found.split_first() else {
            spans.push(whole(layout, UNDATED, 1.0));
            return;
        };
        if others.iter().all(|other| other.score.total_cmp(&first.score).is_eq()) {
            spans.push(Span { kind: YEAR, ..*first });
            self.period(layout, first.score as u32, spans);
        } else {
            spans.extend(&found);
            spans.push(whole(layout, AMBIGUOUS, 1.0));
        }
    }

    fn counts(&self, year: u32) -> bool {
        (self.settings.earliest..=self.settings.latest).contains(&year)
    }

    /// The year that the metadata states, if it states one.
    fn stated(&self, known: &Known) -> Option<u32> {
        let year = match known.value(&self.settings.key)? {
            Value::Number(number) => u32::try_from(number.as_u64()?).ok()?,
            Value::String(text) => {
                let mut years = self.year.find_iter(text).filter_map(|year| year.as_str().parse().ok());
                let first = years.find(|year| self.counts(*year))?;
                if years.any(|other| self.counts(other) && other != first) {
                    return None;
                }
                first
            }
            _ => return None,
        };
        self.counts(year).then_some(year)
    }

    /// The dates at the beginning of a text.
    fn found(&self, layout: &Layout) -> Vec<Span> {
        let text = layout.text();
        let end = text.char_indices().nth(self.settings.characters).map_or(text.len(), |(at, _)| at);
        let mut out = Vec::new();
        for found in self.pattern.captures_iter(&text[..end]) {
            let Some(all) = found.get(0) else { continue };
            let year = found.iter().skip(1).flatten().find_map(|group| group.as_str().parse::<u32>().ok());
            // A date that the beginning cuts in two may be another one.
            if let Some(year) = year.filter(|year| self.counts(*year))
                && !text[all.end()..].starts_with(|letter: char| letter.is_ascii_digit())
            {
                let (start, end) = (layout.character(all.start()), layout.character(all.end()));
                out.push(Span { start, end, kind: CANDIDATE, score: f64::from(year) });
            }
        }
        out
    }

    fn period(&self, layout: &Layout, year: u32, spans: &mut Vec<Span>) {
        let bounds = &self.settings.bounds;
        if bounds.is_empty() {
            return;
        }
        let behind = bounds.partition_point(|bound| *bound <= year);
        let kind = if behind == 0 || behind == bounds.len() { OUTSIDE } else { PERIODS + behind as u16 - 1 };
        spans.push(whole(layout, kind, 1.0));
    }
}

impl Build<dyn Tag> for Date {
    fn build(self, place: &Place) -> Result<Box<dyn Tag>> {
        let refuse = |message: &str| Err(Fault::new(place.clone(), message).into());
        if self.earliest > self.latest || self.latest > 9999 {
            return refuse("`earliest` is at most `latest`, and that at most 9999");
        }
        if self.bounds.len() == 1 || self.bounds.len() > 1000 || self.bounds.windows(2).any(|two| two[0] >= two[1]) {
            return refuse("`bounds` are two or more years, at most 1000, each later than the one before");
        }
        let pattern = |pattern: &str| {
            Regex::new(pattern).map_err(|error| Error::program(format!("the pattern of dates: {error}")))
        };
        let dates = [
            format!(r"\b\d{{1,2}}(?:st|nd|rd|th)?[ \t]+(?:of[ \t]+)?{MONTH},?[ \t]+(\d{{4}})\b"),
            format!(r"\b{MONTH}[ \t]+(?:\d{{1,2}}(?:st|nd|rd|th)?,?[ \t]+)?(\d{{4}})\b"),
            r"\b(\d{4})-\d{2}-\d{2}".to_owned(),
            r"(?:\bcopyright|\(c\)|\u{a9})[ \t]*(?:\(c\)|\u{a9})?[ \t]*(\d{4})\b".to_owned(),
        ];
        let (pattern, year) = (pattern(&format!("(?i){}", dates.join("|")))?, pattern(r"\b\d{4}\b")?);
        Ok(Box::new(Arc::new(Dates { settings: self, pattern, year })))
    }
}

/// The record of `date`.
pub static PART: Part<dyn Tag> = Part::of::<Date>("date", 1);

#[cfg(test)]
mod tests {
    use super::*;
    use metier_core::data::Metadata;
    use serde_json::json;

    fn said(settings: Date, text: &str, date: Value) -> Vec<(String, String, f64)> {
        let part = settings.build(&Place::default()).unwrap();
        let (mut layout, mut spans) = (Layout::default(), Vec::new());
        layout.set(text);
        let metadata = Metadata::from([("date".to_owned(), date)]);
        part.start().tag_with(&layout, &Known { source: "", metadata: Some(&metadata) }, &mut spans).unwrap();
        let letters: Vec<char> = text.chars().collect();
        let kinds = part.kinds();
        let told = |span: &Span| {
            (kinds[usize::from(span.kind)].clone(), letters[span.start..span.end].iter().collect(), span.score)
        };
        spans.iter().map(told).collect()
    }

    #[test]
    fn what_the_metadata_states_decides() {
        let text = "May 1999";
        for date in [json!(1850), json!("1850-01-02T00:00:00Z"), json!("about 1850, June"), json!("1850 (1850)")] {
            let settings = Date { bounds: vec![1750, 1850, 1900], ..Date::default() };
            let all = |kind: &str, score| (kind.to_owned(), text.to_owned(), score);
            assert_eq!(said(settings, text, date), [all("year", 1850.0), all("period_1850_1900", 1.0)]);
        }
        for date in [json!(null), json!("1850 or 1851"), json!("no"), json!(12), json!(-1850), json!("20000")] {
            assert_eq!(said(Date::default(), text, date), [("year".to_owned(), text.to_owned(), 1999.0)]);
        }
    }

    #[test]
    fn dates_at_the_beginning_are_candidates() {
        for date in [
            "12 May 1876",
            "3rd of March 1876",
            "May 12, 1876",
            "Sept. 1876",
            "1876-05-12",
            "Copyright (c) 1876",
            "\u{a9} 1876",
        ] {
            let text = format!("\u{c9} {date}; and 1999, or room 1998.");
            assert_eq!(
                said(Date::default(), &text, json!(null)),
                [("year".to_owned(), date.to_owned(), 1876.0)],
                "{text}"
            );
        }
        let two = said(Date::default(), "May 1876 and (c) 1900", json!(null));
        let kinds: Vec<&str> = two.iter().map(|(kind, ..)| kind.as_str()).collect();
        assert_eq!(kinds, ["candidate", "candidate", "ambiguous"]);
        for text in ["", "maybe 1876", "May 187", "May 18765", "May 1449", "12 May 3000"] {
            assert_eq!(said(Date::default(), text, json!(null))[0].0, "undated", "{text}");
        }
        let short = Date { characters: 8, ..Date::default() };
        assert_eq!(said(short, "May 18765", json!(null))[0].0, "undated");
        let outside = Date { bounds: vec![1900, 1950], ..Date::default() };
        assert_eq!(said(outside, "May 1950", json!(null))[1].0, "outside");
    }

    #[test]
    fn bounds_must_rise() {
        for bounds in [vec![1900], vec![1900, 1900], vec![1950, 1900]] {
            assert!(Date { bounds, ..Date::default() }.build(&Place::default()).is_err());
        }
        assert!(Date { earliest: 2000, latest: 1000, ..Date::default() }.build(&Place::default()).is_err());
    }
}
