//! The order in which a stream's events may come on the wire; what every writer of the format must keep.

use std::borrow::Cow;

use crate::frame::sse::Frame;
use crate::json::{Cursor, Json, JsonError, Kind};

/// Checks a stream of the format, event by event.
#[derive(Debug, Default)]
pub struct Grammar {
    sequence: u64,
    /// The answer's id, once it is told.
    id: Option<String>,
    in_progress: bool,
    items: Vec<Item>,
    ended: bool,
}

/// What was seen of one item.
#[derive(Debug, Default)]
struct Item {
    id: String,
    kind: String,
    parts: Vec<Part>,
    /// Deltas of a call, and whether they were repeated whole.
    input: String,
    input_done: bool,
    /// The whole item, once it is done.
    done: Option<String>,
}

#[derive(Debug, Default)]
struct Part {
    key: &'static str,
    text: String,
    text_done: bool,
    done: bool,
}

/// What an event says of itself.
#[derive(Default)]
struct Said<'a> {
    kind: Cow<'a, str>,
    sequence: Option<u64>,
    output: Option<usize>,
    item_id: Option<Cow<'a, str>>,
    content: Option<usize>,
    summary: Option<usize>,
    delta: Option<String>,
    whole: Option<String>,
    item: Option<Json<'a>>,
    part: Option<Json<'a>>,
    response: Option<Json<'a>>,
    has_message: bool,
}

type Check = Result<(), String>;

impl Grammar {
    /// Takes the next event.
    ///
    /// # Errors
    ///
    /// The event may not come here; says why.
    pub fn next(&mut self, frame: &Frame<'_>) -> Check {
        if self.ended {
            return Err(format!("{} behind the end", frame.data));
        }
        let said = Said::read(frame.data).map_err(|error| format!("{error} in {}", frame.data))?;
        if frame.event != Some(said.kind.as_ref()) {
            return Err(format!("the event line {:?} is not the type {:?}", frame.event, said.kind));
        }
        if said.sequence != Some(self.sequence) {
            return Err(format!("sequence number {:?}, but {} is next", said.sequence, self.sequence));
        }
        self.sequence += 1;
        if said.kind == "error" {
            self.ended = true;
            return want(said.has_message, "an error with a message");
        }
        let name = said.kind.strip_prefix("response.").ok_or("a type that begins with `response.`")?;
        match (name, &self.id, self.in_progress) {
            ("created", None, _) | ("in_progress", Some(_), false) => self.begin(&said),
            (_, None, _) | (_, _, false) => Err(format!("{name} before created and in_progress")),
            ("completed" | "incomplete" | "failed", ..) => self.end(&said),
            _ => self.item(name, &said),
        }
    }

