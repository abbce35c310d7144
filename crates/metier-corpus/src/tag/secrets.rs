use super::{Span, Tag, Tagger, whole};
use crate::layout::Layout;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use metier_core::part::{Build, Part};
use metier_core::{Error, Place, Result};
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// # What it does
/// Tags what nobody should learn from a corpus: keys, tokens and passwords.
///
/// # How
/// Four things are looked for, and what one finds the next leaves alone. Keys and tokens that have a form of their own, as `AKIA` and sixteen letters (each
/// service is an attribute, `private_key` reaches from its first line to its last). The password of an address, `https://user:password@host` (`url_password`). What is
/// assigned to a name that says what it is, as `api_key = "..."` (`assigned`): what is quoted has no white space, what is not has letters and digits, and
/// names of files and fields, places to fill in and what is asked of a function do not count. Quoted text of twenty characters and more whose letters are spread
/// as by chance: more than 4.5 bits a character of base64 (`high_entropy_base64`), more than 3 of hexadecimal digits (`high_entropy_hex`), but no UUID.
/// `doc` is the number of all for each word, -1 without words.
///
/// # When to use
/// On code, configuration and tickets. `high_entropy_hex` finds checksums as well: leave it out where there are many.
///
/// # Differs from the paper in
/// Dolma's `code_secrets_v1` runs detect-secrets on each line. Here every place of a secret is tagged, where that names one place of each, and a private key as a
/// whole, not its first line only; there are fewer services of the past and more of today.
///
/// # Source
/// Soldaini et al. 2024, Dolma (arXiv:2402.00159), section 4; forms of tokens as the services publish them; thresholds of entropy as Yelp's detect-secrets 1.4.0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Secrets {}

const DOC: u16 = 0;
const PRIVATE_KEY: u16 = 1;
const URL_PASSWORD: u16 = 2;
const ASSIGNED: u16 = 3;
const BASE64: u16 = 4;
const HEX: u16 = 5;
/// The attributes that are no service's, in the order of the numbers above.
const OWN: [&str; 6] = ["doc", "private_key", "url_password", "assigned", "high_entropy_base64", "high_entropy_hex"];

