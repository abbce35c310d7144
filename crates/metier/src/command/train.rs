//! `metier train`.

use super::inspect::model_path;
use super::{Global, Verdict, stage};
use crate::stage::{objective_of, open_tokenizer};
use metier_core::seam::Tokenize;
use metier_core::seed::Seed;
use metier_core::{Error, Place, Result};
use metier_tokenizer::pack::Shards;
use metier_train::sampler::Packed;
use metier_train::{Seen, Shown, TrainSettings, View, preview};
use serde_json::json;
use std::fmt::Write as _;
use std::io::IsTerminal as _;

/// Train a model on token shards, whole or through an adapter; settings are written as in a recipe
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples: metier train from=pack model=model.gguf adapter.method=lora steps=100\n          metier train from=pack model=chat objective.method=dpo optimizer.rate=5e-6\n          metier train preview pack --model model.gguf --examples 5\nInputs are paths, artifacts' ids or stage names. `metier explain train` lists the keys."
)]
#[group(skip)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    stage: stage::Arguments,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show what training will see: windows, the documents in them, what an objective makes of these, and which tokens are learned
    Preview(Preview),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples: metier train preview pack --model model.gguf --examples 5 --context 512\n          metier train preview pack objective.method=span objective.density=0.5 --model model.gguf\nWhat is hidden in the place of a token stands behind it, after an arrow."
)]
struct Preview {
    /// Token shards: a stage name, an artifact's id or its folder
    #[arg(value_name = "SHARDS")]
    shards: String,
    /// The objective and its settings, as in training: objective.method=span
    #[arg(value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// The model or tokenizer that they were packed with
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// Parts of documents to show at least, in whole windows
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    examples: u64,
    /// Tokens in a window, as in training
    #[arg(long, value_name = "TOKENS", default_value_t = TrainSettings::default().context as u64,
        value_parser = clap::value_parser!(u64).range(2..=1 << 24))]
    context: u64,
    /// Whether to write in color
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: Color,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Color {
    /// On a terminal
    Auto,
    /// Everywhere
    Always,
    /// Nowhere: what is learned stands in ⟦ ⟧
    Never,
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    match &arguments.verb {
        Some(Verb::Preview(preview)) => show(preview, global),
        None => stage::execute("train", &arguments.stage, global),
    }
}

fn show(arguments: &Preview, global: &Global) -> Result<Verdict> {
    let folder = model_path(&arguments.shards, global)?;
    let shards = Shards::open(&folder)?;
    let tokenizer = open_tokenizer(&model_path(&arguments.model, global)?)?;
    shards.check_tokenizer(tokenizer.as_ref())?;
    let objective = objective_of(&arguments.settings)?;
    let view = View {
        sampler: &Packed::default(),
        objective: &*objective.part,
        tokenizer: tokenizer.as_ref(),
        context: arguments.context as usize,
        seed: Seed::new(global.seed.unwrap_or(0)),
        examples: arguments.examples as usize,
    };
    let windows = preview(&shards, &view)?;
    if global.json {
        let windows: Vec<_> = windows.iter().map(|window| window_json(&shards, tokenizer.as_ref(), window)).collect();
        super::print_json(&json!({ "windows": windows }))?;
        return Ok(Verdict::Fine);
    }
    let color = match arguments.color {
        Color::Auto => std::io::stdout().is_terminal(),
        Color::Always => true,
        Color::Never => false,
    };
    let mut out = String::new();
    for (number, window) in (1..).zip(&windows) {
        write_window(&mut out, number, window, &shards, tokenizer.as_ref(), color)
            .map_err(|_| Error::user(Place::default(), "the preview cannot be written"))?;
    }
    super::print(&out)?;
    Ok(Verdict::Fine)
}

fn counts(window: &[Shown]) -> (usize, usize) {
    let learned = window.iter().flat_map(|shown| &shown.seen).filter(|seen| seen.learned).count();
    (window.iter().map(|shown| (shown.range.end - shown.range.start) as usize).sum(), learned)
}

fn window_json(shards: &Shards, tokenizer: &dyn Tokenize, window: &[Shown]) -> serde_json::Value {
    let (tokens, learned) = counts(window);
    let segments: Vec<_> = window
        .iter()
        .map(|shown| {
            let document = &shards.documents()[shown.document];
            let token = |seen: &Seen| {
                let mut token = json!({ "id": seen.id, "text": text_of(tokenizer, &[seen.id]), "learned": seen.learned });
                if let Some(hidden) = seen.hidden {
                    token["hidden"] = json!({ "id": hidden, "text": text_of(tokenizer, &[hidden]) });
                }
                token
            };
            let tokens: Vec<_> = shown.seen.iter().map(token).collect();
            json!({ "document": document.id, "verdict": document.verdict, "start": shown.range.start, "tokens": tokens })
        })
        .collect();
    json!({ "tokens": tokens, "learned": learned, "segments": segments })
}

fn write_window(
    out: &mut String,
    number: usize,
    window: &[Shown],
    shards: &Shards,
    tokenizer: &dyn Tokenize,
    color: bool,
) -> std::fmt::Result {
    let (heading, quiet, learned, plain) =
        if color { ("\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[0m") } else { ("", "", "⟦", "⟧") };
    let end = if color { plain } else { "" };
    let (tokens, count) = counts(window);
    writeln!(out, "{heading}window {number}: {tokens} tokens, {count} learned, {} documents{end}", window.len())?;
    for shown in window {
        let document = &shards.documents()[shown.document];
        let (tokens, count) = counts(std::slice::from_ref(shown));
        writeln!(
            out,
            "{heading}── {}: tokens {}.., {tokens} here, {count} learned{end}",
            safe(&document.id),
            shown.range.start
        )?;
        for run in shown.seen.chunk_by(|one, next| one.learned == next.learned && one.hidden.or(next.hidden).is_none())
        {
            let ids: Vec<u32> = run.iter().map(|seen| seen.id).collect();
            let text = if color {
                // Neighboring tokens differ by a line under every other one.
                let mut text = String::new();
                for (number, id) in ids.iter().enumerate() {
                    let token = text_of(tokenizer, &[*id]);
                    if number % 2 == 1 {
                        write!(text, "\x1b[4m{token}\x1b[24m")?;
                    } else {
                        text += &token;
                    }
                }
                text
            } else {
                text_of(tokenizer, &ids)
            };
            match (run[0].learned, run[0].hidden) {
                (true, Some(hidden)) => write!(out, "{learned}{text}→{}{plain}", text_of(tokenizer, &[hidden]))?,
                (true, None) => write!(out, "{learned}{text}{plain}")?,
                (false, _) => write!(out, "{quiet}{text}{end}")?,
            }
        }
        out.push('\n');
    }
    Ok(())
}

/// The text of tokens, special ones written out.
fn text_of(tokenizer: &dyn Tokenize, ids: &[u32]) -> String {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| tokenizer.bytes_of(*id).unwrap_or_default()).collect();
    safe(&String::from_utf8_lossy(&bytes))
}

/// A text that a terminal only shows: control characters are written as escapes.
fn safe(text: &str) -> String {
    text.chars()
        .flat_map(|letter| {
            let escaped = (letter.is_control() && letter != '\n').then(|| letter.escape_default());
            let shown = if escaped.is_none() { Some(letter) } else { None };
            escaped.into_iter().flatten().chain(shown)
        })
        .collect()
}
