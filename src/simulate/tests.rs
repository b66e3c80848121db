//! The simulator's answers, without a connection and over one.
