//! YAML as a tree in which every key and value knows where it stands.
//!
//! Anchors, aliases and merge keys (`<<`) work; what they expand to is bounded. Scalars keep their text: whether `off`
//! is a word or a switch is for the key to say, not for YAML.

use std::collections::HashMap;

use serde_yaml::granit_parser::{Event, Marker, Options, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::problem::{Place, Problems};

/// Nodes of a tree, aliases expanded.
const MAX_NODES: usize = 50_000;
/// Collections inside each other, aliases expanded.
const MAX_DEPTH: usize = 32;

/// A text as a tree.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: Node,
    /// Keys that stand in a map for the second time: they and what they hold are not in the tree.
    pub(super) dropped: Vec<Place>,
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What a node holds.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

/// A scalar's text.
#[derive(Clone, Default)]
pub(super) struct Scalar {
    /// The text, placeholders filled in.
    pub(super) text: String,
    /// The text as the file has it, where that differs.
    pub(super) written: Option<String>,
    /// Whether it was written without quotes.
    pub(super) plain: bool,
    /// Whether a placeholder in it could not be filled, which is noted: its text means nothing.
    pub(super) failed: bool,
    /// Whether no report may show it. All that environment variables set counts as secret.
    pub(super) secret: bool,
}

impl Scalar {
    /// Whether it says that there is no value.
    pub(super) fn is_null(&self) -> bool {
        match &self.written {
            None => self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL"),
            // `${NAME:-}` says that nothing may stand there; a variable that merely is empty does not.
            Some(written) => self.text.is_empty() && written.ends_with(":-}"),
        }
    }

    /// The text for a report: never a secret, never what a placeholder stands for.
    pub(super) fn shown(&self) -> String {
        self.quote(&self.text)
    }

    /// `part` of the text for a report; where that would show a secret or what a placeholder stands for, the text as
    /// the file has it.
    pub(super) fn quote(&self, part: &str) -> String {
        let text = match &self.written {
            _ if self.secret => return "the value".to_owned(),
            Some(written) => written,
            None => part,
        };
        let cut: String = text.chars().take(80).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if cut.len() < text.len() { format!("`{cut}…`") } else { format!("`{cut}`") }
    }
}

impl std::fmt::Debug for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Node {
    /// A scalar without quotes.
    pub(super) fn scalar(place: Place, text: String) -> Self {
        Self { place, value: Value::Scalar(Scalar { text, plain: true, ..Scalar::default() }) }
    }

    /// Whether it is an empty scalar, which stands for an absent value.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.is_null())
    }

    /// What it is, for a sentence.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Scalar(scalar) if scalar.is_null() => "nothing".to_owned(),
            Value::Scalar(scalar) => scalar.shown(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }

    /// Calls `visit` with each scalar value below, and the names of the keys above it.
    pub(super) fn scalars(&mut self, above: &mut Vec<String>, visit: &mut impl FnMut(&[String], &Place, &mut Scalar)) {
        match &mut self.value {
            Value::Scalar(scalar) => visit(above, &self.place, scalar),
            Value::List(items) => items.iter_mut().for_each(|item| item.scalars(above, visit)),
            Value::Map(entries) => {
                for entry in entries {
                    above.push(entry.key.clone());
                    entry.node.scalars(above, visit);
                    above.pop();
                }
            }
        }
    }
}

/// Reads `source`. What is wrong goes to `problems`; `None` where the text is no YAML at all.
pub(super) fn parse(source: &str, problems: &Problems) -> Option<Tree> {
    let mut options = Options::default();
    options.emit_unresolved_aliases = true;
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    options.set_emit_comments(false);
    let parser = Parser::new_from_str_with_options(source, options);
    let mut builder = Builder { source, parser, problems, anchors: HashMap::new(), nodes: 0, dropped: Vec::new() };
    match builder.document() {
        Ok(root) => Some(Tree { root, dropped: builder.dropped }),
        Err(Stop::Syntax(error)) => {
            let place = at(error.marker(), 1);
            problems.add(
                &place,
                format!("this is not YAML: {}", error.info()),
                "indent with spaces; quote text that holds `: ` or ` #` or begins with one of `*&!|>%@{[`",
            );
            None
        }
        Err(Stop::Noted) => None,
    }
}

