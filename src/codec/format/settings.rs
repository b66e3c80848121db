//! What an answer repeats of its request: formats of OpenAI's Responses show a request's settings in the answer.

use std::ops::Range;

use super::Spec;
use crate::json::write::one_line;
use crate::json::{Cursor, Edits, Json, JsonError, Kind, members};

/// Most bytes of all settings together that are repeated. A stream shows them three times.
const MOST: usize = 256 << 10;

/// Settings of a request, each as its client wrote it, on one line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings(Vec<(&'static str, Box<str>)>);

impl Settings {
    /// The JSON that the client wrote for `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, json)| &**json)
    }
}

impl Spec {
    /// The settings of the request `body`, whose conversation takes the bytes `span`, that its answer repeats, but for those
    /// that are too long to be said again and again.
    #[must_use]
    pub fn settings(&self, body: &[u8], span: &Range<usize>) -> Settings {
        let (mut found, mut room) = (Settings::default(), MOST);
        if self.repeated.is_empty() {
            return found;
        }
        if let Ok(mut cursor) = Cursor::over_bytes(body) {
            // A body that cannot be read is refused elsewhere.
            let _ = cursor.object::<JsonError>(|key, value| {
                if let Some(known) = self.repeated.iter().find(|known| **known == key) {
                    let json = value.json()?;
                    // The last of two counts, as it does for the request.
                    found.0.retain(|(other, _)| other != known);
                    let shown = if *known == "tools" { without_keys(&json) } else { None };
                    let shown = shown.as_deref().unwrap_or(json.as_str());
                    if let Some(left) = room.checked_sub(shown.len()) {
                        room = left;
                        found.0.push((known, one_line(shown).into_boxed_str()));
                    }
                    return Ok(());
                }
                value.pass(span)
            });
        }
        found
    }
}

/// Members of a tool that are keys to the server that it is on.
const KEYS: [&str; 2] = ["authorization", "headers"];

/// The tools without their keys: whoever reads the answer need not know them. `None` where there are none.
fn without_keys(tools: &Json<'_>) -> Option<String> {
    let text = tools.as_str().trim();
    // A key may be spelled with escapes.
    if !KEYS.iter().any(|key| text.contains(key)) && !text.contains("\\u") {
        return None;
    }
    let mut edits = Edits::default();
    // What is no list of tools is not shown.
    let edited = match cut_keys(text, &mut Cursor::over(text), &mut edits) {
        Ok(()) => edits.apply(text.as_bytes())?,
        Err(_) => b"[]".to_vec(),
    };
    String::from_utf8(edited).ok()
}

/// Cuts the keys of the tools in the list at `cursor`, and of those that are grouped within one of them.
fn cut_keys(text: &str, cursor: &mut Cursor<'_>, edits: &mut Edits) -> Result<(), JsonError> {
    cursor.array::<JsonError>(|_, tool| {
        if tool.peek()? != Kind::Object {
            return tool.skip();
        }
        let mut inner = tool.clone();
        edits.cut(&members(text.as_bytes(), tool)?, |member| KEYS.contains(&member.key.as_ref()));
        inner.object::<JsonError>(|key, value| {
            if key == "tools" && value.peek()? == Kind::Array {
                return cut_keys(text, value, edits);
            }
            value.skip()
        })
    })
}

#[cfg(test)]
mod tests {
    use crate::Format;
    use crate::format::wire;

    #[test]
    fn what_is_said_is_repeated_and_what_is_not_is_not() {
        let spec = wire(Format::OpenaiResponses).spec();
        let body = "{\"model\": \"m\", \"input\": \"hi\", \"temperature\": 0.20, \"text\": {\n\"verbosity\": \"low\"},\r\n \
                    \"instructions\": \"a\u{2028}b\", \"temperature\": 1}";
        let settings = spec.settings(body.as_bytes(), &(0..0));
        assert_eq!(settings.get("temperature"), Some("1"), "the last one counts");
        assert_eq!(settings.get("text"), Some("{ \"verbosity\": \"low\"}"));
        assert_eq!(settings.get("instructions"), Some("\"a\\u2028b\""));
        assert_eq!(settings.get("tools"), None);
        assert_eq!(settings.get("input"), None);
        let long = format!("{{\"temperature\": 1, \"instructions\": \"{}\"}}", "x".repeat(300_000));
        let settings = spec.settings(long.as_bytes(), &(0..0));
        assert_eq!((settings.get("temperature"), settings.get("instructions")), (Some("1"), None), "what fits");
        let function = r#"{"type":"function","name":"f","parameters":{"properties":{"headers":{}}}}"#;
        for (tool, shown) in [
            (
                r#"{"type":"mcp","authorization":"SECRET","headers":{"x":"SECRET"},"url":"u"}"#,
                r#"{"type":"mcp","url":"u"}"#,
            ),
            (r#"{"headers":{"x":"SECRET"},"type":"mcp"}"#, r#"{"type":"mcp"}"#),
            (r#"{"type":"mcp"}"#, r#"{"type":"mcp"}"#),
            (r#"{"type":"mcp","\u0061uthorization":"SECRET"}"#, r#"{"type":"mcp"}"#),
            (
                r#"{"type":"namespace","tools":[{"type":"mcp","authorization":"SECRET"},7]}"#,
                r#"{"type":"namespace","tools":[{"type":"mcp"},7]}"#,
            ),
        ] {
            let body = format!(r#"{{"tools": [{tool},{function}], "temperature": 1}}"#);
            let settings = spec.settings(body.as_bytes(), &(0..0));
            assert_eq!(settings.get("tools"), Some(format!("[{shown},{function}]").as_str()));
        }
        assert_eq!(wire(Format::OpenaiChat).spec().settings(body.as_bytes(), &(0..0)), super::Settings::default());
    }
}
