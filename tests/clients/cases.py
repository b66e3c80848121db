"""The matrix's rows: what a client asks, and what it and the provider must have seen. Each holds for all sixteen pairs.

What differs from pair to pair differs by a rule of the translation, and the rule stands here beside the case.
"""

import dataclasses
import functools
from collections.abc import Callable

import scenarios
from clients import Client, TOOLS
from heard import Heard
from scenarios import Answer, Failure

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjQKJcfsj6IKdHJhaWxlcgo8PCAvU2l6ZSAxID4+CiUlRU9GCg=="
ADDRESS = "https://example.test/cat.png"
BOTH = (False, True)
FORMATS = ("chat", "responses", "messages", "gemini")


@dataclasses.dataclass
class Seen:
    """One run: who asked whom, and what both of them saw."""

    client: Client
    provider: str
    stream: bool
    ask: dict
    answers: list[dict]
    heard: list[Heard]
    # What the mock was sent, as it was.
    bodies: list[dict]

    @property
    def answer(self) -> dict:
        return self.answers[-1]

    @property
    def request(self) -> Heard:
        return self.heard[-1]


@dataclasses.dataclass(frozen=True)
class Case:
    row: str
    name: str
    ask: dict
    check: Callable[[Seen], None]
    # The provider's model: `plain`, or `think` for one that reasons.
    model: str = "plain"
    modes: tuple = BOTH
    # Only for clients without an SDK, who look at every byte.
    wire: bool = False
    # Why a client or provider has no part in it, or None.
    without: Callable[[Client, str], str | None] = lambda _client, _provider: None


def script_of(seen: Seen) -> tuple[Answer, ...] | Failure:
    return scenarios.pick(seen.ask["text"])


def same(got, want, what: str) -> None:
    assert got == want, f"{what}: {str(got)[:600]!r}, not {str(want)[:600]!r}"


def well(seen: Seen) -> None:
    """What holds for each answer that is one: no failure, an end, an id, the model's name, the figures of its usage."""
    failures = [answer["raised"] for answer in seen.answers if answer["raised"]]
    assert not failures, failures
    assert len(seen.answers) == len(seen.heard), f"{len(seen.answers)} answers to {len(seen.heard)} requests"
    script = script_of(seen)
    for number, answer in enumerate(seen.answers):
        said = script[number]
        same(answer["text"], said.texts(), "the words")
        same([(call["name"], call["arguments"]) for call in answer["calls"]],
             [(call.name, call.arguments) for call in said.calls()], "the calls")
        ids = [call["id"] for call in answer["calls"]]
        assert len(set(ids)) == len(ids) and (all(ids) or seen.client.format == "gemini"), f"ids {ids}"
        same(answer["stop"], _stop(seen, said), "why it stopped")
        assert answer["id"] and answer["model"], "no id, or no model"
        _usage(seen, answer["usage"], said)


def _stop(seen: Seen, said: Answer) -> str:
    """Only Anthropic tells which stop text it was, and only to clients of its own format."""
    if said.stop == "sequence":
        told = seen.client.format == seen.provider == "messages" and seen.client.shows_sequence
        return "sequence" if told else "end"
    if said.stop == "refusal":
        return "end" if seen.provider in ("chat", "responses") else "filter"
    return said.stop


def _usage(seen: Seen, got: dict, said: Answer) -> None:
    usage = said.usage
    want = {"input": usage.fresh + usage.read + usage.written, "read": usage.read, "written": usage.written,
            "output": usage.output, "thought": usage.thought}
    # Gemini counts what it writes to its cache as any other input.
    if seen.provider == "gemini":
        want["written"] = 0
    assert got is not None, "no usage"
    for key, figure in got.items():
        if figure is not None:
            same(figure, want[key], f"usage, {key}")


def text_arrives(seen: Seen) -> None:
    well(seen)
    same(seen.request.asked(), seen.ask["text"], "the user's words")


def history_arrives(seen: Seen) -> None:
    well(seen)
    same([text for text in seen.request.system if text], seen.ask["system"], "the system's words")
    turns = [(turn.role, turn.texts) for turn in seen.request.turns]
    same(turns, [*((role, [text]) for role, text in seen.ask["before"]), ("user", [seen.ask["text"]])], "the turns")


def settings_arrive(seen: Seen) -> None:
    well(seen)
    same(seen.request.limit, seen.ask["limit"], "the limit")
    # The package has no temperature: its newest version of the API refuses one.
    if seen.client.format != "messages":
        same(seen.request.temperature, seen.ask["temperature"], "the temperature")