/// Tokens that are known by their form; `~` stands for a border of a word.
static TOKENS: &[(&str, &str)] = &[
    ("age_key", r"~AGE-SECRET-KEY-1[0-9A-Z]{58}~"),
    ("anthropic_key", r"~sk-ant-[a-z0-9]+-[A-Za-z0-9_-]{80,}"),
    ("artifactory_key", r"~AKC[a-zA-Z0-9]{60,}~"),
    ("aws_access_key", r"~A(?:KI|SI)A[0-9A-Z]{16}~"),
    ("azure_storage_key", r"AccountKey=[a-zA-Z0-9+/]{86}=="),
    ("digitalocean_token", r"~do[opr]_v1_[a-f0-9]{64}~"),
    ("discord_token", r"~[MNO][a-zA-Z0-9_-]{23,25}\.[a-zA-Z0-9_-]{6}\.[a-zA-Z0-9_-]{27,38}"),
    ("github_token", r"~gh[pousr]_[A-Za-z0-9]{36,255}~"),
    ("github_token", r"~github_pat_[A-Za-z0-9_]{82}~"),
    ("gitlab_token", r"~gl(?:pat|dt|rt|ptt|cbt)-[A-Za-z0-9_-]{20,}"),
    ("google_key", r"~AIza[0-9A-Za-z_-]{35}"),
    ("google_secret", r"~GOCSPX-[A-Za-z0-9_-]{28}"),
    ("huggingface_token", r"~hf_[A-Za-z]{34}~"),
    ("json_web_token", r"~eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),
    ("mailchimp_key", r"~[0-9a-f]{32}-us[0-9]{1,2}~"),
    ("npm_token", r"~npm_[A-Za-z0-9]{36}~"),
    ("openai_key", r"~sk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{20,}T3BlbkFJ[A-Za-z0-9_-]{20,}"),
    ("pypi_token", r"~pypi-AgE[A-Za-z0-9_-]{50,}"),
    ("sendgrid_key", r"~SG\.[a-zA-Z0-9_-]{22}\.[a-zA-Z0-9_-]{43}"),
    ("shopify_token", r"~shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}~"),
    ("slack_token", r"~xox[abeoprs](?:-[0-9]+)+-[A-Za-z0-9]{8,}"),
    ("slack_webhook", r"https://hooks\.slack\.com/services/T[A-Za-z0-9_]+/B[A-Za-z0-9_]+/[A-Za-z0-9_]+"),
    ("square_token", r"~sq0(?:csp-[0-9A-Za-z_-]{43}|atp-[0-9A-Za-z_-]{22})"),
    ("stripe_key", r"~[rs]k_live_[0-9a-zA-Z]{24,}~"),
    ("telegram_token", r"~[0-9]{8,10}:AA[0-9A-Za-z_-]{33}~"),
    ("twilio_key", r"~(?:AC|SK)[a-f0-9]{32}~"),
];

const PEM: &str = r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-[0-9]+:";
/// What ends a private key.
const PEM_END: &str = "-----END ";
const PUTTY_END: &str = "Private-MAC:";
/// Bytes in which the end of a private key is looked for.
const PEM_BYTES: usize = 16 << 10;

const ADDRESS: &str = r#"://[^\s:/?#\[\]@"'<>]+:([^\s:/?#\[\]@"'<>]+)@"#;

const ASSIGNMENT: &str = concat!(
    r"(?i)(?:(?:api|auth|access|account|service|secret|private|priv|client|encryption|database|db|license|master|signing)[_-]?key",
    r"|(?:access|auth|api|bearer|refresh|session|bot)[_-]?token|pass(?:word|wd|phrase)|pwd|(?:db|database|key)[_-]?pass|secret|contrase(?:ñ|n)a|passwort|mot[_-]de[_-]passe)",
    r#"([A-Za-z0-9_-]{0,40})[\\"'`\]]{0,4}(?:\[[0-9]*\])?[ \t]{0,4}(?::=|=>|={1,3}|!==?|:)[ \t]{0,4}"#,
    r#"(?:@?\\?"([^"\\\s]+)\\?"|\\?'([^'\\\s]+)\\?'|`([^`\s]+)`|([^\s"'`,;(){}\[\]<>\\]+))"#,
);
/// Letters of a password or of what is quoted.
const LENGTHS: std::ops::RangeInclusive<usize> = 4..=256;
/// Fewest of what is assigned without quotation marks.
const BARE_LENGTH: usize = 8;

const QUOTED: &str = r#""([A-Za-z0-9+/=_-]{20,})\\?"|'([A-Za-z0-9+/=_-]{20,})\\?'|`([A-Za-z0-9+/=_-]{20,})`"#;
/// Longest quoted text of which the spread is looked at; longer ones are data.
const SPREAD_LENGTH: usize = 512;

/// Words at the end of a name that make it the name of something beside the secret.
const BESIDE: &[&str] = &[
    "count", "error", "expiry", "field", "file", "filename", "format", "header", "hint", "id", "input", "key", "label",
    "len", "length", "manager", "message", "method", "name", "param", "path", "policy", "prefix", "prompt", "ref",
    "reset", "type", "uri", "url",
];

/// What stands where a secret would, in small letters without marks.
const PLACEHOLDERS: &[&str] = &[
    "apikey",
    "default",
    "disabled",
    "empty",
    "enabled",
    "false",
    "foobar",
    "hidden",
    "key",
    "mysecret",
    "none",
    "null",
    "optional",
    "passphrase",
    "passwd",
    "password",
    "private",
    "required",
    "secret",
    "string",
    "token",
    "true",
    "undefined",
    "unknown",
];
/// What such a text begins with or holds.
const FILLERS: &[&str] =
    &["changeme", "dummy", "example", "insert", "placeholder", "redacted", "replace", "sample", "todo", "xxxx", "your"];

struct Patterns {
    kinds: Vec<String>,
    tokens: Regex,
    /// The attribute of each alternative of `tokens`.
    token_kinds: Vec<u16>,
    pem: Regex,
    address: Regex,
    assignment: Regex,
    quoted: Regex,
    uuid: Regex,
}

impl Patterns {
    fn new() -> std::result::Result<Self, regex::Error> {
        let mut kinds: Vec<String> = OWN.map(str::to_owned).to_vec();
        let (mut token_kinds, mut alternatives) = (Vec::new(), Vec::new());
        for (kind, pattern) in TOKENS {
            if kinds.last().is_none_or(|last| last != kind) {
                kinds.push((*kind).to_owned());
            }
            token_kinds.push((kinds.len() - 1) as u16);
            alternatives.push(format!("({})", pattern.replace('~', r"(?-u:\b)")));
        }
        Ok(Self {
            kinds,
            tokens: Regex::new(&alternatives.join("|"))?,
            token_kinds,
            pem: Regex::new(PEM)?,
            address: Regex::new(ADDRESS)?,
            assignment: Regex::new(ASSIGNMENT)?,
            quoted: Regex::new(QUOTED)?,
            uuid: Regex::new("(?i)^[a-f0-9]{8}-(?:[a-f0-9]{4}-){3}[a-f0-9]{12}$")?,
        })
    }
}

impl Tag for Arc<Patterns> {
    fn name(&self) -> String {
        "secrets".to_owned()
    }

    fn kinds(&self) -> Vec<String> {
        self.kinds.clone()
    }

    fn start(&self) -> Box<dyn Tagger> {
        Box::new(Worker { patterns: Self::clone(self), found: BTreeMap::new() })
    }
}

struct Worker {
    patterns: Arc<Patterns>,
    /// For the first byte of each secret the byte behind its last, and the attribute. None overlap.
    found: BTreeMap<usize, (usize, u16)>,
}

impl Tagger for Worker {
    fn tag(&mut self, layout: &Layout, spans: &mut Vec<Span>) {
        let text = layout.text();
        self.found.clear();
        self.private_keys(text);
        self.tokens(text);
        self.addresses(text);
        self.assignments(text);
        self.spread(text);
        let span = |(start, (end, kind)): (&usize, &(usize, u16))| {
            let (start, end) = (layout.character(*start), layout.character(*end));
            Span { start, end, kind: *kind, score: 1.0 }
        };
        spans.extend(self.found.iter().map(span));
        let words = text.split_whitespace().count();
        let score = if words == 0 { -1.0 } else { self.found.len() as f64 / words as f64 };
        spans.push(whole(layout, DOC, score));
    }
}

impl Worker {
    /// Keeps a place that no other secret has.
    fn keep(&mut self, range: Range<usize>, kind: u16) {
        let before = self.found.range(..range.end).next_back();
        if before.is_none_or(|(_, (end, _))| *end <= range.start) {
            self.found.insert(range.start, (range.end, kind));
        }
    }

    fn private_keys(&mut self, text: &str) {
        let patterns = Arc::clone(&self.patterns);
        for head in patterns.pem.find_iter(text) {
            let rest = &text.as_bytes()[head.end()..text.len().min(head.end() + PEM_BYTES)];
            let sign = if head.as_str().starts_with('-') { PEM_END } else { PUTTY_END };
            let end = rest.windows(sign.len()).position(|window| window == sign.as_bytes()).map_or(head.end(), |at| {
                let inside = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'-' | b':');
                head.end() + at + rest[at..].iter().take_while(|byte| inside(byte)).count()
            });
            self.keep(head.start()..end, PRIVATE_KEY);
        }
    }

    fn tokens(&mut self, text: &str) {
        let patterns = Arc::clone(&self.patterns);
        for found in patterns.tokens.captures_iter(text) {
            for (group, kind) in (1..).zip(&patterns.token_kinds) {
                let Some(token) = found.get(group) else { continue };
                if patterns.kinds[usize::from(*kind)] != "json_web_token" || is_web_token(token.as_str()) {
                    self.keep(token.range(), *kind);
                }
            }
        }
    }

    fn addresses(&mut self, text: &str) {
        let patterns = Arc::clone(&self.patterns);
        for found in patterns.address.captures_iter(text) {
            let Some(password) = found.get(1) else { continue };
            if LENGTHS.contains(&password.len()) && !stands_for_one(password.as_str()) {
                self.keep(password.range(), URL_PASSWORD);
            }
        }
    }

    fn assignments(&mut self, text: &str) {
        let patterns = Arc::clone(&self.patterns);
        for found in patterns.assignment.captures_iter(text) {
            let rest = found.get(1).map_or("", |rest| rest.as_str()).to_ascii_lowercase();
            let last = rest.rsplit(['_', '-']).next().unwrap_or_default();
            let quoted = (2..5).find_map(|group| found.get(group));
            let Some(value) = quoted.or(found.get(5)) else { continue };
            let beside = BESIDE.contains(&last) || !LENGTHS.contains(&value.len());
            if beside || stands_for_one(value.as_str()) || is_name(value.as_str()) {
                continue;
            }
            let bytes = value.as_str().as_bytes();
            let mixed = bytes.iter().any(u8::is_ascii_digit) && bytes.iter().any(u8::is_ascii_alphabetic);
            if quoted.is_some() || (mixed && bytes.len() >= BARE_LENGTH && entropy(bytes) > 2.5) {
                self.keep(value.range(), ASSIGNED);
            }
        }
    }

    /// Quoted text whose letters are spread as by chance.
    fn spread(&mut self, text: &str) {
        let patterns = Arc::clone(&self.patterns);
        for found in patterns.quoted.captures_iter(text) {
            let Some(value) = (1..4).find_map(|group| found.get(group)) else { continue };
            let bytes = value.as_str().as_bytes();
            let digits = bytes.iter().all(u8::is_ascii_hexdigit);
            let data = bytes.len() > SPREAD_LENGTH || bytes.iter().all(u8::is_ascii_digit);
            if data || patterns.uuid.is_match(value.as_str()) || is_sequence(value.as_str()) {
                continue;
            }
            if digits && entropy(bytes) > 3.0 {
                self.keep(value.range(), HEX);
            } else if !digits && entropy(bytes) > 4.5 {
                self.keep(value.range(), BASE64);
            }
        }
    }
}

