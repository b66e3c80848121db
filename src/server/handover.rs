//! How a new process takes the place of an old one: the listening sockets go from hand to hand, and the old one stops
//! only when it is told that the new one serves.
//!
//! ```text
//! new ──TAKE──▶ old      over the old one's upgrade socket
//! new ◀──GIVE── old      the listening sockets, standard output and error
//!  │ starts, accepts on the same sockets
//! new ──READY─▶ old
//! new ◀─DRAIN── old      stops accepting; serves what is under way to its end
//! ```
//! Whatever fails before `READY` ends the new process alone: the old one never stopped.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::lifecycle;

/// What the new process says first. The number is the protocol's.
const TAKE: &[u8] = b"TAKE 1\n";
/// What the old one sends along with the sockets, before their addresses.
const GIVE: &str = "GIVE 1";
/// The new process serves.
const READY: &[u8] = b"READY 1\n";
/// The old one has stopped accepting.
const DRAIN: &[u8] = b"DRAIN 1\n";

/// Most sockets of a process: as many as one message carries, less standard output and error.
const MOST: usize = 250;

/// Connections that wait to be accepted, as far as the system lets them.
const BACKLOG: i32 = 4096;

/// The longest wait for the other side where it has nothing to do but to answer.
const PROMPT: Duration = Duration::from_secs(10);

/// The longest that a new process may take from the sockets to `READY`.
const START: Duration = Duration::from_secs(120);

/// What an old process gave.
#[derive(Debug)]
pub struct Inherited {
    sockets: Vec<(SocketAddr, TcpListener)>,
    old: UnixStream,
}

impl Inherited {
    /// Asks the process whose upgrade socket is at `path`. Standard output and error become those of the old process.
    ///
    /// # Errors
    ///
    /// There is none, or it does not answer.
    pub(super) fn ask(path: &Path) -> io::Result<Self> {
        let mut old = UnixStream::connect(path)?;
        old.set_read_timeout(Some(PROMPT))?;
        old.set_write_timeout(Some(PROMPT))?;
        old.write_all(TAKE)?;
        let (text, descriptors) = receive(&old)?;
        let mut words =
            text.strip_prefix(GIVE).ok_or_else(|| strange("it speaks another protocol"))?.split_whitespace();
        let mut descriptors = descriptors.into_iter();
        let (Some(output), Some(error)) = (descriptors.next(), descriptors.next()) else {
            return Err(strange("it sent too little"));
        };
        let sockets: Vec<_> = words
            .by_ref()
            .zip(descriptors)
            .filter_map(|(address, descriptor)| Some((address.parse().ok()?, TcpListener::from(descriptor))))
            .collect();
        nix::unistd::dup2_stdout(output)?;
        nix::unistd::dup2_stderr(error)?;
        Ok(Self { sockets, old })
    }

    /// The socket that listens on `address`, if it is among them.
    pub(super) fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let at = self.sockets.iter().position(|(known, _)| *known == address)?;
        Some(self.sockets.swap_remove(at).1)
    }

    /// A new socket at `address`, although the old process listens on another address of this port, such as `127.0.0.1`
    /// where `0.0.0.0` is wanted: both agree to share it for as long as this takes.
    ///
    /// # Errors
    ///
    /// What the system says: somebody else may listen there.
    pub(super) fn beside(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let same_port = || self.sockets.iter().filter(|(known, _)| known.port() == address.port());
        let agree = |shared| same_port().try_for_each(|(_, socket)| SockRef::from(socket).set_reuse_port(shared));
        let bound = agree(true).and_then(|()| shared(address));
        // Nobody else is let in.
        agree(false).and(bound)
    }

    /// Tells the old process to stop accepting: this one serves. Sockets that nobody took are closed.
    ///
    /// # Errors
    ///
    /// The old process did not say that it does; it may be gone.
    pub(super) fn ready(mut self) -> io::Result<()> {
        self.sockets.clear();
        self.old.write_all(READY)?;
        expect(&mut self.old, DRAIN)
    }
}