    /// True once nothing more may come.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    fn begin(&mut self, said: &Said<'_>) -> Check {
        let response = said.response.as_ref().ok_or("no response")?;
        self.same_answer(response)?;
        want(string(response, "status").as_deref() == Some("in_progress"), "status in_progress")?;
        want(field(response, "output").as_deref() == Some("[]"), "no output yet")?;
        self.in_progress = said.kind == "response.in_progress";
        Ok(())
    }

    /// Every response object is of one answer, and has what official clients want of it.
    fn same_answer(&mut self, response: &Json<'_>) -> Check {
        let id = string(response, "id").filter(|id| !id.is_empty()).ok_or("a response without id")?;
        let known = self.id.get_or_insert_with(|| id.clone());
        want(*known == id, "one id for the whole answer")?;
        for key in ["object", "created_at", "model", "tools", "tool_choice", "parallel_tool_calls", "output"] {
            field(response, key).ok_or_else(|| format!("a response without `{key}`"))?;
        }
        Ok(())
    }

    fn end(&mut self, said: &Said<'_>) -> Check {
        let response = said.response.as_ref().ok_or("no response")?;
        self.same_answer(response)?;
        self.ended = true;
        let status = string(response, "status").unwrap_or_default();
        want(said.kind == format!("response.{status}"), "the status that the event says")?;
        if status == "failed" {
            return want(object(response, "error"), "the error of an answer that failed");
        }
        want(object(response, "usage"), "usage at the end")?;
        want((status == "incomplete") == object(response, "incomplete_details"), "the details of what is incomplete")?;
        let done: Vec<&str> = self.items.iter().filter_map(|item| item.done.as_deref()).collect();
        want(done.len() == self.items.len(), "every item done before the end")?;
        let output = format!("[{}]", done.join(","));
        want(field(response, "output").as_deref() == Some(output.as_str()), "the items that were done as the output")
    }

    fn item(&mut self, name: &str, said: &Said<'_>) -> Check {
        let at = said.output.ok_or_else(|| format!("{name} without output_index"))?;
        if name == "output_item.added" {
            return self.added(at, said);
        }
        let item = self.items.get_mut(at).ok_or_else(|| format!("{name} of item {at}, which did not begin"))?;
        want(item.done.is_none(), "nothing of an item behind its end")?;
        if name == "output_item.done" {
            return item.finish(said);
        }
        want(said.item_id.as_deref() == Some(item.id.as_str()), "the id of the item")?;
        item.grow(name, said).map_err(|why| format!("{name} of item {at}: {why}"))
    }

    fn added(&mut self, at: usize, said: &Said<'_>) -> Check {
        want(at == self.items.len(), "items numbered in the order in which they begin")?;
        let json = said.item.as_ref().ok_or("no item")?;
        let id = string(json, "id").filter(|id| !id.is_empty()).ok_or("an item without id")?;
        want(self.items.iter().all(|item| item.id != id), "an id of its own for every item")?;
        let kind = string(json, "type").ok_or("an item without type")?;
        // A server's own item is whole as it begins, whatever it holds.
        let open = kind != "reasoning" || field(json, "encrypted_content").is_none();
        want(open, "nothing sealed before the item is done")?;
        self.items.push(Item { id, kind, ..Item::default() });
        Ok(())
    }
}

impl Item {
    fn finish(&mut self, said: &Said<'_>) -> Check {
        let json = said.item.as_ref().ok_or("no item")?;
        let same =
            string(json, "id").as_deref() == Some(&self.id) && string(json, "type").as_deref() == Some(&self.kind);
        want(same, "the identity that the item began with")?;
        want(self.parts.iter().all(|part| part.done), "every part done before its item")?;
        if matches!(self.kind.as_str(), "function_call" | "custom_tool_call") {
            want(self.input_done, "the arguments done before the call")?;
            let key = if self.kind == "function_call" { "arguments" } else { "input" };
            want(field(json, key) == Some(format!("\"{}\"", self.input)), "the arguments that the deltas brought")?;
        }
        self.done = Some(json.as_str().to_owned());
        Ok(())
    }

    fn grow(&mut self, name: &str, said: &Said<'_>) -> Check {
        match name {
            "content_part.added" => self.part_added("content", said.content, said),
            "reasoning_summary_part.added" => self.part_added("summary", said.summary, said),
            "output_text.delta" | "refusal.delta" | "reasoning_text.delta" => self.words("content", said.content, said),
            "reasoning_summary_text.delta" => self.words("summary", said.summary, said),
            "output_text.annotation.added" => self.open("content", said.content).map(|_| ()),
            "output_text.done" | "refusal.done" | "reasoning_text.done" => self.whole("content", said.content, said),
            "reasoning_summary_text.done" => self.whole("summary", said.summary, said),
            "content_part.done" => self.part_done("content", said.content, said),
            "reasoning_summary_part.done" => self.part_done("summary", said.summary, said),
            "function_call_arguments.delta" | "custom_tool_call_input.delta" => {
                want(!self.input_done, "no arguments behind their end")?;
                self.input.push_str(said.delta.as_deref().ok_or("no delta")?);
                Ok(())
            }
            "function_call_arguments.done" | "custom_tool_call_input.done" => {
                want(!std::mem::replace(&mut self.input_done, true), "the end of the arguments once")?;
                want(said.whole.as_deref() == Some(&self.input), "the arguments that the deltas brought")
            }
            _ => Err("no such event".to_owned()),
        }
    }