/// Shannon's entropy of the bytes, in bits each.
fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in bytes {
        counts[usize::from(*byte)] += 1;
    }
    let all = bytes.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / all)
        .map(|share| -share * share.log2())
        .sum()
}

/// Whether both parts before the signature are JSON.
fn is_web_token(token: &str) -> bool {
    let mut parts = token.split('.');
    (0..2).all(|_| {
        let decoded = parts.next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
        decoded.is_some_and(|bytes| serde_json::from_slice::<serde_json::Map<_, _>>(&bytes).is_ok())
    })
}

/// Whether the letters follow each other as in the alphabet or among digits.
fn is_sequence(value: &str) -> bool {
    const ROWS: [&str; 2] = [
        "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/",
        "0123456789ABCDEF0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ+/",
    ];
    let upper = value.to_ascii_uppercase();
    ROWS.iter().any(|row| row.contains(&upper))
}

/// Whether this stands where a secret is to be filled in, or asks for it elsewhere.
fn stands_for_one(value: &str) -> bool {
    let small: String = value.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    let letters: String = small.chars().filter(char::is_ascii_alphabetic).collect();
    let mut distinct: Vec<u8> = value.bytes().collect();
    distinct.sort_unstable();
    distinct.dedup();
    letters.is_empty()
        || distinct.len() < 4
        || is_sequence(value)
        || PLACEHOLDERS.contains(&letters.as_str())
        || FILLERS.iter().any(|filler| small.contains(filler))
        || value.starts_with(['$', '%', '<', '{', '*'])
        || ["${", "{{", "<%", "%(", "%s", "...", "#{", "{}"].iter().any(|sign| value.contains(sign))
}

