//! Rust source as the architecture tests see it: comments gone, strings told apart, tests cut out.

use std::fs;
use std::path::{Path, PathBuf};

/// One source file, its tests cut away. All three texts have the same lines, so an offset gives the same line in each.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path from the root of the repository.
    pub(crate) path: String,
    /// The text without comments.
    pub(crate) words: String,
    /// The text without comments and without what stands in strings.
    pub(crate) code: String,
    /// Lines of the file without its tests, comments counted.
    pub(crate) lines: usize,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Where it stands, from 1.
    pub(crate) line: usize,
    /// Lines of its body that hold code.
    pub(crate) length: usize,
}

impl Source {
    /// Reads `text` as the file `path`.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (words, code) = strip(text);
        let end = tests_begin(&code);
        let lines = code.get(..end).unwrap_or_default().lines().count();
        Self {
            path: path.to_owned(),
            words: words.get(..end).unwrap_or_default().to_owned(),
            code: code.get(..end).unwrap_or_default().to_owned(),
            lines,
        }
    }

    /// The line of byte `offset`, from 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.code.bytes().take(offset).filter(|&b| b == b'\n').count() + 1
    }

    /// Every place where `word` stands in the code as a word of its own, or as the start of a longer path.
    pub(crate) fn places<'s>(&'s self, word: &'s str) -> impl Iterator<Item = usize> + 's {
        self.code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
            let before = self.code[..at].chars().next_back();
            let after = self.code[at + word.len()..].chars().next();
            !before.is_some_and(is_word) && (word.ends_with(':') || !after.is_some_and(is_word))
        })
    }

    /// Every literal that stands on one line, behind all that is before it.
    pub(crate) fn literals(&self) -> Vec<(&str, &str)> {
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(next) = self.code[at..].find('"') {
            let begin = at + next;
            at = begin + self.code[begin..].bytes().take_while(|byte| *byte == b'"').count();
            found.push((&self.words[..begin], self.words[begin..at].trim_matches('"')));
        }
        found
    }

    /// The paths that follow each `root` (such as `crate::`), one element per name, groups taken apart.
    pub(crate) fn paths(&self, root: &str) -> Vec<(usize, Vec<String>)> {
        self.places(root)
            .flat_map(|at| {
                let line = self.line(at);
                let mut found = Vec::new();
                read_path(&self.code[at + root.len()..], &mut Vec::new(), &mut found);
                found.into_iter().map(move |path| (line, path))
            })
            .collect()
    }

    /// Every function that has a body.
    pub(crate) fn functions(&self) -> Vec<Function> {
        self.places("fn").filter_map(|at| self.function(at)).collect()
    }

    fn function(&self, at: usize) -> Option<Function> {
        let rest = self.code.get(at + 2..)?;
        let name: String = rest.trim_start().chars().take_while(|&c| is_word(c)).collect();
        if name.is_empty() {
            return None;
        }
        let open = signature_end(rest).filter(|&end| rest[end..].starts_with('{'))?;
        let body = &rest[open..open + closing_brace(&rest[open..])];
        let length = body.lines().filter(|line| !line.trim().is_empty()).count().saturating_sub(2);
        Some(Function { name, line: self.line(at), length })
    }

    /// The signature of every item that other modules may name: from `pub` to its `{`, `;` or `=`, with its line.
    pub(crate) fn public_signatures(&self) -> impl Iterator<Item = (usize, &str)> {
        self.places("pub").filter_map(|at| {
            let rest = &self.code[at..];
            let hidden = ["pub(super)", "pub(self)", "pub(in"].iter().any(|mark| rest.starts_with(mark));
            let end = rest.find(['{', ';', '=', '\n']).map_or(rest.len(), |short| {
                let function = rest.get(..short).is_some_and(|line| line.contains("fn "));
                if function { signature_end(rest).unwrap_or(short) } else { short }
            });
            (!hidden).then(|| (self.line(at), &rest[..end]))
        })
    }
}

/// Every Rust file below `dir` that is not a test, in order.
pub(crate) fn read_tree(dir: &Path) -> Vec<Source> {
    let mut files = Vec::new();
    collect(dir, &mut files);
    files.sort();
    let texts: Vec<_> = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let tests: Vec<_> = files.iter().zip(&texts).flat_map(|(path, text)| test_modules(path, text)).collect();
    let is_test =
        |path: &Path| tests.iter().any(|module| path.starts_with(module) || path == module.with_extension("rs"));
    let kept = files.iter().zip(&texts).filter(|(path, _)| !is_test(path));
    kept.map(|(path, text)| Source::new(&path.to_string_lossy(), text)).collect()
}

