//! Notices that a file of the configuration changed: "reload now".
//!
//! Told by the system at once, and found by looking every few seconds where the system says nothing (network file
//! systems, exhausted watches, a folder that was replaced). What counts is the content: an editor that renames, a
//! Kubernetes volume that swaps its `..data` link and a file written in place all look alike, and a mere `touch` is
//! no change.

use std::collections::BTreeSet;
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

/// What files hold, by content; `None` for one that cannot be read.
type Fingerprint = Vec<Option<[u8; 32]>>;

/// What files held at some time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    files: Vec<PathBuf>,
    seen: Fingerprint,
}

impl Held {
    /// What `files` hold now.
    #[must_use]
    pub fn by(files: Vec<PathBuf>) -> Self {
        Self { seen: fingerprint(&files), files }
    }
}

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

    /// What the files held when their last change was reported.
    #[must_use]
    pub fn held(&self) -> Held {
        Held { files: self.files.clone(), seen: self.seen.clone() }
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
    let mut bytes = Vec::new();
    super::file::open(file).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    Some(Sha256::digest(&bytes).into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Longer than any notice takes.
    const SOON: Duration = Duration::from_secs(10);
    /// Shorter than [`POLL`]: what is noticed by then was told.
    const TOLD: Duration = Duration::from_secs(3);
    /// Time in which nothing must be noticed.
    const NEVER: Duration = Duration::from_millis(600);

    #[track_caller]
    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// Runs `change` while a watcher waits, and tells whether it noticed in time.
    fn noticed(watcher: &mut Watcher, within: Duration, change: impl FnOnce()) -> bool {
        runtime().block_on(async {
            let waiting = watcher.changed();
            tokio::pin!(waiting);
            // The watcher has looked once before the change is made.
            assert!(time::timeout(Duration::from_millis(20), &mut waiting).await.is_err());
            change();
            time::timeout(within, waiting).await.is_ok()
        })
    }

    #[test]
    fn every_way_to_change_a_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a.yaml"), "1").unwrap();
        let mut watcher = Watcher::new(vec![at("a.yaml"), at("later")]);
        assert!(noticed(&mut watcher, TOLD, || fs::write(at("a.yaml"), "2").unwrap()), "written in place");
        let replace = || {
            fs::write(at("a.tmp"), "3").unwrap();
            fs::rename(at("a.tmp"), at("a.yaml")).unwrap();
        };
        assert!(noticed(&mut watcher, TOLD, replace), "replaced");
        assert!(noticed(&mut watcher, TOLD, || fs::write(at("a.yaml"), "4").unwrap()), "written after it was replaced");
        assert!(noticed(&mut watcher, TOLD, || fs::remove_file(at("a.yaml")).unwrap()), "removed");
        assert!(noticed(&mut watcher, TOLD, || fs::write(at("a.yaml"), "5").unwrap()), "made anew");
        assert!(noticed(&mut watcher, TOLD, || fs::write(at("later"), "1").unwrap()), "a file that was not there");
        assert!(!noticed(&mut watcher, NEVER, || fs::write(at("a.yaml"), "5").unwrap()), "the same content");
        assert!(!noticed(&mut watcher, NEVER, || fs::write(at("other"), "5").unwrap()), "another file");
    }

    #[test]
    fn a_swapped_link_of_a_volume_is_noticed() {
        // A Kubernetes volume: file -> ..data/file, ..data -> ..version, and ..data is replaced as a whole.
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for version in ["..1", "..2", "..3"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("a.yaml"), version).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/a.yaml", at("a.yaml")).unwrap();
        let mut watcher = Watcher::new(vec![at("a.yaml")]);
        for version in ["..2", "..3"] {
            let swap = || {
                symlink(version, at("..data_tmp")).unwrap();
                fs::rename(at("..data_tmp"), at("..data")).unwrap();
            };
            assert!(noticed(&mut watcher, TOLD, swap), "{version}");
        }
    }

    #[test]
    fn what_the_system_does_not_tell_is_found_by_looking() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        fs::write(&path, "1").unwrap();
        let mut watcher = Watcher::new(vec![path.clone()]);
        watcher.system = None;
        watcher.poll = Duration::from_millis(50);
        assert!(noticed(&mut watcher, SOON, || fs::write(&path, "2").unwrap()));
    }

    #[test]
    fn a_change_before_the_wait_or_during_a_reload_is_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a"), "1").unwrap();
        fs::write(at("b"), "1").unwrap();
        let mut watcher = Watcher::new(vec![at("a")]);
        fs::write(at("a"), "2").unwrap();
        watcher.set_files(vec![at("b"), at("a")]);
        runtime().block_on(async { time::timeout(SOON, watcher.changed()).await }).unwrap();
        assert!(noticed(&mut watcher, TOLD, || fs::write(at("b"), "2").unwrap()), "a file named later");
        watcher.set_files(vec![at("a")]);
        assert!(!noticed(&mut watcher, NEVER, || fs::write(at("b"), "3").unwrap()), "a file named no longer");
    }

    #[test]
    fn steps_of_one_change_are_one_report() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "1").unwrap();
        let mut watcher = Watcher::new(vec![path.clone()]);
        let steps = || {
            for step in 0..20 {
                fs::write(&path, "x".repeat(step)).unwrap();
            }
        };
        assert!(noticed(&mut watcher, TOLD, steps));
        assert!(!noticed(&mut watcher, NEVER, || {}));
    }

    #[test]
    fn looking_does_not_wake_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "1").unwrap();
        let watcher = Watcher::new(vec![path]);
        runtime().block_on(async {
            // What the making of the file left over.
            while time::timeout(SETTLE, watcher.told.notified()).await.is_ok() {}
            let _looked = fingerprint(&watcher.files);
            assert!(time::timeout(NEVER, watcher.told.notified()).await.is_err());
        });
    }
}
