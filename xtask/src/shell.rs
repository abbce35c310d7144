//! Running programs and saying what was run.

use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Runs a program to its end with our output; true when it succeeded.
pub fn runs(command: &mut Command) -> Result<bool> {
    eprintln!("\n$ {}", line(command));
    let start = Instant::now();
    let status = command.status().with_context(|| format!("cannot start `{}`", line(command)))?;
    eprintln!("  ({:.0} s)", start.elapsed().as_secs_f64());
    Ok(status.success())
}

/// What a program prints; its talk on standard error is shown.
pub fn output(command: &mut Command) -> Result<String> {
    eprintln!("\n$ {}", line(command));
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start `{}`", line(command)))?;
    if !output.status.success() {
        bail!("`{}` failed ({})", line(command), output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Cargo in `root`, as the one that runs us.
pub fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root);
    // Set for us by the outer cargo; the inner one sets its own. Scripts that build a crate name them as what they depend on, so
    // the crate and all that needs it would be built anew.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_MANIFEST_", "CARGO_PKG_"].iter().any(|start| name.to_string_lossy().starts_with(start)) {
            command.env_remove(name);
        }
    }
    command
}

/// Whether `cargo NAME` is there.
pub fn has_cargo_command(root: &Path, name: &str) -> bool {
    let quiet = cargo(root, &[name, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

/// `text` as one word of a POSIX shell.
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:=@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program()).to_string_lossy();
    let words: Vec<String> = command.get_args().map(|word| quoted(&word.to_string_lossy())).collect();
    [vec![program.into_owned()], words].concat().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("/a/b-1.gguf"), "/a/b-1.gguf");
        assert_eq!(quoted("it's here"), "'it'\\''s here'");
        assert_eq!(quoted(""), "''");
    }
}