/// The old process's side.
pub(super) struct Giver {
    /// Where new processes ask.
    pub(super) path: PathBuf,
    /// The listening sockets.
    pub(super) sockets: Vec<(SocketAddr, TcpListener)>,
}

impl Giver {
    /// Opens the upgrade socket, in the place of one that may be there: only its owner can ask.
    ///
    /// # Errors
    ///
    /// What the system says, and of which path.
    pub(super) fn open(&self) -> io::Result<UnixListener> {
        let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display()));
        self.bind().map_err(told)
    }

    fn bind(&self) -> io::Result<UnixListener> {
        check_place(&self.path)?;
        let fresh = self.path.with_extension(format!("{}.new", std::process::id()));
        // Left behind by a process of this number that ended in between; most often there is none.
        let _ = std::fs::remove_file(&fresh);
        let listener = UnixListener::bind(&fresh)?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&fresh, &self.path)?;
        Ok(listener)
    }

    /// Gives the sockets to the process behind `new` and waits until it serves.
    ///
    /// # Errors
    ///
    /// It did not come so far: this process goes on as before.
    pub(super) fn give(&self, new: &mut UnixStream) -> io::Result<()> {
        new.set_nonblocking(false)?;
        new.set_read_timeout(Some(PROMPT))?;
        new.set_write_timeout(Some(PROMPT))?;
        expect(new, TAKE)?;
        let mut text = GIVE.to_owned();
        let mut descriptors: Vec<RawFd> = vec![io::stdout().as_raw_fd(), io::stderr().as_raw_fd()];
        for (address, socket) in self.sockets.iter().take(MOST) {
            text.push_str(&format!(" {address}"));
            descriptors.push(socket.as_raw_fd());
        }
        send(new, &text, &descriptors)?;
        new.set_read_timeout(Some(START))?;
        expect(new, READY)
    }

    /// Tells the new process that this one has stopped accepting.
    pub(super) fn done(new: &mut UnixStream) {
        // It serves, whether it hears this or not.
        let _ = new.write_all(DRAIN);
    }
}

/// Whether an upgrade socket may stand at `path`: nothing else may be lost to it.
///
/// # Errors
///
/// Something else is there.
pub(super) fn check_place(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            Err(strange(&format!("{} is there already, and is no socket", path.display())))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Set when this process begins to take over: from then on it does not ask who started it.
static COMMITTED: AtomicBool = AtomicBool::new(false);

/// Ends this process if whoever started it by `tidegate upgrade`, at the other end of standard input, gives it up before
/// it begins to take over. Whatever holds up the start, the old process must not wait for it, nor the next upgrade.
pub(super) fn heed_starter() {
    let watch = || {
        let gone = io::copy(&mut io::stdin(), &mut io::sink()).is_ok();
        if gone && !COMMITTED.swap(true, Ordering::SeqCst) {
            log::error!("not taken over: who started this process waits no more");
            log::logger().flush();
            lifecycle::end(1);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("starter".to_owned()).spawn(watch) {
        log::warn!("who started this process is not watched: {error}");
    }
}

/// This process begins to take over, unless it is being ended.
pub(super) fn commit() {
    if COMMITTED.swap(true, Ordering::SeqCst) {
        // The watcher is ending it.
        loop {
            std::thread::park();
        }
    }
}

/// Tells whoever started this process by `tidegate upgrade`, at the other end of standard input; false if nobody listens
/// there any more.
pub(super) fn report(text: &str) -> bool {
    let starter = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    starter.and_then(|mut starter| starter.write_all(format!("{text}\n").as_bytes())).is_ok()
}

/// Tells the service manager, if there is one (see `sd_notify(3)`), as `address` names its socket.
pub(super) fn notify(address: Option<&String>, text: &str) {
    let Some(address) = address else { return };
    let sent = std::os::unix::net::UnixDatagram::unbound().and_then(|socket| match address.strip_prefix('@') {
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            socket.send_to_addr(text.as_bytes(), &address)
        }
        None => socket.send_to(text.as_bytes(), address),
    });
    if let Err(error) = sent {
        log::warn!("the service manager at {address} cannot be told: {error}");
    }
}

/// A socket that listens at `address` beside those that agree to it.
fn shared(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_reuse_port(false)?;
    Ok(socket.into())
}

fn strange(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn expect(stream: &mut UnixStream, words: &[u8]) -> io::Result<()> {
    let mut came = vec![0; words.len()];
    stream.read_exact(&mut came)?;
    if came == words { Ok(()) } else { Err(strange("it says something else than is due")) }
}

fn send(stream: &UnixStream, text: &str, descriptors: &[RawFd]) -> io::Result<()> {
    let (text, rights) = ([IoSlice::new(text.as_bytes())], [ControlMessage::ScmRights(descriptors)]);
    sendmsg::<()>(stream.as_raw_fd(), &text, &rights, MsgFlags::empty(), None)?;
    Ok(())
}

fn receive(stream: &UnixStream) -> io::Result<(String, Vec<OwnedFd>)> {
    let mut text = vec![0; 16 * 1024];
    let mut room = nix::cmsg_space!([RawFd; 253]);
    let (length, descriptors) = {
        let mut parts = [IoSliceMut::new(&mut text)];
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut room), MsgFlags::MSG_CMSG_CLOEXEC)?;
        let mut descriptors = Vec::new();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(received) = control {
                descriptors.extend(received.into_iter().map(own));
            }
        }
        (message.bytes, descriptors)
    };
    text.truncate(length);
    Ok((String::from_utf8_lossy(&text).into_owned(), descriptors))
}

