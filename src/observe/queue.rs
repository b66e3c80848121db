//! Lines on their way to a file or pipe that may be slow, full or broken.
//!
//! Whoever has a line appends it to a buffer in memory and goes on; a thread of its own writes what has gathered. When
//! the buffer is full, lines are counted and lost: a full disk or a blocked pipe never holds up a request.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

/// The most bytes that wait; as many again may be in the thread's hands.
const LIMIT: usize = 4 << 20;
/// How long the thread lets lines gather after a write, so that a busy process wakes it seldom.
const LINGER: Duration = Duration::from_millis(10);
/// What a buffer shrinks to after a burst.
const KEPT_CAPACITY: usize = 64 << 10;
/// How often, and how far apart, a write is tried again on a pipe that takes nothing for the moment.
const RETRIES: u32 = 200;
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPath {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to; made with mode 0640 if it is absent. A device or a descriptor of this process will do too, such
    /// as `/dev/null` and `/dev/stdout`.
    File(PathBuf),
}

/// Links that are followed from a path to a descriptor: `/dev/stdout` is one of `/proc/self/fd/1`, which is one itself.
const LINKS: usize = 8;

/// Says whether lines can go to `path`, which need not be there.
///
/// # Errors
///
/// What it is instead. To open a pipe would wait for a reader, and what has none holds up the start.
pub fn takes_lines(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        found => accept(found?.file_type(), path),
    }
}

fn accept(kind: FileType, path: &Path) -> io::Result<()> {
    let what = match kind {
        kind if kind.is_file() || kind.is_char_device() => return Ok(()),
        kind if (kind.is_fifo() || kind.is_socket()) && is_descriptor(path) => return Ok(()),
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        _ => "no regular file",
    };
    Err(io::Error::other(format!("it is {what}")))
}

/// Whether the path leads to something that a process has open already: an end of a pipe is there then.
fn is_descriptor(path: &Path) -> bool {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
        if folder.is_some_and(|folder| folder.starts_with("/proc") && folder.ends_with("fd")) {
            return true;
        }
        let Ok(next) = fs::read_link(&path) else { return false };
        path = path.parent().map(|folder| folder.join(&next)).unwrap_or(next);
    }
    false
}

impl LogPath {
    /// Standard streams are duplicated, so that the locks of `std` are not shared with anyone.
    fn open(&self) -> io::Result<File> {
        match self {
            Self::Stdout => Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
            Self::Stderr => Ok(io::stderr().as_fd().try_clone_to_owned()?.into()),
            Self::File(path) => {
                takes_lines(path)?;
                // What takes its place after the look is not waited for.
                let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
                let file = OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(path)?;
                accept(file.metadata()?.file_type(), path)?;
                Ok(file)
            }
        }
    }
}

/// The buffer and its thread.
pub(super) struct LineQueue {
    shared: Arc<Shared>,
    /// The thread starts with the first line, because a thread made before the process becomes a daemon would be gone.
    start: Once,
}

struct Shared {
    target: LogPath,
    name: &'static str,
    state: Mutex<State>,
    /// Something to do for the thread.
    work: Condvar,
    /// The thread has written all it had.
    idle: Condvar,
    dropped: AtomicU64,
}

struct State {
    pending: Vec<u8>,
    /// Until the thread takes it.
    file: Option<File>,
    asleep: bool,
    writing: bool,
    reopen: bool,
    flush: bool,
    closed: bool,
}