/// Why reading ended early.
enum Stop {
    /// The text is no YAML.
    Syntax(ScanError),
    /// A bound was passed; the problem is noted.
    Noted,
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        Self::Syntax(error)
    }
}

/// What an alias stands for, with its size.
struct Anchored {
    node: Node,
    nodes: usize,
    height: usize,
}

struct Builder<'a> {
    source: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    problems: &'a Problems,
    anchors: HashMap<usize, Option<Anchored>>,
    nodes: usize,
    dropped: Vec<Place>,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Stop> {
        match self.parser.next() {
            Some(event) => Ok(event?),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn document(&mut self) -> Result<Node, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(..) if root.is_some() => {
                    self.problems.add(
                        &self.place(span),
                        "a second document begins here",
                        "keep the configuration in one document: remove the `---`",
                    );
                    return Err(Stop::Noted);
                }
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                event => root = Some(self.node(event, span, 0)?.0),
            }
        }
        Ok(root.unwrap_or(Node { place: Place::File, value: Value::Map(Vec::new()) }))
    }

    /// The node that `event` begins, with its height: 0 for a scalar.
    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<(Node, usize), Stop> {
        let place = self.place(span);
        let first = self.nodes;
        self.grow(1, &place)?;
        if depth > MAX_DEPTH {
            self.problems.add(&place, format!("more than {MAX_DEPTH} collections stand inside each other"), "");
            return Err(Stop::Noted);
        }
        if let Some(tag) = event.tag() {
            let tag = tag.to_string();
            // As with an alias: what is no short word may be a secret that happens to begin with `!`.
            let word = tag.len() <= 16 && tag.chars().all(|c| c.is_ascii_alphabetic() || "!_".contains(c));
            self.problems.add(
                &place,
                format!("the tag `{}` has no meaning here", if word { &tag } else { "!…" }),
                "remove it; quote a text that begins with `!`",
            );
        }
        let anchor = event.anchor_id();
        if let Some(id) = anchor.filter(|_| !matches!(event, Event::Alias(_))) {
            self.anchors.insert(id, None);
        }
        let (node, height) = match event {
            Event::Scalar(text, style, ..) => {
                let plain = style == ScalarStyle::Plain;
                let scalar = Scalar { text: text.into_owned(), plain, ..Scalar::default() };
                (Node { place, value: Value::Scalar(scalar) }, 0)
            }
            Event::SequenceStart(..) => self.list(place, depth)?,
            Event::MappingStart(..) => self.map(place, depth)?,
            Event::Alias(id) => return self.alias(id, &place, depth),
            Event::UnresolvedAlias(name) => {
                // What is long or odd may be a secret that happens to begin with `*`.
                let word = name.len() <= 16
                    && !name.starts_with("sk-")
                    && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
                let name = if word { name.as_ref() } else { "…" };
                self.problems.add(
                    &place,
                    format!("nothing above is anchored as `&{name}`"),
                    format!("quote it if it is text: \"*{name}\""),
                );
                (Node::scalar(place, String::new()), 0)
            }
            _ => (Node::scalar(place, String::new()), 0),
        };
        if let Some(id) = anchor {
            self.anchors.insert(id, Some(Anchored { node: node.clone(), nodes: self.nodes - first, height }));
        }
        Ok((node, height))
    }

    fn list(&mut self, place: Place, depth: usize) -> Result<(Node, usize), Stop> {
        let (mut items, mut height) = (Vec::new(), 0);
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd | Event::StreamEnd) {
                return Ok((Node { place, value: Value::List(items) }, height + 1));
            }
            let (item, below) = self.node(event, span, depth + 1)?;
            height = height.max(below);
            items.push(item);
        }
    }

    fn map(&mut self, place: Place, depth: usize) -> Result<(Node, usize), Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merges = Vec::new();
        let mut seen: HashMap<String, Place> = HashMap::new();
        let mut height = 0;
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                break;
            }
            let (key, _) = self.node(event, span, depth + 1)?;
            let (event, span) = self.next()?;
            let (node, below) = self.node(event, span, depth + 1)?;
            height = height.max(below);
            match key.value {
                Value::Scalar(scalar) if scalar.plain && scalar.text == "<<" => merges.push(node),
                Value::Scalar(scalar) => {
                    if let Some(first) = seen.get(&scalar.text) {
                        let where_first = first.line().map_or_else(String::new, |line| format!(", on line {line}"));
                        self.problems.add(
                            &key.place,
                            format!("the key {} stands here twice", scalar.shown()),
                            format!("remove one of them: the first is above{where_first}"),
                        );
                        self.dropped.push(key.place);
                        continue;
                    }
                    seen.insert(scalar.text.clone(), key.place.clone());
                    entries.push(Entry { key: scalar.text, place: key.place, node });
                }
                Value::List(_) | Value::Map(_) => {
                    self.problems.add(&key.place, "a key must be a word", "quote it if it begins with `{` or `[`");
                }
            }
        }
        for merge in merges {
            self.merge(merge, &mut entries, &mut seen);
        }
        Ok((Node { place, value: Value::Map(entries) }, height + 1))
    }

    /// Adds the entries of a merge key's value; those that are written out win, and so do earlier merges.
    fn merge(&self, from: Node, entries: &mut Vec<Entry>, seen: &mut HashMap<String, Place>) {
        match from.value {
            Value::Map(merged) => {
                for entry in merged {
                    if !seen.contains_key(&entry.key) {
                        seen.insert(entry.key.clone(), entry.place.clone());
                        entries.push(entry);
                    }
                }
            }
            Value::List(maps) if maps.iter().all(|map| matches!(map.value, Value::Map(_))) => {
                for map in maps {
                    self.merge(map, entries, seen);
                }
            }
            Value::List(_) | Value::Scalar(_) => {
                self.problems.add(
                    &from.place,
                    "`<<` takes a map, or a list of maps",
                    "write `<<: *name`, with `&name` on a map above",
                );
            }
        }
    }

    fn alias(&mut self, id: usize, place: &Place, depth: usize) -> Result<(Node, usize), Stop> {
        let Some(Some(anchored)) = self.anchors.get(&id) else {
            self.problems.add(place, "an alias cannot stand inside what it names", "");
            return Err(Stop::Noted);
        };
        let (nodes, height) = (anchored.nodes, anchored.height);
        if depth + height > MAX_DEPTH {
            self.problems.add(place, format!("aliases put more than {MAX_DEPTH} collections inside each other"), "");
            return Err(Stop::Noted);
        }
        let node = anchored.node.clone();
        self.grow(nodes, place)?;
        Ok((node, height))
    }

    fn grow(&mut self, by: usize, place: &Place) -> Result<(), Stop> {
        self.nodes += by;
        if self.nodes <= MAX_NODES {
            return Ok(());
        }
        self.problems.add(place, format!("the file holds more than {MAX_NODES} values, aliases expanded"), "");
        Err(Stop::Noted)
    }

    /// Where a span stands; one of several lines is underlined to the end of its first.
    fn place(&self, span: Span) -> Place {
        let text = span.slice(self.source).unwrap_or_default();
        let width = text.lines().next().unwrap_or_default().trim_end().chars().count();
        at(&span.start, width.max(1))
    }
}

