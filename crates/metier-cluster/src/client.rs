//! `metier-cluster look`: asks a cluster what is said of each document, and writes it in the order of the files.

use crate::codec::Codec;
use crate::documents::{DocumentsExec, FOUND, Scan};
use crate::look;
use crate::work::{Files, Job, MESSAGE};
use ballista_core::execution_plans::execute_physical_plan;
use ballista_core::extension::SessionConfigExt;
use datafusion::arrow::array::{AsArray as _, RecordBatch};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result as DataResult};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::prelude::SessionConfig;
use datafusion_proto::protobuf::PhysicalPlanNode;
use futures::StreamExt as _;
use metier_core::{Error, Fault, Place, Result};
use metier_corpus::Task;
use std::io::{Read as _, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Pieces of the corpus that a cluster is asked for at once.
const AHEAD: usize = 16;
/// Bytes of files in one piece, at least and at most; a larger file is a piece of its own.
const PIECE: std::ops::RangeInclusive<u64> = (1 << 20)..=(32 << 20);
/// Pieces that a corpus is cut into where they are neither larger nor smaller than that.
const PIECES: u64 = 64;
/// Files in one piece at most.
const FILES: usize = 4096;
/// Times that a piece is asked for before the cluster is given up, and the pause between them.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The scheduler
    #[arg(long, value_name = "HOST:PORT")]
    scheduler: String,
    /// Files that are known
    #[arg(long, default_value_t = 0)]
    files: usize,
}

/// Writes what is said until the end, or the fault that ends it.
pub async fn run(arguments: Arguments) -> Result<()> {
    let mut task = String::new();
    std::io::stdin().read_to_string(&mut task).map_err(|error| Error::io("standard input", "read", &error))?;
    let task: Task = serde_json::from_str(&task).map_err(|error| Error::program(format!("no task: {error}")))?;
    let last = match say(&arguments, task).await {
        Ok(()) => metier_corpus::end_of_corpus()?,
        Err(error) => metier_corpus::fault_line(error)?,
    };
    write(&last)
}

fn write(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| Error::io("standard output", "write", &error))
}

async fn say(arguments: &Arguments, task: Task) -> Result<()> {
    let files = task.parts()?.read.files(&task.path)?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (path, run) = (task.path.clone(), format!("{}-{}", since.as_nanos(), std::process::id()));
    let job = serde_json::to_string(&Job { run: run.clone(), task })
        .map_err(|error| Error::program(format!("a task does not serialize: {error}")))?;
    let cluster = &Cluster { scheduler: arguments.scheduler.clone(), run, job, path };
    let pieces = pieces(files.into_iter().skip(arguments.files).collect())?;
    let ask = |(number, files): (usize, Files)| async move {
        let asked = cluster.ask(number, 0, &files).await;
        (number, files, asked)
    };
    let mut answers = futures::stream::iter(pieces.into_iter().enumerate()).map(ask).buffered(AHEAD);
    while let Some((number, files, mut answer)) = answers.next().await {
        let (mut rows, mut tries) = (0, 1);
        // What of an answer was written is not written again.
        while let Err(error) = hand_on(answer, &mut rows).await? {
            if tries == TRIES {
                return Err(cluster.gave_up(&error));
            }
            eprintln!("cluster: a piece is asked for again: {}", first_line(&error));
            tokio::time::sleep(PAUSE).await;
            answer = cluster.ask(number, tries, &files).await;
            tries += 1;
        }
    }
    Ok(())
}

/// Consecutive files that one executor reads.
fn pieces(files: Files) -> Result<Vec<Files>> {
    let bytes =
        |path: &PathBuf| path.metadata().map(|known| known.len()).map_err(|error| Error::io(path, "read", &error));
    let sizes = files.iter().map(|(_, path)| bytes(path)).collect::<Result<Vec<_>>>()?;
    let most = (sizes.iter().sum::<u64>() / PIECES).clamp(*PIECE.start(), *PIECE.end());
    let (mut pieces, mut open, mut held) = (Vec::new(), Vec::new(), 0);
    for (file, size) in files.into_iter().zip(sizes) {
        if !open.is_empty() && (held + size > most || open.len() == FILES) {
            pieces.push(std::mem::take(&mut open));
            held = 0;
        }
        open.push(file);
        held += size;
    }
    pieces.push(open);
    pieces.retain(|piece: &Files| !piece.is_empty());
    Ok(pieces)
}

