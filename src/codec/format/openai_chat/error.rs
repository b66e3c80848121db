//! Error bodies, and the error line of a stream.

use crate::format::openai_error::write_object;
pub(super) use crate::format::openai_error::{is_envelope, read, read_in_stream, write};
use crate::hub::Fault;

/// Writes the error line that ends a broken stream.
pub(super) fn write_line(fault: &Fault<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    write_object(fault, out);
    out.extend_from_slice(b"\n\n");
}
