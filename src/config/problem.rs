//! What is wrong with a configuration: every problem with its place, a caret and a way to mend it.

use std::cell::RefCell;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Problems shown in full; the rest are counted.
const SHOWN: usize = 100;
/// Characters of a source line shown on each side of the caret.
const CONTEXT: usize = 60;

/// Where something of the configuration was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A stretch of one line of the file.
    At {
        /// Line, from 1.
        line: usize,
        /// Character in the line, from 1.
        column: usize,
        /// Characters that the caret underlines, at least 1.
        width: usize,
    },
    /// An environment variable that overrides a key.
    Variable(Arc<str>),
}

impl Place {
    /// The line of the file, where it is one.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::At { line, .. } => Some(*line),
            Self::File | Self::Variable(_) => None,
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What, in one sentence without a full stop.
    pub message: String,
    /// How to mend it; empty where the message says all.
    pub hint: String,
}

/// Everything that is wrong with one configuration, in the order of the file. `Display` renders it as plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    file: String,
    source: Vec<String>,
    problems: Vec<Problem>,
    pub(super) files: Vec<PathBuf>,
}

impl Report {
    /// A report of one problem with the file as a whole.
    #[must_use]
    pub fn of_file(file: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let problem = Problem { place: Place::File, message: message.into(), hint: hint.into() };
        Self { file: file.into(), source: Vec::new(), problems: vec![problem], files: Vec::new() }
    }

    /// The problems; never empty.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The report of a configuration that names these files.
    pub(super) fn naming(self, files: Vec<PathBuf>) -> Self {
        Self { files, ..self }
    }

    /// Every file that was read, or that could not be: a change of one of them may mend the configuration.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn problem(&self, f: &mut fmt::Formatter<'_>, problem: &Problem) -> fmt::Result {
        match &problem.place {
            Place::File => write!(f, "{}: {}", self.file, problem.message)?,
            Place::Variable(name) => write!(f, "environment variable {name}: {}", problem.message)?,
            Place::At { line, column, width } => {
                write!(f, "{}:{line}:{column}: {}", self.file, problem.message)?;
                self.excerpt(f, *line, *column, *width)?;
            }
        }
        if !problem.hint.is_empty() {
            write!(f, "\n  = {}", problem.hint)?;
        }
        Ok(())
    }

    /// The source line with a caret under the stretch; a long line is cut around it.
    fn excerpt(&self, f: &mut fmt::Formatter<'_>, line: usize, column: usize, width: usize) -> fmt::Result {
        let Some(text) = self.source.get(line.wrapping_sub(1)) else { return Ok(()) };
        let length = text.chars().count();
        let from = column.saturating_sub(1).min(length);
        let start = from.saturating_sub(CONTEXT);
        let (before, after) = (if start > 0 { "…" } else { "" }, if from + 2 * CONTEXT < length { "…" } else { "" });
        let shown: String = text.chars().skip(start).take(from - start + 2 * CONTEXT).map(visible).collect();
        let indent = from - start + before.chars().count();
        let carets = width.clamp(1, length.saturating_sub(from).clamp(1, 2 * CONTEXT));
        let number = line.to_string();
        let gutter = number.len();
        write!(f, "\n  {number} | {before}{}{after}", shown.trim_end())?;
        write!(f, "\n  {:gutter$} | {:indent$}{}", "", "", "^".repeat(carets))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.problems.iter().take(SHOWN) {
            self.problem(f, problem)?;
            f.write_str("\n\n")?;
        }
        match self.problems.len() {
            1 => write!(f, "1 problem in {}", self.file),
            count if count > SHOWN => write!(f, "{count} problems in {}, the first {SHOWN} of them above", self.file),
            count => write!(f, "{count} problems in {}", self.file),
        }
    }
}

impl std::error::Error for Report {}

/// Control characters would reach a terminal or split a log line.
fn visible(character: char) -> char {
    if character.is_control() { ' ' } else { character }
}

