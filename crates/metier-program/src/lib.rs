//! A model used as a function: chat templates.
