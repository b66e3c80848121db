//! Tells the program which commit it is built from: `TIDEGATE_COMMIT` where that is set, else what the repository says.
//!
//! The repository is read, not asked: no `git` need be there. Debug builds are of no commit: each one would be a reason to
//! compile everything anew.
#![allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]
#![allow(clippy::disallowed_methods, reason = "a build script is told by the environment")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Digits of a commit that are shown.
const DIGITS: usize = 12;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=TIDEGATE_COMMIT");
    let told = env::var("TIDEGATE_COMMIT").ok().filter(|commit| is_word(commit));
    let release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = told.or_else(|| release.then(head).flatten());
    println!("cargo::rustc-env=TIDEGATE_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

/// The commit that is checked out; `None` outside of a repository.
fn head() -> Option<String> {
    let folder = git_folder()?;
    // Whatever moves HEAD is written there; without it (`core.logAllRefUpdates`) a checkout of another branch is seen.
    for file in ["HEAD", "logs/HEAD"].map(|name| folder.join(name)).iter().filter(|file| file.exists()) {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    let head = fs::read_to_string(folder.join("HEAD")).ok()?;
    let commit = match head.trim().strip_prefix("ref: ") {
        None => head,
        Some(name) => branch(&folder, name)?,
    };
    commit.get(..DIGITS).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit())).map(str::to_owned)
}

/// Where the repository keeps what belongs to this checkout; of a linked worktree, `.git` is a file that says so.
fn git_folder() -> Option<PathBuf> {
    let git = Path::new(&env::var_os("CARGO_MANIFEST_DIR")?).join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let link = fs::read_to_string(&git).ok()?;
    Some(git.parent()?.join(link.trim().strip_prefix("gitdir: ")?))
}

/// The commit of a branch: a file of its own, or a line in the file of those that were packed.
fn branch(folder: &Path, name: &str) -> Option<String> {
    let common = match fs::read_to_string(folder.join("commondir")) {
        Ok(common) => folder.join(common.trim()),
        Err(_) => folder.to_owned(),
    };
    fs::read_to_string(common.join(name)).ok().or_else(|| {
        let packed = fs::read_to_string(common.join("packed-refs")).ok()?;
        packed.lines().find_map(|line| line.strip_suffix(name)?.strip_suffix(' ').map(str::to_owned))
    })
}

/// It can stand in a line that cargo reads, and in a label.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"')
}
