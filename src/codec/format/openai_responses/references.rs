//! Items that a client refers to, put in their place.
//!
//! Libraries that leave `store` at its default replay what the model said as `item_reference`s: its maker has it. Of an
//! answer that another provider gave, only the edge can have it.

use super::strip::text_of;
use crate::json::{Cursor, JsonError, Kind, Span};
use crate::recall::Recall;

/// Whether `body` may refer to items; false is certain.
pub(super) fn may_refer(body: &[u8]) -> bool {
    memchr::memmem::find(body, b"item_reference").is_some()
}

/// `body` with the items that it refers to and that are known to `recall`; `None` where there is none of them, or where
/// the whole would be longer than `most` bytes.
pub(super) fn resolve(body: &[u8], recall: &dyn Recall, most: usize) -> Option<Vec<u8>> {
    let (mut found, mut longer) = (Vec::new(), 0_usize);
    let mut cursor = Cursor::over_bytes(body).ok()?;
    cursor
        .object::<JsonError>(|key, value| {
            if key != "input" || value.peek()? != Kind::Array {
                return value.skip();
            }
            // The last of two counts.
            (found, longer) = (Vec::new(), 0);
            value.array::<JsonError>(|_, element| {
                let from = element.offset();
                let id = text_of(element, "item_reference", "id")?.map(|(id, _)| id);
                if let Some(item) = id.filter(|_| longer <= most).and_then(|id| recall.item(&id)) {
                    longer = longer.saturating_add(item.len());
                    found.push((from..element.position(), item));
                }
                Ok(())
            })
        })
        .ok()?;
    if found.is_empty() || body.len().saturating_add(longer) > most {
        return None;
    }
    let mut resolved = Vec::with_capacity(body.len() + longer);
    let mut at = 0;
    for (Span { start, end }, item) in found {
        resolved.extend_from_slice(body.get(at..start)?);
        resolved.extend_from_slice(item.as_bytes());
        at = end;
    }
    resolved.extend_from_slice(body.get(at..)?);
    Some(resolved)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::recall::Thoughts;

    #[derive(Debug)]
    struct One;

    impl Recall for One {
        fn keep(&self, _: &str, _: Option<Thoughts>) {}

        fn recall(&self, _: &str) -> Option<Arc<Thoughts>> {
            None
        }

        fn keep_item(&self, _: &str, _: &str) {}

        fn item(&self, id: &str) -> Option<Arc<str>> {
            (id == "msg_1").then(|| Arc::from(r#"{"type":"message","id":"msg_1"}"#))
        }
    }

    #[test]
    fn what_is_known_stands_in_its_place_and_every_other_byte_is_as_it_was() {
        let check = |body: &str, expected: Option<&str>| {
            let resolved = resolve(body.as_bytes(), &One, 1000).map(|body| String::from_utf8(body).unwrap());
            assert_eq!(resolved.as_deref(), expected, "{body}");
        };
        check(
            r#"{ "input" : [ "q", {"type":"item_reference" , "id":"msg_1"} , {"id":"x","type":"item_reference"} ],"n":1.0 }"#,
            Some(
                r#"{ "input" : [ "q", {"type":"message","id":"msg_1"} , {"id":"x","type":"item_reference"} ],"n":1.0 }"#,
            ),
        );
        for none in [
            r#"{"input":[{"type":"item_reference","id":"x"}]}"#,
            r#"{"input":[{"type":"message","id":"msg_1","content":"item_reference"}]}"#,
            r#"{"input":[{"id":"msg_1"}],"metadata":{"type":"item_reference","id":"msg_1"}}"#,
            r#"{"input":"item_reference"}"#,
            r#"{"input":[{"type":"item_reference","id":"msg_1"}"#,
        ] {
            check(none, None);
        }
        let body = r#"{"input":[{"type":"item_reference","id":"msg_1"}]}"#;
        assert_eq!(resolve(body.as_bytes(), &One, body.len()), None, "it is bounded");
    }
}
