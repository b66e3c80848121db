//! Keeps secrets that stand in the file itself out of every report.

use super::placeholder;
use super::problem::{Place, nearest};
use super::schema;
use super::tree::{Entry, Node, Scalar, Value};

/// What stands for each hidden character, so that carets stay in place.
const MASK: char = '*';
/// A secret at least this long is hidden wherever its text appears in the file.
const TELLING: usize = 8;
/// Letters and digits in a row that are a key if they are mixed.
const RANDOM: usize = 20;

/// A file's text as reports may show it.
pub(super) struct Hidden {
    /// The text, its secrets masked.
    pub(super) source: String,
    /// Secrets that are long enough to be looked for in what is said of the file.
    texts: Vec<String>,
    /// Keys below a secret field, short ones too.
    keys: Vec<String>,
}

impl Hidden {
    /// `text`, which is said of the file, without its secrets.
    pub(super) fn cleared(&self, text: &str) -> String {
        let stars = |text: &str| MASK.to_string().repeat(text.chars().count());
        let mut cleared = text.to_owned();
        for secret in &self.texts {
            cleared = cleared.replace(secret, &stars(secret));
        }
        for key in &self.keys {
            cleared = cleared.replace(&format!("`{key}`"), &format!("`{}`", stars(key)));
        }
        cleared
    }
}

/// Marks the secrets of `root`, and gives back `source` with them hidden. What stands at the keys that were `dropped` is
/// hidden too, as it is not known of them what it is.
pub(super) fn hide(root: &mut Node, dropped: &[Place], source: &str) -> Hidden {
    let lines = source.split('\n').map(str::to_owned).collect();
    let mut cover = Cover { lines, texts: Vec::new(), keys: Vec::new() };
    cover.node(root, &mut Vec::new(), Below::Open);
    for place in dropped {
        if let Place::At { line, column, width } = place {
            cover.block(*line, *column, column + width);
        }
    }
    let Cover { mut lines, mut texts, keys } = cover;
    for line in &mut lines {
        hide_comment(line);
    }
    // The longest first: one may hold another.
    texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
    texts.dedup();
    let hidden = Hidden { source: lines.join("\n"), texts, keys: Vec::new() };
    let source = hidden.cleared(&hidden.source);
    Hidden { source, keys, ..hidden }
}

/// What a node stands below.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Below {
    /// No secret field: each value is looked at for itself.
    Open,
    /// A field whose name is like that of a secret: what is long is hidden.
    Doubtful,
    /// A secret field: everything is hidden.
    Secret,
}

struct Cover {
    lines: Vec<String>,
    texts: Vec<String>,
    keys: Vec<String>,
}

impl Cover {
    fn node(&mut self, node: &mut Node, above: &mut Vec<String>, below: Below) {
        match &mut node.value {
            Value::Scalar(scalar) => self.scalar(&node.place, scalar, above, below),
            Value::List(items) => items.iter_mut().for_each(|item| self.node(item, above, below)),
            Value::Map(entries) => entries.iter_mut().for_each(|entry| self.entry(entry, above, below)),
        }
    }

    fn entry(&mut self, entry: &mut Entry, above: &mut Vec<String>, below: Below) {
        let hidden = match below {
            Below::Open => holds_key(&entry.key) || is_glued(&entry.key),
            Below::Doubtful => holds_key(&entry.key) || is_glued(&entry.key) || entry.key.len() >= TELLING,
            Below::Secret => true,
        };
        if hidden {
            self.stretch(&entry.place, 0);
            self.say(&entry.key);
            self.keys.push(entry.key.clone());
        }
        above.push(entry.key.clone());
        let inside = if below == Below::Secret { below } else { below.max(opens(above)) };
        if inside != Below::Secret {
            self.lines_of(entry);
        } else if below != Below::Secret {
            self.field(entry);
        }
        self.node(&mut entry.node, above, inside);
        above.pop();
    }

    fn scalar(&mut self, place: &Place, scalar: &mut Scalar, above: &[String], below: Below) {
        let secret = match below {
            Below::Secret => true,
            Below::Doubtful => scalar.text.len() >= TELLING || is_secret(above, scalar),
            Below::Open => is_secret(above, scalar),
        };
        if !secret || placeholder::is_pure(&scalar.text) {
            return;
        }
        scalar.secret = true;
        self.stretch(place, 0);
        self.say(&scalar.text);
    }

