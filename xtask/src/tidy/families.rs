//! Families: each part is in its folder's list, and its page has the five headings.
//!
//! A family is a folder under `crates/*/src/` whose `mod.rs` has a `static NAME: &[&Part<dyn Trait>]`; a folder in
//! which a file has a `static PART: Part<dyn Trait>` must be one.

use super::{
    Fault, File,
    modules::lists,
    tree::{Tree, line_of, words},
};
use std::collections::BTreeMap;

const LIST: &str = "list";
const PAGE: &str = "page";

/// The headings of a part's page, in order. `metier_core::part::PAGE_HEADINGS` is the same list.
pub const HEADINGS: [&str; 5] = ["What it does", "How", "When to use", "Differs from the paper in", "Source"];
/// What `xtask new-part` leaves where words are wanted.
pub const UNWRITTEN: &str = "(write this)";

/// A family's list.
pub struct Family<'a> {
    /// Its `mod.rs`.
    pub list: &'a File,
    /// The trait's name.
    pub seam: String,
    /// The static's name.
    pub name: String,
    /// The entries as written, `module::STATIC`, each with the byte at which it stands.
    pub entries: Vec<(String, usize)>,
    /// The byte range between the brackets.
    pub body: (usize, usize),
}

impl Family<'_> {
    /// The folder's name, which is the family's.
    pub fn folder(&self) -> &str {
        self.list.folder().rsplit('/').next().unwrap_or_default()
    }
}

/// A part's record as its file declares it.
struct Declared<'a> {
    file: &'a File,
    /// The byte at which it stands.
    at: usize,
    /// The static's name.
    name: String,
    /// The registered name, as far as it stands in this file.
    registered: Option<String>,
    /// The settings type.
    settings: Option<String>,
}

/// All families of the tree.
pub fn all(tree: &Tree) -> Vec<Family<'_>> {
    tree.rust().filter(|file| in_source(file) && file.name() == "mod.rs").filter_map(family).collect()
}

/// The rule.
pub fn check(tree: &Tree, faults: &mut Vec<Fault>) {
    let families = all(tree);
    let mut parts: BTreeMap<String, Vec<Declared<'_>>> = BTreeMap::new();
    for file in tree.rust().filter(|file| in_source(file)) {
        for part in declared(file) {
            parts.entry(home(tree, &families, file)).or_default().push(part);
        }
    }
    for (folder, parts) in &parts {
        match families.iter().find(|family| family.list.folder() == folder) {
            Some(family) => listed(family, parts, faults),
            None => {
                for part in parts {
                    let message = format!("a part without a family: {folder}/mod.rs has no static slice of parts");
                    faults.push(Fault::at(part.file, part.at, LIST, message));
                }
            }
        }
        for part in parts {
            page(tree, part, faults);
        }
        one_name_each(parts, faults);
    }
    for family in &families {
        let none = Vec::new();
        slice(family, parts.get(family.list.folder()).unwrap_or(&none), faults);
    }
}

fn in_source(file: &File) -> bool {
    file.path.starts_with("crates/") && file.path.contains("/src/")
}

/// The folder whose family a file's parts belong to: its own, or the one above for a part that is a folder.
fn home(tree: &Tree, families: &[Family<'_>], file: &File) -> String {
    let folder = file.folder();
    let above = folder.rsplit_once('/').map_or("", |(above, _)| above);
    let own = families.iter().any(|family| family.list.folder() == folder);
    let one_up = families.iter().any(|family| family.list.folder() == above);
    if !own && one_up && tree.file(&format!("{folder}/mod.rs")).is_some() {
        above.to_owned()
    } else {
        folder.to_owned()
    }
}

/// Every `static` in `code` above its tests: its place, name, type, and the byte after the `=`.
fn statics(code: &str) -> impl Iterator<Item = (usize, &str, &str, usize)> {
    let code = code.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    words(code, "static").filter(|at| !code[..*at].ends_with('\'')).filter_map(|at| {
        let rest = &code[at + "static".len()..];
        let (declaration, _) = rest.split_once('=')?;
        let (name, kind) = declaration.split_once(':')?;
        Some((at, name.trim(), kind.trim(), at + "static".len() + declaration.len() + 1))
    })
}

fn family(list: &File) -> Option<Family<'_>> {
    let code = &list.code;
    let (_, name, kind, value) =
        statics(code).find(|(_, _, kind, _)| kind.starts_with("&[") && kind.contains("Part<dyn"))?;
    let seam = kind.split_once("dyn ")?.1.split(['>', ' ', '+']).next()?.to_owned();
    let from = value + code[value..].find('[')? + 1;
    let to = from + code[from..].find(']')?;
    let mut entries = Vec::new();
    let mut at = from;
    for entry in code[from..to].split(',') {
        let trimmed = entry.trim();
        if let Some(path) = trimmed.strip_prefix('&') {
            entries.push((path.trim().to_owned(), at + entry.find('&').unwrap_or_default()));
        }
        at += entry.len() + 1;
    }
    Some(Family { list, seam, name: name.to_owned(), entries, body: (from, to) })
}

