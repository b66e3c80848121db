//! Keeps secrets that stand in the file itself out of every report.

use super::placeholder;
use super::problem::{Place, nearest};
use super::tree::{Node, Scalar};

/// What stands for each hidden character, so that carets stay in place.
const MASK: char = '*';
/// A secret at least this long is hidden wherever its text appears in the file.
const TELLING: usize = 8;

/// Marks the secrets of `root`, and gives back `source` with them hidden.
pub(super) fn hide(root: &mut Node, source: &str) -> String {
    let mut lines: Vec<String> = source.split('\n').map(str::to_owned).collect();
    let mut texts = Vec::new();
    root.scalars(&mut Vec::new(), &mut |above, place, scalar| {
        if !is_secret(above, scalar) || placeholder::is_pure(&scalar.text) {
            return;
        }
        scalar.secret = true;
        if let Place::At { line, column, width } = place
            && let Some(text) = lines.get_mut(line.wrapping_sub(1))
        {
            *text = covered(text, column - 1, *width);
        }
        texts.extend(scalar.text.lines().map(str::trim).filter(|text| text.len() >= TELLING).map(str::to_owned));
    });
    let mut source = lines.join("\n");
    for text in texts {
        source = source.replace(&text, &MASK.to_string().repeat(text.chars().count()));
    }
    source
}

/// `source` with what follows a secret's name on the same line hidden: for a text that is no YAML.
pub(super) fn hide_lines(source: &str) -> String {
    source.split('\n').map(hide_line).collect::<Vec<_>>().join("\n")
}

fn hide_line(line: &str) -> String {
    let Some((name, value)) = line.split_once(':') else {
        return if line.contains("sk-") { covered(line, 0, usize::MAX) } else { line.to_owned() };
    };
    let flow = name.contains(['{', '[']) || value.contains("key") || value.contains("sk-");
    let word = name.trim().trim_start_matches("- ").trim_matches(['"', '\'']);
    if flow || names_secret(word) {
        let shown = name.chars().count() + 1;
        covered(line, shown, usize::MAX)
    } else {
        line.to_owned()
    }
}

fn covered(line: &str, from: usize, width: usize) -> String {
    let until = from.saturating_add(width);
    let cover = |(at, c): (usize, char)| if (from..until).contains(&at) && !c.is_whitespace() { MASK } else { c };
    line.chars().enumerate().map(cover).collect()
}

fn is_secret(above: &[String], scalar: &Scalar) -> bool {
    let text = &scalar.text;
    if holds_key(text) || text.split_once("://").is_some_and(|(_, rest)| rest.contains('@')) {
        return true;
    }
    let Some(name) = above.last() else { return false };
    let parent = above.len().checked_sub(2).and_then(|index| above.get(index)).map(String::as_str);
    match (parent, name.as_str()) {
        (Some("tls"), "key") => false,
        (Some("headers"), _) | (_, "key" | "key_hash" | "sealing_key") => true,
        (_, "key_label") => false,
        (_, name) => text.len() >= TELLING && names_secret(name),
    }
}

/// Whether a word of the text looks like a vendor's key: `sk-` and some more.
fn holds_key(text: &str) -> bool {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
    words.filter_map(|word| word.strip_prefix("sk-")).any(|rest| rest.len() >= TELLING)
}

/// Whether a key of this name, or one spelled almost like it, holds a secret.
fn names_secret(name: &str) -> bool {
    const WORDS: [&str; 9] =
        ["apikey", "auth", "authorization", "credential", "key", "password", "secret", "token", "bearer"];
    name.split(['_', '-', '.', ' ']).any(|word| !word.is_empty() && nearest(word, WORDS).is_some())
}

#[cfg(test)]
mod tests {
    use super::super::problem::Problems;
    use super::super::tree;
    use super::*;

    #[test]
    fn secrets_of_the_file_are_hidden() {
        let check = |source: &str, expect: &str| {
            let mut root = tree::parse(source, &Problems::default()).unwrap();
            assert_eq!(hide(&mut root, source), expect);
        };
        check("key: abc", "key: ***");
        check("key: ${A}", "key: ${A}");
        check("key: ${A:-abc}", "key: *********");
        check("key: x${A}", "key: *****");
        check("p: {kye: geheimnis, kind: openai}", "p: {kye: *********, kind: openai}");
        check("key: geheimnis # geheimnis", "key: ********* # *********");
        check("key: |\n  geheimnis\n  strenggeheim\n", "key: |\n  *********\n  ************\n");
        check("headers: {x-a: b}", "headers: {x-a: *}");
        check("a: [sk-12345678, task-87654321]", "a: [***********, task-87654321]");
        check("url: https://u:p@h/", "url: **************");
        check("tls: {key: /etc/tls.pem}", "tls: {key: /etc/tls.pem}");
        check("key_label: name", "key_label: name");
    }

    #[test]
    fn lines_of_a_broken_file_are_hidden() {
        let check = |line: &str, expect: &str| assert_eq!(hide_lines(line), expect);
        check("  key: sk-abc: [", "  key: ******* *");
        check("  - {name: a, key: b", "  - {name: ** **** *");
        check("  url: [", "  url: [");
    }
}
