//! The process's own log: what the `log` facade is given, as JSON lines or text on standard error.

use std::cell::RefCell;
use std::io;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ahash::AHashMap;
use log::{Level, LevelFilter, Log, Metadata, Record};

use super::line::{Line, escape_controls, rfc3339};
use super::queue::{LineQueue, LogPath};
use crate::clock;

/// How long [`Log::flush`] waits for standard error.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);
/// Errors and warnings of one source that are written in a second.
const MOST: u64 = 100;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One JSON object.
    #[default]
    Json,
    /// Time, level, target, message.
    Text,
}

impl FromStr for LogFormat {
    type Err = LogError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(LogError::Format(name.to_owned())),
        }
    }
}

/// Which messages are kept: a level, and other levels for targets, the longest matching prefix first.
///
/// Written as `info` or `info,pingora=warn,tidegate::proxy=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevels {
    default: LevelFilter,
    targets: Vec<(String, LevelFilter)>,
}

impl Default for LogLevels {
    fn default() -> Self {
        Self { default: LevelFilter::Info, targets: Vec::new() }
    }
}

impl FromStr for LogLevels {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut levels = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                None => levels.default = level(part)?,
                Some((target, name)) => levels.targets.push((target.trim().to_owned(), level(name.trim())?)),
            }
        }
        levels.targets.sort_by_key(|(target, _)| std::cmp::Reverse(target.len()));
        Ok(levels)
    }
}

/// What the names of our own modules begin with.
const OURS: &str = "tidegate";

impl LogLevels {
    fn of(&self, target: &str) -> LevelFilter {
        // `pingora` also stands for `pingora_core` and its sisters.
        let is = |prefix: &str| {
            target.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '_']))
        };
        let level = self.targets.iter().find(|(prefix, _)| is(prefix)).map_or(self.default, |(_, level)| *level);
        // What others trace are whole heads, with the keys in them.
        if is(OURS) { level } else { level.min(LevelFilter::Debug) }
    }

    fn highest(&self) -> LevelFilter {
        self.targets.iter().map(|(_, level)| *level).fold(self.default, Ord::max)
    }
}

fn level(name: &str) -> Result<LevelFilter, LogError> {
    name.parse().map_err(|_| LogError::Level(name.to_owned()))
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Not a level.
    #[error("log level `{0}` is not known; there are off, error, warn, info, debug and trace, and target=level")]
    Level(String),
    /// Not a format.
    #[error("log format `{0}` is not known; there are json and text")]
    Format(String),
    /// Standard error is closed.
    #[error("standard error cannot be used for the log: {0}")]
    Stderr(#[from] io::Error),
    /// Called twice.
    #[error("the log has been set up already")]
    Twice,
}

/// Sends what the `log` facade is given to standard error, for the rest of the process's life.
///
/// Lines are written by a thread; before the process ends, `log::logger().flush()` waits for it, a second at most.
///
/// # Errors
///
/// When standard error is closed, or a logger stands already.
pub fn init(levels: LogLevels, format: LogFormat) -> Result<(), LogError> {
    let highest = levels.highest();
    let queue = LineQueue::open(LogPath::Stderr, "log")?;
    let logger = Logger { levels, format, queue, floods: Floods::default() };
    log::set_boxed_logger(Box::new(logger)).map_err(|_| LogError::Twice)?;
    log::set_max_level(highest);
    Ok(())
}

struct Logger {
    levels: LogLevels,
    format: LogFormat,
    queue: LineQueue,
    floods: Floods,
}

/// Bounds what one source writes: a client that makes the same thing fail ten thousand times a second must not fill the
/// disk, nor push out what others have to say. Sources are modules: their number is that of the program.
#[derive(Default)]
struct Floods(Mutex<AHashMap<String, Flood>>);

/// What a source wrote.
#[derive(Default)]
struct Flood {
    /// The second, of the Unix clock, that is counted.
    second: u64,
    /// Messages in it.
    messages: u64,
}

impl Floods {
    /// Counts a message of `target`; returns how many were left out before it, or `None` if it is left out too.
    fn pass(&self, target: &str, second: u64) -> Option<u64> {
        let mut floods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !floods.contains_key(target) {
            floods.insert(target.to_owned(), Flood::default());
        }
        let flood = floods.get_mut(target)?;
        // Also when the clock is set back.
        if flood.second != second {
            let before = std::mem::replace(flood, Flood { second, messages: 1 });
            return Some(before.messages.saturating_sub(MOST));
        }
        flood.messages = flood.messages.saturating_add(1);
        (flood.messages <= MOST).then_some(0)
    }
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.levels.of(metadata.target())
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // Whoever turns the level up wants to see all of it.
        let left_out = match record.level() {
            Level::Error | Level::Warn => self.floods.pass(record.target(), clock::unix_now().as_secs()),
            Level::Info | Level::Debug | Level::Trace => Some(0),
        };
        match left_out {
            None => return,
            Some(0) => {}
            Some(count) => self.write(
                &Record::builder()
                    .args(format_args!(
                        "{count} messages were left out: at most {MOST} a second of one source are written"
                    ))
                    .level(record.level())
                    .target(record.target())
                    .build(),
            ),
        }
        self.write(record);
    }

    fn flush(&self) {
        self.queue.flush(FLUSH_PATIENCE);
    }
}

