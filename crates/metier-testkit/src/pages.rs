//! What every family's pages must have.

use metier_core::part::{PAGE_HEADINGS, Record};

/// Refuses a family whose parts are not in the order of their names, or have a page that lacks one of the headings.
///
/// # Panics
/// With the part's name.
pub fn assert_pages(records: &[Record]) {
    for record in records {
        let page = record.page();
        let mut from = 0;
        for heading in PAGE_HEADINGS {
            let at = page[from..].find(&format!("# {heading}"));
            assert!(at.is_some(), "{}: no heading {heading}", record.name);
            from += at.unwrap_or_default();
        }
        assert!(!record.summary().is_empty(), "{}: no summary", record.name);
    }
    for pair in records.windows(2) {
        assert!(pair[0].name < pair[1].name, "{} stands before {}", pair[0].name, pair[1].name);
    }
}
