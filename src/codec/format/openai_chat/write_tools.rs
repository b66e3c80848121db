//! Tools and the choice among them, written.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::report::Report;
use super::wire::OWN;
use crate::format::closed::is_closed;
use crate::format::{Facts, Undo, arguments};
use crate::hub::{Action, Extra, Field, Flavor, Refusal, Request, Tool, ToolMode, restricts};
use crate::json::{Json, Text, Writer};

/// Writes `tools`, `tool_choice` and `parallel_tool_calls`.
pub(super) fn write(
    request: &Request<'_>,
    facts: &Facts,
    undo: &mut Undo,
    report: &mut Report<'_>,
    w: &mut Writer<'_>,
) -> Result<(), Refusal> {
    let policy = &request.tool_policy;
    if request.tools.is_empty() {
        report.gone(Field::ToolChoice, policy.mode.is_some(), "there are no tools to choose from");
        report.gone(Field::ParallelTools, policy.parallel.is_some(), "there are no tools to call");
        return Ok(());
    }
    w.key("tools").open_array();
    for tool in &request.tools {
        one(tool, facts, undo, report, w)?;
    }
    w.close_array();
    choice(request, facts, undo, report, w)?;
    if let Some(parallel) = policy.parallel {
        w.key("parallel_tool_calls").bool(parallel);
    }
    Ok(())
}

fn one(
    tool: &Tool<'_>,
    facts: &Facts,
    undo: &mut Undo,
    report: &mut Report<'_>,
    w: &mut Writer<'_>,
) -> Result<(), Refusal> {
    match tool {
        Tool::Function { name, description, schema, strict, extras, at, .. } => {
            let name = short_name(name, *at, undo, report);
            w.open_object().key("type").plain("function").key("function").open_object().key("name").plain(&name);
            if let Some(description) = description {
                w.key("description").text(description);
            }
            let schema = match schema {
                None if facts.compatible_extensions && !report.is_own() => Some(no_parameters(*strict, w)),
                schema => parameters(schema.as_ref(), *at, report, w),
            };
            if let Some(strict) = strict {
                strictness(*strict, schema.as_ref(), *at, report, w);
            }
            own_extras(extras, report, w);
            w.close_object().close_object();
        }
        Tool::Custom { name, description, format, at } if facts.custom_tools => {
            let name = short_name(name, *at, undo, report);
            w.open_object().key("type").plain("custom").key("custom").open_object().key("name").plain(&name);
            if let Some(description) = description {
                w.key("description").text(description);
            }
            if let Some(format) = format {
                w.key("format").json(format);
            }
            w.close_object().close_object();
        }
        Tool::Custom { name, description, format, at } => {
            report.converted(
                Field::Tool,
                *at,
                "the server knows no custom tools: a function with one string stands in",
            );
            let name = short_name(name, *at, undo, report);
            undo.wrapped_tools.push(name.clone().into_owned());
            wrapped(&name, description.as_ref(), format.as_ref(), w);
        }
        Tool::Server { format, raw, .. } if *format == OWN => {
            w.json(raw);
        }
        Tool::Server { .. } => return Err(tool.refuse_elsewhere()),
    }
    Ok(())
}

/// Names have at most 64 characters of `[A-Za-z0-9_-]`; another goes by one that is derived from it.
fn short_name<'t>(name: &'t str, at: usize, undo: &mut Undo, report: &mut Report<'_>) -> Cow<'t, str> {
    let valid = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if name.len() <= 64 && name.bytes().all(valid) {
        return Cow::Borrowed(name);
    }
    let sent = sent_name(name).into_owned();
    undo.renamed_tools.push((sent.clone(), name.to_owned()));
    report.converted(Field::ToolName, at, "the provider takes no such name: another stands in, and is given back");
    Cow::Owned(sent)
}

/// The name by which the provider knows the tool `name`.
pub(super) fn sent_name(name: &str) -> Cow<'_, str> {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.len() <= 64 && name.chars().all(valid) {
        return Cow::Borrowed(name);
    }
    let kept: String = name.chars().map(|c| if valid(c) { c } else { '_' }).take(52).collect();
    let hash: String = crate::hub::ids::derived("", name).chars().take(10).collect();
    Cow::Owned(format!("{kept}_{hash}"))
}

/// A function without parameters is one without arguments. Returns those that are written.
fn parameters<'a>(
    schema: Option<&'a Json<'a>>,
    at: usize,
    report: &mut Report<'_>,
    w: &mut Writer<'_>,
) -> Option<Json<'a>> {
    let (schema, change) = match schema? {
        schema if report.is_own() => (schema.by_ref(), None),
        schema => arguments::of_object(Some(schema)),
    };
    if let Some(reason) = change {
        report.converted(Field::Tool, at, reason);
    }
    w.key("parameters").json(&schema);
    Some(schema)
}

