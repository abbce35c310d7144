use super::*;
use proptest::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A schedule.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Shape {
    /// Falls like a cosine.
    #[default]
    Cosine,
    /// Stays.
    Constant,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Size {
    Whole,
    Words(u32),
    Part { share: f64 },
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Inner {
    /// Step size.
    #[schemars(range(min = 0.0, max = 1.0))]
    rate: f64,
    name: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// How many.
    #[schemars(range(min = 1))]
    rank: u32,
    alpha: f32,
    shape: Shape,
    maybe: Option<Shape>,
    #[schemars(length(min = 1))]
    targets: Vec<String>,
    inner: Inner,
    more: Vec<Inner>,
    weights: BTreeMap<String, u8>,
    size: Option<Size>,
    pair: (u8, String),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 16.0,
            shape: Shape::Cosine,
            maybe: None,
            targets: vec!["all".into()],
            inner: Inner::default(),
            more: Vec::new(),
            weights: BTreeMap::new(),
            size: None,
            pair: (1, "a".into()),
        }
    }
}

fn parse(text: &str) -> Table {
    File::parse("r.toml", text).unwrap().root()
}

fn faults(text: &str) -> Vec<String> {
    parse(text).read::<Settings>().unwrap_err().faults.iter().map(ToString::to_string).collect()
}

#[test]
fn settings_are_read_with_defaults() {
    let text = "rank = 4\nalpha = 3\nmaybe = \"constant\"\ninner = { rate = 1 }\nsize = { part = { share = 0.5 } }\n\
                weights.a = 7\nmore = [{ rate = 0.5, name = \"x\" }]\npair = [2, \"b\"]\n";
    let read: Settings = parse(text).read().unwrap();
    let wanted = Settings {
        rank: 4,
        alpha: 3.0,
        maybe: Some(Shape::Constant),
        inner: Inner { rate: 1.0, name: None },
        size: Some(Size::Part { share: 0.5 }),
        weights: [("a".to_owned(), 7)].into(),
        more: vec![Inner { rate: 0.5, name: Some("x".into()) }],
        pair: (2, "b".into()),
        ..Settings::default()
    };
    assert_eq!(read, wanted);
    assert_eq!(parse("").read::<Settings>().unwrap(), Settings::default());
    assert_eq!(parse("size = \"whole\"").read::<Settings>().unwrap().size, Some(Size::Whole));
    assert_eq!(parse("size.words = 3").read::<Settings>().unwrap().size, Some(Size::Words(3)));
}

#[test]
fn five_faults_in_a_file_are_five_messages() {
    let text = "# a recipe\nrnak = 4\nalpha = \"high\"\nshape = \"cosin\"\ntargets = []\n\n[inner]\nrate = 1.5\n";
    assert_eq!(
        faults(text),
        [
            "r.toml:2:1: rnak: unknown key `rnak`\n  hint: did you mean `rank`? keys: alpha, inner, maybe, more, pair, \
             rank, shape, size, targets, weights",
            "r.toml:3:9: alpha: must be a number, not the text `high`",
            "r.toml:4:9: shape: no choice is called `cosin`\n  hint: did you mean `cosine`? choices: cosine, constant",
            "r.toml:5:11: targets: must not be empty",
            "r.toml:8:8: inner.rate: must be at most 1, not the number 1.5\n  hint: at least 0 and at most 1",
        ]
    );
}

