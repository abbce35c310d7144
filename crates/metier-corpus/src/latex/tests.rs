use super::*;
use metier_core::seed::{Seed, Stream as Random};
use std::fmt::Write as _;

fn cleaned(text: &str) -> Cleaned {
    let cleaned = clean(Path::new("."), Path::new("main.tex"), text);
    assert_pieces(&cleaned, text);
    cleaned
}

/// The text of a document that is whole.
fn whole(text: &str) -> String {
    let cleaned = cleaned(text);
    assert_eq!(cleaned.faults, [], "{text}");
    cleaned.text
}

/// What is said of a document that is not.
fn said(text: &str) -> Vec<String> {
    cleaned(text).faults.iter().map(ToString::to_string).collect()
}

fn assert_pieces(cleaned: &Cleaned, source: &str) {
    for piece in &cleaned.pieces.0 {
        let here = &cleaned.text.as_bytes()[piece.start..piece.start + piece.length];
        assert_eq!(here, &source.as_bytes()[piece.source..piece.source + piece.length], "{source:?}");
    }
}

/// A document that is written in LaTeX and in plain text at the same time.
struct Twin {
    random: Random,
    /// Files by name.
    files: Vec<(String, String)>,
    /// What is being written of each open file; the main file first.
    open: Vec<(String, String)>,
    expected: String,
    /// Spans of mathematics that stay.
    mathematics: usize,
    written: usize,
}

const WORDS: [&str; 12] =
    ["carrier", "beam", "the", "relay", "of", "noise", "channel", "a", "fading", "power", "uplink", "code"];

impl Twin {
    fn new(number: u64) -> Self {
        Self {
            random: Seed::new(2024).at(number),
            files: Vec::new(),
            open: vec![("main.tex".to_owned(), String::new())],
            expected: String::new(),
            mathematics: 0,
            written: 0,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.below(of.len() as u64) as usize]
    }

    fn tex(&mut self, text: &str) {
        self.open.last_mut().unwrap().1.push_str(text);
    }

    fn both(&mut self, tex: &str, text: &str) {
        self.tex(tex);
        self.expected.push_str(text);
    }

    fn words(&mut self) -> String {
        (0..=self.below(4)).map(|_| self.one_of(&WORDS)).collect::<Vec<_>>().join(" ")
    }

    /// A formula as written and as it stands after its macros are expanded.
    fn formula(&mut self) -> (String, String) {
        self.mathematics += 1;
        let (a, b) = (self.one_of(&["x", "y", "h_k", "\\theta"]), self.one_of(&["n", "2", "\\alpha^2"]));
        let (tex, text) = match self.below(9) {
            0 => (format!("{a} + {b}"), format!("{a} + {b}")),
            1 => (format!("\\norm{{{a}}} \\le {b}"), format!("\\left\\lVert {a} \\right\\rVert \\le {b}")),
            2 => (format!("{a} \\in \\R^{{{b}}}"), format!("{a} \\in \\mathbb{{R}}^{{{b}}}")),
            3 => (format!("\\argmax_{{{a}}} f({a})"), format!("\\operatorname*{{arg\\,max}}_{{{a}}} f({a})")),
            4 => (
                format!("\\ex{{{a}}} = \\ex[Q]{{{b}}}"),
                format!("\\mathbb{{E}}_{{P}}[{a}] = \\mathbb{{E}}_{{Q}}[{b}]"),
            ),
            5 => (format!("\\twice{{{a}}}\\eps z"), format!("({a}, {a})\\varepsilon z")),
            6 => (format!("\\half\\eps b + \\{{ {a} \\}}"), format!("\\frac{{1}}{{2}}\\varepsilon b + \\{{ {a} \\}}")),
            7 => (format!("{a} % not \\eps $\n  - {b}"), format!("{a} - {b}")),
            _ => (format!("\\text{{if ${a}$ is}} \\deep{{{b}}}"), format!("\\text{{if ${a}$ is}} [(\\,{b}\\,)]")),
        };
        // A command and a letter that a macro brings beside it stay apart.
        (tex, text)
    }

