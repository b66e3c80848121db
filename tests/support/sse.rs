//! Reads event streams as the WHATWG standard says, and keeps what a test may ask about.

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The `event` field.
    pub name: Option<String>,
    /// The `data` lines, joined.
    pub data: String,
}

impl Event {
    /// The data as JSON; anything else fails the test.
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_str(&self.data) {
            Ok(value) => value,
            Err(error) => panic!("an event's data is no JSON ({error}): {:?}", self.data),
        }
    }
}

/// All complete events; a last event without its empty line is none, by the standard.
pub fn events(stream: &[u8]) -> Vec<Event> {
    let text = String::from_utf8(stream.to_vec()).expect("an event stream is UTF-8");
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).replace("\r\n", "\n").replace('\r', "\n");
    let mut found = Vec::new();
    let (mut name, mut data) = (None, Vec::new());
    for line in text.split_inclusive('\n') {
        let Some(line) = line.strip_suffix('\n') else { break };
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" if line.is_empty() => {
                let lines: Vec<String> = std::mem::take(&mut data);
                let name = name.take();
                if !lines.is_empty() {
                    found.push(Event { name, data: lines.join("\n") });
                }
            }
            "event" => name = Some(value.to_owned()),
            "data" => data.push(value.to_owned()),
            _ => {}
        }
    }
    found
}

/// How many complete events the stream holds so far, for tests that count while it runs.
pub fn count(stream: &[u8]) -> usize {
    match std::str::from_utf8(stream) {
        Ok(_) => events(stream).len(),
        Err(_) => 0,
    }
}
