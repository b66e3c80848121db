//! From a provider's endpoints to connections.
//!
//! ```text
//! Fleet (process)  ── State of each endpoint: in flight, active health, hold, models in trouble, addresses
//!   └ Pools (one config generation) ── Pool (one provider) ── Endpoint: weight, base path, prepared peer ── State
//!                                        └ pick ── Lease (one attempt) ── peer ── HttpPeer
//! Upkeep (background service) ── active checks, refreshed addresses
//! ```
//!
//! What is learnt about an endpoint belongs to the process, not to a config: a reload builds new pools over the same
//! states and forgets nothing.
//!
//! `pingora-load-balancing` gives the consistent-hash ring and the turns of round robin and random. Its `Backends`,
//! `HealthRegistry` and `HealthCheckService` do not serve here: a backend there *is* a socket address (ours are host
//! names whose addresses change), all targets of a registry share one interval, every HTTP check owns a connector with
//! its own copy of the root certificates, and nothing there counts requests in flight.

mod authorities;
mod budget;
mod endpoint;
mod fleet;
pub mod framing;
mod health;
mod hold;
mod media;
mod packed;
mod peer;
mod pool;
mod probe;
mod recall;
mod resolve;
pub mod seam;
mod select;
mod standing;
#[cfg(test)]
mod testing;
mod times;
mod trouble;
mod upkeep;
mod whereabouts;

pub use authorities::{AuthoritiesError, read_authorities};
pub use budget::{Payment, Place, RetryBudget, Ticket};
pub use endpoint::{Complaint, ConnectionId, EndpointId};
pub use fleet::{Budgets, EndpointView, Fleet, Pools};
pub use hold::Stage;
pub use media::MediaType;
pub use packed::{BADLY_PACKED, Packed};
pub use peer::{await_upload, keepalive};
pub use pool::{Lease, Pool};
pub use recall::RecallMemory;
pub use resolve::{Lookup, ResolveError};
pub use select::random;
pub use standing::{Busy, Lineup, Lineups, Standing};
pub use trouble::ModelView;
pub use upkeep::Upkeep;
pub use whereabouts::Whereabouts;