/// Collects problems while the configuration is read, so that one report tells them all.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: RefCell<Vec<Problem>>,
}

impl Problems {
    /// Notes a problem; the same one twice (through an alias, say) is noted once.
    pub(super) fn add(&self, place: &Place, message: impl Into<String>, hint: impl Into<String>) {
        let problem = Problem { place: place.clone(), message: message.into(), hint: hint.into() };
        let mut found = self.found.borrow_mut();
        if !found.contains(&problem) {
            found.push(problem);
        }
    }

    /// Whether nothing was noted so far.
    pub(super) fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// Has `clear` take out of all that was noted what must not be shown.
    pub(super) fn clear(&self, clear: impl Fn(&str) -> String) {
        for problem in self.found.borrow_mut().iter_mut() {
            problem.message = clear(&problem.message);
            problem.hint = clear(&problem.hint);
        }
    }

    /// The report, or `None` if nothing is wrong. `source` is the file's text with its secrets masked.
    pub(super) fn into_report(self, file: &str, source: &str) -> Option<Report> {
        let mut problems = self.found.into_inner();
        if problems.is_empty() {
            return None;
        }
        problems.sort_by(|a, b| a.place.cmp(&b.place));
        let source = source.split('\n').map(|line| line.trim_end_matches('\r').to_owned()).collect();
        Some(Report { file: file.to_owned(), source, problems, files: Vec::new() })
    }
}

/// The hint "did you mean" for `written` among `known`, or the list of what is known where nothing is near.
pub(super) fn suggest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(written, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => String::new(),
        None if known.len() > 24 => format!("{} names are known", known.len()),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// The one of `known` that a slip of the fingers turns into `written`.
pub(super) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase();
    let limit = (written.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|name| (distance(&written, &name.to_lowercase(), limit), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// Edits (insert, delete, replace, swap of neighbours) between two words, counted up to a little over `limit`.
fn distance(left: &str, right: &str, limit: usize) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    if left.len().abs_diff(right.len()) > limit || left.len() > 128 {
        return limit + 1;
    }
    let mut older: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, l) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, r) in right.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX - 1);
            let replaced = at(&above, column) + usize::from(l != r);
            let mut best = replaced.min(at(&above, column + 1) + 1).min(at(&current, column) + 1);
            let swapped = row > 0 && column > 0 && left.get(row - 1) == Some(r) && right.get(column - 1) == Some(l);
            if swapped {
                best = best.min(at(&older, column - 1) + 1);
            }
            current.push(best);
        }
        older = std::mem::replace(&mut above, current);
    }
    above.last().copied().unwrap_or(limit + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found() {
        let check = |written: &str, expect: Option<&str>| {
            let known = ["health", "headers", "http", "key", "kind", "url"];
            assert_eq!(nearest(written, known), expect, "{written}");
        };
        check("helth", Some("health"));
        check("haelth", Some("health"));
        check("Health", Some("health"));
        check("header", Some("headers"));
        check("knid", Some("kind"));
        check("uri", Some("url"));
        check("weight", None);
        check("", None);
        check(&"x".repeat(10_000), None);
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let problems = Problems::default();
        problems.add(&Place::At { line: 1, column: 301, width: 4 }, "wrong", "");
        let source = format!("{}here{}", "a".repeat(300), "b".repeat(300));
        let text = problems.into_report("f", &source).unwrap().to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "f:1:301: wrong");
        let caret = lines[2].find('^').unwrap();
        let under: String = lines[1].chars().skip(caret).take(4).collect();
        assert_eq!(under, "here");
        assert!(lines[1].chars().count() < 200);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let problems = Problems::default();
        problems.add(&Place::At { line: 1, column: 1, width: 1 }, "wrong", "");
        let text = problems.into_report("f", "a\u{1b}[2Jb").unwrap().to_string();
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
