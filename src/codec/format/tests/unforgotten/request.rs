//! The fields of a request.

use std::borrow::Cow;

use super::{HERE, crossings, extra, hold, json, say};
use crate::Format;
use crate::fit::fit;
use crate::format::{Facts, Outgoing, Target, wire};
use crate::hub::{
    Asked, Block, CacheMark, CacheSpec, Effort, Field, Identity, Limits, Origin, OutputSpec, Place, Reasoning,
    ReasoningForm, Request, Role, Sampling, State, StreamSpec, Strict, Tier, Tool, ToolMode, ToolPolicy, Turn,
    Verbosity,
};
use crate::json::Json;

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

/// A way of saying a field: its name, a request that does not say it, and one that does.
pub(super) type Said = (&'static str, Request<'static>, Request<'static>);

const ALL: &[Format] = &Format::ALL;

/// What may stay unsaid.
const UNSAID: &[(&str, &[Format], &str)] = &[
    ("Request.model", ALL, "the target has a name of its own"),
    ("Request.origin", &[A], "betas are asked for by clients of this very format only"),
    ("Request.native", ALL, "says how the client spelled what other fields hold"),
    ("Request.span", ALL, "says where the conversation stands, and is none of its words"),
    ("Request.stream", &[G], "stands in the path"),
    ("StreamSpec.include_usage", ALL, "every stream is asked for its usage; the client sees it if it asked"),
    ("StreamSpec.obfuscation", &[A, G], "nothing is padded there"),
    ("Reasoning.show", &[C], "what comes is shown or hidden on the way back"),
    ("OutputSpec.JsonSchema.name", &[A, G], "a label: the schema stands alone there"),
    ("OutputSpec.JsonSchema.strict", &[A, G], "a schema always holds there"),
    ("BlockKind.Audio.format", &[G], "the source's media type says it"),
    ("Block.apart", ALL, "tells words from words, where there are any before"),
    ("Block.at", ALL, PLACE),
    ("Block.words_at", ALL, PLACE),
    ("Turn.at", ALL, PLACE),
    ("Tool.Function.at", ALL, PLACE),
    ("Tool.Custom.at", &[C, R], PLACE),
];

const PLACE: &str = "where it stands in the client's document, for reports";

/// What `request` becomes for a target of `to`: all that leaves, and all that is reported; none where it is refused, or
/// where a loss names what is tested.
fn written(request: &Request<'static>, to: Format) -> Option<String> {
    let (facts, mut out) = (Facts::default(), Outgoing::default());
    let mut request = request.clone();
    request.offer_found_tools();
    fit(&mut request, wire(to).spec(), &facts, &mut out.losses);
    let target = Target { model: "t", facts: &facts, api_version: None };
    wire(to).write_request(&request, &target, &mut out).ok()?;
    if out.losses.iter().any(|loss| loss.place == Place::Offset(HERE)) {
        return None;
    }
    Some(format!("{}\n{:?}\n{:?}", String::from_utf8(out.body).unwrap(), out.headers, out.losses))
}

#[test]
fn no_field_of_a_request_is_forgotten() {
    let mut forgotten = Vec::new();
    for (from, to) in crossings() {
        for (name, before, after) in said(from) {
            let said = written(&after, to);
            if said.is_some() && said == written(&before, to) {
                forgotten.push((name, from, to));
            }
        }
    }
    hold(&forgotten, UNSAID);
}

pub(super) fn base(origin: Format) -> Request<'static> {
    let mut request = Request::new(Origin { format: origin, api_version: None, betas: Vec::new() });
    request.model = Cow::Borrowed("m");
    request.turns.push(Turn::new(Role::User, vec![Block::text(say("q"), 1)], 1));
    request
}

fn said(origin: Format) -> Vec<Said> {
    let plain = base(origin);
    let mut said = fields(&Request { tools: vec![named("g")], ..plain.clone() });
    said.extend(settings(&plain));
    said.extend(of_tools(&plain));
    said.extend(super::blocks::said(origin));
    said
}

