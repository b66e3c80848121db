//! Cutting a byte stream into frames.

mod shape;
pub mod sse;
