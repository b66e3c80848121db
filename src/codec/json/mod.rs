//! JSON without a tree: a cursor that reads in one pass, text that travels undecoded, a writer, and spans to splice.
//!
//! `serde_json` is the reference: the tests hold the cursor against it. What it cannot give is why this module
//! exists: raw string contents, every unknown field with its place, and no allocation per value.

mod cursor;
mod edit;
mod follow;
mod guard;
mod pointer;
mod respell;
mod scan;
mod splice;
mod text;
pub mod write;

pub use cursor::{Cursor, JsonError, Kind, MAX_DEPTH, Problem, late_member};
pub use edit::{Edits, Member, members};
pub(crate) use follow::Follower;
pub use guard::{Envelope, guard};
pub use pointer::{pointer_at, pointers_at};
pub use respell::{respell, strings_at};
pub(crate) use scan::contents_len;
pub use splice::{Span, splice};
pub use text::{Json, Text};
pub use write::Writer;
