//! `tidegate explain`: what becomes of a request, without sending it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::value::RawValue;
use tidegate_codec::format::{Facts, RequestHead, Target, wire};
use tidegate_codec::hub::{Losses, Place};
use tidegate_codec::seal::Seal;
use tidegate_codec::{Format, Framing, Line, Operation, json, translate_count, translate_request, wants};

use super::{Failure, check, exit, input, pretty};
use crate::config::{FactRules, Settings};

/// Show a request as the provider would get it, and what the translation cannot carry.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is sent. Thinking signatures that the edge sealed are not opened: that takes the edge's own key.

Examples:
  tidegate explain request.json --from openai_chat --to anthropic_messages
  tidegate explain request.json --from openai_chat --to anthropic_messages --model claude-sonnet-4-5
  tidegate explain request.json --from openai_chat --config conf/tidegate.yaml --provider claude --model claude-opus-4-8
  tidegate explain - --from anthropic_messages --to openai_chat --json < request.json | jq .losses
  tidegate explain request.json --from openai_chat --to anthropic_messages --refuse > /dev/null   in CI: fails if
                                                                                 a part of the request gets lost")]
pub(super) struct Args {
    /// The client's request body; - for standard input.
    #[arg(value_name = "REQUEST.json")]
    request: String,
    /// The format of the request.
    #[arg(long, value_name = "FORMAT", value_parser = input::format())]
    from: Format,
    /// The provider's format.
    #[arg(long, value_name = "FORMAT", value_parser = input::format(), required_unless_present = "provider")]
    to: Option<Format>,
    /// A config: its providers' paths and quirks, and what it says of models.
    #[arg(short, long, value_name = "FILE", requires = "provider")]
    config: Option<PathBuf>,
    /// The provider of the config that would get the request, by the entry of `models` that leads there.
    #[arg(long, value_name = "NAME", requires = "config")]
    provider: Option<String>,
    /// The provider's name of the model; the request's own if it is not given.
    #[arg(long)]
    model: Option<String>,
    /// It asks for a stream, where the path says so.
    #[arg(long, conflicts_with = "count")]
    stream: bool,
    /// It asks for the number of its tokens, not for an answer.
    #[arg(long)]
    count: bool,
    /// Print one JSON object: request, headers, losses.
    #[arg(long)]
    json: bool,
    /// Fail (exit code 65) if anything is dropped, as a route with `on_loss: refuse` does.
    #[arg(long)]
    refuse: bool,
}

/// A request as it would go out.
struct Explained {
    /// The format that it goes out in.
    to: Format,
    /// It goes out as it came, but for what its server refuses.
    passed: bool,
    /// What is known of the model, where it is not the usual.
    facts: Vec<String>,
    path: String,
    body: Vec<u8>,
    headers: Vec<(&'static str, String)>,
    losses: Losses,
}

/// Explains the request on standard output.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let body = input::read(&args.request)?;
    let explained = explain(args, &body)?;
    let text = if args.json { machine(&explained)? } else { person(args, &explained) };
    Failure::output(std::io::stdout().lock().write_all(&text))?;
    if args.refuse && explained.losses.any_dropped() {
        return Err(Failure::new(exit::DATA, "parts of the request would be dropped: see the losses above"));
    }
    Ok(())
}

