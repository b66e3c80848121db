//! What may be written of a provider.

use super::{Absent, Section, field};
use Absent::{Default, Otherwise, Required};

pub(in crate::config) static PROVIDER: Section = Section {
    path: "providers.NAME",
    about: "A vendor account or a self-hosted fleet. What its `kind` sets can be set otherwise here.",
    fields: &[
        field(
            "kind",
            "a kind, see the table of kinds",
            Required,
            "What it is: sets format, address, paths, authentication and quirks.",
        ),
        field(
            "key",
            "secret",
            Otherwise("by kind: required, or none is sent"),
            "The key that is sent to it, best as `${NAME}` or `${file:/path}`. No client's credential is ever sent.",
        ),
        field(
            "url",
            "URL",
            Otherwise("by kind"),
            "Its one address. A path before the format's own is kept; a `/v1` at its end may stand or not, unless another version stands before it (`/v4/…/ai/v1`): then it must. `http://` only toward loopback and private networks.",
        ),
        field(
            "endpoints",
            "list of URLs or endpoints",
            Otherwise("`url` alone"),
            "Several addresses instead of `url`. Load is spread over these; of the addresses that one name resolves to one is used until no connection can be made to it, or the endpoint is left alone, then the next: up to four in one attempt.",
        ),
        field(
            "allow_plain",
            "`true` or `false`",
            Default("false"),
            "Allows `http://` toward a public address: keys and prompts can be read on the way.",
        ),
        field(
            "format",
            "`openai_chat`, `openai_responses`, `anthropic_messages` or `gemini_generate`",
            Otherwise("by kind"),
            "The wire format that it speaks.",
        ),
        field(
            "paths",
            "map: path → template",
            Otherwise("by kind, or the format's own"),
            "Where its paths are: by the beginning of the format's own path without the version (`chat/completions`, \
             `files`; the longest counts), or `*` for all others. In a template stand `{path}` for the format's path \
             without the version, `{version}` for that, `{model}` for the model's name and `{api_version}`: \
             `{\"*\": \"/{path}\"}` is a server without `/v1`.",
        ),
        field("api_version", "text", Otherwise("by kind"), "What `{api_version}` stands for in `paths`."),
        field("auth_header", "header name, or `none`", Otherwise("by kind"), "The header that carries the key."),
        field(
            "auth_prefix",
            "text",
            Otherwise("by kind"),
            "What stands before the key: `Bearer ` with its space, or nothing.",
        ),
        field("headers", "map: name → text", Otherwise("by kind"), "Further headers of every request."),
        field(
            "anthropic_version",
            "date",
            Otherwise("`2023-06-01` for that format"),
            "The header `anthropic-version` where the client sent none.",
        ),
        field(
            "ca",
            "path",
            Otherwise("the system's roots"),
            "A PEM file of the authorities that its certificate must come from, in place of the system's. A server's own self-signed certificate may stand here where it is none of an authority (with openssl: -addext basicConstraints=critical,CA:FALSE).",
        ),
        field(
            "http",
            "`auto`, `h1` or `h2`",
            Default("auto"),
            "HTTP version: `auto` is what ALPN agrees on over TLS, HTTP/1.1 without TLS.",
        ),
        field(
            "balance",
            "`round_robin`, `weighted`, `random`, `least_busy` or `consistent_hash`",
            Default("round_robin"),
            "Which endpoint takes a request. `round_robin`, of which `weighted` is another name: in turn, by weight. `random`: at random, by weight. `least_busy`: the one with the fewest requests in flight for its weight; of more than 16 endpoints, of two drawn at random. `consistent_hash`: requests that share their model's `affinity` meet the same endpoint, by weight, as long as it has at most a quarter more than its share in flight (or fewer than four).",
        ),
        field("health", "map", Otherwise("no active checks"), "Active checks of the endpoints."),
        field("timeouts", "map", Otherwise("their defaults"), "Deadlines."),
        field("streams", "map", Otherwise("their defaults"), "How its streams are treated."),
        field(
            "breaker",
            "map",
            Otherwise("its defaults"),
            "When an endpoint, or a model at one, is left alone because requests failed.",
        ),
        field(
            "max_concurrent",
            "count, 1 to 1000000",
            Otherwise("no limit"),
            "Attempts at once at all its endpoints together. What is full is passed over for the next target; where there is none with room, a request waits in `queue` for its first one, then it is refused with 503.",
        ),
        field(
            "queue",
            "map",
            Otherwise("its defaults"),
            "Who may wait for a limit of it or its endpoints, which must be there too.",
        ),
        field("adaptive", "map", Otherwise("off"), "Lets its limit find itself, within `max_concurrent`."),
        field("quirks", "map", Otherwise("by kind"), "What the server deviates from its format in."),
        field(
            "facts",
            "map: pattern → facts",
            Otherwise("the table that is compiled in"),
            "What its models accept, where that is not known or otherwise known: by a name, or a pattern with `*` for any text. All that fit hold; a more specific one overrules others.",
        ),
    ],
};

