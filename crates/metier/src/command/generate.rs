//! `metier generate`.

use super::{Global, Verdict, lines};
use metier_core::data::{Message, Role};
use metier_core::seam::{Generate, GenerateRequest, Prompt, Reply, Sampling};
use metier_core::{Error, Fault, Place, Result};
use serde_json::json;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

/// How a model is asked; the same for `generate` and `chat`.
#[derive(Debug, Clone, clap::Args)]
pub struct SamplingArguments {
    /// Most tokens to make
    #[arg(long, default_value_t = 256, value_name = "N")]
    pub max_tokens: usize,
    /// 0 takes the likeliest token each time
    #[arg(long, default_value_t = 0.0, value_name = "T")]
    pub temperature: f32,
    /// Keep the K likeliest tokens; 0 keeps all
    #[arg(long, default_value_t = 0, value_name = "K")]
    pub top_k: usize,
    /// Keep the smallest set of tokens with this probability
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    pub top_p: f32,
    /// Keep tokens at least this fraction as likely as the likeliest
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    pub min_p: f32,
    /// Make tokens already seen less likely; 1 changes nothing
    #[arg(long, default_value_t = 1.0, value_name = "R")]
    pub repetition_penalty: f32,
    /// Make tokens that the reply has already less likely by this much
    #[arg(long, default_value_t = 0.0, value_name = "P", allow_negative_numbers = true)]
    pub presence_penalty: f32,
    /// Make tokens less likely by this much for each time that the reply has them already
    #[arg(long, default_value_t = 0.0, value_name = "P", allow_negative_numbers = true)]
    pub frequency_penalty: f32,
    /// End before this text; may be given more than once
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
}

impl SamplingArguments {
    /// The request for a prompt.
    pub fn request(&self, prompt: Prompt, global: &Global) -> Result<GenerateRequest> {
        let mut faults = Vec::new();
        let mut range = |name: &str, good: bool, wanted: &str| {
            if !good {
                faults.push(Fault::new(Place::key(format!("--{name}")), format!("must be {wanted}")));
            }
        };
        range("max-tokens", self.max_tokens > 0, "at least 1");
        range("temperature", self.temperature >= 0.0 && self.temperature.is_finite(), "0 or more");
        range("top-p", self.top_p > 0.0 && self.top_p <= 1.0, "above 0 and at most 1");
        range("min-p", (0.0..1.0).contains(&self.min_p), "at least 0 and below 1");
        range("repetition-penalty", self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite(), "above 0");
        range("presence-penalty", self.presence_penalty.abs() <= 2.0, "from -2 to 2");
        range("frequency-penalty", self.frequency_penalty.abs() <= 2.0, "from -2 to 2");
        Error::collect((), faults)?;
        Ok(GenerateRequest {
            prompt,
            max_tokens: Some(self.max_tokens),
            stop: self.stop.clone(),
            sampling: Sampling {
                temperature: self.temperature,
                top_k: self.top_k,
                top_p: self.top_p,
                min_p: self.min_p,
                repetition_penalty: self.repetition_penalty,
                presence_penalty: self.presence_penalty,
                frequency_penalty: self.frequency_penalty,
                seed: global.seed.unwrap_or(0),
            },
            top_logprobs: 0,
        })
    }
}

