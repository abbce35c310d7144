//! Every Rust file is in its folder's list of modules, and names say what a file holds.

use super::{
    Fault,
    tree::{Tree, words},
};

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 12] = [
    "utils",
    "util",
    "utilities",
    "common",
    "helper",
    "helpers",
    "manager",
    "managers",
    "handler",
    "handlers",
    "misc",
    "shared",
];

/// The rule.
pub fn check(tree: &Tree, faults: &mut Vec<Fault>) {
    for file in tree.rust().filter(|file| file.path.starts_with("crates/") || file.path.starts_with("xtask/")) {
        let inner = file.path.split_once("/src/").or_else(|| file.path.split_once("/tests/"));
        for part in inner.map_or("", |(_, inner)| inner).split('/') {
            let stem = part.strip_suffix(".rs").unwrap_or(part);
            if EMPTY_NAMES.contains(&stem) {
                faults.push(Fault::new(&file.path, 1, "names", format!("`{stem}` says nothing about what is inside")));
            }
        }
        for name in EMPTY_NAMES {
            for at in words(&file.code, name).filter(|at| file.code[..*at].ends_with("mod ")) {
                faults.push(Fault::at(file, at, "names", format!("`mod {name}` says nothing about what is inside")));
            }
        }
        unlisted(tree, file, faults);
    }
}

fn unlisted(tree: &Tree, file: &super::File, faults: &mut Vec<Fault>) {
    let (name, folder) = match file.name() {
        "lib.rs" | "main.rs" | "build.rs" => return,
        "mod.rs" => match file.folder().rsplit_once('/') {
            Some((parent, name)) => (name, parent),
            None => return,
        },
        _ => (file.stem(), file.folder()),
    };
    // A test binary's own file, and a binary's, need no list.
    if folder.ends_with("/bin")
        || folder.ends_with("/examples")
        || folder.ends_with("/benches")
        || folder.ends_with("/tests")
    {
        return;
    }
    let list = ["mod.rs", "lib.rs", "main.rs"].into_iter().filter_map(|root| tree.file(&format!("{folder}/{root}")));
    let mut listed = false;
    let mut at = None;
    for list in list {
        listed |= lists(&list.code, name);
        at = at.or(Some(&list.path));
    }
    if !listed {
        let list = at.map_or("a `mod.rs`", String::as_str);
        faults.push(Fault::new(&file.path, 1, "modules", format!("not listed: {list} has no `mod {name};`")));
    }
}

/// Whether `code` has the line `mod name;`.
pub fn lists(code: &str, name: &str) -> bool {
    words(code, name).any(|at| code[..at].ends_with("mod ") && code[at + name.len()..].starts_with(';'))
}

#[cfg(test)]
mod tests {
    use super::super::planted::Planted;

    #[test]
    fn an_unlisted_file_is_a_fault() {
        let tree = Planted::good();
        tree.write("crates/metier-train/src/forgotten.rs", "//! Nobody compiles this.\n");
        tree.fails("crates/metier-train/src/forgotten.rs:1: not listed: crates/metier-train/src/lib.rs has no `mod forgotten;`");
    }

    #[test]
    fn names_that_say_nothing_are_faults() {
        let tree = Planted::good();
        tree.write("crates/metier-train/src/lib.rs", "mod utils;\npub mod schedule;\n");
        tree.write("crates/metier-train/src/utils.rs", "\n");
        tree.fails("crates/metier-train/src/utils.rs:1: `utils` says nothing");
        tree.fails("crates/metier-train/src/lib.rs:1: `mod utils` says nothing");
    }
}