impl Logger {
    fn write(&self, record: &Record<'_>) {
        BUFFER.with(|buffer| {
            // A message whose `Display` logs itself finds the buffer taken.
            let mut spare = Vec::new();
            let mut borrowed = buffer.try_borrow_mut();
            let line = borrowed.as_deref_mut().unwrap_or(&mut spare);
            line.clear();
            match self.format {
                LogFormat::Json => json(line, record, clock::unix_now()),
                LogFormat::Text => text(line, record, clock::unix_now()),
            }
            self.queue.push(line);
        });
    }
}

fn json(out: &mut Vec<u8>, record: &Record<'_>, at: Duration) {
    let mut line = Line::new(out);
    line.time("timestamp", at);
    line.plain("level", name(record.level()));
    line.display("message", record.args());
    line.text("target", record.target());
    line.end();
}

fn text(out: &mut Vec<u8>, record: &Record<'_>, at: Duration) {
    rfc3339(out, at);
    out.push(b' ');
    out.extend_from_slice(name(record.level()).as_bytes());
    out.extend_from_slice(if name(record.level()).len() == 4 { b"  " } else { b" " });
    escape_controls(out, record.target());
    out.extend_from_slice(b": ");
    escape_controls(out, &record.args().to_string());
    out.push(b'\n');
}

fn name(level: Level) -> &'static str {
    level.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_levels(text: &str, target: &str, expected: LevelFilter) {
        assert_eq!(text.parse::<LogLevels>().unwrap().of(target), expected, "{text} {target}");
    }

    #[test]
    fn the_longest_prefix_decides() {
        let text = "warn, pingora=error,tidegate=info,tidegate::proxy=trace";
        check_levels(text, "hyper", LevelFilter::Warn);
        check_levels(text, "pingora_core::server", LevelFilter::Error);
        check_levels(text, "pingoras", LevelFilter::Warn);
        check_levels(text, "tidegate::admin", LevelFilter::Info);
        check_levels(text, "tidegate::proxy::send", LevelFilter::Trace);
        check_levels("", "tidegate", LevelFilter::Info);
        assert_eq!(text.parse::<LogLevels>().unwrap().highest(), LevelFilter::Trace);
        assert!("loud".parse::<LogLevels>().unwrap_err().to_string().contains("`loud`"));
        assert!("info,a=loud".parse::<LogLevels>().is_err());
    }

    #[test]
    fn a_flood_is_bounded_and_told() {
        let floods = Floods::default();
        let passed = |target: &str, second: u64, count: u64| {
            (0..count).filter_map(|_| floods.pass(target, second)).collect::<Vec<_>>()
        };
        assert_eq!(passed("h2", 7, 1000), vec![0; 100]);
        for other in 0..200 {
            assert_eq!(passed(&format!("other{other}"), 7, 10), vec![0; 10], "another source has its own bound");
        }
        assert_eq!(passed("h2", 8, 2), [900, 0], "what was left out is told with the next");
        assert_eq!(passed("h2", 9, 1), [0]);
    }

    fn shown(write: fn(&mut Vec<u8>, &Record<'_>, Duration)) -> String {
        let mut out = Vec::new();
        let args = format_args!("two\nlines \u{1b}[31m\"red\"");
        write(&mut out, &Record::builder().args(args).level(Level::Warn).target("t").build(), Duration::ZERO);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_message_cannot_forge_a_line() {
        assert_eq!(shown(text), "1970-01-01T00:00:00.000Z WARN  t: two\\nlines \\u001b[31m\"red\"\n");
        let json = shown(json);
        assert_eq!(json.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["message"], "two\nlines \u{1b}[31m\"red\"");
        assert_eq!(value["level"], "WARN");
    }
}
