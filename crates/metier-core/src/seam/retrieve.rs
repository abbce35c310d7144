use crate::Result;

/// A span of a document that answers a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The document's id.
    pub document: String,
    /// First byte of the span in the document's text.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
    /// Higher is better; comparable within one reply only.
    pub score: f32,
}

/// Queries to hits.
pub trait Retrieve: Send + Sync {
    /// The best `k` hits of each query, best first.
    fn retrieve(&self, queries: &[&str], k: usize) -> Result<Vec<Vec<Hit>>>;
}
