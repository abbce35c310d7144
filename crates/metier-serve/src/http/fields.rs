//! The fields of a request's body, each asked for by name, so that what nobody asks for is found.

use super::failure::Failure;
use axum::http::StatusCode;
use metier_core::fault::near_miss;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;
use std::fmt;
use std::ops::RangeInclusive;

/// The fields of one JSON object that nobody has asked for yet, and what was wrong with the others.
pub(crate) struct Fields {
    /// Where the object lies: empty, or with a dot at the end.
    prefix: String,
    entries: Vec<(String, Value)>,
    known: Vec<&'static str>,
    faults: Vec<(String, String)>,
    /// The status and the code of the whole, when one fault has its own.
    special: Option<(StatusCode, &'static str)>,
}

/// An object whose names all differ.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries: Vec<(String, Value)> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if entries.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom(format!("the field `{name}` is given twice")));
                    }
                    // What nobody could have sent on purpose is not worth comparing.
                    if entries.len() == 1000 {
                        return Err(A::Error::custom("more than 1000 fields"));
                    }
                    entries.push((name, map.next_value()?));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl Fields {
    /// The object in a body. What is no JSON is refused with line and column.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Failure> {
        let Entries(entries) = serde_json::from_slice(body)
            .map_err(|error| Failure::request(format!("the body is no JSON object as expected: {error}")))?;
        Ok(Self { prefix: String::new(), entries, known: Vec::new(), faults: Vec::new(), special: None })
    }

    /// Reads an object inside of this one; its faults are named by where it lies. `None` when `value` is no object.
    pub(crate) fn inside<T>(&mut self, place: &str, value: Value, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let Value::Object(map) = value else {
            self.fault(place, "must be an object");
            return None;
        };
        let prefix = format!("{}{place}.", self.prefix);
        let entries = map.into_iter().collect();
        let mut inner = Self { prefix, entries, known: Vec::new(), faults: Vec::new(), special: None };
        let read = read(&mut inner);
        inner.close();
        self.faults.append(&mut inner.faults);
        Some(read)
    }

    /// The value of a field; `null` counts as left out.
    pub(crate) fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        let at = self.entries.iter().position(|(known, _)| known == name)?;
        Some(self.entries.swap_remove(at).1).filter(|value| !value.is_null())
    }

    /// Notes what is wrong with a field.
    pub(crate) fn fault(&mut self, name: impl Into<String>, message: impl Into<String>) {
        self.faults.push((format!("{}{}", self.prefix, name.into()), message.into()));
    }

    /// Notes that what a field names is not there.
    pub(crate) fn not_found(&mut self, name: &str, code: &'static str, message: String) {
        self.special.get_or_insert((StatusCode::NOT_FOUND, code));
        self.fault(name, message);
    }

    /// A field that changes nothing here and is allowed for.
    pub(crate) fn without_effect(&mut self, name: &'static str) {
        self.take(name);
    }

    /// A field that this server cannot carry out, refused unless it has one of the values that ask for nothing.
    pub(crate) fn only(&mut self, name: &'static str, harmless: &[Value], why: &str) {
        if let Some(value) = self.take(name)
            && !harmless.contains(&value)
        {
            self.fault(name, why);
        }
    }

    /// As [`Fields::take`]; a fault when it is left out.
    pub(crate) fn required(&mut self, name: &'static str) -> Option<Value> {
        let value = self.take(name);
        if value.is_none() {
            self.fault(name, "is missing");
        }
        value
    }

    /// `true` or `false`, false when left out.
    pub(crate) fn flag(&mut self, name: &'static str) -> bool {
        self.choice(name).unwrap_or(false)
    }

    /// `true` or `false`.
    pub(crate) fn choice(&mut self, name: &'static str) -> Option<bool> {
        let value = self.take(name)?;
        if value.as_bool().is_none() {
            self.fault(name, "must be true or false");
        }
        value.as_bool()
    }

    /// A number in a range.
    pub(crate) fn number(&mut self, name: &'static str, range: RangeInclusive<f32>) -> Option<f32> {
        let value = self.take(name)?;
        let number = value.as_f64().map(|number| number as f32).filter(|number| range.contains(number));
        if number.is_none() {
            self.fault(name, format!("must be a number from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// A whole number in a range.
    pub(crate) fn whole(&mut self, name: &'static str, range: RangeInclusive<usize>) -> Option<usize> {
        let value = self.take(name)?;
        let number = value.as_u64().map(|number| number as usize).filter(|number| range.contains(number));
        if number.is_none() {
            let most = if *range.end() == usize::MAX { " or more".to_owned() } else { format!(" to {}", range.end()) };
            self.fault(name, format!("must be a whole number, {}{most}", range.start()));
        }
        number
    }

    /// A text.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        let value = self.take(name)?;
        self.as_text(name, value)
    }

    /// As [`Fields::text`]; a fault when it is left out.
    pub(crate) fn required_text(&mut self, name: &'static str) -> Option<String> {
        let value = self.required(name)?;
        self.as_text(name, value)
    }

    fn as_text(&mut self, name: &str, value: Value) -> Option<String> {
        if let Value::String(text) = value {
            return Some(text);
        }
        self.fault(name, "must be a text");
        None
    }

    /// One text, or a list of `most` at most.
    pub(crate) fn texts(&mut self, name: &'static str, most: usize) -> Option<Vec<String>> {
        let texts = match self.take(name)? {
            Value::String(text) => Some(vec![text]),
            Value::Array(items) if items.len() <= most => {
                items.into_iter().map(|item| if let Value::String(text) = item { Some(text) } else { None }).collect()
            }
            _ => None,
        };
        if texts.is_none() {
            self.fault(name, format!("must be a text or a list of at most {most} texts"));
        }
        texts
    }

    /// Everything was asked for; gives what was read, which is there when nothing was wrong. Refused with all faults at
    /// once, fields that nobody asked for among them.
    pub(crate) fn finish<T>(mut self, read: Option<T>) -> Result<T, Failure> {
        self.close();
        let Some((param, _)) = self.faults.first() else {
            return read.ok_or_else(|| Failure::program("a request without faults could not be read"));
        };
        let lines: Vec<String> = self.faults.iter().map(|(name, message)| format!("`{name}` {message}")).collect();
        let failure = match self.special {
            Some((status, code)) => Failure::refused(status, lines.join("\n")).code(code),
            None => Failure::request(lines.join("\n")),
        };
        Err(failure.param(param))
    }

    fn close(&mut self) {
        for (name, _) in std::mem::take(&mut self.entries) {
            let hint = near_miss(&name, self.known.iter().copied())
                .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            self.fault(name, format!("is no field here{hint}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str, ask: impl FnOnce(&mut Fields)) -> String {
        let mut fields = match Fields::parse(body.as_bytes()) {
            Ok(fields) => fields,
            Err(failure) => return failure.json()["error"]["message"].as_str().unwrap().to_owned(),
        };
        ask(&mut fields);
        fields
            .finish(Some(()))
            .map_or_else(|failure| failure.json()["error"]["message"].as_str().unwrap().to_owned(), |()| String::new())
    }

    #[test]
    fn all_faults_come_together_and_slips_are_named() {
        let said = message(r#"{"temprature": 1, "top_p": "x", "n": 0, "stream": null, "zzz": 1}"#, |fields| {
            assert_eq!(fields.number("temperature", 0.0..=2.0), None);
            assert_eq!(fields.number("top_p", 0.0..=1.0), None);
            assert_eq!(fields.whole("n", 1..=128), None);
            assert!(!fields.flag("stream"));
        });
        for line in [
            "`top_p` must be a number from 0 to 1",
            "`n` must be a whole number, 1 to 128",
            "`temprature` is no field here; did you mean `temperature`?",
            "`zzz` is no field here",
        ] {
            assert!(said.lines().any(|said| said == line), "{said}");
        }
    }

    #[test]
    fn what_is_no_object_or_says_a_field_twice_is_refused_with_its_place() {
        assert!(message("[1]", |_| {}).contains("a JSON object"));
        assert!(message("{\"a\": 1, \"a\": 2}", |_| {}).contains("`a` is given twice"));
        assert!(message("{\"a\": \n  b}", |_| {}).contains("line 2 column 3"));
        assert!(message("{\"a\": 1", |_| {}).contains("EOF"));
    }

    #[test]
    fn what_asks_for_nothing_is_allowed() {
        let ask =
            |fields: &mut Fields| fields.only("tools", &[serde_json::json!([])], "cannot be used with this model");
        assert_eq!(message(r#"{"tools": []}"#, ask), "");
        assert_eq!(message(r#"{"tools": [1]}"#, ask), "`tools` cannot be used with this model");
    }
}
