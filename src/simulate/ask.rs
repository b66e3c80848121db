//! What a request asks for, and the answer that is planned for it; neither knows a wire format.

use serde_json::value::RawValue;

use super::content::{draw, escape_into, hash, portion};
use super::knobs::{Kind, Knobs};
use super::schema;

/// What the simulator understood of a request.
#[derive(Debug, Default)]
pub(super) struct Ask {
    /// The model's name, echoed in the answer.
    pub(super) model: String,
    /// Whether the answer is a stream.
    pub(super) stream: bool,
    /// Whether a stream carries usage (OpenAI's `stream_options.include_usage`).
    pub(super) include_usage: bool,
    /// Number of choices, 1 for a format without them.
    pub(super) choices: u32,
    /// The tools offered.
    pub(super) tools: Vec<Tool>,
    /// What the request says of calling them.
    pub(super) tool_choice: ToolChoice,
    /// Whether more than one call at once is allowed.
    pub(super) parallel: bool,
    /// Text of the last turn, when it is a user's.
    pub(super) last_text: String,
    /// Whether the last turn is a tool's result.
    pub(super) after_tool: bool,
    /// Whether thinking is wanted.
    pub(super) thinking: Thinking,
    /// Whether JSON is wanted, and of which schema.
    pub(super) json: Option<JsonOutput>,
    /// The limit on the answer's tokens.
    pub(super) max_tokens: Option<usize>,
    /// Bytes of text in the request: messages, system, tools.
    pub(super) input_bytes: usize,
    /// Number of messages; makes ids differ from turn to turn.
    pub(super) turns: usize,
}

/// A tool offered.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) schema: Option<Box<RawValue>>,
}

/// What a request says of calling tools.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum ToolChoice {
    #[default]
    Auto,
    None,
    Any,
    Named(String),
}

/// Whether thinking is wanted, and what of it shows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thinking {
    #[default]
    Off,
    /// It is counted in the usage, but no text of it is sent.
    Counted,
    /// A block with a signature and without text.
    Hidden,
    /// A block with text.
    Shown,
}

/// A structured answer that a request wants; without a schema any object will do.
#[derive(Debug)]
pub(super) struct JsonOutput {
    pub(super) schema: Option<Box<RawValue>>,
}

/// A planned answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// What ids are made from: the same question gets the same.
    pub(super) id: u64,
    pub(super) blocks: Vec<Block>,
    pub(super) stop: Stop,
    pub(super) usage: Usage,
}

/// A part of an answer.
#[derive(Debug)]
pub(super) enum Block {
    Thinking(Pieces),
    Text(Pieces),
    Tool { ordinal: usize, name: String, arguments: Pieces },
}

/// Why an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    End,
    Length,
    Tool,
}

/// Tokens; `cached` is a part of `input`, `thinking` a part of `output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) input: usize,
    pub(super) cached: usize,
    pub(super) output: usize,
    pub(super) thinking: usize,
}

/// Text in pieces, one a token.
#[derive(Debug)]
pub(super) enum Pieces {
    /// So many pieces of the stock text, beginning with the given one.
    Stock { from: usize, count: usize },
    /// The text itself, cut into so many pieces at most.
    Literal { text: String, count: usize },
}

impl Answer {
    /// Plans the answer to a request. The same request and knobs give the same answer.
    pub(super) fn plan(ask: &Ask, knobs: &Knobs) -> Self {
        let seeded = hash(knobs.seed ^ ask.turns as u64, ask.last_text.as_bytes());
        let id = hash(seeded ^ ask.input_bytes as u64, ask.model.as_bytes());
        let mut answer = Self { id, blocks: Vec::new(), stop: Stop::End, usage: usage(ask, knobs) };
        let calls = calls(ask, knobs.kind);
        let mut left = ask.max_tokens.unwrap_or(usize::MAX);
        let thinking = if knobs.kind == Kind::Thinking { Thinking::Shown } else { ask.thinking };
        if thinking != Thinking::Off && !ask.after_tool {
            answer.think(thinking, tokens(knobs, id) / 4 + 1, &mut left);
        }
        if calls.is_empty() {
            answer.say(ask, knobs, &mut left);
        }
        for (ordinal, tool) in calls.into_iter().enumerate() {
            answer.call(ordinal, tool);
        }
        answer
    }

    fn think(&mut self, thinking: Thinking, wanted: usize, left: &mut usize) {
        let count = wanted.min(*left);
        *left -= count;
        self.usage.thinking = count;
        self.usage.output += count;
        match thinking {
            Thinking::Shown => self.blocks.push(Block::Thinking(Pieces::Stock { from: THINKING_FROM, count })),
            Thinking::Hidden => self.blocks.push(Block::Thinking(Pieces::Stock { from: 0, count: 0 })),
            Thinking::Counted | Thinking::Off => {}
        }
    }

