//! A provider's stream, read.
//!
//! ```text
//! response.created  ( item added  deltas  item done )*  response.completed | incomplete | failed | error
//! ```
//! Items may interleave. Read tolerantly: a server may leave out the beginnings, the deltas or the ends; what an item
//! says is then taken from where it stands whole.

use super::read_response::{class_of, is_echo};
use super::stop::Ending;
use super::stream_event::Event as Wire;
use super::stream_items::{Items, Place, Sink, Speech, Step, broken};
use super::wire::{OWN, loose_count, loose_text, placed};
use super::{error, usage};
use crate::format::StreamReader;
use crate::format::told::{Served, Told, unread};
use crate::frame::sse::Frame;
use crate::hub::{Event, Fault, FaultKind, Field, Usage};
use crate::json::{Cursor, JsonError, Kind, Text};

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    started: bool,
    over: bool,
    items: Items,
    told: Told,
    served: Served,
}

/// What a `response` object of an event says.
#[derive(Default)]
struct Said<'a> {
    id: Text<'a>,
    model: Text<'a>,
    created: Option<u64>,
    output: Option<Cursor<'a>>,
    usage: Option<Usage>,
    tier: Option<Text<'a>>,
    ending: Ending<'a>,
    /// Classes of what the hub has no place for.
    unread: Vec<Field>,
}

impl<'a> Said<'a> {
    fn read(response: Option<Cursor<'a>>) -> Result<Self, JsonError> {
        let mut said = Self::default();
        let Some(mut response) = response else { return Ok(said) };
        response.object::<JsonError>(|key, value| {
            match key.as_ref() {
                "id" => said.id = loose_text(value)?.unwrap_or_default(),
                "model" => said.model = loose_text(value)?.unwrap_or_default(),
                "created_at" => said.created = loose_count(value)?,
                "output" => said.output = placed(value, Kind::Array)?,
                "usage" => said.usage = usage::read(value)?,
                "service_tier" => said.tier = loose_text(value)?,
                name if said.ending.field(name, value)? || is_echo(name) => {}
                name => unread(&mut said.unread, class_of(name), value)?,
            }
            Ok(())
        })?;
        Ok(said)
    }
}

/// True for an event of how far the provider's own tools are: the item that follows tells what they did.
fn is_progress(name: &str) -> bool {
    let of_client = name.starts_with("function_call_") || name.starts_with("custom_tool_call_");
    !of_client && (name.contains("_call") || name.starts_with("mcp_") || name.starts_with("audio."))
}

/// True for an event that brings something of an item which began before.
fn is_of_item(name: &str) -> bool {
    matches!(
        name,
        "output_text.done"
            | "refusal.done"
            | "reasoning_summary_text.done"
            | "reasoning_text.done"
            | "function_call_arguments.done"
            | "custom_tool_call_input.done"
            | "content_part.done"
            | "output_text.annotation.added"
    )
}

/// True for an event that says no more than that something begins or is over.
fn is_frame(name: &str) -> bool {
    matches!(name, "content_part.added" | "reasoning_summary_part.added" | "reasoning_summary_part.done")
}

impl StreamReader for Reader {
    fn frame(&mut self, frame: &Frame<'_>, sink: &mut dyn FnMut(Event<'_>)) -> Result<(), Fault<'static>> {
        let data = frame.data.trim();
        // `[DONE]` is another format's; servers send it behind the end.
        if self.over || data.is_empty() || data == "[DONE]" {
            return Ok(());
        }
        self.items.grown = None;
        let mut cursor = Cursor::over(data);
        let start = cursor.clone();
        let read = Wire::read(&mut cursor);
        let done = read.map_err(|error| unreadable(&error)).and_then(|mut event| {
            if event.kind.is_empty() {
                event.kind = frame.event.unwrap_or_default().into();
            }
            self.event(event, start, sink).unwrap_or_else(|error| Err(unreadable(&error)))
        });
        self.over |= done.is_err();
        done
    }

    fn again(&mut self, words: &Text<'_>, _counts: Option<&str>, _sink: &mut dyn FnMut(Event<'_>)) {
        self.items.again(words);
    }

    fn end(&mut self, sink: &mut dyn FnMut(Event<'_>)) {
        if !std::mem::replace(&mut self.over, true) {
            let message = "The provider's stream ended before the answer was complete";
            sink(Event::Fault(Fault::new(FaultKind::StreamIncomplete, message).with_code("stream_incomplete")));
        }
    }
}

