//! Whole requests and answers from one format into another.

use std::sync::Arc;

use crate::Format;
use crate::fit::fit;
use crate::format::{
    Outgoing, ReasoningWish, Reply, RequestHead, Target, Undo, WireFormat, counts, sealed, spelling, trim, wire,
};
use crate::hub::{
    Block, BlockKind, Candidate, Effort, Extra, Fault, FaultKind, Field, Flavor, Losses, OutputSpec, Reasoning,
    ReasoningForm, Refusal, Request, Response, Saying, Stop,
};
use crate::json::{Cursor, Json, JsonError, Kind, Problem};
use crate::outcome::Outcome;
use crate::recall::{Listener, Restored, restore};
use crate::reshape::replay;
use crate::undo::undo_response;

/// A request, ready for its provider.
#[derive(Debug)]
pub struct TranslatedRequest {
    /// Body, headers, losses (with pointers into the client's body).
    pub outgoing: Outgoing,
    /// What the answer must look like.
    pub reply: Reply,
}

/// Translates a client's request body.
///
/// # Errors
///
/// The fault that the client shall be told: its request is wrong, or the target cannot do it.
pub fn translate_request(
    from: Format,
    to: Format,
    body: &[u8],
    head: &RequestHead<'_>,
    target: &Target<'_>,
) -> Result<TranslatedRequest, Fault<'static>> {
    let told = |refusal: Refusal| refusal.into_fault(body);
    let mut request = wire(from).read_request(body, head).map_err(told)?;
    // Most requests are about as long in another format.
    let mut outgoing = Outgoing { body: Vec::with_capacity(body.len() + 256), ..Outgoing::default() };
    let mut restored = Restored::default();
    if from != to {
        outgoing.undo.json = request.output != OutputSpec::Text;
        refuse_nothing(from, &request, body).map_err(told)?;
        if let Some(recall) = head.seal.recall().filter(|_| !request.tools.is_empty()) {
            restored = restore(&mut request, (from, body), to, recall.as_ref());
        }
        request.offer_found_tools();
        let losses = &mut outgoing.losses;
        request.leave_out_hosted(to, &mut |at| {
            losses.dropped(Field::ServerTool, at, "only providers of its own format run this tool: it is left out");
        });
    }
    fit(&mut request, wire(to).spec(), target.facts, &mut outgoing.losses);
    wire(to).write_request(&request, target, &mut outgoing).map_err(told)?;
    restored.forgive(&mut outgoing.losses);
    let ends = (wire(from), wire(to));
    let trimmed = trim::written(ends, &request, &outgoing.body, target.facts, &mut outgoing.losses);
    outgoing.body = trimmed.unwrap_or(outgoing.body);
    respell(from, &request, &mut outgoing.losses);
    spelling::respell(wire(from), body, &request.span, &mut outgoing.losses);
    sealed::name(wire(from), body, &mut outgoing.losses);
    outgoing.losses.resolve(body);
    Ok(TranslatedRequest { reply: reply_to(&request, body, head, restored.mark), outgoing })
}

/// Refuses a conversation of nothing, as its own provider does: another one would answer, at a price, words of ours that
/// stand in for it.
fn refuse_nothing(from: Format, request: &Request<'_>, body: &[u8]) -> Result<(), Refusal> {
    if !request.turns.is_empty() || !request.state.kept.is_empty() {
        return Ok(());
    }
    let turns = wire(from).spec().prompt.turns;
    let mut empty = false;
    Cursor::over_bytes(body)?.object::<JsonError>(|key, value| {
        // One that holds instructions alone has words to go by.
        empty |= key == turns && value.clone().json()?.is_empty();
        value.skip()
    })?;
    if empty {
        let message = "it is empty, so there is nothing to answer: give it at least one message of the user";
        return Err(Refusal::of(turns, message));
    }
    Ok(())
}

/// Translates a client's request for the number of tokens of a prompt. What bears on the answer alone has no place in it,
/// which is no loss.
///
/// # Errors
///
/// The fault that the client shall be told: its request is wrong, or the target cannot count it.
pub fn translate_count(
    from: Format,
    to: Format,
    body: &[u8],
    head: &RequestHead<'_>,
    target: &Target<'_>,
) -> Result<TranslatedRequest, Fault<'static>> {
    let Some(counting) = wire(to).spec().counting else {
        let message = format!("{} cannot be asked for a number of tokens.", wire(to).spec().title);
        return Err(Fault::new(FaultKind::InvalidRequest, message).with_code("unsupported_operation"));
    };
    let held = wire(from).spec().held(body);
    let request = held.as_ref().and_then(|member| body.get(member.value.clone())).unwrap_or(body);
    let mut translated = translate_request(from, to, request, head, target)?;
    let Outgoing { body, losses, .. } = &mut translated.outgoing;
    losses.retain(|loss| counts(loss.field));
    if let Some(member) = &held {
        losses.move_into(&["/", &member.key].concat());
    }
    *body = counting.of(body, target).map_err(|error| Refusal::from(error).into_fault(body))?;
    Ok(translated)
}

