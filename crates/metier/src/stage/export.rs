//! `export`: a training result folded into its base, written as a Hugging Face folder.

use super::train::BASE_FILE;
use super::{Context, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work};
use metier_core::Result;
use metier_core::settings::Table;
use metier_model::checkpoint::Checkpoint;
use metier_model::{Decoder, LocalModel};
use std::path::Path;
