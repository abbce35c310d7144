//! The command as a user runs it: a child process, its output and its exit code.

mod bad_input;
mod command;
mod provenance;
mod resume;
mod reuse;
