//! Reads what a command works on.

use std::io::Read;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use tidegate_codec::{Format, wire};

use super::{Failure, exit};

/// Bytes of the largest input: twice the largest body that the edge takes by default.
const MAX_INPUT: u64 = 64 << 20;

/// The whole of a file, or of standard input for `-`.
///
/// # Errors
/// It cannot be read, or is too large.
pub(super) fn read(path: &str) -> Result<Vec<u8>, Failure> {
    let cannot = |e: std::io::Error| {
        Failure::new(exit::NO_INPUT, format!("cannot read {path}: {e}")).hint("name a file, or - for standard input")
    };
    let mut bytes = Vec::new();
    let source: Box<dyn Read> = match path {
        "-" => Box::new(std::io::stdin().lock()),
        path => Box::new(std::fs::File::open(path).map_err(cannot)?),
    };
    source.take(MAX_INPUT + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > MAX_INPUT {
        return Err(Failure::new(exit::DATA, format!("{path} is larger than {} MiB", MAX_INPUT >> 20)));
    }
    Ok(bytes)
}

/// Whether the request asks for a stream. Its body says so, but in formats that have that in the path, of which `wished` tells.
///
/// # Errors
/// `wished` is said of a format whose body tells.
pub(super) fn streams(from: Format, body_says: bool, wished: bool) -> Result<bool, Failure> {
    if wire(from).spec().addressing.is_some() {
        return Ok(wished);
    }
    if wished && !body_says {
        let message = format!("a request in {} says in its body that a stream is wanted", from.name());
        return Err(Failure::new(exit::USAGE, message).hint("leave --stream out, or write `\"stream\": true` there"));
    }
    Ok(body_says)
}

/// Parses the name of a format; completion and errors list all of them.
pub(super) fn format() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.map(Format::name))
        .map(|name| Format::from_name(&name).unwrap_or(Format::DEFAULT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_that_a_stream_is_wanted() {
        let (body, path) = (Format::OpenaiChat, Format::GeminiGenerate);
        for (from, body_says, wished, expect) in [
            (body, false, false, Some(false)),
            (body, true, false, Some(true)),
            (body, true, true, Some(true)),
            (body, false, true, None),
            (path, false, false, Some(false)),
            (path, true, false, Some(false)),
            (path, false, true, Some(true)),
        ] {
            let got = streams(from, body_says, wished).map_err(|failure| failure.code);
            assert_eq!(got, expect.ok_or(exit::USAGE), "{} {body_says} {wished}", from.name());
        }
    }
}
