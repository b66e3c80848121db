//! `tidegate explain`: what becomes of a request, without sending it.

use std::fmt::Write as _;
use std::io::Write as _;

use serde::Serialize;
use serde_json::value::RawValue;
use tidegate_codec::format::{Facts, RequestHead, Target, wire};
use tidegate_codec::hub::{Losses, Place};
use tidegate_codec::seal::Seal;
use tidegate_codec::{Format, json, translate_request};

use super::{Failure, exit, input, pretty};

/// Show a request as the provider would get it, and what the translation cannot carry.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is sent. Thinking signatures that the edge sealed are not opened: that takes the edge's own key.

Examples:
  tidegate explain request.json --from openai_chat --to anthropic_messages
  tidegate explain request.json --from openai_chat --to anthropic_messages --model claude-sonnet-4-5
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
    #[arg(long, value_name = "FORMAT", value_parser = input::format())]
    to: Format,
    /// The provider's name of the model; the request's own if it is not given.
    #[arg(long)]
    model: Option<String>,
    /// Print one JSON object: request, headers, losses.
    #[arg(long)]
    json: bool,
    /// Fail (exit code 65) if anything is dropped, as a route with `on_loss: refuse` does.
    #[arg(long)]
    refuse: bool,
}

/// A request as it would go out.
struct Explained {
    path: &'static str,
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
    let path = wire(args.to).spec().path;
    if args.from == args.to {
        let body = match (&args.model, &envelope.model) {
            (Some(model), Some(_)) => json::splice(body, &envelope.model_span, quoted(model).as_bytes()),
            _ => body.to_vec(),
        };
        return Ok(Explained { path, body, headers: Vec::new(), losses: Losses::default() });
    }
    let Some(model) = args.model.clone().or(envelope.model) else {
        return Err(Failure::new(exit::DATA, format!("{} names no model", args.request)).hint("give one with --model"));
    };
    // The key of a running edge is its secret, and nothing here needs one to be good.
    let seal = Seal::new([0; 32]);
    let head = RequestHead { api_version: None, betas: None, line: tidegate_codec::Line::default(), seal: &seal };
    let facts = Facts::default();
    let target = Target { model: &model, facts: &facts, api_version: None };
    let translated = translate_request(args.from, args.to, body, &head, &target).map_err(|fault| {
        let place = fault.param.as_ref().map(|param| format!("{param}: ")).unwrap_or_default();
        Failure::new(exit::DATA, format!("{place}{}", fault.message))
    })?;
    let outgoing = translated.outgoing;
    Ok(Explained { path, body: outgoing.body, headers: outgoing.headers, losses: outgoing.losses })
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
    let mut out = format!("POST {}    {} -> {}\n", explained.path, args.from.name(), args.to.name());
    for (name, value) in &explained.headers {
        let _ = writeln!(out, "{name}: {value}");
    }
    let mut out = out.into_bytes();
    out.push(b'\n');
    // Of the same format, the very bytes are the point.
    let same = args.from == args.to;
    out.extend(if same { explained.body.clone() } else { pretty::indent(&explained.body) });
    let mut tail = String::from("\n\n");
    match (same, explained.losses.iter().count()) {
        (true, _) => tail.push_str("The same format: passed on byte for byte, but for the model's name.\n"),
        (false, 0) => tail.push_str("Nothing is lost.\n"),
        (false, count) => {
            let _ = writeln!(tail, "Losses: {count}");
        }
    }
    for loss in explained.losses.iter() {
        let place = if pointer(&loss.place).is_empty() { "(the whole)" } else { pointer(&loss.place) };
        let _ = writeln!(tail, "  {:<10} {place}: {} ({})", loss.action.label(), loss.reason, loss.field.label());
    }
    out.extend_from_slice(tail.as_bytes());
    out
}

#[derive(Serialize)]
struct Machine<'a> {
    path: &'a str,
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
        path: explained.path,
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
        Args { request: "r.json".into(), from, to, model: model.map(str::to_owned), json: false, refuse: false }
    }

    #[test]
    fn the_same_format_keeps_every_byte_but_the_models() {
        let body = br#"{ "x_new" : 1.0, "model" :"a", "messages":[] }"#;
        for format in Format::ALL {
            let kept = explain(&args(format, format, None), body).unwrap();
            assert_eq!(kept.body, body);
            let renamed = explain(&args(format, format, Some("b\"")), body).unwrap();
            assert_eq!(renamed.body, br#"{ "x_new" : 1.0, "model" :"b\"", "messages":[] }"#);
            let text = String::from_utf8(person(&args(format, format, None), &kept)).unwrap();
            assert!(text.starts_with(&format!("POST {}", wire(format).spec().path)), "{text}");
        }
    }

    #[test]
    fn a_broken_request_is_bad_data() {
        let [one, other, ..] = Format::ALL;
        for body in ["", "[]", "{\"model\":\"m\"", "{\"messages\":[]}"] {
            let failure = explain(&args(one, other, None), body.as_bytes()).err().map(|failure| failure.code);
            assert_eq!(failure, Some(exit::DATA), "{body}");
        }
    }
}
