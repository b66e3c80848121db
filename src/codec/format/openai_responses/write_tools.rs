//! Tools and the choice among them, written.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::read_tools::{NAMESPACE, TOOL_SEARCH};
use super::report::Report;
use super::wire::OWN;
use crate::format::closed::is_closed;
use crate::format::{Facts, Undo, arguments};
use crate::hub::{
    Action, Block, BlockKind, CacheMark, Extra, Field, Flavor, Refusal, Request, Tool, ToolMode, restricts,
    split_namespace,
};
use crate::json::{Json, Text, Writer};

/// The schema of a function that takes nothing.
const CLOSED: &str = r#"{"type":"object","properties":{},"required":[],"additionalProperties":false}"#;

/// Writes `tools`, `tool_choice` and `parallel_tool_calls`.
pub(super) fn write(
    request: &Request<'_>,
    facts: &Facts,
    undo: &mut Undo,
    report: &mut Report<'_>,
    w: &mut Writer<'_>,
) -> Result<(), Refusal> {
    let policy = &request.tool_policy;
    let search = request.extras.iter().find(|extra| report.is_own() && extra.key == TOOL_SEARCH);
    if request.tools.is_empty() && search.is_none() {
        report.gone(Field::ToolChoice, policy.mode.is_some(), "there are no tools to choose from");
        report.gone(Field::ParallelTools, policy.parallel.is_some(), "there are no tools to call");
        return Ok(());
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = request.tools.iter().find(|tool| tool.name().is_some_and(|name| !names.insert(name))) {
        let name = twice.name().map(|name| split_namespace(name).1).unwrap_or_default();
        return Err(Refusal::at(twice.at(), format!("two tools are named `{name}`")));
    }
    w.key("tools").open_array();
    let mut pen = Pen { request, facts, undo, report, w };
    pen.tools(search)?;
    let Pen { undo, report, w, .. } = pen;
    w.close_array();
    choice(request, facts, undo, report, w)?;
    if let Some(parallel) = policy.parallel {
        w.key("parallel_tool_calls").bool(parallel);
    }
    Ok(())
}

struct Pen<'p, 'o, 'l> {
    request: &'p Request<'p>,
    facts: &'p Facts,
    undo: &'p mut Undo,
    report: &'p mut Report<'l>,
    w: &'p mut Writer<'o>,
}

