//! What is asked of a request that goes to a provider of its own format: whether it can go as it is.

use std::sync::Arc;

use serde_json::json;

use crate::Format;
use crate::format::{Facts, wire};
use crate::hub::{Losses, Opaque, OpaqueKind};
use crate::json::Text;
use crate::recall::{Recall, Thoughts};
use crate::seal::Seal;

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

#[test]
fn a_model_without_eyes_gets_no_request_with_images_as_it_is() {
    let facts = |vision, documents| Facts { vision, documents, exact: false, ..Facts::default() };
    for (format, image, document) in [
        (A, Some(r#"{"type":"image"}"#), Some(r#"{"type":"document"}"#)),
        (C, Some(r#"{"type":"image_url"}"#), Some(r#"{"type":"file"}"#)),
        (R, Some(r#"{"type":"input_image"}"#), Some(r#"{"type":"input_file"}"#)),
        (G, None, None),
    ] {
        let plain = r#"{"type":"text","text":"image_url input_file"}"#;
        for (body, vision, documents) in [(Some(plain), true, true), (image, false, true), (document, true, false)] {
            let Some(body) = body else { continue };
            let must = |sees, reads| wire(format).must_be_rewritten(body.as_bytes(), &facts(sees, reads));
            assert!(!must(true, true), "{format:?} {body}");
            assert_eq!(must(false, true), !vision, "{format:?} {body} without eyes");
            assert_eq!(must(true, false), !documents, "{format:?} {body} without files");
            assert_eq!(must(false, false), !(vision && documents), "{format:?} {body}");
        }
    }
    assert!(!wire(G).must_be_rewritten(br#"{"inlineData":{}}"#, &facts(false, false)));
}

#[derive(Debug)]
struct One;

impl Recall for One {
    fn keep(&self, _: &str, _: Option<Thoughts>) {}

    fn recall(&self, _: &str) -> Option<Arc<Thoughts>> {
        None
    }

    fn keep_item(&self, _: &str, _: &str) {}

    fn item(&self, id: &str) -> Option<Arc<str>> {
        (id == "msg_1").then(|| Arc::from(r#"{"type":"message"}"#))
    }
}

#[test]
fn only_responses_refer_to_items_of_earlier_answers() {
    let body = br#"{"input":[{"type":"item_reference","id":"msg_1"}]}"#;
    let whole = br#"{"input":[{"type":"message"}]}"#;
    for format in Format::ALL {
        assert_eq!(wire(format).may_refer(body), format == R, "{format:?}");
        assert!(!wire(format).may_refer(whole), "{format:?}");
        let resolved = wire(format).resolve(body, &One, 1000);
        assert_eq!(resolved.as_deref(), (format == R).then_some(whole.as_slice()), "{format:?}");
    }
    // As long as it may be, all told: what is put in counts beside what was there.
    let longest = body.len() + r#"{"type":"message"}"#.len();
    assert!(wire(R).resolve(body, &One, longest).is_some());
    assert_eq!(wire(R).resolve(body, &One, longest - 1), None);
    assert_eq!(wire(R).resolve(br#"{"input":{"type":"item_reference","id":"msg_1"}}"#, &One, 1000), None);
    assert_eq!(wire(R).resolve(br#"{"other":[{"type":"item_reference","id":"msg_1"}]}"#, &One, 1000), None);
}

#[test]
fn state_of_other_makers_is_stripped_of_what_is_compacted() {
    let seal = Seal::new([7; 32]);
    let sealed = |maker| {
        let data = Text::from_plain("native");
        seal.wrap(&Opaque { kind: OpaqueKind::EncryptedReasoning, maker, data })
    };
    let reasoning = |data: &str| json!({"type": "reasoning", "summary": [], "encrypted_content": data});
    let message = json!({"type": "message", "encrypted_content": 7});
    for (item, kept, lost) in [
        (reasoning("native"), Some(reasoning("native")), ""),
        (reasoning(&sealed(R)), Some(reasoning("native")), ""),
        (reasoning(&sealed(C)), None, "dropped:/input/1"),
        (message.clone(), Some(message.clone()), ""),
    ] {
        let body = json!({"input": [message, item], "model": "m"}).to_string();
        let mut losses = Losses::default();
        let stripped = wire(R).strip_foreign_state(body.as_bytes(), &seal, &mut losses).unwrap();
        losses.resolve(body.as_bytes());
        let input: Vec<_> = [Some(message.clone()), kept].into_iter().flatten().collect();
        let expected = json!({"input": input, "model": "m"}).to_string();
        assert_eq!((String::from_utf8(stripped).unwrap(), losses.header(99)), (expected, lost.to_owned()), "{item}");
        for format in [A, C, G] {
            let kept = wire(format).strip_foreign_state(body.as_bytes(), &seal, &mut Losses::default()).unwrap();
            assert_eq!(String::from_utf8(kept).unwrap(), body, "{format:?}");
        }
    }
    for other in [json!({"input": "q"}), json!({"other": [reasoning(&sealed(C))]})] {
        let body = other.to_string();
        let kept = wire(R).strip_foreign_state(body.as_bytes(), &seal, &mut Losses::default()).unwrap();
        assert_eq!(String::from_utf8(kept).unwrap(), body);
    }
}

#[test]
fn a_format_goes_by_its_name() {
    for format in Format::ALL {
        assert_eq!(Format::from_name(format.name()), Some(format));
        assert_eq!(wire(format).spec().format, format);
    }
    assert_eq!(Format::from_name("openai"), None);
    assert_eq!(Format::from_name(""), None);
    let names = Format::ALL.map(Format::name);
    assert_eq!(names, ["anthropic_messages", "gemini_generate", "openai_chat", "openai_responses"]);
}
