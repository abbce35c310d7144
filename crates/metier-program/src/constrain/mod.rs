//! Constraints: the text of a reply is held to a form, token by token.
//!
//! At each step the tokens after which the text can no longer become what it must be are forbidden; the end is allowed
//! once the text is complete. The grammars are llguidance's.

mod bounds;
mod calls;

use crate::call::Syntax;
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use metier_core::data::{CallForm, Form, TokenId};
use metier_core::seam::{ProcessLogits, Tokenize};
use metier_core::{Error, Fault, Place, Result};
use serde_json::{Value, json};
use std::fmt::Display;
use std::sync::Arc;

/// The key of faults of a form.
const KEY: &str = "response_format";
/// The key of faults of functions.
const TOOLS: &str = "tools";

/// The key under which llguidance takes settings inside of a schema.
const SETTINGS: &str = "x-guidance";
/// White space between the parts of a JSON text: one line break, and an indentation. Without a bound a small model goes
/// on writing it.
const WHITE_SPACE: &str = "\\n? {1,16}|\\n";

/// Holds replies of one model to forms. Made once for a vocabulary; safe to share between threads.
pub struct Constrainer {
    factory: ParserFactory,
    calls: Option<&'static Syntax>,
}

impl Constrainer {
    /// Reads the vocabulary. `ends` are the ids that end a reply; refused when there are none, because a reply could
    /// then not end where its form does.
    pub fn new(tokenize: &dyn Tokenize, ends: &[TokenId]) -> Result<Self> {
        let size = tokenize.vocabulary_size();
        let ends: Vec<TokenId> = ends.iter().copied().filter(|end| (*end as usize) < size).collect();
        let Some(end) = ends.first() else {
            return Err(fault("the model has no token that ends a reply, so none can be held to a form").into());
        };
        let mut words = Vec::with_capacity(size);
        for id in 0..size as TokenId {
            let bytes = tokenize.bytes_of(id).unwrap_or_default();
            let special = !bytes.is_empty() && tokenize.visible_bytes(id)?.is_empty();
            let marker = special.then_some(TokTrie::SPECIAL_TOKEN_MARKER);
            words.push(marker.into_iter().chain(bytes).collect());
        }
        let trie = TokTrie::from(&TokRxInfo::new(size as u32, *end), &words).with_eos_tokens(&ends);
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&environment).map_err(|error| program(&error))?;
        factory.quiet();
        Ok(Self { factory, calls: None })
    }

    /// The same for a model that writes calls so; without it none can be held to calls.
    #[must_use]
    pub fn with_calls(mut self, syntax: Option<&'static Syntax>) -> Self {
        self.calls = syntax;
        self
    }

    /// What holds one reply to a form. Refused when the form cannot be carried out exactly: what is not supported of a
    /// schema is named.
    pub fn constrain(&self, form: &Form) -> Result<Box<dyn ProcessLogits>> {
        let matcher = match form {
            Form::JsonSchema(schema) => self.held(TopLevelGrammar::from_json_schema(with_settings(KEY, schema)?), KEY),
            Form::Regex(pattern) => self.held(TopLevelGrammar::from_regex(pattern), KEY),
            Form::Calls(calls) => self.held_to_calls(calls),
        }?;
        Ok(Box::new(Held { matcher, seen: None }))
    }

    /// What holds a reply to a grammar; `key` is what a refusal names.
    fn held(&self, grammar: TopLevelGrammar, key: &str) -> Result<Matcher> {
        let parser = self.factory.create_parser(grammar).map_err(|error| refused(key, &error))?;
        let mut matcher = Matcher::new(Ok(parser));
        // What the grammar could only allow for in part is told here.
        match matcher.get_error().or_else(|| matcher.grammar_warnings().into_iter().next()) {
            Some(error) => Err(refused(key, &error)),
            None => Ok(matcher),
        }
    }

    /// A schema that cannot be carried out is refused by the function it belongs to.
    fn held_to_calls(&self, form: &CallForm) -> Result<Matcher> {
        let Some(syntax) = self.calls else {
            return Err(Error::user(Place::key(TOOLS), "calls of this model cannot be told from its text"));
        };
        let mut faults = Vec::new();
        let mut schemas = Vec::new();
        for (number, tool) in form.tools.iter().enumerate() {
            let key = format!("{TOOLS}[{number}].function.parameters");
            match with_settings(&key, &tool.parameters) {
                Ok(schema) => schemas.push(schema),
                Err(error) => faults.extend(error.faults),
            }
        }
        Error::collect((), faults)?;
        let schema = |tool: &metier_core::data::Tool| {
            let number = form.tools.iter().position(|known| known.name == tool.name).unwrap_or(0);
            schemas[number].clone()
        };
        let grammar = TopLevelGrammar::from_lark(calls::grammar(syntax, form, schema));
        self.held(grammar, TOOLS).map_err(|error| {
            let faults = schemas.iter().enumerate().filter_map(|(number, schema)| {
                let key = format!("{TOOLS}[{number}].function.parameters");
                self.held(TopLevelGrammar::from_json_schema(schema.clone()), &key).err()
            });
            let faults: Vec<Fault> = faults.flat_map(|error| error.faults).collect();
            Error::collect((), faults).err().unwrap_or(error)
        })
    }
}

/// A schema with this program's settings for it.
fn with_settings(key: &str, schema: &Value) -> Result<Value> {
    let mut schema = schema.clone();
    bounds::sharpen(&mut schema);
    if let Some(map) = schema.as_object_mut() {
        let settings = json!({ "whitespace_pattern": WHITE_SPACE });
        if map.insert(SETTINGS.to_owned(), settings).is_some() {
            return Err(Error::user(Place::key(key), format!("`{SETTINGS}` is no keyword of a schema")));
        }
    }
    Ok(schema)
}

/// One reply on its way.
struct Held {
    matcher: Matcher,
    /// Tokens of the history that the matcher knows; the prompt's are none of them.
    seen: Option<usize>,
}

impl ProcessLogits for Held {
    fn process(&mut self, history: &[TokenId], logits: &mut [f32]) -> Result<()> {
        let seen = self.seen.replace(history.len()).unwrap_or(history.len());
        self.matcher.consume_tokens(&history[seen.min(history.len())..]).map_err(|error| program(&error))?;
        let mask = self.matcher.compute_mask_or_eos().map_err(|error| program(&error))?;
        for (id, logit) in logits.iter_mut().enumerate() {
            if id >= mask.len() || !mask.get(id) {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }
}

fn fault(message: impl Into<String>) -> Fault {
    Fault::new(Place::key(KEY), message)
}

fn refused(key: &str, error: &impl Display) -> Error {
    Error::user(Place::key(key), format!("a reply cannot be held to this form: {error}"))
}

fn program(error: &impl Display) -> Error {
    Error::program(format!("holding a reply to a form failed: {error}"))
}
