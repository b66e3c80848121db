//! Fields that every server of the format takes, and how the others are taken out of a request.
//!
//! Clouds and servers of other makers refuse a request with a field that they do not know ("Extra inputs are not
//! permitted"), so what they are sent is held to a list; what is on none goes, and is reported. What a client says in
//! words of its own is no field: arguments, schemas of arguments and metadata of documents are not looked into.

use super::wire::type_of;
use super::{read_block, read_request, read_tools};
use crate::hub::{Extra, Field, Losses};
use crate::json::{Cursor, Json, JsonError, Kind, Span};

/// What an object may hold.
pub(super) enum Shape {
    /// Only these members; the function tells what class another one is of.
    Only(&'static [(&'static str, Inside)], fn(&str) -> Field),
    /// Anything, of which these members are looked into.
    Any(&'static [(&'static str, Inside)]),
    /// As its `type` says.
    Typed(fn(&str) -> &'static Shape),
}

/// What is in a member, if it is to be looked into: an object of that shape, or an array of such.
type Inside = Option<&'static Shape>;

/// A request.
static REQUEST: Shape = Shape::Only(
    &[
        ("anthropic_beta", None),
        ("anthropic_version", None),
        ("max_tokens", None),
        ("messages", Some(&MESSAGE)),
        ("metadata", Some(&METADATA)),
        ("model", None),
        ("output_config", Some(&OUTPUT)),
        ("output_format", None),
        ("stop_sequences", None),
        ("stream", None),
        ("system", Some(&BLOCK)),
        ("temperature", None),
        ("thinking", Some(&THINKING)),
        ("tool_choice", None),
        ("tools", Some(&TOOL)),
        ("top_k", None),
        ("top_p", None),
    ],
    class_of_request,
);
static METADATA: Shape = Shape::Only(&[("user_id", None)], |_| Field::Metadata);
static OUTPUT: Shape = Shape::Only(&[("effort", None), ("format", None)], |_| Field::Beta);
static THINKING: Shape = Shape::Only(&[("budget_tokens", None), ("display", None), ("type", None)], |_| Field::Beta);
static MESSAGE: Shape = Shape::Only(&[("content", Some(&BLOCK)), ("role", None)], read_request::class_in_turn);
static CACHE: Shape = Shape::Only(&[("ttl", None), ("type", None)], |_| Field::CacheMark);

static TOOL: Shape = Shape::Typed(|kind| if matches!(kind, "" | "custom") { &FUNCTION } else { &OTHER_TOOL });
static FUNCTION: Shape = Shape::Only(
    &[
        ("cache_control", Some(&CACHE)),
        ("description", None),
        ("input_schema", None),
        ("name", None),
        ("strict", None),
        ("type", None),
    ],
    read_tools::class_of,
);
static OTHER_TOOL: Shape = Shape::Any(&[("cache_control", Some(&CACHE))]);

/// A block, wherever it stands.
pub(super) static BLOCK: Shape = Shape::Typed(|kind| match kind {
    "text" => &TEXT,
    "thinking" => &SIGNED,
    "redacted_thinking" => &REDACTED,
    "image" => &IMAGE,
    "document" => &DOCUMENT,
    "tool_use" => &TOOL_USE,
    "tool_result" => &TOOL_RESULT,
    _ => &OTHER_BLOCK,
});
static TEXT: Shape = Shape::Only(
    &[("cache_control", Some(&CACHE)), ("citations", None), ("text", None), ("type", None)],
    read_block::class_of,
);
static SIGNED: Shape = Shape::Only(&[("signature", None), ("thinking", None), ("type", None)], read_block::class_of);
static REDACTED: Shape = Shape::Only(&[("data", None), ("type", None)], read_block::class_of);
static IMAGE: Shape =
    Shape::Only(&[("cache_control", Some(&CACHE)), ("source", None), ("type", None)], read_block::class_of);
static DOCUMENT: Shape = Shape::Only(
    &[
        ("cache_control", Some(&CACHE)),
        ("citations", None),
        ("context", None),
        ("source", Some(&SOURCE)),
        ("title", None),
        ("type", None),
    ],
    read_block::class_of,
);
static SOURCE: Shape = Shape::Any(&[("content", Some(&BLOCK))]);
static TOOL_USE: Shape = Shape::Only(
    &[("cache_control", Some(&CACHE)), ("id", None), ("input", None), ("name", None), ("type", None)],
    read_block::class_of,
);
static TOOL_RESULT: Shape = Shape::Only(
    &[
        ("cache_control", Some(&CACHE)),
        ("content", Some(&BLOCK)),
        ("is_error", None),
        ("tool_use_id", None),
        ("type", None),
    ],
    read_block::class_of,
);
static OTHER_BLOCK: Shape = Shape::Any(&[("cache_control", Some(&CACHE)), ("content", Some(&BLOCK))]);