#[test]
fn every_kind_of_fault_has_its_place() {
    let one = |text: &str| {
        let all = faults(text);
        assert_eq!(all.len(), 1, "{all:?}");
        all.into_iter().next().unwrap()
    };
    assert_eq!(one("rank = 0"), "r.toml:1:8: rank: must be at least 1, not the whole number 0");
    assert_eq!(one("rank = 4294967296"), "r.toml:1:8: rank: the whole number 4294967296 is out of range");
    assert_eq!(one("rank = 4.0"), "r.toml:1:8: rank: must be a whole number, not the number 4.0\n  hint: write 4");
    assert_eq!(
        one("[inner]\n"),
        "r.toml:1:1: inner: the key `rate` is missing\n  hint: write `rate = ...` with a number"
    );
    assert_eq!(
        one("maybe = 3"),
        "r.toml:1:9: maybe: must be text, not the whole number 3\n  hint: choices: cosine, constant"
    );
    assert_eq!(
        one("weights = { \"é\" = 1, b = 300 }"),
        "r.toml:1:26: weights.b: must be at most 255, not the whole number 300\n  hint: at least 0 and at most 255"
    );
    assert_eq!(one("pair = [1]"), "r.toml:1:8: pair: must have exactly 2 items, not 1");
    assert!(one("size = \"hole\"").contains("no choice is called `hole`"));
    assert!(one("size = { part = { shar = 1 }, words = 1 }").starts_with("r.toml:1:8: size: must be"));
    assert_eq!(faults("size = { part = { shar = 1 } }").len(), 2);
    assert_eq!(
        one("[[more]]\nrate = 0.5\n[[more]]\nname = \"b\"\nrate = \"x\""),
        "r.toml:5:8: more \"b\": rate: must be a number, not the text `x`"
    );
    assert_eq!(
        one("more = [{ rate = 0.5, nmae = \"x\" }]"),
        "r.toml:1:23: more[1].nmae: unknown key `nmae`\n  hint: did you mean `name`? keys: name, rate"
    );
    assert!(one("inner = 3").contains("must be a table, not the whole number 3"));
}

#[test]
fn tagged_tables_are_told_apart() {
    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
    enum Shade {
        Flat { level: f64 },
        Ramp { from: f64, to: f64 },
    }
    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    struct Outer {
        shade: Shade,
    }
    let read = |text: &str| parse(text).read::<Outer>();
    let ramp = Shade::Ramp { from: 0.0, to: 1.0 };
    assert_eq!(read("shade = { kind = \"ramp\", from = 0, to = 1 }").unwrap().shade, ramp);
    let message = |text: &str| read(text).unwrap_err().to_string();
    assert!(message("shade = { kind = \"rmap\" }").contains("r.toml:1:18: shade.kind: no choice is called `rmap`"));
    assert!(message("shade = { from = 1 }").contains("the key `kind` is missing"));
    assert!(message("shade = { kind = \"flat\", level = \"x\" }").contains("shade.level: must be a number"));
    assert_eq!(read("shade = { kind = \"ramp\", form = 1 }").unwrap_err().faults.len(), 3);
}

#[test]
fn what_only_the_struct_can_refuse_has_a_place_too() {
    #[derive(Debug, Deserialize, JsonSchema)]
    struct Outer {
        #[expect(dead_code, reason = "only its refusal is looked at")]
        letter: char,
    }
    let error = parse("[a]\nletter = \"ab\"").table("a").unwrap().unwrap().read::<Outer>().unwrap_err();
    assert!(error.to_string().starts_with("r.toml:2:10: a.letter: "), "{error}");
}

#[test]
fn syntax_errors_have_line_and_column() {
    let places = |text: &str| -> Vec<(Option<usize>, Option<usize>)> {
        let faults = File::parse("r.toml", text).unwrap_err().faults;
        faults.iter().map(|fault| (fault.place.line, fault.place.column)).collect()
    };
    assert_eq!(places("a = 1\nbé = 2"), [(Some(2), Some(2))]);
    assert_eq!(places("a = 1\na = 2"), [(Some(2), Some(1))]);
    assert_eq!(places("a = nope\nb = 1\nc = = 2"), [(Some(1), Some(5)), (Some(3), Some(5))]);
    assert_eq!(places("a = 99999999999999999999\nb = inf"), [(Some(1), Some(5)), (Some(2), Some(5))]);
    assert!(File::parse("r.toml", "\u{feff}a = 1\r\nb = 2\r\n").is_ok());
    assert_eq!(parse("\u{feff}a = 1").place_of("a").column, Some(1));
}

