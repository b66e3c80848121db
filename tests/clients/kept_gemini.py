"""What the Gemini API keeps: files, cached contents and batches.

Sources: ai.google.dev/api (files, caching, batch-api), the guide to resumable uploads of developers.google.com/photos, and
what google-genai's converters for the Developer API send and read.
"""

import json
import re
import urllib.parse

from heard import BadRequest, require

# The vendor's own address: whoever follows it has left the edge, and loopback.
HOST = "https://generativelanguage.googleapis.com"
GRAIN = 262144
MODEL = "models/gemini-3-pro"
# What the SDK sends when it makes something.
FILE = {"name", "displayName", "mimeType", "sizeBytes"}
CACHED = {"model", "contents", "systemInstruction", "tools", "toolConfig", "ttl", "expireTime", "displayName"}


class Missing(Exception):
    """There is no such thing; that is an answer, and no fault of the request."""


class Kept:
    """All that one account keeps."""

    def __init__(self, error, spell) -> None:
        # How an error is written, and a body in one spelling.
        self.error, self.spell = error, spell
        self.things: dict[str, dict] = {}
        self.bytes: dict[str, bytes] = {}
        self.uploads: dict[str, dict] = {}
        # The pieces that came, as upload, offset and size.
        self.pieces: list[tuple[str, int, int]] = []

    def serve(self, method: str, path: str, headers, raw: bytes) -> tuple[int, bytes, dict]:
        path, _, query = path.partition("?")
        query = dict(urllib.parse.parse_qsl(query, strict_parsing=bool(query)))
        require(not {"key", "tidegate_ticket"} & query.keys(), f"what is no business of the provider: {sorted(query)}")
        if path == "/upload/v1beta/files":
            return self._upload(headers, query, raw)
        require(path.startswith("/v1beta/"), f"no such path: {path}")
        name, _, verb = path.removeprefix("/v1beta/").partition(":")
        try:
            answer = self._asked(method, name, verb, query, self.spell(json.loads(raw)) if raw else None)
        except Missing:
            return 404, json.dumps(self.error(404, "not_found", f"{name} is not there")).encode(), {}
        return answer if isinstance(answer, tuple) else (200, json.dumps(answer).encode(), {})

    def _asked(self, method: str, name: str, verb: str, query: dict, body: dict | None):
        match method, name.split("/"), verb:
            case "GET", [("files" | "cachedContents" | "batches") as kind], "":
                return self._list(kind, query)
            case "POST", ["cachedContents"], "":
                return self._cache(body)
            case "POST", ["models", "gemini-3-pro"], "batchGenerateContent":
                return self._batch(body["batch"])
            case "GET", ["files", _], "download":
                require(query == {"alt": "media"}, f"download: {query}")
                return 200, self._found(name, self.bytes), {"content-type": "application/octet-stream"}
            case "GET", [("files" | "cachedContents" | "batches"), _], "":
                return self._found(name, self.things)
            case "PATCH", ["cachedContents", _], "":
                require(body.keys() <= {"ttl", "expireTime"}, f"an update of {sorted(body)}")
                self._found(name, self.things).update(body)
                return self.things[name]
            case "POST", ["batches", _], "cancel":
                self._found(name, self.things)["metadata"]["state"] = "BATCH_STATE_CANCELLED"
                return {}
            case "DELETE", [("files" | "cachedContents" | "batches"), _], "":
                self._found(name, self.things)
                del self.things[name]
                return {}
        raise BadRequest(f"no such path: {method} {name}:{verb}")

    @staticmethod
    def _found(name: str, among: dict):
        if name not in among:
            raise Missing
        return among[name]

    def _made(self, kind: str, thing: dict) -> dict:
        name = f"{kind}/mock-{len(self.things) + len(self.uploads)}-{len(self.pieces)}"
        self.things[name] = {"name": name, **thing}
        return self.things[name]

    def _list(self, kind: str, query: dict) -> dict:
        require(query.keys() <= {"pageSize", "pageToken"}, f"a list by {sorted(query)}")
        names = sorted(name for name in self.things if name.startswith(f"{kind}/"))
        start, size = int(query.get("pageToken", "0")), int(query.get("pageSize", "10"))
        page = [self.things[name] for name in names[start:start + size]]
        more = {"nextPageToken": str(start + size)} if start + size < len(names) else {}
        return {"operations" if kind == "batches" else kind: page, **more}

    def _upload(self, headers, query: dict, raw: bytes) -> tuple[int, bytes, dict]:
        commands = [command.strip() for command in headers["x-goog-upload-command"].split(",")]
        if commands == ["start"]:
            return self._start(headers, query, self.spell(json.loads(raw)))
        require(query.keys() == {"upload_id", "upload_protocol"}, f"a piece of {sorted(query)}")
        upload = self._found(query["upload_id"], self.uploads)
        require(set(commands) <= {"upload", "finalize"}, f"commands {commands}")
        offset, last = int(headers["x-goog-upload-offset"]), "finalize" in commands
        require(offset == len(upload["bytes"]), f"offset {offset} where {len(upload['bytes'])} bytes are here")
        require(last or len(raw) % GRAIN == 0, f"a piece of {len(raw)} bytes")
        self.pieces.append((query["upload_id"], offset, len(raw)))
        upload["bytes"] += raw
        if not last:
            return 200, b"", {"X-Goog-Upload-Status": "active"}
        require(len(upload["bytes"]) == upload["size"], "another size than was announced")
        file = self._made("files", {**upload["file"], "sizeBytes": str(upload["size"]), "state": "ACTIVE", "source": "UPLOADED"})
        file["uri"] = f"{HOST}/v1beta/{file['name']}"
        return 200, json.dumps({"file": file}).encode(), {"X-Goog-Upload-Status": "final"}

    def _start(self, headers, query: dict, body: dict) -> tuple[int, bytes, dict]:
        require(headers["x-goog-upload-protocol"] == "resumable" and not query, "x-goog-upload-protocol")
        file = body.get("file", {})
        require(file.keys() <= FILE, f"a file with {sorted(file)}")
        mime = headers["x-goog-upload-header-content-type"]
        name = f"AHm-mock_{len(self.uploads)}"
        size = int(headers["x-goog-upload-header-content-length"])
        shown = {"displayName": file["displayName"]} if "displayName" in file else {}
        self.uploads[name] = {"bytes": b"", "size": size, "file": {"mimeType": mime, **shown}, "called": headers["x-goog-upload-file-name"]}
        address = f"{HOST}/upload/v1beta/files?upload_id={name}&upload_protocol=resumable"
        told = {"X-Goog-Upload-URL": address, "X-Goog-Upload-Control-URL": address, "X-Goog-Upload-Status": "active",
                "X-Goog-Upload-Chunk-Granularity": str(GRAIN), "content-type": "text/plain"}
        return 200, b"", told

    def _cache(self, body: dict) -> dict:
        require(body.keys() <= CACHED and body["model"] == MODEL, f"a cached content of {body.get('model')} with {sorted(body)}")
        kept = {key: body[key] for key in ("model", "displayName", "ttl") if key in body}
        return self._made("cachedContents", {**kept, "usageMetadata": {"totalTokenCount": 4096}})

    def _batch(self, batch: dict) -> dict:
        source = batch["inputConfig"]
        if "fileName" in source:
            self._found(source["fileName"], self.things)
        for item in source.get("requests", {}).get("requests", []):
            require(item["request"].get("model", MODEL) == MODEL, f"a request for {item['request']['model']}")
            require(bool(item["request"]["contents"]), "contents are required")
        made = self._made("batches", {})
        output = f"files/batch{re.sub('[^0-9]', '', made['name'])}"
        self.bytes[output] = b'{"key":"a"}\n'
        made["metadata"] = {"model": MODEL, "displayName": batch.get("displayName"), "state": "BATCH_STATE_SUCCEEDED",
                            "output": {"responsesFile": output}}
        return made
