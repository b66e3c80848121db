//! Tools and the freedom to use them, written.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::report::Report;
use super::wire::{OWN, write_extras, write_sub_extras};
use super::write_part::Pen;
use super::{schema_strip, schema_write};
use crate::format::{Facts, Undo};
use crate::hub::{Action, Field, Refusal, Request, Tool, ToolMode, restricts};
use crate::json::{Cursor, Json, JsonError, Kind, Text};

/// Longest name of a function.
const LONGEST: usize = 128;

/// Characters of a renamed tool that tell it from every other: `_` and 8 hexadecimal digits.
const TAIL: usize = 9;

/// The name by which a tool goes to the provider: its own where the format allows that.
pub(super) fn sent_name(name: &str) -> Cow<'_, str> {
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
    if name.starts_with(begins) && name.len() <= LONGEST && name.chars().all(allowed) {
        return Cow::Borrowed(name);
    }
    let mut sent = String::from(if name.starts_with(begins) { "" } else { "_" });
    sent.extend(name.chars().map(|c| if allowed(c) { c } else { '_' }).take(LONGEST - TAIL - 1));
    sent.push('_');
    for byte in Sha256::digest(name.as_bytes()).iter().take(4) {
        let _ = write!(sent, "{byte:02x}");
    }
    Cow::Owned(sent)
}

impl Pen<'_, '_> {
    /// Writes `tools`, and what the way back must undo.
    pub(super) fn tools(&mut self, request: &Request<'_>, facts: &Facts, undo: &mut Undo) -> Result<(), Refusal> {
        if request.tools.is_empty() {
            return Ok(());
        }
        let mut names = BTreeSet::new();
        let mut functions = false;
        for tool in &request.tools {
            let Some(name) = tool.name() else { continue };
            functions = true;
            if !names.insert(name) {
                return Err(Refusal::at(tool.at(), format!("two tools are named `{name}`")));
            }
            let sent = sent_name(name);
            if sent != name {
                self.report.converted(Field::ToolName, tool.at(), "the name is sent in letters, digits and `_.:-`");
                undo.renamed_tools.push((sent.into_owned(), name.to_owned()));
            }
        }
        self.json.key("tools").open_array();
        if functions {
            self.json.open_object().key("functionDeclarations").open_array();
            for tool in &request.tools {
                self.function(tool, facts, undo);
            }
            self.json.close_array().close_object();
        }
        for tool in &request.tools {
            self.server_tool(tool)?;
        }
        self.json.close_array();
        Ok(())
    }

    fn function(&mut self, tool: &Tool<'_>, facts: &Facts, undo: &mut Undo) {
        match tool {
            Tool::Function { name, description, schema, strict, cache, extras, at } => {
                self.json.open_object().key("name").plain(&sent_name(name));
                let beside = schema.as_ref().filter(|schema| takes_nothing(schema)).and_then(described);
                let line = Text::from_escaped("\\n");
                match (description, &beside) {
                    (Some(said), Some(beside)) => {
                        self.json.key("description").texts(&[said, &line, beside]);
                    }
                    (Some(said), None) | (None, Some(said)) => {
                        self.json.key("description").text(said);
                    }
                    (None, None) => {}
                }
                match schema {
                    Some(schema) if !takes_nothing(schema) || (facts.json_schema && takes_anything(schema)) => {
                        self.parameters(schema, facts, *at);
                    }
                    Some(schema) if takes_anything(schema) => {
                        let reason = "a function without named arguments takes none";
                        self.report.dropped(Field::Tool, *at, reason);
                    }
                    Some(_) | None => {}
                }
                if *strict == Some(true) {
                    self.report.dropped(Field::Strict, *at, "calls cannot be held to their schema tool by tool");
                }
                if cache.is_some() {
                    self.report.dropped(Field::CacheMark, *at, "what is cached cannot be marked");
                }
                self.report.extras(extras);
                if self.report.is_own() {
                    write_extras(extras, &mut self.json);
                }
                self.json.close_object();
            }
            Tool::Custom { name, description, format, at } => {
                self.report.converted(Field::Tool, *at, "a tool of free text is a function with one text, `input`");
                undo.wrapped_tools.push(sent_name(name).into_owned());
                self.wrapped(name, description.as_ref(), format.as_ref());
            }
            Tool::Server { .. } => {}
        }
    }

