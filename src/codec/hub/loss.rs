//! What a translation could not carry.
//!
//! Nothing is dropped silently: each thing that a writer cannot say, changes or invents is a [`Loss`] with the place
//! in the *source* document, a bounded class ([`Field`]) for metrics, and a reason for a person.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::json::pointers_at;

/// One thing that was dropped, changed or invented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// What it is.
    pub field: Field,
    /// What became of it.
    pub action: Action,
    /// Where it stood.
    pub place: Place,
    /// Why, for a person.
    pub reason: Cow<'static, str>,
}

/// What became of something that could not be carried as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// It is gone.
    Dropped,
    /// It is said in another way that means nearly the same.
    Converted,
    /// It was absent and the target needs it.
    Defaulted,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 3] = [Self::Dropped, Self::Converted, Self::Defaulted];

    /// A bounded label for metrics, the header and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Converted => "converted",
            Self::Defaulted => "defaulted",
        }
    }
}

/// Where something stood in the document that was translated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The value at this byte offset.
    Offset(usize),
    /// A JSON pointer.
    Pointer(Cow<'static, str>),
}

/// Everything that one translation could not carry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses {
    list: Vec<Loss>,
    /// How many there are of each class and action, in the order of their first.
    tally: Vec<(Field, Action, usize)>,
}

impl Losses {
    /// Most losses of one class and action that are kept with their place and reason; the others are only counted. A
    /// bound for bodies that mean harm: no conversation has so many.
    pub const MAX: usize = 4096;

    /// Adds a loss.
    pub fn add(&mut self, field: Field, action: Action, place: Place, reason: impl Into<Cow<'static, str>>) {
        if self.count(field, action) <= Self::MAX {
            self.list.push(Loss { field, action, place, reason: reason.into() });
        }
    }

    /// One more of its kind; returns how many there are.
    fn count(&mut self, field: Field, action: Action) -> usize {
        match self.tally.iter_mut().find(|(known, done, _)| (*known, *done) == (field, action)) {
            Some((_, _, count)) => {
                *count += 1;
                *count
            }
            None => {
                self.tally.push((field, action, 1));
                1
            }
        }
    }

    /// Adds something dropped at byte `at`.
    pub fn dropped(&mut self, field: Field, at: usize, reason: impl Into<Cow<'static, str>>) {
        self.add(field, Action::Dropped, Place::Offset(at), reason);
    }

    /// Adds something converted at byte `at`.
    pub fn converted(&mut self, field: Field, at: usize, reason: impl Into<Cow<'static, str>>) {
        self.add(field, Action::Converted, Place::Offset(at), reason);
    }

    /// Adds what another step lost.
    pub fn append(&mut self, other: Self) {
        for (field, action, count) in other.tally {
            match self.tally.iter_mut().find(|(known, done, _)| (*known, *done) == (field, action)) {
                Some((_, _, known)) => *known += count,
                None => self.tally.push((field, action, count)),
            }
        }
        self.list.extend(other.list);
    }

    /// True when everything was carried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are of each class and action, also of those that are not kept.
    pub fn tally(&self) -> impl Iterator<Item = (Field, Action, usize)> {
        self.tally.iter().copied()
    }

    /// How many there are.
    #[must_use]
    pub fn total(&self) -> usize {
        self.tally.iter().map(|(_, _, count)| count).sum()
    }

    /// Those that are kept, in order; of each class and action at least the first.
    pub fn iter(&self) -> impl Iterator<Item = &Loss> {
        self.list.iter()
    }

    /// True when something is gone, not only said in another way.
    #[must_use]
    pub fn any_dropped(&self) -> bool {
        self.tally.iter().any(|(_, action, _)| *action == Action::Dropped)
    }

    /// Turns every offset into a pointer; `document` is what was translated.
    pub fn resolve(&mut self, document: &[u8]) {
        let offset = |loss: &Loss| match loss.place {
            Place::Offset(at) => Some(at),
            Place::Pointer(_) => None,
        };
        let offsets: Vec<usize> = self.list.iter().filter_map(offset).collect();
        let unresolved = self.list.iter_mut().filter(|loss| offset(loss).is_some());
        for (loss, pointer) in unresolved.zip(pointers_at(document, &offsets)) {
            loss.place = Place::Pointer(Cow::Owned(pointer));
        }
    }

    /// Moves those at a byte offset to where `to` says, if it does.
    pub(crate) fn relocate(&mut self, to: impl Fn(&Loss, usize) -> Option<usize>) {
        for loss in &mut self.list {
            if let Place::Offset(at) = loss.place {
                loss.place = Place::Offset(to(loss, at).unwrap_or(at));
            }
        }
    }

