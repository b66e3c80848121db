//! `tidegate route`: which targets a request would meet, and why.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use tidegate_codec::seal::Seal;
use tidegate_codec::{
    Format, Framing, Line, Operation, RequestHead, Target, json, translate_count, translate_request, wants, wire,
};

use super::{Failure, check, exit, input};
use crate::config::{Candidate, Explanation, HedgeNow, Question, Snapshot, duration_text, needs};

/// Show which targets a request would meet, in which order, and why.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is sent. The order is that of an edge at rest: every target idle and none measured. What a running edge would do
now is at /explain of its admin listener.

Examples:
  tidegate route request.json --config conf/tidegate.yaml --from openai_chat
  tidegate route request.json -c conf/tidegate.yaml --from anthropic_messages --client web --header x-tier=free
  tidegate route count.json -c conf/tidegate.yaml --from anthropic_messages --count   as at /v1/messages/count_tokens
  tidegate route - -c conf/tidegate.yaml --from gemini_generate --model gemini-3-pro --stream < request.json")]
pub(super) struct Args {
    /// The client's request body; - for standard input.
    #[arg(value_name = "REQUEST.json")]
    request: String,
    /// The config file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The format of the request.
    #[arg(long, value_name = "FORMAT", value_parser = input::format())]
    from: Format,
    /// The model asked for, where the path names it.
    #[arg(long)]
    model: Option<String>,
    /// The client's name.
    #[arg(long, default_value = "anonymous")]
    client: String,
    /// A header of the request; may be given again.
    #[arg(long, value_name = "NAME=VALUE")]
    header: Vec<String>,
    /// It asks for a stream, where the path says so.
    #[arg(long, conflicts_with = "count")]
    stream: bool,
    /// It asks for the number of its tokens, not for an answer.
    #[arg(long)]
    count: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Shows the way of the request on standard output.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let snapshot = Snapshot::at_rest(check::load(&args.config)?);
    let body = input::read(&args.request)?;
    let question = question(args, &body)?;
    let Some(mut found) = snapshot.explain(&question) else {
        let failure = Failure::new(exit::DATA, format!("no model is named `{}`", question.model));
        return Err(failure.hint("`tidegate models` lists those that are"));
    };
    pass_over(&snapshot, (args.from, &body), &question, &mut found);
    let text = if args.json { found.to_json() + "\n" } else { person(&question, &found) };
    Failure::output(std::io::stdout().lock().write_all(text.as_bytes()))
}

fn question(args: &Args, body: &[u8]) -> Result<Question, Failure> {
    let envelope = json::guard(body)
        .map_err(|e| Failure::new(exit::DATA, format!("{}: {e}", args.request)).hint("a request is one JSON object"))?;
    let bytes = body.len();
    let Some(model) = args.model.clone().or(envelope.model) else {
        return Err(Failure::new(exit::DATA, format!("{} names no model", args.request)).hint("give one with --model"));
    };
    let header = |written: &String| {
        let (name, value) = written.split_once(['=', ':']).ok_or_else(|| {
            Failure::new(exit::USAGE, format!("`{written}` is no header")).hint("write --header NAME=VALUE")
        })?;
        Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
    };
    let headers = args.header.iter().map(header).collect::<Result<Vec<_>, Failure>>()?;
    let sent = |name: Option<&str>| {
        let found = headers.iter().find(|(known, _)| Some(known.as_str()) == name);
        found.map(|(_, value)| value.as_str())
    };
    let spec = wire(args.from).spec();
    let body = if args.count { spec.request_in(Operation::Count, body) } else { body };
    let beginning = Some(spec.beginning(body));
    let needs = needs(args.from, body, (sent(spec.version_header), sent(spec.beta_header)));
    let state = spec.state(body).map(|state| (args.from, state));
    let stream = input::streams(args.from, envelope.stream, args.stream)? && !args.count;
    let client = args.client.clone();
    Ok(Question { model, client, headers, bytes, stream, count: args.count, needs, state, beginning })
}

/// Targets that cannot be told the request are passed over; they come last, each with what it would not take.
fn pass_over(snapshot: &Snapshot, (from, body): (Format, &[u8]), question: &Question, found: &mut Explanation) {
    let spec = wire(from).spec();
    let sent = |name: Option<&str>| {
        let found = question.headers.iter().find(|(known, _)| Some(known.as_str()) == name);
        found.map(|(_, value)| value.as_str())
    };
    let head = RequestHead {
        api_version: sent(spec.version_header),
        betas: sent(spec.beta_header),
        line: Line { model: Some(Cow::Borrowed(&question.model)), stream: question.stream.then_some(Framing::Events) },
        // The key of a running edge is its secret, and whether something is sealed changes nothing here.
        seal: &Seal::new([0; 32]),
    };
    let refusal = |candidate: &Candidate| {
        let provider = snapshot.settings.providers.get(&candidate.provider)?;
        let known = snapshot.known(provider, &candidate.model);
        let target = Target { model: &candidate.model, facts: &known.facts, api_version: None };
        if question.count {
            let to = provider.serves(Operation::Count, from).filter(|to| *to != from)?;
            return translate_count(from, to, body, &head, &target).err();
        }
        let asks = || wants(from, body, &head).map_or((false, None), |wants| (wants.tools, wants.reasoning));
        let to = known.responses.detour(provider.format, asks).unwrap_or(provider.format);
        if to == from && !wire(to).must_be_rewritten(body, &known.facts) {
            return None;
        }
        translate_request(from, to, body, &head, &target).err()
    };
    for candidate in &mut found.candidates {
        if let Some(fault) = refusal(candidate) {
            candidate.skipped.get_or_insert_with(|| format!("it cannot be told the request: {}", fault.message));
        }
    }
    found.candidates.sort_by_key(|candidate| candidate.skipped.is_some());
}