/// The class of a field of the request that has a place in the hub, or of one that has none.
fn class_of_request(key: &str) -> Field {
    match key {
        "cache_control" => Field::Cache,
        "service_tier" | "speed" => Field::Tier,
        _ => read_request::class_of(key),
    }
}

/// True for what the hub keeps aside of a request, by its dotted key, when every server takes it.
pub(super) fn takes(extra: &Extra<'_>) -> bool {
    let (key, rest) = extra.key.split_once('.').unwrap_or((extra.key.as_ref(), ""));
    match member(&REQUEST, key) {
        None => false,
        Some(Some(inner)) if !rest.is_empty() => member(inner, rest).is_some(),
        Some(_) => rest.is_empty(),
    }
}

fn member(shape: &Shape, key: &str) -> Option<Inside> {
    let (Shape::Only(members, _) | Shape::Any(members)) = shape else { return None };
    members.iter().find(|(known, _)| *known == key).map(|(_, inside)| *inside)
}

/// Why a field goes.
pub(super) fn reason(key: &str) -> String {
    format!("only the format's own vendor takes `{key}`")
}

/// `body` without the fields that not every server takes; `None` where it has none. Every other byte is as it was.
pub(super) fn trim(body: &[u8], losses: &mut Losses) -> Result<Option<Vec<u8>>, JsonError> {
    let mut cursor = Cursor::over_bytes(body)?;
    let mut scissors = Scissors { bytes: body, base: 0, cuts: Vec::new(), losses };
    scissors.object(&mut cursor, &REQUEST)?;
    Ok(scissors.cut())
}

/// As [`trim`], for a piece of a request that begins at byte `base` of it.
pub(super) fn trim_piece(raw: &Json<'_>, is_tool: bool, base: usize, losses: &mut Losses) -> Option<Json<'static>> {
    let mut scissors = Scissors { bytes: raw.as_str().as_bytes(), base, cuts: Vec::new(), losses };
    // The JSON was read once, so it can be read again.
    scissors.value(&mut raw.cursor(), if is_tool { &TOOL } else { &BLOCK }).ok()?;
    scissors.cut().and_then(|bytes| String::from_utf8(bytes).ok()).map(Json::from_valid)
}

struct Scissors<'s> {
    bytes: &'s [u8],
    /// Where the bytes begin in the client's document.
    base: usize,
    /// What goes, in order.
    cuts: Vec<Span>,
    losses: &'s mut Losses,
}

impl Scissors<'_> {
    fn value(&mut self, cursor: &mut Cursor<'_>, shape: &'static Shape) -> Result<(), JsonError> {
        match cursor.peek()? {
            Kind::Object => self.object(cursor, shape),
            Kind::Array => cursor.array::<JsonError>(|_, element| self.value(element, shape)),
            _ => cursor.skip(),
        }
    }

    fn object(&mut self, cursor: &mut Cursor<'_>, shape: &'static Shape) -> Result<(), JsonError> {
        let (members, class) = match shape {
            Shape::Only(members, class) => (members, Some(class)),
            Shape::Any(members) => (members, None),
            Shape::Typed(by) => return self.object(cursor, by(&type_of(cursor)?)),
        };
        // Behind the brace, then behind the last member that stays or the comma of the last that goes.
        let mut from = cursor.offset() + 1;
        let mut any_stays = false;
        cursor.object::<JsonError>(|key, value| {
            let inside = members.iter().find(|(known, _)| *known == key).map(|(_, inside)| *inside);
            let start = value.offset();
            match (inside, class) {
                (Some(Some(shape)), _) => self.value(value, shape)?,
                (None, Some(class)) => {
                    value.skip()?;
                    self.losses.dropped(class(&key), self.base + start, reason(&key));
                    let end = if any_stays { value.position() } else { self.behind_comma(value.position()) };
                    self.cuts.push(from..end);
                    from = end;
                    return Ok(());
                }
                (Some(None), _) | (None, None) => value.skip()?,
            }
            any_stays = true;
            from = value.position();
            Ok(())
        })
    }

    /// The place behind the comma that follows byte `at`; `at` where none follows.
    fn behind_comma(&self, at: usize) -> usize {
        let rest = self.bytes.get(at..).unwrap_or_default();
        match rest.iter().position(|byte| !byte.is_ascii_whitespace()) {
            Some(found) if rest.get(found) == Some(&b',') => at + found + 1,
            _ => at,
        }
    }

    fn cut(self) -> Option<Vec<u8>> {
        if self.cuts.is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(self.bytes.len());
        let mut from = 0;
        for cut in &self.cuts {
            out.extend_from_slice(self.bytes.get(from..cut.start).unwrap_or_default());
            from = cut.end;
        }
        out.extend_from_slice(self.bytes.get(from..).unwrap_or_default());
        Some(out)
    }
}
