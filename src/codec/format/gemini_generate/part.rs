//! One part, written: what requests and answers write alike.

use crate::hub::{Flavor, flat_name};
use crate::json::{Json, Kind, Text, Writer};

/// The arguments of a call as the format wants them: an object. `None` where they are none.
///
/// Free text of a custom tool is the one argument `input`.
pub(super) fn arguments<'j>(arguments: &'j Json<'_>, flavor: Flavor) -> Option<Json<'j>> {
    match (flavor, arguments.kind()) {
        (Flavor::Custom, _) => Some(Json::from_valid(format!("{{\"input\":{}}}", arguments.as_str()))),
        (Flavor::Function, Kind::Object) => Some(arguments.by_ref()),
        (Flavor::Function, _) if arguments.is_empty() => Some(Json::EMPTY_OBJECT),
        (Flavor::Function, _) => None,
    }
}

/// Writes `{"functionCall":{…}}` as the next value.
pub(super) fn call(
    (id, name): (&str, &str),
    arguments: &Json<'_>,
    signature: Option<&Text<'_>>,
    json: &mut Writer<'_>,
) {
    json.open_object().key("functionCall").open_object();
    json.key("id").plain(id).key("name").plain(&flat_name(name)).key("args").json(arguments).close_object();
    if let Some(signature) = signature {
        json.key("thoughtSignature").text(signature);
    }
    json.close_object();
}

/// Writes a part of words as the next value.
pub(super) fn words(text: &Text<'_>, thought: bool, signature: Option<&Text<'_>>, json: &mut Writer<'_>) {
    json.open_object();
    if thought {
        json.key("thought").bool(true);
    }
    json.key("text").text(text);
    if let Some(signature) = signature {
        json.key("thoughtSignature").text(signature);
    }
    json.close_object();
}

/// Writes `{"inlineData":{…}}` as the next value.
pub(super) fn inline(media_type: &str, data: &Text<'_>, json: &mut Writer<'_>) {
    json.open_object().key("inlineData").open_object();
    json.key("mimeType").plain(media_type).key("data").text(data).close_object().close_object();
}

/// The media type of a container of sound.
pub(super) fn audio_type(format: &str) -> String {
    format!("audio/{}", if format.is_empty() { "wav" } else { format })
}
