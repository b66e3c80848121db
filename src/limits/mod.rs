//! How much runs at once, and who waits for it.
//!
//! ```text
//! Registry (process) ── Bulkhead of each edge, client, model, provider: a count, a limit, a line
//!   Bulkhead::enter ─▶ Permit                        there is room
//!   Bulkhead::wait  ─▶ Permit | Refused              there will be, or not: Line says who is next
//!   Adaptive        ─▶ the limit                     from the time that answers take to begin
//! Memory ─▶ whether new requests are taken at all
//! AddressRate ─▶ whether one address does too much
//! ```
//!
//! Counts belong to the process, limits to a config: a reload changes limits under counts that go on. Nothing here does
//! I/O; what is measured comes in as arguments.

mod adaptive;
mod bulkhead;
mod line;
mod memory;
mod rate;
mod registry;

pub use adaptive::{Adapt, Adaptive};
pub use bulkhead::{Bulkhead, Permit, Refused, Rule, Waiter};
pub use line::Class;
pub use memory::Memory;
pub use rate::{AddressRate, network_of};
pub use registry::{Registry, Scope, View};