    fn atom(&mut self) {
        let words = self.words();
        match self.below(22) {
            0 => self.both("50\\% \\& \\#1 a\\_b \\{c\\} \\$5", "50% & #1 a_b {c} \\$5"),
            1 | 2 => {
                let (tex, text) = self.formula();
                let (open, close) = self.one_of(&[("$", "$"), ("\\(", "\\)"), ("$ ", " $"), ("\\ensuremath{", "}")]);
                self.both(&format!("{open}{tex}{close}"), &format!("${text}$"));
            }
            3 => self.both(&format!("{words}~\\cite[p.~3]{{a, b}}, so"), &format!("{words}, so")),
            4 => {
                let gap = self.one_of(&[" ", "\n", "~"]);
                self.both(&format!("{words}{gap}\\citep{{a}}. X"), &format!("{words}. X"));
            }
            5 => self.both(&format!("Section~\\ref{{sec:a}} {words}"), &format!("Section {words}")),
            6 => self.both(&format!("{words}\\footnote{{Not \\emph{{here}}.}} on"), &format!("{words} (Not here.) on")),
            7 => self.both(&format!("{words} % a comment with }} \\input{{nowhere}} $\n   on"), &format!("{words} on")),
            8 => self.both(&format!("half%\n{words}"), &format!("half{words}")),
            9 => self.both(&format!("\\emph{{{words}}} \\textbf{{b}} {{\\em c}}"), &format!("{words} b c")),
            10 => self.both(
                "Erd\\H{o}s, na\\\"{\\i}ve, Fran\\c cois, \\'Etienne, stra\\ss e",
                "Erdős, naïve, François, Étienne, straße",
            ),
            11 => self.both(&format!("``{words}'' -- a---b"), &format!("\"{words}\" – a—b")),
            12 => self.both("\\verb|%$\\x{| there", "`%$\\x{` there"),
            13 => self.both(&format!("\\name{{}} {words} \\name{{}}"), &format!("Tele LM {words} Tele LM")),
            14 => self.both(&format!("\\pair{{{words}}}{{b}} done"), &format!("<{words}|b> done")),
            15 => self.both(&format!("\\href{{http://x.y/a\\%b}}{{{words}}}"), &words),
            16 => self.both(&format!("{words}\\label{{l}} \\index{{i}}on"), &format!("{words} on")),
            17 => self.both(&format!("{words}   \t {words}"), &format!("{words} {words}")),
            18 => self.both(&format!("\\iffalse $ {{ \\ifx\\a\\b c\\fi \\fi {words}"), &words),
            19 => self.both(&format!("\\wrap{{\\pair{{a}}{{\\wrap{{{words}}}}}}}"), &format!("+<a|+{words}+>+")),
            _ => self.both(&words, &words),
        }
    }

    fn paragraph(&mut self) {
        for number in 0..2 + self.below(6) {
            if number > 0 {
                let gap = self.one_of(&[" ", "\n"]);
                self.both(gap, gap);
            }
            self.atom();
        }
        self.end();
    }

    /// The end of a paragraph.
    fn end(&mut self) {
        let gap = self.one_of(&["\n\n", "\n\n\n", "\n \t\n", "\n% nothing\n\n"]);
        self.both(gap, "\n\n");
    }