impl Pen<'_, '_, '_> {
    /// Tools of one namespace stand in a row, in an object of their own; the search for tools where it stood.
    fn tools(&mut self, search: Option<&Extra<'_>>) -> Result<(), Refusal> {
        let mut search = search;
        let mut open: Option<&str> = None;
        for tool in &self.request.tools {
            let namespace = tool.name().and_then(|name| split_namespace(name).0).filter(|_| self.report.is_own());
            let before = search.take_if(|search| search.at < tool.at());
            if open.is_some() && (namespace != open || before.is_some()) {
                self.w.close_array().close_object();
                open = None;
            }
            if let Some(before) = before {
                self.w.json(&before.value);
            }
            if let (Some(namespace), None) = (namespace, open) {
                self.begin_namespace(namespace);
                open = Some(namespace);
            }
            self.tool(tool)?;
        }
        if open.is_some() {
            self.w.close_array().close_object();
        }
        if let Some(search) = search {
            self.w.json(&search.value);
        }
        Ok(())
    }

    fn begin_namespace(&mut self, namespace: &str) {
        self.w.open_object().key("type").plain("namespace").key("name").plain(namespace).key("description");
        let said = |extra: &&Extra<'_>| extra.key.strip_prefix(NAMESPACE) == Some(namespace);
        match self.request.extras.iter().find(said) {
            Some(extra) => self.w.json(&extra.value),
            None => self.w.plain(""),
        };
        self.w.key("tools").open_array();
    }

    fn tool(&mut self, tool: &Tool<'_>) -> Result<(), Refusal> {
        match tool {
            Tool::Function { name, description, schema, strict, cache, extras, at } => {
                let name = self.name(name, *at);
                self.w.open_object().key("type").plain("function").key("name").plain(&name);
                if let Some(description) = description {
                    self.w.key("description").text(description);
                }
                self.parameters(schema.as_ref(), *strict, *at);
                if self.report.is_own() {
                    for extra in extras {
                        self.w.key(Text::from_plain(&extra.key).escaped()).json(&extra.value);
                    }
                }
                self.report.extras(extras);
                self.w.close_object();
                self.mark(*cache, *at);
            }
            Tool::Custom { name, description, format, at } if self.facts.custom_tools => {
                let name = self.name(name, *at);
                self.w.open_object().key("type").plain("custom").key("name").plain(&name);
                if let Some(description) = description {
                    self.w.key("description").text(description);
                }
                if let Some(format) = format {
                    self.w.key("format").json(&flat(format));
                }
                self.w.close_object();
            }
            Tool::Custom { name, description, format, at } => {
                let reason = "the server knows no custom tools: a function with one string stands in";
                self.report.converted(Field::Tool, *at, reason);
                let sent = self.name(name, *at);
                // In its own words the answer names the namespace as well.
                let comes_back = if self.report.is_own() { name } else { &sent };
                self.undo.wrapped_tools.push(comes_back.clone().into_owned());
                wrapped(&sent, description.as_ref(), format.as_ref(), self.w);
            }
            Tool::Server { format, raw, .. } if *format == OWN => {
                self.w.json(raw);
            }
            Tool::Server { .. } => return Err(tool.refuse_elsewhere()),
        }
        Ok(())
    }

    /// Writes the schema of a function's arguments, and whether calls are held to it.
    fn parameters(&mut self, schema: Option<&Json<'_>>, strict: Option<bool>, at: usize) {
        let (schema, change) = match schema {
            Some(schema) if !self.report.is_own() => {
                let (schema, change) = arguments::of_object(Some(schema));
                (Some(schema), change)
            }
            schema => (schema.map(Json::by_ref), None),
        };
        if let Some(reason) = change {
            self.report.converted(Field::Tool, at, reason);
        }
        self.w.key("parameters");
        match &schema {
            Some(schema) => self.w.json(schema),
            // A function that is held to its schema needs one that says it all.
            None if strict == Some(true) => self.w.verbatim(CLOSED),
            None => self.w.verbatim(r#"{"type":"object","properties":{}}"#),
        };
        self.strictness(strict, schema.as_ref(), at);
    }

    /// The name as sent; one that had to change is noted for the way back.
    fn name<'t>(&mut self, name: &'t str, at: usize) -> Cow<'t, str> {
        if self.report.is_own() {
            return Cow::Borrowed(split_namespace(name).1);
        }
        let sent = sent_name(name);
        if sent != name {
            let reason = "the name is sent in 64 letters, digits, `_` and `-`";
            self.report.converted(Field::ToolName, at, reason);
            self.undo.renamed_tools.push((sent.clone().into_owned(), name.to_owned()));
        }
        sent
    }

    /// Where nothing is said, this API tries to be strict and the others are not.
    fn strictness(&mut self, strict: Option<bool>, schema: Option<&Json<'_>>, at: usize) {
        match strict {
            None if self.report.is_own() => {}
            Some(true)
                if !self.report.is_own() && !schema.is_none_or(|schema| is_closed(schema, self.report.origin)) =>
            {
                let reason = "the schema is not such as the vendor's strict mode wants";
                self.report.converted(Field::Strict, at, reason);
                self.w.key("strict").bool(false);
            }
            strict => {
                self.w.key("strict").bool(strict.unwrap_or(false));
            }
        }
    }

    /// The vendor's cache breakpoints stand on parts of messages, not on tools.
    fn mark(&mut self, cache: Option<CacheMark>, at: usize) {
        if cache.is_none() {
            return;
        }
        let carried = self.facts.cache_breakpoints && said(&self.request.instructions).next().is_some();
        let reason = if carried {
            "a tool carries no cache mark: it stands behind the instructions"
        } else {
            "a tool carries no cache mark; the provider caches prompts by itself"
        };
        self.report.converted(Field::CacheMark, at, reason);
    }
}

/// Instructions that are not empty.
pub(super) fn said<'r>(instructions: &'r [Block<'r>]) -> impl Iterator<Item = &'r Block<'r>> {
    instructions.iter().filter(|block| !matches!(&block.kind, BlockKind::Text { text, .. } if text.is_empty()))
}

/// The last of the instructions with the mark that tools had: tools stand before the conversation, so that what the
/// provider caches with it holds them too.
pub(super) fn marked<'r>(request: &'r Request<'r>, facts: &Facts) -> Option<Block<'r>> {
    let marks = request.tools.iter().filter_map(|tool| match tool {
        Tool::Function { cache, .. } => *cache,
        Tool::Custom { .. } | Tool::Server { .. } => None,
    });
    let mark = marks.reduce(CacheMark::longer).filter(|_| facts.cache_breakpoints)?;
    let last = said(&request.instructions).last()?;
    Some(Block { cache: Some(last.cache.map_or(mark, |own| own.longer(mark))), ..last.clone() })
}

/// The format of a custom tool's input. Chat nests a grammar in an object of its own, here it is flat.
fn flat<'j>(format: &'j Json<'j>) -> Json<'j> {
    let (mut inner, mut beside) = (None, Vec::new());
    let _ = format.cursor().object::<crate::json::JsonError>(|key, value| {
        match key.as_ref() {
            "type" => value.skip()?,
            "grammar" if value.peek()? == crate::json::Kind::Object => inner = Some(value.json()?),
            _ => beside.push((key.into_owned(), value.json()?)),
        }
        Ok(())
    });
    let Some(inner) = inner else { return format.by_ref() };
    let mut out = Vec::new();
    let mut w = Writer::new(&mut out);
    w.open_object().key("type").plain("grammar");
    let _ = inner.cursor().object::<crate::json::JsonError>(|key, value| {
        w.key(Text::from_plain(&key).escaped()).json(&value.json()?);
        Ok(())
    });
    for (key, value) in &beside {
        w.key(Text::from_plain(key).escaped()).json(value);
    }
    w.close_object();
    String::from_utf8(out).map_or_else(|_| format.by_ref(), Json::from_valid)
}