pub(in crate::config) static ENDPOINT: Section = Section {
    path: "providers.NAME.endpoints[]",
    about: "One address of a provider. A URL alone stands for one with the defaults.",
    fields: &[
        field("url", "URL", Required, "The address."),
        field("weight", "count, 1 to 1000", Default("1"), "Its share of the requests."),
        field("http", "`auto`, `h1` or `h2`", Otherwise("the provider's"), "HTTP version toward it."),
        field(
            "max_concurrent",
            "count, 1 to 1000000",
            Otherwise("no limit"),
            "Attempts at once at it; with that many, the others take its requests.",
        ),
    ],
};

pub(in crate::config) static QUEUE: Section = Section {
    path: "queue",
    about: "The line before `max_concurrent` of a client, a model or a provider. Clients of a higher `priority` go first, and those of one priority take turns. When the line is full, a client with fewer waiting gets the place of the newest of the client that has most. A request that has waited too long is refused: with 429 by a client's or model's limit, with 503 by a provider's, each with `retry-after`.",
    fields: &[
        field("size", "count, 0 to 10000", Default("100"), "How many may wait; 0 refuses at once."),
        field("wait", "duration, 0s to 10m", Default("5s"), "How long each may wait."),
    ],
};

pub(in crate::config) static ADAPTIVE: Section = Section {
    path: "providers.NAME.adaptive",
    about: "A limit that finds itself from the time that answers take to begin. It grows while they begin about as soon as usual, and shrinks when they begin later or the server says that it is overloaded (429, 503, 529, or no answer in time). `{}` takes the defaults.",
    fields: &[
        field("min", "count, 1 to 1000000", Default("4"), "It never goes below."),
        field("max", "count, 1 to 1000000", Default("1000"), "It never goes above."),
        field(
            "tolerance",
            "number, 1 to 10",
            Default("2"),
            "How many times their usual time answers may take to begin before it shrinks.",
        ),
    ],
};

pub(in crate::config) static HEALTH: Section = Section {
    path: "providers.NAME.health",
    about: "Active checks. `{}` checks by connecting.",
    fields: &[
        field(
            "path",
            "path",
            Otherwise("a TCP connect"),
            "Asked by HTTP GET; any 2xx is healthy. It begins at the host's root.",
        ),
        field("interval", "duration, 100ms to 1h", Default("5s"), "Between two checks."),
        field("timeout", "duration, 10ms to 1m", Default("2s"), "For one check."),
        field("unhealthy_after", "count, 1 to 100", Default("3"), "Failures in a row that take an endpoint out."),
        field("healthy_after", "count, 1 to 100", Default("2"), "Successes in a row that take it back in."),
    ],
};