    fn display(&mut self) {
        let (tex, text) = self.formula();
        let label = self.one_of(&["", "\\label{eq:a}\n", "\\label{eq:b} % $\n"]);
        match self.below(7) {
            0 => self.both(&format!("\\[\n  {tex}\n\\]"), &format!("$${text}$$")),
            1 => self.both(&format!("$${tex}$$"), &format!("$${text}$$")),
            2 => self.both(&format!("\\be {label}{tex} \\ee"), &format!("$${text}$$")),
            3 => self.both(&format!("\\begin{{eqn}}{label}{tex}\\end{{eqn}}"), &format!("$${text}$$")),
            4 => self.both(&format!("\\begin{{equation*}}\n{label}{tex}\n\\end{{equation*}}"), &format!("$${text}$$")),
            _ => {
                let name = self.one_of(&["align", "gather*", "eqnarray"]);
                self.both(
                    &format!("\\begin{{{name}}}\n{label}{tex} & 1 \\\\\n b \\nonumber\n\\end{{{name}}}"),
                    &format!("$$\\begin{{{name}}}{text} & 1 \\\\\n b \\nonumber\\end{{{name}}}$$"),
                );
            }
        }
        self.end();
    }

    fn dropped(&mut self) {
        let (_, words) = (self.below(2), self.words());
        let (tex, _) = self.formula();
        self.mathematics -= 1;
        let tex = match self.below(4) {
            0 => format!(
                "\\begin{{figure}}[t]\\centering\\includegraphics[width=3cm]{{a.pdf}}\\caption{{{words} ${tex}$}}\\end{{figure}}"
            ),
            1 => format!(
                "\\begin{{table*}}\\begin{{tabular}}{{l|r}} {words} & ${tex}$ \\\\ \\hline\\end{{tabular}}\\end{{table*}}"
            ),
            2 => format!("\\begin{{comment}}\n{words} $ }} \\begin{{align}}\n\\end{{comment}}"),
            _ => "\\vspace{2pt}\\vskip 3pt\n% gone".to_owned(),
        };
        self.tex(&tex);
        self.tex("\n\n");
    }

    fn block(&mut self, depth: usize) {
        match self.below(12) {
            0 => {
                let level = self.below(4) as usize;
                let name = ["section", "subsection", "subsubsection", "paragraph"][level];
                let star = self.one_of(&["", "*", "[Short]"]);
                let words = self.words();
                self.both(
                    &format!("\\{name}{star}{{\\label{{s}}On {words}\n\\name{{}} with $\\eps$}}"),
                    &format!("{} On {words} Tele LM with $\\varepsilon$", "#".repeat(level + 2)),
                );
                self.mathematics += 1;
                self.end();
            }
            1 | 2 => self.display(),
            3 => self.dropped(),
            4 => {
                self.tex("\\begin{itemize}\n");
                for number in 0..=self.below(3) {
                    self.expected.push_str(if number > 0 { "\n" } else { "" });
                    self.both("\\item ", "- ");
                    self.atom();
                    self.tex("\n");
                }
                self.both("\\end{itemize}", "\n\n");
                self.tex("\n");
            }
            5 => self.both("\\begin{verbatim}\n\\x % $ {\n  end\n\\end{verbatim}\n", "```\n\\x % $ {\n  end\n```\n\n"),
            6 | 7 if depth < 4 => {
                self.written += 1;
                let name = format!("part-{}", self.written);
                let call = match self.below(3) {
                    0 => format!("\\input{{{name}}}"),
                    1 => format!("\\include{{{name}.tex}}"),
                    _ => format!("\\input {name}.tex "),
                };
                self.tex(&call);
                self.tex("\n\n");
                self.open.push((format!("{name}.tex"), "% a part\n".to_owned()));
                for _ in 0..=self.below(3) {
                    self.block(depth + 1);
                }
                let file = self.open.pop().unwrap();
                self.files.push(file);
            }
            _ => self.paragraph(),
        }
    }

