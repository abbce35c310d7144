//! Objective, optimizer, schedule, sampler and the one training loop.
//!
//! | folder or file | answers |
//! |---|---|
//! | [`objective`] | what is the loss of these tokens |
//! | [`optimizer`] | how does a gradient change a weight |
//! | [`OwnRate`] | which weights learn faster or slower |
//! | [`schedule`] | how fast, at this step |
//! | [`sampler`] | which tokens next |
//! | [`run`] | the loop that joins them |
//! | [`Sources`] | the packs it learns from and is measured on |
//! | [`Guarded`] | whether a held-out loss rose by more than it may |
//! | [`watch`] | what a run tells while it lasts |
//! | [`page`] | what a run was like, to be seen in a browser |
//! | [`checkpoint`] | how a killed run goes on as if nothing had happened |
//! | [`mod@preview`] | what a run will see, before it starts |
//! | [`Importance`] | which units of a model matter for a text |
//! | [`SoftMask`] | which units a training changes less |
//! | [`squared_gradients`] | what the gradients of a text say before a model is trained |
//! | [`mod@plan`] | what a run will cost, before it starts |
//!
//! Which windows a step sees is a function of the seed and the step alone, sums are taken in a fixed order
//! and a checkpoint holds every number that the loop changes, in full. So a run that was killed and resumed
//! any number of times, on any number of threads, ends with the same bytes as one that was left alone.
//!
//! # Files
//! Under the work folder of a run: `loss.jsonl` (one [`run::StepRecord`] a line), `sampled.json` (how many
//! tokens of each document were trained on, written at the end), `validation.jsonl` (one [`ValidationRecord`] a line, where there
//! are packs to measure on) and, while it runs, `scratch/checkpoint-*.bin` and, where a loss is guarded, `scratch/kept/checkpoint-*.bin`.

mod average;
pub mod checkpoint;
mod dashboard;
mod guard;
mod importance;
mod learner;
mod measure;
pub mod objective;
pub mod optimizer;
pub mod page;
pub mod plan;
pub mod preview;
mod rates;
mod reader;
pub mod run;
pub mod sampler;
pub mod schedule;
pub mod settings;
mod soft_mask;
mod sources;
mod trainer;
mod validation;
pub mod watch;

pub use guard::{Breach, Guarded};
pub use importance::{Family, Importance, ImportanceSettings, Measured};
pub use learner::Learner;
pub use measure::squared_gradients;
pub use plan::{Plan, plan};
pub use preview::{Seen, Shown, View, preview};
pub use rates::OwnRate;
pub use run::{Run, StepRecord, TrainReport, train};
pub use settings::{Numbers, Parts, TrainSettings, Validate};
pub use soft_mask::{SoftMask, normalized};
pub use sources::Sources;
pub use validation::{HeldOut, VALIDATION_FILE, ValidationRecord, read_validation, validation_tokens};
pub use watch::Event;