    fn parameters(&mut self, schema: &Json<'_>, facts: &Facts, at: usize) {
        if facts.json_schema {
            self.json.key("parametersJsonSchema").json(&schema_strip::stripped(schema));
            return;
        }
        let written = schema_write::own_dialect(schema, &mut self.room);
        for what in &written.lost {
            self.report.losses.converted(Field::Tool, at, format!("the schema's `{what}` is told in words, if at all"));
        }
        self.json.key("parameters").json(&written.schema);
    }

    /// A function that takes the free text as its one argument; a grammar is told in words.
    fn wrapped(&mut self, name: &str, description: Option<&Text<'_>>, format: Option<&Json<'_>>) {
        let grammar = restricts(format);
        self.json.open_object().key("name").plain(&sent_name(name));
        let words = description.map_or(Text::EMPTY, Text::by_ref);
        let apart = if words.is_empty() { "" } else { "\n\n" };
        let hint =
            grammar.map(|format| format!("{apart}The text of `input` must follow this format: {}", format.as_str()));
        let hint = hint.as_deref().map_or(Text::EMPTY, Text::from_plain);
        if !words.is_empty() || !hint.is_empty() {
            self.json.key("description").texts(&[&words, &hint]);
        }
        self.json
            .key("parameters")
            .verbatim(r#"{"type":"OBJECT","properties":{"input":{"type":"STRING"}},"required":["input"]}"#)
            .close_object();
    }

    fn server_tool(&mut self, tool: &Tool<'_>) -> Result<(), Refusal> {
        let Tool::Server { format, raw, .. } = tool else { return Ok(()) };
        if *format != OWN {
            return Err(tool.refuse_elsewhere());
        }
        self.json.json(raw);
        Ok(())
    }

    /// Writes `toolConfig` where there is anything to say.
    pub(super) fn tool_config(&mut self, request: &Request<'_>, choice: Option<&Choice>) {
        let own: &[_] = if self.report.is_own() { &request.extras } else { &[] };
        let has_own = own.iter().any(|extra| extra.key.starts_with("toolConfig."));
        let calling = own.iter().any(|extra| extra.key.starts_with("functionCallingConfig."));
        if choice.is_none() && !has_own && !calling {
            return;
        }
        self.json.key("toolConfig").open_object();
        if choice.is_some() || calling {
            self.json.key("functionCallingConfig").open_object();
            let has_mode = own.iter().any(|extra| extra.key == "functionCallingConfig.mode");
            if let Some(choice) = choice {
                if !has_mode {
                    self.json.key("mode").plain(choice.mode);
                }
                if !choice.names.is_empty() {
                    self.json.key("allowedFunctionNames").open_array();
                    for name in &choice.names {
                        self.json.plain(&sent_name(name));
                    }
                    self.json.close_array();
                }
            }
            write_sub_extras("functionCallingConfig.", own, &mut self.json);
            self.json.close_object();
        }
        write_sub_extras("toolConfig.", own, &mut self.json);
        self.json.close_object();
    }
}

/// True for a schema of an object without properties: the provider refuses one.
fn takes_nothing(schema: &Json<'_>) -> bool {
    if schema.is_empty() {
        return true;
    }
    let (mut has_properties, mut other) = (false, false);
    let read = schema.cursor().object::<JsonError>(|key, value| {
        match key.as_ref() {
            "properties" => has_properties = !Cursor::json(value)?.is_empty(),
            "type" | "additionalProperties" | "required" | "$schema" | "title" | "description" => value.skip()?,
            _ => other = true,
        }
        Ok(())
    });
    read.is_ok() && !has_properties && !other
}

/// What a schema says of what it is for.
fn described<'j>(schema: &'j Json<'_>) -> Option<Text<'j>> {
    let mut found = None;
    let read = schema.cursor().object::<JsonError>(|key, value| {
        match (key.as_ref(), value.peek()?) {
            ("description", Kind::String) => found = Some(value.text()?),
            _ => value.skip()?,
        }
        Ok(())
    });
    found.filter(|words| read.is_ok() && !words.is_blank())
}

/// True for such a schema that allows arguments of any name.
fn takes_anything(schema: &Json<'_>) -> bool {
    let mut more = false;
    let read = schema.cursor().object::<JsonError>(|key, value| {
        let said = value.json()?;
        more |= key == "additionalProperties" && said.as_str() != "false";
        Ok(())
    });
    read.is_ok() && more
}

/// The freedom to use tools, as far as the target knows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice {
    mode: &'static str,
    names: Vec<String>,
}

