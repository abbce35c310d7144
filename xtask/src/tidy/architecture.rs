//! `ARCHITECTURE.md` names what exists, and its table of edges is the one that is held.

use super::{
    Fault, File, edges,
    tree::{Tree, words},
};

const RULE: &str = "architecture";
const PAGE: &str = "ARCHITECTURE.md";
/// Endings that make a name a file's.
const ENDINGS: [&str; 10] =
    [".rs", ".toml", ".md", ".json", ".jsonl", ".py", ".tokens", ".spans", ".safetensors", ".lock"];

/// The rule.
pub fn check(tree: &Tree, faults: &mut Vec<Fault>) {
    let Some(page) = tree.file(PAGE) else {
        faults.push(Fault::new(PAGE, 1, RULE, "the page is missing"));
        return;
    };
    let mut fenced = false;
    for (index, line) in page.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            for name in line.split('`').skip(1).step_by(2) {
                if let Some(message) = missing(tree, name) {
                    faults.push(Fault::new(PAGE, index + 1, RULE, message));
                }
            }
        }
    }
    table(tree, page, faults);
}

/// What is wrong with `name`, when it looks like a crate, a path or a task and is none.
fn missing(tree: &Tree, name: &str) -> Option<String> {
    if let Some(task) = name.strip_prefix("cargo xtask ") {
        let task = task.split(' ').next().unwrap_or_default();
        return (!crate::TASKS.iter().any(|(known, _)| known.split(' ').next() == Some(task)))
            .then(|| format!("there is no task `{task}`"));
    }
    if name.contains(' ') || name.starts_with("http") || name.starts_with('/') || name.starts_with('-') {
        return None;
    }
    if let Some((first, rest)) = name.split_once("::") {
        let named = first.replace('_', "-");
        if !named.starts_with("metier-") {
            return None;
        }
        if !is_crate(tree, &named) {
            return Some(format!("there is no crate `{named}`"));
        }
        let last = rest.rsplit("::").next().unwrap_or_default().trim_end_matches("()");
        let folder = format!("crates/{named}/");
        let known = tree
            .rust()
            .filter(|file| file.path.starts_with(&folder))
            .any(|file| words(&file.code, last).next().is_some());
        return (!known).then(|| format!("`{named}` has no `{last}`"));
    }
    if name.starts_with("metier-") && !name.contains(['/', '.']) {
        return (!is_crate(tree, name)).then(|| format!("there is no crate `{name}`"));
    }
    let path_like = name.contains('/') || ENDINGS.iter().any(|ending| name.ends_with(ending));
    if !path_like || name.contains('(') {
        return None;
    }
    let trimmed = name.trim_end_matches('/');
    // A folder of some crate's source may be named alone.
    let inside = |krate: &&str| tree.exists(&format!("crates/{krate}/src/{trimmed}"));
    let somewhere = || !trimmed.contains('/') && tree.files.iter().any(|file| file.name() == trimmed);
    if !trimmed.contains(['*', '<']) && (tree.exists(trimmed) || tree.crates().iter().any(inside) || somewhere()) {
        return None;
    }
    // What the program writes stands in its source.
    let pieces: Vec<&str> = pieces(name);
    let written = !pieces.is_empty() && pieces.iter().all(|piece| in_a_string(tree, piece));
    (!written).then(|| format!("`{name}` is neither in the repository nor a name the program writes"))
}

/// The fixed parts of a name with placeholders (`<key>`, `*`, `00000`), cut at slashes.
fn pieces(name: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let end = rest.find(['/', '*', '<', '0']).unwrap_or(rest.len());
        let piece = rest[..end].trim_matches('-');
        if piece.chars().any(char::is_alphabetic) {
            out.push(piece);
        }
        rest = match rest.as_bytes().get(end) {
            Some(b'<') => rest[end..].split_once('>').map_or("", |(_, after)| after),
            Some(_) => &rest[end + 1..],
            None => "",
        };
    }
    out
}

/// Whether some crate's source has `piece` inside a string.
fn in_a_string(tree: &Tree, piece: &str) -> bool {
    tree.rust().filter(|file| file.path.starts_with("crates/")).any(|file| {
        file.text.match_indices(piece).any(|(at, _)| {
            let blanked = &file.code.as_bytes()[at..at + piece.len()] != piece.as_bytes();
            let line = file.text[..at].rsplit('\n').next().unwrap_or_default();
            blanked && !line.trim_start().starts_with("//")
        })
    })
}

