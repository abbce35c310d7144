//! Goldens with tolerance and tiny corpora for tests.
