//! Many texts at once: the same replies as one at a time, to the bit, whatever else is going on.

use super::tiny;
use metier_compute::op::KeyCoding;
use metier_core::Result;
use metier_core::data::TokenId;
use metier_core::seam::{
    Ask, Delta, Exchange, Finish, Generate, GenerateRequest, ProcessLogits, Prompt, Reply, Sampling,
};
use metier_model::decode::{Cache, Draft, Pages, Session};
use metier_model::{Advance, Config, Decoder, Decoding, LocalModel};
use metier_testkit::bytes::Bytes;
use std::sync::Arc;

fn config() -> Config {
    Config { context_length: 900, ..tiny::config() }
}

fn decoder() -> Decoder {
    tiny::decoder(&config(), 3)
}

fn model(change: impl FnOnce(&mut Decoding)) -> LocalModel {
    let mut decoding = Decoding::new(&config(), KeyCoding::F32);
    change(&mut decoding);
    LocalModel::new(decoder(), Arc::new(Bytes { begin: false })).unwrap().with_decoding(decoding)
}

fn text(seed: u64, length: usize) -> String {
    let mut stream = metier_core::seed::Seed::new(seed).at(0);
    (0..length).map(|_| char::from(b'a' + (stream.below(20)) as u8)).collect()
}

/// Prompts of many lengths, some of which begin alike; greedy and drawn replies.
fn requests() -> Vec<GenerateRequest> {
    let lengths = [1, 5, 31, 32, 33, 64, 300, 610, 20, 700];
    let request = |number: usize| {
        let prompt =
            if number.is_multiple_of(3) { text(1, lengths[number]) } else { text(number as u64, lengths[number]) };
        let temperature = if number.is_multiple_of(2) { 0.9 } else { 0.0 };
        GenerateRequest {
            prompt: Prompt::Text(prompt),
            max_tokens: Some(40 + number),
            stop: vec![],
            sampling: Sampling { temperature, seed: number as u64, repetition_penalty: 1.1, ..Sampling::default() },
            top_logprobs: 2,
        }
    };
    (0..lengths.len()).map(request).collect()
}

/// What must be the same: all but how much was known or guessed.
fn said(replies: &[Reply]) -> Vec<Reply> {
    let plain = |reply: &Reply| Reply { cached_tokens: 0, drafted_tokens: 0, accepted_tokens: 0, ..reply.clone() };
    replies.iter().map(plain).collect()
}

fn one_by_one(model: &LocalModel, requests: &[GenerateRequest]) -> Vec<Reply> {
    requests.iter().flat_map(|request| model.generate(std::slice::from_ref(request)).unwrap()).collect()
}

#[test]
fn replies_are_the_same_alone_together_and_in_little_memory() {
    let requests = requests();
    let plain = one_by_one(&model(|decoding| decoding.texts = 1), &requests);
    assert!(plain.iter().any(|reply| reply.finish == Finish::Length));
    let whole = Pages::new(&config(), KeyCoding::F32, None).bytes_of(900);
    for (texts, cache_bytes) in [(1, whole * 4), (4, whole * 4), (16, whole * 40), (16, whole), (3, whole * 2)] {
        let model = model(|decoding| (decoding.texts, decoding.cache_bytes) = (texts, cache_bytes));
        for _ in 0..2 {
            let together = model.generate(&requests).unwrap();
            assert_eq!(said(&together), said(&plain), "{texts} texts in {cache_bytes} bytes");
            assert!(model.pages().bytes().0 <= cache_bytes);
        }
    }
}

#[test]
fn coded_keys_give_the_same_replies_alone_and_together() {
    let requests = requests();
    for coding in [KeyCoding::Int8, KeyCoding::Int4] {
        let plain = one_by_one(&model(|decoding| decoding.coding = coding), &requests);
        let together = model(|decoding| decoding.coding = coding).generate(&requests).unwrap();
        assert_eq!(said(&together), said(&plain), "{coding:?}");
    }
}

#[test]
fn a_text_that_needs_more_memory_than_there_is_fails_alone() {
    let page = Pages::new(&config(), KeyCoding::F32, None).bytes_of(1);
    let model = model(|decoding| decoding.cache_bytes = 4 * page);
    let mut requests = requests();
    let fitting = requests[1].clone();
    let error = model.generate(&[fitting.clone(), requests.remove(6)]).unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with("cache: ") && message.contains("--cache-memory"), "{message}");
    assert_eq!(model.generate(std::slice::from_ref(&fitting)).unwrap().len(), 1);
    assert_eq!(model.pages().bytes().1, Some(4 * page));
}

