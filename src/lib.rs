//! Tidegate: an edge proxy for LLM traffic.

pub mod cli;
pub mod clock;
pub mod provider;
pub mod secret;
pub mod simulate;
pub mod upstream;
