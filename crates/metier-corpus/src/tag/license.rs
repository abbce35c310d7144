use super::{Span, Tag, Tagger};
use crate::layout::Layout;
use crate::list::{Plain, padded};
use aho_corasick::{AhoCorasick, MatchKind};
use metier_core::part::{Build, Part};
use metier_core::{Error, Place, Result};
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

/// # What it does
/// Tags under which licenses a document says that it, or something in it, stands: each attribute is an SPDX identifier.
///
/// # How
/// Three things are looked for. An expression behind `SPDX-License-Identifier:`, or as the value of a key `license` (in JSON, TOML and YAML), gives a span for each
/// identifier in it; one that SPDX does not list is `other`. Phrases that only one license has, of its text or of the notice that it asks for, are
/// compared word by word, without case and marks, so that comment signs and line breaks between words do not matter; where texts begin
/// alike, words behind the phrase decide (the third condition of BSD-3-Clause). Addresses and names of Creative Commons licenses give theirs with the version.
/// Each span is the place of what was found, with the score 1. Rare licenses that only add to a frequent one are taken for that one. A text of the GPL and its kin without a notice does not say whether later versions
/// hold too: it is `GPL_3_0`, a notice `GPL_3_0_only` or `GPL_3_0_or_later`.
///
/// # When to use
/// To keep code and documents of some licenses only, and to see which a corpus has.
///
/// # Differs from the paper in
/// Dolma's `cc_re` looks for links to Creative Commons in a page's HTML; here it is the text that is read, and other licenses are known too. Of SPDX's 727
/// identifiers all are known by name, and some 45 by their text.
///
/// # Source
/// Soldaini et al. 2024, Dolma (arXiv:2402.00159); SPDX License List (CC0-1.0), as npm's spdx-license-list 6.12.0 has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct License {}

/// A phrase, and what must and must not stand among the words behind it.
struct Rule {
    id: &'static str,
    phrase: &'static str,
    with: &'static [&'static str],
    without: &'static [&'static str],
}

const fn rule(id: &'static str, phrase: &'static str) -> Rule {
    Rule { id, phrase, with: &[], without: &[] }
}

/// Bytes of words behind a phrase in which `with` and `without` are looked for.
const BEHIND: usize = 2500;

const MIT: &str = "permission is hereby granted free of charge to any person obtaining a copy of this software and associated documentation files";
const MIT_NOTICE: &str = "the above copyright notice and this permission notice";
const MIT_NAMES: &str = "except as contained in this notice the name";
const BSD: &str = "redistribution and use in source and binary forms with or without modification are permitted provided that the following conditions are met";
const BSD_NAMES: &str = "neither the name";
/// What ends the conditions of a license with two of them, and of one with three.
const BSD_TWO: &str = "provided with the distribution this software is provided";
const BSD_THREE: &str = "prior written permission this software is provided";
const BSD_ADVERTISING: &str = "all advertising materials";
const ISC: &str = "permission to use copy modify and or distribute this software for any purpose with or without fee is hereby granted";
const ISC_OLD: &str =
    "permission to use copy modify and distribute this software for any purpose with or without fee is hereby granted";
const ISC_NOTICE: &str = "provided that the above copyright notice and this permission notice";