def tools_arrive(seen: Seen) -> None:
    well(seen)
    same(sorted(seen.request.tools), sorted(seen.ask["tools"]), "the tools")
    for call in seen.answers[0]["calls"]:
        assert call["name"] in TOOLS


def choice_arrives(seen: Seen) -> None:
    well(seen)
    wanted = seen.ask["choice"]
    # Not asking is `auto` everywhere.
    same(seen.request.choice or "auto", wanted, "the choice of a tool")
    if wanted != "none" and seen.provider != "gemini" and seen.client.format != "gemini":
        same(seen.request.parallel, False, "several calls at once")


def state_survives(seen: Seen) -> None:
    """The mock has refused by now whatever it did not issue; here it must not have been left out either."""
    well(seen)
    script = script_of(seen)
    if seen.client.shows_thinking:
        for answer, said in zip(seen.answers, script):
            same(answer["thinking"], said.thinking(), "the reasoning")
    if not seen.client.keeps_state or seen.provider == "chat":
        return
    kept = [turn for turn in seen.request.answers()]
    # The Python SDK of Gemini writes bytes in the url-safe alphabet, and its server reads both.
    text = scenarios.dumps(seen.bodies[-1]).replace("-", "+").replace("_", "/")
    for said, _turn in zip(script, kept):
        for block in said.blocks:
            if hasattr(block, "label"):
                state = scenarios.mint(seen.provider, block.label)
                assert text.count(state) == 1, f"the state {block.label!r} came back {text.count(state)} times"
    assert "skip/thought/signature" not in text


def parsed(seen: Seen) -> None:
    well(seen)
    same(seen.answer["parsed"], {"name": "北", "age": 3}, "the parsed answer")
    schema = seen.request.schema
    assert schema is not None, "no schema"
    same(sorted(schema["properties"]), ["age", "name"], "the schema's properties")
    same(sorted(schema["required"]), ["age", "name"], "what the schema requires")


def media_arrives(seen: Seen) -> None:
    well(seen)
    got = [(media.kind, media.data) for turn in seen.request.turns for media in turn.media]
    wanted = [("image" if part["kind"] == "image" else "document", part.get("url") or part["data"]) for part in seen.ask["parts"]]
    same(got, wanted, "the media")
    mimes = {media.mime for turn in seen.request.turns for media in turn.media if media.mime}
    assert mimes <= {"image/png", "application/pdf", "image/*"}, mimes


def stop_arrives(seen: Seen) -> None:
    well(seen)
    # Responses have no stop texts: what cannot be said is reported, not refused.
    same(seen.request.stop, [] if seen.provider == "responses" else seen.ask["stop"], "the stop texts")


def refused(seen: Seen) -> None:
    """The model's own words are seen, whatever the place is that a format has for them."""
    answer = seen.answer
    assert answer["raised"] is None, answer["raised"]
    words = answer["text"] + answer["refusal"]
    # The SDK of Gemini does not show `finishMessage` for the Developer API.
    if seen.client.shows_refusal and (seen.client.format, seen.provider) != ("gemini", "gemini"):
        assert "I can't help with that." in words, f"nothing of the refusal in {answer}"
    assert answer["stop"] == _stop(seen, script_of(seen)[0]) or answer["stop"] == "filter", answer["stop"]
    # A refusal in words is an end, but where a format has a reason of its own for it.


def declined(seen: Seen) -> None:
    """A prompt that the provider declines is no empty success: a failure where the client's format has one, or an answer
    without words that says why."""
    answer = seen.answer
    if seen.client.format == "responses" or (seen.client.format == "chat" and not seen.stream):
        raised = answer["raised"]
        assert raised is not None, f"no failure, but {answer}"
        # Behind a head of 200 the failure's code says whose fault it was, to those that read it.
        kinds = ("stream", "server", "bad_request") if seen.stream else ("bad_request",)
        assert raised["kind"] in kinds, raised
        same(answer["text"], "", "the words")
        return
    assert answer["raised"] is None, answer
    same((answer["text"], answer["stop"]), ("", "filter"), "the end")