fn person(question: &Question, found: &Explanation) -> String {
    let holds = [
        ("stream", question.stream),
        ("count", question.count),
        ("tools", question.needs.tools),
        ("images", question.needs.images),
        ("documents", question.needs.documents),
    ];
    let holds: Vec<&str> = holds.into_iter().filter_map(|(word, holds)| holds.then_some(word)).collect();
    let mut out = format!("asked for  {}  ({} bytes", found.asked, question.bytes);
    for word in holds {
        let _ = write!(out, ", {word}");
    }
    let _ = writeln!(out, ")\nrule       {}", found.rule.as_deref().unwrap_or("none is for it"));
    let led = if found.affinity_known { "" } else { ", which it has not: its client leads it" };
    let _ =
        writeln!(out, "model      {}  (strategy {}, affinity {}{led})", found.route, found.strategy, found.affinity);
    if let Some(state) = found.state {
        let says = if state.needed { "only its maker can serve the request" } else { "its maker is asked first" };
        let _ = writeln!(out, "state      {}: {says}", state.name);
    }
    if let Some(HedgeNow { rule, skipped, .. }) = &found.hedge {
        let least = duration_text(rule.least);
        let _ = match skipped {
            Some(why) => writeln!(out, "hedge      never asked for twice: {why}"),
            None => writeln!(
                out,
                "hedge      asked for elsewhere too after the time in which {} % begin, at least {least}",
                rule.percentile
            ),
        };
    }
    if let Some(why) = &found.refused {
        let _ = writeln!(out, "refused    {why}");
    }
    let mut place = 0;
    for candidate in &found.candidates {
        match &candidate.skipped {
            None => {
                place += 1;
                let _ = writeln!(out, "{place:>7}.   {}", target(candidate));
            }
            Some(why) => {
                let _ = writeln!(out, "skipped    {}: {why}", target(candidate));
            }
        }
    }
    out
}