#[test]
fn logits_are_the_same_to_the_bit_however_rows_share_passes() {
    for coding in [KeyCoding::F32, KeyCoding::Int8] {
        let decoder = decoder();
        let ids =
            |seed: u64, length: usize| -> Vec<TokenId> { text(seed, length).bytes().map(TokenId::from).collect() };
        let texts = [ids(1, 300), ids(2, 47), ids(3, 300)];
        let stepwise: Vec<Vec<Vec<f32>>> = texts
            .iter()
            .map(|ids| {
                let mut session = Session::with_coding(&decoder, coding);
                ids.iter().map(|id| session.feed(&[*id]).unwrap()).collect()
            })
            .collect();
        let pages = Pages::new(decoder.config(), coding, None);
        for pieces in [[300, 40, 1], [7, 7, 130], [64, 1, 33]] {
            let mut caches = [Cache::default(), Cache::default(), Cache::default()];
            let mut got = [const { Vec::new() }; 3];
            while caches.iter().zip(&texts).any(|(cache, ids)| cache.length() < ids.len()) {
                let mut steps = Vec::new();
                for ((cache, ids), piece) in caches.iter_mut().zip(&texts).zip(pieces) {
                    let new = &ids[cache.length()..ids.len().min(cache.length() + piece)];
                    steps.push(Advance { cache, ids: new, wanted: new.len(), length: ids.len() });
                }
                let counts: Vec<usize> = steps.iter().map(|step| step.wanted).collect();
                let logits = decoder.advance(&pages, &mut steps).unwrap();
                let mut rows = logits.data().chunks_exact(260);
                for (got, count) in got.iter_mut().zip(counts) {
                    got.extend(rows.by_ref().take(count).map(<[f32]>::to_vec));
                }
            }
            for (got, want) in got.iter().zip(&stepwise) {
                assert!(got == want, "{coding:?} {pieces:?}");
            }
        }
    }
}

#[test]
fn forked_and_shortened_texts_go_on_as_if_they_had_always_been_so() {
    let decoder = decoder();
    let pages = Pages::new(decoder.config(), KeyCoding::F32, None);
    let feed = |cache: &mut Cache, ids: &[TokenId]| {
        let length = cache.length() + ids.len();
        let logits = decoder.advance(&pages, &mut [Advance { cache, ids, wanted: 1, length }]).unwrap();
        logits.data().to_vec()
    };
    let mut trunk = Cache::default();
    feed(&mut trunk, &[1; 40]);
    let mut fork = trunk.clone();
    let one = feed(&mut trunk, &[7, 8]);
    let other = feed(&mut fork, &[9]);
    assert_eq!(one, Session::new(&decoder).feed(&[&[1; 40][..], &[7, 8]].concat()).unwrap());
    assert_eq!(other, Session::new(&decoder).feed(&[&[1; 40][..], &[9]].concat()).unwrap());
    trunk.truncate(33);
    assert_eq!(feed(&mut trunk, &[5]), Session::new(&decoder).feed(&[&[1; 33][..], &[5]].concat()).unwrap());
    trunk.truncate(10);
    assert_eq!(feed(&mut trunk, &[5; 60]), Session::new(&decoder).feed(&[&[1; 10][..], &[5; 60]].concat()).unwrap());
}

/// Allows letters alone.
struct Letters;

impl ProcessLogits for Letters {
    fn process(&mut self, _history: &[TokenId], logits: &mut [f32]) -> Result<()> {
        for (id, logit) in (0_u8..).zip(logits.iter_mut().take(128)) {
            if !id.is_ascii_alphabetic() {
                *logit = f32::NEG_INFINITY;
            }
        }
        logits[128..].fill(f32::NEG_INFINITY);
        Ok(())
    }
}

#[test]
fn texts_that_begin_alike_share_what_was_read() {
    let model = model(|_| {});
    let request = |prompt: String, seed| GenerateRequest {
        prompt: Prompt::Text(prompt),
        max_tokens: Some(40),
        stop: vec![],
        sampling: Sampling { temperature: 1.0, seed, ..Sampling::default() },
        top_logprobs: 0,
    };
    let prompt = text(5, 100);
    let choices: Vec<_> = (0..4).map(|seed| request(prompt.clone(), seed)).collect();
    let replies = model.generate(&choices).unwrap();
    let cached: Vec<usize> = replies.iter().map(|reply| reply.cached_tokens).collect();
    assert_eq!(cached, [0, 96, 96, 96], "the first reads for all");
    // The next turn knows the reply, too.
    let reply = model.stream(&choices[0], vec![Box::new(Letters)], &mut |_| true).unwrap();
    assert_eq!(reply.tokens.len(), 40);
    let turn = request(format!("{prompt}{} and", reply.text), 9);
    let known = model.generate(std::slice::from_ref(&turn)).unwrap().remove(0);
    assert_eq!(known.cached_tokens, 128);
    let fresh = self::model(|_| {}).generate(&[turn]).unwrap().remove(0);
    assert_eq!(fresh.cached_tokens, 0);
    assert_eq!((known.text, known.tokens), (fresh.text, fresh.tokens));
}

