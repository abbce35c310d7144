//! Words that questions point with.

/// Always a text of somebody's.
#[rustfmt::skip]
pub(super) const WRITINGS: &[&str] = &[
    "paper", "papers", "article", "articles", "passage", "passages", "excerpt", "excerpts", "manuscript",
    "publication", "thesis", "dissertation", "preprint", "essay", "snippet", "extract", "write-up", "writeup",
];

/// Texts and their parts, words that mean other things too.
#[rustfmt::skip]
pub(super) const PARTS: &[&str] = &[
    "document", "documents", "text", "texts", "study", "studies", "work", "report", "survey", "review", "book",
    "memo", "tutorial", "lecture", "section", "sections", "subsection", "chapter", "chapters", "paragraph",
    "paragraphs", "appendix", "annex", "clause", "sentence", "figure", "figures", "table", "tables", "diagram",
    "diagrams", "plot", "plots", "illustration", "equation", "equations", "formula", "formulas", "formulae",
    "theorem", "lemma", "proof", "listing", "pseudocode", "abstract", "introduction", "conclusion", "conclusions",
    "summary", "reading", "graph", "graphs", "chart", "charts", "context", "description", "information", "statement",
    "statements", "transcript", "discussion", "example", "examples",
];

/// What `this` before it means something that the question does not name.
#[rustfmt::skip]
pub(super) const WORKS: &[&str] = &[
    "approach", "method", "methods", "methodology", "scheme", "framework", "technique", "algorithm", "model",
    "system", "architecture", "design", "solution", "contribution", "contributions", "result", "results", "findings",
    "research", "investigation", "setup", "setting", "protocol", "procedure", "definition", "notation", "assumption",
    "assumptions", "specification", "standard", "recommendation", "proposal", "experiment", "experiments",
    "simulation", "simulations", "evaluation", "analysis", "case", "scenario", "dataset", "data", "details", "image",
    "picture", "page", "expression", "content", "material", "source",
];

/// Before a part: it was named just now, or lies at hand.
#[rustfmt::skip]
pub(super) const AT_HAND: &[&str] = &[
    "above", "below", "given", "provided", "preceding", "previous", "aforementioned", "abovementioned",
    "above-mentioned", "foregoing", "present", "current", "accompanying", "attached", "supplied", "quoted", "cited",
    "said", "mentioned", "presented", "included", "shown", "described", "listed", "following", "referenced",
    "underlying", "original", "source",
];

/// May stand between an article and a part.
#[rustfmt::skip]
pub(super) const BETWEEN: &[&str] = &[
    "first", "second", "third", "fourth", "last", "final", "next", "whole", "entire", "same", "very", "particular",
    "specific", "short", "research", "technical", "experimental", "numerical", "theoretical", "scientific", "main",
    "related", "introductory", "concluding", "recent", "latest", "simulation", "case", "review", "conference",
    "journal", "survey", "white", "text", "block", "motivating", "running", "worked", "comparative", "empirical",
];

/// Parts that carry a number.
#[rustfmt::skip]
pub(super) const NUMBERED: &[&str] = &[
    "section", "sections", "subsection", "sec", "secs", "sect", "chapter", "chapters", "chap", "figure", "figures",
    "fig", "figs", "table", "tables", "tab", "equation", "equations", "eq", "eqs", "eqn", "eqns", "appendix", "annex",
    "clause", "clauses", "theorem", "lemma", "corollary", "proposition", "algorithm", "listing", "page", "pages",
    "paragraph", "footnote", "definition", "example", "reference", "ref", "refs", "remark", "subclause", "formula",
    "scheme", "experiment", "box", "plot", "panel", "row", "column",
];

/// What texts and authors do.
#[rustfmt::skip]
pub(super) const SAYS: &[&str] = &[
    "describe", "mention", "state", "say", "propose", "discuss", "present", "list", "show", "illustrate", "depict",
    "report", "indicate", "suggest", "argue", "claim", "conclude", "recommend", "outline", "highlight", "explain",
    "note", "identify", "refer", "cite", "emphasize", "address", "cover", "focus", "deal", "analyze",
    "examine", "investigate", "introduce", "reveal", "demonstrate", "confirm", "summarize",
    "compare", "characterize", "point", "assert", "imply", "detail", "motivate", "attribute", "credit", "survey",
    "review", "advocate", "warn", "observe", "find", "believe", "assume", "consider", "derive", "obtain",
];

/// May stand behind a text that is no part of a longer name.
#[rustfmt::skip]
pub(super) const BEHIND: &[&str] = &[
    "is", "are", "was", "were", "be", "and", "or", "as", "that", "which", "what", "why", "how", "when", "where",
    "who", "does", "do", "did", "has", "have", "had", "can", "could", "would", "to", "about", "on", "for", "with",
    "if", "but", "then", "above", "below", "given", "provided", "itself", "here", "regarding", "concerning",
    "preceding", "before", "after", "entitled", "titled",
];

/// May stand before one.
#[rustfmt::skip]
pub(super) const BEFORE: &[&str] = &[
    "in", "from", "within", "throughout", "to", "by", "per", "on", "of", "under", "using", "with", "through",
    "following", "beyond", "via",
];

/// What a study does to its object.
#[rustfmt::skip]
pub(super) const STUDIED: &[&str] = &[
    "proposed", "considered", "described", "discussed", "studied", "investigated", "examined",
];

/// Who wrote or spoke.
#[rustfmt::skip]
pub(super) const AUTHORS: &[&str] = &[
    "author", "authors", "author's", "authors'", "writer", "writers", "writer's", "writers'", "researchers",
    "researchers'", "speaker", "speakers", "lecturer", "presenter", "narrator", "investigators", "team",
];

/// What somebody did to find out.
#[rustfmt::skip]
pub(super) const EXPERIMENTS: &[&str] = &[
    "experiment", "experiments", "simulation", "simulations", "evaluation", "evaluations", "trial", "trials",
    "case-study",
];

/// Behind `paper` or `text` these make another thing of it.
#[rustfmt::skip]
pub(super) const GOODS: &[&str] = &[
    "tape", "tray", "feed", "size", "sizes", "jam", "jams", "money", "trail", "industry", "mill", "clip", "currency",
    "capacitor", "capacitors", "form", "forms", "chromatography", "machine", "roll", "ballot", "ballots", "cup",
    "bag", "towel", "tickets", "number", "id", "element", "tag", "width", "thickness", "records", "weight", "type",
    "format", "object", "root", "node", "field", "area", "box", "mode", "segment", "editor", "string", "file",
    "header", "message", "messages", "server", "body", "of",
];
