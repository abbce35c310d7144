//! `metier chat`.

use super::decoding::{DecodingArguments, report};
use super::generate::SamplingArguments;
use super::{Global, Verdict, talk};
use metier_core::data::{Conversation, Message, Role};
use metier_core::progress::write_line;
use metier_core::seam::{Generate, Prompt};
use metier_core::{Error, Place, Result};
use rustyline::error::ReadlineError;

/// Talk to a model in the terminal
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: metier chat specialist\nIn the chat: /new begins again, /system TEXT sets standing instructions, /quit leaves"
)]
pub struct Arguments {
    /// A model folder, a GGUF file, an artifact's id or a stage name
    #[arg(value_name = "MODEL")]
    model: String,
    /// Standing instructions
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    #[command(flatten)]
    sampling: SamplingArguments,
    #[command(flatten)]
    decoding: DecodingArguments,
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    if global.json {
        return Err(
            Error::user(Place::key("--json"), "a chat is no JSON").hint("`metier generate --json` answers in JSON")
        );
    }
    let model = arguments.decoding.load(&super::inspect::model_path(&arguments.model, global)?, global)?;
    let mut editor = rustyline::DefaultEditor::new().map_err(|error| terminal(&error))?;
    let mut system = arguments.system.clone();
    let mut conversation = begin(system.as_deref());
    talk(global, "type a message; /new begins again, /system TEXT sets standing instructions, /quit leaves");
    loop {
        let line = match editor.readline("> ") {
            Ok(line) => line,
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => return Ok(Verdict::Fine),
            Err(error) => return Err(terminal(&error)),
        };
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let _ = editor.add_history_entry(line);
        match line.split_once(' ').unwrap_or((line, "")) {
            ("/quit" | "/exit", _) => return Ok(Verdict::Fine),
            ("/new", _) => conversation = begin(system.as_deref()),
            ("/system", text) => {
                system = Some(text.to_owned());
                conversation = begin(system.as_deref());
            }
            (command, _) if command.starts_with('/') => {
                talk(global, &format!("no command is called {command}; there are /new, /system TEXT and /quit"));
            }
            _ => {
                conversation.messages.push(Message::new(Role::User, line));
                let request = arguments.sampling.request(Prompt::Conversation(conversation.clone()), global)?;
                // Ctrl-C ends a reply, not the chat.
                metier_core::stop::clear();
                match model.stream(&request, Vec::new(), &mut |delta| super::print(delta.text).is_ok()) {
                    Ok(reply) => {
                        super::print("\n")?;
                        conversation.messages.push(Message::new(Role::Assistant, reply.text));
                        report([reply.drafted_tokens, reply.accepted_tokens], global);
                    }
                    Err(error) => {
                        conversation.messages.pop();
                        if metier_core::stop::is_interruption(&error) {
                            super::print("\n")?;
                        } else {
                            write_line(&format!("error: {error}"));
                        }
                    }
                }
            }
        }
    }
}

fn begin(system: Option<&str>) -> Conversation {
    system.map(|text| Message::new(Role::System, text)).into_iter().collect::<Vec<_>>().into()
}

fn terminal(error: &ReadlineError) -> Error {
    Error::file("terminal", error.to_string())
}
