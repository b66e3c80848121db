//! The part of zlib's C interface that `flate2` calls when built for zlib-ng, served by zlib-rs.
//!
//! `flate2` writes `zalloc` and `zfree` as plain functions where zlib-rs has `Option`s of them, so the stream
//! structure is declared here once more with that one difference, and each call hands its pointer on.
#![allow(non_camel_case_types, non_snake_case, reason = "the names are zlib's")]
#![allow(clippy::missing_safety_doc, reason = "zlib's manual states the contract of each call")]

use core::ffi::{c_char, c_int, c_uint, c_ulong, c_void};

pub use libz_rs_sys::{
    Bytef, Z_BLOCK, Z_BUF_ERROR, Z_DATA_ERROR, Z_DEFAULT_STRATEGY, Z_DEFLATED, Z_FINISH, Z_FULL_FLUSH, Z_MEM_ERROR,
    Z_NEED_DICT, Z_NO_FLUSH, Z_OK, Z_PARTIAL_FLUSH, Z_STREAM_END, Z_STREAM_ERROR, Z_SYNC_FLUSH, internal_state,
    zlibVersion,
};

/// zlib's `uInt`.
pub type uInt = c_uint;
/// zlib's `uLong`.
pub type uLong = c_ulong;
/// zlib's allocation callback.
pub type alloc_func = unsafe extern "C" fn(*mut c_void, uInt, uInt) -> *mut c_void;
/// zlib's release callback.
pub type free_func = unsafe extern "C" fn(*mut c_void, *mut c_void);

/// A stream; laid out as zlib-rs lays out its own.
#[repr(C)]
#[derive(Debug)]
pub struct z_stream {
    /// Next input byte.
    pub next_in: *mut Bytef,
    /// Input bytes available.
    pub avail_in: uInt,
    /// Input bytes read so far.
    pub total_in: uLong,
    /// Next output byte goes here.
    pub next_out: *mut Bytef,
    /// Output bytes free.
    pub avail_out: uInt,
    /// Output bytes written so far.
    pub total_out: uLong,
    /// Last error message, or null.
    pub msg: *mut c_char,
    /// Private to the implementation.
    pub state: *mut internal_state,
    /// Allocates the implementation's state.
    pub zalloc: alloc_func,
    /// Releases the implementation's state.
    pub zfree: free_func,
    /// Handed to both callbacks.
    pub opaque: *mut c_void,
    /// Guess about the data.
    pub data_type: c_int,
    /// Checksum.
    pub adler: uLong,
    /// Reserved.
    pub reserved: uLong,
}

// `Option<extern fn>` has the layout of `extern fn` (its null is `None`), so the two structures agree.
const _: () = assert!(
    size_of::<z_stream>() == size_of::<libz_rs_sys::z_stream>()
        && core::mem::offset_of!(z_stream, zfree) == core::mem::offset_of!(libz_rs_sys::z_stream, zfree)
        && core::mem::offset_of!(z_stream, reserved) == core::mem::offset_of!(libz_rs_sys::z_stream, reserved)
);

/// Declares functions that hand every argument on to zlib-rs, the stream as its twin type.
macro_rules! forward {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {$(
        /// As in zlib's manual.
        pub unsafe extern "C" fn $name(stream: *mut z_stream, $($arg: $type),*) -> c_int {
            // SAFETY: the caller keeps zlib's contract for a stream of the same layout (checked above).
            unsafe { libz_rs_sys::$name(stream.cast(), $($arg),*) }
        }
    )*};
}

forward! {
    deflate(flush: c_int);
    deflateEnd();
    deflateInit2_(level: c_int, method: c_int, window_bits: c_int, mem_level: c_int, strategy: c_int, version: *const c_char, size: c_int);
    deflateParams(level: c_int, strategy: c_int);
    deflateReset();
    deflateSetDictionary(dictionary: *const Bytef, length: uInt);
    inflate(flush: c_int);
    inflateEnd();
    inflateInit2_(window_bits: c_int, version: *const c_char, size: c_int);
    inflateReset2(window_bits: c_int);
    inflateSetDictionary(dictionary: *const Bytef, length: uInt);
}
