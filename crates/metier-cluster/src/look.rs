//! The function of a plan: what filters and taggers say of a document.

use crate::work::parts;
use datafusion::arrow::array::{Array as _, AsArray as _, LargeBinaryBuilder};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use metier_corpus::Look;
use metier_corpus::read::Item;
use std::sync::Arc;

/// The name of the function.
pub const NAME: &str = "metier_look";
/// How a row of [`FOUND`](crate::documents::FOUND) begins: with a document as JSON, with what is said already, or the end of a file.
pub const DOCUMENT: u8 = b'd';
/// See [`DOCUMENT`].
pub const SAID: u8 = b's';
/// See [`DOCUMENT`].
pub const END_OF_FILE: u8 = b'e';

/// `metier_look(job, found)`: lines that `metier` reads.
#[derive(Debug, PartialEq, Eq, Hash)]
struct MetierLook(Signature);

/// The function, as executors know it.
pub fn function() -> Arc<ScalarUDF> {
    // What filters remember changes as they see documents.
    let signature = Signature::exact(vec![DataType::Utf8, DataType::LargeBinary], Volatility::Volatile);
    Arc::new(ScalarUDF::new_from_impl(MetierLook(signature)))
}

impl ScalarUDFImpl for MetierLook {
    fn name(&self) -> &'static str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::LargeBinary)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [ColumnarValue::Scalar(ScalarValue::Utf8(Some(job))), found] = &arguments.args[..] else {
            return exec_err!("{NAME} takes a job, which is one text, and a column");
        };
        let program = |error: metier_core::Error| DataFusionError::Execution(error.to_string());
        let parts = parts(job).map_err(program)?;
        let borrowed = parts.borrowed();
        let look = Look::new(&parts.settings, &borrowed).map_err(program)?;
        let found = found.to_array(arguments.number_rows)?;
        let mut out = LargeBinaryBuilder::with_capacity(found.len(), 2 * found.get_buffer_memory_size());
        for row in found.as_binary::<i64>().iter().flatten() {
            let line = match row.split_first() {
                Some((&DOCUMENT, document)) => {
                    let document = serde_json::from_slice(document).map_err(|error| {
                        metier_core::Error::program(format!("a document does not come back: {error}"))
                    });
                    look.lines(document.map(Item::Document))
                }
                Some((&SAID, said)) => Ok(said.to_vec()),
                Some((&END_OF_FILE, _)) => look.end_of_file(),
                _ => return exec_err!("{NAME} does not know a row that begins so"),
            };
            out.append_value(line.map_err(program)?);
        }
        Ok(ColumnarValue::Array(Arc::new(out.finish())))
    }
}
