//! Constraints: the text of a reply is held to a form, token by token.
//!
//! At each step the tokens after which the text can no longer become what it must be are forbidden; the end is allowed
//! once the text is complete. The grammars are llguidance's.

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use metier_core::data::{Form, TokenId};
use metier_core::seam::{ProcessLogits, Tokenize};
use metier_core::{Error, Fault, Place, Result};
use serde_json::json;
use std::fmt::Display;
use std::sync::Arc;

/// The key of faults of a form.
const KEY: &str = "response_format";

/// The key under which llguidance takes settings inside of a schema.
const SETTINGS: &str = "x-guidance";
/// White space between the parts of a JSON text: one line break, and an indentation. Without a bound a small model goes
/// on writing it.
const WHITE_SPACE: &str = "\\n? {1,16}|\\n";

/// Holds replies of one model to forms. Made once for a vocabulary; safe to share between threads.
pub struct Constrainer {
    factory: ParserFactory,
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
        Ok(Self { factory })
    }

    /// What holds one reply to a form. Refused when the form cannot be carried out exactly: what is not supported of a
    /// schema is named.
    pub fn constrain(&self, form: &Form) -> Result<Box<dyn ProcessLogits>> {
        let grammar = match form {
            Form::JsonSchema(schema) => {
                let mut schema = schema.clone();
                if let Some(map) = schema.as_object_mut() {
                    let settings = json!({ "whitespace_pattern": WHITE_SPACE });
                    if map.insert(SETTINGS.to_owned(), settings).is_some() {
                        return Err(fault(format!("`{SETTINGS}` is no keyword of a schema")).into());
                    }
                }
                TopLevelGrammar::from_json_schema(schema)
            }
            Form::Regex(pattern) => TopLevelGrammar::from_regex(pattern),
        };
        let parser = self.factory.create_parser(grammar).map_err(|error| refused(&error))?;
        let mut matcher = Matcher::new(Ok(parser));
        // What the grammar could only allow for in part is told here.
        if let Some(error) = matcher.get_error().or_else(|| matcher.grammar_warnings().into_iter().next()) {
            return Err(refused(&error));
        }
        Ok(Box::new(Held { matcher, seen: None }))
    }
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

fn refused(error: &impl Display) -> Error {
    fault(format!("a reply cannot be held to this form: {error}")).into()
}

fn program(error: &impl Display) -> Error {
    Error::program(format!("holding a reply to a form failed: {error}"))
}