    /// Names the place `known` by `said` instead, where the client said a field in other words.
    pub fn respell(&mut self, known: &str, said: &str) {
        for loss in &mut self.list {
            if matches!(&loss.place, Place::Pointer(pointer) if pointer == known) {
                loss.place = Place::Pointer(Cow::Owned(said.to_owned()));
            }
        }
    }

    /// Leaves out those that are none after all.
    pub fn retain(&mut self, is_one: impl Fn(&Loss) -> bool) {
        let Self { list, tally } = self;
        list.retain(|loss| {
            let stays = is_one(loss);
            if !stays
                && let Some((_, _, count)) = tally.iter_mut().find(|(f, a, _)| (*f, *a) == (loss.field, loss.action))
            {
                *count -= 1;
            }
            stays
        });
        tally.retain(|(_, _, count)| *count > 0);
    }

    /// Puts `place` before every pointer into a document that is the value there of another one.
    pub fn move_into(&mut self, place: &str) {
        for loss in &mut self.list {
            if let Place::Pointer(pointer) = &mut loss.place
                && (pointer.is_empty() || pointer.starts_with('/'))
            {
                *pointer = Cow::Owned([place, pointer].concat());
            }
        }
    }

    /// The header's value: `action:pointer` items, those that are gone first, at most `limit` bytes, `+n` for those that
    /// found no room.
    ///
    /// Call [`resolve`](Self::resolve) first. Bytes that a header may not hold are percent-encoded.
    #[must_use]
    pub fn header(&self, limit: usize) -> String {
        self.items("", limit)
    }

    /// The same for what an answer lost, whose pointers lead into the provider's body: `answer.action:pointer` items.
    #[must_use]
    pub fn answer_header(&self, limit: usize) -> String {
        self.items("answer.", limit)
    }

    fn items(&self, whose: &str, limit: usize) -> String {
        let (mut out, mut left) = (String::new(), self.total());
        let comma = |out: &str| if out.is_empty() { "" } else { ", " };
        for loss in
            Action::ALL.into_iter().flat_map(|action| self.list.iter().filter(move |loss| loss.action == action))
        {
            let mut item = format!("{}{whose}{}:", comma(&out), loss.action.label());
            match &loss.place {
                Place::Pointer(pointer) if !pointer.is_empty() => percent_encode(pointer, &mut item),
                // Of what has no place of its own the class is told.
                _ => item.push_str(loss.field.label()),
            }
            if out.len() + item.len() + COUNT > limit {
                break;
            }
            out.push_str(&item);
            left -= 1;
        }
        if left > 0 {
            let _ = write!(out, "{}+{left}", comma(&out));
        }
        out
    }
}

/// Room for `, +` and a number.
const COUNT: usize = 12;

