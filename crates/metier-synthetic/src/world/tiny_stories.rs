use super::{Grade, World, Written};
use crate::tale::Book;
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Writes short English stories in the words of a small child, with the facts that they state, and says of any text how many
/// of its sentences are grammatical and how many of its mentions agree with what was stated before.
///
/// # How
/// Some 70 sentences with open places, in the order of a story (someone in a place, a thing of their own, a wish, a meeting, a
/// problem, its solution or a twist, an ending), are filled with some 340 words of eleven classes. A clause may hold a clause. Verbs are in the
/// past, in speech in the present, with the third person's *s*. Each sentence says what must hold (who has a thing, where someone or
/// something is, who is with whom, how a thing looks) and what it changes; a sentence is drawn again until it agrees. A verb, a
/// noun and an adjective are drawn first and always used, and a feature (dialogue, twist, bad ending, moral value, foreshadowing,
/// conflict) with a chance of 0.3 each.
///
/// A text is read by the same sentences. Grammar is the share of sentences that some template gives to the letter. Mentions are
/// names, kinds ("the dog"), pronouns, things and, where a sentence says who or what is there, places and looks: a
/// mention agrees if the story introduced what it means, its gender and look fit, and all that the sentence says of
/// it holds. In a sentence that cannot be read, names and nouns are mentions, which agree if they were introduced. A text
/// without any mention counts as one that is wrong.
///
/// With `instruct` a story follows a prompt: some, at least one, of `Words:`, `Features:`, `Summary:` and `Random sentence:`, in
/// any order, then `Story:`.
///
/// # When to use
/// To see what a small model learns first, and to measure consistency without a judge.
///
/// # Differs from the paper in
/// The paper's stories come from a large model that is given the words and features, and another large model grades them.
/// Here both are a program's work: fewer words, fixed sentences, exact grades. Creativity is not graded.
///
/// # Source
/// Eldan and Li 2023, *TinyStories* (arXiv:2305.07759), sections 2 and 4; the sentences and the grader are metier's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TinyStories {
    /// Whether stories follow prompts.
    pub instruct: bool,
}

impl Default for TinyStories {
    fn default() -> Self {
        Self { instruct: true }
    }
}

struct Stories(Book, TinyStories);

impl World for Stories {
    fn write(&self, seed: Seed, number: u64) -> Written {
        self.0.write(seed, number, self.1.instruct)
    }

    fn grade(&self, opening: &str, continuation: &str) -> Grade {
        self.0.grade(opening, continuation)
    }
}

impl Build<dyn World> for TinyStories {
    fn build(self, _: &Place) -> Result<Box<dyn World>> {
        Ok(Box::new(Stories(Book::new()?, self)))
    }
}

/// The record of `tiny_stories`.
pub static PART: Part<dyn World> = Part::of::<TinyStories>("tiny_stories", 1);