/// Generate text with a model: one prompt, or a file of prompts to a file of replies
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples: metier generate specialist --prompt 'The TCP header'\n          metier generate model.gguf --chat --prompt 'What is DNS?'\n          metier generate specialist --input prompts.jsonl --output replies.jsonl"
)]
pub struct Arguments {
    /// A model folder, a GGUF file, an artifact's id or a stage name
    #[arg(value_name = "MODEL")]
    model: String,
    /// The text to continue; standard input when neither this nor --input is given
    #[arg(long, value_name = "TEXT", conflicts_with = "input")]
    prompt: Option<String>,
    /// JSON lines with `prompt` (or `messages`), and an optional `id`
    #[arg(long, value_name = "FILE", requires = "output")]
    input: Option<PathBuf>,
    /// Where replies go, one line each; replies to the same requests that are there already are not made again
    #[arg(long, value_name = "FILE", requires = "input")]
    output: Option<PathBuf>,
    /// Write the prompt as a user's turn with the model's chat template
    #[arg(long)]
    chat: bool,
    #[command(flatten)]
    sampling: SamplingArguments,
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    let path = super::inspect::model_path(&arguments.model, global)?;
    let model = crate::stage::load_model_as_stored(&path)?;
    if let (Some(input), Some(output)) = (&arguments.input, &arguments.output) {
        let id = crate::fetch::local(&path)?.id;
        return file(&model, &id, arguments, input, output, global);
    }
    let text = match &arguments.prompt {
        Some(text) => text.clone(),
        None => std::io::read_to_string(std::io::stdin().lock())
            .map_err(|error| Error::io("standard input", "read", &error))?,
    };
    let request = arguments.sampling.request(prompt(text, arguments.chat), global)?;
    let reply = model.stream(&request, &mut [], &mut |delta| {
        (global.json || super::print(delta.text).is_ok()) && !metier_core::stop::requested()
    })?;
    if global.json {
        super::print_json(&reply_json(&reply))?;
    } else {
        super::print("\n")?;
    }
    Ok(Verdict::Fine)
}

fn prompt(text: String, chat: bool) -> Prompt {
    if chat { Prompt::Conversation(vec![Message::new(Role::User, text)].into()) } else { Prompt::Text(text) }
}

fn reply_json(reply: &Reply) -> serde_json::Value {
    json!({
        "text": reply.text, "finish": format!("{:?}", reply.finish).to_lowercase(),
        "prompt_tokens": reply.prompt_tokens, "completion_tokens": reply.tokens.len(),
    })
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: Option<serde_json::Value>,
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
}

fn file(
    model: &dyn Generate,
    model_id: &str,
    arguments: &Arguments,
    input: &Path,
    output: &Path,
    global: &Global,
) -> Result<Verdict> {
    let reading = std::fs::File::open(input).map_err(|error| Error::io(input, "open", &error))?;
    let mut prompts = Vec::new();
    let mut faults = Vec::new();
    for (index, line) in std::io::BufReader::new(reading).lines().enumerate() {
        let line = line.map_err(|error| Error::io(input, "read", &error))?;
        if line.trim().is_empty() {
            continue;
        }
        let place = |column| Place::file(input).at(index + 1, column);
        match serde_json::from_str::<Line>(&line) {
            Err(error) => {
                // The place is said once: the line of the file, not that of the line.
                let message = error.to_string();
                let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
                faults.push(Fault::new(place(error.column()), message));
            }
            Ok(Line { id, prompt: Some(text), messages: None }) => prompts.push((id, prompt(text, arguments.chat))),
            Ok(Line { id, prompt: None, messages: Some(messages) }) => {
                prompts.push((id, Prompt::Conversation(messages.into())));
            }
            Ok(_) => faults.push(Fault::new(place(1), "a line needs `prompt` or `messages`, not both")),
        }
    }
    Error::collect((), faults)?;
    let mut requests = Vec::new();
    for (id, prompt) in prompts {
        let request = arguments.sampling.request(prompt, global)?;
        // `Debug` writes every field of a request, whichever it will have.
        let begin = lines::begin(id.as_ref(), &[model_id, &format!("{request:?}")]);
        requests.push((begin, request));
    }
    let begins: Vec<&str> = requests.iter().map(|(begin, _)| begin.as_str()).collect();
    let done = lines::finished(output, &begins)?;
    let failed = |error: std::io::Error| Error::io(output, "write", &error);
    let mut out = std::fs::OpenOptions::new().create(true).append(true).open(output).map_err(failed)?;
    let progress = metier_core::progress::Progress::new("generating", Some(requests.len() as u64), "replies");
    progress.resume_at(done as u64);
    for (begin, request) in &requests[done..] {
        if metier_core::stop::requested() {
            return Err(metier_core::stop::interrupted());
        }
        for reply in model.generate(std::slice::from_ref(request))? {
            let rest = reply_json(&reply).to_string();
            writeln!(out, "{begin}{}", &rest[1..]).map_err(failed)?;
        }
        progress.add(1);
    }
    progress.finish();
    Ok(Verdict::Fine)
}
