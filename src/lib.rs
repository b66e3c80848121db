//! Tidegate: an edge proxy for LLM traffic.
//!
//! ```text
//! admit ──▶ plan ──▶ send ──▶ receive ──▶ settle
//!            ▲                  │
//!            └── next target ───┘
//! ```
//!
//! This is the way of a request. Begin at [`proxy`]: its hooks are these stations. Bodies and streams are translated by the
//! crate `tidegate_codec`, which does no I/O. `docs/architecture.md` says which module may import which.
//!
//! | module | is for |
//! |---|---|
//! | [`cli`] | the commands, one file each |
//! | [`server`] | listeners, services, reload, upgrade, drain |
//! | [`admin`] | the operator's listener: health, metrics, reload, state |
//! | [`simulate`] | a provider without a model, for the demo and load |
//! | [`proxy`] | the hooks and the stations of a request |
//! | [`config`] | from the written file to problems or a snapshot that never changes |
//! | [`upstream`] | from a provider's endpoints to connections: health, breakers, peers |
//! | [`provider`] | what a vendor or a fleet is, as data |
//! | [`routing`] | what a model's name leads to, and in which order |
//! | [`limits`] | how much runs at once, and who waits for it |
//! | [`observe`] | metrics, the access log, the process's own log |
//! | [`secret`] | keys that no log, error or `Debug` shows |
//! | [`clock`] | the one place that reads the time |

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