/// What a request has to do with tools and reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wants {
    /// It has tools.
    pub tools: bool,
    /// It asks for reasoning, or says that there shall be none; `None` where it says neither.
    pub reasoning: Option<bool>,
}

/// Reads what a client's request has to do with tools and reasoning; `None` where it cannot be read.
#[must_use]
pub fn wants(from: Format, body: &[u8], head: &RequestHead<'_>) -> Option<Wants> {
    let request = wire(from).read_request(body, head).ok()?;
    let asked = &request.reasoning;
    let reasoning = match (asked.effort, asked.form, asked.budget) {
        (Some(Effort::None), ..) | (None, Some(ReasoningForm::Disabled), _) | (None, _, Some(0)) => Some(false),
        (Some(_), ..) | (None, Some(ReasoningForm::Adaptive | ReasoningForm::Budget), _) | (None, _, Some(_)) => {
            Some(true)
        }
        (None, None, None) => None,
    };
    Some(Wants { tools: !request.tools.is_empty(), reasoning })
}

/// Reports name fields by the format's own words; a client that used its server's is told those.
fn respell(from: Format, request: &Request<'_>, losses: &mut Losses) {
    for native in &request.native {
        let known = wire(from).pointer(native.field);
        let is_said = request.native.iter().any(|other| known.strip_prefix('/') == Some(other.key.as_ref()));
        if !is_said {
            losses.respell(known, &format!("/{}", native.key));
        }
    }
}

/// What an answer to `request` must look like. The caller, who has a clock and knows one request from
/// another, adds the date and the seed.
fn reply_to(request: &Request<'_>, body: &[u8], head: &RequestHead<'_>, mark: Option<u64>) -> Reply {
    Reply {
        model: request.model.clone().into_owned(),
        include_usage: request.stream.is_some_and(|stream| stream.include_usage),
        reasoning: wish(&request.reasoning),
        framing: head.line.stream.unwrap_or_default(),
        seal: Arc::new(head.seal.clone().marked(mark)),
        created: 0,
        seed: String::new(),
        settings: wire(request.origin.format).spec().settings(body, &request.span),
    }
}

/// What a client that asked so wants to see of the model's reasoning.
fn wish(reasoning: &Reasoning) -> ReasoningWish {
    let asked = reasoning.effort.is_some()
        || reasoning.budget.is_some()
        || matches!(reasoning.form, Some(ReasoningForm::Adaptive | ReasoningForm::Budget));
    let declined = reasoning.form == Some(ReasoningForm::Disabled) || reasoning.effort == Some(Effort::None);
    match reasoning.show {
        _ if declined => ReasoningWish::Declined,
        Some(false) => ReasoningWish::Hidden,
        None if !asked => ReasoningWish::Unasked,
        Some(true) | None => ReasoningWish::Shown,
    }
}

/// An answer, ready for its client.
#[derive(Debug)]
pub struct TranslatedResponse {
    /// The body.
    pub body: Vec<u8>,
    /// What could not be carried (with pointers into the provider's body).
    pub losses: Losses,
    /// Usage and stop reason.
    pub outcome: Outcome,
}

/// Some servers put it before an answer.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Translates a provider's whole answer.
///
/// # Errors
///
/// The fault that the client shall be told: the body is no answer, or one that the client's format says as an error.
pub fn translate_response(
    provider: Format,
    client: Format,
    body: &[u8],
    reply: &Reply,
    undo: &Undo,
) -> Result<TranslatedResponse, Fault<'static>> {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let mut losses = Losses::default();
    let mut response = read_whole(wire(provider), body, &mut |field, at, reason| losses.dropped(field, at, reason))?;
    for candidate in &mut response.candidates {
        settle(candidate, provider != client, &mut losses);
    }
    undo_response(undo, &mut response);
    if let Some(mut listener) = listener(provider, client, reply) {
        replay(&response, &mut |event| listener.note(&event));
    }
    let written = wire(client).write_response(&response, reply, &mut losses)?;
    losses.resolve(body);
    let mut outcome = Outcome { usage: response.usage.clone(), complete: true, ..Outcome::default() };
    outcome.stop = response.candidates.first().map(|candidate| candidate.stop.label());
    for loss in losses.iter() {
        outcome.note_dropped(loss.field);
    }
    Ok(TranslatedResponse { body: written, losses, outcome })
}