    /// Hides a stretch of a line, but for its first `after` characters.
    fn stretch(&mut self, place: &Place, after: usize) {
        if let Place::At { line, column, width } = place
            && let Some(text) = self.lines.get_mut(line.wrapping_sub(1))
        {
            *text = covered(text, column - 1 + after, width.saturating_sub(after));
        }
    }

    fn say(&mut self, text: &str) {
        self.texts.extend(text.lines().map(str::trim).filter(|text| text.len() >= TELLING).map(str::to_owned));
    }

    /// Hides a text of several lines: where the next key was meant to stand on one of them, it is part of the text.
    fn lines_of(&mut self, entry: &mut Entry) {
        let (Value::Scalar(scalar), Place::At { line, column, width }) = (&mut entry.node.value, &entry.place) else {
            return;
        };
        let is_on = |first: &String| first.contains(scalar.text.trim_end());
        if !scalar.text.contains(char::is_whitespace) || self.lines.get(line.wrapping_sub(1)).is_some_and(is_on) {
            return;
        }
        scalar.secret = true;
        self.texts.extend(scalar.text.split_whitespace().filter(|word| word.len() >= TELLING).map(str::to_owned));
        self.block(*line, *column, column + width);
    }

    /// Hides what the tree of a secret field does not hold: its tags and anchors, and what was left out of a map.
    fn field(&mut self, entry: &Entry) {
        let Place::At { line, column, width } = &entry.place else { return };
        let behind = column + width;
        match (&entry.node.value, &entry.node.place) {
            (Value::Scalar(scalar), Place::At { line: at, column: until, .. }) => {
                if at == line && !placeholder::is_pure(&scalar.text) && *until > behind + 1 {
                    self.stretch(&Place::At { line: *line, column: behind + 1, width: until - behind - 1 }, 0);
                }
            }
            (Value::Scalar(_), Place::File | Place::Variable(_)) => {}
            (Value::List(_) | Value::Map(_), _) => self.block(*line, *column, behind),
        }
    }

    /// Hides the rest of a line from a column on, and the lines below it that stand deeper.
    fn block(&mut self, line: usize, column: usize, behind: usize) {
        let Some(first) = self.lines.get_mut(line.wrapping_sub(1)) else { return };
        let is_own = first.chars().take(column - 1).all(|c| c.is_whitespace() || c == '-');
        let indent = if is_own { column - 1 } else { depth(first) };
        *first = covered(first, behind, usize::MAX);
        for text in self.lines.iter_mut().skip(line) {
            let deep = depth(text) > indent || (depth(text) == indent && text.trim_start().starts_with("- "));
            if !deep && !text.trim().is_empty() {
                return;
            }
            *text = covered(text, 0, usize::MAX);
        }
    }
}

impl Below {
    fn max(self, other: Self) -> Self {
        match (self, other) {
            (Self::Secret, _) | (_, Self::Secret) => Self::Secret,
            (Self::Doubtful, _) | (_, Self::Doubtful) => Self::Doubtful,
            (Self::Open, Self::Open) => Self::Open,
        }
    }
}

fn depth(line: &str) -> usize {
    line.chars().take_while(|c| c.is_whitespace()).count()
}

/// What stands below the last of these keys.
fn opens(above: &[String]) -> Below {
    let Some((name, parents)) = above.split_last() else { return Below::Open };
    let parent = parents.last().map(String::as_str);
    match (parent, name.as_str()) {
        // A file's name, and names of the operator's own choice.
        (Some("tls"), "key") | (Some("providers" | "models" | "paths" | "rename_fields" | "facts" | "aliases"), _) => {
            Below::Open
        }
        (Some("headers"), _) | (_, "key" | "key_hash" | "sealing_key" | "former_sealing_keys") => Below::Secret,
        (_, name) if schema::ALL.iter().any(|section| section.field(name).is_some()) => Below::Open,
        // Perhaps a misspelt name of a secret, or of a map of them.
        _ => Below::Doubtful,
    }
}

/// Hides what stands behind a `#`, where a key of before may be kept. That the sign may be part of a quoted text does not
/// matter: less is shown then.
fn hide_comment(line: &mut String) {
    let signs = line.chars().zip(std::iter::once(' ').chain(line.chars()));
    let sign = signs.enumerate().find(|(_, (c, before))| *c == '#' && before.is_whitespace());
    if let Some((at, _)) = sign {
        *line = covered(line, at + 1, usize::MAX);
    }
}

/// `source` without all words but the names of fields: for a text that is no YAML, of which nothing is known.
pub(super) fn hide_lines(source: &str) -> String {
    source.split('\n').map(hide_line).collect::<Vec<_>>().join("\n")
}

