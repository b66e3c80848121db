//! Cutting a byte stream into frames.

pub mod multipart;
mod shape;
pub mod sse;
