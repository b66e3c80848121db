//! Names with a `*`.

/// A name with one `*` that stands for at least one character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    prefix: String,
    suffix: String,
}

impl Pattern {
    /// The pattern that `name` is, or `None` for an exact name. Of several `*` the first counts; the config refuses
    /// such names.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let (prefix, suffix) = name.split_once('*')?;
        Some(Self { prefix: prefix.to_owned(), suffix: suffix.to_owned() })
    }

    /// What the `*` stands for in `name`, if it matches.
    #[must_use]
    pub fn capture<'a>(&self, name: &'a str) -> Option<&'a str> {
        let captured = name.strip_prefix(self.prefix.as_str())?.strip_suffix(self.suffix.as_str())?;
        (!captured.is_empty()).then_some(captured)
    }

    /// Whether it names a folder of models: `eu/*`.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.prefix.ends_with('/') && self.suffix.is_empty()
    }

    /// How specific it is; greater goes first.
    #[must_use]
    pub fn rank(&self) -> (usize, usize) {
        (self.prefix.len(), self.suffix.len())
    }
}

/// A pattern for an allow-list: each `*` stands for any text, also none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
}

impl Glob {
    /// Takes the pattern.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `name` matches, in time linear in both lengths for each `*`.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut pieces = self.text.split('*');
        let Some(mut rest) = pieces.next().and_then(|first| name.strip_prefix(first)) else { return false };
        let Some(last) = pieces.next_back() else { return rest.is_empty() };
        for piece in pieces {
            let Some((_, after)) = rest.split_once(piece) else { return false };
            rest = after;
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        let check = |glob: &str, name: &str, expect: bool| {
            assert_eq!(Glob::new(glob).matches(name), expect, "{glob} against {name}");
        };
        check("*", "", true);
        check("*", "any/thing", true);
        check("gpt-5", "gpt-5", true);
        check("gpt-5", "gpt-5-mini", false);
        check("gpt-*", "gpt-5", true);
        check("gpt-*", "gpt-", true);
        check("gpt-*", "o-gpt-5", false);
        check("*-mini", "gpt-5-mini", true);
        check("*-mini", "gpt-5-mini-x", false);
        check("a*b*c", "a1b2c", true);
        check("a*b*c", "abc", true);
        check("a*b*c", "acb", false);
        check("ab*ba", "aba", false);
        check("a**b", "ab", true);
        check("", "", true);
        check("", "a", false);
    }

    #[test]
    fn patterns_capture() {
        let check = |pattern: &str, name: &str, expect: Option<&str>| {
            assert_eq!(Pattern::new(pattern).unwrap().capture(name), expect, "{pattern} against {name}");
        };
        check("claude-*", "claude-4", Some("4"));
        check("claude-*", "claude-", None);
        check("a*a", "aa", None);
        check("a*a", "a", None);
        check("*", "ü", Some("ü"));
        assert_eq!(Pattern::new("exact"), None);
    }
}
