use super::{Known, Span, Tag, Tagger, whole};
use crate::hash;
use crate::layout::Layout;
use crate::list::{self, Words, folded};
use aho_corasick::{AhoCorasick, MatchKind};
use metier_core::part::{Build, Part};
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// # What it does
/// Tags words, phrases, domains and addresses that stand in lists of the user's.
///
/// # How
/// Lists have one entry a line; files ending in `.gz`, `.zst` or `.bz2` are decompressed, and lines that begin with `#` are passed over.
/// Case does not count. An entry of `words` is found where it stands as a word: between white space, with or without marks around it,
/// or as a run of letters, digits and underscores. An entry of `phrases` is found anywhere, in the middle of a word too; white space in
/// the text is a space to it. Each hit is a span (`word`, `phrase`) with the score 1. Words are looked up by their hash and phrases by one
/// automaton (Aho and Corasick), so the number of entries does not matter much.
///
/// Addresses come from the document's metadata (`url_key`; the reader must `keep` it). An entry of `domains` holds for itself and for all that lies
/// below it; lines of files of hosts (`0.0.0.0 a.example`) and of ad blockers (`||a.example^`) are understood. An entry of `urls` is
/// host, port and path, compared as a whole without what comes before and behind. A hit spans the document (`domain`, `url`); a document without an
/// address gets `no_url`, so that a key that does not exist is seen.
///
/// # When to use
/// To leave out sites and subjects that are known by name, or, turned around in `mix`, to keep only those.
///
/// # Differs from the paper in
/// Dolma's domain taggers know a host with and without `www.`, and no other host below it. They pass over lines they do not understand,
/// which are refused here, and read neither rules of ad blockers beyond a domain nor words.
///
/// # Source
/// Soldaini et al. 2024, Dolma (arXiv:2402.00159), section 5.1.1; Dolma 1.2.1. Aho and Corasick 1975, Efficient String Matching.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Blocklist {
    /// The name in attributes.
    pub name: String,
    /// Files of words.
    pub words: Vec<PathBuf>,
    /// Files of phrases.
    pub phrases: Vec<PathBuf>,
    /// Files of domains.
    pub domains: Vec<PathBuf>,
    /// Files of addresses.
    pub urls: Vec<PathBuf>,
    /// What the document's address is called in its metadata.
    pub url_key: String,
}

impl Default for Blocklist {
    fn default() -> Self {
        Self {
            name: "blocklist".to_owned(),
            words: Vec::new(),
            phrases: Vec::new(),
            domains: Vec::new(),
            urls: Vec::new(),
            url_key: "url".to_owned(),
        }
    }
}

const WORD: u16 = 0;
const PHRASE: u16 = 1;
const DOMAIN: u16 = 2;
const URL: u16 = 3;
const NO_URL: u16 = 4;
const KINDS: [&str; 5] = ["word", "phrase", "domain", "url", "no_url"];

type Set = HashSet<Box<str>, hash::Build>;

struct Lists {
    name: String,
    url_key: String,
    words: Words,
    phrases: Option<AhoCorasick>,
    domains: Set,
    urls: Set,
    hash: String,
}

impl Lists {
    fn read(settings: Blocklist, place: &Place) -> Result<Self> {
        let Blocklist { name, url_key, .. } = settings;
        let (mut hash, mut faults) = (blake3::Hasher::new(), Vec::new());
        let (mut words, mut phrases) = (Words::default(), Vec::new());
        let (mut domains, mut urls) = (Set::default(), Set::default());
        for (paths, kind) in
            [(&settings.words, WORD), (&settings.phrases, PHRASE), (&settings.domains, DOMAIN), (&settings.urls, URL)]
        {
            hash.update(&kind.to_le_bytes());
            for path in paths {
                let read = list::read(path, &mut hash, |entry| match kind {
                    WORD if entry.contains(crate::layout::is_space) => {
                        Err(format!("`{entry}` is no word; write it into a file of `phrases`"))
                    }
                    WORD => {
                        words.add(entry);
                        Ok(())
                    }
                    PHRASE => {
                        phrases.push(entry.chars().map(folded).collect::<String>());
                        Ok(())
                    }
                    DOMAIN => domains_of(entry, &mut domains),
                    _ => {
                        let (host, rest) = address(entry).ok_or_else(|| format!("`{entry}` is no address"))?;
                        urls.insert((host + &rest).into());
                        Ok(())
                    }
                });
                faults.extend(read.err().into_iter().flat_map(|error| error.faults));
            }
        }
        Error::collect((), faults)?;
        if words.is_empty() && phrases.is_empty() && domains.is_empty() && urls.is_empty() {
            return Err(Fault::new(place.clone(), "no list is given")
                .hint("name files under `words`, `phrases`, `domains` or `urls`")
                .into());
        }
        phrases.sort_unstable();
        phrases.dedup();
        let automaton = AhoCorasick::builder().match_kind(MatchKind::Standard).build(&phrases);
        let automaton = automaton
            .map_err(|error| Fault::new(place.clone(), format!("the phrases are too many or too long: {error}")))?;
        let phrases = (!phrases.is_empty()).then_some(automaton);
        Ok(Self { name, url_key, words, phrases, domains, urls, hash: hash.finalize().to_hex().to_string() })
    }
}

