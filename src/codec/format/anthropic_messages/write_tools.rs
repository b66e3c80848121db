//! Tools and the freedom to use them, written.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::marks::{Part, mark_of_tool};
use super::schema::{RESPELLED, TOLD, fitted};
use super::schema_cycle::is_recursive;
use super::wire::{OWN, write_cache, write_extras, write_sub_extras};
use super::write_block::Pen;
use crate::format::{Facts, Undo, arguments};
use crate::hub::{Action, Extra, Field, Refusal, Request, Tool, ToolMode, restricts};
use crate::json::{Json, JsonError, Text};

/// Longest name of a tool.
const LONGEST: usize = 64;

/// Characters of a renamed tool that tell it from every other: `_` and 8 hexadecimal digits.
const TAIL: usize = 9;

/// The name by which a tool goes to the provider: its own where the format allows that.
pub(super) fn sent_name(name: &str) -> Cow<'_, str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.len() <= LONGEST && name.chars().all(allowed) {
        return Cow::Borrowed(name);
    }
    let mut sent: String = name.chars().map(|c| if allowed(c) { c } else { '_' }).take(LONGEST - TAIL).collect();
    sent.push('_');
    for byte in Sha256::digest(name.as_bytes()).iter().take(4) {
        let _ = write!(sent, "{byte:02x}");
    }
    Cow::Owned(sent)
}

impl Pen<'_, '_> {
    /// Writes `tools`, and what the way back must undo.
    pub(super) fn tools(&mut self, request: &Request<'_>, undo: &mut Undo) -> Result<(), Refusal> {
        let mut names = BTreeSet::new();
        for tool in &request.tools {
            if let Some(name) = tool.name() {
                if !names.insert(name) {
                    return Err(Refusal::at(tool.at(), format!("two tools are named `{name}`")));
                }
                let sent = sent_name(name);
                if sent != name {
                    self.report.converted(
                        Field::ToolName,
                        tool.at(),
                        "the name is sent in letters, digits, `_` and `-`",
                    );
                    undo.renamed_tools.push((sent.into_owned(), name.to_owned()));
                }
            }
            self.tool(tool, undo)?;
        }
        Ok(())
    }

    fn tool(&mut self, tool: &Tool<'_>, undo: &mut Undo) -> Result<(), Refusal> {
        let mark = mark_of_tool(tool);
        let mark = mark.and_then(|mark| self.marks.take(Part::Tools, mark, tool.at(), self.report));
        match tool {
            Tool::Function { name, description, schema, strict, extras, .. } => {
                self.json.open_object().key("name").plain(&sent_name(name));
                if let Some(description) = description {
                    self.json.key("description").text(description);
                }
                self.arguments(schema.as_ref(), *strict == Some(true), tool.at());
                let own: &[_] = if self.report.keeps() { extras } else { &[] };
                if let Some(mark) = mark {
                    write_cache(mark, own, &mut self.json);
                }
                write_extras(own, &mut self.json);
                self.json.close_object();
                self.report.extras(extras);
            }
            Tool::Custom { name, description, format, at } => {
                self.report.converted(Field::Tool, *at, "a tool of free text is a function with one text, `input`");
                undo.wrapped_tools.push(sent_name(name).into_owned());
                self.wrapped(name, description.as_ref(), format.as_ref());
            }
            Tool::Server { format, raw, at, .. } if *format == OWN => {
                let trimmed = self.trimmed(raw, true, *at);
                self.server_tool(trimmed.as_ref().unwrap_or(raw), mark.is_some());
            }
            Tool::Server { .. } => return Err(tool.refuse_elsewhere()),
        }
        Ok(())
    }

    /// The schema of a function's arguments; one that they are held to says only what the format can enforce.
    fn arguments(&mut self, schema: Option<&Json<'_>>, strict: bool, at: usize) {
        let (schema, change) = arguments::of_object(schema);
        if let Some(reason) = change {
            self.report.converted(Field::Tool, at, reason);
        }
        let recurs = strict && !self.report.is_own() && is_recursive(&schema);
        if recurs {
            self.report.converted(Field::Strict, at, "the schema refers to itself: calls are not held to it");
        }
        let strict = strict && !recurs;
        let mut fitted = if strict && !self.report.is_own() { fitted(&schema) } else { None };
        // Arguments of any name cannot be held to a schema; without it they can be said.
        let strict = strict && fitted.as_ref().is_none_or(|fitted| !fitted.was_open);
        if fitted.take_if(|fitted| fitted.was_open).is_some() {
            self.report.converted(Field::Strict, at, "objects are open to other properties: calls are not held to it");
        }
        if fitted.as_ref().is_some_and(|fitted| fitted.told) {
            self.report.converted(Field::Strict, at, TOLD);
        }
        if fitted.as_ref().is_some_and(|fitted| fitted.respelled) {
            self.report.converted(Field::Strict, at, RESPELLED);
        }
        if fitted.as_ref().is_some_and(|fitted| fitted.closed) {
            self.report.converted(Field::Strict, at, "objects are closed to other properties");
        }
        self.json.key("input_schema").json(fitted.as_ref().map_or(&schema, |fitted| &fitted.schema));
        if strict {
            self.json.key("strict").bool(true);
        }
    }

