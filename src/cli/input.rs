//! Reads what a command works on.

use std::io::Read;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use tidegate_codec::Format;

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

/// Parses the name of a format; completion and errors list all of them.
pub(super) fn format() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.map(Format::name))
        .map(|name| Format::from_name(&name).unwrap_or(Format::DEFAULT))
}