/// Adds what a line names: a domain, alone, behind an address of a file of hosts, or as a rule of an ad blocker.
fn domains_of(line: &str, domains: &mut Set) -> std::result::Result<(), String> {
    if line.starts_with([';', '!', '[']) {
        return Ok(());
    }
    let mut add = |host: &str| {
        if !matches!(host, "localhost" | "localdomain" | "127.0.0.1" | "0.0.0.0" | "::1") {
            domains.insert(host.into());
        }
    };
    let mut fields = line.split_whitespace();
    if let (Some(number), Some(host)) = (fields.next().and_then(|field| field.parse::<IpAddr>().ok()), fields.next()) {
        add(&number.to_string());
        let (host, _) = address(host).ok_or_else(|| format!("`{line}` names no domain"))?;
        add(&host);
        return Ok(());
    }
    let named = match line.strip_prefix("||") {
        Some(rule) => rule.split_once('^').map(|(host, _)| host),
        None => Some(line),
    };
    let (host, _) = named.and_then(address).ok_or_else(|| format!("`{line}` names no domain"))?;
    add(&host);
    Ok(())
}

/// The host of an address in lower case, and its port and path: without scheme, name of a user, query and what stands behind `#`.
fn address(text: &str) -> Option<(String, String)> {
    let text = text.trim().to_lowercase();
    let rest = text.split_once("://").map_or(text.as_str(), |(_, rest)| rest);
    let rest = rest.trim_start_matches('/');
    let rest = rest[..rest.find(['?', '#']).unwrap_or(rest.len())].trim_end();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port),
        None if authority.parse::<IpAddr>().is_ok() => (authority, ""),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let host = host.trim_end_matches('.');
    let plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let named =
        host.parse::<IpAddr>().is_ok() || (host.contains(|letter: char| letter != '.') && host.chars().all(plain));
    let port_is_one = port.is_empty()
        || port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    (named && port_is_one).then(|| (host.to_owned(), format!("{port}{path}").trim_end_matches('/').to_owned()))
}

/// Whether a host or one above it is listed.
fn listed(domains: &Set, host: &str) -> bool {
    let mut rest = host;
    loop {
        if domains.contains(rest) {
            return true;
        }
        match rest.split_once('.') {
            Some((_, above)) => rest = above,
            None => return false,
        }
    }
}

struct Listed(Arc<Lists>);

impl Tag for Listed {
    fn name(&self) -> String {
        self.0.name.clone()
    }

    fn kinds(&self) -> Vec<String> {
        KINDS.map(str::to_owned).to_vec()
    }

    fn model(&self) -> Option<String> {
        Some(self.0.hash.clone())
    }

    fn start(&self) -> Box<dyn Tagger> {
        Box::new(Worker { lists: Arc::clone(&self.0), text: String::new(), folded: Layout::default() })
    }
}

struct Worker {
    lists: Arc<Lists>,
    text: String,
    folded: Layout,
}

impl Tagger for Worker {
    fn tag(&mut self, layout: &Layout, spans: &mut Vec<Span>) {
        self.say(layout, &Known::default(), spans);
    }

    fn tag_with(&mut self, layout: &Layout, known: &Known, spans: &mut Vec<Span>) -> Result<()> {
        self.say(layout, known, spans);
        Ok(())
    }
}

impl Worker {
    fn say(&mut self, layout: &Layout, known: &Known, spans: &mut Vec<Span>) {
        let lists = Arc::clone(&self.lists);
        if !lists.words.is_empty() || lists.phrases.is_some() {
            self.text.clear();
            self.text.extend(layout.text().chars().map(folded));
            self.folded.set(&self.text);
            let (folded, first) = (&self.folded, spans.len());
            let span = |start: usize, end: usize, kind: u16| {
                let (start, end) = (folded.character(start), folded.character(end));
                Span { start, end, kind, score: 1.0 }
            };
            if !lists.words.is_empty() {
                list::words(folded, |range| {
                    if lists.words.contains(&folded.text()[range.clone()]) {
                        spans.push(span(range.start, range.end, WORD));
                    }
                });
            }
            if let Some(phrases) = &lists.phrases {
                let hits = phrases.find_overlapping_iter(folded.text());
                spans.extend(hits.map(|hit| span(hit.start(), hit.end(), PHRASE)));
            }
            spans[first..].sort_by_key(|span| (span.start, std::cmp::Reverse(span.end)));
        }
        if lists.domains.is_empty() && lists.urls.is_empty() {
            return;
        }
        let found = known.value(&lists.url_key).and_then(serde_json::Value::as_str).and_then(address);
        let Some((host, rest)) = found else {
            spans.push(whole(layout, NO_URL, 1.0));
            return;
        };
        if listed(&lists.domains, &host) {
            spans.push(whole(layout, DOMAIN, 1.0));
        }
        if !lists.urls.is_empty() && lists.urls.contains((host + &rest).as_str()) {
            spans.push(whole(layout, URL, 1.0));
        }
    }
}