static RULES: &[Rule] = &[
    Rule { id: "MIT", phrase: MIT, with: &[MIT_NOTICE], without: &[MIT_NAMES] },
    Rule {
        id: "MIT-0",
        phrase: MIT,
        with: &[],
        without: &[MIT_NOTICE, "subject to the following conditions", "provided that the above copyright"],
    },
    Rule { id: "X11", phrase: MIT, with: &[MIT_NOTICE, MIT_NAMES], without: &[] },
    rule("MIT", "under the mit license"),
    rule("MIT", "under the terms of the mit license"),
    Rule { id: "BSD-2-Clause", phrase: BSD, with: &[BSD_TWO], without: &[] },
    Rule { id: "BSD-3-Clause", phrase: BSD, with: &[BSD_NAMES, BSD_THREE], without: &[BSD_ADVERTISING] },
    Rule { id: "BSD-4-Clause", phrase: BSD, with: &[BSD_NAMES, BSD_ADVERTISING], without: &[] },
    Rule { id: "ISC", phrase: ISC, with: &[ISC_NOTICE], without: &[] },
    Rule { id: "ISC", phrase: ISC_OLD, with: &[ISC_NOTICE], without: &[] },
    Rule { id: "0BSD", phrase: ISC, with: &[], without: &[ISC_NOTICE] },
    rule("Apache-2.0", "licensed under the apache license version 2 0"),
    rule("Apache-2.0", "under the terms of the apache license version 2 0"),
    rule("Apache-2.0", "apache license version 2 0 january 2004"),
    rule("GPL-1.0", "gnu general public license version 1 february 1989"),
    rule("GPL-2.0", "gnu general public license version 2 june 1991"),
    rule("GPL-3.0", "gnu general public license version 3 29 june 2007"),
    rule("GPL-2.0-only", "gnu general public license version 2 as published by the free software foundation"),
    rule(
        "GPL-2.0-or-later",
        "gnu general public license as published by the free software foundation either version 2 of the license or",
    ),
    rule(
        "GPL-3.0-or-later",
        "gnu general public license as published by the free software foundation either version 3 of the license or",
    ),
    rule("GPL-3.0-only", "gnu general public license version 3 as published by the free software foundation"),
    rule("LGPL-2.0", "gnu library general public license version 2 june 1991"),
    rule("LGPL-2.1", "gnu lesser general public license version 2 1 february 1999"),
    rule("LGPL-3.0", "gnu lesser general public license version 3 29 june 2007"),
    rule(
        "LGPL-2.0-or-later",
        "gnu library general public license as published by the free software foundation either version 2 of the license or",
    ),
    rule(
        "LGPL-2.1-or-later",
        "gnu lesser general public license as published by the free software foundation either version 2 1 of the license or",
    ),
    rule(
        "LGPL-3.0-or-later",
        "gnu lesser general public license as published by the free software foundation either version 3 of the license or",
    ),
    rule("AGPL-3.0", "gnu affero general public license version 3 19 november 2007"),
    rule(
        "AGPL-3.0-or-later",
        "gnu affero general public license as published by the free software foundation either version 3 of the license or",
    ),
    rule("GFDL-1.1", "gnu free documentation license version 1 1"),
    rule("GFDL-1.2", "gnu free documentation license version 1 2"),
    rule("GFDL-1.3", "gnu free documentation license version 1 3"),
    rule("MPL-1.1", "the contents of this file are subject to the mozilla public license version 1 1"),
    rule("MPL-1.1", "mozilla public license version 1 1 1 definitions"),
    rule("MPL-2.0", "subject to the terms of the mozilla public license v 2 0"),
    rule("MPL-2.0", "mozilla public license version 2 0 1 definitions"),
    rule("EPL-1.0", "under the terms of the eclipse public license v 1 0"),
    rule("EPL-1.0", "eclipse public license v 1 0 the accompanying program is provided"),
    rule("EPL-2.0", "under the terms of the eclipse public license v 2 0"),
    rule("EPL-2.0", "under the terms of the eclipse public license 2 0"),
    rule("EPL-2.0", "eclipse public license v 2 0 the accompanying program is provided"),
    rule("CDDL-1.0", "common development and distribution license cddl version 1 0"),
    rule("BSL-1.0", "boost software license version 1 0"),
    rule("Unlicense", "this is free and unencumbered software released into the public domain"),
    rule(
        "Zlib",
        "permission is granted to anyone to use this software for any purpose including commercial applications and to alter it and redistribute it freely",
    ),
    rule("WTFPL", "do what the fuck you want to public license"),
    rule("OFL-1.1", "sil open font license version 1 1"),
    rule("Artistic-2.0", "the artistic license 2 0"),
    rule("PSF-2.0", "python software foundation license version 2"),
    rule(
        "PostgreSQL",
        "permission to use copy modify and distribute this software and its documentation for any purpose without fee and without a written agreement is hereby granted",
    ),
    rule("NCSA", "university of illinois ncsa open source license"),
    rule("MS-PL", "microsoft public license ms pl"),
    // As it spells itself, which words of ours do not.
    rule("EUPL-1.2", concat!("european union public licen", "ce v 1 2")),
    rule("ODbL-1.0", "open database license odbl v1 0"),
    rule("ODbL-1.0", "open data commons open database license odbl"),
    rule("PHP-3.01", "the php license version 3 01"),
    rule("CC0-1.0", "creativecommons org publicdomain zero 1 0"),
    rule("CC0-1.0", "cc0 1 0 universal"),
];

/// What is neither in an address nor in a name of Creative Commons: its types, as they are abbreviated and written out, and versions.
const TYPES: [(&str, &[&str]); 6] = [
    ("BY", &["attribution"]),
    ("BY-SA", &["attribution sharealike", "attribution share alike"]),
    ("BY-ND", &["attribution noderivatives", "attribution noderivs", "attribution no derivatives"]),
    ("BY-NC", &["attribution noncommercial", "attribution non commercial"]),
    ("BY-NC-SA", &["attribution noncommercial sharealike", "attribution non commercial share alike"]),
    (
        "BY-NC-ND",
        &[
            "attribution noncommercial noderivatives",
            "attribution noncommercial noderivs",
            "attribution noderivs noncommercial",
            "attribution non commercial no derivatives",
        ],
    ),
];
const VERSIONS: [&str; 5] = ["1.0", "2.0", "2.5", "3.0", "4.0"];