fn percent_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b',' && byte != b'%' {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

macro_rules! fields {
    ($($(#[$doc:meta])* $variant:ident = $label:literal,)*) => {
        /// Classes of what can be lost: a closed set, so that it can be a metric label.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Field { $($(#[$doc])* $variant,)* }

        impl Field {
            /// Every class.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// A bounded label for metrics, the header and logs.
            #[must_use]
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

fields! {
    /// A field or block that no rule knows.
    Unknown = "unknown",
    /// The model's name.
    Model = "model",
    /// The operator's instructions.
    Instructions = "instructions",
    /// A message's place, role or order.
    Turn = "turn",
    /// A speaker's name.
    TurnName = "turn_name",
    /// A text block.
    Text = "text",
    /// Words of refusal.
    Refusal = "refusal",
    /// Thinking.
    Thinking = "thinking",
    /// Signatures, redacted thinking, encrypted reasoning.
    OpaqueState = "opaque_state",
    /// An image.
    Image = "image",
    /// How closely an image is looked at.
    ImageDetail = "image_detail",
    /// A document.
    Document = "document",
    /// Sound.
    Audio = "audio",
    /// A search result given as input.
    SearchResult = "search_result",
    /// Citations.
    Citations = "citations",
    /// A tool call.
    ToolCall = "tool_call",
    /// A tool's result.
    ToolResult = "tool_result",
    /// That a tool failed.
    ToolError = "tool_error",
    /// A tool's definition.
    Tool = "tool",
    /// A tool's name.
    ToolName = "tool_name",
    /// Strictness of a tool or schema.
    Strict = "strict",
    /// The freedom to use tools.
    ToolChoice = "tool_choice",
    /// Several calls in one answer.
    ParallelTools = "parallel_tools",
    /// A tool that the provider runs.
    ServerTool = "server_tool",
    /// A tool that a vendor defines and the client runs.
    VendorTool = "vendor_tool",
    /// A prompt-cache breakpoint.
    CacheMark = "cache_mark",
    /// Prompt caching of the whole request.
    Cache = "cache",
    /// The token limit.
    MaxOutput = "max_output",
    /// Stop texts.
    Stop = "stop",
    /// Temperature.
    Temperature = "temperature",
    /// Nucleus sampling.
    TopP = "top_p",
    /// Top-k sampling.
    TopK = "top_k",
    /// Seed.
    Seed = "seed",
    /// A way of choosing words that only some servers have.
    Sampling = "sampling",
    /// Presence penalty.
    PresencePenalty = "presence_penalty",
    /// Frequency penalty.
    FrequencyPenalty = "frequency_penalty",
    /// Bias per token.
    LogitBias = "logit_bias",
    /// Number of answers.
    N = "n",
    /// Log probabilities.
    Logprobs = "logprobs",
    /// Predicted output.
    Prediction = "prediction",
    /// The form of the answer.
    Output = "output",
    /// Its verbosity.
    Verbosity = "verbosity",
    /// Reasoning effort or budget.
    Reasoning = "reasoning",
    /// Priority of processing.
    Tier = "tier",
    /// Who the end user is.
    Identity = "identity",
    /// Metadata.
    Metadata = "metadata",
    /// Server-side storage.
    Store = "store",
    /// How the stream is wanted.
    StreamOptions = "stream_options",
    /// Output in another medium.
    Modalities = "modalities",
    /// Moderation and safety settings.
    Safety = "safety",
    /// A vendor's beta features.
    Beta = "beta",
    /// Details of the usage.
    UsageDetail = "usage_detail",
    /// Why the answer ended.
    StopReason = "stop_reason",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_fit_a_header() {
        let document = br#"{"seed":1,"messages":[{"x y":2}],"logit_bias":{}}"#;
        let find = |needle: &str| memchr::memmem::find(document, needle.as_bytes()).unwrap();
        let mut losses = Losses::default();
        losses.dropped(Field::Seed, find("1"), "no seed there");
        losses.converted(Field::Unknown, find("2"), "spelled otherwise");
        losses.dropped(Field::LogitBias, find("{}"), "no bias there");
        losses.resolve(document);
        assert_eq!(losses.header(1000), "dropped:/seed, dropped:/logit_bias, converted:/messages/0/x%20y");
        assert_eq!(losses.header(28), "dropped:/seed, +2");
        assert_eq!(losses.header(14), "+3");
    }

    #[test]
    fn what_is_gone_is_told_behind_any_number_of_smaller_losses() {
        let mut losses = Losses::default();
        for at in 0..3 * Losses::MAX {
            losses.converted(Field::Turn, at, "said elsewhere");
        }
        losses.dropped(Field::Audio, 7, "no sound there");
        assert!(losses.any_dropped() && losses.iter().count() == Losses::MAX + 1);
        let counts = [(Field::Turn, Action::Converted, 3 * Losses::MAX), (Field::Audio, Action::Dropped, 1)];
        assert_eq!(losses.tally().collect::<Vec<_>>(), counts);
        assert_eq!(losses.header(35), format!("dropped:audio, +{}", 3 * Losses::MAX));
        let mut all = Losses::default();
        all.dropped(Field::Audio, 9, "");
        all.append(losses);
        assert_eq!(all.tally().collect::<Vec<_>>(), [(Field::Audio, Action::Dropped, 2), counts[0]]);
        all.retain(|loss| loss.field != Field::Audio);
        assert!(!all.any_dropped() && all.total() == 3 * Losses::MAX);
    }

    #[test]
    fn places_are_told_of_the_document_around() {
        let mut losses = Losses::default();
        for place in ["/seed", "anthropic-beta", ""] {
            losses.add(Field::Seed, Action::Dropped, Place::Pointer(place.into()), "");
        }
        losses.add(Field::Stop, Action::Converted, Place::Pointer("/stop".into()), "");
        losses.move_into("/request");
        losses.retain(|loss| loss.field != Field::Stop);
        assert_eq!(losses.header(99), "dropped:/request/seed, dropped:anthropic-beta, dropped:/request");
    }

    #[test]
    fn labels_are_distinct() {
        let labels: std::collections::BTreeSet<_> = Field::ALL.iter().map(|field| field.label()).collect();
        assert_eq!(labels.len(), Field::ALL.len());
    }
}
