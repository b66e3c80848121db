"""What a mock provider heard, in one shape for all formats, so that one check serves them all."""

import dataclasses
import json
from typing import Any

import scenarios
from scenarios import Answer


class BadRequest(Exception):
    """The provider would answer 400."""


def require(condition: bool, problem: str) -> None:
    """What the provider would refuse with 400."""
    if not condition:
        raise BadRequest(problem)


@dataclasses.dataclass
class Called:
    id: str | None
    name: str
    arguments: Any


@dataclasses.dataclass
class Returned:
    id: str | None
    text: str


@dataclasses.dataclass
class Media:
    kind: str  # image or document
    mime: str | None
    data: str  # base64, or an address


@dataclasses.dataclass
class Turn:
    role: str
    texts: list[str] = dataclasses.field(default_factory=list)
    calls: list[Called] = dataclasses.field(default_factory=list)
    results: list[Returned] = dataclasses.field(default_factory=list)
    media: list[Media] = dataclasses.field(default_factory=list)
    # Reasoning as (text, state), in order; either may be absent.
    thoughts: list[tuple[str | None, str | None]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Heard:
    system: list[str] = dataclasses.field(default_factory=list)
    turns: list[Turn] = dataclasses.field(default_factory=list)
    tools: list[str] = dataclasses.field(default_factory=list)
    choice: str | None = None  # auto, required, none, or a tool's name
    parallel: bool | None = None
    limit: int | None = None
    stop: list[str] = dataclasses.field(default_factory=list)
    schema: dict | None = None
    temperature: float | None = None
    stream: bool = False

    def turn(self, role: str) -> Turn:
        """The last turn if it is `role`'s, or a new one."""
        if not self.turns or self.turns[-1].role != role:
            self.turns.append(Turn(role))
        return self.turns[-1]

    def asked(self) -> str:
        """The text of the user's turn that names a scenario; an agent puts words of its own around it."""
        texts = self.turns[self._asked_at()].texts if self.turns else []
        return next((text for text in texts if "[[" in text), texts[0] if texts else "")

    def _asked_at(self) -> int:
        for number, turn in enumerate(self.turns):
            if turn.role == "user" and any("[[" in text for text in turn.texts):
                return number
        return 0

    def answers(self) -> list[Turn]:
        """The provider's own turns since it was asked."""
        return [turn for turn in self.turns[self._asked_at():] if turn.role == "assistant"]

    def check(self, script: tuple[Answer, ...]) -> Answer:
        """Holds the conversation against the script, and says what comes next."""
        require(bool(self.turns) and self.turns[-1].role == "user", "the user has the last word")
        own = self.turns[self._asked_at() + 1:]
        step = 0
        for number, turn in enumerate(own):
            if turn.role == "user":
                continue
            require(step < len(script), "more turns than were said")
            said = script[step]
            step += 1
            require("".join(turn.texts) == said.texts(), f"said {said.texts()!r}, came back {turn.texts!r}")
            calls = [(call.name, call.arguments) for call in turn.calls]
            require(calls == [(call.name, call.arguments) for call in said.calls()], f"called otherwise: {calls}")
            if calls:
                _results(turn, said, own[number + 1] if number + 1 < len(own) else Turn("user"))
        require(step < len(script), "the script has ended")
        return script[step]


def _results(turn: Turn, said: Answer, after: Turn) -> None:
    """Each call has its own result: by id where there is one, by order elsewhere."""
    require(len(after.results) == len(turn.calls), f"{len(turn.calls)} calls, {len(after.results)} results")
    for number, (call, wanted) in enumerate(zip(turn.calls, said.calls())):
        with_id = [result for result in after.results if call.id is not None and result.id == call.id]
        result = with_id[0] if with_id else after.results[number]
        want = scenarios.result_of(call.name, call.arguments) if wanted.says is None else wanted.says
        fits = want in _values(result.text) if wanted.says is None else want in str(result.text)
        require(fits, f"the result of {call.name} is {result.text!r}, not {want!r}")


def _values(text) -> list:
    """A result's words; a client of Gemini may have sent an object, which elsewhere is JSON text."""
    if isinstance(text, str) and text.startswith("{"):
        text = json.loads(text)
    return list(text.values()) if isinstance(text, dict) else [text]
