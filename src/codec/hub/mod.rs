//! The hub: what every wire format says, in one model.
//!
//! A superset of the formats, with three rules. Everything *borrows* from the body or frame that it was read from.
//! Text stays *escaped* ([`Text`](crate::json::Text)) and foreign JSON stays *raw* ([`Json`](crate::json::Json)), so
//! nothing is rewritten on the way through.
//! And nothing is lost silently: what a reader does not know is in `extras`, and what a writer cannot say is a
//! [`Loss`].

mod block;
pub mod error;
pub mod event;
pub mod grammar;
pub mod ids;
pub mod loss;
pub mod media;
mod request;
mod response;
mod tool;
pub mod waiting;

pub use block::{
    Begins, Block, BlockKind, CacheMark, Citation, Extra, Opaque, OpaqueKind, Role, Source, ThinkingKind, Turn, placed,
};
pub use error::{Fault, FaultKind, KEY_REFUSED, Refusal};
pub use event::{Event, Head};
pub use loss::{Action, Field, Loss, Losses, Place};
pub use request::{
    Asked, CacheSpec, Effort, Identity, Limits, Origin, OutputSpec, Reasoning, ReasoningForm, Request, Sampling, State,
    StreamSpec, Strict, THREAD_UNSUPPORTED, Tier, Verbosity,
};
pub(crate) use response::is_clients;
pub use response::{Candidate, Response, Saying, Stop, Usage};
pub use tool::{
    Flavor, Tool, ToolMode, ToolPolicy, arguments, flat_name, in_namespace, restricts, split_namespace, why_no_object,
};
