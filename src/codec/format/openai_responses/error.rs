//! Error bodies, and the events that end a broken stream.

use crate::format::openai_error::{code, or_null};
pub(super) use crate::format::openai_error::{is_envelope, read, read_in_stream, write};
use crate::hub::Fault;
use crate::json::Writer;

/// Writes the fields of an `error` event behind its type.
pub(super) fn write_event(fault: &Fault<'_>, w: &mut Writer<'_>) {
    w.key("code").plain(code(fault).unwrap_or("server_error")).key("message").plain(&fault.message).key("param");
    or_null(fault.param.as_deref(), w);
}

/// Writes the `error` of a response that failed, as the next value.
pub(super) fn write_failure(fault: &Fault<'_>, w: &mut Writer<'_>) {
    w.open_object().key("code").plain(code(fault).unwrap_or("server_error"));
    w.key("message").plain(&fault.message).close_object();
}
