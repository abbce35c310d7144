//! A small good tree in which tests plant faults.

use super::families::HEADINGS;
use std::path::Path;

/// A repository in a scratch folder.
pub struct Planted(tempfile::TempDir);

/// A part's file.
pub fn part(name: &str) -> String {
    let title = name[..1].to_uppercase() + &name[1..];
    let page: Vec<String> =
        HEADINGS.iter().map(|heading| format!("/// # {heading}\n///\n/// Words about {heading}.\n")).collect();
    format!(
        "//! A part.\n\n{}#[derive(Deserialize)]\n#[serde(deny_unknown_fields, default)]\npub struct {title} {{\n    \
         rate: f64,\n}}\n\npub static PART: Part<dyn Schedule> = Part::of::<{title}>(\"{name}\", 1);\n",
        page.join("///\n")
    )
}

impl Planted {
    /// A tree without a fault.
    pub fn good() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        tree.write("Cargo.toml", "[workspace.dependencies]\nmetier-core = { path = \"x\" }\nserde = \"1\"\n");
        tree.write("docs/dependencies.md", "| `serde` | reads settings |\n");
        tree.write(
            "ARCHITECTURE.md",
            "| crate | role | families | may use |\n|---|---|---|---|\n| `metier-core` | ground | | – |\n\
             | `metier-train` | training | `schedule` | core, tokenizer, model, compute |\n",
        );
        tree.write("crates/metier-core/Cargo.toml", "[package]\nname = \"metier-core\"\n");
        tree.write("crates/metier-core/src/lib.rs", "//! Ground.\n");
        tree.write(
            "crates/metier-train/Cargo.toml",
            "[dependencies]\nmetier-core.workspace = true\nserde.workspace = true\n",
        );
        tree.write("crates/metier-train/src/lib.rs", "pub mod schedule;\n");
        tree.write(
            "crates/metier-train/src/schedule/mod.rs",
            "mod constant;\nmod cosine;\n\nuse metier_core::part::Part;\nuse serde;\n\n/// A rate for each step.\npub trait Schedule {}\n\n#[rustfmt::skip]\n\
             pub static SCHEDULES: &[&Part<dyn Schedule>] = &[\n    &constant::PART,\n    &cosine::PART,\n];\n",
        );
        tree.write("crates/metier-train/src/schedule/constant.rs", &part("constant"));
        tree.write("crates/metier-train/src/schedule/cosine.rs", &part("cosine"));
        tree.passes();
        tree
    }

    /// Its root.
    pub fn root(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// What a file says.
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.root().join(path)).unwrap()
    }

    /// Replaces the first `from` in a file.
    #[track_caller]
    pub fn edit(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "{path} has no `{from}`:\n{text}");
        self.write(path, &text.replacen(from, to, 1));
    }

    fn faults(&self) -> Vec<String> {
        super::check(self.root()).unwrap().iter().map(ToString::to_string).collect()
    }

    /// No rule is broken.
    #[track_caller]
    pub fn passes(&self) {
        assert_eq!(self.faults(), Vec::<String>::new());
    }

    /// Some fault's line has `part` in it.
    #[track_caller]
    pub fn fails(&self, part: &str) {
        let faults = self.faults();
        assert!(faults.iter().any(|fault| fault.contains(part)), "no fault says `{part}`:\n{}", faults.join("\n"));
    }
}
