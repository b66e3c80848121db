//! Where the recorded traffic lies; the codec's unit tests have this file as a module, too.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The folder of the recorded traffic: what `TIDEGATE_CORPUS` says, or `shared/corpus` beside the repository. `None` where
/// it is absent, which every test that asks tells; where `TIDEGATE_CORPUS_REQUIRED` is set, it fails.
pub(crate) fn folder() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let root = std::env::var_os("TIDEGATE_CORPUS").map_or_else(beside, PathBuf::from);
    if root.is_dir() {
        return Some(root);
    }
    let required = std::env::var_os("TIDEGATE_CORPUS_REQUIRED").is_some();
    assert!(!required, "the recorded traffic is required, but {} is absent", root.display());
    let test = std::thread::current();
    let test = test.name().unwrap_or("a test");
    // Not by `eprintln!`: what that says of a test that passes nobody sees.
    let _ = writeln!(
        std::io::stderr(),
        "\n!!! SKIPPED: {test}: no recorded traffic at {}; nothing was compared with it",
        root.display()
    );
    None
}
