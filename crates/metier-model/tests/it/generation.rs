use super::tiny::{END, model};
use metier_core::Result;
use metier_core::data::{Conversation, Message, Role, TokenId};
use metier_core::seam::{Finish, Generate, GenerateRequest, ProcessLogits, Prompt, Reply, Sampling};
use metier_model::LocalModel;
use metier_model::decode::Session;
use std::sync::Arc;

fn request(prompt: &str, sampling: Sampling) -> GenerateRequest {
    GenerateRequest {
        prompt: Prompt::Text(prompt.into()),
        max_tokens: Some(12),
        stop: vec![],
        sampling,
        top_logprobs: 0,
    }
}

fn ids(reply: &Reply) -> Vec<TokenId> {
    reply.tokens.iter().map(|token| token.id).collect()
}

/// Forces a reply, whatever the model says.
struct Dictate(Vec<TokenId>, usize);

impl ProcessLogits for Dictate {
    fn process(&mut self, history: &[TokenId], logits: &mut [f32]) -> Result<()> {
        let said = history.len() - self.1;
        logits.fill(f32::NEG_INFINITY);
        logits[self.0[said] as usize] = 0.0;
        Ok(())
    }
}

fn dictated(model: &LocalModel, request: &GenerateRequest, reply: &[TokenId]) -> (Vec<String>, Reply) {
    let mut pieces = Vec::new();
    let mut tokens = Vec::new();
    let processors: Vec<Box<dyn ProcessLogits>> = vec![Box::new(Dictate(reply.to_vec(), 1))];
    let reply = model
        .stream(request, processors, &mut |delta| {
            if !delta.text.is_empty() {
                pieces.push(delta.text.to_owned());
            }
            tokens.extend_from_slice(delta.tokens);
            true
        })
        .unwrap();
    assert_eq!((&pieces.concat(), &tokens), (&reply.text, &reply.tokens), "deltas join to the reply");
    (pieces, reply)
}

fn bytes(text: &str) -> Vec<TokenId> {
    text.bytes().map(TokenId::from).collect()
}

#[test]
fn greedy_replies_take_the_likeliest_token_of_the_full_pass() {
    let model = model(true);
    let mut request = request("abc", Sampling::default());
    request.top_logprobs = 3;
    let reply = model.generate(&[request]).unwrap().remove(0);
    assert_eq!(reply.prompt_tokens, 4);
    let mut session = Session::new(model.decoder());
    let mut logits = session.feed(&[257, 97, 98, 99]).unwrap();
    for token in &reply.tokens {
        let best = (0..258).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
        assert_eq!(token.id, best as TokenId);
        assert_eq!(token.top.len(), 3);
        assert!(token.top[0].1 >= token.top[1].1 && token.logprob <= 0.0);
        logits = session.feed(&[token.id]).unwrap();
    }
}

#[test]
fn replies_depend_on_the_seed_and_not_on_threads_or_neighbors() {
    let model = model(false);
    let sampling = |seed| Sampling { temperature: 1.0, seed, ..Sampling::default() };
    let requests: Vec<_> = (0..3).map(|seed| request("to be or", sampling(seed))).collect();
    metier_compute::kernel::set_threads(1).unwrap();
    let one: Vec<_> = model.generate(&requests).unwrap();
    metier_compute::kernel::set_threads(3).unwrap();
    let three: Vec<_> =
        requests.iter().map(|request| model.generate(std::slice::from_ref(request)).unwrap().remove(0)).collect();
    assert_eq!(one, three);
    assert_ne!(ids(&one[0]), ids(&one[1]));
}