    fn part_added(&mut self, key: &'static str, index: Option<usize>, said: &Said<'_>) -> Check {
        let of_kind = self.parts.iter().filter(|part| part.key == key).count();
        want(index == Some(of_kind), "parts numbered in their order")?;
        want(self.parts.iter().all(|part| part.done), "one part at a time")?;
        want(said.part.is_some(), "the part that begins")?;
        self.parts.push(Part { key, ..Part::default() });
        Ok(())
    }

    fn open(&mut self, key: &str, index: Option<usize>) -> Result<&mut Part, String> {
        let index = index.ok_or("no index of a part")?;
        let part = self.parts.iter_mut().filter(|part| part.key == key).nth(index);
        part.filter(|part| !part.done).ok_or_else(|| format!("part {index} is not open"))
    }

    fn words(&mut self, key: &str, index: Option<usize>, said: &Said<'_>) -> Check {
        let part = self.open(key, index)?;
        want(!part.text_done, "no words behind their end")?;
        part.text.push_str(said.delta.as_deref().ok_or("no delta")?);
        Ok(())
    }

    fn whole(&mut self, key: &str, index: Option<usize>, said: &Said<'_>) -> Check {
        let part = self.open(key, index)?;
        want(!std::mem::replace(&mut part.text_done, true), "the end of the words once")?;
        want(said.whole.as_deref() == Some(&part.text), "the words that the deltas brought")
    }

    fn part_done(&mut self, key: &str, index: Option<usize>, said: &Said<'_>) -> Check {
        let part = self.open(key, index)?;
        want(part.text_done, "the end of the words before that of their part")?;
        part.done = true;
        let json = said.part.as_ref().ok_or("no part")?;
        let words = field(json, "text").or_else(|| field(json, "refusal"));
        want(words == Some(format!("\"{}\"", part.text)), "the words that the deltas brought, in the part")
    }
}

impl<'a> Said<'a> {
    fn read(data: &'a str) -> Result<Self, JsonError> {
        let mut said = Self::default();
        let mut cursor = Cursor::over(data);
        let index = |value: &mut Cursor<'a>| value.u64().map(|index| usize::try_from(index).ok());
        let words = |value: &mut Cursor<'a>| value.text().map(|text| Some(text.escaped().to_owned()));
        cursor.object::<JsonError>(|key, value| {
            match key.as_ref() {
                "type" => said.kind = value.string()?,
                "sequence_number" => said.sequence = Some(value.u64()?),
                "output_index" => said.output = index(value)?,
                "content_index" => said.content = index(value)?,
                "summary_index" => said.summary = index(value)?,
                "item_id" => said.item_id = Some(value.string()?),
                "delta" => said.delta = words(value)?,
                "text" | "refusal" | "arguments" | "input" => said.whole = words(value)?,
                "item" => said.item = Some(value.json()?),
                "part" => said.part = Some(value.json()?),
                "response" => said.response = Some(value.json()?),
                "message" => said.has_message = value.peek()? == Kind::String,
                _ => {}
            }
            Ok(())
        })?;
        cursor.finish()?;
        Ok(said)
    }
}

fn want(kept: bool, what: &str) -> Check {
    if kept { Ok(()) } else { Err(format!("wanted: {what}")) }
}

/// The text of the value of `key`.
fn field(json: &Json<'_>, key: &str) -> Option<String> {
    let mut found = None;
    json.cursor()
        .object::<JsonError>(|name, value| {
            if name == key {
                found = Some(value.json()?.as_str().to_owned());
            }
            Ok(())
        })
        .ok()?;
    found
}

