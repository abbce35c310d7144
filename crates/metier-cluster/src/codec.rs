//! How plans travel: [`DocumentsExec`] beside what Ballista knows.

use crate::documents::{DocumentsExec, Scan};
use crate::look;
use ballista_core::serde::BallistaPhysicalExtensionCodec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use std::sync::Arc;

/// How what is ours begins; no message of Ballista's begins with this byte, whose wire type does not exist.
const OURS: u8 = 0xff;

/// The codec of client, scheduler and executors.
#[derive(Debug, Default)]
pub struct Codec(BallistaPhysicalExtensionCodec);

impl PhysicalExtensionCodec for Codec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some((&OURS, scan)) = bytes.split_first() else {
            return self.0.try_decode(bytes, inputs, context, converter);
        };
        let scan: Scan = serde_json::from_slice(scan).map_err(|error| DataFusionError::External(error.into()))?;
        Ok(Arc::new(DocumentsExec::new(scan)))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        out: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(documents) = node.downcast_ref::<DocumentsExec>() else {
            return self.0.try_encode(node, out, converter);
        };
        out.push(OURS);
        serde_json::to_writer(out, &documents.scan).map_err(|error| DataFusionError::External(error.into()))
    }

    fn try_decode_udf(&self, name: &str, bytes: &[u8]) -> Result<Arc<ScalarUDF>> {
        if name == look::NAME { Ok(look::function()) } else { self.0.try_decode_udf(name, bytes) }
    }
}