/// Identifiers, one a line.
const IDS: &str = include_str!("spdx_ids.txt");
/// What SPDX does not list.
const OTHER: &str = "other";

/// Words without which no phrase can stand in a text.
const SIGNS: [&str; 9] = [
    "licen",
    "permission",
    "redistribution",
    "public domain",
    "creativecommons",
    "creative commons",
    "cc-by",
    "cc by",
    "cc0",
];

/// A kind, and what must and must not follow its phrase.
struct Follows {
    kind: u16,
    with: Vec<String>,
    without: Vec<String>,
}

/// What is known of licenses, made once.
struct Known {
    kinds: Vec<String>,
    /// The kind of an identifier in lower case.
    places: HashMap<String, u16>,
    signs: AhoCorasick,
    phrases: AhoCorasick,
    /// For each phrase the rules that it begins.
    rules: Vec<Vec<Follows>>,
    declared: Regex,
    identifier: Regex,
}

impl Known {
    fn new() -> Result<Self> {
        let wrong = |error: &dyn std::fmt::Display| Error::program(format!("the rules of licenses: {error}"));
        let kinds: Vec<String> = IDS.lines().chain([OTHER]).map(str::to_owned).collect();
        let places: HashMap<String, u16> = (0..).zip(&kinds).map(|(place, id)| (id.to_lowercase(), place)).collect();
        let place = |id: &str| places.get(&id.to_lowercase()).copied().ok_or_else(|| wrong(&format!("no {id}")));
        let (mut phrases, mut rules): (Vec<String>, Vec<Vec<Follows>>) = (Vec::new(), Vec::new());
        let mut add = |phrase: &str, kind, with: &[&str], without: &[&str]| {
            let all = |phrases: &[&str]| phrases.iter().map(|phrase| padded(phrase)).collect();
            let (phrase, rule) = (padded(phrase), Follows { kind, with: all(with), without: all(without) });
            if let Some(at) = phrases.iter().position(|known| *known == phrase) {
                rules[at].push(rule);
            } else {
                phrases.push(phrase);
                rules.push(vec![rule]);
            }
        };
        for Rule { id, phrase, with, without } in RULES {
            add(phrase, place(id)?, with, without);
        }
        for (kind, names) in TYPES {
            let short = kind.to_lowercase();
            for version in VERSIONS {
                let at = place(&format!("CC-{kind}-{version}"))?;
                let abbreviated = [format!("creativecommons org licenses {short}"), format!("cc {short}")];
                for name in abbreviated.iter().map(String::as_str).chain(names.iter().copied()) {
                    add(&format!("{name} {version}"), at, &[], &[]);
                }
            }
        }
        let automaton = |phrases: &[String]| {
            let kind = MatchKind::LeftmostLongest;
            AhoCorasick::builder()
                .ascii_case_insensitive(true)
                .match_kind(kind)
                .build(phrases)
                .map_err(|error| wrong(&error))
        };
        let pattern = |pattern: &str| Regex::new(pattern).map_err(|error| wrong(&error));
        Ok(Self {
            signs: automaton(&SIGNS.map(str::to_owned))?,
            phrases: automaton(&phrases)?,
            declared: pattern(
                r#"(?i)(?:SPDX-License-Identifier:|(?m:^)[ \t{,]*"?licen[sc]e"?[ \t]*[:=][ \t]*["'])[ \t]*([A-Za-z0-9.+\-() \t]+)"#,
            )?,
            identifier: pattern(r"[A-Za-z0-9][A-Za-z0-9.+\-]*")?,
            kinds,
            places,
            rules,
        })
    }
}

struct Licenses(Arc<Known>);

impl Tag for Licenses {
    fn name(&self) -> String {
        "license".to_owned()
    }

    fn kinds(&self) -> Vec<String> {
        self.0.kinds.clone()
    }

    fn start(&self) -> Box<dyn Tagger> {
        Box::new(Worker { known: Arc::clone(&self.0), plain: Plain::default() })
    }
}

struct Worker {
    known: Arc<Known>,
    plain: Plain,
}

impl Tagger for Worker {
    fn tag(&mut self, layout: &Layout, spans: &mut Vec<Span>) {
        let Self { known, plain } = self;
        if !known.signs.is_match(layout.text()) {
            return;
        }
        let first = spans.len();
        let mut give = |from: usize, to: usize, kind: u16| {
            spans.push(Span { start: layout.character(from), end: layout.character(to), kind, score: 1.0 });
        };
        declared(known, layout.text(), &mut give);
        plain.set(layout.text());
        for hit in known.phrases.find_iter(plain.text()) {
            let mut to = (hit.end() + BEHIND).min(plain.text().len());
            while !plain.text().is_char_boundary(to) {
                to -= 1;
            }
            let behind = &plain.text()[hit.end()..to];
            for Follows { kind, with, without } in &known.rules[hit.pattern().as_usize()] {
                let holds = |phrase: &String| behind.contains(phrase);
                if with.iter().all(holds) && !without.iter().any(holds) {
                    let (_, range) = plain.source(hit.start()..hit.end());
                    give(range.start, range.end, *kind);
                }
            }
        }
        spans[first..].sort_by_key(|span| (span.start, span.end, span.kind));
    }
}