fn declared(file: &File) -> Vec<Declared<'_>> {
    statics(&file.code)
        .filter(|(_, _, kind, _)| !kind.starts_with('&') && kind.contains("Part<dyn"))
        .map(|(at, name, _, value)| {
            let end = value + file.code[value..].find(';').unwrap_or_default();
            let (code, text) = (&file.code[value..end], &file.text[value..end]);
            let settings = code.find("::<").and_then(|from| {
                let path = code[from + 3..].split_once('>')?.0;
                Some(path.rsplit("::").next()?.trim().to_owned())
            });
            let registered = text.split('"').nth(1).map(str::to_owned);
            Declared { file, at, name: name.to_owned(), registered, settings }
        })
        .collect()
}

/// The module a part stands in, as its family's `mod.rs` calls it.
fn module<'a>(family: &Family<'_>, file: &'a File) -> &'a str {
    let inner = file.path.strip_prefix(family.list.folder()).unwrap_or_default().trim_start_matches('/');
    inner.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

fn listed(family: &Family<'_>, parts: &[Declared<'_>], faults: &mut Vec<Fault>) {
    for part in parts {
        let module = module(family, part.file);
        if !lists(&family.list.code, module) {
            let message = format!("part not listed: {} has no `mod {module};`", family.list.path);
            faults.push(Fault::at(part.file, part.at, LIST, message));
        }
        let entry = format!("{module}::{}", part.name);
        if !family.entries.iter().any(|(path, _)| *path == entry) {
            let message = format!("part not listed: `{}` in {} has no `&{entry}`", family.name, family.list.path);
            faults.push(Fault::at(part.file, part.at, LIST, message));
        }
    }
}

fn one_name_each(parts: &[Declared<'_>], faults: &mut Vec<Fault>) {
    let mut seen: BTreeMap<&str, &Declared<'_>> = BTreeMap::new();
    for part in parts {
        let Some(name) = part.registered.as_deref() else { continue };
        if let Some(first) = seen.insert(name, part) {
            let message = format!("the name `{name}` is taken by {}", first.file.path);
            faults.push(Fault::at(part.file, part.at, LIST, message));
        }
        let alone = parts.iter().filter(|other| other.file.path == part.file.path).count() == 1;
        let folder = part.file.folder().rsplit('/').next().unwrap_or_default();
        if alone && name != part.file.stem() && name != folder {
            let message = format!("the part is called `{name}` and its file `{}`: use one name", part.file.stem());
            faults.push(Fault::at(part.file, part.at, LIST, message));
        }
    }
}

fn slice(family: &Family<'_>, parts: &[Declared<'_>], faults: &mut Vec<Fault>) {
    let list = family.list;
    for pair in family.entries.windows(2) {
        // By whole names, so that `recall_at_1` comes before `recall_at_10`.
        if pair[0].0.split("::").gt(pair[1].0.split("::")) {
            let message = format!("`{}` comes after `{}`: the list is alphabetical", pair[1].0, pair[0].0);
            faults.push(Fault::at(list, pair[1].1, LIST, message));
        }
        if line_of(&list.text, pair[0].1) == line_of(&list.text, pair[1].1) {
            let message = "one entry a line (put `#[rustfmt::skip]` above the list)";
            faults.push(Fault::at(list, pair[1].1, LIST, message));
        }
    }
    for (entry, at) in &family.entries {
        let exists = parts.iter().any(|part| format!("{}::{}", module(family, part.file), part.name) == *entry);
        if !exists {
            faults.push(Fault::at(list, *at, LIST, format!("`&{entry}` is no part of this folder")));
        }
    }
}