/// Writes an answer without the first `rows` rows, and counts those that are written. The inner error is the cluster's.
async fn hand_on(answer: DataResult<SendableRecordBatchStream>, rows: &mut usize) -> Result<DataResult<()>> {
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Ok(Err(error)),
    };
    let mut known = *rows;
    while let Some(batch) = answer.next().await {
        let batch: RecordBatch = match batch {
            Ok(batch) => batch,
            Err(error) => return Ok(Err(error)),
        };
        for said in batch.column(0).as_binary::<i64>().iter().flatten() {
            if known > 0 {
                known -= 1;
            } else {
                write(said)?;
                *rows += 1;
            }
        }
    }
    Ok(Ok(()))
}

struct Cluster {
    scheduler: String,
    run: String,
    job: String,
    path: PathBuf,
}

impl Cluster {
    /// What is said of the documents in some files, once an executor has said it.
    async fn ask(&self, number: usize, tries: u32, files: &Files) -> DataResult<SendableRecordBatchStream> {
        let scan = Scan { job: self.job.clone(), path: self.path.clone(), files: files.clone() };
        let documents: Arc<dyn ExecutionPlan> = Arc::new(DocumentsExec::new(scan));
        let config = SessionConfig::new_with_ballista()
            .with_ballista_job_name(&format!("{} piece {number}", self.path.display()))
            .with_ballista_grpc_client_max_message_size(MESSAGE as usize);
        let arguments: Vec<Arc<dyn PhysicalExpr>> =
            vec![Arc::new(Literal::new(ScalarValue::Utf8(Some(self.job.clone())))), Arc::new(Column::new(FOUND, 0))];
        let options = Arc::clone(config.options());
        let look = ScalarFunctionExpr::try_new(look::function(), arguments, &documents.schema(), options)?;
        let look = ProjectionExpr { expr: Arc::new(look), alias: "said".to_owned() };
        let plan = Arc::new(ProjectionExec::try_new([look], documents)?);
        let (url, session) = (format!("http://{}", self.scheduler), format!("{}-{number}-{tries}", self.run));
        let ballista = config.ballista_config();
        execute_physical_plan::<PhysicalPlanNode>(url, &ballista, plan, &Codec::default(), session, config).await
    }

    fn gave_up(&self, error: &DataFusionError) -> Error {
        Fault::new(Place::key(format!("cluster {}", self.scheduler)), format!("gave no answer: {}", first_line(error)))
            .hint("see that the scheduler and its executors run (`metier cluster --help`), and run the same command again to go on")
            .into()
    }
}

fn first_line(error: &DataFusionError) -> String {
    error.to_string().lines().next().unwrap_or_default().chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::unwrap_used, reason = "a test of files that it has just made")]
    fn pieces_are_consecutive_files_of_bounded_size() {
        let folder = tempfile::tempdir().unwrap();
        let file = |(number, size): (usize, &u64)| {
            let path = folder.path().join(number.to_string());
            std::fs::File::create(&path).unwrap().set_len(*size).unwrap();
            (number.to_string(), path)
        };
        let mega = 1 << 20;
        let files: Files = [mega / 2, mega / 2, 1, 5 * mega, 0, mega].iter().enumerate().map(file).collect();
        let cut: Vec<usize> = pieces(files.clone()).unwrap().iter().map(Vec::len).collect();
        assert_eq!(cut, [2, 1, 1, 2]);
        assert_eq!(pieces(files.clone()).unwrap().concat(), files);
        assert!(pieces(Vec::new()).unwrap().is_empty());
    }
}
