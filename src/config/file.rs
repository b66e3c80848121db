//! Opens the files that a configuration names, and those only that reading cannot hang on.

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Opens a regular file.
///
/// A pipe would keep a reload waiting for a writer, and a device may never end: neither is opened, and one that takes
/// the file's place after the look is not waited for.
///
/// # Errors
/// It cannot be opened, or it is something else, which the error names.
pub(super) fn open(path: &Path) -> io::Result<File> {
    regular(path.metadata()?.file_type())?;
    let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY).open(path)?;
    regular(file.metadata()?.file_type())?;
    Ok(file)
}

/// All bytes of a regular file that holds at most `most`.
///
/// # Errors
/// As [`open`]; it cannot be read, or it holds more.
pub(super) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it is larger than {} KiB", most >> 10)));
    }
    Ok(bytes)
}

/// As [`read`], of a text.
///
/// # Errors
/// As [`read`]; it is not UTF-8.
pub(super) fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?).map_err(|_| io::Error::other("stream did not contain valid UTF-8"))
}

fn regular(kind: FileType) -> io::Result<()> {
    let what = match kind {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_char_device() || kind.is_block_device() => "a device",
        _ => "no regular file",
    };
    Err(io::Error::other(format!("it is {what}")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_regular_files_are_read_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "abcd").unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        std::os::unix::fs::symlink(at("pipe"), at("link")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        for (name, most, expect) in [
            ("file", 4, Ok("abcd")),
            ("file", 3, Err("it is larger than 0 KiB")),
            ("folder", 4, Err("it is a folder")),
            ("pipe", 4, Err("it is a pipe")),
            ("link", 4, Err("it is a pipe")),
            ("socket", 4, Err("it is a socket")),
            ("/dev/zero", 4, Err("it is a device")),
            ("none", 4, Err("No such file or directory (os error 2)")),
        ] {
            let read = read_text(&at(name), most).map_err(|error| error.to_string());
            assert_eq!(read.as_deref().map_err(String::as_str), expect, "{name}");
        }
    }
}