/// The same said in a schema, for servers that demand one.
fn no_parameters(strict: Option<bool>, w: &mut Writer<'_>) -> Json<'static> {
    let schema = Json::from_valid(match strict {
        Some(true) => r#"{"type":"object","properties":{},"additionalProperties":false}"#,
        Some(false) | None => r#"{"type":"object","properties":{}}"#,
    });
    w.key("parameters").json(&schema);
    schema
}

/// `strict` here wants every object closed and every property required; a schema that is not shaped so is sent loose.
fn strictness(strict: bool, schema: Option<&Json<'_>>, at: usize, report: &mut Report<'_>, w: &mut Writer<'_>) {
    if strict && !report.is_own() && !schema.is_none_or(|schema| is_closed(schema, report.origin)) {
        report.converted(Field::Strict, at, "the schema is not such as the vendor's strict mode wants");
        w.key("strict").bool(false);
    } else {
        w.key("strict").bool(strict);
    }
}

fn own_extras(extras: &[Extra<'_>], report: &mut Report<'_>, w: &mut Writer<'_>) {
    if report.is_own() {
        for extra in extras.iter().filter(|extra| extra.field != Field::CacheMark) {
            w.key(Text::from_plain(&extra.key).escaped()).json(&extra.value);
        }
    }
    report.extras(extras);
}

fn wrapped(name: &str, description: Option<&Text<'_>>, format: Option<&Json<'_>>, w: &mut Writer<'_>) {
    let mut words = description.cloned().unwrap_or_default().into_owned();
    if let Some(format) = restricts(format) {
        if !words.is_empty() {
            words.push(&Text::from_escaped("\\n\\n"));
        }
        words.push(&Text::from_escaped("The input must follow this format: "));
        words.push(&Text::from_json(format.as_str()));
    }
    w.open_object().key("type").plain("function").key("function").open_object().key("name").plain(name);
    w.key("description").text(&words);
    w.key("parameters").verbatim(
        r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}"#,
    );
    w.close_object().close_object();
}

fn choice(
    request: &Request<'_>,
    facts: &Facts,
    undo: &Undo,
    report: &mut Report<'_>,
    w: &mut Writer<'_>,
) -> Result<(), Refusal> {
    let Some(mode) = &request.tool_policy.mode else { return Ok(()) };
    if matches!(mode, ToolMode::Any | ToolMode::Named { .. }) && !facts.forced_tool {
        return Err(report.refuse(Field::ToolChoice, "the model cannot be made to call a tool"));
    }
    w.key("tool_choice");
    if let (Some(allowed), ToolMode::Auto | ToolMode::Any) = (&request.tool_policy.allowed, mode) {
        if facts.compatible_extensions && !report.is_own() {
            if matches!((mode, allowed.as_slice()), (ToolMode::Any, [_])) {
                report.field(Field::ToolChoice, Action::Converted, "a set of one tool that is required is that tool");
            } else {
                // Whoever counts on the bound has to know.
                let reason = "the server takes no set of allowed tools: the model may call any of the request's";
                report.field(Field::ToolChoice, Action::Dropped, reason);
            }
            unrestricted(mode, allowed, &customs(request, undo), w);
            return Ok(());
        }
        let word = if *mode == ToolMode::Any { "required" } else { "auto" };
        w.open_object().key("type").plain("allowed_tools").key("allowed_tools").open_object().key("mode").plain(word);
        w.key("tools").open_array();
        let customs = customs(request, undo);
        for name in allowed {
            named(name, flavor_of(name, &customs), w);
        }
        w.close_array().close_object().close_object();
        return Ok(());
    }
    if request.tool_policy.allowed.is_some() {
        report.field(Field::ToolChoice, Action::Dropped, "the set of allowed tools does not go with this choice");
    }
    match mode {
        ToolMode::Auto => w.plain("auto"),
        ToolMode::None => w.plain("none"),
        ToolMode::Any => w.plain("required"),
        ToolMode::Named { name, flavor } => {
            let sent = sent_name(name);
            let wrapped = undo.wrapped_tools.iter().any(|tool| *tool == sent);
            named(name, if wrapped { Flavor::Function } else { *flavor }, w);
            return Ok(());
        }
    };
    Ok(())
}

/// What comes nearest to a set of `allowed` tools where none can be said. The tools themselves stay: they are part of what
/// a prompt is found by in a cache.
fn unrestricted(mode: &ToolMode<'_>, allowed: &[Cow<'_, str>], customs: &BTreeSet<&str>, w: &mut Writer<'_>) {
    match (mode, allowed) {
        (ToolMode::Any, [name]) => named(name, flavor_of(name, customs), w),
        (ToolMode::Any, _) => {
            w.plain("required");
        }
        (ToolMode::Auto | ToolMode::None | ToolMode::Named { .. }, _) => {
            w.plain("auto");
        }
    }
}

/// The tools that take free text as they are; a client may allow thousands of names, so they are looked up in a set.
fn customs<'r>(request: &'r Request<'_>, undo: &Undo) -> BTreeSet<&'r str> {
    let wrapped: BTreeSet<&str> = undo.wrapped_tools.iter().map(String::as_str).collect();
    let custom = |tool: &'r Tool<'_>| match tool {
        Tool::Custom { name, .. } => Some(name.as_ref()),
        Tool::Function { .. } | Tool::Server { .. } => None,
    };
    request.tools.iter().filter_map(custom).filter(|name| !wrapped.contains(sent_name(name).as_ref())).collect()
}

fn flavor_of(name: &str, customs: &BTreeSet<&str>) -> Flavor {
    if customs.contains(name) { Flavor::Custom } else { Flavor::Function }
}

fn named(name: &str, flavor: Flavor, w: &mut Writer<'_>) {
    let kind = match flavor {
        Flavor::Function => "function",
        Flavor::Custom => "custom",
    };
    w.open_object().key("type").plain(kind).key(kind).open_object().key("name").plain(&sent_name(name));
    w.close_object().close_object();
}