/// Chooses what to say of the client's policy.
pub(super) fn choose(request: &Request<'_>, facts: &Facts, report: &mut Report<'_>) -> Result<Option<Choice>, Refusal> {
    let policy = &request.tool_policy;
    if request.tools.is_empty() {
        let asked = matches!(policy.mode, Some(ToolMode::Any | ToolMode::Named { .. })) || policy.allowed.is_some();
        report.gone(Field::ToolChoice, asked, "there are no tools to choose from");
        return Ok(None);
    }
    report.gone(
        Field::ParallelTools,
        policy.parallel == Some(false),
        "several calls in one answer cannot be ruled out",
    );
    let forced = matches!(policy.mode, Some(ToolMode::Any | ToolMode::Named { .. }));
    if forced && !facts.forced_tool {
        let message = "this model cannot be made to call a tool; let it choose (`auto`)";
        return Err(report.refuse(Field::ToolChoice, message));
    }
    let allowed: Vec<String> = policy.allowed.iter().flatten().map(ToString::to_string).collect();
    let choice = match &policy.mode {
        Some(ToolMode::Any) => Choice { mode: "ANY", names: allowed },
        Some(ToolMode::Named { name, .. }) => Choice { mode: "ANY", names: vec![name.to_string()] },
        Some(ToolMode::None) => Choice { mode: "NONE", names: Vec::new() },
        mode => {
            let known: BTreeSet<&str> = allowed.iter().map(String::as_str).collect();
            let all = request.tools.iter().filter_map(Tool::name).all(|name| known.contains(name));
            if !allowed.is_empty() && !all {
                let reason = "some of the tools cannot be ruled out where the model decides";
                report.field(Field::ToolChoice, Action::Dropped, reason);
            }
            if mode.is_none() {
                return Ok(None);
            }
            Choice { mode: "AUTO", names: Vec::new() }
        }
    };
    Ok(Some(choice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_or_told_apart() {
        for name in ["get_weather-2", "ns.tool:x", "_f", &"x".repeat(128)] {
            assert_eq!(sent_name(name), name);
        }
        let names = ["9lives", "a b", "a/b", "", "北", &"x".repeat(129), &"x".repeat(130), "ns\u{1f}f"];
        let renamed: Vec<_> = names.iter().map(|name| sent_name(name)).collect();
        for (at, name) in renamed.iter().enumerate() {
            assert!(name.len() <= LONGEST && matches!(sent_name(name), Cow::Borrowed(_)), "{name}");
            assert!(!renamed[..at].contains(name), "{name}");
        }
    }

    #[test]
    fn trap_c21_a_schema_of_nothing_is_left_out() {
        for (schema, nothing) in [
            (r#"{"type":"object","properties":{}}"#, true),
            (r#"{"type":"object","properties":{},"additionalProperties":false,"required":[]}"#, true),
            ("{}", true),
            ("null", true),
            (r#"{"type":"object","properties":{"a":{}}}"#, false),
            (r##"{"$ref":"#/$defs/a"}"##, false),
        ] {
            assert_eq!(takes_nothing(&Json::from_valid(schema)), nothing, "{schema}");
        }
    }
}
