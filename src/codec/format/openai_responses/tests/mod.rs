//! What the format promises, as a whole.
