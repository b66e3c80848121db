"""The SDKs behind one face: each takes a neutral `ask`, does it as its users do, and says in one shape what it saw.

An ask is a dictionary (so that it can be sent to Node as it is):

    model, stream                 where to, and how
    text                          the user's words; they name the scenario
    parts                         more of the user's turn: {kind: image|pdf, data|url}
    system, before                texts; earlier turns as [role, text]
    tools, choice, parallel       names out of `TOOLS`; auto, required, none or a name; True or False
    schema, think                 asks for a `Person`; asks for reasoning
    stop, limit, temperature      as everywhere
    rounds                        how often the client answers calls and goes on
    to                            the model of the later rounds, if it is another

What is seen is a dictionary as well, see `seen`.
"""

import json
import os
import pathlib
import queue
import subprocess
import threading

import scenarios

KEY = "sk-client-of-the-edge"
TOOLS = {
    "weather": ("The weather of a place.", {
        "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}),
    "now": ("The time.", {"type": "object", "properties": {}}),
}


def seen(**facts) -> dict:
    """What a client saw of one answer.

    `stop` is end, length, call, filter, sequence or failed; usage is `input` (all of it), `read`, `written`, `output`
    (all of it), `thought`; a client that cannot tell a figure says None.
    """
    facts = {"text": "", "thinking": "", "refusal": "", "calls": [], "stop": None, "usage": None, "raised": None, "parsed": None,
             "id": None, "model": None, **facts}
    return facts


def raised(kind: str, error: BaseException, status=None, message: str = "", retry_after=None, request_id=None, words: str = "") -> dict:
    """What a client saw of a failure; `kind` names it as the SDK does."""
    facts = {"kind": kind, "class": type(error).__name__, "status": status, "message": message or str(error),
             "retry_after": retry_after, "request_id": request_id}
    return seen(raised=facts, text=words)


class Client:
    """An SDK. Subclasses say how it begins, sends, and takes results."""

    name = ""
    # The wire format that it speaks: chat, responses, messages or gemini.
    format = ""
    # Whether it shows reasoning and refusals, and whether it sends opaque state back.
    shows_thinking = True
    shows_refusal = True
    # Whether it tells a stop text from another end, and sends addresses of images on.
    shows_sequence = True
    takes_addresses = True
    keeps_state = True
    # Whether it keeps numbers that no double holds.
    exact_numbers = True

    def begin(self, ask: dict) -> list:
        """The history as this format has it."""
        raise NotImplementedError

    def send(self, ask: dict, history: list) -> tuple[dict, object]:
        """One request; what was seen, and the turn as the SDK wants it back."""
        raise NotImplementedError

    def reply(self, history: list, turn, results: list[tuple[dict, str]]) -> None:
        """Puts the answer's turn and the results of its calls behind the history."""
        raise NotImplementedError

    def converse(self, ask: dict) -> list[dict]:
        history, all_seen = self.begin(ask), []
        for number in range(ask.get("rounds", 0) + 1):
            model = ask["to"] if number and ask.get("to") else ask["model"]
            one, turn = self.send({**ask, "model": model}, history)
            all_seen.append(one)
            if one["raised"] or not one["calls"]:
                break
            results = [(call, scenarios.result_of(call["name"], call["arguments"])) for call in one["calls"]]
            self.reply(history, turn, results)
        return all_seen


class Node(Client):
    """An SDK of the Node process, which answers line by line."""

    process: "NodeProcess"

    def __init__(self, name: str, format: str, **facts) -> None:
        self.name, self.format = name, format
        self.exact_numbers = False
        for key, value in facts.items():
            setattr(self, key, value)

    def converse(self, ask: dict) -> list[dict]:
        return [seen(**one) for one in self.process.ask({"client": self.name, "ask": ask})]


class NodeProcess:
    """`node/main.mjs`: a request a line in, an answer a line out."""

    def __init__(self, node: str, edge: str) -> None:
        folder = pathlib.Path(__file__).parent / "node"
        environment = {**os.environ, "EDGE": edge, "KEY": KEY}
        self.process = subprocess.Popen([node, str(folder / "main.mjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env=environment, text=True, encoding="utf-8")
        self.lines: queue.Queue = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def ask(self, request: dict) -> list[dict]:
        self.process.stdin.write(json.dumps({**request, "tools": TOOLS}) + "\n")
        self.process.stdin.flush()
        line = self.lines.get(timeout=60)
        assert line is not None, "the Node process ended"
        answer = json.loads(line)
        assert "broken" not in answer, answer["broken"]
        return answer["seen"]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