/// The name by which a tool goes to the provider: its own where the format allows that.
pub(super) fn sent_name(name: &str) -> Cow<'_, str> {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.len() <= 64 && name.chars().all(valid) {
        return Cow::Borrowed(name);
    }
    let kept: String = name.chars().map(|c| if valid(c) { c } else { '_' }).take(52).collect();
    let hash: String = crate::hub::ids::derived("", name).chars().take(10).collect();
    Cow::Owned(format!("{kept}_{hash}"))
}

/// Writes `name` and, for a tool of one, `namespace` of a call.
pub(super) fn write_call_name(name: &str, w: &mut Writer<'_>) {
    let (namespace, name) = split_namespace(name);
    w.key("name").plain(name);
    if let Some(namespace) = namespace {
        w.key("namespace").plain(namespace);
    }
}

fn wrapped(name: &str, description: Option<&Text<'_>>, format: Option<&Json<'_>>, w: &mut Writer<'_>) {
    let mut words = description.cloned().unwrap_or_default().into_owned();
    if let Some(format) = restricts(format) {
        words.push(&Text::from_escaped("\\n\\nThe input must follow this format: "));
        words.push(&Text::from_json(format.as_str()));
    }
    w.open_object().key("type").plain("function").key("name").plain(name).key("description").text(&words);
    w.key("parameters").verbatim(
        r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}"#,
    );
    w.key("strict").bool(false).close_object();
}

fn choice(
    request: &Request<'_>,
    facts: &Facts,
    undo: &Undo,
    report: &mut Report<'_>,
    w: &mut Writer<'_>,
) -> Result<(), Refusal> {
    if let Some(own) = request.extras.iter().find(|extra| report.is_own() && extra.key == "tool_choice") {
        w.key("tool_choice").json(&own.value);
        return Ok(());
    }
    let Some(mode) = &request.tool_policy.mode else { return Ok(()) };
    if matches!(mode, ToolMode::Any | ToolMode::Named { .. }) && !facts.forced_tool {
        return Err(report.refuse(Field::ToolChoice, "the model cannot be made to call a tool"));
    }
    w.key("tool_choice");
    let own = report.is_own();
    if let (Some(allowed), ToolMode::Auto | ToolMode::Any) = (&request.tool_policy.allowed, mode) {
        let word = if *mode == ToolMode::Any { "required" } else { "auto" };
        w.open_object().key("type").plain("allowed_tools").key("mode").plain(word).key("tools").open_array();
        let customs = customs(request, undo);
        for name in allowed {
            named(name, flavor_of(name, &customs), own, w);
        }
        w.close_array().close_object();
        return Ok(());
    }
    if request.tool_policy.allowed.is_some() {
        report.field(Field::ToolChoice, Action::Dropped, "the set of allowed tools does not go with this choice");
    }
    match mode {
        ToolMode::Auto => w.plain("auto"),
        ToolMode::None => w.plain("none"),
        ToolMode::Any => w.plain("required"),
        ToolMode::Named { name, .. } => {
            named(name, flavor_of(name, &customs(request, undo)), own, w);
            return Ok(());
        }
    };
    Ok(())
}

/// The tools that take free text as they are; a client may allow thousands of names, so they are looked up in a set.
fn customs<'r>(request: &'r Request<'_>, undo: &Undo) -> BTreeSet<&'r str> {
    let wrapped: BTreeSet<&str> = undo.wrapped_tools.iter().map(String::as_str).collect();
    let custom = |tool: &'r Tool<'_>| match tool {
        Tool::Custom { name, .. } => Some(name.as_ref()),
        Tool::Function { .. } | Tool::Server { .. } => None,
    };
    let stays = |name: &&str| !wrapped.contains(sent_name(name).as_ref()) && !wrapped.contains(*name);
    request.tools.iter().filter_map(custom).filter(stays).collect()
}

fn flavor_of(name: &str, customs: &BTreeSet<&str>) -> Flavor {
    if customs.contains(name) { Flavor::Custom } else { Flavor::Function }
}

fn named(name: &str, flavor: Flavor, own: bool, w: &mut Writer<'_>) {
    w.open_object().key("type").plain(match flavor {
        Flavor::Function => "function",
        Flavor::Custom => "custom",
    });
    if own {
        write_call_name(name, w);
    } else {
        w.key("name").plain(&sent_name(name));
    }
    w.close_object();
}
