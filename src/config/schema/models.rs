//! What may be written of models, of the rules that lead to them, and of those who may call.

use super::Absent::{Default, Otherwise, Required};
use super::{Section, field};

pub(in crate::config) static MODEL: Section = Section {
    path: "models.NAME",
    about: "A name that clients ask for. `provider/model` alone stands for one target with the defaults.",
    fields: &[
        field("targets", "list of `provider/model` or targets", Required, "Where it goes."),
        field(
            "strategy",
            "`priority`, `weighted`, `round_robin`, `least_busy`, `fastest`, `cheapest` or `sticky`",
            Default("priority"),
            "Which target is asked first; the others follow when it fails. Before that counts state that only its maker can read: what lies there (earlier answers, conversations, files, containers, cached contents) is asked of targets in the client's format only, and of the account that made it where that was seen or `operations` says it; what is sealed (signatures of thoughts, encrypted reasoning) is sent there first. `priority`: as written. `weighted`: at random, by weight (other than a provider's `balance: weighted`). `round_robin`: in turn, by weight. `least_busy`: of two at random the one with fewer requests in flight for its weight. `fastest`: the one that begins to answer soonest of late, as a stream or as a whole; one request in twenty tries another. `cheapest`: by `price`, for a request of its size. `sticky`: by `affinity`, by weight, as long as a target has at most a quarter more than its share in flight (or fewer than four).",
        ),
        field(
            "affinity",
            "`client`, `conversation`, `prefix` or `header:NAME`",
            Default("client"),
            "What requests must share to meet the same target (`strategy: sticky`) and the same endpoint (`balance: consistent_hash`), where what was cached of their prompt is. `conversation`: instructions, tools and the user's first turn. `prefix`: instructions and tools. A request without the header counts by its client.",
        ),
        field(
            "on_loss",
            "`allow`, `warn` or `refuse`",
            Default("warn"),
            "What happens where the target's format cannot carry a part of the request: `allow` sends the rest, `warn` also says so in the header `x-tidegate-loss` and the log, `refuse` answers 400.",
        ),
        field(
            "answer_model",
            "`provider` or `asked`",
            Default("provider"),
            "Which name of the model answers show where client and target speak the same format. `provider`: as it came, byte for byte. `asked`: the one that the client asked for, for clients that take an answer of another name for another model's, as Claude Code does, which then leaves the thinking out of its next requests; nothing else of the answer changes. A translated answer shows the name that was asked for anyway; a Gemini stream that is one JSON array passes as it came.",
        ),
        field(
            "max_output",
            "count, 1 to 10000000",
            Otherwise("the provider's own"),
            "The limit of output tokens where the client sets none and the target's format wants one.",
        ),
        field(
            "fallback_on",
            "list of `connect`, `reset`, `timeout`, `bad_answer`, `rate_limit`, `server_error`, `context_length` and statuses",
            Otherwise("`[connect, reset, bad_answer, rate_limit, server_error]`"),
            "Failures that move a request on to the next endpoint or target while nothing has gone to the client. What the provider ended is tried elsewhere by default: no connection, a broken one (`reset`), an answer that is none (`bad_answer`), 429, 408 and all from 500 on. What a deadline of ours ended (`timeout`) may still be worked on and be paid for.",
        ),
        field("retries", "map", Otherwise("its defaults"), "How often, and how soon, a request is tried again."),
        field(
            "hedge",
            "map",
            Otherwise("never"),
            "A second attempt beside a stream that is slow to begin: the next target or endpoint is asked as well, the one that says something first is the answer, and the other is cancelled. Both may be paid for.",
        ),
        field(
            "max_concurrent",
            "count, 1 to 1000000",
            Otherwise("no limit"),
            "Requests at once for the model, of all clients together. Further ones wait in `queue`; then they are refused with 429.",
        ),
        field("queue", "map", Otherwise("its defaults"), "Who may wait for `max_concurrent`, which must be there too."),
    ],
};

pub(in crate::config) static RETRIES: Section = Section {
    path: "models.NAME.retries",
    about: "How often, and how soon, a request is tried again, within `server.max_attempts`. Another endpoint or target is tried at once; the same ones after a wait.",
    fields: &[
        field(
            "rounds",
            "count, 0 to 10",
            Default("1"),
            "Times that the targets are gone through again once each has failed.",
        ),
        field(
            "backoff",
            "duration, 1ms to 1m",
            Default("100ms"),
            "Before a further round a random time up to this is waited; up to twice as much before each further one.",
        ),
        field("backoff_max", "duration, 1ms to 1m", Default("2s"), "The bound of that."),
        field(
            "retry_after_max",
            "duration, 0s to 1m",
            Default("5s"),
            "The longest `retry-after` of a provider that is waited for; a longer one is told to the client at once.",
        ),
        field(
            "budget",
            "percent, 0 to 1000",
            Default("20"),
            "Further attempts that the requests for this model may cause together, of their number. What is over it is not tried again. An attempt that is answered costs nothing. One for which nothing is left, and that goes to where nothing has failed of late, waits while others are on their way there: each that is answered lets two follow. All models together have what their requests pay in together, and the greatest of their floors.",
        ),
        field(
            "budget_floor",
            "count, 0 to 10000",
            Default("10"),
            "Further attempts a second that are allowed beside that.",
        ),
    ],
};