fn target(candidate: &Candidate) -> String {
    let format = candidate.format.map(Format::name).unwrap_or_default();
    let mut text = format!("{}/{}  {format}, weight {}", candidate.provider, candidate.model, candidate.weight);
    if let Some((input, output)) = candidate.price {
        let _ = write!(text, ", {input} + {output} USD a million tokens");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    #[test]
    fn the_way_of_a_request_is_told() {
        let yaml = "providers:\n  a: {kind: openai, key: k}\n  b: {kind: anthropic, key: k}\n\
                    models:\n  m: {targets: [b/x, {to: a/y, price: {input: 1, output: 2.5}}], hedge: {}}\n\
                    rules: [{name: r, when: {tools: true, headers: {x-t: \"1\"}}, model: m}]\nauth: off\n";
        let settings = config::parse(yaml, "test", Path::new(""), &config::Environment::new()).unwrap();
        let args = Args {
            request: "r.json".into(),
            config: PathBuf::new(),
            from: Format::OpenaiChat,
            model: None,
            client: "web".into(),
            header: vec!["X-T: 1".into()],
            stream: false,
            count: false,
            json: false,
        };
        let body =
            br#"{"model":"any","stream":true,"messages":[],"tools":[{"type":"function","function":{"name":"f"}}]}"#;
        let question = question(&args, body).map_err(|_| ()).unwrap();
        let text = person(&question, &Snapshot::at_rest(settings).explain(&question).unwrap());
        for part in [
            "asked for  any  (97 bytes, stream, tools)",
            "rule       r",
            "model      m  (strategy priority, affinity client)",
            "1.   b/x  anthropic_messages, weight 1",
            "hedge      asked for elsewhere too after the time in which 95 % begin, at least 50ms",
            "2.   a/y  openai_chat, weight 1, 1 + 2.5 USD a million tokens",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("state "), "{text}");
    }

    #[test]
    fn a_target_that_cannot_be_told_the_request_comes_last() {
        let yaml = "providers:\n  a: {kind: openai, key: k}\n  b: {kind: anthropic, key: k}\n\
                    models:\n  m: {targets: [a/x, b/y]}\nauth: off\n";
        let settings = config::parse(yaml, "test", Path::new(""), &config::Environment::new()).unwrap();
        let snapshot = Snapshot::at_rest(settings);
        let body = br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"q"}],"mcp_servers":[{"type":"url","url":"https://h","name":"s"}]}"#;
        let question = Question { model: "m".into(), client: "anonymous".into(), ..Question::default() };
        let mut found = snapshot.explain(&question).unwrap();
        pass_over(&snapshot, (Format::AnthropicMessages, body), &question, &mut found);
        let text = person(&question, &found);
        assert!(text.contains("1.   b/y"), "{text}");
        let why = "skipped    a/x  openai_chat, weight 1: it cannot be told the request: `mcp_servers`";
        assert!(text.contains(why), "{text}");
    }

    #[test]
    fn a_target_that_counts_nothing_comes_last() {
        let yaml = "providers:\n  a: {kind: mistral, key: k}\n  b: {kind: openai, key: k}\n  c: {kind: openai-responses, key: k}\n\
                    models:\n  m: {targets: [a/x, c/z, b/y]}\nauth: off\n";
        let settings = config::parse(yaml, "test", Path::new(""), &config::Environment::new()).unwrap();
        let snapshot = Snapshot::at_rest(settings);
        let body = br#"{"model":"m","messages":[{"role":"user","content":"q"}],"container":"c","stream":true}"#;
        let args = Args {
            request: "r.json".into(),
            config: PathBuf::new(),
            from: Format::AnthropicMessages,
            model: None,
            client: "anonymous".into(),
            header: Vec::new(),
            stream: false,
            count: true,
            json: false,
        };
        let question = question(&args, body).map_err(|_| ()).unwrap();
        let mut found = snapshot.explain(&Question { state: None, ..question.clone() }).unwrap();
        pass_over(&snapshot, (args.from, br#"{"messages":[{"role":"user","content":"q"}]}"#), &question, &mut found);
        let text = person(&question, &found);
        for part in
            ["bytes, count)", "1.   c/z", "2.   b/y", "skipped    a/x  openai_chat, weight 1: it counts no tokens"]
        {
            assert!(text.contains(part), "{part}\n{text}");
        }
        pass_over(&snapshot, (args.from, body), &question, &mut found);
        let text = person(&question, &found);
        assert!(text.contains("skipped    c/z  openai_responses, weight 1: it cannot be told the request: "), "{text}");
    }

    #[test]
    fn a_stream_is_wanted_where_the_path_says_so() {
        let yaml = "providers:\n  a: {kind: gemini, key: k}\n  b: {kind: openai, key: k}\n\
                    models:\n  m: a/x\n  s: {targets: [b/y, a/x], hedge: {}}\n\
                    rules: [{name: r, when: {stream: true}, model: s}]\nauth: off\n";
        let told = |stream: bool| {
            let settings = config::parse(yaml, "test", Path::new(""), &config::Environment::new()).unwrap();
            let args = Args {
                request: "r.json".into(),
                config: PathBuf::new(),
                from: Format::GeminiGenerate,
                model: Some("m".into()),
                client: "web".into(),
                header: Vec::new(),
                stream,
                count: false,
                json: false,
            };
            let question = question(&args, br#"{"contents":[],"stream":true}"#).map_err(|_| ()).unwrap();
            person(&question, &Snapshot::at_rest(settings).explain(&question).unwrap())
        };
        let (whole, stream) = (told(false), told(true));
        assert!(whole.contains("rule       none") && whole.contains("1.   a/x"), "{whole}");
        for part in ["bytes, stream)", "rule       r", "hedge      asked for elsewhere too", "1.   b/y"] {
            assert!(stream.contains(part), "{part}\n{stream}");
        }
    }

    #[test]
    fn state_that_only_its_maker_can_read_is_told() {
        let yaml = "providers:\n  a: {kind: openai, key: k}\n  b: {kind: openai-responses, key: k}\n\
                    models:\n  m: {targets: [a/x, b/y]}\nauth: off\n";
        let told = |body: &str| {
            let settings = config::parse(yaml, "test", Path::new(""), &config::Environment::new()).unwrap();
            let args = Args {
                request: "r.json".into(),
                config: PathBuf::new(),
                from: Format::OpenaiResponses,
                model: None,
                client: "web".into(),
                header: Vec::new(),
                stream: false,
                count: false,
                json: false,
            };
            let question = question(&args, body.as_bytes()).map_err(|_| ()).unwrap();
            let found = Snapshot::at_rest(settings).explain(&question).unwrap();
            (person(&question, &found), found.to_json())
        };
        let (text, json) = told(r#"{"model":"m","previous_response_id":"resp_1","input":"q"}"#);
        assert!(text.contains("state      previous_response_id: only its maker can serve the request"), "{text}");
        assert!(text.contains("1.   b/y") && !text.contains("2. "), "{text}");
        let why = "skipped    a/x  openai_chat, weight 1: it cannot be given `previous_response_id`";
        assert!(text.contains(why), "{text}");
        assert!(json.contains(r#""state":{"name":"previous_response_id","needed":true}"#), "{json}");
        let (text, _) = told(r#"{"model":"m","input":[{"type":"reasoning","encrypted_content":"gAAA"}]}"#);
        assert!(text.contains("state      encrypted_content: its maker is asked first"), "{text}");
        assert!(text.contains("1.   b/y") && text.contains("2.   a/x"), "{text}");
    }
}