pub(in crate::config) static TIMEOUTS: Section = Section {
    path: "providers.NAME.timeouts",
    about: "Deadlines toward a provider.",
    fields: &[
        field("connect", "duration, 10ms to 5m", Default("5s"), "For TCP and TLS together."),
        field(
            "read",
            "duration, 10ms to 24h",
            Default("5m"),
            "The longest silence: before the answer's first byte and between any two.",
        ),
        field(
            "first_byte",
            "duration, 10ms to 24h",
            Otherwise("`read`"),
            "From the end of the request to the head of a stream.",
        ),
        field("between", "duration, 10ms to 24h", Otherwise("`read`"), "Between two pieces of a stream."),
        field(
            "stream",
            "duration, 10ms to 24h",
            Default("1h"),
            "From the end of the request to the end of a stream or of a whole answer.",
        ),
        field("write", "duration, 10ms to 24h", Default("40s"), "The longest wait for it to take more of the request."),
        field("idle", "duration, 1s to 24h", Default("75s"), "How long an unused connection is kept."),
    ],
};

pub(in crate::config) static STREAMS: Section = Section {
    path: "providers.NAME.streams",
    about: "How its streams are treated.",
    fields: &[
        field(
            "hold",
            "duration, 0s to 10m",
            Default("10s"),
            "The head of a stream is held back until its first content, at most for so long, and no longer than `early_head` lets the client wait: a stream that fails or ends before that is tried elsewhere, and the client sees one clean stream. `0s` holds nothing.",
        ),
        field(
            "heartbeat",
            "duration, 0s to 10m",
            Default("15s"),
            "A silence of the provider after which the client is sent a sign of life, such as a comment, between two events. `0s` sends none.",
        ),
        field(
            "early_head",
            "duration, 0s to 10m",
            Default("50s"),
            "How long the client of a stream waits for an answer's head, all attempts together. Then it gets one, and signs of life, while the provider still thinks; what fails from then on is told in the stream, and nothing else is tried. Below the 60s after which many balancers give a silent connection up. `0s`, or no `heartbeat`: as long as it takes.",
        ),
    ],
};

pub(in crate::config) static BREAKER: Section = Section {
    path: "providers.NAME.breaker",
    about: "When an endpoint, or a model at one, is left alone because requests failed. Broken connections and missed deadlines count against the endpoint; statuses from 500 on and streams that break off against the model at it; a client's own faults (4xx) against nobody. After a while one request may try; passing active checks take an endpoint back in at once. Counting tokens fails, and is limited, apart from answers. What is left alone still serves where nothing else is left, what is only at its limit first.",
    fields: &[
        field("failures", "count, 1 to 1000", Default("5"), "Failures in a row that take it out."),
        field("open", "duration, 10ms to 1h", Default("1s"), "For how long at first; each further time twice as long."),
        field("open_max", "duration, 10ms to 24h", Default("30s"), "For how long at most."),
        field(
            "cooldown",
            "duration, 0s to 1h",
            Default("1s"),
            "For how long a model is left alone at an endpoint after a 429 that does not say until when. That is no failure. Where there is no other target, a request waits as long before it is tried again.",
        ),
        field(
            "cooldown_max",
            "duration, 0s to 24h",
            Default("1m"),
            "The longest wait that a provider asks for and that is believed: `retry-after`, or Google's `RetryInfo`.",
        ),
        field(
            "ejected_max",
            "percent, 0 to 100",
            Default("50"),
            "Most endpoints of the provider that may be out at a time. The first may always go, unless this is 0. While another target of a model is well, a provider whose endpoints all fail gets none of its requests but one try at a time.",
        ),
        field(
            "panic",
            "percent, 0 to 100",
            Default("50"),
            "With a smaller share of endpoints passing their active checks the checks are not believed, unless another target of the model is well.",
        ),
        field(
            "slow_start",
            "duration, 0s to 1h",
            Default("30s"),
            "The time in which an endpoint that comes back gets back its share; `0s` for at once.",
        ),
    ],
};

