"""What both mock providers share: a threaded HTTP server that validates, remembers, and answers by scenario."""

import http.server
import json
import socket
import struct
import threading

import strict


class BadRequest(Exception):
    """The provider would answer 400."""


class Provider:
    """A mock provider on a loopback port. Subclasses say what their format is."""

    path = ""

    def __init__(self) -> None:
        self.requests: list[dict] = []
        self.headers: list = []
        self.refusals: list[str] = []
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:  # noqa: N802 (the base class's name)
                provider.serve(self)

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

    def serve(self, handler) -> None:
        raw = handler.rfile.read(int(handler.headers["content-length"]))
        try:
            if handler.path.split("?")[0] != self.path:
                raise BadRequest(f"no such path: {handler.path}")
            body = json.loads(raw)
            self.requests.append(body)
            self.headers.append(handler.headers)
            self.validate(body, handler.headers)
        except (BadRequest, strict.Refused, ValueError) as problem:
            self.refusals.append(str(problem))
            return self.send_json(handler, 400, self.error_body("invalid_request_error", f"mock: {problem}"))
        self.answer(handler, body)

    def validate(self, body: dict, headers) -> None:
        raise NotImplementedError

    def answer(self, handler, body: dict) -> None:
        raise NotImplementedError

    def error_body(self, kind: str, message: str) -> dict:
        raise NotImplementedError

    def send_json(self, handler, status: int, body: dict, headers: dict | None = None) -> None:
        data = json.dumps(body).encode()
        handler.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(data)), **(headers or {})}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)

    def send_stream(self, handler, events: list[str], cut: bool = False) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        for event in events:
            data = event.encode()
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        if cut:
            handler.close_connection = True
            handler.wfile.flush()
            # A zero linger resets; nothing that was sent is taken back on loopback once it is delivered, but the
            # last chunk never comes. A plain close is the gentler and commoner cut.
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 5))
            handler.connection.shutdown(socket.SHUT_WR)
            return
        handler.wfile.write(b"0\r\n\r\n")


def require(condition: bool, problem: str) -> None:
    """What the provider would refuse with 400."""
    if not condition:
        raise BadRequest(problem)