#[allow(
    unsafe_code,
    reason = "the system has made this descriptor for this process a moment ago, and nothing else knows of it"
)]
fn own(descriptor: RawFd) -> OwnedFd {
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn giver(path: &Path) -> Giver {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        Giver { path: path.join("upgrade.sock"), sockets: vec![(socket.local_addr().unwrap(), socket)] }
    }

    #[test]
    fn only_the_owner_can_ask_and_a_stale_socket_gives_way() {
        let folder = tempfile::tempdir().unwrap();
        let giver = giver(folder.path());
        drop(giver.open().unwrap());
        let _open = giver.open().unwrap();
        let mode = std::fs::metadata(&giver.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        std::fs::remove_file(&giver.path).unwrap();
        std::fs::write(&giver.path, "precious").unwrap();
        assert!(giver.open().is_err(), "what is no socket stays");
        assert_eq!(std::fs::read_to_string(&giver.path).unwrap(), "precious");
    }

    #[test]
    fn a_listener_moves_to_another_address_of_its_port() {
        for (from, to) in [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1")] {
            let socket = TcpListener::bind((from, 0)).unwrap();
            let old = socket.local_addr().unwrap();
            let new = SocketAddr::new(to.parse().unwrap(), old.port());
            assert!(TcpListener::bind(new).is_err(), "{new} is free beside {old}");
            let inherited = Inherited { sockets: vec![(old, socket)], old: UnixStream::pair().unwrap().0 };
            let bound = inherited.beside(new).unwrap();
            assert_eq!(bound.local_addr().unwrap(), new);
            assert!(TcpListener::bind(new).is_err(), "another process gets {new}");
            drop(inherited);
            std::net::TcpStream::connect(("127.0.0.1", old.port())).unwrap();
            bound.accept().unwrap();
        }
    }

    #[test]
    fn who_does_not_get_ready_stops_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let giver = giver(folder.path());
        let listener = giver.open().unwrap();
        for said in [&b""[..], b"TAKE 2\n", b"TAKE 1\n", b"TAKE 1\nREADY 2\n"] {
            let mut new = UnixStream::connect(&giver.path).unwrap();
            new.write_all(said).unwrap();
            new.shutdown(std::net::Shutdown::Write).unwrap();
            let (mut accepted, _) = listener.accept().unwrap();
            assert!(giver.give(&mut accepted).is_err(), "{said:?}");
        }
    }
}