/// Identifiers of expressions.
fn declared(known: &Known, text: &str, give: &mut impl FnMut(usize, usize, u16)) {
    for found in known.declared.captures_iter(text).filter_map(|found| found.get(1)) {
        let mut exception = false;
        for word in known.identifier.find_iter(found.as_str()) {
            let (from, to) = (found.start() + word.start(), found.start() + word.end());
            match word.as_str() {
                "AND" | "OR" | "and" | "or" => {}
                "WITH" | "with" => exception = true,
                _ if std::mem::take(&mut exception) => {}
                id => {
                    let kind = known.places.get(&id.to_lowercase()).copied();
                    let unlisted = id.contains('-') || id.eq_ignore_ascii_case("proprietary");
                    match kind {
                        Some(kind) => give(from, to, kind),
                        None if unlisted => give(from, to, known.kinds.len() as u16 - 1),
                        // Behind an expression there may stand anything.
                        None => break,
                    }
                }
            }
        }
    }
}

impl Build<dyn Tag> for License {
    fn build(self, _: &Place) -> Result<Box<dyn Tag>> {
        Ok(Box::new(Licenses(Arc::new(Known::new()?))))
    }
}

/// The record of `license`.
pub static PART: Part<dyn Tag> = Part::of::<License>("license", 1);

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Vec<(String, String)> {
        let part = License {}.build(&Place::default()).unwrap();
        let (mut layout, mut spans) = (Layout::default(), Vec::new());
        layout.set(text);
        part.start().tag(&layout, &mut spans);
        let letters: Vec<char> = text.chars().collect();
        let found = |span: &Span| {
            (part.kinds()[usize::from(span.kind)].clone(), letters[span.start..span.end].iter().collect::<String>())
        };
        spans.iter().map(found).collect()
    }

    fn ids(text: &str) -> Vec<String> {
        said(text).into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn identifiers_are_read_out_of_expressions() {
        assert_eq!(
            ids("\u{e9} // SPDX-License-Identifier: (MIT OR apache-2.0) AND LicenseRef-own */"),
            ["MIT", "Apache-2.0", "other"]
        );
        assert_eq!(
            said("# SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note\nx"),
            [("GPL-2.0-only".into(), "GPL-2.0-only".into())]
        );
        assert_eq!(ids("[package]\nlicense = \"MIT OR BSD-3-Clause\"\n"), ["MIT", "BSD-3-Clause"]);
        assert_eq!(ids("{\n  \"license\": \"ISC\",\n"), ["ISC"]);
        assert!(ids("the license: \"what you may do\"").is_empty());
        assert!(ids("a license = ours").is_empty());
    }

    #[test]
    fn texts_and_notices_are_known_through_comment_signs() {
        let notice = " * Licensed under the Apache License,\n * Version 2.0 (the \"License\");\n";
        assert_eq!(said(notice), [("Apache-2.0".into(), "Licensed under the Apache License,\n * Version 2.0".into())]);
        let bsd = format!("# {}:\n# {{}}\n", BSD.replace(' ', "\n# "));
        assert_eq!(ids(&bsd.replace("{}", &format!("Neither the name, without {BSD_THREE}"))), ["BSD-3-Clause"]);
        assert_eq!(ids(&bsd.replace("{}", BSD_TWO)), ["BSD-2-Clause"]);
        assert!(ids(&bsd).is_empty());
        assert_eq!(ids(&bsd.replace("{}", "3. All advertising materials\n4. Neither the name")), ["BSD-4-Clause"]);
        assert_eq!(ids("https://creativecommons.org/licenses/by-nc-sa/4.0/"), ["CC-BY-NC-SA-4.0"]);
        assert_eq!(ids("Creative Commons Attribution-ShareAlike 3.0 Unported"), ["CC-BY-SA-3.0"]);
        assert_eq!(ids("under CC BY 4.0."), ["CC-BY-4.0"]);
        assert!(ids("cc by 4.01, and a license that nobody knows").is_empty());
        assert!(ids("").is_empty());
    }

    #[test]
    fn every_phrase_has_a_sign_and_every_rule_is_reached() {
        let known = Known::new().unwrap();
        for rule in RULES {
            assert!(known.signs.is_match(rule.phrase), "{}", rule.phrase);
            assert!(
                ids(&format!("{} {}", rule.phrase, rule.with.join(" "))).contains(&rule.id.to_owned()),
                "{}",
                rule.id
            );
        }
    }
}