fn is_crate(tree: &Tree, name: &str) -> bool {
    tree.crates().contains(&name)
}

/// The rows `| crate | role | families | may use |` agree with the tree and with the table of edges.
fn table(tree: &Tree, page: &File, faults: &mut Vec<Fault>) {
    let mut seen = Vec::new();
    for (index, line) in page.text.lines().enumerate() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, _, families, may, _] = cells[..] else { continue };
        let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')) else { continue };
        if !is_crate(tree, name) {
            continue;
        }
        seen.push(name);
        for family in families.split('`').skip(1).step_by(2) {
            if !tree.exists(&format!("crates/{name}/src/{family}")) {
                faults.push(Fault::new(PAGE, index + 1, RULE, format!("`{name}` has no folder `{family}`")));
            }
        }
        let held = held(name);
        if may != held {
            let message = format!("the row of `{name}` says it may use `{may}`; the table in edges.rs says `{held}`");
            faults.push(Fault::new(PAGE, index + 1, RULE, message));
        }
    }
    for name in tree.crates().iter().filter(|name| !seen.contains(*name)) {
        faults.push(Fault::new(PAGE, 1, RULE, format!("the table of crates has no row for `{name}`")));
    }
}

/// The last cell of a crate's row.
fn held(name: &str) -> String {
    match edges::allowed(name) {
        None => "all".to_owned(),
        Some([]) => "–".to_owned(),
        Some(allowed) => {
            let short: Vec<&str> = allowed.iter().map(|name| name.trim_start_matches("metier-")).collect();
            short.join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::planted::Planted;
    use super::pieces;

    fn say(words: &str) -> Planted {
        let tree = Planted::good();
        let page = tree.read("ARCHITECTURE.md");
        tree.write("ARCHITECTURE.md", &format!("{page}\n{words}\n"));
        tree
    }

    #[test]
    fn names_that_exist_pass() {
        say("`metier-core`, `crates/metier-train/src/`, `schedule/cosine.rs`, `cargo xtask tidy`, `metier_train::schedule`, `x`").passes();
    }

    #[test]
    fn names_that_do_not_exist_are_faults() {
        say("`metier-gone`").fails("ARCHITECTURE.md:6: there is no crate `metier-gone`");
        say("`crates/gone/`").fails("ARCHITECTURE.md:6: `crates/gone/` is neither");
        say("`gone.rs`").fails("`gone.rs` is neither");
        say("`cargo xtask gone`").fails("there is no task `gone`");
        say("`metier_train::Gone`").fails("`metier-train` has no `Gone`");
    }

    #[test]
    fn a_file_the_program_writes_is_known_by_its_name_in_the_source() {
        let tree = say("`steps/<number>/step-00001.json`");
        tree.fails("`steps/<number>/step-00001.json` is neither");
        let source = "pub mod schedule;\nuse metier_core;\nconst A: &str = \"steps\";\nfn f() { format!(\"step-{n:05}.json\"); }\n";
        tree.write("crates/metier-train/src/lib.rs", source);
        tree.fails("is neither");
        assert_eq!(pieces("steps/<number>/step-00001.json"), ["steps", "step", "1.json"]);
        tree.write("ARCHITECTURE.md", &tree.read("ARCHITECTURE.md").replace("00001", "*"));
        tree.passes();
    }

    #[test]
    fn the_table_is_the_one_that_is_held() {
        let tree = Planted::good();
        tree.edit("ARCHITECTURE.md", "core, tokenizer, model, compute", "core, tokenizer, model, compute, peft");
        tree.fails("ARCHITECTURE.md:4: the row of `metier-train` says it may use");
        let tree = Planted::good();
        tree.edit("ARCHITECTURE.md", "`schedule`", "`sampler`");
        tree.fails("ARCHITECTURE.md:4: `metier-train` has no folder `sampler`");
        let tree = Planted::good();
        tree.edit("ARCHITECTURE.md", "| `metier-core` | ground | | – |\n", "");
        tree.fails("the table of crates has no row for `metier-core`");
    }
}
