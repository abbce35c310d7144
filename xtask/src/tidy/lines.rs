//! What may not stand in a Rust file: half-finished work, ignored tests, loose serde attributes, `unsafe` outside
//! its places, and more than 800 lines without a reason.

use super::{
    Fault, File,
    tree::{Tree, words},
};

/// More lines than this need a reason.
const LONGEST: usize = 800;
/// How far down the reason may stand.
const NEAR_THE_TOP: usize = 40;
/// What introduces it.
const REASON: &str = "// long because: ";

/// Where `unsafe` may stand. The compute crate's kernels and buffer; the one function that maps a file; the test whose
/// allocator counts.
const UNSAFE: [&str; 5] = [
    "crates/metier-compute/src/kernel/",
    "crates/metier-compute/src/tensor/buffer",
    "crates/metier-compute/src/tensor/pool",
    "crates/metier-core/src/store/file.rs",
    "crates/metier-train/tests/allocations.rs",
];

/// The rule.
pub fn check(tree: &Tree, faults: &mut Vec<Fault>) {
    for file in tree.rust() {
        length(file, faults);
        for name in ["todo", "unimplemented"] {
            for at in words(&file.code, name).filter(|at| file.code[at + name.len()..].starts_with('!')) {
                faults.push(Fault::at(file, at, "finished", format!("`{name}!` is left: finish it or leave it out")));
            }
        }
        for at in words(&file.code, "ignore").filter(|at| file.code[..*at].ends_with("#[")) {
            faults.push(Fault::at(file, at, "ignored", "an ignored test tests nothing: mend or remove it"));
        }
        if !UNSAFE.iter().any(|place| file.path.starts_with(place)) {
            for at in words(&file.code, "unsafe") {
                let message = "`unsafe` stands only in metier-compute's kernels and buffer and in `store::map_file`";
                faults.push(Fault::at(file, at, "unsafe", message));
            }
        }
        serde(file, faults);
    }
}

fn length(file: &File, faults: &mut Vec<Fault>) {
    let lines = file.text.lines().count();
    let reason = file
        .text
        .lines()
        .take(NEAR_THE_TOP)
        .any(|line| line.trim().strip_prefix(REASON).is_some_and(|reason| !reason.trim().is_empty()));
    if lines > LONGEST && !reason {
        let message = format!(
            "{lines} lines: split it, or say why not in a line `{REASON}...` among the first {NEAR_THE_TOP} \
             (the limit is {LONGEST})"
        );
        faults.push(Fault::new(&file.path, LONGEST + 1, "length", message));
    }
}

/// `flatten` swallows misspelt keys and `untagged` says only that nothing matched.
fn serde(file: &File, faults: &mut Vec<Fault>) {
    for start in words(&file.code, "serde").filter(|at| file.code[at + 5..].starts_with('(')) {
        let inside = parenthesis(&file.code[start + 5..]);
        for name in ["flatten", "untagged"] {
            for at in words(inside, name) {
                let message = format!("serde's `{name}` hides mistakes of the user: read the table with its own type");
                faults.push(Fault::at(file, start + 5 + at, "serde", message));
            }
        }
    }
}

/// `text` up to the parenthesis that closes its first one.
fn parenthesis(text: &str) -> &str {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth <= 1 => return &text[..at],
            ')' => depth -= 1,
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::planted::Planted;

    const FILE: &str = "crates/metier-train/src/lib.rs";

    fn plant(code: &str) -> Planted {
        let tree = Planted::good();
        tree.write(FILE, &format!("pub mod schedule;\n{code}\n"));
        tree
    }

    #[test]
    fn a_long_file_needs_a_reason() {
        let tree = Planted::good();
        let long = format!("pub mod schedule;\n{}", "// line\n".repeat(800));
        tree.write(FILE, &long);
        tree.fails("crates/metier-train/src/lib.rs:801: 801 lines: split it");
        tree.write(FILE, &format!("// long because: one table of constants\n{long}"));
        tree.passes();
        tree.write(FILE, &format!("// long because: \n{long}"));
        tree.fails("crates/metier-train/src/lib.rs:801: 802 lines");
    }

    #[test]
    fn unfinished_work_is_a_fault() {
        plant("fn f() { todo!() }").fails("lib.rs:2: `todo!` is left");
        plant("fn f() { unimplemented!(\"x\") }").fails("lib.rs:2: `unimplemented!` is left");
        plant("// a todo! in words\nfn todo() {}").passes();
    }

    #[test]
    fn an_ignored_test_is_a_fault() {
        plant("#[test]\n#[ignore]\nfn f() {}").fails("lib.rs:3: an ignored test");
        plant("#[test]\n#[ignore = \"slow\"]\nfn f() {}").fails("lib.rs:3: an ignored test");
    }

    #[test]
    fn unsafe_has_its_places() {
        plant("fn f() { unsafe { g() } }").fails("lib.rs:2: `unsafe` stands only in");
        plant("#![deny(unsafe_code)]\n// unsafe in words").passes();
        let tree = Planted::good();
        tree.write("crates/metier-core/src/store/file.rs", "unsafe fn f() {}\n");
        tree.write("crates/metier-core/src/store/mod.rs", "mod file;\n");
        tree.write("crates/metier-core/src/lib.rs", "pub mod store;\n");
        tree.passes();
    }

    #[test]
    fn loose_serde_attributes_are_faults() {
        plant("#[serde(default, flatten)]\nstruct A;").fails("lib.rs:2: serde's `flatten` hides mistakes");
        plant("#[cfg_attr(x, serde(untagged))]\nenum A {}").fails("lib.rs:2: serde's `untagged` hides mistakes");
        plant("fn f() { x.iter().flatten() }").passes();
    }
}
