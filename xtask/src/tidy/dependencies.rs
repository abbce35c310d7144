//! Each dependency has its reason in `docs/dependencies.md`, and each crate uses what it asks for.

use super::{
    Fault, edges,
    tree::{Tree, words},
};

const RULE: &str = "dependencies";
const PAGE: &str = "docs/dependencies.md";

/// The rule.
pub fn check(tree: &Tree, faults: &mut Vec<Fault>) {
    if let Some(root) = tree.file("Cargo.toml") {
        reasons(tree, &root.text, faults);
    }
    for name in tree.crates() {
        unused(tree, name, faults);
    }
}

fn reasons(tree: &Tree, manifest: &str, faults: &mut Vec<Fault>) {
    let page = tree.file(PAGE).map_or("", |file| file.text.as_str());
    let stated: Vec<(usize, &str)> = page
        .lines()
        .enumerate()
        .filter_map(|(index, line)| Some((index + 1, line.trim_start().strip_prefix("| `")?.split_once('`')?.0)))
        .collect();
    let taken = edges::dependencies(manifest);
    for dependency in taken.iter().filter(|dependency| !ours(&dependency.name)) {
        if !stated.iter().any(|(_, name)| *name == dependency.name) {
            let message = format!("`{}` has no line in {PAGE} that says why it is taken", dependency.name);
            faults.push(Fault::new("Cargo.toml", dependency.line, RULE, message));
        }
    }
    let takers: Vec<edges::Dependency> = tree
        .files
        .iter()
        .filter(|file| file.name() == "Cargo.toml" && file.path != "Cargo.toml")
        .flat_map(|file| edges::dependencies(&file.text))
        .collect();
    for dependency in &taken {
        if !takers.iter().any(|taker| taker.name == dependency.name) {
            let message = format!("no crate takes `{}`", dependency.name);
            faults.push(Fault::new("Cargo.toml", dependency.line, RULE, message));
        }
    }
    for (line, name) in stated {
        if !taken.iter().any(|dependency| dependency.name == name) {
            faults.push(Fault::new(PAGE, line, RULE, format!("`{name}` is no dependency of the workspace")));
        }
    }
}

fn unused(tree: &Tree, name: &str, faults: &mut Vec<Fault>) {
    let path = format!("crates/{name}/Cargo.toml");
    let Some(manifest) = tree.file(&path) else { return };
    let folder = format!("crates/{name}/");
    for dependency in edges::dependencies(&manifest.text) {
        let ident = dependency.name.replace('-', "_");
        // Doctests count: they may be all that uses a test's dependency.
        let used = tree.rust().filter(|file| file.path.starts_with(&folder)).any(|file| {
            let text = if dependency.test { &file.text } else { &file.code };
            words(text, &ident).next().is_some()
        });
        if !used {
            let message = format!("`{name}` does not use `{}`", dependency.name);
            faults.push(Fault::new(&path, dependency.line, RULE, message));
        }
    }
}

fn ours(name: &str) -> bool {
    name == edges::COMMAND || name.starts_with("metier-")
}

#[cfg(test)]
mod tests {
    use super::super::planted::Planted;

    #[test]
    fn a_dependency_without_a_reason_is_a_fault() {
        let tree = Planted::good();
        tree.write("Cargo.toml", "[workspace.dependencies]\nserde = \"1\"\nrayon = \"1\"\n");
        tree.fails("Cargo.toml:3: `rayon` has no line in docs/dependencies.md");
        tree.fails("Cargo.toml:3: no crate takes `rayon`");
    }

    #[test]
    fn a_reason_without_a_dependency_is_a_fault() {
        let tree = Planted::good();
        tree.write("docs/dependencies.md", "| `serde` | reads |\n| `gone` | was here |\n");
        tree.fails("docs/dependencies.md:2: `gone` is no dependency");
    }

    #[test]
    fn an_unused_dependency_is_a_fault() {
        let tree = Planted::good();
        tree.write("crates/metier-core/Cargo.toml", "[dependencies]\nserde.workspace = true\n");
        tree.fails("crates/metier-core/Cargo.toml:2: `metier-core` does not use `serde`");
        tree.write("crates/metier-core/src/lib.rs", "use serde::Serialize;\n");
        tree.passes();
    }
}
