//! `metier tokenizer`.

use super::{Global, Verdict, stage};
use metier_core::Result;
use metier_core::store;
use metier_tokenizer::scheme;
use std::path::PathBuf;

/// Learn a vocabulary, let one learn on, or write one in another form
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples: metier tokenizer train from=curate learn.vocabulary_size=32000\n          metier tokenizer extend from=curate model=base tokens=2000 initialize.method=cw2v\n          metier tokenizer convert tokenizer.model tokenizer.json"
)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Learn a vocabulary from curated documents; its settings are written as in a recipe
    Train(stage::Arguments),
    /// Learn new tokens from curated documents and give a model rows for them; settings as in a recipe
    Extend(stage::Arguments),
    /// Write a SentencePiece model, tekken.json, a tiktoken file or vocab.txt as a tokenizer.json
    Convert(Convert),
}

#[derive(Debug, clap::Args)]
struct Convert {
    /// The file to read; a tiktoken file is named after its encoding, as `cl100k_base.tiktoken`
    #[arg(value_name = "FILE")]
    from: PathBuf,
    /// The tokenizer.json to write
    #[arg(value_name = "TO")]
    to: PathBuf,
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    match &arguments.verb {
        Verb::Train(arguments) => stage::execute("tokenizer", arguments, global),
        Verb::Extend(arguments) => stage::execute("extend", arguments, global),
        Verb::Convert(Convert { from, to }) => {
            let json = scheme::json_of_file(from)?;
            // What is written must be readable.
            scheme::from_json(&json).map_err(|error| error.in_file(from))?;
            store::write_atomic(to, &json)?;
            if global.json {
                super::print_json(&serde_json::json!({ "tokenizer": to }))?;
            } else {
                super::print(&format!("{}\n", to.display()))?;
            }
            Ok(Verdict::Fine)
        }
    }
}
