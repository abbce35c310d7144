//! Replies of a model without any sense, held to a form.

use metier_core::data::{Form, TokenId};
use metier_core::seam::{ProcessLogits, Tokenize};
use metier_core::seed::Stream;
use metier_program::constrain::Constrainer;
use metier_testkit::bytes::{Bytes, END};

const PROMPT: [TokenId; 3] = [1, 2, 3];

/// A reply of tokens drawn among those allowed; what closes a value is likelier, so that it ends.
pub fn reply(constrainer: &Constrainer, form: &Form, random: &mut Stream) -> String {
    continued(constrainer, form, "", random)
}

/// A reply that begins with `begun`, each byte of which must be allowed.
pub fn continued(constrainer: &Constrainer, form: &Form, begun: &str, random: &mut Stream) -> String {
    let mut held: Box<dyn ProcessLogits> = constrainer.constrain(form).unwrap();
    let mut history = PROMPT.to_vec();
    let vocabulary = Bytes { begin: false }.vocabulary_size();
    loop {
        // Rows of padding beyond the vocabulary must stay forbidden.
        let mut logits = vec![0.0; vocabulary + 2];
        held.process(&history, &mut logits).unwrap();
        let allowed: Vec<TokenId> = (0..).zip(&logits).filter(|(_, logit)| **logit == 0.0).map(|(id, _)| id).collect();
        let bytes: Vec<u8> = history[PROMPT.len()..].iter().map(|id| *id as u8).collect();
        assert!(!allowed.is_empty(), "nothing is allowed after {}", String::from_utf8_lossy(&bytes));
        // The end, a quotation mark, an at sign (without which an address has no end), brackets.
        let closing = || [END, 34, 64, 125, 93].into_iter().find(|id| allowed.contains(id));
        let id = match (begun.as_bytes().get(bytes.len()), closing()) {
            (Some(byte), _) => {
                let id = TokenId::from(*byte);
                assert!(
                    allowed.contains(&id),
                    "{:?} may not follow {}",
                    *byte as char,
                    String::from_utf8_lossy(&bytes)
                );
                id
            }
            (None, Some(id)) if random.below(4) == 0 || bytes.len() > 200 => id,
            _ => allowed[random.below(allowed.len() as u64) as usize],
        };
        if id == END {
            return String::from_utf8(bytes).unwrap();
        }
        assert!(bytes.len() < 2000, "the reply does not end: {}", String::from_utf8_lossy(&bytes));
        history.push(id);
    }
}
