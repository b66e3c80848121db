//! The copy of the workspace that the mutants are planted in.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::list::Mutant;
use crate::plant::{Planted, plant};

/// What cargo needs to build the codec with its tests, and what these read.
const NEEDED: [&str; 9] = [
    "Cargo.lock",
    "Cargo.toml",
    "benches",
    "build.rs",
    "deploy/build",
    "docs/formats.md",
    "src",
    "tests/clients/matrix.md",
    "tests/codec",
];

/// Folders that are nobody's source.
const LEFT_OUT: [&str; 2] = ["__pycache__", "target"];

/// The file that the switch is a module of.
const ROOT_MODULE: &str = "src/codec/lib.rs";

/// The switch itself.
const SWITCH: &str = include_str!("planted.rs");

/// A copy of the workspace. A file is written only where it changes, so that cargo builds no more than it must.
#[derive(Debug)]
pub(crate) struct Tree {
    /// The repository.
    root: PathBuf,
    pub(crate) copy: PathBuf,
    /// The folder of cargo's results.
    build: PathBuf,
}

impl Tree {
    /// A copy of `root` in `work`.
    ///
    /// # Errors
    ///
    /// A file cannot be read or written.
    pub(crate) fn new(root: &Path, work: &Path) -> Result<Self, String> {
        let tree = Self { root: root.to_owned(), copy: work.join("tree"), build: work.join("build") };
        let mut files = Vec::new();
        for name in NEEDED {
            find(&root.join(name), &mut files)?;
        }
        let mut left = Vec::new();
        if tree.copy.exists() {
            find(&tree.copy, &mut left)?;
        }
        for file in left {
            let original = root.join(file.strip_prefix(&tree.copy).unwrap_or(&file));
            if !original.exists() {
                fs::remove_file(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            }
        }
        // Those with mutants come last, by `plant`.
        for file in files.iter().filter(|file| !file.starts_with(root.join("src/codec"))) {
            let name = file.strip_prefix(root).unwrap_or(file);
            write(&tree.copy.join(name), &read(file)?)?;
        }
        Ok(tree)
    }

    /// Writes the codec with these mutants; gives what became of each file that has some.
    ///
    /// # Errors
    ///
    /// A file cannot be read or written, or is no Rust.
    pub(crate) fn plant<'m>(
        &self,
        mutants: impl Iterator<Item = &'m Mutant>,
    ) -> Result<BTreeMap<String, Planted>, String> {
        let mut by_file: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
        for mutant in mutants {
            by_file.entry(&mutant.listed.file).or_default().push(mutant);
        }
        let mut files = Vec::new();
        find(&self.root.join("src/codec"), &mut files)?;
        let mut planted = BTreeMap::new();
        for file in files {
            let name = file.strip_prefix(&self.root).unwrap_or(&file).to_string_lossy().into_owned();
            let mut bytes = read(&file)?;
            if let Some(mutants) = by_file.get(name.as_str()) {
                let source = String::from_utf8_lossy(&bytes);
                let result = plant(&source, mutants).map_err(|error| format!("{name}: {error}"))?;
                bytes = result.spliced.text.clone().into_bytes();
                planted.insert(name.clone(), result);
            }
            if name == ROOT_MODULE {
                bytes.extend_from_slice(b"\n#[doc(hidden)]\npub mod planted;\n");
            }
            write(&self.copy.join(name), &bytes)?;
        }
        write(&self.copy.join(ROOT_MODULE).with_file_name("planted.rs"), SWITCH.as_bytes())?;
        Ok(planted)
    }

    /// cargo in the copy.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("cargo");
        command.args(arguments).current_dir(&self.copy);
        // What a mutant leaves unused is no error.
        command.env("RUSTFLAGS", "--cap-lints=allow").env("CARGO_TARGET_DIR", &self.build);
        command
    }

    /// Where cargo runs the codec's tests.
    pub(crate) fn package(&self) -> PathBuf {
        self.copy.join("src/codec")
    }
}

/// Appends the files below `path`, or itself.
fn find(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = fs::read_dir(path).map_err(|error| format!("{}: {error}", path.display()))?;
    for entry in entries {
        let entry = entry.map_err(|error| format!("{}: {error}", path.display()))?;
        if !LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
            find(&entry.path(), files)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes a file where it does not say this already.
fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use crate::planted::on;

    #[test]
    fn no_mutant_is_on_where_none_is_named() {
        assert_eq!([on(0), on(7), on(7)], [false; 3]);
    }
}
