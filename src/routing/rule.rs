//! Rules: what a request is decides which model serves it, whatever name it asked for.

use std::sync::Arc;

use super::Glob;

/// Requests of a kind, and the model that serves them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name, for people.
    pub name: Arc<str>,
    /// Which requests; all that is said must hold.
    pub when: When,
    /// The configured model that serves them.
    pub model: String,
}

/// Which requests a rule is for; what is `None` or empty does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct When {
    /// The model asked for.
    pub model: Option<Glob>,
    /// The client's name.
    pub client: Option<Glob>,
    /// Headers by lower-case name; a missing one never matches.
    pub headers: Vec<(String, Glob)>,
    /// More bytes in the body than this.
    pub body_over: Option<usize>,
    /// At most this many bytes in the body.
    pub body_under: Option<usize>,
    /// A stream is wanted, or a whole answer.
    pub stream: Option<bool>,
    /// Tools are offered, or none.
    pub tools: Option<bool>,
    /// There is an image, or none.
    pub images: Option<bool>,
    /// There is a document, or none.
    pub documents: Option<bool>,
}

/// What a rule may ask of a request.
pub struct Ask<'a> {
    /// The model asked for.
    pub model: &'a str,
    /// The client's name.
    pub client: &'a str,
    /// A header by its lower-case name.
    pub header: &'a dyn Fn(&str) -> Option<&'a str>,
    /// Bytes of the body.
    pub bytes: usize,
    /// A stream is wanted.
    pub stream: bool,
    /// What the body holds; asked only where a rule depends on it, since it takes reading all of it.
    pub needs: &'a dyn Fn() -> Needs,
}

/// What a target must be able to do for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// Tools are offered.
    pub tools: bool,
    /// There is an image.
    pub images: bool,
    /// There is a document.
    pub documents: bool,
}

/// The first of `rules` that is for the request.
#[must_use]
pub fn first<'r>(rules: impl IntoIterator<Item = &'r Rule>, ask: &Ask<'_>) -> Option<&'r Rule> {
    let mut known = None;
    rules.into_iter().find(|rule| rule.when.head_holds(ask) && rule.when.body_holds(ask, &mut known))
}

impl When {
    /// Whether it names the models that it is for, and looks at who asks beside that alone: not at how much is asked for.
    #[must_use]
    pub fn is_of_names(&self) -> bool {
        let names = Self {
            model: self.model.clone(),
            client: self.client.clone(),
            headers: self.headers.clone(),
            ..Self::default()
        };
        self.model.is_some() && *self == names
    }

    fn head_holds(&self, ask: &Ask<'_>) -> bool {
        let matches = |glob: &Option<Glob>, text: &str| glob.as_ref().is_none_or(|glob| glob.matches(text));
        matches(&self.model, ask.model)
            && matches(&self.client, ask.client)
            && self.headers.iter().all(|(name, glob)| (ask.header)(name).is_some_and(|value| glob.matches(value)))
            && self.body_over.is_none_or(|bytes| ask.bytes > bytes)
            && self.body_under.is_none_or(|bytes| ask.bytes <= bytes)
            && self.stream.is_none_or(|stream| ask.stream == stream)
    }

    fn body_holds(&self, ask: &Ask<'_>, known: &mut Option<Needs>) -> bool {
        if (self.tools, self.images, self.documents) == (None, None, None) {
            return true;
        }
        let needs = *known.get_or_insert_with(|| (ask.needs)());
        let same = |wanted: Option<bool>, is: bool| wanted.is_none_or(|wanted| wanted == is);
        same(self.tools, needs.tools) && same(self.images, needs.images) && same(self.documents, needs.documents)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn rule(name: &str, when: When) -> Rule {
        Rule { name: name.into(), when, model: "m".to_owned() }
    }

    #[test]
    fn everything_that_is_said_must_hold() {
        let header = |name: &str| (name == "x-tier").then_some("free-9");
        let needs = || Needs { tools: true, ..Needs::default() };
        let ask = Ask { model: "gpt-5", client: "team-a", header: &header, bytes: 1_000, stream: true, needs: &needs };
        let check = |when: When, expected: bool| {
            let rules = [rule("r", when.clone())];
            assert_eq!(first(&rules, &ask).is_some(), expected, "{when:?}");
        };
        check(When::default(), true);
        check(When { model: Some(Glob::new("gpt-*")), client: Some(Glob::new("team-*")), ..When::default() }, true);
        check(When { model: Some(Glob::new("gpt-*")), client: Some(Glob::new("other")), ..When::default() }, false);
        let headers = |name: &str, value: &str| vec![(name.to_owned(), Glob::new(value))];
        check(When { headers: headers("x-tier", "free-*"), ..When::default() }, true);
        check(When { headers: headers("x-tier", "paid"), ..When::default() }, false);
        check(When { headers: headers("x-other", "*"), ..When::default() }, false);
        check(When { body_over: Some(999), body_under: Some(1_000), ..When::default() }, true);
        check(When { body_over: Some(1_000), ..When::default() }, false);
        check(When { body_under: Some(999), ..When::default() }, false);
        check(When { stream: Some(false), ..When::default() }, false);
        check(When { tools: Some(true), images: Some(false), ..When::default() }, true);
        check(When { documents: Some(true), ..When::default() }, false);
    }

    #[test]
    fn the_first_counts_and_the_body_is_read_once_at_most() {
        let reads = Cell::new(0);
        let needs = || {
            reads.set(reads.get() + 1);
            Needs::default()
        };
        let ask = Ask { model: "a", client: "c", header: &|_| None, bytes: 0, stream: false, needs: &needs };
        let picky = When { images: Some(true), ..When::default() };
        let plain = When { model: Some(Glob::new("a")), ..When::default() };
        let rules = [rule("one", picky.clone()), rule("two", picky), rule("three", plain.clone()), rule("four", plain)];
        assert_eq!(first(&rules, &ask).map(|rule| &*rule.name), Some("three"));
        assert_eq!(reads.get(), 1);
        let cheap = [rule("x", When { client: Some(Glob::new("nobody")), tools: Some(true), ..When::default() })];
        assert_eq!(first(&cheap, &ask), None);
        assert_eq!(reads.get(), 1, "what fails by its head is not read");
    }
}