#[test]
fn bytes_that_are_not_text_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.toml");
    std::fs::write(&path, b"a = 1\nb = \"\xff\"\n").unwrap();
    let error = File::read(&path).unwrap_err();
    assert_eq!((error.faults[0].place.line, error.faults[0].place.column), (Some(2), Some(6)));
    assert!(error.to_string().contains("position 11"), "{error}");
    assert!(File::read(folder.path().join("none.toml")).unwrap_err().to_string().contains("cannot read the settings"));
    let said = |name: &str| File::read(folder.path().join(name)).unwrap_err().to_string();
    std::fs::create_dir(folder.path().join("recipes")).unwrap();
    std::fs::write(folder.path().join("recipes/quickstart.toml"), "").unwrap();
    let meant = folder.path().join("recipes/quickstart.toml");
    for name in ["quickstart", "quickstrat.toml", "recipes/quickstart"] {
        assert!(said(name).contains(&format!("did you mean `{}`?", meant.display())), "{}", said(name));
    }
    assert!(said("recipes").contains("it is a folder; its files: quickstart.toml"), "{}", said("recipes"));
    assert!(!said("quickstart.toml/x").contains("did you mean"));
}

const RECIPE: &str = "[recipe]\ntitle = \"t\"\n[[stage]]\nname = \"one\"\nobjective.method = \"causal\"\n\
                      optimizer = { method = \"adamw\", rate = 1e-3 }\n[[stage]]\nsteps = 5\n";

#[test]
fn tables_know_their_keys_and_places() {
    let root = parse(RECIPE);
    assert_eq!(root.keys(), ["recipe", "stage"]);
    let stages = root.tables("stage").unwrap();
    assert_eq!(stages[0].place().to_string(), "r.toml:3:1: stage \"one\"");
    assert_eq!(stages[1].place_of("steps").to_string(), "r.toml:8:1: stage[2].steps");
    assert_eq!(stages[1].value_place_of("steps").column, Some(9));
    assert_eq!(stages[1].place_of("none").to_string(), "r.toml:7:1: stage[2].none");
    let optimizer = stages[0].table("optimizer").unwrap().unwrap();
    assert_eq!(optimizer.place_of("rate").to_string(), "r.toml:6:33: stage \"one\": optimizer.rate");
    assert_eq!(stages[0].table("objective").unwrap().unwrap().string("method").unwrap().unwrap(), "causal");
    assert_eq!(optimizer.without(&["method"]).keys(), ["rate"]);
    assert_eq!(root.table("none").unwrap().map(|table| table.keys().len()), None);
    let error = optimizer.string("rate").unwrap_err().to_string();
    assert_eq!(error, "r.toml:6:40: stage \"one\": optimizer.rate: `rate` must be text, not the number 0.001");
    assert!(root.tables("recipe").unwrap_err().to_string().contains("[[recipe]]"));
    assert_eq!(stages[1].integer("steps").unwrap(), Some(5));
    assert_eq!(optimizer.number("rate").unwrap(), Some(1e-3));
    assert!(root.contains("recipe") && !root.is_empty());
}

#[test]
fn a_value_can_be_set_from_the_command_line() {
    let mut root = parse(RECIPE);
    root.set("stage.one.optimizer.rate", "0.5").unwrap();
    root.set("stage.2.steps", "7").unwrap();
    root.set("stage.one.schedule.method", "cosine").unwrap();
    root.set("recipe.title", "\"a b\"").unwrap();
    let stages = root.tables("stage").unwrap();
    assert_eq!(stages[0].table("optimizer").unwrap().unwrap().number("rate").unwrap(), Some(0.5));
    assert_eq!(stages[1].integer("steps").unwrap(), Some(7));
    assert_eq!(stages[0].table("schedule").unwrap().unwrap().string("method").unwrap().unwrap(), "cosine");
    assert_eq!(root.table("recipe").unwrap().unwrap().string("title").unwrap().unwrap(), "a b");
    root.set("stage.one.optimizer.rate", "fast").unwrap();
    let optimizer = root.tables("stage").unwrap()[0].table("optimizer").unwrap().unwrap();
    let error = optimizer.number("rate").unwrap_err().to_string();
    assert!(error.starts_with("--set: stage \"one\": optimizer.rate: "), "{error}");
    assert!(root.set("stage.three.steps", "1").unwrap_err().to_string().contains("known: one"));
    assert!(root.set("recipe.title.x", "1").unwrap_err().to_string().contains("not a table"));
    assert!(root.set("recipe..x", "1").unwrap_err().to_string().contains("not a dotted key"));
    assert!(root.set("a", "[1,").unwrap_err().to_string().starts_with("--set: a: "));
    let mut table = Table::empty("pack");
    table.set("shard_tokens", "1000").unwrap();
    assert_eq!(table.to_json(), serde_json::json!({ "shard_tokens": 1000 }));
}

