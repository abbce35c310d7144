use crate::Result;

/// Texts to vectors.
pub trait Embed: Send + Sync {
    /// Length of every vector.
    fn dimension(&self) -> usize;

    /// One vector for each text, in order.
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>>;
}
