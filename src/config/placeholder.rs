//! `${NAME}`, `${NAME:-default}` and `${file:/path}` in the file's values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::file;
use super::problem::{Place, Problems, nearest};
use super::tree::{Node, Value};

/// Bytes of a file that a placeholder names.
const MAX_FILE: u64 = 64 << 10;

/// What placeholders may draw on, and what they drew on.
pub(super) struct Sources<'a> {
    /// The environment.
    pub(super) env: &'a BTreeMap<String, String>,
    /// Where relative paths begin.
    pub(super) folder: &'a Path,
    /// The files named so far, read or not.
    pub(super) files: Vec<PathBuf>,
}

/// What stands before the path of a file.
const FILE: &str = "file:";

/// Whether `text` is placeholders alone, which hold no secret themselves.
pub(super) fn is_pure(text: &str) -> bool {
    let mut rest = text;
    while let Some(inner) = rest.strip_prefix("${") {
        let Some((name, after)) = inner.split_once('}') else { return false };
        let (variable, default) = name.split_once(":-").unwrap_or((name, ""));
        if !default.is_empty() || !(name.starts_with(FILE) || is_variable(variable)) {
            return false;
        }
        rest = after;
    }
    rest.is_empty() && !text.is_empty()
}

/// Fills in every placeholder below `root`; `source` is the file's text, for exact carets.
pub(super) fn fill(root: &mut Node, source: &str, sources: &mut Sources<'_>, problems: &Problems) {
    let lines: Vec<&str> = source.split('\n').collect();
    refuse_in_keys(root, problems);
    root.scalars(&mut Vec::new(), &mut |_, place, scalar| {
        if !scalar.text.contains("${") {
            return;
        }
        let written = std::mem::take(&mut scalar.text);
        let failed = &mut scalar.failed;
        scalar.text = expand(&written, sources, &mut |fault: Fault| {
            *failed = true;
            problems.add(&narrow(place, &lines, &fault.written), fault.message, fault.hint);
        });
        scalar.written = Some(written);
    });
}

fn refuse_in_keys(node: &Node, problems: &Problems) {
    match &node.value {
        Value::Scalar(_) => {}
        Value::List(items) => items.iter().for_each(|item| refuse_in_keys(item, problems)),
        Value::Map(entries) => {
            for entry in entries {
                if entry.key.contains("${") {
                    problems.add(
                        &entry.place,
                        "a placeholder cannot stand in a key",
                        "placeholders are filled in values only",
                    );
                }
                refuse_in_keys(&entry.node, problems);
            }
        }
    }
}

/// What is wrong with one placeholder.
struct Fault {
    /// Its text in the file.
    written: String,
    message: String,
    hint: String,
}

fn expand(text: &str, sources: &mut Sources<'_>, fail: &mut impl FnMut(Fault)) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            filled.push_str(before);
            filled.push_str("${");
            rest = after;
            continue;
        }
        filled.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            fail(Fault {
                written: "${".to_owned(),
                message: "a placeholder is not closed".to_owned(),
                hint: "write `${NAME}`, or `$${` for the two characters themselves".to_owned(),
            });
            return filled;
        };
        match value_of(name, sources) {
            Ok(value) => filled.push_str(&value),
            Err((message, hint)) => fail(Fault { written: format!("${{{name}}}"), message, hint }),
        }
        rest = after;
    }
    filled.push_str(rest);
    filled
}

fn value_of(name: &str, sources: &mut Sources<'_>) -> Result<String, (String, String)> {
    if name.contains("${") {
        let hint = "give the variable its value outside, or write the default as it is";
        return Err(("a placeholder cannot stand in a placeholder".to_owned(), hint.to_owned()));
    }
    if let Some(path) = name.strip_prefix(FILE) {
        let path = sources.folder.join(path);
        sources.files.push(path.clone());
        return read(&path);
    }
    let (name, default) = match name.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (name, None),
    };
    if !is_variable(name) {
        let hint = "write `${NAME}`, `${NAME:-default}` or `${file:/path}`, or `$${` for the two characters themselves";
        return Err(("this is not the name of an environment variable".to_owned(), hint.to_owned()));
    }
    match (sources.env.get(name), default) {
        (Some(value), None) => Ok(value.clone()),
        (Some(value), Some(default)) => Ok(if value.is_empty() { default.to_owned() } else { value.clone() }),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => {
            let hint = match nearest(name, sources.env.keys().map(String::as_str)) {
                Some(near) => format!("`{near}` is set: did you mean that?"),
                None => format!("set it, or write a default: `${{{name}:-…}}`"),
            };
            Err((format!("the environment variable `{name}` is not set"), hint))
        }
    }
}

