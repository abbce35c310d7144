//! The house rules that neither the compiler nor clippy knows. All faults are reported together.

mod architecture;
mod dependencies;
pub mod edges;
pub mod families;
mod lines;
mod modules;
#[cfg(test)]
pub mod planted;
mod receipts;
mod spelling;
pub mod tree;

use anyhow::Result;
use std::fmt;
use std::path::Path;
use tree::{File, Tree};

/// Something that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    path: String,
    line: usize,
    rule: &'static str,
    message: String,
}

impl Fault {
    /// A fault in `path` at `line` (from 1).
    pub fn new(path: &str, line: usize, rule: &'static str, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, rule, message: message.into() }
    }

    /// A fault at byte `at` of `file`.
    fn at(file: &File, at: usize, rule: &'static str, message: impl Into<String>) -> Self {
        Self::new(&file.path, tree::line_of(&file.text, at), rule, message)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {} [{}]", self.path, self.line, self.message, self.rule)
    }
}

/// Every fault of the tree under `root`, by path and line.
pub fn check(root: &Path) -> Result<Vec<Fault>> {
    let tree = Tree::read(root)?;
    let mut faults = Vec::new();
    edges::check(&tree, &mut faults);
    modules::check(&tree, &mut faults);
    families::check(&tree, &mut faults);
    lines::check(&tree, &mut faults);
    spelling::check(&tree, &mut faults);
    dependencies::check(&tree, &mut faults);
    architecture::check(&tree, &mut faults);
    receipts::check(&tree, &mut faults);
    faults.sort();
    faults.dedup();
    Ok(faults)
}
