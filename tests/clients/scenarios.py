"""What a mock provider says, told once for all formats. The user's text names it as `[[name]]`.

A script has one answer for each round of tools; a mock holds the conversation against it, so that what comes back is
what was said. Usage is disjoint, as each vendor's documents let one derive it: `fresh` input, `read` from the cache,
`written` to the cache, and `output`, of which `thought` is reasoning.
"""

import base64
import dataclasses
import hashlib
import json
import re
from typing import Any


@dataclasses.dataclass(frozen=True)
class Thinking:
    """Reasoning that can be read, or `""`, and the state behind it, which each provider mints in its own way."""

    text: str
    label: str


@dataclasses.dataclass(frozen=True)
class Redacted:
    """Reasoning of which only the state is given out."""

    label: str


@dataclasses.dataclass(frozen=True)
class Text:
    text: str


@dataclasses.dataclass(frozen=True)
class Refused:
    """Words by which the model declines."""

    text: str


@dataclasses.dataclass(frozen=True)
class Call:
    id: str
    name: str
    arguments: Any
    # What the tool's result must contain, where a client runs a tool of its own and says it in words of its own.
    says: str | None = None


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
    stop: str = "end"  # end, length, call, filter, refusal, sequence, or blocked: no answer at all
    usage: Usage = Usage()

    def texts(self) -> str:
        return "".join(block.text for block in self.blocks if isinstance(block, Text))

    def calls(self) -> list[Call]:
        return [block for block in self.blocks if isinstance(block, Call)]

    def thinking(self) -> str:
        return "".join(block.text for block in self.blocks if isinstance(block, Thinking))


@dataclasses.dataclass(frozen=True)
class Failure:
    """An HTTP error, or with `script` a stream that fails after its first event with `after` in it."""

    status: int
    kind: str
    message: str = "the provider's own words"
    script: str | None = None
    after: str = ""
    # How the stream fails: by an error event, by a broken connection, or by an end that HTTP calls clean.
    by: str = "words"


UNICODE = "naïve 北京 🙂🏽 👨‍👩‍👧 \u2028 \u2029 \u0085 \"quoted\" \\ \n\ttab \u202eright-to-left \u0000"
EMOJI = "🙂🏽👨‍👩‍👧" * 8
LONG = "word 北 " * 20000
PARIS = {"city": "Paris, \"北\"", "days": 3}
ROME = {"city": "Rome"}
NUMBERS = {"city": "Paris", "days": 12345678901234567890}

SCENARIOS: dict[str, tuple[Answer, ...] | Failure] = {
    "hello": (Answer(),),
    "unicode": (Answer((Text(UNICODE.replace("\u0000", "")),)),),
    "emoji": (Answer((Text(EMOJI),)),),
    "long": (Answer((Text(LONG),)),),
    "length": (Answer((Text("Once upon a"),), stop="length"),),
    "filter": (Answer((Text("Once upon"),), stop="filter"),),
    "blocked": (Answer((), stop="blocked"),),
    "refusal": (Answer((Refused("I can't help with that."),), stop="refusal"),),
    "sequence": (Answer((Text("one two"),), stop="sequence"),),
    "cached": (Answer(usage=Usage(fresh=10, read=512, written=1733, output=5)),),
    "json": (Answer((Text('{"name": "北", "age": 3}'),)),),
    "numbers": (Answer((Call("call_one", "weather", NUMBERS),), stop="call"), Answer((Text("It is sunny."),))),
    "empty-tool": (Answer((Call("call_now", "now", {}),), stop="call"), Answer((Text("It is noon."),))),
    "tool": (Answer((Call("call_one", "weather", PARIS),), stop="call"), Answer((Text("It is sunny."),))),
    "parallel": (
        Answer((Text("Let me look."), Call("call_one", "weather", PARIS), Call("call_two", "weather", ROME),
                Call("call_now", "now", {})), stop="call"),
        Answer((Text("Sunny in both."),)),
    ),
    "loop": (
        Answer((Text("Let me look."), Call("call_one", "weather", PARIS), Call("call_two", "weather", ROME)), stop="call"),
        Answer((Call("call_now", "now", {}),), stop="call"),
        Answer((Text("Once more."), Call("call_four", "weather", {"city": "Oslo"})), stop="call"),
        Answer((Text("Sunny in all of them."),)),
    ),
    "think": (Answer((Thinking("First, the weather.", "plain"), Text("Sunny.")), usage=Usage(output=50, thought=40)),),
    "think-loop": (
        Answer((Thinking("I need the weather.", "one"), Text("Let me look."), Call("call_one", "weather", PARIS),
                Call("call_two", "weather", ROME)), stop="call", usage=Usage(output=50, thought=40)),
        Answer((Thinking("And the time.", "two"), Call("call_now", "now", {})), stop="call",
               usage=Usage(output=30, thought=20)),
        Answer((Thinking("That is all.", "three"), Text("It is sunny at noon.")), usage=Usage(output=30, thought=20)),
    ),
    "silent-loop": (
        Answer((Thinking("", "silent"), Call("call_one", "weather", PARIS)), stop="call"),
        Answer((Text("It is sunny."),)),
    ),
    "redacted-loop": (
        Answer((Redacted("hidden"), Call("call_one", "weather", PARIS)), stop="call"),
        Answer((Text("It is sunny."),)),
    ),
    # `"ll"` is the second fragment of `Hello!`, `"P` in the first of the arguments.
    "broken-words": Failure(529, "overloaded_error", "Overloaded in the middle", script="hello", after='"ll"'),
    "broken-cut": Failure(0, "", script="hello", after='"ll"', by="cut"),
    "broken-end": Failure(0, "", script="hello", after='"ll"', by="end"),
    "broken-call": Failure(0, "", script="tool", after='"P', by="end"),
}
# A lone NUL is legal JSON, but real providers do not send it; users may.


def named(text: str) -> str:
    """The scenario that a user's text names."""
    return (re.search(r"\[\[([^\]]+)\]\]", text) or [None, "hello"])[1]


def pick(text: str) -> tuple[Answer, ...] | Failure:
    name = named(text)
    if name.startswith("error "):
        _, status, kind = name.split(" ")
        return Failure(int(status), kind)
    return SCENARIOS[name]


def framing(text: str) -> str:
    """How the stream is laid on the wire: `((bytes))`, `((crlf))` and so on; plainly if nothing is said."""
    return (re.search(r"\(\((\w+)\)\)", text) or [None, "plain"])[1]


def result_of(name: str, arguments: dict) -> str:
    """What the tool answers, so that a result at the wrong call is seen."""
    return f"sun in {arguments.get('city')}" if name == "weather" else "noon"


def mint(provider: str, label: str) -> str:
    """State that only `provider` can have issued: base64, as all of them issue it."""
    return base64.b64encode(hashlib.sha512(f"{provider} {label}".encode()).digest() * 3).decode()


def halves(text: str, framing: str = "plain") -> list[str]:
    """A text in fragments, so that a stream has something to join; `surrogates` cuts between those of a pair."""
    if framing == "surrogates":
        units = text.encode("utf-16-be", "surrogatepass")
        size = 10  # five units: an odd count falls between the two of a pair sooner or later
        return [units[at:at + size].decode("utf-16-be", "surrogatepass") for at in range(0, len(units), size)]
    size = max(1, min(len(text) // 3, 4000))
    return [text[at:at + size] for at in range(0, len(text), size)] or [""]


def dumps(value: Any) -> str:
    """JSON as the vendors stream it: characters as they are, but for half a pair, which has no other way."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return json.dumps(value)
