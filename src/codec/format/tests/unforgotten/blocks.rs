//! What the turns of a request are made of.

use std::borrow::Cow;

use super::request::{Said, base};
use super::{HERE, extra, json, say};
use crate::Format;
use crate::hub::{
    Block, BlockKind, CacheMark, Citation, Field, Flavor, Opaque, OpaqueKind, Role, Source, ThinkingKind, Turn,
};
use crate::json::Json;

pub(super) fn said(origin: Format) -> Vec<Said> {
    let mut said = Vec::new();
    for (name, before, after) in kinds(origin) {
        for role in roles(&after) {
            said.push((name, with(origin, *role, before.clone()), with(origin, *role, after.clone())));
        }
    }
    let turn = Turn::new(Role::User, vec![Block::text(say("q"), 1)], 1);
    for (name, turn) in each!(Turn, turn;
        role = Role::Developer,
        blocks = vec![Block::text(say("Mark7316"), 1)],
        name = Some(say("Mark7316")),
        extras = vec![extra(Field::Unknown, "mark_7316")],
        at = HERE,
    ) {
        let mut request = base(origin);
        request.turns = vec![turn];
        said.push((name, base(origin), request));
    }
    said.extend(cited(origin));
    for block in [Block::text(say("t"), HERE), Block::new(image(png()), HERE)] {
        let before = with(origin, Role::Assistant, block.clone());
        for (name, block) in each!(Block, block;
            kind = BlockKind::Text { text: say("Mark7316"), citations: Vec::new() },
            cache = Some(CacheMark { ttl_s: None }),
            opaque = vec![Opaque { kind: OpaqueKind::ThoughtSignature, maker: Format::GeminiGenerate, data: say("Mark7316") }],
            extras = vec![extra(Field::Unknown, "mark_7316")],
            apart = true,
            at = HERE,
            words_at = Some(HERE),
        ) {
            said.push((name, before.clone(), with(origin, Role::Assistant, block)));
        }
    }
    said
}

/// Words with a source, in each place that holds words and no answer.
fn cited(origin: Format) -> Vec<Said> {
    let words = |citations| Block::new(BlockKind::Text { text: say("words"), citations }, HERE);
    let [before, after] = [Vec::new(), vec![citation(origin)]].map(|citations| {
        let mut instructed = base(origin);
        instructed.instructions.push(words(citations.clone()));
        let result = |id| BlockKind::ToolResult { id, content: vec![words(citations.clone())], is_error: None };
        let returned = with(origin, Role::User, Block::new(result(Cow::Borrowed("c1")), 1));
        let operated = with(origin, Role::System, words(citations));
        [("instructions.citations", instructed), ("ToolResult.citations", returned), ("System.citations", operated)]
    });
    before.into_iter().zip(after).map(|((name, before), (_, after))| (name, before, after)).collect()
}

/// What an assistant says of all this.
pub(super) fn answered(origin: Format) -> Vec<Pair> {
    kinds(origin).into_iter().filter(|(_, _, after)| roles(after).contains(&Role::Assistant)).collect()
}