fn page(tree: &Tree, part: &Declared<'_>, faults: &mut Vec<Fault>) {
    let Some(settings) = &part.settings else {
        let message = format!("`{}` is not made by `Part::of::<Settings>(\"name\", version)`", part.name);
        faults.push(Fault::at(part.file, part.at, PAGE, message));
        return;
    };
    // A part that is a folder may keep its settings in a file of their own.
    let folder = part.file.folder();
    let near = tree
        .rust()
        .filter(|file| file.path == part.file.path || part.file.name() == "mod.rs" && file.folder() == folder);
    let Some((file, line)) = near.into_iter().find_map(|file| Some((file, declaration(file, settings)?))) else {
        let message = format!("its settings `{settings}` do not stand in the part's own file");
        faults.push(Fault::at(part.file, part.at, PAGE, message));
        return;
    };
    let doc = doc_above(file, line);
    let what = format!("the page of `{settings}`");
    let headings = headings(&doc);
    let mut at = 0;
    for heading in HEADINGS {
        match headings.iter().position(|(name, _)| name == heading) {
            None => faults.push(Fault::new(&file.path, line, PAGE, format!("{what} has no heading `# {heading}`"))),
            Some(position) if position < at => {
                let message = format!("{what} has `# {heading}` out of order; the order is: {}", HEADINGS.join(", "));
                faults.push(Fault::new(&file.path, line, PAGE, message));
            }
            Some(position) => {
                at = position;
                let body = headings[position].1.trim();
                if body.is_empty() || body.contains(UNWRITTEN) {
                    let message = format!("{what} says nothing under `# {heading}`");
                    faults.push(Fault::new(&file.path, line, PAGE, message));
                }
            }
        }
    }
}

/// The line, from 1, on which `file` declares the struct or enum `name`.
fn declaration(file: &File, name: &str) -> Option<usize> {
    words(&file.code, name)
        .find(|at| ["struct ", "enum "].iter().any(|kind| file.code[..*at].ends_with(kind)))
        .map(|at| line_of(&file.text, at))
}

/// The doc comment above `line`, attributes left out.
fn doc_above(file: &File, line: usize) -> Vec<&str> {
    let lines: Vec<&str> = file.text.lines().take(line - 1).collect();
    let mut doc: Vec<&str> = lines
        .iter()
        .rev()
        .map(|line| line.trim())
        .take_while(|line| !line.is_empty() && !line.ends_with('}') && !line.ends_with(';'))
        .filter_map(|line| line.strip_prefix("///"))
        .collect();
    doc.reverse();
    doc
}

