//! The command as a user runs it: a child process, its output and its exit code.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod adapters;
mod bad_input;
mod bench;
mod bidirectional;
mod blend;
mod calls;
mod cofitune;
mod command;
mod completions;
mod corruption;
mod decoding;
mod dedupe;
mod embed;
mod encode;
mod examples;
mod extend;
mod fuzz;
mod http;
mod merge;
mod mix;
mod mixing;
mod models;
mod only_if;
mod pdf;
mod peft_review;
mod provenance;
mod questions;
mod quota;
mod regional;
mod repeats;
mod resume;
mod retrieval;
mod reuse;
mod seeing;
mod semantic;
mod serve;
mod stats;
mod store;
mod subset;
mod taggers;
mod tinystories;
