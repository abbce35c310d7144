//! The leaf of a plan: the documents of some files.

use crate::look::{DOCUMENT, END_OF_FILE, SAID};
use crate::work::{Files, parts};
use datafusion::arrow::array::{ArrayRef, LargeBinaryBuilder, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
    ReplaceChildrenOptions,
};
use metier_corpus::read::Item;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// The column.
pub const FOUND: &str = "found";
/// Rows of a batch, and bytes after which no other joins them.
const ROWS: usize = 64;
const BYTES: usize = 1 << 20;
/// Batches that are read before they are wanted.
const AHEAD: usize = 2;

/// Reads files: a row for each thing found, and one for the end of each file.
#[derive(Debug)]
pub struct DocumentsExec {
    /// What is asked.
    pub scan: Scan,
    properties: Arc<PlanProperties>,
}

/// Files to read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scan {
    /// The [`Job`](crate::work::Job), as JSON.
    pub job: String,
    /// Where the corpus lies.
    pub path: PathBuf,
    /// Its files that are wanted.
    pub files: Files,
}

/// One column of bytes.
pub fn schema(name: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(name, DataType::LargeBinary, true)]))
}

impl DocumentsExec {
    /// In one partition, so that documents stay in order.
    pub fn new(scan: Scan) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema(FOUND)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { scan, properties: Arc::new(properties) }
    }
}

impl DisplayAs for DocumentsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "DocumentsExec: {} files of {}", self.scan.files.len(), self.scan.path.display())
    }
}

impl ExecutionPlan for DocumentsExec {
    fn name(&self) -> &'static str {
        "DocumentsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut builder = RecordBatchReceiverStreamBuilder::new(schema(FOUND), AHEAD);
        let (send, scan) = (builder.tx(), self.scan.clone());
        builder.spawn_blocking(move || {
            // Whoever does not listen any more has failed.
            let mut rows = Rows { rows: LargeBinaryBuilder::new(), send: |batch| send.blocking_send(batch).is_ok() };
            read(&scan, &mut rows)?;
            rows.flush()?;
            Ok(())
        });
        Ok(builder.build())
    }
}

/// A batch in the making, and where it goes: false says that nobody wants more.
struct Rows<S: Fn(Result<RecordBatch>) -> bool> {
    rows: LargeBinaryBuilder,
    send: S,
}

impl<S: Fn(Result<RecordBatch>) -> bool> Rows<S> {
    fn add(&mut self, row: impl AsRef<[u8]>) -> Result<bool> {
        self.rows.append_value(row);
        if self.rows.values_slice().len() < BYTES && self.rows.offsets_slice().len() <= ROWS {
            return Ok(true);
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<bool> {
        let rows: ArrayRef = Arc::new(self.rows.finish());
        Ok(rows.is_empty() || (self.send)(Ok(RecordBatch::try_new(schema(FOUND), vec![rows])?)))
    }
}

fn read<S: Fn(Result<RecordBatch>) -> bool>(scan: &Scan, rows: &mut Rows<S>) -> Result<()> {
    let program = |error: metier_core::Error| DataFusionError::Execution(error.to_string());
    let said =
        |line: metier_core::Result<Vec<u8>>| Ok::<_, DataFusionError>([&[SAID], &line.map_err(program)?[..]].concat());
    let parts = match parts(&scan.job) {
        Ok(parts) => parts,
        Err(error) => {
            rows.add(said(metier_corpus::fault_line(error))?)?;
            return Ok(());
        }
    };
    let (settings, borrowed) = (&parts.settings, parts.borrowed());
    let look = metier_corpus::Look::new(settings, &borrowed).map_err(program)?;
    for file in &scan.files {
        for raw in parts.read.open_files(&scan.path, vec![file.clone()], 0) {
            let row = match raw.and_then(metier_corpus::read::Raw::item) {
                Ok(Item::Document(document)) => {
                    let mut row = vec![DOCUMENT];
                    serde_json::to_writer(&mut row, &document)
                        .map_err(|error| DataFusionError::External(error.into()))?;
                    row
                }
                other => said(look.lines(other))?,
            };
            if !rows.add(row)? {
                return Ok(());
            }
        }
        if !rows.add([END_OF_FILE])? {
            return Ok(());
        }
    }
    Ok(())
}