def moves(seen: Seen) -> None:
    """Half of the conversation elsewhere: the other provider has refused by now what it did not issue."""
    well(seen)
    text = scenarios.dumps(seen.bodies[-1]).replace("-", "+").replace("_", "/")
    state = [scenarios.mint(seen.provider, block.label) for block in script_of(seen)[0].blocks if hasattr(block, "label")]
    assert not any(value in text for value in state), "another provider's state was sent on"


def fails(kind: str, status: int, more: Callable[[Seen, dict], None] = lambda _seen, _raised: None) -> Callable[[Seen], None]:
    def check(seen: Seen) -> None:
        raised = seen.answer["raised"]
        assert raised is not None, f"no failure, but {seen.answer}"
        same((raised["kind"], raised["status"]), (kind, status), "the failure")
        assert seen.answer["text"] == ""
        more(seen, raised)
    return check


def in_its_own_words(_seen: Seen, raised: dict) -> None:
    assert "the provider's own words" in raised["message"], raised


def without_a_word_of_the_key(_seen: Seen, raised: dict) -> None:
    assert "mock" not in raised["message"].replace("mock:", ""), raised


def and_when_to_come_back(seen: Seen, raised: dict) -> None:
    in_its_own_words(seen, raised)
    same(raised["retry_after"], "7", "retry-after")


def breaks(seen: Seen) -> None:
    """A stream that ended before its time is a failure to the SDK, and what came before it was seen."""
    answer = seen.answer
    assert answer["raised"] is not None, f"it looks complete: {answer}"
    same(answer["raised"]["kind"], "stream", "the failure")
    script = script_of(seen)
    if script.script == "hello":
        same(answer["text"], "Hell", "what came before")


def grammatical(seen: Seen) -> None:
    """The client has checked it all by itself."""
    assert seen.answer["raised"] is None, seen.answer


def wire(name: str, **more) -> Case:
    """For clients without an SDK alone."""
    model = "think" if "think" in more else "plain"
    ask = {"text": f"[[{name}]]", **more}
    return Case("wire grammar", name, ask, grammatical, model=model, wire=True)


OVERLOAD = {"chat": 503, "responses": 503, "messages": 529, "gemini": 503}


def overloaded(seen: Seen) -> None:
    """529 is Anthropic's; other clients get the status that they know. Nothing is renamed between like formats."""
    same_format = seen.client.format == seen.provider
    fails("server", 529 if same_format else OVERLOAD[seen.client.format], and_when_to_come_back)(seen)


def reasoning_lost(client: Client, provider: str) -> str | None:
    lost = provider == "chat" and not client.keeps_state
    return "the client brings no reasoning back, and a server that wants it refuses" if lost else None


def not_to(other: str, _client: Client, provider: str) -> str | None:
    return "it is there already" if provider == other else None


def tool_case(row: str, name: str, **more) -> Case:
    ask = {"text": f"[[{name}]]", "tools": ["weather", "now"], "rounds": 5, **more.pop("ask", {})}
    return Case(row, more.pop("name_of_it", name), ask, more.pop("check", tools_arrive), **more)


def framed(framing: str) -> Case:
    """Within the standard, but no SDK of Gemini reads more of it than its own server sends, which is passed on as it is."""
    def plain_only(client: Client, provider: str) -> str | None:
        own = client.format == provider == "gemini" and framing in ("comments", "tight", "reversed")
        return "the SDK itself does not read it" if own else None

    ask = {"text": f"[[parallel]] (({framing}))", "tools": ["weather", "now"]}
    return Case("odd SSE", framing, ask, tools_arrive, modes=(True,), without=plain_only)


def error(status: int, kind: str, check: Callable[[Seen], None]) -> Case:
    return Case("errors", str(status), {"text": f"[[error {status} {kind}]]"}, check)


def as_it_is(client: Client, provider: str) -> str | None:
    return "what needs no translation passes byte for byte" if client.format == provider else None


def web_image(client: Client, provider: str) -> str | None:
    if not client.takes_addresses:
        return "it fetches the image by itself"
    return "Gemini takes no address on the web; the edge says so with 400" if provider == "gemini" else None


