//! The `tidegate` command: parses the arguments, runs the command, and turns its failure into an exit code.

use std::process::ExitCode;

use clap::Parser;
use tidegate::cli::Cli;

/// The allocator: streams come and go by the thousand, and the system's allocator keeps what they leave behind.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: jemallocator::Jemalloc = jemallocator::Jemalloc;

/// How jemalloc behaves; the environment variable `_RJEM_MALLOC_CONF` overrides it.
///
/// A background thread gives memory back a second after streams have closed, without a request having to do it. Few
/// arenas keep what is free in few places: the workers are few, too. A thread's cache has room for what some dozens of
/// requests under way free at once, and is looked through every 8 MiB: with jemalloc's own 20 blocks of a size and 64 KiB
/// each request of a burst had to go to the arena.
#[cfg(not(target_env = "msvc"))]
#[allow(
    unsafe_code,
    reason = "jemalloc reads its settings from this symbol: `const char *`, null or ending in NUL. A reference to an \
              array is that pointer, is never null, and the text is static and ends in NUL. The name is jemalloc's own \
              (weak, prefixed by the crate), so that nothing else defines it."
)]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8; MALLOC_TEXT.len()] = MALLOC_TEXT;

#[cfg(not(target_env = "msvc"))]
const MALLOC_TEXT: &[u8; 149] = b"background_thread:true,narenas:4,dirty_decay_ms:1000,muzzy_decay_ms:0,\
    tcache_gc_incr_bytes:8388608,tcache_nslots_small_min:64,tcache_nslots_large:32\0";

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Standard error may be closed; then the exit code has to do.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{failure}\n").as_bytes());
            ExitCode::from(failure.code)
        }
    }
}
