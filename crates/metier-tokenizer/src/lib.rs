//! Learn, encode and pack a vocabulary's tokens.