fn string(json: &Json<'_>, key: &str) -> Option<String> {
    let value = field(json, key)?;
    Cursor::over(&value).string().ok().map(Cow::into_owned)
}

fn object(json: &Json<'_>, key: &str) -> bool {
    field(json, key).is_some_and(|value| value.starts_with('{'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str =
        r#""object":"response","created_at":0,"model":"m","tools":[],"tool_choice":"auto","parallel_tool_calls":true"#;

    fn response(kind: &str, status: &str, output: &str, rest: &str) -> String {
        format!(
            r#"{{"type":"response.{kind}","response":{{"id":"r","status":"{status}","output":[{output}],{BODY}{rest}}}"#
        )
    }

    /// Numbers and feeds the events; says whether the last one is refused.
    fn refuses_last(events: &[String]) -> bool {
        let mut grammar = Grammar::default();
        let mut last = Ok(());
        for (number, event) in events.iter().enumerate() {
            assert_eq!(last, Ok(()), "{event}");
            let data = format!("{event},\"sequence_number\":{number}}}");
            let kind = string(&Json::from_valid(data.as_str()), "type").unwrap();
            last = grammar.next(&Frame { event: Some(&kind), data: &data });
        }
        last.is_err()
    }

    fn whole() -> Vec<String> {
        let item = r#"{"type":"message","id":"i","content":[{"type":"output_text","text":"ab"}]}"#;
        let of = |name: &str, rest: &str| {
            format!(r#"{{"type":"response.{name}","item_id":"i","output_index":0,"content_index":0,{rest}"#)
        };
        vec![
            response("created", "in_progress", "", ""),
            response("in_progress", "in_progress", "", ""),
            r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message","id":"i"}"#.to_owned(),
            of("content_part.added", r#""part":{}"#),
            of("output_text.delta", r#""delta":"a""#),
            of("output_text.delta", r#""delta":"b""#),
            of("output_text.done", r#""text":"ab""#),
            of("content_part.done", r#""part":{"text":"ab"}"#),
            format!(r#"{{"type":"response.output_item.done","output_index":0,"item":{item}"#),
            response("completed", "completed", item, r#","usage":{}"#),
        ]
    }

    #[test]
    fn takes_what_may_come() {
        let whole = whole();
        for length in 1..=whole.len() {
            assert!(!refuses_last(&whole[..length]), "{length}");
        }
        assert!(!refuses_last(&[r#"{"type":"error","message":"m""#.to_owned()]));
        let failed = response("failed", "failed", "", r#","error":{}"#);
        assert!(!refuses_last(&[whole[0].clone(), whole[1].clone(), whole[2].clone(), failed]));
    }

    #[test]
    fn trap_g2_refuses_a_stream_that_lacks_any_of_its_events() {
        let whole = whole();
        // A delta left out shows when the words are repeated, everything else at once or at the end.
        for left_out in 0..whole.len() - 1 {
            let mut events = whole.clone();
            events.remove(left_out);
            let refused = (1..=events.len()).find(|length| {
                let mut grammar = Grammar::default();
                (0..*length).any(|number| {
                    let data = format!("{},\"sequence_number\":{number}}}", events[number]);
                    let kind = string(&Json::from_valid(data.as_str()), "type").unwrap();
                    grammar.next(&Frame { event: Some(&kind), data: &data }).is_err()
                })
            });
            assert!(refused.is_some(), "event {left_out} is not missed");
        }
    }

    #[test]
    fn trap_b12_numbers_have_no_gap_and_nothing_comes_behind_the_end() {
        let mut grammar = Grammar::default();
        let data = format!("{},\"sequence_number\":1}}", whole()[0]);
        assert!(grammar.next(&Frame { event: Some("response.created"), data: &data }).is_err());
        let mut twice = whole();
        twice.push(whole().pop().unwrap());
        assert!(refuses_last(&twice));
    }
}