#[test]
fn an_overlay_joins_tables_and_keeps_places() {
    let base =
        parse("steps = 100\nkeep = true\noptimizer = { method = \"adamw\", rate = 1.0, decay = 0.1 }\na.b = 1\n");
    let over = parse("\n\n\nsteps = 4\na.c = 2\noptimizer = { rate = 2.0 }\n");
    let both = base.overlay(&over);
    assert_eq!(
        both.to_json(),
        serde_json::json!({
            "steps": 4, "keep": true, "a": { "b": 1, "c": 2 },
            "optimizer": { "method": "adamw", "rate": 2.0, "decay": 0.1 }
        })
    );
    assert_eq!(both.place_of("steps").line, Some(4));
    assert_eq!(both.place_of("keep").line, Some(2));
    let other = base.overlay(&parse("optimizer = { method = \"sgd\" }"));
    assert_eq!(other.to_json()["optimizer"], serde_json::json!({ "method": "sgd" }));
}

#[test]
fn fields_are_described() {
    let fields = describe(&schema_generator().into_root_schema_for::<Settings>());
    let field = |key: &str| fields.iter().find(|field| field.key == key).unwrap();
    assert_eq!(
        *field("rank"),
        Field {
            key: "rank".into(),
            kind: "a whole number".into(),
            default: Some("8".into()),
            required: false,
            range: Some("at least 1".into()),
            text: "How many.".into(),
        }
    );
    assert_eq!(field("shape").kind, "one of `cosine`, `constant`");
    assert_eq!(field("maybe").kind, "one of `cosine`, `constant`");
    assert_eq!(field("targets").kind, "a list of texts");
    assert_eq!(field("targets").default.as_deref(), Some("[\"all\"]"));
    assert!(field("inner.rate").required);
    assert_eq!(field("more[].rate").range.as_deref(), Some("at least 0 and at most 1"));
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[\\[\\]{}=.,\"'#\\na-c0-9éinf +\\-_:\u{feff}\r\t]{0,80}") {
        if let Ok(file) = File::parse("r.toml", text) {
            let _ = file.root().read::<Settings>();
        }
    }

    #[test]
    fn no_character_makes_the_reader_panic(text in any::<String>()) {
        let _ = File::parse("r.toml", text);
    }

    #[test]
    fn no_override_makes_a_table_panic(key in "[a-c.1 ]{0,12}", value in "[\\[\\]{}=,\"'a0-9. ]{0,12}") {
        let mut table = parse("a = [1, { name = \"b\" }]\nb.c = 1\n[[c]]\nname = \"a\"\n");
        let _ = table.set(&key, &value);
        let _ = table.to_json();
    }
}

#[test]
fn a_table_is_what_its_json_says() {
    let file =
        File::parse("r.toml", "word = \"a\"\nlist = [1, 2.5]\nyes = true\ninner = { deep = [{ x = -3 }] }").unwrap();
    let json = file.root().to_json();
    let serde_json::Value::Object(mut entries) = json.clone() else { panic!("a table") };
    entries.insert("left_out".into(), serde_json::Value::Null);
    assert_eq!(Table::of_json("", &entries).to_json(), json);
}