/// Hands over requests at given steps, and notes what happens.
struct Script {
    /// The step from which on a request is there.
    requests: Vec<(usize, Ask)>,
    step: usize,
    /// Step and request of each delta, and of each end.
    deltas: Vec<(usize, usize)>,
    ends: Vec<(usize, usize, Result<Reply>)>,
    /// From this step on a request is not wanted any more.
    unwanted: Option<(usize, usize)>,
}

impl Script {
    fn new(requests: impl IntoIterator<Item = (usize, GenerateRequest)>) -> Self {
        let ask = |(step, request)| (step, Ask { request, processors: Vec::new() });
        let requests = requests.into_iter().map(ask).collect();
        Self { requests, step: 0, deltas: Vec::new(), ends: Vec::new(), unwanted: None }
    }
}

impl Exchange for Script {
    fn next(&mut self, running: usize) -> Option<Ask> {
        let at = self.requests.iter().position(|(step, _)| *step <= self.step || running == 0)?;
        Some(self.requests.remove(at).1)
    }

    fn between(&mut self) {
        self.step += 1;
    }

    fn wanted(&mut self, number: usize) -> bool {
        self.unwanted.is_none_or(|(step, unwanted)| unwanted != number || self.step < step)
    }

    fn delta(&mut self, number: usize, _delta: Delta<'_>) -> bool {
        self.deltas.push((self.step, number));
        true
    }

    fn finish(&mut self, number: usize, reply: Result<Reply>) {
        self.ends.push((self.step, number, reply));
    }
}

#[test]
fn requests_join_while_others_run_and_long_prompts_block_nobody() {
    let model = model(|_| {});
    let requests = requests();
    let (short, long) = (requests[1].clone(), requests[9].clone());
    let mut script = Script::new([(0, short.clone()), (5, long.clone())]);
    model.run(&mut script).unwrap();
    let of = |number: usize| script.deltas.iter().filter(move |delta| delta.1 == number).map(|delta| delta.0);
    let steps: Vec<usize> = of(0).collect();
    assert!(steps.windows(2).all(|pair| pair[1] <= pair[0] + 1), "a token in every step");
    // 700 rows, 128 beside the other text.
    assert_eq!(of(1).min(), Some(5 + 5));
    script.ends.sort_by_key(|end| end.1);
    let replies: Vec<Reply> = script.ends.iter().map(|(_, _, reply)| reply.clone().unwrap()).collect();
    assert_eq!(said(&replies), said(&one_by_one(&model, &[short, long])));
}

#[test]
fn a_request_is_given_up_inside_its_prompt_and_a_wrong_one_fails_alone() {
    let model = model(|_| {});
    let requests = requests();
    let mut wrong = requests[2].clone();
    wrong.sampling.top_p = 7.0;
    let mut script = Script::new([(0, requests[1].clone()), (0, requests[9].clone()), (0, wrong)]);
    script.unwanted = Some((3, 1));
    model.run(&mut script).unwrap();
    let end = |number: usize| script.ends.iter().find(|end| end.1 == number).unwrap();
    let (step, _, reply) = end(1);
    let reply = reply.as_ref().unwrap();
    assert_eq!((*step, reply.finish, reply.tokens.len()), (3, Finish::Cancelled, 0));
    assert!(end(2).2.as_ref().unwrap_err().to_string().contains("top_p"));
    assert_eq!(end(0).2.as_ref().unwrap().text, one_by_one(&model, &requests[1..2])[0].text);
}

#[test]
fn a_processor_that_fails_ends_its_reply_alone() {
    struct Failing;
    impl ProcessLogits for Failing {
        fn process(&mut self, history: &[TokenId], _logits: &mut [f32]) -> Result<()> {
            if history.len() > 8 { Err(metier_core::Error::program("enough")) } else { Ok(()) }
        }
    }
    let model = model(|_| {});
    let request = requests()[1].clone();
    let mut script = Script::new([(0, request.clone()), (0, request.clone())]);
    script.requests[0].1.processors.push(Box::new(Failing));
    model.run(&mut script).unwrap();
    let outcome = |number: usize| script.ends.iter().find(|end| end.1 == number).unwrap().2.is_ok();
    assert_eq!([outcome(0), outcome(1)], [false, true]);
}

/// A draft model that mostly agrees: the same weights but for a little noise.
fn near(noise: f32) -> Decoder {
    let mut near = decoder();
    let ids: Vec<_> = near.parameters.iter().map(|(id, ..)| id).collect();
    for id in ids {
        let mut stream = metier_core::seed::Seed::new(5).derive(near.parameters.name(id)).at(0);
        for value in near.parameters.get_mut(id).data_mut() {
            *value += noise * stream.normal() as f32;
        }
    }
    near
}