/// Whether this is a path, an address, or names joined by dots and hyphens, as of a field or a setting.
fn is_name(value: &str) -> bool {
    let path = ["/", "./", "~/", "../"].iter().any(|start| value.starts_with(start)) && value.matches('/').count() > 1;
    let words = value.split(['.', '-', '_', '/', ':']);
    let joined = value.contains(['.', '-', '_', '/', ':'])
        && words.clone().all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphabetic()))
        && words.count() > 1;
    path || joined || value.contains("://")
}

impl Build<dyn Tag> for Secrets {
    fn build(self, _: &Place) -> Result<Box<dyn Tag>> {
        let patterns = Patterns::new().map_err(|fault| Error::program(format!("the patterns of secrets: {fault}")))?;
        Ok(Box::new(Arc::new(patterns)))
    }
}

/// The record of `secrets`.
pub static PART: Part<dyn Tag> = Part::of::<Secrets>("secrets", 1);

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::OnceLock;

    fn found(text: &str) -> Vec<(String, String)> {
        static TAGGER: OnceLock<Box<dyn Tag>> = OnceLock::new();
        let tagger = TAGGER.get_or_init(|| Secrets {}.build(&Place::default()).expect("the patterns are good"));
        let kinds = tagger.kinds();
        let mut layout = Layout::default();
        layout.set(text);
        let mut spans = Vec::new();
        tagger.start().tag(&layout, &mut spans);
        let letters: Vec<char> = text.chars().collect();
        let said =
            |span: &Span| (kinds[usize::from(span.kind)].clone(), letters[span.start..span.end].iter().collect());
        spans.iter().filter(|span| span.kind != DOC).map(said).collect()
    }

    /// Letters that look like chance, of an alphabet; joined here, so that no token stands in this file.
    fn letters(alphabet: &str, count: usize, seed: u64) -> String {
        let alphabet = alphabet.as_bytes();
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        (0..count)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                char::from(alphabet[(state >> 33) as usize % alphabet.len()])
            })
            .collect()
    }

    const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    const WORD: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const HEXADECIMAL: &str = "0123456789abcdef";

    /// A token of each service.
    fn tokens(seed: u64) -> Vec<(&'static str, String)> {
        let word = |count| letters(WORD, count, seed);
        let hexadecimal = |count| letters(HEXADECIMAL, count, seed);
        let json = |text: &str| URL_SAFE_NO_PAD.encode(text);
        vec![
            ("age_key", format!("AGE-SECRET-KEY-1{}", letters(UPPER, 58, seed))),
            ("anthropic_key", format!("sk-ant-api03-{}", word(90))),
            ("artifactory_key", format!("AKC{}", word(70))),
            ("aws_access_key", format!("AKIA{}", letters(UPPER, 16, seed))),
            ("azure_storage_key", format!("AccountKey={}==", word(86))),
            ("digitalocean_token", format!("dop_v1_{}", hexadecimal(64))),
            ("discord_token", format!("M{}.{}.{}", word(23), word(6), word(27))),
            ("github_token", format!("ghp_{}", word(36))),
            ("github_token", format!("github_pat_{}", word(82))),
            ("gitlab_token", format!("glpat-{}", word(20))),
            ("google_key", format!("AIza{}", word(35))),
            ("google_secret", format!("GOCSPX-{}", word(28))),
            ("huggingface_token", format!("hf_{}", letters(LETTERS, 34, seed))),
            (
                "json_web_token",
                format!("{}.{}.{}", json("{\"alg\":\"HS256\"}"), json("{\"sub\":\"someone\"}"), word(43)),
            ),
            ("mailchimp_key", format!("{}-us12", hexadecimal(32))),
            ("npm_token", format!("npm_{}", word(36))),
            ("openai_key", format!("sk-proj-{}T3BlbkFJ{}", word(30), word(30))),
            ("pypi_token", format!("pypi-AgE{}", word(60))),
            ("sendgrid_key", format!("SG.{}.{}", word(22), word(43))),
            ("shopify_token", format!("shpat_{}", hexadecimal(32))),
            ("slack_token", format!("xoxb-123456789012-{}", word(24))),
            ("slack_webhook", format!("https://hooks.slack.com/services/T{}/B{}/{}", word(8), word(8), word(24))),
            ("square_token", format!("sq0csp-{}", word(43))),
            ("stripe_key", format!("sk_live_{}", word(24))),
            ("telegram_token", format!("123456789:AA{}", word(33))),
            ("twilio_key", format!("SK{}", hexadecimal(32))),
            (
                "private_key",
                format!(
                    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n{}\n-----END RSA PRIVATE KEY-----",
                    word(64)
                ),
            ),
            ("private_key", format!("PuTTY-User-Key-File-2: ssh-rsa\n{}\nPrivate-MAC: {}", word(64), hexadecimal(40))),
            ("high_entropy_base64", letters(WORD, 48, seed)),
            ("high_entropy_hex", hexadecimal(40)),
        ]
    }

    #[test]
    fn each_planted_token_is_found_where_it_stands() {
        let mut services: Vec<&str> = TOKENS.iter().map(|(kind, _)| *kind).collect();
        services.retain(|kind| !tokens(1).iter().any(|(planted, _)| planted == kind));
        assert!(services.is_empty(), "never planted: {services:?}");
        for seed in 1..40 {
            for (kind, token) in tokens(seed) {
                for (before, behind) in [("é \"", "\";\n"), ("x = '", "'"), ("`", "` and more"), ("\\\"", "\\\"")] {
                    let text = format!("{before}{token}{behind}");
                    assert_eq!(found(&text), [(kind.to_owned(), token.clone())], "{text}");
                }
            }
        }
    }

    #[test]
    fn passwords_are_found_by_their_names() {
        let cases = [
            ("password = \"Tr0ub4dor&3\"", "Tr0ub4dor&3"),
            ("\"db_password\": \"correcthorse\",", "correcthorse"),
            ("export API_KEY=a81kd92mfa0x", "a81kd92mfa0x"),
            ("client-secret: 'q9-zz8-Lm2'", "q9-zz8-Lm2"),
            ("if (pwd == `kA93jfKq`) {", "kA93jfKq"),
            ("contraseña := \"abrete7sesamo\"", "abrete7sesamo"),
            ("char my_password[25] = \"ab1cd2ef\";", "ab1cd2ef"),
            (r#"{"text": "{\"client_secret\": \"ab1cd2ef\"}"}"#, "ab1cd2ef"),
        ];
        for (text, value) in cases {
            assert_eq!(found(text), [("assigned".to_owned(), value.to_owned())], "{text}");
        }
        let address = [("url_password".to_owned(), "s3cr3t-w0rd".to_owned())];
        assert_eq!(found("postgres://admin:s3cr3t-w0rd@db.local:5432/x"), address);
    }

    #[test]
    fn what_stands_for_a_secret_is_none() {
        let cases = [
            "password = get_password()",
            "password = os.environ[\"PASSWORD\"]",
            "password: ${DB_PASSWORD}",
            "api_key = \"<your key here>\"",
            "api_key = \"YOUR_API_KEY\"",
            "secret = \"********\"",
            "password = \"changeme\"",
            "password = \"xxxxxxxx1\"",
            "password_file = \"/etc/pass9.txt\"",
            "secret: /run/secrets/db1",
            "\"secretName\": \"tls-certificate\"",
            "password = None",
            "Your password: at least eight letters",
            "id = \"123e4567-e89b-12d3-a456-426614174000\"",
            "x = \"abcdefghijklmnopqrstuvwxyz\"",
            "x = \"00000000000000000000000000\"",
            "x = \"314159265358979323846264338327950288\"",
            "https://user:${PASSWORD}@host",
            "http://[::1]:80/a@b",
            "eyJhbGciOiJIUzI1.eyJzdWIiOiJzb21l.x",
            "ASKING SKIN AKIA",
            "",
        ];
        for text in cases {
            assert_eq!(found(text), [], "{text}");
        }
    }

    #[test]
    fn a_private_key_without_an_end_is_its_first_line() {
        let head = "-----BEGIN PRIVATE KEY-----".to_owned();
        assert_eq!(found(&format!("{head}\nMIIé")), [("private_key".to_owned(), head)]);
    }
}
