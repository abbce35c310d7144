//! Sentences with a place for what they are about and one for what they say of it.

/// A sentence with `{s}` and, behind or before it, `{v}`.
pub(crate) struct Form<'a>(pub &'a str);

/// A sentence with both filled in.
pub(crate) fn fill(form: &str, subject: &str, value: &str) -> String {
    form.replace("{s}", subject).replace("{v}", value)
}

impl Form<'_> {
    /// What a sentence of this form is about and says; nothing of another. A sentence that says nothing has no value.
    pub fn read<'t>(&self, sentence: &'t str) -> Option<(&'t str, &'t str)> {
        let (before, after) = self.0.split_once("{s}")?;
        let rest = sentence.strip_prefix(before)?;
        match after.split_once("{v}") {
            None => rest.strip_suffix(after).map(|subject| (subject, "")),
            Some((between, end)) => rest.strip_suffix(end)?.split_once(between),
        }
    }
}
