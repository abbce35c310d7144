//! The command as a user runs it: a child process, its output and its exit code.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod bad_input;
mod bench;
mod command;
mod http;
mod provenance;
mod resume;
mod reuse;
mod serve;