/// The modules in files of their own that `path` declares for tests only, without `.rs`.
pub(crate) fn test_modules(path: &Path, text: &str) -> Vec<PathBuf> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let folder =
        if ["lib", "main", "mod"].contains(&&*stem) { path.with_file_name("") } else { path.with_extension("") };
    let (_, code) = strip(text);
    let behind = code.match_indices("#[cfg(test)]").map(|(at, mark)| code[at + mark.len()..].trim_start().to_owned());
    behind
        .filter_map(|rest| Some(folder.join(rest[..rest.find([';', '{', '='])?].trim().strip_prefix("mod ")?)))
        .collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            files.push(path);
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where a trailing `#[cfg(test)] mod … {` begins: what follows it is tests.
fn tests_begin(code: &str) -> usize {
    code.match_indices("#[cfg(test)]")
        .map(|(at, _)| at)
        .find(|&at| {
            let rest = code[at + "#[cfg(test)]".len()..].trim_start();
            rest.starts_with("mod ") && rest.find('{') < Some(rest.find(';').unwrap_or(usize::MAX))
        })
        .unwrap_or(code.len())
}

/// The offset of the `{` or `;` that ends the signature `text` begins with.
fn signature_end(text: &str) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' | ';' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

/// The length of the braced text that `text` begins with.
fn closing_brace(text: &str) -> usize {
    let mut depth = 0_i32;
    for (at, c) in text.char_indices() {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

/// Reads `a::b::{c, d::e}` into its paths and returns what is left of `text`.
fn read_path<'t>(text: &'t str, prefix: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> &'t str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = read_path(rest, prefix, found).trim_start();
            let Some(next) = rest.strip_prefix(',') else { break };
            rest = next;
        }
        return rest.strip_prefix('}').unwrap_or(rest);
    }
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return rest.strip_prefix('*').unwrap_or(rest);
    }
    prefix.push(name.to_owned());
    let rest = if let Some(deeper) = rest.strip_prefix("::") {
        read_path(deeper, prefix, found)
    } else {
        found.push(prefix.clone());
        rest
    };
    prefix.pop();
    rest
}

/// `text` without comments; and the same without the contents of strings and characters. Lengths in bytes stay.
fn strip(text: &str) -> (String, String) {
    let (mut words, mut code) = (String::with_capacity(text.len()), String::with_capacity(text.len()));
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (length, kind) = token(rest, words.chars().next_back());
        let piece = rest.get(..length).unwrap_or(rest);
        let blank = |with: char| -> String {
            piece.chars().flat_map(|c| std::iter::repeat_n(if c == '\n' { c } else { with }, c.len_utf8())).collect()
        };
        match kind {
            Token::Comment => {
                words.push_str(&blank(' '));
                code.push_str(&blank(' '));
            }
            Token::Literal => {
                words.push_str(piece);
                code.push_str(&blank('"'));
            }
            Token::Other => {
                words.push(c);
                code.push(c);
            }
        }
        rest = rest.get(piece.len()..).unwrap_or_default();
    }
    (words, code)
}

enum Token {
    Comment,
    Literal,
    Other,
}

/// The length and kind of the token that `text` begins with; `before` is the character ahead of it.
fn token(text: &str, before: Option<char>) -> (usize, Token) {
    let first = text.chars().next().map_or(1, char::len_utf8);
    let word_before = before.is_some_and(is_word);
    if text.starts_with("//") {
        return (text.find('\n').unwrap_or(text.len()), Token::Comment);
    }
    if text.starts_with("/*") {
        return (text.find("*/").map_or(text.len(), |end| end + 2), Token::Comment);
    }
    if !word_before && let Some(length) = raw_string(text) {
        return (length, Token::Literal);
    }
    if text.starts_with('"') {
        return (quoted(text, '"'), Token::Literal);
    }
    let is_char = text.starts_with("'\\") || (text.starts_with('\'') && text.chars().nth(2) == Some('\''));
    if is_char { (quoted(text, '\''), Token::Literal) } else { (first, Token::Other) }
}

/// The length of the raw string that `text` begins with.
fn raw_string(text: &str) -> Option<usize> {
    let body = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let body = body.get(hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    body.find(&end).map(|at| text.len() - body.len() + at + end.len())
}

/// The length of the quoted text that `text` begins with, quotes included.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}
