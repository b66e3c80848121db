//! Tidegate: an edge proxy for LLM traffic.

pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod limits;
pub mod observe;
pub mod provider;
pub mod proxy;
pub mod routing;
pub mod secret;
pub mod server;
pub mod simulate;
pub mod upstream;