fn unreadable(error: &JsonError) -> Fault<'static> {
    broken(&format!("an event that cannot be read: {error}"))
}

impl Reader {
    fn event(&mut self, event: Wire<'_>, start: Cursor<'_>, sink: Sink<'_>) -> Result<Step, JsonError> {
        let Some(name) = event.kind.strip_prefix("response.") else {
            self.outside(&event, start, sink);
            return Ok(Ok(()));
        };
        if event.unread && !is_progress(name) {
            self.told.tell(Field::Unknown, sink);
        }
        match name {
            "output_text.delta" => return Ok(self.delta(Speech::Text, event, sink)),
            "refusal.delta" => return Ok(self.delta(Speech::Refusal, event, sink)),
            "reasoning_summary_text.delta" => return Ok(self.delta(Speech::Summary, event, sink)),
            "reasoning_text.delta" => return Ok(self.delta(Speech::Raw, event, sink)),
            "function_call_arguments.delta" | "custom_tool_call_input.delta" => {
                let at = self.items.about(event.output, &event.id);
                return Ok(at.and_then(|at| self.items.input(at, event.delta, sink)));
            }
            "created" | "queued" | "in_progress" => self.begin(Said::read(event.response)?, sink),
            "completed" | "incomplete" | "done" => return self.terminal(Said::read(event.response)?, name, sink),
            "failed" | "cancelled" => self.failed(Said::read(event.response)?, sink),
            _ => return self.item_event(event, sink),
        }
        Ok(Ok(()))
    }

    /// Events of one item beside its deltas.
    fn item_event(&mut self, event: Wire<'_>, sink: Sink<'_>) -> Result<Step, JsonError> {
        self.ensure_started(sink);
        let name = event.kind.strip_prefix("response.").unwrap_or_default();
        match (name, event.item) {
            ("output_item.added", Some(item)) => return self.items.added(event.output, item, sink),
            ("output_item.done", Some(item)) => return self.items.done(event.output, item, sink),
            ("output_item.added" | "output_item.done", None) => {
                return Ok(Err(broken("an output_item event without its item")));
            }
            _ if !is_of_item(name) => {
                if !is_progress(name) && !is_frame(name) {
                    self.told.tell(Field::Unknown, sink);
                }
                return Ok(Ok(()));
            }
            _ => {}
        }
        let at = match self.items.about(event.output, &event.id) {
            Ok(at) => at,
            Err(fault) => return Ok(Err(fault)),
        };
        let place = |speech: Speech| Place { speech, item: at, part: event.part };
        match name {
            "output_text.done" => return Ok(self.items.whole(place(Speech::Text), event.whole, sink)),
            "refusal.done" => return Ok(self.items.whole(place(Speech::Refusal), event.whole, sink)),
            "reasoning_summary_text.done" => {
                return Ok(self.items.whole(place(Speech::Summary), event.whole, sink));
            }
            "reasoning_text.done" => return Ok(self.items.whole(place(Speech::Raw), event.whole, sink)),
            "function_call_arguments.done" | "custom_tool_call_input.done" => {
                return Ok(self.items.whole_input(at, event.whole, sink));
            }
            "content_part.done" => {
                if let Some(contents) = event.contents {
                    return self.items.part_done(at, event.part, contents, sink);
                }
            }
            "output_text.annotation.added" => {
                if let Some(mut annotation) = event.annotation {
                    return self.items.annotation(at, event.part, &mut annotation, sink);
                }
            }
            _ => {}
        }
        Ok(Ok(()))
    }

