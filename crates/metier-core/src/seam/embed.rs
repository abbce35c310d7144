use crate::Result;

/// The answer to one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// [`Embed::dimension`] numbers.
    pub vector: Vec<f32>,
    /// Tokens that the model read.
    pub tokens: usize,
}

/// Texts to vectors.
pub trait Embed: Send + Sync {
    /// Length of every vector.
    fn dimension(&self) -> usize;

    /// One vector for each text, in order. A text longer than the model's context is an error that names both
    /// lengths, never cut.
    fn embed(&self, texts: &[&str]) -> Result<Vec<Embedded>>;
}