/// Who hears what an answer from `provider` thought, if that is kept for this client.
pub(crate) fn listener(provider: Format, client: Format, reply: &Reply) -> Option<Listener> {
    let recall = reply.keeper().filter(|_| provider != client)?;
    Some(Listener::new(recall, provider, reply.seal.mark()?))
}

/// Translates a provider's answer to a request for a number of tokens. What some tell beside the number has no place
/// elsewhere.
///
/// # Errors
///
/// The fault that the client shall be told: the body is no such answer.
pub fn translate_counted(provider: Format, client: Format, body: &[u8]) -> Result<TranslatedResponse, Fault<'static>> {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let none = JsonError { offset: 0, problem: Problem::Syntax("an answer of another kind") };
    let (Some(read), Some(write)) = (wire(provider).spec().counting, wire(client).spec().counting) else {
        return Err(unreadable(body, &none));
    };
    match read.read(body) {
        Ok(total) => {
            let outcome = Outcome { complete: true, ..Outcome::default() };
            Ok(TranslatedResponse { body: write.write(total), losses: Losses::default(), outcome })
        }
        Err(_) if wire(provider).tells_error(body) => Err(told(wire(provider), body)),
        Err(error) => Err(unreadable(body, &error)),
    }
}

/// Says what an end comes to that is told in words of the provider's own, or not at all, for a `foreign` client.
pub(crate) fn settle(candidate: &mut Candidate<'_>, foreign: bool, losses: &mut Losses) {
    let untold = |extra: &Extra<'_>| extra.field == Field::StopReason && extra.value == Json::NULL;
    let at = candidate.extras.iter().find(|extra| untold(extra)).map(|extra| extra.at);
    candidate.extras.retain(|extra| !untold(extra));
    let saying = saying(&candidate.blocks);
    // Of the ends of its own provider a client knows more.
    if foreign || saying == Saying::Calls {
        candidate.stop = std::mem::replace(&mut candidate.stop, Stop::EndTurn).settled(saying);
    }
    if !foreign {
        return;
    }
    if let Some(at) = at {
        losses.dropped(Field::StopReason, at, "the answer does not say why it ended");
    }
}

/// What the answer with these `blocks` says.
fn saying(blocks: &[Block<'_>]) -> Saying {
    let call = |block: &Block<'_>| match &block.kind {
        BlockKind::ToolCall { arguments, flavor, .. } => {
            let half = *flavor == Flavor::Function && arguments.kind() == Kind::String;
            Some(if half { Saying::HalfCalls } else { Saying::Calls })
        }
        _ => None,
    };
    let mut calls: Vec<Saying> = blocks.iter().filter_map(call).collect();
    calls.sort_by_key(|saying| *saying != Saying::HalfCalls);
    let words = || if blocks.iter().any(|block| block.kind.is_said()) { Saying::Words } else { Saying::Nothing };
    calls.first().copied().unwrap_or_else(words)
}

/// Takes the class of something lost, where it stood, and why.
type Lost<'l> = &'l mut dyn FnMut(Field, usize, &'static str);

/// Reads a provider's whole answer, whether it goes to its client whole or as a stream.
///
/// # Errors
///
/// It is none: what it is instead, in the provider's words if it has some.
pub(crate) fn read_whole<'a>(
    provider: &dyn WireFormat,
    body: &'a [u8],
    lost: Lost<'_>,
) -> Result<Response<'a>, Fault<'static>> {
    let mut response = match provider.read_response(body) {
        Ok(response) => response,
        Err(_) if provider.tells_error(body) => return Err(told(provider, body)),
        Err(error) => return Err(unreadable(body, &error)),
    };
    response.number_apart();
    let failed = response.candidates.first().is_none_or(|first| matches!(first.stop, Stop::Failed(_)));
    if failed && provider.is_error(body) {
        return Err(told(provider, body));
    }
    for candidate in &mut response.candidates {
        let all = candidate.blocks.len();
        candidate.blocks.retain(|block| {
            let empty = matches!(&block.kind, BlockKind::ToolCall { name, arguments, .. }
                if name.is_empty() && matches!(arguments.as_str(), "{}" | "\"\""));
            if empty {
                lost(Field::ToolCall, block.at, "a tool call that says nothing");
            }
            !empty
        });
        let calls = candidate.blocks.iter().any(|block| matches!(block.kind, BlockKind::ToolCall { .. }));
        if candidate.blocks.len() < all && candidate.stop == Stop::ToolUse && !calls {
            candidate.stop = Stop::EndTurn;
        }
    }
    match nameless(&response) {
        // Nobody could follow it, and some formats could not even say it.
        Some(at) => {
            Err(unreadable(body, &JsonError { offset: at, problem: Problem::Syntax("a tool call with a name") }))
        }
        None => Ok(response),
    }
}