pub(in crate::config) static HEDGE: Section = Section {
    path: "models.NAME.hedge",
    about: "When a stream that has said nothing yet is asked for a second time, at what would be tried next. `{}` alone turns it on with the defaults. It takes another target or endpoint to ask, and a first one with a `streams.hold` that is longer than that time; a request with state that only its maker can read is never asked for twice. Where both are silent when `streams.early_head` is over, the first goes on alone.",
    fields: &[
        field(
            "percentile",
            "percent, 50 to 99",
            Default("95"),
            "So many streams of a hundred begin sooner at their first target, of late: the time that this takes is waited. Before 20 of them have begun nothing is known, and none is asked for twice.",
        ),
        field("least", "duration, 1ms to 1m", Default("50ms"), "At least this is waited."),
        field(
            "budget",
            "percent, 1 to 100",
            Default("5"),
            "Second attempts that the streams for this model may cause together, of their number.",
        ),
    ],
};

pub(in crate::config) static TARGET: Section = Section {
    path: "models.NAME.targets[]",
    about: "One target of a model. `provider/model` alone stands for one with the defaults.",
    fields: &[
        field("to", "`provider/model`", Required, "The provider's name, and the model's name there."),
        field("weight", "count, 1 to 1000", Default("1"), "Its share, for strategies that share."),
        field(
            "price",
            "map",
            Otherwise("not known: such a target comes last where `strategy` is `cheapest`"),
            "What it costs.",
        ),
    ],
};

pub(in crate::config) static PRICE: Section = Section {
    path: "models.NAME.targets[].price",
    about: "What a target costs, in US dollars for a million tokens.",
    fields: &[
        field("input", "number, 0 to 1000000", Required, "Tokens of the request."),
        field("output", "number, 0 to 1000000", Required, "Tokens of the answer."),
    ],
};

pub(in crate::config) static RULE: Section = Section {
    path: "rules[]",
    about: "Requests of a kind, and the model that serves them.",
    fields: &[
        field("name", "text", Required, "Stands for the rule in `tidegate route` and at `/explain`."),
        field("when", "map", Required, "Which requests; all that is said must hold."),
        field("model", "name of a model", Required, "One of `models`, or a name that one of its patterns matches."),
    ],
};

pub(in crate::config) static WHEN: Section = Section {
    path: "rules[].when",
    about: "Which requests a rule is for. In a pattern `*` stands for any text. `tools`, `images` and `documents` take reading the whole request; what else is said is looked at first.",
    fields: &[
        field("model", "pattern", Otherwise("any"), "The model asked for."),
        field("client", "pattern", Otherwise("any"), "The client's name."),
        field(
            "headers",
            "map: name → pattern",
            Otherwise("any"),
            "Headers of the request; one that is missing does not match.",
        ),
        field("body_over", "size", Otherwise("any"), "More bytes in the body than this. A token is about four."),
        field("body_under", "size", Otherwise("any"), "At most this many bytes in the body."),
        field("stream", "`true` or `false`", Otherwise("any"), "A stream is wanted, or a whole answer."),
        field("tools", "`true` or `false`", Otherwise("any"), "Tools are offered, or none."),
        field("images", "`true` or `false`", Otherwise("any"), "There is an image, or none."),
        field("documents", "`true` or `false`", Otherwise("any"), "There is a document, or none."),
    ],
};

pub(in crate::config) static CLIENT: Section = Section {
    path: "clients[]",
    about: "Who may call. A key is accepted as `Authorization: Bearer`, `x-api-key`, `api-key` or `x-goog-api-key`, and as `key` in the \
            query, where clients of Gemini have it; its hash alone is kept.",
    fields: &[
        field("name", "text", Required, "Stands for the client in logs and metrics."),
        field(
            "key",
            "secret, 8 characters or more",
            Otherwise("`key_hash`"),
            "The key, best as `${NAME}` or `${file:/path}`.",
        ),
        field(
            "key_hash",
            "`sha256:` and 64 hex digits",
            Otherwise("`key`"),
            "The key's SHA-256, so that the file holds no key: `printf %s \"$KEY\" | sha256sum`.",
        ),
        field(
            "models",
            "list of names and patterns",
            Otherwise("`[\"*\"]`: all"),
            "What it may ask for; `*` stands for any text. `/v1/models` lists the configured models that fit, and names that stand here and a pattern of a model serves.",
        ),
        field(
            "on_loss",
            "`allow`, `warn` or `refuse`",
            Otherwise("the model's"),
            "What happens to its requests where a target cannot carry a part of them, in place of the model's `on_loss`.",
        ),
        field(
            "max_concurrent",
            "count, 1 to 1000000",
            Otherwise("no limit"),
            "Its requests at once. Further ones wait in `queue`; then they are refused with 429.",
        ),
        field("queue", "map", Otherwise("its defaults"), "Who may wait for `max_concurrent`, which must be there too."),
        field(
            "priority",
            "`high`, `normal` or `low`",
            Default("normal"),
            "Whose requests go first where clients wait for the same model or provider. Those of a lower one wait as long as any of a higher one do.",
        ),
        field(
            "providers",
            "list of names of providers",
            Otherwise("all for a client that may ask for every model, else none"),
            "Where its operations that name no model may go, such as `files` and `batches`: a batch may hold requests for any model.",
        ),
        field(
            "raw",
            "list of names of providers",
            Otherwise("none"),
            "Providers that it may ask for anything at all, by `/raw/PROVIDER/…`, with our credentials.",
        ),
    ],
};