fn drafts() -> [Draft; 2] {
    let pages = Arc::new(Pages::new(&config(), KeyCoding::F32, None));
    [Draft::Lookup { count: 4 }, Draft::Model { decoder: Arc::new(near(0.01)), pages, count: 3 }]
}

#[test]
fn greedy_replies_with_guesses_are_the_same_on_200_prompts() {
    let request = |number: u64| GenerateRequest {
        prompt: Prompt::Text(text(number, 1 + number as usize % 50)),
        max_tokens: Some(1 + number as usize % 40),
        stop: vec!["qq".into()],
        sampling: Sampling::default(),
        top_logprobs: 1,
    };
    let requests: Vec<_> = (0..200).map(request).collect();
    let plain = model(|_| {}).generate(&requests).unwrap();
    for draft in drafts() {
        let guessing = model(|decoding| decoding.draft = Some(draft.clone()));
        let replies = guessing.generate(&requests).unwrap();
        assert_eq!(said(&replies), said(&plain));
        let sum = |of: fn(&Reply) -> usize| replies.iter().map(of).sum::<usize>();
        let (drafted, accepted) = (sum(|reply| reply.drafted_tokens), sum(|reply| reply.accepted_tokens));
        assert!(accepted > 100 && accepted < drafted, "{accepted} of {drafted} guesses taken");
    }
    let pages = Arc::new(Pages::new(&config(), KeyCoding::F32, Some(1)));
    let starved = Draft::Model { decoder: Arc::new(near(0.01)), pages, count: 3 };
    let replies = model(|decoding| decoding.draft = Some(starved)).generate(&requests[..5]).unwrap();
    assert_eq!(replies, plain[..5], "without memory for guesses there are none");
}

/// Counts of the tokens at each position, over many seeds; few tokens are likely.
fn counts(model: &LocalModel, seeds: std::ops::Range<u64>) -> [Vec<u32>; 3] {
    let request = |seed| GenerateRequest {
        prompt: Prompt::Text("abcabcabcabcab".into()),
        max_tokens: Some(3),
        stop: vec![],
        sampling: Sampling { temperature: 1.5, top_k: 6, seed, ..Sampling::default() },
        top_logprobs: 0,
    };
    let requests: Vec<_> = seeds.map(request).collect();
    let mut counts = [(); 3].map(|()| vec![0; 258]);
    for reply in model.generate(&requests).unwrap() {
        for (counts, token) in counts.iter_mut().zip(&reply.tokens) {
            counts[token.id as usize] += 1;
        }
    }
    counts
}

/// Two samples of one distribution differ as a chi-square with as many degrees of freedom as there are cells but one.
#[test]
fn drawn_replies_with_guesses_follow_the_same_distribution() {
    const SEEDS: u64 = 3000;
    let plain = counts(&model(|_| {}), 0..SEEDS);
    for draft in drafts() {
        let guessed = counts(&model(|decoding| decoding.draft = Some(draft.clone())), SEEDS..2 * SEEDS);
        for (position, (plain, guessed)) in plain.iter().zip(&guessed).enumerate() {
            // Cells with fewer than ten are one.
            let mut cells = Vec::new();
            let mut rest = (0.0_f64, 0.0_f64);
            for (a, b) in plain.iter().zip(guessed).map(|(a, b)| (f64::from(*a), f64::from(*b))) {
                if a + b < 10.0 {
                    rest = (rest.0 + a, rest.1 + b);
                } else {
                    cells.push((a, b));
                }
            }
            if rest.0 + rest.1 > 0.0 {
                cells.push(rest);
            }
            let (all_a, all_b) = cells.iter().fold((0.0_f64, 0.0_f64), |sum, cell| (sum.0 + cell.0, sum.1 + cell.1));
            let (left, right): (f64, f64) = ((all_b / all_a).sqrt(), (all_a / all_b).sqrt());
            let chi_square: f64 = cells.iter().map(|(a, b)| (left * a - right * b).powi(2) / (a + b)).sum();
            let freedom = (cells.len() - 1) as f64;
            // Wilson and Hilferty: the cube root is nearly normal; 3.09 deviations are one in a thousand.
            let limit = freedom * (1.0 - 2.0 / (9.0 * freedom) + 3.09 * (2.0 / (9.0 * freedom)).sqrt()).powi(3);
            eprintln!("position {position}: chi-square {chi_square:.1} of {freedom} degrees, limit {limit:.1}");
            assert!(freedom >= 3.0 && chi_square < limit, "position {position}: {chi_square} with {freedom} degrees");
        }
    }
}