/// Whether an environment variable can be called so.
fn is_variable(name: &str) -> bool {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    first && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The text of a file without its last line break.
fn read(path: &Path) -> Result<String, (String, String)> {
    let hint = "the file must be readable by the user that Tidegate runs as";
    let fault = |why: String| (format!("cannot read `{}`: {why}", path.display()), hint.to_owned());
    let mut text = file::read_text(path, MAX_FILE).map_err(|error| fault(error.to_string()))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// The place of `written` inside a scalar, where it stands on the scalar's line.
fn narrow(place: &Place, lines: &[&str], written: &str) -> Place {
    let Place::At { line, column, width } = place else { return place.clone() };
    let text = lines.get(line.wrapping_sub(1)).copied().unwrap_or_default();
    let scalar: String = text.chars().skip(column - 1).take(*width).collect();
    let Some((before, _)) = scalar.split_once(written) else { return place.clone() };
    Place::At { line: *line, column: column + before.chars().count(), width: written.chars().count() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("one"), "secret\n").unwrap();
        std::fs::write(folder.path().join("two"), "a\n\n").unwrap();
        std::fs::write(folder.path().join("binary"), [0xff, 0xfe]).unwrap();
        std::fs::write(folder.path().join("large"), vec![b'x'; 65_537]).unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
        let env = BTreeMap::from([
            ("A".to_owned(), "1".to_owned()),
            ("EMPTY".to_owned(), String::new()),
            ("NEST".to_owned(), "${A}".to_owned()),
        ]);
        let check = |text: &str, expect: &str| {
            let mut sources = Sources { env: &env, folder: folder.path(), files: Vec::new() };
            let mut faults = Vec::new();
            let filled = expand(text, &mut sources, &mut |fault| faults.push(fault.message));
            let found = if faults.is_empty() { filled } else { faults.join("; ") };
            let found = found.replace(&format!("{}/", folder.path().display()), "");
            assert_eq!(found, expect, "{text}");
        };
        check("x${A}y${A}", "x1y1");
        check("$${A}", "${A}");
        check("$$${A}", "$${A}");
        check("${EMPTY}", "");
        check("${EMPTY:-d}", "d");
        check("${NO:-}", "");
        check("${NEST}", "${A}");
        check("${file:one}", "secret");
        check("${file:two}", "a\n");
        check(
            "${NO}${ALSO_NO}",
            "the environment variable `NO` is not set; the environment variable `ALSO_NO` is not set",
        );
        check("${A", "a placeholder is not closed");
        check("${NO:-${A}}", "a placeholder cannot stand in a placeholder");
        check("${file:${A}}", "a placeholder cannot stand in a placeholder");
        check("${}", "this is not the name of an environment variable");
        check("${a b}", "this is not the name of an environment variable");
        check("${file:none}", "cannot read `none`: No such file or directory (os error 2)");
        check("${file:binary}", "cannot read `binary`: stream did not contain valid UTF-8");
        check("${file:large}", "cannot read `large`: it is larger than 64 KiB");
        check("${file:.}", "cannot read `.`: it is a folder");
        check("${file:pipe}", "cannot read `pipe`: it is a pipe");
        check("${file:/dev/zero}", "cannot read `/dev/zero`: it is a device");
    }

    #[test]
    fn pure_placeholders_hold_no_secret() {
        for (text, pure) in [
            ("${A}", true),
            ("${file:/x}${B}", true),
            ("", false),
            ("${A:-x}", false),
            ("${A:-}", true),
            ("x${A}", false),
            ("${sk-proj-1}", false),
            ("${A}${sk-proj-1}", false),
            ("${}", false),
            ("${A", false),
        ] {
            assert_eq!(is_pure(text), pure, "{text}");
        }
    }
}
