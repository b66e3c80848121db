//! Durations and sizes as people write them.

use std::time::Duration;

/// The longest duration: a year. Longer ones are slips.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Reads `250ms`, `5s`, `1m30s`, `1h` or `2d`; whole numbers, largest unit first.
///
/// # Errors
/// Says what is wrong with the text.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let fault = || "write a duration like `5s`, `250ms`, `1m30s` or `1h`".to_owned();
    let mut rest = text.trim();
    let mut milliseconds: u64 = 0;
    let mut smallest = u64::MAX;
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(fault());
    }
    while !rest.is_empty() {
        let (number, after) = split_digits(rest).ok_or_else(fault)?;
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(letters).ok_or_else(fault)?;
        let factor = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(fault)?.1;
        if factor >= smallest {
            return Err(fault());
        }
        smallest = factor;
        let part = number.checked_mul(factor).ok_or("that is longer than a year")?;
        milliseconds = milliseconds.checked_add(part).ok_or("that is longer than a year")?;
        rest = after;
    }
    let duration = Duration::from_millis(milliseconds);
    if duration > LONGEST { Err("that is longer than a year".to_owned()) } else { Ok(duration) }
}

/// Reads `65536`, `64KiB`, `32MiB`, `1GiB`, `10MB`: bytes.
///
/// # Errors
/// Says what is wrong with the text.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let fault = || "write a size like `32MiB`, `10MB` or `65536`".to_owned();
    let (number, unit) = split_digits(text.trim()).ok_or_else(fault)?;
    let factor: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" | "k" => 1_000,
        "mb" | "m" => 1_000_000,
        "gb" | "g" => 1_000_000_000,
        "kib" | "ki" => 1 << 10,
        "mib" | "mi" => 1 << 20,
        "gib" | "gi" => 1 << 30,
        _ => return Err(fault()),
    };
    let bytes = number.checked_mul(factor).ok_or("that is more than a machine holds")?;
    usize::try_from(bytes).map_err(|_| "that is more than a machine holds".to_owned())
}

/// A duration as the config writes it, such as `1m30s`.
pub fn duration_text(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    let mut rest = milliseconds;
    for (name, factor) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        let count = rest / factor;
        rest %= factor;
        if count > 0 {
            text.push_str(&count.to_string());
            text.push_str(name);
        }
    }
    text
}

/// A size as the config writes it, such as `32MiB`, to the byte.
pub(super) fn size_text(bytes: usize) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let whole = units.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    whole.map_or(bytes.to_string(), |(name, factor)| format!("{}{name}", bytes / factor))
}

fn split_digits(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |text: &str, expect: Option<u128>| {
            assert_eq!(duration(text).ok().map(|d| d.as_millis()), expect, "{text}");
        };
        check("5s", Some(5_000));
        check("250ms", Some(250));
        check("1m30s", Some(90_000));
        check("1h", Some(3_600_000));
        check("1d", Some(86_400_000));
        check("0", Some(0));
        check("0s", Some(0));
        for wrong in
            ["", "5", "s", "5 s", "1s1m", "1s1s", "-1s", "1.5s", "5S", "99999999999999999999s", "400d", "5s!", "ü"]
        {
            check(wrong, None);
        }
        for text in ["5s", "250ms", "1m30s", "1h", "1h5ms"] {
            assert_eq!(duration_text(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes() {
        let check = |text: &str, expect: Option<usize>| assert_eq!(size(text).ok(), expect, "{text}");
        check("65536", Some(65_536));
        check("32MiB", Some(32 << 20));
        check("10MB", Some(10_000_000));
        check("64 KiB", Some(64 << 10));
        check("1GiB", Some(1 << 30));
        check("0", Some(0));
        for text in ["0", "1", "1025", "1KiB", "1MiB", "1000KiB", "64GiB", "1024GiB"] {
            assert_eq!(size_text(size(text).unwrap()), text);
        }
        for wrong in ["", "MiB", "-1", "1.5MiB", "1TB", "99999999999GiB", "999999999999999999999"] {
            check(wrong, None);
        }
    }
}