    fn say(&mut self, ask: &Ask, knobs: &Knobs, left: &mut usize) {
        let mut pieces = match &ask.json {
            Some(JsonOutput { schema: Some(schema) }) => Pieces::literal(schema::sample(Some(schema))),
            Some(JsonOutput { schema: None }) => {
                Pieces::literal(r#"{"answer":"a \"simulated\" object 🌊"}"#.to_owned())
            }
            None => Pieces::Stock {
                from: usize::try_from(knobs.seed).unwrap_or_default() % STOCK.len(),
                count: tokens(knobs, self.id),
            },
        };
        let count = pieces.count_mut();
        if *count > *left {
            *count = *left;
            self.stop = Stop::Length;
        }
        self.usage.output += *count;
        // A limit of nothing gives an answer without content.
        if *count > 0 {
            self.blocks.push(Block::Text(pieces));
        }
    }

    fn call(&mut self, ordinal: usize, tool: &Tool) {
        let mut arguments = Pieces::literal(schema::sample(tool.schema.as_deref()));
        self.usage.output += *arguments.count_mut();
        self.stop = Stop::Tool;
        self.blocks.push(Block::Tool { ordinal, name: tool.name.clone(), arguments });
    }
}

impl Pieces {
    /// The whole text, a piece for every [`FRAGMENT`] characters.
    fn literal(text: String) -> Self {
        let count = text.chars().count().div_ceil(FRAGMENT);
        Self::Literal { text, count }
    }

    fn count_mut(&mut self) -> &mut usize {
        match self {
            Self::Stock { count, .. } | Self::Literal { count, .. } => count,
        }
    }

    /// Gives every piece, escaped as the inside of a JSON string, to `f`.
    pub(super) fn each(&self, mut f: impl FnMut(&str)) {
        match self {
            Self::Stock { from, count } => {
                STOCK.iter().cycle().skip(*from).take(*count).for_each(|piece| f(piece));
            }
            Self::Literal { text, count } => {
                let mut rest = text.as_str();
                let mut escaped = String::new();
                for _ in 0..*count {
                    let end = rest.char_indices().nth(FRAGMENT).map_or(rest.len(), |(i, _)| i);
                    let (piece, after) = rest.split_at(end);
                    escaped.clear();
                    escape_into(&mut escaped, piece);
                    f(&escaped);
                    rest = after;
                }
            }
        }
    }