/// Where a call stands that does not say what it calls.
fn nameless(response: &Response<'_>) -> Option<usize> {
    let blocks = response.candidates.iter().flat_map(|candidate| &candidate.blocks);
    let call = |block: &&Block<'_>| matches!(&block.kind, BlockKind::ToolCall { name, .. } if name.is_empty());
    blocks.into_iter().find(call).map(|block| block.at)
}

/// The error that `body` is although it came as a success, as some routers send it.
fn told(provider: &dyn WireFormat, body: &[u8]) -> Fault<'static> {
    let mut fault = provider.read_error(200, body).into_owned();
    // Not of the client's own making: it knows neither the key nor the account.
    if matches!(fault.kind, FaultKind::Authentication | FaultKind::Permission) {
        return Fault::key_refused(None);
    }
    if fault.kind == FaultKind::Billing && fault.status == FaultKind::Billing.status() {
        (fault.kind, fault.status) = (FaultKind::Api, 502);
        fault = fault.with_code("upstream_refused");
    }
    fault
}

/// What is told of a whole answer that is none.
fn unreadable(body: &[u8], error: &JsonError) -> Fault<'static> {
    let pointer = crate::json::pointer_at(body, error.offset);
    let place = if pointer.is_empty() { String::new() } else { format!(" in {pointer}") };
    let mut fault = Fault::new(FaultKind::Api, format!("The provider's answer cannot be read: {error}{place}"));
    fault.status = 502;
    fault.with_code("upstream_malformed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Line;
    use crate::format::Facts;
    use crate::seal::Seal;

    fn translated(from: Format, to: Format, body: &str) -> String {
        let (seal, facts) = (Seal::new([7; 32]), Facts::default());
        let line = Line { model: Some("m".into()), stream: None };
        let head = RequestHead { api_version: Some("2023-06-01"), betas: None, line, seal: &seal };
        let target = Target { model: "t", facts: &facts, api_version: Some("2023-06-01") };
        let request = translate_request(from, to, body.as_bytes(), &head, &target).unwrap();
        String::from_utf8(request.outgoing.body).unwrap()
    }

    /// A request with a call for each of `ids`, and the results of `answered`, which are words.
    fn with_calls(format: Format, ids: &[String], answered: &[(&str, usize)]) -> String {
        let calls = |one: &dyn Fn(&String) -> String| ids.iter().map(one).collect::<Vec<_>>().join(",");
        let results = |one: &dyn Fn(&str, usize) -> String| {
            answered.iter().map(|(id, n)| one(id, *n)).collect::<Vec<_>>().join(",")
        };
        match format {
            Format::OpenaiChat => format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":"q"}},{{"role":"assistant","tool_calls":[{}]}},{}]}}"#,
                calls(&|id| format!(
                    r#"{{"id":"{id}","type":"function","function":{{"name":"f","arguments":"{{}}"}}}}"#
                )),
                results(&|id, n| format!(r#"{{"role":"tool","tool_call_id":"{id}","content":"r{n}"}}"#)),
            ),
            Format::AnthropicMessages => format!(
                r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"q"}},{{"role":"assistant","content":[{}]}},{{"role":"user","content":[{}]}}]}}"#,
                calls(&|id| format!(r#"{{"type":"tool_use","id":"{id}","name":"f","input":{{}}}}"#)),
                results(&|id, n| format!(r#"{{"type":"tool_result","tool_use_id":"{id}","content":"r{n}"}}"#)),
            ),
            Format::OpenaiResponses => format!(
                r#"{{"model":"m","input":[{{"role":"user","content":"q"}},{},{}]}}"#,
                calls(&|id| format!(r#"{{"type":"function_call","call_id":"{id}","name":"f","arguments":"{{}}"}}"#)),
                results(&|id, n| format!(r#"{{"type":"function_call_output","call_id":"{id}","output":"r{n}"}}"#)),
            ),
            Format::GeminiGenerate => format!(
                r#"{{"contents":[{{"role":"user","parts":[{{"text":"q"}}]}},{{"role":"model","parts":[{}]}},{{"role":"user","parts":[{}]}}]}}"#,
                calls(&|id| format!(r#"{{"functionCall":{{"id":"{id}","name":"f","args":{{}}}}}}"#)),
                results(&|id, n| format!(
                    r#"{{"functionResponse":{{"id":"{id}","name":"f","response":{{"output":"r{n}"}}}}}}"#
                )),
            ),
        }
    }

    /// Calls of which every tenth has the id of the one before it, and their results, in order and out of it.
    fn check(from: Format, to: Format, count: usize) {
        let ids: Vec<String> = (0..count).map(|n| format!("c{}", if n % 10 == 9 { n - 1 } else { n })).collect();
        let ordered: Vec<_> = ids.iter().map(String::as_str).zip(0..).collect();
        // Results of one id stay in their order.
        let mut shuffled = ordered.clone();
        shuffled.sort_by_key(|(id, _)| id.bytes().rev().collect::<Vec<_>>());
        let sent = translated(from, to, &with_calls(from, &ids, &shuffled));
        if to == Format::OpenaiResponses {
            for said in [r#""call_id":"c8","output":"r8""#, r#""call_id":"c8-2","output":"r9""#] {
                assert!(sent.contains(said), "{from:?} to {to:?}: no {said}");
            }
        }
        // Other readers keep the client's order, which this writer may.
        if to != Format::OpenaiResponses || from == Format::OpenaiChat {
            assert!(sent == translated(from, to, &with_calls(from, &ids, &ordered)), "{from:?} to {to:?}");
        }
    }

    #[test]
    fn results_find_their_calls_in_any_order() {
        for from in Format::ALL {
            for to in [Format::AnthropicMessages, Format::GeminiGenerate, Format::OpenaiResponses] {
                if from != to {
                    check(from, to, 60);
                }
            }
        }
    }

    #[test]
    fn a_reason_that_is_said_otherwise_is_named_by_its_place() {
        use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};
        let message = |stop: &str| {
            format!(
                r#"{{"id":"m","type":"message","role":"assistant","model":"m","content":[{{"type":"text","text":"t"}}],{stop}}}"#
            )
        };
        let chat = r#"{"id":"c","choices":[{"index":0,"message":{"content":"t"},"finish_reason":"content_filter"}]}"#;
        let gemini = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"},{"index":1,"content":{"parts":[{"text":"b"}]},"finishReason":"LANGUAGE_X"}]}"#;
        let blocked = r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#;
        let response = r#"{"id":"r","object":"response","status":"incomplete","incomplete_details":{"reason":"odd"},"output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"t"}]}]}"#;
        for (from, to, body, place) in [
            (A, C, message(r#""stop_reason":"pause_turn""#), "/stop_reason"),
            (A, R, message(r#""stop_reason":"pause_turn""#), "/stop_reason"),
            (A, G, message(r#""stop_reason":"pause_turn""#), "/stop_reason"),
            (A, C, message(r#""stop_reason":"stop_sequence","stop_sequence":"x""#), "/stop_sequence"),
            (C, A, chat.to_owned(), "/choices/0/finish_reason"),
            (G, C, gemini.to_owned(), "/candidates/1/finishReason"),
            (G, A, blocked.to_owned(), "/promptFeedback/blockReason"),
            (R, A, response.to_owned(), "/incomplete_details/reason"),
        ] {
            let reply = Reply {
                model: "m".to_owned(),
                include_usage: false,
                reasoning: ReasoningWish::Unasked,
                framing: crate::Framing::default(),
                seal: Arc::new(Seal::new([7; 32])),
                created: 0,
                seed: String::new(),
                settings: crate::Settings::default(),
            };
            let translated = translate_response(from, to, body.as_bytes(), &reply, &Undo::default()).unwrap();
            let header = translated.losses.answer_header(4096);
            assert!(
                header.split(", ").any(|item| item == format!("answer.converted:{place}")),
                "{from:?} {to:?} {header}"
            );
        }
    }

    /// Work grows with the calls, not with their square.
    #[test]
    fn thousands_of_results_find_their_calls() {
        check(Format::OpenaiChat, Format::AnthropicMessages, 18_000);
    }
}
