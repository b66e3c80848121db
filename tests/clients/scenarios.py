"""What a mock provider says, told once for both formats: the first user text names it as `[[name]]`.

Usage is disjoint, as each vendor's documents let one derive it: `fresh` input, `read` from the cache, `written` to the
cache, and `output`, of which `thought` is reasoning.
"""

import dataclasses
import json
import re
from typing import Any

SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds+mock/1="
REDACTED = "EmwKAhgBEgy3va3pzix/LafPsn4aDFIT2Xlxh0L5L8rLVyIwxtE3rAFBa8cr3qpP+mock"


@dataclasses.dataclass(frozen=True)
class Thinking:
    text: str
    signature: str = SIGNATURE


@dataclasses.dataclass(frozen=True)
class Redacted:
    data: str = REDACTED


@dataclasses.dataclass(frozen=True)
class Text:
    text: str


@dataclasses.dataclass(frozen=True)
class Call:
    id: str
    name: str
    arguments: Any


@dataclasses.dataclass(frozen=True)
class Usage:
    fresh: int = 12
    read: int = 8
    written: int = 0
    output: int = 5
    thought: int = 0


@dataclasses.dataclass(frozen=True)
class Answer:
    blocks: tuple = (Text("Hello!"),)
    stop: str = "end"  # end, length, call, refusal, or sequence
    usage: Usage = Usage()


@dataclasses.dataclass(frozen=True)
class Failure:
    status: int
    kind: str
    message: str = "the provider's own words"
    # Events of the stream that come before the failure; None for an HTTP error.
    after: int | None = None
    # Instead of an error event the connection is cut.
    cut: bool = False


UNICODE = "naïve 北京 🙂🏽 \u2028 \u0085 \"quoted\" \\ \n\ttab \u202eright-to-left"
PARIS = {"city": "Paris, \"北\"", "days": 3, "big": 12345678901234567890}
ROME = {"city": "Rome"}

SCENARIOS: dict[str, Answer | Failure] = {
    "hello": Answer(),
    "unicode": Answer((Text(UNICODE),)),
    "long": Answer((Text("word " * 2000),)),
    "length": Answer((Text("Once upon a"),), stop="length"),
    "refusal": Answer((Text("I can't help with that."),), stop="refusal"),
    "sequence": Answer((Text("one two"),), stop="sequence"),
    "cached": Answer(usage=Usage(fresh=10, read=512, written=1733, output=5)),
    "json": Answer((Text('{"name": "北", "age": 3}'),)),
    "tool": Answer((Call("call_one", "weather", PARIS),), stop="call"),
    "empty-tool": Answer((Call("call_now", "now", {}),), stop="call"),
    "parallel": Answer((Text("Let me look."), Call("call_one", "weather", PARIS), Call("call_two", "weather", ROME),
                        Call("call_now", "now", {})), stop="call"),
    "think": Answer((Thinking("First, the weather."), Text("Sunny.")), usage=Usage(output=50, thought=40)),
    "think-tool": Answer((Thinking("I need the weather."), Call("call_one", "weather", PARIS)), stop="call",
                         usage=Usage(output=50, thought=40)),
    "redacted-tool": Answer((Redacted(), Call("call_one", "weather", PARIS)), stop="call"),
    "silent-tool": Answer((Thinking(""), Call("call_one", "weather", PARIS)), stop="call"),
    "done": Answer((Text("It is sunny in Paris."),)),
    "broken-words": Failure(529, "overloaded_error", "Overloaded in the middle", after=4),
    "broken-cut": Failure(0, "", after=4, cut=True),
}


def first_text(messages: list) -> str:
    """The text of the first user turn, in either format."""
    for message in messages:
        if message.get("role") != "user":
            continue
        content = message.get("content")
        if isinstance(content, str):
            return content
        return "".join(part.get("text", "") for part in content if part.get("type") == "text")
    return ""


def pick(messages: list) -> Answer | Failure:
    """The scenario that the conversation asks for. Once tools have answered, it is `done`."""
    text = first_text(messages)
    name = (re.search(r"\[\[([^\]]+)\]\]", text) or [None, "hello"])[1]
    if name.startswith("error "):
        _, status, kind = name.split(" ")
        return Failure(int(status), kind)
    return SCENARIOS["done"] if _has_results(messages) else SCENARIOS[name]


def _has_results(messages: list) -> bool:
    """A result follows the last answer; a user's words may stand between it and the end."""
    for message in reversed(messages):
        if message.get("role") == "assistant":
            return False
        content = message.get("content")
        blocks = content if isinstance(content, list) else []
        if message.get("role") == "tool" or any(part.get("type") == "tool_result" for part in blocks):
            return True
    return False


def halves(text: str) -> list[str]:
    """A text in fragments, so that a stream has something to join."""
    size = max(1, len(text) // 3)
    return [text[at:at + size] for at in range(0, len(text), size)] or [""]


def dumps(value: Any) -> str:
    """JSON as both vendors stream it: characters as they are."""
    return json.dumps(value, ensure_ascii=False)