/// The request with each of `values` set by `set`.
fn with<T>(plain: &Request<'static>, values: Vec<(&'static str, T)>, set: fn(&mut Request<'static>, T)) -> Vec<Said> {
    let one = |(name, value)| {
        let mut request = plain.clone();
        set(&mut request, value);
        (name, plain.clone(), request)
    };
    values.into_iter().map(one).collect()
}

/// The same where each value has one of its own to be compared with.
fn with_pairs<T>(
    plain: &Request<'static>,
    pairs: Vec<(&'static str, T, T)>,
    set: fn(&mut Request<'static>, T),
) -> Vec<Said> {
    let one = |value| {
        let mut request = plain.clone();
        set(&mut request, value);
        request
    };
    pairs.into_iter().map(|(name, before, after)| (name, one(before), one(after))).collect()
}

fn fields(plain: &Request<'static>) -> Vec<Said> {
    let values = each!(Request, plain.clone();
        origin = Origin { format: plain.origin.format, api_version: None, betas: vec![Cow::Borrowed("mark-7316")] },
        model = Cow::Borrowed("m"),
        instructions = vec![Block::text(say("Mark7316"), 1)],
        turns = vec![Turn::new(Role::User, vec![Block::text(say("Mark7316"), 1)], 1)],
        tools = vec![function()],
        found_tools = vec![function()],
        tool_policy = ToolPolicy { parallel: Some(false), ..ToolPolicy::default() },
        limits = Limits { max_output: Some(73), ..Limits::default() },
        sampling = Sampling { seed: Some(json("7316")), ..Sampling::default() },
        output = OutputSpec::JsonObject,
        verbosity = Some(Verbosity::High),
        reasoning = Reasoning { effort: Some(Effort::Low), ..Reasoning::default() },
        cache = CacheSpec { key: Some(say("Mark7316")), ..CacheSpec::default() },
        tier = Some(Tier::Flex),
        moderation = vec![extra(Field::Safety, "mark_7316")],
        identity = Identity { user: Some(say("Mark7316")), ..Identity::default() },
        state = State { store: Some(true), ..State::default() },
        stream = Some(StreamSpec::default()),
        extras = vec![extra(Field::Unknown, "mark_7316")],
        native = vec![extra(Field::Unknown, "mark_7316")],
        span = 1..9,
    );
    with(plain, values, |request, value| *request = value)
}

fn settings(plain: &Request<'static>) -> Vec<Said> {
    let limits = each!(Limits, Limits::default(); max_output = Some(73), stop = vec![say("Mark7316")]);
    let sampling = each!(Sampling, Sampling::default();
        temperature = Some(json("0.7316")),
        top_p = Some(json("0.7316")),
        top_k = Some(json("73")),
        seed = Some(json("7316")),
        presence_penalty = Some(json("0.7316")),
        frequency_penalty = Some(json("0.7316")),
        logit_bias = Some(json(r#"{"73":16}"#)),
        n = Some(2),
        logprobs = Some(true),
        top_logprobs = Some(3),
        prediction = Some(json(r#"{"type":"content","content":"Mark7316"}"#)),
    );
    let reasoning = each!(Reasoning, Reasoning::default();
        effort = Some(Effort::Low),
        budget = Some(2345),
        form = Some(ReasoningForm::Adaptive),
        show = Some(true),
    );
    let cache = each!(CacheSpec, CacheSpec::default();
        key = Some(say("Mark7316")),
        auto = Some(CacheMark { ttl_s: Some(300) }),
        options = vec![extra(Field::Cache, "mark_7316")],
    );
    let identity = each!(Identity, Identity::default();
        user = Some(say("Mark7316")),
        safety_id = Some(say("Mark7316")),
        metadata = Some(json(r#"{"k":"Mark7316"}"#)),
    );
    let state = each!(State, State::default();
        store = Some(true),
        kept = vec![extra(Field::Store, "mark_7316")],
        thread = Some(extra(Field::Store, "thread")),
        asked = vec![Asked { key: Cow::Borrowed("mark_7316"), code: "unsupported_parameter", at: HERE }],
    );
    let stream = each!(StreamSpec, StreamSpec::default(); include_usage = true, obfuscation = Some(false));
    let mut said = with(plain, limits, |request, value| request.limits = value);
    said.extend(with(plain, sampling, |request, value| request.sampling = value));
    said.extend(with(plain, reasoning, |request, value| request.reasoning = value));
    said.extend(with(plain, cache, |request, value| request.cache = value));
    said.extend(with(plain, identity, |request, value| request.identity = value));
    said.extend(with(plain, state, |request, value| request.state = value));
    let streamed = Request { stream: Some(StreamSpec::default()), ..plain.clone() };
    said.extend(with(&streamed, stream, |request, value| request.stream = Some(value)));
    said.extend(with_pairs(plain, outputs(), |request, value| request.output = value));
    said
}

fn outputs() -> Vec<(&'static str, OutputSpec<'static>, OutputSpec<'static>)> {
    // One more kind does not compile until it stands here.
    let _ = |output: OutputSpec<'_>| match output {
        OutputSpec::Text | OutputSpec::JsonObject | OutputSpec::JsonSchema { .. } => (),
    };
    let mut pairs = kind!(OutputSpec::JsonSchema;
        name = Some(say("n")) => Some(say("Mark7316")),
        schema = Some(json(r#"{"type":"object"}"#)) =>
            Some(json(r#"{"type":"object","properties":{"Mark7316":{"type":"string"}}}"#)),
        strict = Strict::Unsaid => Strict::Said(true),
        description = None => Some(say("Mark7316")),
    );
    pairs.push(("OutputSpec.JsonObject", OutputSpec::Text, OutputSpec::JsonObject));
    pairs
}

fn of_tools(plain: &Request<'static>) -> Vec<Said> {
    let free = ToolPolicy { mode: Some(ToolMode::Auto), ..ToolPolicy::default() };
    let policies = each!(ToolPolicy, free.clone();
        mode = Some(ToolMode::Any),
        allowed = Some(vec![Cow::Borrowed("f")]),
        parallel = Some(false),
    );
    let tooled = Request { tools: vec![function(), named("g")], tool_policy: free, ..plain.clone() };
    let mut said = with(&tooled, policies, |request, value| request.tool_policy = value);
    said.extend(with_pairs(plain, tools(plain.origin.format), |request, value| request.tools = vec![value]));
    said
}

fn function() -> Tool<'static> {
    named("f")
}

fn named(name: &'static str) -> Tool<'static> {
    Tool::Function {
        name: Cow::Borrowed(name),
        description: None,
        schema: Some(object()),
        strict: None,
        cache: None,
        extras: Vec::new(),
        at: 1,
    }
}

fn object() -> Json<'static> {
    json(r#"{"type":"object"}"#)
}

fn tools(origin: Format) -> Vec<(&'static str, Tool<'static>, Tool<'static>)> {
    let _ = |tool: Tool<'_>| match tool {
        Tool::Function { .. } | Tool::Custom { .. } | Tool::Server { .. } => (),
    };
    let mut pairs = functions();
    pairs.extend(kind!(Tool::Custom;
        name = Cow::Borrowed("f") => Cow::Borrowed("Mark7316"),
        description = None => Some(say("Mark7316")),
        format = None => Some(json(r#"{"type":"grammar","syntax":"regex","definition":"Mark7316"}"#)),
        at = HERE => 1,
    ));
    pairs.extend(kind!(Tool::Server;
        format = origin => origin,
        raw = json(r#"{"type":"first"}"#) => json(r#"{"type":"Mark7316"}"#),
        by_client = false => true,
        at = HERE => 1,
    ));
    pairs
}

fn functions() -> Vec<(&'static str, Tool<'static>, Tool<'static>)> {
    kind!(Tool::Function;
        name = Cow::Borrowed("f") => Cow::Borrowed("Mark7316"),
        description = None => Some(say("Mark7316")),
        schema = Some(object()) => Some(json(r#"{"type":"object","properties":{"Mark7316":{"type":"string"}}}"#)),
        strict = None => Some(true),
        cache = None => Some(CacheMark { ttl_s: None }),
        extras = Vec::new() => vec![extra(Field::Tool, "mark_7316")],
        at = HERE => 1,
    )
}