CASES = [
    Case("text", "text", {"text": "[[hello]]"}, text_arrives),
    Case("long", "long", {"text": "[[long]] " + "问 word " * 20000}, text_arrives),
    Case("unicode", "unicode", {"text": f"[[unicode]] {scenarios.UNICODE}"}, text_arrives),
    Case("unicode", "escaped pairs", {"text": "[[emoji]] ((escaped))"}, text_arrives, modes=(False,)),
    Case("unicode", "split pairs", {"text": "[[emoji]] ((surrogates))"}, text_arrives, modes=(True,), without=as_it_is),
    Case("history", "history", {"text": "[[hello]] go on", "system": ["Be brief.", "Be kind."],
                                "before": [["user", "one"], ["assistant", "two"]]}, history_arrives),
    Case("settings", "settings", {"text": "[[hello]]", "limit": 77, "temperature": 0.5}, settings_arrive),
    tool_case("tools", "tool"),
    tool_case("tools", "empty-tool"),
    tool_case("tools", "numbers", without=lambda client, _provider: None if client.exact_numbers else "it knows doubles only"),
    *[Case("tool choice", choice, {"text": f"[[{said}]]", "tools": ["weather", "now"], "choice": choice, "parallel": False},
           choice_arrives, modes=(False,))
      for choice, said in (("auto", "hello"), ("required", "tool"), ("none", "hello"), ("now", "empty-tool"))],
    tool_case("parallel tools", "parallel"),
    tool_case("tool loops", "loop"),
    Case("thinking", "think", {"text": "[[think]]", "think": True}, state_survives, model="think"),
    tool_case("thinking loops", "think-loop", ask={"think": True}, check=state_survives, model="think", without=reasoning_lost),
    tool_case("thinking loops", "silent-loop", ask={"think": True}, check=state_survives, model="think",
              without=lambda _client, provider: "it has no state" if provider == "chat" else None),
    tool_case("thinking loops", "redacted-loop", ask={"think": True}, check=state_survives, model="think",
              without=lambda _client, provider: "it has no state" if provider == "chat" else None),
    *[tool_case("moved conversations", "think-loop", ask={"think": True, "to": f"plain-{other}"}, check=moves, model="think",
                name_of_it=f"on to {other}", without=functools.partial(not_to, other)) for other in FORMATS],
    Case("structured output", "json", {"text": "[[json]]", "schema": True}, parsed),
    Case("vision", "bytes", {"text": "[[hello]]", "parts": [{"kind": "image", "data": PNG}] * 2}, media_arrives),
    Case("vision", "address", {"text": "[[hello]]", "parts": [{"kind": "image", "url": ADDRESS}]}, media_arrives, without=web_image),
    Case("documents", "pdf", {"text": "[[hello]]", "parts": [{"kind": "pdf", "data": PDF}]}, media_arrives),
    Case("stop", "stop", {"text": "[[sequence]]", "stop": ["three", "four"]}, stop_arrives,
         without=lambda client, _provider: "it has no stop texts" if client.format == "responses" else None),
    Case("length", "length", {"text": "[[length]]"}, well),
    Case("filter", "filter", {"text": "[[filter]]"}, well),
    Case("refusal", "refusal", {"text": "[[refusal]]"}, refused),
    Case("filter", "prompt", {"text": "[[blocked]]"}, declined,
         without=lambda _client, provider: None if provider == "gemini" else "only Gemini tells a prompt from an answer"),
    Case("usage", "cached", {"text": "[[cached]]"}, well),
    error(400, "invalid_request_error", fails("bad_request", 400, in_its_own_words)),
    # The client's key is not at fault: the edge's is, and the client is not told of it.
    error(401, "authentication_error", fails("server", 502, without_a_word_of_the_key)),
    error(403, "permission_error", fails("server", 502, without_a_word_of_the_key)),
    error(404, "not_found_error", fails("not_found", 404, in_its_own_words)),
    error(429, "rate_limit_error", fails("rate_limit", 429, and_when_to_come_back)),
    error(500, "api_error", fails("server", 500, in_its_own_words)),
    error(503, "overloaded_error", fails("server", 503, and_when_to_come_back)),
    error(529, "overloaded_error", overloaded),
    *[Case("cuts", name, {"text": f"[[{name}]]", "tools": ["weather"]}, breaks, modes=(True,))
      for name in ("broken-words", "broken-cut", "broken-end", "broken-call")],
    *[wire(name) for name in ("hello", "unicode", "length", "filter", "refusal", "cached")],
    *[wire(name, tools=["weather", "now"]) for name in ("tool", "empty-tool", "parallel")],
    *[wire(name, think=True, tools=["weather", "now"]) for name in ("think", "think-loop")],
    *[framed(framing) for framing in ("bytes", "crlf", "comments", "tight", "reversed")],
]
ROWS = list(dict.fromkeys(case.row for case in CASES))