fn explain(args: &Args, body: &[u8]) -> Result<Explained, Failure> {
    let envelope = json::guard(body)
        .map_err(|e| Failure::new(exit::DATA, format!("{}: {e}", args.request)).hint("a request is one JSON object"))?;
    let named = args.model.clone().or(envelope.model.clone());
    let model = named.clone().unwrap_or_else(|| "MODEL".to_owned());
    let settings = configured(args)?;
    let provider = settings.as_ref().and_then(|settings| settings.providers.get(args.provider.as_deref()?));
    let (known, facts) = match (&settings, provider) {
        (Some(settings), Some(provider)) => settings.told_of(provider, &model),
        _ => FactRules::told(FactRules::table(&model)),
    };
    // The key of a running edge is its secret, and nothing here needs one to be good.
    let seal = Seal::new([0; 32]);
    let stream = input::streams(args.from, envelope.stream, args.stream)?.then_some(Framing::Events);
    let line = Line { model: Some(Cow::Borrowed(&model)), stream };
    let head = RequestHead { api_version: None, betas: None, line, seal: &seal };
    let own = provider.map(|provider| provider.format).or(args.to).unwrap_or(args.from);
    let asks = || wants(args.from, body, &head).map_or((false, None), |wants| (wants.tools, wants.reasoning));
    let operation = if args.count { Operation::Count } else { Operation::Generate };
    let serving = provider.map_or(Some(own), |provider| provider.serves(operation, args.from));
    let detour = || if args.count { serving } else { known.responses.detour(own, asks) };
    let to = args.to.or_else(detour).unwrap_or(own);
    let request_line = wire(to).spec().request_line(operation, &model, stream);
    let path = match provider {
        Some(provider) => {
            let base_path = provider.endpoints.first().map_or("", |endpoint| &endpoint.base_path);
            provider.layout.path(base_path, &request_line, &model)
        }
        None => request_line.into_owned(),
    };
    let exists = wire(to).spec().path_of(operation).is_some();
    let passed = args.from == to && exists && !wire(to).must_be_rewritten(body, &known.facts);
    let mut explained =
        Explained { to, passed, facts, path, body: body.to_vec(), headers: Vec::new(), losses: Losses::default() };
    if passed {
        pass(args, &known.facts, &mut explained);
        return Ok(explained);
    }
    if named.is_none() {
        return Err(Failure::new(exit::DATA, format!("{} names no model", args.request)).hint("give one with --model"));
    }
    let target = Target { model: &model, facts: &known.facts, api_version: None };
    let translate = if args.count { translate_count } else { translate_request };
    let translated = translate(args.from, to, body, &head, &target).map_err(|fault| {
        // Some messages begin with the place themselves.
        let place = fault.param.as_ref().map(|param| format!("{param}: "));
        let place = place.filter(|place| !fault.message.starts_with(place.as_str())).unwrap_or_default();
        Failure::new(exit::DATA, format!("{place}{}", fault.message))
    })?;
    let outgoing = translated.outgoing;
    Ok(Explained { body: outgoing.body, headers: outgoing.headers, losses: outgoing.losses, ..explained })
}

/// The config, which has the provider that the request would go to.
fn configured(args: &Args) -> Result<Option<Settings>, Failure> {
    let (Some(config), Some(name)) = (&args.config, &args.provider) else { return Ok(None) };
    let settings = check::load(config)?;
    if !settings.providers.contains_key(name.as_str()) {
        return Err(Failure::new(exit::DATA, format!("the config has no provider `{name}`")));
    }
    Ok(Some(settings))
}

/// The request within its format: the very bytes, without what the server refuses and with the model's name there.
fn pass(args: &Args, facts: &Facts, explained: &mut Explained) {
    let format = wire(explained.to);
    if let Ok(Some(trimmed)) = format.trim(&explained.body, facts, &mut explained.losses) {
        explained.losses.resolve(&explained.body);
        explained.body = trimmed;
    }
    let envelope = json::guard(&explained.body).ok();
    if let (Some(model), Some(envelope)) = (&args.model, envelope)
        && envelope.model.is_some()
        && format.spec().addressing.is_none()
    {
        explained.body = json::splice(&explained.body, &envelope.model_span, quoted(model).as_bytes());
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn pointer(place: &Place) -> &str {
    match place {
        Place::Pointer(pointer) => pointer,
        // Offsets are resolved by then; the whole document is the honest answer if one is left.
        Place::Offset(_) => "",
    }
}

/// The report for a person.
fn person(args: &Args, explained: &Explained) -> Vec<u8> {
    let mut out = format!("POST {}    {} -> {}\n", explained.path, args.from.name(), explained.to.name());
    if !explained.facts.is_empty() {
        let _ = writeln!(out, "known of the model: {}", explained.facts.join("; "));
    }
    for (name, value) in &explained.headers {
        let _ = writeln!(out, "{name}: {value}");
    }
    let mut out = out.into_bytes();
    out.push(b'\n');
    // Of the same format, the very bytes are the point.
    let same = explained.passed;
    out.extend(if same { explained.body.clone() } else { pretty::indent(&explained.body) });
    let mut tail = String::from("\n\n");
    match (same, explained.losses.total()) {
        (true, 0) => tail.push_str("The same format: passed on byte for byte, but for the model's name.\n"),
        (false, 0) => tail.push_str("Nothing is lost.\n"),
        (_, count) => {
            let _ = writeln!(tail, "Losses: {count}");
        }
    }
    for loss in explained.losses.iter() {
        let place = if pointer(&loss.place).is_empty() { "(the whole)" } else { pointer(&loss.place) };
        let _ = writeln!(tail, "  {:<10} {place}: {} ({})", loss.action.label(), loss.reason, loss.field.label());
    }
    for (field, action, count) in explained.losses.tally().filter(|(_, _, count)| *count > Losses::MAX) {
        let _ = writeln!(tail, "  {:<10} {} more ({})", action.label(), count - Losses::MAX, field.label());
    }
    out.extend_from_slice(tail.as_bytes());
    out
}

#[derive(Serialize)]
struct Machine<'a> {
    path: &'a str,
    format: &'a str,
    facts: &'a [String],
    headers: Vec<(&'a str, &'a str)>,
    request: &'a RawValue,
    losses: Vec<MachineLoss<'a>>,
}

#[derive(Serialize)]
struct MachineLoss<'a> {
    pointer: &'a str,
    class: &'a str,
    action: &'a str,
    reason: &'a str,
}

