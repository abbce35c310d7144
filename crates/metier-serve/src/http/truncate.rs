//! Prompts that are cut to the context, where that was asked for.

use super::ask::Ask;
use super::failure::Failure;
use metier_core::data::{Conversation, Role};
use metier_core::seam::{GenerateRequest, Prompt};
use metier_core::{Error, Result};
use serde_json::{Value, json};

/// Cuts the prompts of a request that do not fit, and notes what was cut.
///
/// A text loses tokens at its beginning. A conversation loses its oldest turns, whole, without its standing instructions
/// and its last turn; one that still does not fit is left as it is, to be refused.
pub(super) async fn truncate(mut ask: Ask) -> Result<Ask, Failure> {
    // A long prompt takes a while to be read, and this thread has others to answer.
    let done = tokio::task::spawn_blocking(move || {
        let mut cut = Vec::new();
        for first in (0..ask.requests.len()).step_by(ask.each) {
            let Some((prompt, said)) = shortened(&ask, &ask.requests[first])? else { continue };
            for request in &mut ask.requests[first..first + ask.each] {
                request.prompt = prompt.clone();
            }
            let mut said = said;
            said["prompt"] = json!(first / ask.each);
            cut.push(said);
        }
        ask.truncated = (!cut.is_empty()).then(|| Value::Array(cut));
        Ok::<_, Error>(ask)
    });
    match done.await {
        Ok(done) => done.map_err(|error| Failure::of(&error)),
        Err(_) => Err(Failure::program("a prompt could not be cut")),
    }
}

/// The prompt of a request cut to the context, and what is said of it; `None` when there is nothing to cut.
fn shortened(ask: &Ask, request: &GenerateRequest) -> Result<Option<(Prompt, Value)>> {
    let served = &ask.model.served;
    // A reply without a limit of its own has a quarter of the context at least.
    let reply = request.max_tokens.unwrap_or(served.context_length / 4);
    let room = served.context_length.saturating_sub(reply);
    let ids = (served.encode)(&request.prompt)?;
    let whole = ids.len();
    if whole <= room || room == 0 {
        return Ok(None);
    }
    let said = |kept: usize| json!({ "prompt_tokens": whole, "kept_tokens": kept });
    let Prompt::Conversation(conversation) = &request.prompt else {
        let begin = served.tokenize.begin_of_text().filter(|id| ids.first() == Some(id) && room > 1);
        let last = room - usize::from(begin.is_some());
        let kept = begin.into_iter().chain(ids[whole - last..].iter().copied()).collect();
        return Ok(Some((Prompt::Tokens(kept), said(room))));
    };
    let turns: Vec<usize> =
        (0..conversation.messages.len()).filter(|at| conversation.messages[*at].role != Role::System).collect();
    // The result of a call means nothing without the call, and an answer nothing without its question.
    let begins = |drop: &usize| conversation.messages[turns[*drop]].role == Role::User || drop + 1 == turns.len();
    let drops: Vec<usize> = (1..turns.len()).filter(begins).collect();
    let without = |drop: usize| {
        let kept = |at: &usize| turns[..drop].binary_search(at).is_err();
        let messages = (0..conversation.messages.len()).filter(kept).map(|at| conversation.messages[at].clone());
        Prompt::Conversation(Conversation { messages: messages.collect(), tools: conversation.tools.clone() })
    };
    let (mut low, mut high) = (0, drops.len());
    let mut best = None;
    while low < high {
        let middle = usize::midpoint(low, high);
        let prompt = without(drops[middle]);
        let kept = (served.encode)(&prompt)?.len();
        if kept <= room {
            let mut said = said(kept);
            said["dropped_messages"] = json!(drops[middle]);
            best = Some((prompt, said));
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(best)
}
