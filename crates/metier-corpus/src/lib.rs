//! Raw files to chosen documents.