#[test]
fn replies_come_as_whole_characters_and_end_before_stop_texts() {
    let model = model(false);
    let mut request = request("a", Sampling::default());
    let (pieces, reply) = dictated(&model, &request, &[bytes("né €"), vec![END]].concat());
    assert_eq!(pieces, ["n", "é", " ", "€"]);
    assert_eq!((reply.text.as_str(), reply.finish, reply.tokens.len()), ("né €", Finish::Stop, 7));

    request.stop = vec!["\nUser".into()];
    let (pieces, reply) = dictated(&model, &request, &bytes("yes\n\nUser: b"));
    assert_eq!(pieces.concat(), "yes\n");
    assert_eq!((reply.text.as_str(), reply.finish, reply.tokens.len()), ("yes\n", Finish::Stop, 4));

    let (pieces, reply) = dictated(&model, &request, &bytes("yes, no\nUse and"));
    assert_eq!(pieces.concat(), "yes, no\nUse ");
    assert_eq!((reply.text.as_str(), reply.finish), ("yes, no\nUse ", Finish::Length));
}

#[test]
fn special_tokens_are_no_text_and_the_caller_may_stop() {
    let model = model(false);
    let request = request("a", Sampling::default());
    let (_, reply) = dictated(&model, &request, &[vec![98, 257, 99], vec![END]].concat());
    assert_eq!(reply.text, "bc");
    let mut count = 0;
    let reply = model
        .stream(&request, vec![Box::new(Dictate(bytes("abcdefghijkl"), 1))], &mut |_| {
            count += 1;
            count < 3
        })
        .unwrap();
    assert_eq!((reply.text.as_str(), reply.finish), ("abc", Finish::Cancelled));
    // A caller who is gone is noticed while the text is held back, too.
    let held = GenerateRequest { stop: vec!["abcdefghijkl".into()], ..request };
    let mut count = 0;
    let dictate: Vec<Box<dyn ProcessLogits>> = vec![Box::new(Dictate(bytes("abcdefghijkl"), 1))];
    let reply = model.stream(&held, dictate, &mut |_| {
        count += 1;
        count < 3
    });
    assert_eq!((reply.unwrap().tokens.len(), count), (3, 3));
}

#[test]
fn prompts_that_do_not_fit_or_are_empty_are_refused() {
    let model = model(false);
    let error = model.generate(&[request(&"x".repeat(60), Sampling::default())]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("context: a prompt of 60 tokens and 12 to generate are longer than the model's context of 64"),
        "{error}"
    );
    let mut open = request(&"x".repeat(60), Sampling::default());
    open.max_tokens = None;
    let reply = model.generate(&[open.clone()]).unwrap().remove(0);
    assert!(reply.finish == Finish::Stop || reply.tokens.len() == 4, "the context is filled");
    open.prompt = Prompt::Text("x".repeat(64));
    assert!(model.generate(&[open]).is_err());
    assert!(model.generate(&[request("", Sampling::default())]).is_err());
    assert!(model.generate(&[request("a", Sampling { top_p: 2.0, ..Sampling::default() })]).is_err());
}

#[test]
fn a_conversation_needs_a_template_and_is_written_out_by_it() {
    let bare = model(false);
    let conversation = Conversation::from(vec![Message::new(Role::User, "hi")]);
    let request = GenerateRequest { prompt: Prompt::Conversation(conversation), ..request("", Sampling::default()) };
    assert!(bare.generate(std::slice::from_ref(&request)).unwrap_err().to_string().contains("chat template"));
    let render = |conversation: &Conversation| Ok(format!("<begin>{}<end>", conversation.messages[0].content));
    let reply = bare.with_render(Arc::new(render)).generate(&[request]).unwrap().remove(0);
    assert_eq!(reply.prompt_tokens, 4);
}

#[test]
fn ids_beyond_the_tokenizer_are_never_chosen() {
    let model = model(false);
    let sampling = Sampling { temperature: 50.0, ..Sampling::default() };
    let requests: Vec<_> = (0..20).map(|seed| request("q", Sampling { seed, ..sampling.clone() })).collect();
    for reply in model.generate(&requests).unwrap() {
        assert!(ids(&reply).iter().all(|id| *id < 258));
    }
}