    fn document(mut self) -> Self {
        self.tex(concat!(
            "% \\documentclass{none}\n\\documentclass[12pt]{article}\n\\usepackage{amsmath}% { \n",
            "\\newcommand{\\norm}[1]{\\left\\lVert #1 \\right\\rVert}\n\\newcommand\\R{\\mathbb{R}}\n",
            "\\DeclareMathOperator*{\\argmax}{arg\\,max}\n\\newcommand{\\ex}[2][P]{\\mathbb{E}_{#1}[#2]}\n",
            "\\def\\twice#1{(#1, #1)}\n\\let\\eps\\varepsilon\n\\newcommand*{\\half}{\\frac{1}{2}}\n",
            "\\def\\deep#1{[\\deeper{#1}]}\n\\def\\deeper#1{(\\,#1\\,)}\n\\def\\name{Tele LM}\n",
            "\\newcommand{\\pair}[2]{<#1|#2>}\n\\renewcommand{\\pair}[2]{<#1|#2>}\n\\newcommand{\\wrap}[1]{+#1+}\n",
            "\\newcommand{\\be}{\\begin{equation}}\n\\newcommand{\\ee}{\\end{equation}}\n",
            "\\newenvironment{eqn}{\\begin{equation}}{\\end{equation}}\n\\providecommand{\\R}{wrong}\n",
            "\\title{On \\name\\thanks{Nobody.}}\n\\author{A}\n\\begin{document}\n",
        ));
        self.both("\\maketitle\n", "# On Tele LM\n\n");
        self.both("\\begin{abstract}\nIn short.\n\\end{abstract}\n", "## Abstract\n\nIn short.\n\n");
        for _ in 0..6 + self.below(8) {
            self.block(0);
        }
        if self.below(2) == 0 {
            self.tex("\\section*{Acknowledgments}\nThanks to all, $x$ too.\n\\subsection{And more} Thanks.\n\n");
            self.both("\\section{Last}\nWords.\n", "## Last\n\nWords.");
        }
        self.tex(
            "\\bibliographystyle{plain}\n\\begin{thebibliography}{9}\\bibitem{a} A. Author.\\end{thebibliography}\n",
        );
        self.tex("\\end{document}\nnothing $ {\n");
        let main = self.open.pop().unwrap();
        self.files.insert(0, main);
        self.expected.truncate(self.expected.trim_end().len());
        self
    }
}

/// Spans between dollar signs outside of code, counted by another way of reading than the cleaner's.
fn spans(text: &str) -> usize {
    let mut code = false;
    let mut kept = String::new();
    for line in text.lines() {
        if line == "```" {
            code = !code;
        } else if !code {
            let _ = writeln!(kept, "{line}");
        }
    }
    let (mut count, mut depth, mut open) = (0, 0, None);
    let letters: Vec<char> = kept.chars().collect();
    let mut at = 0;
    while at < letters.len() {
        match letters[at] {
            '`' if open.is_none() => at += 1 + letters[at + 1..].iter().position(|letter| *letter == '`').unwrap_or(0),
            '\\' => at += 1,
            '{' if open.is_some() => depth += 1,
            '}' if open.is_some() => depth -= 1,
            '$' if depth == 0 => {
                let length = if letters.get(at + 1) == Some(&'$') && open != Some(1) { 2 } else { 1 };
                count += usize::from(open.is_some());
                open = if open.is_some() { None } else { Some(length) };
                at += length - 1;
            }
            _ => {}
        }
        at += 1;
    }
    count
}

#[test]
fn sixty_documents_come_out_as_their_program_meant_them() {
    let mut mathematics = 0;
    for number in 0..60 {
        let twin = Twin::new(number).document();
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in &twin.files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let main = &twin.files[0].1;
        let cleaned = clean(folder.path(), &folder.path().join("main.tex"), main);
        assert_eq!(cleaned.faults, [], "{main}");
        assert_eq!(cleaned.text, twin.expected, "document {number}:\n{main}");
        assert_eq!(cleaned.mathematics.0, twin.mathematics, "{main}");
        assert_eq!(spans(&cleaned.text), twin.mathematics, "{}", cleaned.text);
        assert_pieces(&cleaned, main);
        mathematics += twin.mathematics;
    }
    println!("{mathematics} spans of mathematics");
    assert!(mathematics > 300, "{mathematics}");
}