impl Build<dyn Tag> for Blocklist {
    fn build(self, place: &Place) -> Result<Box<dyn Tag>> {
        Ok(Box::new(Listed(Arc::new(Lists::read(self, place)?))))
    }
}

/// The record of `blocklist`.
pub static PART: Part<dyn Tag> = Part::of::<Blocklist>("blocklist", 1);

#[cfg(test)]
mod tests {
    use super::*;
    use metier_core::data::Metadata;

    fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> Vec<PathBuf> {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        vec![path]
    }

    fn tagged(part: &dyn Tag, text: &str, url: Option<&str>) -> Vec<(String, String)> {
        let mut layout = Layout::default();
        layout.set(text);
        let metadata: Metadata = url.map(|url| ("url".to_owned(), url.into())).into_iter().collect();
        let mut spans = Vec::new();
        part.start().tag_with(&layout, &Known { source: "", metadata: Some(&metadata) }, &mut spans).unwrap();
        let letters: Vec<char> = text.chars().collect();
        let kinds = part.kinds();
        spans
            .iter()
            .map(|span| (kinds[usize::from(span.kind)].clone(), letters[span.start..span.end].iter().collect()))
            .collect()
    }

    #[test]
    fn words_and_phrases_are_spans_of_what_was_hit() {
        let folder = tempfile::tempdir().unwrap();
        let words = file(&folder, "words.txt", "# of no use\nCasino\nc++\ndon't\n\u{c9}t\u{e9}\n");
        let phrases = file(&folder, "phrases.txt", "buy now\nnow\nnow and then\n");
        let part = Blocklist { words, phrases, ..Blocklist::default() }.build(&Place::default()).unwrap();
        let word = |text: &str| ("word".to_owned(), text.to_owned());
        let phrase = |text: &str| ("phrase".to_owned(), text.to_owned());
        assert_eq!(tagged(&*part, "A CASINO, casinos; casino-hotel", None), [word("CASINO"), word("casino")]);
        assert_eq!(
            tagged(&*part, "C++ (don't) c \u{e9}T\u{c9}.", None),
            [word("C++"), word("don't"), word("\u{e9}T\u{c9}")]
        );
        assert_eq!(
            tagged(&*part, "\u{130} Buy\nnow and then", None),
            [phrase("Buy\nnow"), phrase("now and then"), phrase("now")]
        );
        assert_eq!(tagged(&*part, "unknown", None), [phrase("now")]);
        assert!(tagged(&*part, "", None).is_empty());
    }

    #[test]
    fn domains_hold_below_themselves_and_addresses_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let list = "bad.example\n0.0.0.0 hosts.example # a note\n||rule.example^$third-party\n! none\n10.1.2.3\n::2\nhttps://www.site.example/page\n";
        let domains = file(&folder, "domains.txt", list);
        let urls = file(&folder, "urls.txt", "http://one.example/a/b/\n");
        let part = Blocklist { domains, urls, ..Blocklist::default() }.build(&Place::default()).unwrap();
        let kinds = |url| tagged(&*part, "x", url).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
        for url in [
            "https://bad.example",
            "HTTP://User@WWW.Bad.Example:80/x?y#z",
            "a.b.hosts.example/",
            "rule.example.",
            "http://10.1.2.3/",
            "http://[::2]:80/",
            "www.site.example",
        ] {
            assert_eq!(kinds(Some(url)), ["domain"], "{url}");
        }
        for url in ["https://notbad.example", "example", "site.example/page", "0.0.0.0", "https://one.example/a"] {
            assert!(kinds(Some(url)).is_empty(), "{url}");
        }
        assert_eq!(kinds(Some("https://one.example/a/b?c")), ["url"]);
        for url in [None, Some("  "), Some("[x]\u{e9}"), Some("http://a b/")] {
            assert_eq!(kinds(url), ["no_url"], "{url:?}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let said = |settings: Blocklist| settings.build(&Place::default()).err().unwrap().to_string();
        assert!(said(Blocklist::default()).contains("no list is given"));
        let words = vec![folder.path().join("none.txt")];
        let phrases = file(&folder, "empty.txt", "\n");
        let domains = file(&folder, "domains.txt", "good.example\na b c\n@@||x^\n");
        let all = said(Blocklist { words, phrases, domains, ..Blocklist::default() });
        for part in ["none.txt: cannot open", "empty.txt: the list has no entry", "domains.txt:2:1", "domains.txt:3:1"]
        {
            assert!(all.contains(part), "{part}: {all}");
        }
        let words = file(&folder, "words.txt", "two words\n");
        assert!(said(Blocklist { words, ..Blocklist::default() }).contains("write it into a file of `phrases`"));
    }
}