impl LineQueue {
    /// Opens the target, so that a wrong path shows at once.
    pub(super) fn open(target: LogPath, name: &'static str) -> io::Result<Self> {
        let file = Some(target.open()?);
        let state = State {
            pending: Vec::new(),
            file,
            asleep: false,
            writing: false,
            reopen: false,
            flush: false,
            closed: false,
        };
        let shared = Shared {
            target,
            name,
            state: Mutex::new(state),
            work: Condvar::new(),
            idle: Condvar::new(),
            dropped: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared), start: Once::new() })
    }

    /// Takes one whole line, with its line feed, or counts it as lost.
    pub(super) fn push(&self, line: &[u8]) {
        self.start.call_once(|| self.start_thread());
        let mut state = self.shared.lock();
        if state.pending.len() + line.len() > LIMIT {
            drop(state);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.pending.extend_from_slice(line);
        if state.asleep || state.pending.len() > LIMIT / 2 {
            state.asleep = false;
            drop(state);
            self.shared.work.notify_one();
        }
    }

    /// Lines lost so far.
    pub(super) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Opens the target anew before the next write, as after a rotation. The old one stays if that fails.
    pub(super) fn reopen(&self) {
        self.shared.lock().reopen = true;
        self.shared.work.notify_one();
    }

    /// Waits until all is written; `false` when that took longer than `patience`.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        if !self.start.is_completed() {
            return true;
        }
        let mut state = self.shared.lock();
        state.flush = true;
        self.shared.work.notify_one();
        let (state, waited) = self
            .shared
            .idle
            .wait_timeout_while(state, patience, |state| state.writing || !state.pending.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        drop(state);
        !waited.timed_out()
    }

    fn start_thread(&self) {
        let shared = Arc::clone(&self.shared);
        let spawned = thread::Builder::new().name(self.shared.name.to_owned()).spawn(move || shared.run());
        if let Err(error) = spawned {
            // Without a thread the buffer fills and lines are counted as lost.
            log::error!("{}: no thread could be started to write lines: {error}", self.shared.name);
        }
    }
}

