//! How the simulator behaves: the flags of `tidegate simulate`, and the fields of `POST /__sim/set`.

use std::fmt;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// Everything about the simulator that can be turned. Each field is a flag, and a field of `POST /__sim/set`.
///
/// Rates are shares of the requests, `0` to `1`, and are drawn from the seed and the request's ordinal number: the
/// same requests in the same order meet the same faults.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// Tokens of an answer; in a stream, each is one event.
    #[arg(long, default_value_t = 64)]
    pub tokens: u32,
    /// Share by which the number of tokens varies from one request to another, such as 0.5 for half to one and a half.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub tokens_jitter: f64,
    /// Speed of an answer in tokens per second; 0 is as fast as possible.
    #[arg(long = "tokens-per-second", default_value_t = 0.0, value_name = "RATE")]
    pub tokens_per_second: f64,
    /// Milliseconds from the request to the first token.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub first_token_ms: u64,
    /// What an answer consists of.
    #[arg(long, value_enum, default_value_t = Kind::Auto)]
    pub kind: Kind,
    /// Models that `GET /v1/models` lists, separated by commas. With --strict any other name gets 404; when none is
    /// given every name is served.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub models: Vec<String>,
    /// The key that requests must carry; without it every request is served.
    #[arg(long)]
    pub key: Option<String>,
    /// Refuse, with the provider's own error, what the real provider refuses.
    #[arg(long)]
    pub strict: bool,
    /// Share of the input that usage reports as read from a cache.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub cached: f64,
    /// Error answers, as STATUS:RATE pairs: `429:0.1,503:0.05,529:0.01`.
    #[arg(long, default_value_t = Mix::default(), value_name = "STATUS:RATE,...")]
    pub status_mix: Mix,
    /// Seconds in the `retry-after` header of 429, 503 and 529.
    #[arg(long, default_value_t = 1, value_name = "SECONDS")]
    pub retry_after: u64,
    /// Share of answers whose connection is cut in the middle.
    #[arg(long, default_value_t = 0.0, value_name = "RATE")]
    pub abort: f64,
    /// Share of streams that end with the provider's error event in the middle.
    #[arg(long, default_value_t = 0.0, value_name = "RATE")]
    pub error_event: f64,
    /// Share of answers that fall silent in the middle and are cut after --stall-ms.
    #[arg(long, default_value_t = 0.0, value_name = "RATE")]
    pub stall: f64,
    /// How long a stalled answer is silent before it is cut, in milliseconds.
    #[arg(long, default_value_t = 30_000, value_name = "MS")]
    pub stall_ms: u64,
    /// Share of answers written in small odd pieces that cut lines and characters.
    #[arg(long, default_value_t = 0.0, value_name = "RATE")]
    pub drip: f64,
    /// Milliseconds between two pieces of a dripping answer.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub drip_ms: u64,
    /// Share of answers compressed with gzip, whatever the request accepts.
    #[arg(long, default_value_t = 0.0, value_name = "RATE")]
    pub gzip: f64,
    /// Give each event of an unpaced stream a write of its own instead of one for all.
    #[arg(long)]
    pub flush_each: bool,
    /// Answer 503 at `GET /health`.
    #[arg(long)]
    pub unhealthy: bool,
    /// Where the deterministic draws begin.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// What an answer consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// As the request asks: a tool call when the last user text names a tool or a tool is required, thinking when it
    /// is asked for, text otherwise.
    #[default]
    Auto,
    /// Text.
    Text,
    /// A call of one tool, if the request has any; text after its result.
    Tool,
    /// Thinking, then text.
    Thinking,
    /// Calls of two or more tools at once, if the request has any.
    #[value(alias = "parallel_tools")]
    ParallelTools,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            tokens: 64,
            tokens_jitter: 0.0,
            tokens_per_second: 0.0,
            first_token_ms: 0,
            kind: Kind::Auto,
            models: Vec::new(),
            key: None,
            strict: false,
            cached: 0.0,
            status_mix: Mix::default(),
            retry_after: 1,
            abort: 0.0,
            error_event: 0.0,
            stall: 0.0,
            stall_ms: 30_000,
            drip: 0.0,
            drip_ms: 0,
            gzip: 0.0,
            flush_each: false,
            unhealthy: false,
            seed: 0,
        }
    }
}

/// The most tokens that one answer may have: about 64 MiB of stream.
const MAX_TOKENS: u32 = 262_144;