#[test]
fn what_does_not_match_is_named_and_the_text_stays_as_it_was() {
    let document = |body: &str| format!("\\documentclass{{a}}\n\\begin{{document}}\n{body}\n\\end{{document}}\n");
    let cases = [
        ("a {b\n\nc", "main.tex:3:3: the brace is never closed"),
        ("a b} c", "main.tex:3:4: this brace closes nothing"),
        ("\\begin{itemize}\n\\item a", "main.tex:3:1: `\\begin{itemize}` is never closed"),
        ("\\begin{a}\nb\n\\end{c}", "main.tex:5:1: `\\end{c}` closes `\\begin{a}` of main.tex:3:1"),
        ("x\\end{c}", "main.tex:3:2: `\\end{c}` closes nothing"),
        ("a $x\n\ny$ b", "main.tex:3:5: a paragraph ends inside mathematics"),
        ("\\[ x \\end{a}", "main.tex:3:6: `\\end{a}` closes the mathematics of main.tex:3:1"),
        ("\\emph{a $x} y", "main.tex:3:11: this brace closes the mathematics of main.tex:3:9"),
        ("\\[ x $ y \\]", "main.tex:3:6: a `$` inside mathematics"),
        ("x \\] y", "`\\]` closes nothing"),
        ("\\begin{verbatim}\nx", "main.tex:3:1: `\\begin{verbatim}` is never closed"),
        ("\\label{x", "main.tex:3:7: this brace is never closed"),
        ("\\iffalse x", "main.tex:3:1: this `\\iffalse` is never closed"),
    ];
    for (body, wanted) in cases {
        let cleaned = cleaned(&document(&format!("{body}% gone\n")));
        let said: Vec<_> = cleaned.faults.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 1, "{body}: {said:?}");
        assert!(said[0].contains(wanted), "{body}: {said:?}");
        assert_eq!(cleaned.text, body.trim_end(), "{body}");
    }
}

#[test]
fn a_macro_that_contains_itself_is_named_and_stays_and_the_rest_is_cleaned() {
    let faults = said("\\def\\a{x\\a y}\\def\\b{B}\nsee \\b{} and \\a.");
    assert_eq!(faults.len(), 1);
    assert!(faults[0].contains("main.tex:2:14: `\\a` expands to itself"), "{faults:?}");
    assert_eq!(cleaned("\\def\\a{x\\a y}\\def\\b{B}\nsee \\b{} and \\a.").text, "see B and \\a.");
    // One in the other; with arguments; the last word of itself; doubling at each step.
    for text in [
        "\\def\\a{\\b\\b}\\def\\b{\\a\\a}\\a",
        "\\newcommand{\\a}[1]{\\a{#1}}\\a{x}",
        "\\def\\a{\\a}\\a",
        "\\newenvironment{a}{\\begin{a}}{\\end{a}}\\begin{a}\\end{a}",
    ] {
        assert!(said(text).iter().any(|said| said.contains("expands to itself")), "{text}: {:?}", said(text));
    }
    assert!(said("\\newcommand{\\a}[1]{\\a{#1#1}}\\a{x}")[0].contains("`\\a` and other macros add more than"));
    let nested = |depth: usize| format!("\\def\\a#1{{(#1)}}{}x{}", "\\a{".repeat(depth), "}".repeat(depth));
    assert_eq!(whole(&nested(32)), format!("{}x{}", "(".repeat(32), ")".repeat(32)));
    assert!(said(&nested(33))[0].contains("expands to itself"), "{:?}", said(&nested(33)));
    // No macro contains itself, but together they are more than fits.
    let mut doubling = "\\def\\a0{x}".to_owned();
    let letters: Vec<char> = ('a'..='z').collect();
    for pair in letters.windows(2) {
        let (letter, next) = (pair[0], pair[1]);
        let _ = write!(doubling, "\\def\\{letter}{letter}{{\\{next}{next}\\{next}{next}}}");
    }
    assert!(said(&format!("{doubling}\\def\\zz{{x}}\\aa"))[0].contains("add more than"));
    let wide = format!("\\def\\a#1{{{}}}\\a{{{}}}", "#1".repeat(2000), "y".repeat(2000));
    assert!(said(&wide)[0].contains("stands for more than"));
}