/// Who says it.
fn roles(block: &Block<'_>) -> &'static [Role] {
    match &block.kind {
        BlockKind::Text { citations, .. } if citations.is_empty() => {
            &[Role::User, Role::Assistant, Role::System, Role::Developer]
        }
        BlockKind::Image { .. }
        | BlockKind::Document { .. }
        | BlockKind::Audio { .. }
        | BlockKind::SearchResult { .. }
        | BlockKind::ToolResult { .. }
        | BlockKind::Reference { .. } => &[Role::User],
        BlockKind::Text { .. }
        | BlockKind::Refusal { .. }
        | BlockKind::Thinking { .. }
        | BlockKind::Redacted
        | BlockKind::ToolCall { .. }
        | BlockKind::ServerTool { .. } => &[Role::Assistant],
        BlockKind::Unknown { .. } => &[Role::User, Role::Assistant],
    }
}

/// A conversation in which `role` says `block`, with all that belongs to it.
fn with(origin: Format, role: Role, block: Block<'static>) -> crate::hub::Request<'static> {
    let mut request = base(origin);
    let turn = |role, blocks| Turn::new(role, blocks, 1);
    let words = |words| Block::text(say(words), 1);
    match (role, &block.kind) {
        (_, BlockKind::ToolResult { id, .. }) => {
            let called = Block::new(call(id.clone()), 1);
            request.turns.extend([turn(Role::Assistant, vec![called]), turn(Role::User, vec![block])]);
        }
        (Role::Assistant, BlockKind::ToolCall { id, .. }) => {
            let result = BlockKind::ToolResult { id: id.clone(), content: vec![words("r")], is_error: None };
            let result = turn(Role::User, vec![Block::new(result, 1)]);
            request.turns.extend([turn(Role::Assistant, vec![words("a"), block]), result]);
        }
        (Role::Assistant, _) => {
            request.turns.extend([turn(Role::Assistant, vec![words("a"), block]), turn(Role::User, vec![words("on")])]);
        }
        (Role::User | Role::System | Role::Developer, _) => request.turns.push(turn(role, vec![words("q"), block])),
    }
    request
}

fn call(id: Cow<'static, str>) -> BlockKind<'static> {
    BlockKind::ToolCall { id, name: Cow::Borrowed("f"), arguments: Json::EMPTY_OBJECT, flavor: Flavor::Function }
}

fn png() -> Source<'static> {
    Source::Base64 { media_type: Cow::Borrowed("image/png"), data: say("iVBORw0KGgoAAAAN") }
}

fn pdf() -> Source<'static> {
    Source::Base64 { media_type: Cow::Borrowed("application/pdf"), data: say("JVBERi0xLjcK") }
}

fn image(source: Source<'static>) -> BlockKind<'static> {
    BlockKind::Image { source, detail: None }
}

fn document(source: Source<'static>) -> BlockKind<'static> {
    BlockKind::Document { source, name: None, title: None, context: None, citations: None }
}

pub(super) type Pair = (&'static str, Block<'static>, Block<'static>);

fn kinds(origin: Format) -> Vec<Pair> {
    // One more kind does not compile until it stands here and below.
    let _ = |kind: BlockKind<'_>| match kind {
        BlockKind::Text { .. }
        | BlockKind::Refusal { .. }
        | BlockKind::Thinking { .. }
        | BlockKind::Redacted
        | BlockKind::Image { .. }
        | BlockKind::Document { .. }
        | BlockKind::Audio { .. }
        | BlockKind::SearchResult { .. }
        | BlockKind::ToolCall { .. }
        | BlockKind::ToolResult { .. }
        | BlockKind::ServerTool { .. }
        | BlockKind::Reference { .. }
        | BlockKind::Unknown { .. } => (),
    };
    let mut pairs = words(origin);
    pairs.extend(media());
    pairs.extend(sources());
    pairs.extend(calls(origin));
    let block = |kind| Block::new(kind, HERE);
    let mut pairs: Vec<Pair> =
        pairs.into_iter().map(|(name, before, after)| (name, block(before), block(after))).collect();
    for (name, opaque) in opaques(origin) {
        let kind = match opaque.kind {
            OpaqueKind::RedactedData => BlockKind::Redacted,
            OpaqueKind::ThinkingSignature | OpaqueKind::EncryptedReasoning | OpaqueKind::Unsigned => {
                BlockKind::Thinking { text: say("hm"), kind: ThinkingKind::Raw }
            }
            OpaqueKind::ThoughtSignature => call(Cow::Borrowed("c1")),
        };
        pairs.push((name, block(kind.clone()), Block { opaque: vec![opaque], ..block(kind) }));
    }
    pairs
}

type Kinds = Vec<(&'static str, BlockKind<'static>, BlockKind<'static>)>;

fn words(origin: Format) -> Kinds {
    let mut pairs =
        kind!(BlockKind::Text; text = say("t") => say("Mark7316"), citations = Vec::new() => vec![citation(origin)]);
    pairs.extend(kind!(BlockKind::Refusal; text = say("t") => say("Mark7316")));
    pairs.extend(kind!(BlockKind::Thinking;
        text = say("t") => say("Mark7316"),
        kind = ThinkingKind::Raw => ThinkingKind::Summary,
    ));
    let bare = Citation { url: None, title: None, cited_text: None, span: None, raw: json("{}"), format: origin };
    for (name, said) in each!(Citation, bare.clone();
        url = Some(say("https://h/Mark7316")),
        title = Some(say("Mark7316")),
        cited_text = Some(say("Mark7316")),
        span = Some((1, 2)),
        raw = json(r#"{"type":"Mark7316"}"#),
        format = origin,
    ) {
        let with = |citation| BlockKind::Text { text: say("words"), citations: vec![citation] };
        pairs.push((name, with(bare.clone()), with(said)));
    }
    pairs
}

fn citation(format: Format) -> Citation<'static> {
    let raw = json(r#"{"type":"web_search_result_location","url":"https://h/Mark7316"}"#);
    Citation { url: Some(say("https://h/Mark7316")), title: None, cited_text: None, span: None, raw, format }
}

fn media() -> Kinds {
    let mut pairs = kind!(BlockKind::Image; source = png() => Source::Url(say("https://h/Mark7316.png")), detail = None => Some(Cow::Borrowed("low")));
    pairs.extend(kind!(BlockKind::Document;
        source = pdf() => Source::Url(say("https://h/Mark7316.pdf")),
        name = None => Some(say("Mark7316.pdf")),
        title = None => Some(say("Mark7316")),
        context = None => Some(say("Mark7316")),
        citations = None => Some(true),
    ));
    pairs.extend(kind!(BlockKind::Audio;
        source = Source::Base64 { media_type: Cow::Borrowed("audio/wav"), data: say("UklGRkAA") } =>
            Source::Base64 { media_type: Cow::Borrowed("audio/wav"), data: say("UklGRkBB") },
        format = Cow::Borrowed("wav") => Cow::Borrowed("mp3"),
    ));
    pairs
}

/// Where media come from, each kind in an image and in a document.
fn sources() -> Kinds {
    let _ = |source: Source<'_>| match source {
        Source::Base64 { .. } | Source::Url(_) | Source::FileId(_) | Source::Text(_) | Source::Blocks(_) => (),
    };
    let blocks = |words| Source::Blocks(vec![Block::text(say(words), HERE)]);
    let mut pairs = Vec::new();
    for (name, before, after) in [
        ("Source.Url", Source::Url(say("https://h/a.png")), Source::Url(say("https://h/Mark7316.png"))),
        ("Source.FileId", Source::FileId(say("file_a")), Source::FileId(say("file_Mark7316"))),
    ] {
        pairs.push((name, image(before.clone()), image(after.clone())));
        pairs.push((name, document(before), document(after)));
    }
    let named = |name| BlockKind::Document {
        source: Source::Url(say("https://h/a.pdf")),
        name,
        title: None,
        context: None,
        citations: None,
    };
    pairs.push(("BlockKind.Document.name by URL", named(None), named(Some(say("Mark7316.pdf")))));
    pairs.push(("Source.Text", document(Source::Text(say("t"))), document(Source::Text(say("Mark7316")))));
    pairs.push(("Source.Blocks", document(blocks("t")), document(blocks("Mark7316"))));
    pairs
}

fn calls(origin: Format) -> Kinds {
    let mut pairs = kind!(BlockKind::ToolCall;
        id = Cow::Borrowed("c1") => Cow::Borrowed("cMark7316"),
        name = Cow::Borrowed("f") => Cow::Borrowed("Mark7316"),
        arguments = Json::EMPTY_OBJECT => json(r#"{"a":"Mark7316"}"#),
        flavor = Flavor::Function => Flavor::Custom,
    );
    pairs.extend(kind!(BlockKind::ToolResult;
        id = Cow::Borrowed("c1") => Cow::Borrowed("cMark7316"),
        content = vec![Block::text(say("r"), 1)] => vec![Block::text(say("Mark7316"), 1)],
        is_error = None => Some(true),
    ));
    pairs.extend(kind!(BlockKind::ServerTool;
        raw = json(r#"{"type":"first"}"#) => json(r#"{"type":"Mark7316"}"#),
        result = false => true,
    ));
    pairs.extend(kind!(BlockKind::SearchResult; raw = json(r#"{"type":"first"}"#) => json(r#"{"type":"Mark7316"}"#)));
    pairs.extend(kind!(BlockKind::Reference; raw = json(r#"{"type":"first"}"#) => json(r#"{"type":"Mark7316"}"#)));
    pairs.extend(kind!(BlockKind::Unknown;
        format = origin => origin,
        raw = json(r#"{"type":"first"}"#) => json(r#"{"type":"Mark7316"}"#),
    ));
    pairs
}

/// State of each kind, of each maker.
fn opaques(origin: Format) -> Vec<(&'static str, Opaque<'static>)> {
    let of = |kind: OpaqueKind| match kind {
        OpaqueKind::ThinkingSignature => ("OpaqueKind.ThinkingSignature", Format::AnthropicMessages),
        OpaqueKind::RedactedData => ("OpaqueKind.RedactedData", Format::AnthropicMessages),
        OpaqueKind::EncryptedReasoning => ("OpaqueKind.EncryptedReasoning", Format::OpenaiResponses),
        OpaqueKind::ThoughtSignature => ("OpaqueKind.ThoughtSignature", Format::GeminiGenerate),
        OpaqueKind::Unsigned => ("OpaqueKind.Unsigned", origin),
    };
    let one = |kind| {
        let (name, maker) = of(kind);
        (name, Opaque { kind, maker, data: say("TWFyazczMTY=") })
    };
    OpaqueKind::ALL.into_iter().map(one).collect()
}