pub(in crate::config) static QUIRKS: Section = Section {
    path: "providers.NAME.quirks",
    about: "What a server deviates from its format in.",
    fields: &[
        field(
            "compatible",
            "`true` or `false`",
            Otherwise("by kind"),
            "It is not the format's own vendor: it knows the older parts of the format and has extensions of its own. A \
             server of Anthropic Messages is sent only the fields that every such server takes.",
        ),
        field(
            "flat_counts",
            "`true` or `false`",
            Otherwise("by kind"),
            "It counts the tokens of fields at the top of a request, and of no request as a whole (Gemini on Vertex AI).",
        ),
        field(
            "keeps_nothing",
            "`true` or `false`",
            Otherwise("by kind"),
            "It keeps no files, batches or anything else that is asked for by its id: no operation on such things goes there.",
        ),
        field(
            "legacy_max_tokens",
            "`true` or `false`",
            Otherwise("by kind"),
            "It wants the limit as `max_tokens`, not `max_completion_tokens`.",
        ),
        field(
            "no_developer_role",
            "`true` or `false`",
            Otherwise("by kind"),
            "It knows no role `developer`: `system` is sent.",
        ),
        field(
            "no_documents",
            "`true` or `false`",
            Otherwise("by kind"),
            "It reads no documents: a line of text says that one was there.",
        ),
        field(
            "no_images",
            "`true` or `false`",
            Otherwise("by kind"),
            "It sees no images: a line of text says that one was there.",
        ),
        field("no_names", "`true` or `false`", Otherwise("by kind"), "It refuses `name` of a message."),
        field("no_parallel_tools", "`true` or `false`", Otherwise("by kind"), "It refuses `parallel_tool_calls`."),
        field("no_stream_options", "`true` or `false`", Otherwise("by kind"), "It refuses `stream_options`."),
        field(
            "tool_choice",
            "`all`, `unnamed` or `auto`",
            Otherwise("by kind, or `all`"),
            "How it can be told to use tools: `unnamed` takes `required`, but no tool by its name; `auto` takes neither.",
        ),
        field(
            "structured",
            "`json_schema`, `json_object` or `none`",
            Otherwise("by kind, or `json_schema`"),
            "Which forms of an answer it takes; one that it does not take is asked for in the instructions.",
        ),
        field(
            "reasoning",
            "`reasoning_content`, `reasoning` or `none`",
            Otherwise("by kind"),
            "The field of a message that it wants reasoning of earlier turns in.",
        ),
        field(
            "thinking_off",
            "`reasoning_effort`, `thinking` or `enable_thinking`",
            Otherwise("by kind, or `reasoning_effort`"),
            "The field by which it is told not to think: by an effort where the model knows `none`, by `thinking: {type: disabled}`, \
             or by `enable_thinking: false`.",
        ),
        field(
            "tool_ids",
            "`portable` or `alnum9`",
            Otherwise("by kind, or `portable`"),
            "Which ids of tool calls it takes: `alnum9` sends ids of nine letters and digits, the same for the same id.",
        ),
        field(
            "counts",
            "`none`, `anthropic_messages`, `gemini_generate` or `openai_responses`",
            Otherwise("by kind, or its own format's path"),
            "By which format's path it counts the tokens of a request, where that is not its own format's; a target that counts \
             none is passed over by requests for a number of tokens.",
        ),
        field(
            "strip_fields",
            "list of names",
            Otherwise("by kind"),
            "Fields at the top of a request that it refuses: they are taken out and reported; every other byte stays.",
        ),
        field(
            "rename_fields",
            "map: name → name",
            Otherwise("by kind"),
            "Fields at the top of a request that it calls otherwise: the format's name, and its own.",
        ),
        field(
            "betas",
            "list of items",
            Otherwise("all; none of a server that is `compatible`"),
            "Which items of a client's `anthropic-beta` it takes; the others are left out and reported.",
        ),
    ],
};

/// What holds of a fact that is not said.
const KNOWN: Absent = Otherwise("as known, or `true`");