    /// A function that takes the free text as its one argument; a grammar is told in words.
    fn wrapped(&mut self, name: &str, description: Option<&Text<'_>>, format: Option<&Json<'_>>) {
        let grammar = restricts(format);
        self.json.open_object().key("name").plain(&sent_name(name));
        let words = description.map_or(Text::EMPTY, Text::by_ref);
        let apart = if words.is_empty() { "" } else { "\n\n" };
        let hint =
            grammar.map(|format| format!("{apart}The text of `input` must follow this format: {}", format.as_str()));
        let hint = hint.as_deref().map_or(Text::EMPTY, Text::from_json);
        if !words.is_empty() || !hint.is_empty() {
            self.json.key("description").texts(&[&words, &hint]);
        }
        self.json
            .key("input_schema")
            .verbatim(r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}"#)
            .close_object();
    }

    fn server_tool(&mut self, raw: &Json<'_>, marked: bool) {
        if marked {
            self.json.json(raw);
            return;
        }
        self.json.open_object();
        // The JSON was read once, so it can be read again.
        let _ = raw.cursor().object::<JsonError>(|key, value| {
            let value = value.json()?;
            if key != "cache_control" {
                self.json.key(Text::from_plain(&key).escaped()).json(&value);
            }
            Ok(())
        });
        self.json.close_object();
    }

    /// Writes `tool_choice` where there is anything to say.
    pub(super) fn tool_choice(&mut self, choice: &Choice<'_>, own: &[Extra<'_>]) {
        let Some(mode) = &choice.mode else { return };
        self.json.key("tool_choice").open_object().key("type");
        match mode {
            ToolMode::Auto => self.json.plain("auto"),
            ToolMode::None => self.json.plain("none"),
            ToolMode::Any => self.json.plain("any"),
            ToolMode::Named { name, .. } => self.json.plain("tool").key("name").plain(&sent_name(name)),
        };
        if let Some(parallel) = choice.parallel.filter(|_| *mode != ToolMode::None) {
            self.json.key("disable_parallel_tool_use").bool(!parallel);
        }
        write_sub_extras("tool_choice.", own, &mut self.json);
        self.json.close_object();
    }
}

/// The freedom to use tools, as far as the target knows it.
#[derive(Debug)]
pub(super) struct Choice<'c> {
    /// What is written.
    pub mode: Option<ToolMode<'c>>,
    /// Several calls in one answer, where the client has a will.
    pub parallel: Option<bool>,
}

impl Choice<'_> {
    /// True when the model must call a tool.
    pub(super) fn is_forced(&self) -> bool {
        matches!(self.mode, Some(ToolMode::Any | ToolMode::Named { .. }))
    }
}

/// Chooses what to say of the client's policy.
pub(super) fn choose<'r>(
    request: &'r Request<'_>,
    facts: &Facts,
    report: &mut super::report::Report<'_>,
) -> Result<Choice<'r>, Refusal> {
    let policy = &request.tool_policy;
    if request.tools.is_empty() {
        let asked = matches!(policy.mode, Some(ToolMode::Any | ToolMode::Named { .. })) || policy.allowed.is_some();
        report.gone(Field::ToolChoice, asked, "there are no tools to choose from");
        return Ok(Choice { mode: None, parallel: None });
    }
    let mut mode = policy.mode.clone();
    if let Some(allowed) = &policy.allowed {
        let known: BTreeSet<&str> = allowed.iter().map(AsRef::as_ref).collect();
        match allowed.as_slice() {
            _ if request.tools.iter().filter_map(Tool::name).all(|name| known.contains(name)) => {}
            [only] if mode == Some(ToolMode::Any) => {
                mode = Some(ToolMode::Named { name: only.clone(), flavor: crate::hub::Flavor::Function });
            }
            // The list of tools itself is not cut: that would rewrite the cached beginning.
            _ => report.field(Field::ToolChoice, Action::Dropped, "some of the tools cannot be ruled out"),
        }
    }
    if policy.parallel == Some(false) && mode.is_none() {
        mode = Some(ToolMode::Auto);
    }
    let choice = Choice { mode, parallel: policy.parallel };
    if choice.is_forced() && !facts.forced_tool {
        let message = "this model cannot be made to call a tool; let it choose (`auto`)";
        return Err(report.refuse(Field::ToolChoice, message));
    }
    Ok(choice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_or_told_apart() {
        assert_eq!(sent_name("get_weather-2"), "get_weather-2");
        let long = |length| "x".repeat(length);
        let names = ["a.b".to_owned(), "a:b".to_owned(), String::new(), "北".to_owned(), long(65), long(66)];
        let renamed: Vec<_> = names.iter().map(|name| sent_name(name)).collect();
        for (at, name) in renamed.iter().enumerate() {
            assert!(name.len() <= 64 && matches!(sent_name(name), Cow::Borrowed(_)), "{name}");
            assert!(!renamed[..at].contains(name), "{name}");
        }
    }
}
