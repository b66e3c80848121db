//! Cutting a byte stream into frames.

pub mod sse;