impl Knobs {
    /// Checks what types alone do not hold.
    ///
    /// # Errors
    /// Which knob is out of its range, and what the range is.
    pub fn validate(&self) -> Result<(), String> {
        let shares = [
            ("tokens_jitter", self.tokens_jitter),
            ("cached", self.cached),
            ("abort", self.abort),
            ("error_event", self.error_event),
            ("stall", self.stall),
            ("drip", self.drip),
            ("gzip", self.gzip),
        ];
        for (name, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("{name} is {share}; it must lie between 0 and 1"));
            }
        }
        if !(0.0..=1e6).contains(&self.tokens_per_second) {
            return Err("tokens_per_second must lie between 0 (no pace) and 1000000".to_owned());
        }
        if self.tokens > MAX_TOKENS {
            return Err(format!("tokens is {}; the most is {MAX_TOKENS}", self.tokens));
        }
        Ok(())
    }

    /// These knobs with the fields that the JSON object names replaced.
    ///
    /// # Errors
    /// What is wrong with the object: not JSON, an unknown name, a wrong type, a value out of range.
    pub fn patched(&self, json: &[u8]) -> Result<Self, String> {
        let patch: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(json).map_err(|e| format!("not a JSON object of knobs: {e}"))?;
        let now = serde_json::to_value(self).map_err(|e| e.to_string())?;
        let serde_json::Value::Object(mut fields) = now else {
            return Err("the knobs are no object".to_owned());
        };
        fields.extend(patch);
        let knobs: Self = serde_json::from_value(fields.into()).map_err(|e| e.to_string())?;
        knobs.validate()?;
        Ok(knobs)
    }
}

/// Which error statuses are answered, and how often: `429:0.1,503:0.05`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mix(Vec<(u16, f64)>);

impl Mix {
    /// The status that a draw between 0 and 1 falls on; `None` for no error.
    #[must_use]
    pub fn pick(&self, draw: f64) -> Option<u16> {
        let mut upper = 0.0;
        self.0.iter().find_map(|&(status, rate)| {
            upper += rate;
            (draw < upper).then_some(status)
        })
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pairs = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let wrong = || format!("`{pair}` is not STATUS:RATE, such as 429:0.1");
            let (status, rate) = pair.split_once(':').ok_or_else(wrong)?;
            let status: u16 = status.trim().parse().map_err(|_| wrong())?;
            let rate: f64 = rate.trim().parse().map_err(|_| wrong())?;
            if !(400..=599).contains(&status) {
                return Err(format!("status {status} in `{pair}` is no error status; give one from 400 to 599"));
            }
            if !(0.0..=1.0).contains(&rate) {
                return Err(format!("rate {rate} in `{pair}` must lie between 0 and 1"));
            }
            pairs.push((status, rate));
        }
        if pairs.iter().map(|(_, rate)| rate).sum::<f64>() > 1.0 + 1e-9 {
            return Err(format!("the rates in `{text}` add up to more than 1"));
        }
        Ok(Self(pairs))
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (status, rate)) in self.0.iter().enumerate() {
            write!(f, "{}{status}:{rate}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Mix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Mix> for String {
    fn from(mix: Mix) -> Self {
        mix.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_says_what_is_wrong_and_picks_by_share() {
        let mix: Mix = "429:0.25, 503:0.25".parse().unwrap();
        assert_eq!(mix.to_string(), "429:0.25,503:0.25");
        assert_eq!(
            [0.0, 0.24, 0.25, 0.49, 0.5].map(|draw| mix.pick(draw)),
            [Some(429), Some(429), Some(503), Some(503), None]
        );
        for (text, part) in [
            ("429", "STATUS:RATE"),
            ("200:0.1", "no error status"),
            ("429:2", "between 0 and 1"),
            ("429:0.6,503:0.6", "more than 1"),
        ] {
            let error = text.parse::<Mix>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_patch_changes_only_what_it_names() {
        let start = Knobs { tokens: 7, ..Knobs::default() };
        let knobs = start.patched(br#"{"status_mix":"529:1","kind":"parallel_tools"}"#).unwrap();
        assert_eq!(knobs, Knobs { status_mix: "529:1".parse().unwrap(), kind: Kind::ParallelTools, ..start.clone() });
        for (json, part) in
            [("{", "JSON object"), (r#"{"token":1}"#, "unknown field"), (r#"{"abort":2}"#, "between 0 and 1")]
        {
            let error = start.patched(json.as_bytes()).unwrap_err();
            assert!(error.contains(part), "{json}: {error}");
        }
    }
}