pub(in crate::config) static FACTS: Section = Section {
    path: "providers.NAME.facts.PATTERN",
    about: "What the models that a pattern fits accept.",
    fields: &[
        field(
            "thinking",
            "`none`, `budget`, `adaptive` or `always`",
            Otherwise("as known, or `adaptive`"),
            "How thinking is asked for: by a budget of tokens, or by an effort; `always` cannot be turned off. A model with `none` \
             is asked for no effort in any format.",
        ),
        field(
            "efforts",
            "list of efforts",
            Otherwise("as known, or all"),
            "Those of `none`, `minimal`, `low`, `medium`, `high`, `xhigh` and `max` that it knows; the nearest stands in for another, but `none` for no other. With an empty list it is asked for no effort.",
        ),
        field(
            "least_budget",
            "count, 0 to 10000000",
            Otherwise("as known, or `0`"),
            "Fewest tokens that thinking can be held to (Gemini).",
        ),
        field(
            "most_budget",
            "count, 1 to 10000000",
            Otherwise("as known, or `24576`"),
            "Most tokens that thinking can be held to (Gemini); a greater budget is lowered.",
        ),
        field(
            "max_output",
            "count, 1 to 10000000",
            Otherwise("as known, or `8192`"),
            "The limit of output tokens where the client sets none and the format wants one.",
        ),
        field(
            "most_output",
            "count, 1 to 10000000",
            Otherwise("as known, or no bound"),
            "The most output tokens that it gives; a client's greater limit is lowered.",
        ),
        field(
            "responses",
            "`never`, `tools_with_reasoning`, `tools` or `always`",
            Otherwise("as known, or `never`"),
            "When a provider of `openai_chat` is asked by Responses instead: where tools meet reasoning that was asked for, where there are tools unless reasoning is turned off, or always.",
        ),
        field(
            "strip_fields",
            "list of names",
            Otherwise("as known, or none"),
            "Request fields that it refuses, beside those of its provider.",
        ),
        field(
            "cache_breakpoints",
            "`true` or `false`",
            KNOWN,
            "It takes `prompt_cache_breakpoint` on parts (Chat Completions, Responses).",
        ),
        field("candidates", "`true` or `false`", KNOWN, "It gives several answers to one request (Gemini)."),
        field("custom_tools", "`true` or `false`", KNOWN, "It takes tools whose input is free text."),
        field("developer_role", "`true` or `false`", KNOWN, "It knows the role `developer`."),
        field(
            "documents",
            "`true` or `false`",
            KNOWN,
            "It reads documents; where not, a line of text says that one was there.",
        ),
        field(
            "forced_tool",
            "`true` or `false`",
            KNOWN,
            "It can be made to call a tool; where not, a request that asks for it is refused.",
        ),
        field(
            "json_schema",
            "`true` or `false`",
            KNOWN,
            "It takes JSON Schema as it is, not only the vendor's dialect of it (Gemini).",
        ),
        field("logprobs", "`true` or `false`", KNOWN, "It tells log probabilities (Gemini)."),
        field(
            "mid_system",
            "`true` or `false`",
            KNOWN,
            "It takes `system` in the middle of a conversation (Anthropic).",
        ),
        field("parallel_tools", "`true` or `false`", KNOWN, "It takes the wish for one call at a time."),
        field("penalties", "`true` or `false`", KNOWN, "It takes penalties other than 0 (Gemini)."),
        field("prefill", "`true` or `false`", KNOWN, "It continues a turn of its own that the client began."),
        field("rich_results", "`true` or `false`", KNOWN, "It takes images and documents in a tool's result (Gemini)."),
        field(
            "sampling",
            "`true` or `false`",
            KNOWN,
            "It takes `temperature`, `top_p` and `top_k`, at OpenAI penalties and log probabilities, too.",
        ),
        field(
            "sampling_with_effort",
            "`true` or `false`",
            KNOWN,
            "It takes them where it is asked to think, too (OpenAI).",
        ),
        field("structured", "`true` or `false`", KNOWN, "It takes a JSON schema for its answer."),
        field(
            "structured_with_tools",
            "`true` or `false`",
            KNOWN,
            "It takes a schema for its answer beside tools (Gemini).",
        ),
        field(
            "thinks_unasked",
            "`true` or `false`",
            Otherwise("as known, or `false`"),
            "It thinks where nothing is said of it, and not only where it is asked to.",
        ),
        field(
            "vision",
            "`true` or `false`",
            KNOWN,
            "It sees images; where not, a line of text says that one was there.",
        ),
        field(
            "wants_thoughts",
            "`true` or `false`",
            Otherwise("as known, or `false`"),
            "It refuses earlier calls of tools without the reasoning that led to them (Chat Completions): where there is none to be sent, a word stands in for it.",
        ),
    ],
};
