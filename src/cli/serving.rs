//! What the commands that listen share.

use std::net::{TcpListener, ToSocketAddrs};

use super::{Failure, exit};

/// Makes sure that the address can be listened at, so that a taken port is a sentence and not a panic later on.
///
/// `flag` is how the user gives another one.
///
/// # Errors
/// The address is malformed, taken, not ours, or needs a right that we lack.
pub(super) fn check_free(address: &str, flag: &str) -> Result<(), Failure> {
    let hint = format!("give another one with {flag}");
    let resolved = address
        .to_socket_addrs()
        .map_err(|e| Failure::new(exit::USAGE, format!("`{address}` is no address to listen at: {e}")).hint(&*hint))?;
    for socket in resolved {
        TcpListener::bind(socket).map_err(|e| {
            let what = if e.kind() == std::io::ErrorKind::AddrInUse {
                "another process listens there".to_owned()
            } else {
                e.to_string()
            };
            Failure::new(exit::FAILED, format!("cannot listen at {socket}: {what}")).hint(&*hint)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_the_flag_that_changes_it() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let failure = check_free(&address, "--listen").unwrap_err();
        assert_eq!(failure.code, exit::FAILED);
        assert!(failure.message.contains(&address), "{failure}");
        assert_eq!(failure.hint.as_deref(), Some("give another one with --listen"));
        drop(taken);
        check_free(&address, "--listen").unwrap();
        assert_eq!(check_free("nonsense", "--listen").unwrap_err().code, exit::USAGE);
    }
}
