//! Notices that a file of the configuration changed: "reload now".
//!
//! Told by the system at once, and found by looking every few seconds where the system says nothing (network file
//! systems, exhausted watches, a folder that was replaced). What counts is the content: an editor that renames, a
//! Kubernetes volume that swaps its `..data` link and a file written in place all look alike, and a mere `touch` is
//! no change.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::time;

/// How often the files are looked at without being told.
const POLL: Duration = Duration::from_secs(5);
/// Quiet that must follow a change before it is reported: an editor writes in several steps.
const SETTLE: Duration = Duration::from_millis(200);
/// Steps of [`SETTLE`] after which a change is reported though the folder is not quiet.
const SETTLE_STEPS: usize = 10;
/// Bytes of a file that are looked at.
const MAX_FILE: u64 = 4 << 20;

/// Watches the files of a configuration.
pub struct Watcher {
    files: Vec<PathBuf>,
    seen: Fingerprint,
    poll: Duration,
    told: Arc<Notify>,
    /// `None` where the system refuses; looking then does it alone.
    system: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
}

/// What the files hold, by content; `None` for one that cannot be read.
type Fingerprint = Vec<Option<[u8; 32]>>;

impl Watcher {
    /// Watches `files`, such as [`super::Settings::files`]. What they hold now counts as known.
    #[must_use]
    pub fn new(files: Vec<PathBuf>) -> Self {
        let told = Arc::new(Notify::new());
        let teller = Arc::clone(&told);
        let system = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is an event too, and our own reading must not wake us.
            if !event.is_ok_and(|event| is_reading(event.kind)) {
                teller.notify_one();
            }
        });
        let system = match system {
            Ok(system) => Some(system),
            Err(error) => {
                log::warn!("the system does not tell of changed files ({error}): looking every {} s", POLL.as_secs());
                None
            }
        };
        let mut this = Self { files: Vec::new(), seen: Vec::new(), poll: POLL, told, system, folders: BTreeSet::new() };
        this.set_files(files);
        this
    }

    /// Watches other files from now on, as after a reload that names others. The content of those watched already
    /// that is not reported yet stays to be reported.
    pub fn set_files(&mut self, files: Vec<PathBuf>) {
        let seen = files.iter().map(|file| {
            let known = self.files.iter().position(|known| known == file).and_then(|at| self.seen.get(at));
            known.copied().unwrap_or_else(|| digest(file))
        });
        self.seen = seen.collect();
        self.files = files;
        self.watch_folders();
    }

    /// Waits until a file holds something else than when it was last reported, and has settled. Can be dropped and
    /// called again at any time without losing a change.
    pub async fn changed(&mut self) {
        loop {
            let now = fingerprint(&self.files);
            if now != self.seen {
                self.settle().await;
                // A file that came back to what it was, such as one replaced by a copy, is no change.
                let now = fingerprint(&self.files);
                if now != self.seen {
                    self.seen = now;
                    self.watch_folders();
                    return;
                }
            }
            // Whether told or timed out, the next step is to look, but not at each write of a log that grows beside.
            if time::timeout(self.poll, self.told.notified()).await.is_ok() {
                time::sleep(SETTLE / 4).await;
            }
        }
    }

    async fn settle(&self) {
        for _ in 0..SETTLE_STEPS {
            if time::timeout(SETTLE, self.told.notified()).await.is_err() {
                return;
            }
            // Being told may be many events at once: the rest of the step is waited out, then quiet is asked for anew.
            time::sleep(SETTLE / 4).await;
        }
    }

    /// Watches the folders that hold the files, and those that they really stand in.
    fn watch_folders(&mut self) {
        let Some(watcher) = &mut self.system else { return };
        let wanted: BTreeSet<PathBuf> = self.files.iter().flat_map(|file| folders_of(file)).collect();
        for gone in self.folders.difference(&wanted) {
            // It may be gone from the disk too; then there is nothing to stop.
            let _gone = watcher.unwatch(gone);
        }
        for folder in wanted.difference(&self.folders) {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                log::debug!("{} is not watched ({error}): looking every {} s", folder.display(), POLL.as_secs());
            }
        }
        self.folders = wanted;
    }
}

fn is_reading(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access != AccessKind::Close(AccessMode::Write),
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => false,
    }
}

fn folders_of(file: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let folder = |path: &Path| {
        let parent = path.parent()?;
        Some(if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_owned() })
    };
    let real = file.canonicalize().ok().and_then(|real| folder(&real));
    folder(file).into_iter().chain(real)
}

fn fingerprint(files: &[PathBuf]) -> Fingerprint {
    files.iter().map(|file| digest(file)).collect()
}

fn digest(file: &Path) -> Option<[u8; 32]> {
    // A pipe or a device would block or never end.
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(file).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    Some(Sha256::digest(&bytes).into())
}