    fn delta(&mut self, speech: Speech, event: Wire<'_>, sink: Sink<'_>) -> Step {
        self.ensure_started(sink);
        // Before the words that they are of.
        if let Some(logprobs) = event.logprobs
            && let Some(raw) = super::read_response::join(std::slice::from_ref(&logprobs))
        {
            sink(Event::Logprobs { candidate: 0, raw });
        }
        if let Some(text) = event.delta.filter(|text| !text.is_empty()) {
            let item = self.items.about(event.output, &event.id)?;
            self.items.words(Place { speech, item, part: event.part }, text, sink)?;
        }
        Ok(())
    }

    /// Events that are not of an answer.
    fn outside(&mut self, event: &Wire<'_>, mut start: Cursor<'_>, sink: Sink<'_>) {
        match event.kind.as_ref() {
            "keepalive" | "ping" => sink(Event::Ping),
            "error" => {
                self.over = true;
                sink(Event::Fault(error::read_in_stream(&mut start)));
            }
            _ if event.error => {
                self.over = true;
                sink(Event::Fault(error::read_in_stream(&mut start)));
            }
            _ => self.told.tell(Field::Unknown, sink),
        }
    }

    fn begin(&mut self, said: Said<'_>, sink: Sink<'_>) {
        self.told.all(said.unread, sink);
        if !std::mem::replace(&mut self.started, true) {
            self.items.name(&said.id);
            sink(Event::Start { id: said.id, model: said.model, created: said.created });
        }
        // What was asked for; the end tells what it came to.
        self.served.tell(OWN, said.tier.filter(|tier| tier.escaped() != "auto"), sink);
    }

    fn ensure_started(&mut self, sink: Sink<'_>) {
        if !self.started {
            self.begin(Said::default(), sink);
        }
    }

    fn terminal(&mut self, mut said: Said<'_>, name: &str, sink: Sink<'_>) -> Result<Step, JsonError> {
        self.told.all(std::mem::take(&mut said.unread), sink);
        self.begin(
            Said { id: said.id.clone(), model: said.model.clone(), created: said.created, ..Said::default() },
            sink,
        );
        if let Some(mut output) = said.output.take()
            && let Err(fault) = self.items.rest(&mut output, sink)?
        {
            return Ok(Err(fault));
        }
        self.items.close(sink);
        self.served.tell(OWN, said.tier, sink);
        if let Some(usage) = said.usage {
            sink(Event::Usage(usage));
        }
        // Some servers send the object as it was when it began: then the event says how it ended.
        let stale = |status: &Text<'_>| matches!(status.escaped(), "in_progress" | "queued");
        if said.ending.status.as_ref().is_none_or(stale) {
            said.ending.status =
                Some(Text::from_escaped(if name == "incomplete" { "incomplete" } else { "completed" }));
        }
        self.over = true;
        let stop = said.ending.into_stop(self.items.called());
        sink(Event::Stop { candidate: 0, stop });
        sink(Event::End);
        Ok(Ok(()))
    }

    fn failed(&mut self, said: Said<'_>, sink: Sink<'_>) {
        self.over = true;
        if let Some(usage) = said.usage.filter(|_| self.started) {
            sink(Event::Usage(usage));
        }
        let mut error = said.ending.error.unwrap_or(Cursor::over("null"));
        let fault = error::read_in_stream(&mut error);
        sink(Event::Fault(fault));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn progress_of_the_providers_own_tools_is_told_by_its_name() {
        for (name, progress) in [
            ("web_search_call.searching", true),
            ("code_interpreter_call_code.delta", true),
            ("mcp_list_tools.in_progress", true),
            ("mcp_call_arguments.delta", true),
            ("audio.delta", true),
            ("function_call_arguments.delta", false),
            ("custom_tool_call_input.delta", false),
            ("output_text.delta", false),
        ] {
            assert_eq!(super::is_progress(name), progress, "{name}");
        }
    }
}