impl Drop for LineQueue {
    /// The thread writes what it has and ends; nobody waits for it.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let Some(file) = self.lock().file.take() else { return };
        let mut sink = Sink { file, mid_line: false, broken: false };
        let mut batch = Vec::new();
        while let Some(reopen) = self.next(&mut batch) {
            if reopen {
                self.reopen(&mut sink);
            }
            self.write(&mut sink, &batch);
            batch.clear();
            batch.shrink_to(KEPT_CAPACITY);
            self.rest();
        }
    }

    /// Waits for lines and takes them; whether to reopen first. `None` when all is over.
    fn next(&self, batch: &mut Vec<u8>) -> Option<bool> {
        let mut state = self.lock();
        while state.pending.is_empty() && !state.reopen && !state.closed {
            state.asleep = true;
            state.flush = false;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.asleep = false;
        if state.pending.is_empty() && !state.reopen {
            return None;
        }
        std::mem::swap(&mut state.pending, batch);
        state.writing = true;
        Some(std::mem::take(&mut state.reopen))
    }

    /// Tells who waits for a flush, then lets lines gather for a while.
    fn rest(&self) {
        let mut state = self.lock();
        state.writing = false;
        if state.pending.is_empty() {
            state.flush = false;
        }
        self.idle.notify_all();
        let busy =
            |state: &mut State| !(state.closed || state.flush || state.reopen || state.pending.len() > LIMIT / 2);
        drop(self.work.wait_timeout_while(state, LINGER, busy));
    }

    fn reopen(&self, sink: &mut Sink) {
        match self.target.open() {
            Ok(file) => *sink = Sink { file, mid_line: false, broken: false },
            Err(error) => {
                log::warn!("{}: {:?} cannot be opened, the old one stays in use: {error}", self.name, self.target);
            }
        }
    }

    fn write(&self, sink: &mut Sink, batch: &[u8]) {
        let Err((left, error)) = sink.write(batch) else {
            sink.broken = false;
            return;
        };
        let lost = left.split(|byte| *byte == b'\n').count() - 1;
        self.dropped.fetch_add(lost.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
        if !std::mem::replace(&mut sink.broken, true) {
            log::warn!("{}: {:?} takes no lines, they are lost until it does: {error}", self.name, self.target);
        }
    }
}

struct Sink {
    file: File,
    /// The last byte written was not the end of a line.
    mid_line: bool,
    /// The last write failed, which has been reported.
    broken: bool,
}

impl Sink {
    /// Writes whole lines; on an error also tells what is left of them.
    fn write<'b>(&mut self, batch: &'b [u8]) -> Result<(), (&'b [u8], io::Error)> {
        if self.mid_line && !batch.is_empty() {
            // What was cut before must not run into this line.
            self.put(b"\n").map_err(|(_, error)| (batch, error))?;
        }
        self.put(batch)
    }

    fn put<'b>(&mut self, mut left: &'b [u8]) -> Result<(), (&'b [u8], io::Error)> {
        let mut retries = RETRIES;
        while !left.is_empty() {
            match self.file.write(left) {
                Ok(0) => return Err((left, ErrorKind::WriteZero.into())),
                Ok(count) => {
                    let (written, rest) = left.split_at_checked(count).unwrap_or((left, &[]));
                    self.mid_line = written.last() != Some(&b'\n');
                    left = rest;
                    retries = RETRIES;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && retries > 0 => {
                    retries -= 1;
                    thread::park_timeout(RETRY_PAUSE);
                }
                Err(error) => return Err((left, error)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn lines_arrive_in_order_and_a_rotated_file_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let queue = LineQueue::open(LogPath::File(path.clone()), "test").unwrap();
        for number in 0..1000 {
            queue.push(format!("{number}\n").as_bytes());
        }
        assert!(queue.flush(PATIENCE));
        let expected = (0..1000).fold(String::new(), |text, number| text + &format!("{number}\n"));
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);

        let rotated = folder.path().join("lines.1");
        fs::rename(&path, &rotated).unwrap();
        queue.reopen();
        queue.push(b"new\n");
        assert!(queue.flush(PATIENCE));
        assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
        assert_eq!(fs::read_to_string(&rotated).unwrap(), expected);
        assert_eq!(queue.dropped(), 0);
    }

    #[test]
    fn a_wrong_path_shows_at_once() {
        assert!(LineQueue::open(LogPath::File("/nowhere/at/all".into()), "test").is_err());
    }

    #[test]
    fn what_nobody_may_read_from_is_no_place_for_lines() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let (reader, writer) = io::pipe().unwrap();
        let descriptor = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
        for (name, target) in [("linked_pipe", at("pipe")), ("linked", descriptor.clone().into())] {
            std::os::unix::fs::symlink(target, at(name)).unwrap();
        }
        let cases: [(PathBuf, Option<&str>); 7] = [
            (at("pipe"), Some("a pipe")),
            (at("linked_pipe"), Some("a pipe")),
            (at("socket"), Some("a socket")),
            (folder.path().to_owned(), Some("a folder")),
            ("/dev/null".into(), None),
            (descriptor.into(), None),
            (at("linked"), None),
        ];
        for (path, refused) in cases {
            let said = takes_lines(&path).err().map(|error| error.to_string());
            assert_eq!(said, refused.map(|what| format!("it is {what}")), "{path:?}");
            assert_eq!(LineQueue::open(LogPath::File(path.clone()), "test").is_err(), refused.is_some(), "{path:?}");
        }
        drop(reader);
    }

    #[test]
    fn a_full_disk_loses_lines_and_counts_them() {
        let queue = LineQueue::open(LogPath::File("/dev/full".into()), "test").unwrap();
        queue.push(b"one\n");
        queue.push(b"two\n");
        assert!(queue.flush(PATIENCE));
        assert_eq!(queue.dropped(), 2);
    }

    #[test]
    fn a_blocked_pipe_holds_up_nobody() {
        // Held open, and never read while lines come.
        let (reader, writer) = io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
        let queue = LineQueue::open(LogPath::File(path.into()), "test").unwrap();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let start = crate::clock::now();
        for _ in 0..3 * LIMIT / line.len() {
            queue.push(&line);
        }
        assert!(crate::clock::now() - start < PATIENCE);
        assert!(queue.dropped() > 0);
        assert!(!queue.flush(Duration::from_millis(20)), "the pipe is blocked");
        drop(reader);
    }

    #[test]
    fn a_line_after_a_cut_one_starts_fresh() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let file = LogPath::File(path.clone()).open().unwrap();
        let mut sink = Sink { file, mid_line: false, broken: false };
        sink.put(b"cut her").unwrap();
        sink.write(b"whole\n").unwrap();
        sink.write(b"").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "cut her\nwhole\n");
    }
}