fn hide_line(line: &str) -> String {
    let is_sign = |c: char| c.is_whitespace() || "{}[],:-'\"#".contains(c);
    let known = |word: &str| schema::ALL.iter().any(|section| section.field(word).is_some());
    let shown = |word: &str| if known(word) { word.to_owned() } else { covered(word, 0, usize::MAX) };
    let mut hidden = String::with_capacity(line.len());
    for piece in line.split_inclusive(is_sign) {
        let word = piece.trim_end_matches(is_sign);
        hidden.push_str(&shown(word));
        hidden.push_str(piece.strip_prefix(word).unwrap_or_default());
    }
    hidden
}

fn covered(line: &str, from: usize, width: usize) -> String {
    let until = from.saturating_add(width);
    let cover = |(at, c): (usize, char)| if (from..until).contains(&at) && !c.is_whitespace() { MASK } else { c };
    line.chars().enumerate().map(cover).collect()
}

fn is_secret(above: &[String], scalar: &Scalar) -> bool {
    let text = &scalar.text;
    if holds_key(text) || is_glued(text) || url_holds_secret(text) {
        return true;
    }
    let Some(name) = above.last() else { return false };
    let parent = above.len().checked_sub(2).and_then(|index| above.get(index)).map(String::as_str);
    match (parent, name.as_str()) {
        (Some("tls"), "key") => false,
        (Some("headers"), _) | (_, "headers" | "key" | "key_hash" | "sealing_key" | "former_sealing_keys") => true,
        (_, "key_label") => false,
        // Where a map is wanted, a text can only be what was to stand in it.
        (Some("providers"), _) | (_, "providers" | "clients") => text.len() >= TELLING,
        (_, name) => text.len() >= TELLING && names_secret(name),
    }
}

/// Whether a text is the name of a secret and what was to stand behind its colon: `key:abc`, `key abc`, `key=abc`.
fn is_glued(text: &str) -> bool {
    let found = text.split_once(|c: char| c == ':' || c == '=' || c.is_whitespace());
    let is_secret = |name: &str| name.split(['_', '-']).any(|word| SECRETS.contains(&word));
    found.is_some_and(|(name, value)| is_secret(name) && !value.trim().is_empty())
}

/// Whether a URL holds a password, or a secret in its query.
fn url_holds_secret(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else { return false };
    rest.contains('@') || rest.split(['?', '&']).skip(1).any(is_glued)
}

/// Whether a word of the text looks like a key: a vendor's, `sk-` and some more, or what a machine has thrown dice for.
fn holds_key(text: &str) -> bool {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
    words.filter_map(|word| word.strip_prefix("sk-")).any(|rest| rest.len() >= TELLING)
        || text.split(|c: char| !c.is_ascii_alphanumeric()).any(is_random)
}

/// Whether letters and digits are as mixed, and as many, as in no name that a person chose.
fn is_random(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    word.len() >= RANDOM && digits >= 3 && word.len() - digits >= 3
}

/// Whether a key of this name, or one spelled almost like it, holds a secret.
fn names_secret(name: &str) -> bool {
    name.split(['_', '-', '.', ' ']).any(|word| !word.is_empty() && nearest(word, SECRETS).is_some())
}

/// Words in the names of secrets.
const SECRETS: [&str; 9] =
    ["apikey", "auth", "authorization", "credential", "key", "password", "secret", "token", "bearer"];

#[cfg(test)]
mod tests {
    use super::super::problem::Problems;
    use super::super::tree::{self, Tree};
    use super::*;

    fn hidden(source: &str) -> Hidden {
        let Tree { mut root, dropped } = tree::parse(source, &Problems::default()).unwrap();
        hide(&mut root, &dropped, source)
    }

    #[test]
    fn what_one_slip_makes_of_a_secret_is_hidden() {
        let check = |source: &str, expect: &str| assert_eq!(hidden(source).source, expect);
        check("kind: openai\nkey: alt\nkey: neu\nurl: u\n", "kind: openai\nkey: ***\nkey: ***\nurl: u\n");
        check("{kind: openai, key: alt, key: neu}", "{kind: openai, key: ***, key: ****");
        check("kind: openai\n  key geheimnis\nurl: u\n", "kind: ******\n  *** *********\nurl: u\n");
        check("headrs: {x-team: geheimnis}", "headrs: {x-team: *********}");
        check("p:\n  header:\n    x-team: geheimnis\n", "p:\n  header:\n    x-team: *********\n");
        check("kind: two words", "kind: two words");
        check("p: {kind: mistral, key:abc}", "p: {kind: mistral, *******}");
        check("p: {kind: mistral, key abc}", "p: {kind: mistral, *** ***}");
        check("p:\n  api_key=abc\n", "p:\n  ***********\n");
        check("key=abc: x\nthe: key\n", "*******: x\nthe: key\n");
    }