/// Each heading with what stands under it. Lines inside a code block are text.
fn headings(doc: &[&str]) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    let mut code = false;
    for line in doc {
        let line = line.trim();
        code ^= line.starts_with("```");
        match line.strip_prefix("# ") {
            Some(heading) if !code => out.push((heading.trim().to_owned(), String::new())),
            _ => {
                if let Some((_, body)) = out.last_mut() {
                    body.push_str(line);
                    body.push('\n');
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::planted::{Planted, part};
    use super::*;

    const LIST_FILE: &str = "crates/metier-train/src/schedule/mod.rs";
    const LINEAR: &str = "crates/metier-train/src/schedule/linear.rs";

    #[test]
    fn a_part_left_out_of_the_list_is_a_fault() {
        let tree = Planted::good();
        tree.write(LINEAR, &part("linear"));
        tree.fails(&format!("{LINEAR}:1: not listed: {LIST_FILE} has no `mod linear;`"));
        tree.fails("part not listed: `SCHEDULES` in crates/metier-train/src/schedule/mod.rs has no `&linear::PART`");
        tree.edit(LIST_FILE, "mod cosine;", "mod cosine;\nmod linear;");
        tree.fails("has no `&linear::PART`");
        tree.edit(LIST_FILE, "    &cosine::PART,\n", "    &cosine::PART,\n    &linear::PART,\n");
        tree.passes();
    }

    #[test]
    fn a_missing_heading_is_a_fault() {
        for heading in HEADINGS {
            let tree = Planted::good();
            tree.edit("crates/metier-train/src/schedule/cosine.rs", &format!("/// # {heading}\n"), "///\n");
            tree.fails(&format!("the page of `Cosine` has no heading `# {heading}`"));
        }
    }

    #[test]
    fn headings_have_an_order_and_a_body() {
        let tree = Planted::good();
        let file = "crates/metier-train/src/schedule/cosine.rs";
        tree.edit(file, "# What it does", "# Later");
        tree.edit(file, "# Source", "# What it does");
        tree.edit(file, "# Later", "# Source");
        tree.fails("out of order");
        let tree = Planted::good();
        tree.edit(file, "/// Words about How.\n", "");
        tree.fails("the page of `Cosine` says nothing under `# How`");
        let tree = Planted::good();
        tree.edit(file, "Words about How.", UNWRITTEN);
        tree.fails("the page of `Cosine` says nothing under `# How`");
    }

    #[test]
    fn a_heading_in_a_code_block_is_no_heading() {
        assert_eq!(headings(&[" # How", " ```", " # Source", " ```"]).len(), 1);
    }

    #[test]
    fn the_list_is_alphabetical_with_one_entry_a_line() {
        let tree = Planted::good();
        tree.edit(
            LIST_FILE,
            "    &constant::PART,\n    &cosine::PART,\n",
            "    &cosine::PART,\n    &constant::PART,\n",
        );
        tree.fails("`constant::PART` comes after `cosine::PART`: the list is alphabetical");
        let tree = Planted::good();
        tree.edit(LIST_FILE, "    &constant::PART,\n    &cosine::PART,\n", "&constant::PART, &cosine::PART");
        tree.fails("one entry a line");
        let tree = Planted::good();
        tree.edit(LIST_FILE, "    &cosine::PART,\n", "    &cosine::PART,\n    &missing::PART,\n");
        tree.fails("`&missing::PART` is no part of this folder");
    }

    #[test]
    fn a_part_that_tests_make_is_none() {
        let tree = Planted::good();
        let tests = "pub mod schedule;\n\n#[cfg(test)]\nmod tests {\n    static PART: Part<dyn Plain> = x;\n}\n";
        tree.write("crates/metier-train/src/lib.rs", tests);
        tree.passes();
    }

    #[test]
    fn a_part_outside_a_family_is_a_fault() {
        let tree = Planted::good();
        tree.write("crates/metier-train/src/lib.rs", "pub mod sampler;\npub mod schedule;\n");
        tree.write("crates/metier-train/src/sampler/mod.rs", "mod packed;\n");
        tree.write("crates/metier-train/src/sampler/packed.rs", &part("packed"));
        tree.fails("a part without a family: crates/metier-train/src/sampler/mod.rs has no static slice");
    }

    #[test]
    fn a_part_may_be_a_folder_with_its_settings_apart() {
        let tree = Planted::good();
        tree.edit(LIST_FILE, "mod cosine;", "mod cosine;\nmod linear;");
        tree.edit(LIST_FILE, "    &cosine::PART,\n", "    &cosine::PART,\n    &linear::PART,\n");
        let (settings, record) =
            part("linear").split_once("pub static").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        tree.write("crates/metier-train/src/schedule/linear/mod.rs", &format!("mod settings;\npub static{record}"));
        tree.write("crates/metier-train/src/schedule/linear/settings.rs", &settings);
        tree.passes();
        tree.edit("crates/metier-train/src/schedule/linear/settings.rs", "# Source", "## Source");
        tree.fails("linear/settings.rs:24: the page of `Linear` has no heading `# Source`");
    }

    #[test]
    fn names_are_one_and_unique() {
        let tree = Planted::good();
        tree.edit("crates/metier-train/src/schedule/cosine.rs", "\"cosine\"", "\"cosin\"");
        tree.fails("the part is called `cosin` and its file `cosine`");
        let tree = Planted::good();
        tree.edit("crates/metier-train/src/schedule/cosine.rs", "\"cosine\"", "\"constant\"");
        tree.fails("the name `constant` is taken by crates/metier-train/src/schedule/constant.rs");
    }
}