#[test]
fn files_come_from_the_corpus_only_and_missing_ones_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("corpus");
    std::fs::create_dir_all(root.join("deep")).unwrap();
    std::fs::write(folder.path().join("secret.tex"), "secret").unwrap();
    std::fs::write(root.join("deep/a.tex"), "from a, \\input{b}").unwrap();
    std::fs::write(root.join("deep/b.tex"), "from b\\endinput not this").unwrap();
    std::fs::write(root.join("self.tex"), "again \\input{self}").unwrap();
    std::fs::write(root.join("latin.tex"), b"caf\xe9").unwrap();
    let clean = |text: &str| clean(&root, &root.join("main.tex"), text);
    assert_eq!(clean("x \\input{deep/a}, y").text, "x from a, from b, y");
    for (text, wanted) in [
        ("\nno \\input{nowhere}.", "main.tex:2:4: `\\input`: there is no file `nowhere` in the corpus"),
        ("\\input{../secret}", "there is no file `../secret`"),
        ("\\input{self}", "includes itself"),
        ("\\input{latin}", "latin.tex:1:4: byte 3 (0xe9) is no UTF-8"),
    ] {
        let cleaned = clean(text);
        assert_eq!(cleaned.faults.len(), 1, "{text}");
        assert!(cleaned.faults[0].to_string().contains(wanted), "{}", cleaned.faults[0]);
        assert!(!cleaned.text.contains("secret"));
    }
    let outside = folder.path().join("secret.tex");
    assert!(clean(&format!("\\input{{{}}}", outside.display())).faults.len() == 1);
}

#[test]
fn documents_of_any_bytes_are_read_to_their_end() {
    const TOKENS: [&str; 42] = [
        "\\",
        "{",
        "}",
        "$",
        "$$",
        "%",
        "\n",
        " ",
        "#",
        "#1",
        "[",
        "]",
        "a",
        "é",
        "\\a",
        "\\b",
        "\\def",
        "\\newcommand",
        "\\begin{align}",
        "\\end{align}",
        "\\begin{x}",
        "\\end{x}",
        "\\newenvironment{x}",
        "\\item",
        "\\verb",
        "\\let",
        "\\iffalse",
        "\\fi",
        "\\section",
        "\\input{a}",
        "\\footnote{",
        "\\cite{",
        "\\begin{verbatim}",
        "\\title{",
        "\\begin{document}",
        "\\maketitle",
        "线",
        "\\bibliography{a}",
        "\\section{Acknowledgments}",
        "\\begin{figure}",
        "\\end{figure}",
        "\\cite{a}",
    ];
    for number in 0..6000 {
        let mut random = Seed::new(5).at(number);
        let length = random.below(120);
        let text: String = (0..length).map(|_| TOKENS[random.below(TOKENS.len() as u64) as usize]).collect();
        cleaned(&text);
        let bytes: Vec<u8> = (0..length).map(|_| random.bits() as u8).collect();
        cleaned(&String::from_utf8_lossy(&bytes));
    }
    for number in 0..30 {
        let main = Twin::new(number).document().files[0].1.clone();
        for seed in 0..60 {
            let damaged = metier_testkit::mutated(main.as_bytes(), number * 1000 + seed);
            cleaned(&String::from_utf8_lossy(&damaged));
        }
    }
    for deep in
        ["{", "\\begin{a}", "\\footnote{", "$", "\\def\\a{\\a", "\\cite[", "\\section{", "\\a[{", "\\iffalse\\if"]
    {
        cleaned(&deep.repeat(30_000));
    }
}