fn machine(explained: &Explained) -> Result<Vec<u8>, Failure> {
    let broken = |e: serde_json::Error| Failure::new(exit::FAILED, format!("the translated request is not JSON: {e}"));
    let losses = explained.losses.iter().map(|loss| MachineLoss {
        pointer: pointer(&loss.place),
        class: loss.field.label(),
        action: loss.action.label(),
        reason: &loss.reason,
    });
    let report = Machine {
        path: &explained.path,
        format: explained.to.name(),
        facts: &explained.facts,
        headers: explained.headers.iter().map(|(name, value)| (*name, value.as_str())).collect(),
        request: serde_json::from_slice(&explained.body).map_err(broken)?,
        losses: losses.collect(),
    };
    let mut out = serde_json::to_vec(&report).map_err(broken)?;
    out.push(b'\n');
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(from: Format, to: Format, model: Option<&str>) -> Args {
        Args {
            request: "r.json".into(),
            from,
            to: Some(to),
            config: None,
            provider: None,
            model: model.map(str::to_owned),
            stream: false,
            count: false,
            json: false,
            refuse: false,
        }
    }

    #[test]
    fn the_same_format_keeps_every_byte_but_the_models() {
        let body = br#"{ "x_new" : 1.0, "model" :"a", "messages":[] }"#;
        for format in Format::ALL {
            let kept = explain(&args(format, format, None), body).unwrap();
            assert_eq!(kept.body, body);
            let renamed = explain(&args(format, format, Some("b\"")), body).unwrap();
            let text = String::from_utf8(person(&args(format, format, None), &kept)).unwrap();
            if wire(format).spec().addressing.is_some() {
                assert_eq!(renamed.body, body);
                assert!(text.starts_with("POST /v1beta/models/a:generateContent"), "{text}");
                continue;
            }
            assert_eq!(renamed.body, br#"{ "x_new" : 1.0, "model" :"b\"", "messages":[] }"#);
            assert!(text.starts_with(&format!("POST {}", wire(format).spec().path)), "{text}");
        }
    }

    #[test]
    fn a_provider_of_a_config_is_asked_as_it_is_configured() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("t.yaml");
        let yaml = "providers:\n  az: {kind: azure, url: 'https://r', key: k, quirks: {strip_fields: [seed]}}\n\
                    models: {m: az/m}\nauth: off\n";
        std::fs::write(&config, yaml).unwrap();
        let chat = Format::OpenaiChat;
        let asked = |model: &str| {
            let args = args(chat, chat, Some(model));
            let args = Args { to: None, config: Some(config.clone()), provider: Some("az".to_owned()), ..args };
            let body =
                br#"{"model":"a","seed":1, "tools":[{"type":"function","function":{"name":"f"}}],"messages":[{"role":"user","content":"q"}]}"#;
            explain(&args, body).unwrap()
        };
        let passed = asked("gpt-4.1");
        assert_eq!((passed.path.as_str(), passed.to), ("/openai/v1/chat/completions", chat));
        assert_eq!(passed.losses.header(99), "dropped:/seed");
        assert!(String::from_utf8(passed.body).unwrap().starts_with(r#"{"model":"gpt-4.1", "tools""#));
        let detour = asked("gpt-5.6");
        assert_eq!((detour.path.as_str(), detour.to), ("/openai/v1/responses", Format::OpenaiResponses));
        assert!(detour.facts.contains(&"responses: tools".to_owned()), "{:?}", detour.facts);
    }

    #[test]
    fn what_the_entry_of_a_model_says_counts() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("t.yaml");
        let yaml = "providers:\n  b: {kind: anthropic, key: k}\nmodels:\n  one: {targets: [b/x], max_output: 777}\n  \
                    two: {targets: [b/y], max_output: 555}\n  too: {targets: [b/y]}\n  \
                    'p-*': {targets: ['b/p-*'], max_output: 333}\n  plain: b/z\nauth: off\n";
        std::fs::write(&config, yaml).unwrap();
        let chat = Format::OpenaiChat;
        for (model, sent, told) in [
            ("x", "777", "max_output: 777"),
            ("p-1", "333", "max_output: 333"),
            ("y", "8192", "max_output: the entries of `models` that lead here differ (none, 555), so none counts"),
            ("z", "8192", ""),
            ("other", "8192", ""),
        ] {
            let args = args(chat, chat, Some(model));
            let args = Args { to: None, config: Some(config.clone()), provider: Some("b".to_owned()), ..args };
            let explained = explain(&args, br#"{"messages":[{"role":"user","content":"q"}]}"#).unwrap();
            let body = String::from_utf8(explained.body).unwrap();
            assert!(body.contains(&format!(r#""max_tokens":{sent}"#)), "{model}: {body}");
            let lines: Vec<_> = explained.facts.iter().filter(|line| line.starts_with("max_output")).collect();
            assert_eq!(lines.first().map_or("", |line| line), told, "{model}");
        }
    }

    #[test]
    fn a_stream_is_asked_for_where_the_path_says_so() {
        let (gemini, chat) = (Format::GeminiGenerate, Format::OpenaiChat);
        let body = br#"{"contents":[{"role":"user","parts":[{"text":"q"}]}]}"#;
        let asked = |to: Format, stream: bool| explain(&Args { stream, ..args(gemini, to, Some("m")) }, body).unwrap();
        assert_eq!(asked(gemini, true).path, "/v1beta/models/m:streamGenerateContent?alt=sse");
        assert_eq!(asked(gemini, false).path, "/v1beta/models/m:generateContent");
        for stream in [false, true] {
            let sent = String::from_utf8(asked(chat, stream).body).unwrap();
            assert_eq!(sent.contains(r#""stream":true"#), stream, "{sent}");
        }
    }

    #[test]
    fn a_request_for_a_number_of_tokens_goes_where_that_is_told() {
        let body = br#"{"model":"m","messages":[{"role":"user","content":"q"}]}"#;
        let asked = |from: Format, to: Format| explain(&Args { count: true, ..args(from, to, None) }, body);
        let (messages, gemini) = (Format::AnthropicMessages, Format::GeminiGenerate);
        let counted = asked(messages, gemini).unwrap();
        assert_eq!(counted.path, "/v1beta/models/m:countTokens");
        let sent =
            r#"{"generateContentRequest":{"model":"models/m","contents":[{"role":"user","parts":[{"text":"q"}]}]}}"#;
        assert_eq!(String::from_utf8(counted.body).unwrap(), sent);
        let passed = asked(messages, messages).unwrap();
        assert_eq!((passed.path.as_str(), passed.body.as_slice()), ("/v1/messages/count_tokens", &body[..]));
        for from in [messages, Format::OpenaiChat] {
            let failure = asked(from, Format::OpenaiChat).err().unwrap();
            assert!(failure.message.contains("cannot be asked for a number of tokens"), "{failure}");
        }
    }

    #[test]
    fn where_a_request_is_wrong_is_told_once() {
        for (from, body, place) in [
            (Format::GeminiGenerate, r#"{"messages":[]}"#, "contents: "),
            (Format::OpenaiChat, r#"{"messages":7}"#, "messages: "),
            (Format::OpenaiResponses, r#"{"input":7}"#, "input: "),
        ] {
            let to = if from == Format::OpenaiChat { Format::AnthropicMessages } else { Format::OpenaiChat };
            let failure = explain(&args(from, to, Some("m")), body.as_bytes()).err().unwrap();
            assert!(failure.message.starts_with(place), "{failure}");
            assert_eq!(failure.message.matches(place).count(), 1, "{failure}");
        }
    }

    #[test]
    fn a_broken_request_is_bad_data() {
        let (one, other) = (Format::AnthropicMessages, Format::OpenaiChat);
        for body in ["", "[]", "{\"model\":\"m\"", "{\"messages\":[]}"] {
            let failure = explain(&args(one, other, None), body.as_bytes()).err().map(|failure| failure.code);
            assert_eq!(failure, Some(exit::DATA), "{body}");
        }
    }
}
