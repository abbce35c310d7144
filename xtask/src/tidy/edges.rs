//! Which crate may use which.
//!
//! This table is the rule; `ARCHITECTURE.md` shows it, and a test of that page compares the two. A new edge changes
//! both, with the reason in `docs/decisions/`.

use super::{Fault, tree::Tree};

/// The rule's name in a message.
const RULE: &str = "edges";

/// Each crate and the workspace crates it may use.
pub const ALLOWED: [(&str, &[&str]); 15] = [
    ("metier-core", &[]),
    ("metier-corpus", &["metier-core"]),
    ("metier-tokenizer", &["metier-core"]),
    ("metier-retrieval", &["metier-core"]),
    ("metier-program", &["metier-core"]),
    ("metier-synthetic", &["metier-core", "metier-corpus", "metier-program"]),
    ("metier-eval", &["metier-core", "metier-program"]),
    ("metier-compute", &["metier-core"]),
    ("metier-model", &["metier-core", "metier-tokenizer", "metier-compute"]),
    ("metier-peft", &["metier-core", "metier-model", "metier-compute"]),
    ("metier-train", &["metier-core", "metier-tokenizer", "metier-model", "metier-compute"]),
    ("metier-weights", &["metier-core", "metier-tokenizer", "metier-model", "metier-compute"]),
    ("metier-serve", &["metier-core"]),
    ("metier-testkit", &["metier-core"]),
    ("metier-cluster", &["metier-core", "metier-corpus"]),
];

/// The crate that knows all.
pub const COMMAND: &str = "metier";
/// What any crate's tests may use.
pub const TESTKIT: &str = "metier-testkit";

/// What `name` may use, or `None` for a crate the table does not have.
pub fn allowed(name: &str) -> Option<&'static [&'static str]> {
    ALLOWED.iter().find(|(from, _)| *from == name).map(|(_, to)| *to)
}

/// A dependency as a manifest states it.
pub struct Dependency {
    /// The name.
    pub name: String,
    /// The line, from 1.
    pub line: usize,
    /// Whether only tests use it.
    pub test: bool,
}

/// The dependencies in the manifest `text`, of every kind and target.
pub fn dependencies(text: &str) -> Vec<Dependency> {
    let mut section = String::new();
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            header.trim_end_matches(']').clone_into(&mut section);
            // `[dependencies.name]` states one dependency.
            if let Some((kind, name)) = section.rsplit_once("dependencies.") {
                found.push(Dependency { name: name.to_owned(), line: index + 1, test: kind.ends_with("dev-") });
            }
            continue;
        }
        if !section.ends_with("dependencies") || line.starts_with('#') {
            continue;
        }
        let name: String = line.chars().take_while(|c| c.is_alphanumeric() || "-_".contains(*c)).collect();
        if !name.is_empty() {
            found.push(Dependency { name, line: index + 1, test: section.ends_with("dev-dependencies") });
        }
    }
    found
}

/// The rule.
pub fn check(tree: &Tree, faults: &mut Vec<Fault>) {
    let crates = tree.crates();
    for name in &crates {
        let path = format!("crates/{name}/Cargo.toml");
        let Some(manifest) = tree.file(&path) else { continue };
        if *name == COMMAND {
            continue;
        }
        let Some(allowed) = allowed(name) else {
            let message = format!("the crate `{name}` is not in the table of allowed edges (xtask/src/tidy/edges.rs)");
            faults.push(Fault::new(&path, 1, RULE, message));
            continue;
        };
        for dependency in dependencies(&manifest.text) {
            let ours = dependency.name == COMMAND || dependency.name.starts_with("metier-");
            let permitted =
                allowed.contains(&dependency.name.as_str()) || dependency.test && dependency.name == TESTKIT;
            if ours && !permitted {
                let may = if allowed.is_empty() { "no crate of the workspace".to_owned() } else { allowed.join(", ") };
                let message = format!("`{name}` may not use `{}`; it may use {may}", dependency.name);
                faults.push(Fault::new(&path, dependency.line, RULE, message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::planted::Planted;
    use super::*;

    #[test]
    fn a_forbidden_edge_is_a_fault_with_its_line() {
        let tree = Planted::good();
        tree.write(
            "crates/metier-core/Cargo.toml",
            "[package]\nname = \"metier-core\"\n\n[dependencies]\nmetier-compute.workspace = true\n",
        );
        tree.fails("crates/metier-core/Cargo.toml:5: `metier-core` may not use `metier-compute`");
    }

    #[test]
    fn test_edges_are_held_too_but_for_the_test_kit() {
        let tree = Planted::good();
        let manifest = "[dependencies]\nserde.workspace = true\nmetier-core.workspace = true\n[dev-dependencies]\n";
        tree.write("crates/metier-train/Cargo.toml", &format!("{manifest}metier-testkit.workspace = true\n"));
        tree.write("crates/metier-train/src/lib.rs", "pub mod schedule;\nuse metier_testkit::scratch;\n");
        tree.passes();
        tree.write("crates/metier-train/Cargo.toml", &format!("{manifest}metier-peft.workspace = true\n"));
        tree.fails("crates/metier-train/Cargo.toml:5: `metier-train` may not use `metier-peft`");
        tree.write("crates/metier-train/Cargo.toml", "[dependencies.metier]\npath = \"../metier\"\n");
        tree.fails("crates/metier-train/Cargo.toml:1: `metier-train` may not use `metier`;");
    }

    #[test]
    fn an_unknown_crate_is_a_fault() {
        let tree = Planted::good();
        tree.write("crates/metier-vision/Cargo.toml", "[package]\nname = \"metier-vision\"\n");
        tree.fails("crates/metier-vision/Cargo.toml:1: the crate `metier-vision` is not in the table");
    }

    #[test]
    fn the_table_has_no_cycle() {
        fn reach(from: &str, goal: &str, depth: usize) -> bool {
            assert!(depth < ALLOWED.len(), "{from}");
            allowed(from).unwrap().iter().any(|to| *to == goal || reach(to, goal, depth + 1))
        }
        for (name, _) in ALLOWED {
            assert!(!reach(name, name, 0), "{name}");
        }
    }
}
