//! `eval`: what a model knows of held-out texts, alone and against another evaluation.

use super::{Context, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work, load_model};
use metier_core::settings::Table;
use metier_core::Result;
use schemars::JsonSchema;
use std::collections::BTreeMap;
