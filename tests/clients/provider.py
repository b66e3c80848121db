"""What the mock providers share: a threaded HTTP server that validates, remembers, and answers by scenario."""

import http.server
import itertools
import json
import socket
import struct
import threading

import scenarios
import strict
from heard import BadRequest, Heard
from scenarios import Answer, Failure, dumps

# An event of a stream: its name where the format has names, and its data.
Event = tuple[str | None, dict | str]


ORDER = itertools.count()
# What every mock counts, of whatever it takes.
COUNTED = 2095


class Provider:
    """A mock provider on a loopback port. Subclasses say what their format is."""

    # The format, as the state that this provider mints is named by it.
    name = ""
    # The scheme of its errors' request ids.
    request_id = "x-request-id"

    def __init__(self) -> None:
        self.requests: list[dict] = []
        # What was taken, in the order of all mocks: number, as it was heard, and as it was sent.
        self.log: list[tuple[int, Heard, dict]] = []
        self.headers: list = []
        self.refusals: list[str] = []
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_POST(self) -> None:  # noqa: N802 (the base class's name)
                provider.serve(self)
                self.wfile.flush()

            do_GET = do_PATCH = do_DELETE = do_POST

            def log_message(self, *_args) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        host, port = self.server.server_address[:2]
        return f"http://{host}:{port}"

    @property
    def last(self) -> dict:
        return self.requests[-1]

    def forget(self) -> None:
        for kept in (self.requests, self.log, self.headers, self.refusals):
            kept.clear()

    def serve(self, handler) -> None:
        raw = handler.rfile.read(int(handler.headers["content-length"] or 0))
        try:
            kept = self.keep(handler.command, handler.path, handler.headers, raw)
            if kept is not None:
                return self.send(handler, *kept)
            body = json.loads(raw)
            self.requests.append(body)
            self.headers.append(handler.headers)
            counted = self.count(handler.path, body, handler.headers)
            if counted is not None:
                return self.send_json(handler, 200, counted)
            streaming = self.route(handler.path, body)
            self.validate(body, handler.headers)
            heard = self.hear(body)
            heard.stream = streaming
            self.log.append((next(ORDER), heard, body))
            script = scenarios.pick(heard.asked())
            said = script
            if not isinstance(script, Failure):
                said = heard.check(script)
                self.check_state(body, heard, script)
        except (BadRequest, strict.Refused, ValueError, KeyError, TypeError) as problem:
            self.refusals.append(f"{self.name}: {problem}")
            return self.send_json(handler, 400, self.error_body(400, "invalid_request_error", f"mock: {problem}"))
        return self.answer(handler, body, heard, said)

    def keep(self, method: str, path: str, headers, raw: bytes) -> tuple[int, bytes, dict] | None:
        """What the provider has of what it keeps: status, body and headers; `None` where an answer is asked for."""
        if method != "POST":
            raise BadRequest(f"no such path: {method} {path}")
        return None

    def route(self, path: str, body: dict) -> bool:
        """Refuses a wrong path; whether a stream is asked for."""
        raise NotImplementedError

    def count(self, path: str, body: dict, headers) -> dict | None:
        """The answer to a request for a number of tokens, which is held as strictly; none for any other path."""
        return None

    def validate(self, body: dict, headers) -> None:
        raise NotImplementedError

    def hear(self, body: dict) -> Heard:
        raise NotImplementedError

    def check_state(self, body: dict, heard: Heard, script: tuple[Answer, ...]) -> None:
        """Opaque state that comes back is what was issued, and it is there where the format demands it."""

    def whole(self, answer: Answer, body: dict) -> dict:
        raise NotImplementedError

    def stream(self, answer: Answer, body: dict, framing: str) -> list[Event]:
        raise NotImplementedError

    def error_body(self, status: int, kind: str, message: str) -> dict:
        raise NotImplementedError

    def error_event(self, status: int, kind: str, message: str, number: int) -> Event:
        """An error in the middle of a stream; `number` events have gone before it."""
        raise NotImplementedError

    def mint(self, label: str) -> str:
        return scenarios.mint(self.name, label)

    def number(self, prefix: str) -> str:
        """The id of the answer in hand, which no other has: Claude Code takes two answers of one id for one."""
        return f"{prefix}{len(self.requests)}"

    def answer(self, handler, body: dict, heard: Heard, said: Answer | Failure) -> None:
        framing = scenarios.framing(heard.asked())
        if isinstance(said, Answer):
            if heard.stream:
                return self.send_stream(handler, self.stream(said, body, framing), framing)
            return self.send_json(handler, 200, self.whole(said, body), escape=framing != "plain")
        if said.script is None:
            headers = {"retry-after": "7"} if said.status in (429, 503, 529) else {}
            error = self.error_body(said.status, said.kind, said.message)
            return self.send_json(handler, said.status, error, {self.request_id: "req_mock", **headers})
        events = self.stream(scenarios.SCENARIOS[said.script][0], body, "plain")
        last = next(number for number, (_, data) in enumerate(events) if said.after in dumps(data))
        events = events[: last + 1]
        if said.by == "words":
            events.append(self.error_event(said.status, said.kind, said.message, len(events)))
        return self.send_stream(handler, events, framing, cut=said.by == "cut")

    def send_json(self, handler, status: int, body: dict, headers: dict | None = None, escape: bool = False) -> None:
        self.send(handler, status, (json.dumps(body) if escape else dumps(body)).encode(), headers)

    def send(self, handler, status: int, data: bytes, headers: dict | None = None) -> None:
        handler.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(data)), **(headers or {})}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)

    def send_stream(self, handler, events: list[Event], framing: str, cut: bool = False) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        for event in events:
            data = lay(event, framing)
            pieces = [data[at:at + 1] for at in range(len(data))] if framing == "bytes" else [data]
            for piece in pieces:
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                handler.wfile.flush()
        if cut:
            handler.close_connection = True
            # A zero linger resets; nothing that was sent is taken back on loopback once it is delivered, but the
            # last chunk never comes. A plain close is the gentler and commoner cut.
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 5))
            handler.connection.shutdown(socket.SHUT_WR)
            return
        handler.wfile.write(b"0\r\n\r\n")


def lay(event: Event, framing: str) -> bytes:
    """An event on the wire. The odd framings are all within the standard of server-sent events."""
    name, data = event
    text = data if isinstance(data, str) else dumps(data)
    line, space = ("\r\n" if framing == "crlf" else "\n"), ("" if framing == "tight" else " ")
    lines = [f"event:{space}{name}"] if name else []
    lines.append(f"data:{space}{text}")
    if framing == "comments":
        lines = [": PROCESSING", "", "retry: 3000", *lines, ":"]
    if framing == "reversed":
        lines.reverse()
    return (line.join(lines) + line * 2).encode()
