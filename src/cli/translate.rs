//! `tidegate translate`: a recorded answer or stream in another format, offline.

use std::io::{Read, Write};
use std::sync::Arc;

use tidegate_codec::format::{Reply, Undo};
use tidegate_codec::outcome::Outcome;
use tidegate_codec::seal::Seal;
use tidegate_codec::{Format, Transcoder, translate_response};

use super::{Failure, exit, input};

/// Translate a provider's answer from standard input to standard output.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A stream is translated while it is read, event by event, as the edge does it. What it cost, why it ended and what
could not be carried goes to standard error.

Examples:
  tidegate translate --from anthropic_messages --to openai_chat < answer.json
  tidegate translate --from anthropic_messages --to openai_chat --stream < recorded.sse
  curl -sN localhost:8081/v1/messages -d @request.json | tidegate translate --from anthropic_messages --to openai_chat --stream")]
pub(super) struct Args {
    /// The provider's format: what is read.
    #[arg(long, value_name = "FORMAT", value_parser = input::format())]
    from: Format,
    /// The client's format: what is written.
    #[arg(long, value_name = "FORMAT", value_parser = input::format())]
    to: Format,
    /// The input is a stream of events, not one body.
    #[arg(long)]
    stream: bool,
    /// The model's name in the output.
    #[arg(long, default_value = "model")]
    model: String,
}

/// Translates standard input.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    // Whoever reads locks: reading a whole input does it itself.
    let (input, output) = (std::io::stdin(), std::io::stdout().lock());
    let outcome = match (args.from == args.to, args.stream) {
        (true, _) => return copy(input.lock(), output),
        (false, true) => stream(args, input.lock(), output)?,
        (false, false) => whole(args, output)?,
    };
    tell(&outcome);
    match outcome.fault {
        Some((_, message)) => Err(Failure::new(exit::DATA, format!("the stream ends in an error: {message}"))),
        None => Ok(()),
    }
}

fn reply(args: &Args) -> Reply {
    // The key of a running edge is its secret; what is sealed here shows its shape and no more.
    let seal = Arc::new(Seal::new([0; 32]));
    Reply {
        model: args.model.clone(),
        include_usage: true,
        reasoning: tidegate_codec::ReasoningWish::Shown,
        framing: tidegate_codec::Framing::Events,
        seal,
        created: 0,
        seed: String::new(),
        settings: tidegate_codec::Settings::default(),
    }
}

fn unreadable(e: &std::io::Error) -> Failure {
    Failure::new(exit::NO_INPUT, format!("cannot read standard input: {e}"))
}

/// The same format: the same bytes.
fn copy(mut input: impl Read, mut output: impl Write) -> Result<(), Failure> {
    Failure::output(std::io::copy(&mut input, &mut output).and_then(|_| output.flush()))
}

fn whole(args: &Args, mut output: impl Write) -> Result<Outcome, Failure> {
    let body = input::read("-")?;
    let answer = translate_response(args.from, args.to, &body, &reply(args), &Undo::default()).map_err(|fault| {
        Failure::new(exit::DATA, fault.message).hint("a recorded stream needs --stream; an error body is no answer")
    })?;
    Failure::output(output.write_all(&answer.body).and_then(|()| output.write_all(b"\n")))?;
    Ok(answer.outcome)
}

fn stream(args: &Args, mut input: impl Read, mut output: impl Write) -> Result<Outcome, Failure> {
    let mut transcoder = Transcoder::new(args.from, args.to, Arc::new(reply(args)), Undo::default());
    let mut chunk = vec![0; 64 << 10];
    let mut out = Vec::new();
    loop {
        let read = match input.read(&mut chunk) {
            Ok(read) => read,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(unreadable(&e)),
        };
        match read {
            0 => transcoder.finish(&mut out),
            read => transcoder.chunk(chunk.get(..read).unwrap_or_default(), &mut out),
        }
        Failure::output(output.write_all(&out).and_then(|()| output.flush()))?;
        out.clear();
        if read == 0 {
            return Ok(transcoder.outcome().clone());
        }
    }
}

/// Says on standard error what became of the answer.
fn tell(outcome: &Outcome) {
    let mut text = format!("stop: {}\n", outcome.stop.unwrap_or("none"));
    if let Some(usage) = &outcome.usage {
        text.push_str(&format!("usage: {usage:?}\n"));
    }
    if !outcome.dropped.is_empty() {
        let classes: Vec<&str> = outcome.dropped.iter().map(|field| field.label()).collect();
        text.push_str(&format!("lost: {}\n", classes.join(", ")));
    }
    // With standard error closed there is nobody to tell.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_format_is_the_same_bytes() {
        let mut out = Vec::new();
        copy(&b"data: x\r\n\r\n\xff"[..], &mut out).unwrap();
        assert_eq!(out, b"data: x\r\n\r\n\xff");
    }
}
