//! XLM-RoBERTa: RoBERTa in a hundred languages, under a name of its own.
//!
//! Source: Conneau et al., arXiv 1911.02116.

use super::{Architecture, roberta};

/// The record of this architecture.
pub static ARCHITECTURE: Architecture = roberta::of("xlm-roberta");