fn at(marker: &Marker, width: usize) -> Place {
    Place::At { line: marker.line().max(1), column: marker.col() + 1, width }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree on one line, with places.
    fn dump(node: &Node) -> String {
        let place = match &node.place {
            Place::At { line, column, width } => format!("@{line}:{column}+{width}"),
            Place::File | Place::Variable(_) => "@".to_owned(),
        };
        match &node.value {
            Value::Scalar(scalar) => format!("{}{place}", scalar.text),
            Value::List(items) => format!("[{}]", items.iter().map(dump).collect::<Vec<_>>().join(" ")),
            Value::Map(entries) => {
                let entries: Vec<_> = entries.iter().map(|e| format!("{}={}", e.key, dump(&e.node))).collect();
                format!("{{{}}}", entries.join(" "))
            }
        }
    }

    fn check(source: &str, expect: &str) {
        let problems = Problems::default();
        let tree = parse(source, &problems).map(|tree| dump(&tree.root)).unwrap_or_default();
        let report = problems.into_report("f", source).map(|report| {
            let lines: Vec<_> =
                report.problems().iter().map(|p| format!("{}: {}", p.place.line().unwrap_or(0), p.message)).collect();
            lines.join("; ")
        });
        let found = report.unwrap_or(tree);
        assert_eq!(found, expect, "\n{source}");
    }

    #[test]
    fn values_know_their_place() {
        check("", "{}");
        check("# nothing\n", "{}");
        check("a: 1\nb: [x, 'y z']\n", "{a=1@1:4+1 b=[x@2:5+1 y z@2:8+5]}");
        check("a:\n  b: ü\n  c: \"q\"\n", "{a={b=ü@2:6+1 c=q@3:6+3}}");
        check("ä: {ö: x}\r\nb: y\r\n", "{ä={ö=x@1:8+1} b=y@2:4+1}");
        check("a: |\n  one\n  two\n", "{a=one\ntwo\n@2:3+3}");
    }

    #[test]
    fn aliases_and_merge_keys_are_expanded() {
        check("a: &x 1\nb: *x\n", "{a=1@1:7+1 b=1@1:7+1}");
        check("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\n", "{a={p=1@1:11+1 q=2@1:17+1} b={q=3@2:16+1 p=1@1:11+1}}");
        check(
            "a: &x {p: 1}\nb: &y {p: 2, q: 2}\nc: {<<: [*x, *y]}\n",
            "{a={p=1@1:11+1} b={p=2@2:11+1 q=2@2:17+1} c={p=1@1:11+1 q=2@2:17+1}}",
        );
        check("a: *x\n", "1: nothing above is anchored as `&x`");
        check("a: *\"sk-secret\"\n", "1: nothing above is anchored as `&…`");
        check("a: &x [*x]\n", "1: an alias cannot stand inside what it names");
        check("a: {<<: 1}\n", "1: `<<` takes a map, or a list of maps");
    }

    #[test]
    fn faults_are_told() {
        check("a: 1\nb: 2\na: 3\nb: 4\n", "3: the key `a` stands here twice; 4: the key `b` stands here twice");
        check("a: 1\n---\nb: 2\n", "2: a second document begins here");
        check("a: !x 1\n", "1: the tag `!x` has no meaning here");
        check("{[a]: 1}\n", "1: a key must be a word");
    }

    #[test]
    fn what_aliases_expand_to_is_bounded() {
        let mut source = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let below = level - 1;
            source += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{below}"); 10].join(", "));
        }
        check(&source, "5: the file holds more than 50000 values, aliases expanded");
        let mut source = "a0: &a0 [x]\n".to_owned();
        for level in 1..40 {
            source += &format!("a{level}: &a{level} [*a{}]\n", level - 1);
        }
        check(&source, "32: aliases put more than 32 collections inside each other");
        let deep = format!("a: {}{}\n", "[".repeat(500), "]".repeat(500));
        let problems = Problems::default();
        assert!(parse(&deep, &problems).is_none());
        assert!(!problems.is_empty());
    }
}
