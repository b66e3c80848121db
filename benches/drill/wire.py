"""A small HTTP/1.1 client that knows the four client formats and judges every answer."""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Callable, Iterator


class Wrong(Exception):
    """An answer that is not the right one, or none."""


class Connection:
    """One keep-alive connection; opened when it is first needed and again after the server closed it."""

    def __init__(self, port: int):
        self.port = port
        self.reader = self.writer = None

    async def ask(self, path: str, headers: dict, body: bytes) -> "Answer":
        lines = [f"POST {path} HTTP/1.1", "host: edge", f"content-length: {len(body)}", "content-type: application/json"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return await self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    async def get(self, path: str) -> "Answer":
        return await self.send(f"GET {path} HTTP/1.1\r\nhost: edge\r\n\r\n".encode())

    async def send(self, request: bytes) -> "Answer":
        if self.writer is None or self.reader.at_eof():
            self.close()
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        status, _, rest = head.decode("latin-1").partition("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in rest.split("\r\n") if ": " in line)
        return Answer(int(status.split()[1]), fields, self)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.reader = self.writer = None


@dataclass
class Answer:
    status: int
    headers: dict
    connection: Connection

    async def pieces(self):
        """The body as it comes; ends as its framing says, or raises."""
        reader = self.connection.reader
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(await reader.readuntil(b"\r\n"), 16):
                yield (await reader.readexactly(size + 2))[:-2]
            await reader.readexactly(2)
        else:
            yield await reader.readexactly(int(self.headers.get("content-length", 0)))
        if self.headers.get("connection") == "close":
            self.connection.close()

    async def body(self) -> bytes:
        return b"".join([piece async for piece in self.pieces()])


def _events(body: str) -> Iterator[dict]:
    for line in body.split("\n"):
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line[6:])


def _chat_stream(body: str) -> str:
    if "data: [DONE]" not in body:
        raise Wrong("no [DONE]")
    choices = [choice for event in _events(body) for choice in event["choices"]]
    if not any(choice.get("finish_reason") for choice in choices):
        raise Wrong("no finish_reason")
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def _messages_stream(body: str) -> str:
    events = list(_events(body))
    if not events or events[-1]["type"] != "message_stop":
        raise Wrong("no message_stop")
    return "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")


def _responses_stream(body: str) -> str:
    events = list(_events(body))
    if not events or events[-1]["type"] not in ("response.completed", "response.incomplete"):
        raise Wrong("no response.completed")
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


def _gemini_stream(body: str) -> str:
    candidates = [candidate for event in _events(body) for candidate in event.get("candidates", [])]
    if not any(candidate.get("finishReason") for candidate in candidates):
        raise Wrong("no finishReason")
    return "".join(_gemini_text(candidate) for candidate in candidates)


def _gemini_text(candidate: dict) -> str:
    return "".join(part.get("text", "") for part in candidate.get("content", {}).get("parts", []))


def _responses_whole(answer: dict) -> str:
    parts = [part for item in answer["output"] if item["type"] == "message" for part in item["content"]]
    return "".join(part["text"] for part in parts)


@dataclass
class Format:
    name: str
    path: Callable[[str, bool], str]
    body: Callable[[str, str, bool], dict]
    whole: Callable[[dict], str]
    stream: Callable[[str], str]

    async def first_word(self, connection: Connection, model: str, word: bytes) -> float:
        """Seconds until a stream has said `word`; it is read to its end."""
        body, began, took, so_far = json.dumps(self.body(model, "Hello", True)).encode(), time.monotonic(), 0.0, b""
        answer = await connection.ask(self.path(model, True), {"anthropic-version": "2023-06-01"}, body)
        async for piece in answer.pieces():
            so_far += piece
            if not took and word in so_far:
                took = time.monotonic() - began
        if not took:
            raise Wrong(f"{self.name}: {so_far[:200]!r}")
        return took

    async def ask(self, connection: Connection, model: str, stream: bool, text: str = "Hello") -> str:
        """The text of a whole and complete answer; anything else raises `Wrong`."""
        body = json.dumps(self.body(model, text, stream)).encode()
        try:
            answer = await connection.ask(self.path(model, stream), {"anthropic-version": "2023-06-01"}, body)
            got = (await answer.body()).decode()
        except (OSError, EOFError) as error:
            connection.close()
            raise Wrong(f"{self.name}: {type(error).__name__} {error}") from error
        if answer.status != 200:
            raise Wrong(f"{self.name}: {answer.status} {got[:200]}")
        try:
            return self.stream(got) if stream else self.whole(json.loads(got))
        except (Wrong, KeyError, ValueError, IndexError) as error:
            raise Wrong(f"{self.name}: {error}: {got[-300:]}") from error


def _turns(model: str, text: str, stream: bool) -> dict:
    return {"model": model, "stream": stream, "max_tokens": 4096, "messages": [{"role": "user", "content": text}]}


def _gemini_path(model: str, stream: bool) -> str:
    return f"/v1beta/models/{model}:" + ("streamGenerateContent?alt=sse" if stream else "generateContent")


FORMATS = [
    Format(
        "chat",
        lambda model, stream: "/v1/chat/completions",
        _turns,
        lambda answer: answer["choices"][0]["message"]["content"],
        _chat_stream,
    ),
    Format(
        "messages",
        lambda model, stream: "/v1/messages",
        _turns,
        lambda answer: "".join(block.get("text", "") for block in answer["content"]),
        _messages_stream,
    ),
    Format(
        "responses",
        lambda model, stream: "/v1/responses",
        lambda model, text, stream: {"model": model, "stream": stream, "store": False, "input": text},
        _responses_whole,
        _responses_stream,
    ),
    Format(
        "gemini",
        _gemini_path,
        lambda model, text, stream: {"contents": [{"role": "user", "parts": [{"text": text}]}]},
        lambda answer: _gemini_text(answer["candidates"][0]),
        _gemini_stream,
    ),
]