    #[test]
    fn secrets_of_the_file_are_hidden() {
        let check = |source: &str, expect: &str| {
            assert_eq!(hidden(source).source, expect);
        };
        check("key: abc", "key: ***");
        check("former_sealing_keys: [abc, de]", "former_sealing_keys: ***** ***");
        check("key: ${A}", "key: ${A}");
        check("key: ${A:-abc}", "key: *********");
        check("key: x${A}", "key: *****");
        check("p: {kye: geheimnis, kind: openai}", "p: {kye: *********, kind: openai}");
        check("key: geheimnis # geheimnis", "key: ********* # *********");
        check("kind: openai # alt: geheim\n# b\nx: a#b", "kind: openai # **** ******\n# *\nx: a#b");
        check("clients: [geheimnis]", "clients: [*********]");
        check("clients: geheimnis", "clients: *********");
        check("providers: {openai: geheimnis}", "providers: {openai: *********}");
        check("headers: \"X: geheimnis\"", "headers: *** **********");
        check("headers: [\"X: geheimnis\"]", "headers: [*** **********]");
        check("url: https://h/p?key=geheimnis", "url: *************************");
        check("url: https://h/p?version=geheimnis", "url: https://h/p?version=geheimnis");
        check(
            "providers: {p: {kind: openai, 4f9a77c2e1d0b3c2d1e0: }}",
            "providers: {p: {kind: openai, ********************: }}",
        );
        check("targets: [p/claude-3-5-sonnet-20241022]", "targets: [p/claude-3-5-sonnet-20241022]");
        check("targets: [4f9aSECRET77c2e1d0b3]", "targets: [********************]");
        check("key: |\n  geheimnis\n  strenggeheim\n", "key: |\n  *********\n  ************\n");
        check("headers: {x-a: b}", "headers: {x-a: *}");
        check("allow: [sk-12345678, task-87654321]", "allow: [***********, task-87654321]");
        check("url: https://u:p@h/", "url: **************");
        check("tls: {key: /etc/tls.pem}", "tls: {key: /etc/tls.pem}");
        check("key_label: name", "key_label: name");
        check("key: {sk-SECRET99}", "key: *************");
        check("p: {key: {sk-a: 1}, url: x}\nq: 1", "p: {key: ****** *** **** **\nq: 1");
        check(
            "p:\n  key:\n    sk-a: 1\n    sk-a: b\n\n  url: x\n",
            "p:\n  key:\n    ***** *\n    ***** *\n\n  url: x\n",
        );
        check("p:\n  key:\n  - {a: b}\n  url: x\n", "p:\n  key:\n  * *** **\n  url: x\n");
        check("key: {a: {b: [c]}}", "key: *** *** *****");
        check("key: !abc def", "key: **** ***");
        check("headers: {x-a: {abc: d}}", "headers: {x-a: ***** ***");
        check("api_kye: {geheimnis: 1, strenggeheim: 2}", "api_kye: {*********: 1, ************: 2}");
        check("sk-12345678: {a: 1}", "***********: {a: 1}");
        check("breaker: {failures: 12345678}", "breaker: {failures: 12345678}");
        check("providers:\n  key: {kind: openai}\n", "providers:\n  key: {kind: openai}\n");
    }

    #[test]
    fn what_is_said_of_a_secret_field_does_not_show_it() {
        let source = "key: {ab: 1, sk-SECRET99: 2}";
        let hidden = hidden(source);
        let said = "`ab` and `sk-SECRET99` stand here twice; sk-SECRET99 is above";
        assert_eq!(hidden.cleared(said), "`**` and `***********` stand here twice; *********** is above");
    }

    #[test]
    fn lines_of_a_broken_file_are_hidden() {
        let check = |line: &str, expect: &str| assert_eq!(hide_lines(line), expect);
        check("  key: sk-abc: [", "  key: **-***: [");
        check("  - {name: a, key: b", "  - {name: *, key: *");
        check("  url: [", "  url: [");
        check("    key geheim+/=", "    key *********");
        check("\tstreng \"geheim\" # geheim", "\t****** \"******\" # ******");
    }
}
