//! What does this PDF say?
//!
//! A PDF is a program that draws. A few bytes of one can ask for any amount of memory and time, so it is read by a process of its own, this
//! program again, that has limits for both. It takes the file on standard input and answers with lines of JSON, a page each.

mod layout;

use hayro_interpret::hayro_syntax::page::Page as Drawn;
use hayro_interpret::hayro_syntax::{DecryptionError, LoadPdfError, Pdf};
use hayro_interpret::kurbo::{Affine, Rect};
use hayro_interpret::{Context, InterpreterCache, InterpreterSettings, interpret_page};
use layout::Layout;
use metier_core::{Error, Fault, Place, Result};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::OnceLock;

/// What the program is called with when it is to answer.
const QUESTION: &str = "pdf-text";
/// Bytes that reading a PDF may take apart from the file's own, and bytes of text in it.
const MEMORY: u64 = 512 << 20;
const TEXT: u64 = 256 << 20;

/// Bytes that the files tried took at most, apart from their own (see docs/log.md).
pub(crate) const USUAL: u64 = 64 << 20;

/// The program to ask.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// A page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Page {
    /// Lines as they stand on it, an empty line between blocks.
    pub text: String,
    /// Signs in it of which the file does not say what they mean.
    pub unknown: u32,
    /// Whether there is an image on it.
    pub image: bool,
}

/// A line of an answer.
#[derive(Serialize, Deserialize)]
enum Line {
    Page(Page),
    /// Behind the last page: without it, something is lacking.
    End,
    /// It wants a password.
    Password,
    /// It is encrypted in a way that cannot be undone.
    Cipher,
    /// It is none, or damaged.
    Damaged,
}

/// Answers when this process was started to read a PDF, and says how it is to end. Else what asks later asks this program. To be called first
/// of all in `main`.
pub fn answer() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().is_some_and(|word| word == QUESTION) {
        let seconds = arguments.next().and_then(|number| number.parse().ok()).unwrap_or(1);
        return Some(answered(seconds).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS));
    }
    // On Linux this is the running program, also when its file was replaced.
    let own = Path::new("/proc/self/exe");
    let program = if own.exists() { Ok(own.to_path_buf()) } else { std::env::current_exe() };
    if let Ok(program) = program {
        let _ = PROGRAM.set(program);
    }
    None
}

fn answered(seconds: u64) -> std::io::Result<()> {
    // A second more, so that the processor's limit is said before the process is killed.
    let limit = |resource, limit| setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit + 1) });
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Cpu, seconds)?;
    limit(Resource::Data, bytes.capacity() as u64 + MEMORY)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut say = |line: &Line| {
        serde_json::to_writer(&mut out, line)?;
        out.write_all(b"\n")
    };
    let pdf = match Pdf::new(bytes) {
        Ok(pdf) => pdf,
        Err(LoadPdfError::Decryption(DecryptionError::PasswordProtected)) => return say(&Line::Password),
        Err(LoadPdfError::Decryption(_)) => return say(&Line::Cipher),
        Err(LoadPdfError::Invalid) => return say(&Line::Damaged),
    };
    let cache = InterpreterCache::new();
    for page in pdf.pages().iter() {
        say(&Line::Page(read(&pdf, &cache, page)))?;
    }
    say(&Line::End)?;
    out.flush()
}

fn read<'a>(pdf: &'a Pdf, cache: &InterpreterCache<'a>, page: &Drawn<'a>) -> Page {
    let (crop, settings) = (page.intersected_crop_box(), InterpreterSettings::default());
    let shown = Rect::new(crop.x0, crop.y0, crop.x1, crop.y1);
    let mut context = Context::new(Affine::IDENTITY, shown, cache, pdf.xref(), settings);
    let mut layout = Layout::default();
    interpret_page(page, &mut context, &mut layout);
    layout.text.truncate(layout.text.trim_end().len());
    Page { text: layout.text, unknown: layout.unknown, image: layout.image }
}

/// The pages of a PDF, for which the processor may take so many seconds. The inner error is that of the file, the outer one that of the machine.
pub(crate) fn pages(path: &Path, bytes: &[u8], seconds: u32) -> Result<Result<Vec<Page>>> {
    let Some(program) = PROGRAM.get() else {
        return Err(Error::program("this program does not call `pdf::answer`, so it reads no PDF"));
    };
    let failed = |error: std::io::Error| Error::io(program, "run", &error);
    let mut command = Command::new(program);
    command.args([QUESTION, &seconds.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(failed)?;
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Error::program("a process has no pipes"));
    };
    // Where it stopped reading, how it ended says why.
    let _ = input.write_all(bytes);
    drop(input);
    let said = listen(path, &mut BufReader::new(output).take(TEXT));
    if said.as_ref().is_ok_and(Option::is_some) || said.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(failed)?;
    Ok(match said {
        Ok(Some(pages)) => Ok(pages),
        Ok(None) => Err(ended(path, status, seconds)),
        Err(fault) => Err(fault),
    })
}

/// What is said of the pages, if it is said to its end.
fn listen(path: &Path, lines: &mut std::io::Take<impl BufRead>) -> Result<Option<Vec<Page>>> {
    let wrong = |message: &str, hint: &str| Err(Fault::new(Place::file(path), message).hint(hint).into());
    let (mut pages, mut line) = (Vec::new(), Vec::new());
    while lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        match serde_json::from_slice(&line) {
            Ok(Line::Page(page)) => pages.push(page),
            Ok(Line::End) => return Ok(Some(pages)),
            Ok(Line::Password) => {
                return wrong(
                    "the PDF is encrypted and wants a password",
                    "remove the password, or leave it out with `exclude`",
                );
            }
            Ok(Line::Cipher) => {
                return wrong(
                    "the PDF is encrypted in a way that is unknown here",
                    "save it without encryption, or leave it out with `exclude`",
                );
            }
            Ok(Line::Damaged) => {
                return wrong(
                    "the file is no PDF, or damaged beyond reading",
                    "open it in another program and save it again, or leave it out with `exclude`",
                );
            }
            Err(_) => break,
        }
        line.clear();
    }
    if lines.limit() == 0 {
        return wrong(&format!("the PDF has more than {} MiB of text", TEXT >> 20), LEAVE);
    }
    Ok(None)
}

const LEAVE: &str = "leave it out with `exclude`, or drop such files with `invalid = \"skip\"`";

/// The fault of a PDF at which the process ended before its answer did.
fn ended(path: &Path, status: ExitStatus, seconds: u32) -> Error {
    let message = match status.signal() {
        Some(signal) if signal == rustix::process::Signal::XCPU.as_raw() => {
            format!("reading the PDF takes more than {seconds} seconds")
        }
        Some(_) => format!("reading the PDF takes more than {} MiB of memory", MEMORY >> 20),
        None => "the PDF is damaged in a way that ends the program that reads it".to_owned(),
    };
    Fault::new(Place::file(path), message).hint(LEAVE).into()
}
