//! Small trainable parts inside a frozen model, and folding them back.