    /// All pieces together, escaped as the inside of a JSON string.
    pub(super) fn append_to(&self, out: &mut String) {
        self.each(|piece| out.push_str(piece));
    }
}

/// Characters of one piece of a literal text.
const FRAGMENT: usize = 7;

fn usage(ask: &Ask, knobs: &Knobs) -> Usage {
    let input = ask.input_bytes.div_ceil(4).max(1);
    Usage { input, cached: portion(input, knobs.cached), output: 0, thinking: 0 }
}

fn tokens(knobs: &Knobs, id: u64) -> usize {
    let spread = (draw(knobs.seed, id, 0) * 2.0 - 1.0) * knobs.tokens_jitter;
    portion(knobs.tokens as usize, 1.0 + spread)
}

/// The tools to call, in order; none for an answer in words.
fn calls(ask: &Ask, kind: Kind) -> Vec<&Tool> {
    let Some(first) = ask.tools.first() else { return Vec::new() };
    if ask.after_tool || ask.tool_choice == ToolChoice::None {
        return Vec::new();
    }
    let named: Vec<&Tool> = ask.tools.iter().filter(|tool| mentions(&ask.last_text, &tool.name)).collect();
    let best = named.first().copied().unwrap_or(first);
    let mut calls = match (kind, &ask.tool_choice) {
        (Kind::Text | Kind::Thinking, _) => Vec::new(),
        (_, ToolChoice::Named(name)) => ask.tools.iter().filter(|tool| tool.name == *name).collect(),
        (Kind::Tool, _) => vec![best],
        (Kind::ParallelTools, _) if named.len() > 1 => named,
        (Kind::ParallelTools, _) => vec![best, ask.tools.get(1).unwrap_or(best)],
        (Kind::Auto, ToolChoice::Any) if named.is_empty() => vec![best],
        (Kind::Auto, _) => named,
    };
    calls.truncate(if ask.parallel { MAX_CALLS } else { 1 });
    calls
}

/// The most tools called at once.
const MAX_CALLS: usize = 8;

/// Whether the text has the name as a word of its own.
fn mentions(text: &str, name: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    !name.is_empty()
        && text.match_indices(name).any(|(at, _)| {
            let before = text.get(..at).and_then(|s| s.chars().next_back());
            let after = text.get(at + name.len()..).and_then(|s| s.chars().next());
            !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
        })
}

/// Where thinking begins in [`STOCK`], so that it differs from the answer.
const THINKING_FROM: usize = 11;

/// The words of every answer, escaped as the inside of a JSON string. They hold what breaks naive code: quotes,
/// backslashes, line ends, `data:` at the start of a line, markup, an escaped surrogate pair, a line separator
/// (escaped and raw), and characters of two, three and four bytes.
pub(super) const STOCK: &[&str] = &[
    "The",
    " tide",
    " brings",
    " words",
    ",",
    " one",
    " by",
    " one",
    ":",
    " \\\"quoted\\\"",
    ",",
    " back\\\\slashed",
    ",",
    "\\n\\n",
    "- a",
    " list",
    " with",
    " caf\u{e9}",
    ",",
    " na\u{ef}ve",
    " \u{6771}\u{4eac}",
    " and",
    " \u{1f30a}",
    ";",
    "\\n",
    "data: ",
    "not",
    " a",
    " frame",
    "\\n",
    "<b>",
    "markup",
    "</b>",
    " &amp; ",
    "\\ud83d\\ude80",
    "\\u2028",
    "\\t",
    "{\\\"json\\\":",
    "[1,2]}",
    " ends",
    ".",
    " ",
    "\u{2028}",
    "Again",
    ",",
    " from",
    " the",
    " start",
    ":\\r\\n",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(text: &str) -> Ask {
        let tools = ["alpha", "beta"].map(|name| Tool { name: name.to_owned(), schema: None });
        Ask { last_text: text.to_owned(), tools: tools.into(), parallel: true, choices: 1, ..Ask::default() }
    }

    fn check(ask: &Ask, kind: Kind, expect: &[&str]) {
        let answer = Answer::plan(ask, &Knobs { kind, ..Knobs::default() });
        let got: Vec<&str> = answer
            .blocks
            .iter()
            .map(|block| match block {
                Block::Thinking(_) => "(thinking)",
                Block::Text(_) => "(text)",
                Block::Tool { name, .. } => name.as_str(),
            })
            .collect();
        assert_eq!(got, expect, "{ask:?} {kind:?}");
    }

    #[test]
    fn the_answer_is_what_the_request_asks_for() {
        check(&ask("hello"), Kind::Auto, &["(text)"]);
        check(&ask("call beta, please"), Kind::Auto, &["beta"]);
        check(&ask("call alphabet"), Kind::Auto, &["(text)"]);
        check(&ask("call beta and alpha"), Kind::Auto, &["alpha", "beta"]);
        check(&Ask { parallel: false, ..ask("call beta and alpha") }, Kind::Auto, &["alpha"]);
        check(&Ask { tool_choice: ToolChoice::None, ..ask("call beta") }, Kind::Auto, &["(text)"]);
        check(&Ask { tool_choice: ToolChoice::Any, ..ask("hello") }, Kind::Auto, &["alpha"]);
        check(&Ask { tool_choice: ToolChoice::Named("beta".into()), ..ask("hello") }, Kind::Auto, &["beta"]);
        check(&Ask { after_tool: true, ..ask("call beta") }, Kind::Auto, &["(text)"]);
        check(&Ask { thinking: Thinking::Shown, ..ask("call beta") }, Kind::Auto, &["(thinking)", "beta"]);
        check(&Ask { thinking: Thinking::Counted, ..ask("hi") }, Kind::Auto, &["(text)"]);
        check(&ask("hello"), Kind::Tool, &["alpha"]);
        check(&ask("hello"), Kind::ParallelTools, &["alpha", "beta"]);
        check(&ask("hello"), Kind::Thinking, &["(thinking)", "(text)"]);
        check(&Ask { tools: Vec::new(), ..ask("hello") }, Kind::Tool, &["(text)"]);
        check(&Ask { max_tokens: Some(0), ..ask("hello") }, Kind::Auto, &[]);
    }

    #[test]
    fn every_stock_piece_is_the_inside_of_a_json_string() {
        for piece in STOCK {
            serde_json::from_str::<String>(&format!("\"{piece}\"")).unwrap();
        }
        let mut whole = String::new();
        Pieces::literal("añ\"\\\n東京🌊 more than one fragment".to_owned()).append_to(&mut whole);
        let text: String = serde_json::from_str(&format!("\"{whole}\"")).unwrap();
        assert_eq!(text, "añ\"\\\n東京🌊 more than one fragment");
    }

    #[test]
    fn a_limit_cuts_the_answer_and_the_usage() {
        let answer = Answer::plan(&Ask { max_tokens: Some(5), ..ask("hello") }, &Knobs::default());
        assert_eq!((answer.stop, answer.usage.output), (Stop::Length, 5));
        let free = Answer::plan(&ask("hello"), &Knobs::default());
        assert_eq!((free.stop, free.usage.output), (Stop::End, 64));
    }

    #[test]
    fn jitter_is_a_function_of_the_seed_and_the_request() {
        let knobs = Knobs { tokens_jitter: 0.5, ..Knobs::default() };
        let lengths: Vec<usize> =
            (0..32).map(|n| Answer::plan(&ask(&format!("hello {n}")), &knobs).usage.output).collect();
        assert!(lengths.iter().all(|n| (32..=96).contains(n)), "{lengths:?}");
        assert!(lengths.iter().any(|n| *n != lengths[0]), "{lengths:?}");
        assert_eq!(Answer::plan(&ask("hello 3"), &knobs).usage.output, lengths[3]);
    }
}
