"""A strict Gemini generateContent provider, as the Developer API is.

Sources: the SDK's pydantic types, which forbid what they do not name, and its converters for the Developer API; the
documents on thought signatures and function calling; the API's own errors on turns and function responses.
"""

import re

from google.genai import types
from heard import BadRequest, Called, Heard, Media, Returned, require
from kept_gemini import Kept
from provider import COUNTED, Event, Provider
from pydantic import ValidationError
from scenarios import Answer, Call, Redacted, Refused, Text, Thinking, Usage, halves

KEY = "mock-google-key"
STOPS = {"end": "STOP", "length": "MAX_TOKENS", "call": "STOP", "filter": "SAFETY", "refusal": "SAFETY", "sequence": "STOP"}
STATUSES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 413: "INVALID_ARGUMENT",
            429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED", 529: "UNAVAILABLE"}
# The last resort that the documents name, where a client did not keep the signature.
SKIP = "skip_thought_signature_validator"
# What stands at the top of a request; in brackets there are several.
TOP = {"contents": [types.Content], "systemInstruction": types.Content, "tools": [types.Tool], "toolConfig": types.ToolConfig,
       "generationConfig": types.GenerationConfig, "safetySettings": [types.SafetySetting], "cachedContent": str,
       "labels": dict, "serviceTier": str, "store": bool}


class Gemini(Provider):
    name = "gemini"
    request_id = "x-request-id"

    def __init__(self) -> None:
        self.kept = Kept(self.error_body, camel)
        super().__init__()

    def keep(self, method: str, path: str, headers, raw: bytes) -> tuple[int, bytes, dict] | None:
        if re.search(r":((stream)?[gG]enerateContent|countTokens)", path):
            return super().keep(method, path, headers, raw)
        _authentic(headers)
        return self.kept.serve(method, path, headers, raw)

    def route(self, path: str, body: dict) -> bool:
        found = re.fullmatch(r"/v1beta/models/([\w.-]+):(generateContent|streamGenerateContent\?alt=sse)", path)
        require(found is not None, f"no such path: {path}")
        self.model = found[1]
        return found[2] != "generateContent"

    def count(self, path: str, body: dict, headers) -> dict | None:
        found = re.fullmatch(r"/v1beta/models/([\w.-]+):countTokens", path)
        if found is None:
            return None
        whole = camel(body).get("generateContentRequest")
        require(len(body) == 1 and (whole is not None or "contents" in body), "contents, or a whole request, and nothing else")
        if whole is not None:
            require(whole.get("model") == f"models/{found[1]}", "generate_content_request.model: model is not specified")
        request = {key: value for key, value in (whole or body).items() if key != "model"}
        self.validate(request, headers)
        return {"totalTokens": COUNTED, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": COUNTED}]}

    def validate(self, body: dict, headers) -> None:
        _authentic(headers)
        body = camel(body)
        for key, value in body.items():
            require(key in TOP, f"Unknown name {key!r}")
            hint = TOP[key]
            for number, item in enumerate(value if isinstance(hint, list) else [value]):
                _fits(item, hint[0] if isinstance(hint, list) else hint, f"{key}[{number}]")
        require(bool(body.get("contents")), "contents are required")
        config = body.get("generationConfig") or {}
        require("responseSchema" not in config or "responseJsonSchema" not in config, "two schemas")
        schema = "responseSchema" in config or "responseJsonSchema" in config
        require(not schema or config.get("responseMimeType") == "application/json", "a schema wants application/json")
        require(len(config.get("stopSequences") or []) <= 5, "stopSequences: at most five")
        require(0 <= config.get("temperature", 0) <= 2, "temperature: 0..2")
        _tools(body)
        _turns(body["contents"])

    def hear(self, body: dict) -> Heard:
        body = camel(body)
        config = body.get("generationConfig") or {}
        heard = Heard(limit=config.get("maxOutputTokens"), temperature=config.get("temperature"),
                      stop=config.get("stopSequences") or [])
        heard.system = [part["text"] for part in (body.get("systemInstruction") or {}).get("parts") or []]
        heard.tools = [tool["name"] for tool in _declared(body)]
        calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
        allowed = calling.get("allowedFunctionNames")
        heard.choice = allowed[0] if allowed else {"AUTO": "auto", "ANY": "required", "NONE": "none"}.get(calling.get("mode"))
        heard.schema = config.get("responseJsonSchema") or config.get("responseSchema")
        for content in body["contents"]:
            turn = heard.turn({"model": "assistant"}.get(content.get("role"), "user"))
            for part in content["parts"]:
                _hear(turn, part)
        return heard

    def check_state(self, body: dict, heard: Heard, script: tuple[Answer, ...]) -> None:
        """A signature is where it was issued. In the current turn, the first call of each step must have its own."""
        body = camel(body)
        answers = [content for content in body["contents"] if content.get("role") == "model"][-len(heard.answers()):]
        for said, content in zip(script, answers if heard.answers() else []):
            for number, part in enumerate([part for part in content["parts"] if "functionCall" in part]):
                came, issued = plain64(part.get("thoughtSignature")), self._signature(said, number)
                require(came in (issued, None) or came == SKIP and number == 0, f"Corrupted thought signature at call {number}")
                require(came is not None or issued is None,
                        f"Function call is missing a thought_signature in functionCall parts: {part['functionCall']['name']}")
            for part in content["parts"]:
                if "functionCall" not in part and "thoughtSignature" in part:
                    mine = [self.mint(block.label) for block in said.blocks if isinstance(block, (Thinking, Redacted))]
                    require(plain64(part["thoughtSignature"]) in mine, "Corrupted thought signature")

    def _signature(self, answer: Answer, number: int) -> str | None:
        """The signature of a call: on the first of a step only, and there always, thinking or not."""
        if number > 0:
            return None
        labels = [block.label for block in answer.blocks if isinstance(block, (Thinking, Redacted))]
        return self.mint(labels[-1] if labels else f"call {answer.calls()[0].id}")

    def error_body(self, status: int, kind: str, message: str) -> dict:
        details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}] if status == 429 else []
        return {"error": {"code": status, "message": message, "status": STATUSES.get(status, "UNKNOWN"), "details": details}}

    def error_event(self, status: int, kind: str, message: str, number: int) -> Event:
        return (None, self.error_body(503, kind, message))

    def _parts(self, answer: Answer) -> list[dict]:
        parts = []
        for block in answer.blocks:
            match block:
                case Thinking(text, _) if text:
                    parts.append({"text": text, "thought": True})
                case Text(text):
                    parts.append({"text": text})
                case Call(call, name, arguments):
                    signature = self._signature(answer, answer.calls().index(block))
                    signed = {"thoughtSignature": signature} if signature else {}
                    parts.append({"functionCall": {"id": call, "name": name, "args": arguments}, **signed})
        labels = [block.label for block in answer.blocks if isinstance(block, (Thinking, Redacted))]
        if labels and not answer.calls():
            parts[-1]["thoughtSignature"] = self.mint(labels[-1])
        return parts

    def _reply(self, answer: Answer, parts: list[dict] | None, last: bool) -> dict:
        candidate = {"index": 0}
        if parts is not None:
            candidate["content"] = {"role": "model", "parts": parts}
        if last:
            candidate["finishReason"] = STOPS[answer.stop]
            refused = [block.text for block in answer.blocks if isinstance(block, Refused)]
            candidate.update({"finishMessage": refused[0]} if refused else {})
        return {"candidates": [candidate], "usageMetadata": _usage(answer.usage), "modelVersion": self.model,
                "responseId": self.number("resp-")}

    def _blocked(self, answer: Answer) -> dict:
        """A prompt that is declined has no answer at all."""
        return {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": _usage(answer.usage),
                "modelVersion": self.model, "responseId": self.number("resp-")}

    def whole(self, answer: Answer, body: dict) -> dict:
        if answer.stop == "blocked":
            return self._blocked(answer)
        return self._reply(answer, self._parts(answer) or None, last=True)

    def stream(self, answer: Answer, body: dict, framing: str) -> list[Event]:
        if answer.stop == "blocked":
            return [(None, self._blocked(answer))]
        chunks = []
        for part in self._parts(answer):
            if "text" not in part:
                chunks.append([part])
                continue
            pieces = halves(part["text"], "plain" if part.get("thought") else framing)
            flags = {"thought": True} if part.get("thought") else {}
            chunks += [[{"text": piece, **flags}] for piece in pieces]
            # The signature of words comes behind them, with no words of its own.
            if "thoughtSignature" in part:
                chunks.append([{"text": "", "thoughtSignature": part["thoughtSignature"]}])
        events = [(None, self._reply(answer, parts, last=False)) for parts in chunks]
        return [*events, (None, self._reply(answer, [{"text": ""}], last=True))]


def _authentic(headers) -> None:
    require(headers["x-goog-api-key"] == KEY, "wrong credential")
    for foreign in ("x-api-key", "anthropic-version", "anthropic-beta", "authorization"):
        require(foreign not in headers, f"a foreign header: {foreign}")


def _fits(value, hint, where: str) -> None:
    if hint in (str, dict, bool):
        return require(isinstance(value, hint), f"{where}: no {hint.__name__}")
    try:
        hint.model_validate(value)
    except ValidationError as problem:
        raise BadRequest(f"{where}: {problem.errors()[0]['loc']}: {problem.errors()[0]['msg']}") from problem
    return None


# Below these keys stands what the caller named: it is spelt as it is.
FREE = {"args", "response", "parametersJsonSchema", "responseJsonSchema", "properties", "defs"}


def camel(value):
    """The body in one spelling: the server takes both, and the Python SDK sends the one and the other."""
    if isinstance(value, list):
        return [camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {}
    for key, item in value.items():
        spelt = re.sub("_([a-z])", lambda found: found[1].upper(), key)
        require(spelt not in plain, f"{key!r} stands there in both spellings")
        plain[spelt] = item if spelt in FREE else camel(item)
    return plain


def plain64(data: str | None) -> str | None:
    """Bytes in one alphabet: the server takes both, and the Python SDK sends the url-safe one."""
    return data if data is None or data == SKIP else data.replace("-", "+").replace("_", "/")


def _declared(body: dict) -> list[dict]:
    return [declared for tool in body.get("tools") or [] for declared in tool.get("functionDeclarations") or []]


def _tools(body: dict) -> None:
    names = [tool["name"] for tool in _declared(body)]
    require(len(names) == len(set(names)), "Duplicate function declaration found")
    for tool in _declared(body):
        require(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}", tool["name"]) is not None, f"Invalid function name {tool['name']!r}")
        require(not ("parameters" in tool and "parametersJsonSchema" in tool), "parameters twice")
        if tool.get("parameters", {}).get("type") == "OBJECT":
            require(bool(tool["parameters"].get("properties")), "parameters.properties: should be non-empty for OBJECT type")
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    allowed = calling.get("allowedFunctionNames") or []
    require(not allowed or calling.get("mode") in ("ANY", "VALIDATED"), "allowed_function_names wants mode ANY")
    require(set(allowed) <= set(names), "allowed_function_names: not declared")


def _turns(contents: list) -> None:
    roles = [content.get("role") for content in contents]
    require(set(roles) <= {"user", "model"}, "Please use a valid role: user, model.")
    require(roles[0] == "user", "the first turn is the user's")
    for one, other in zip(contents, contents[1:]):
        # What came with a result that takes words only follows in a turn of its own, as google-genai's own users write it.
        results = all("functionResponse" in part for part in one["parts"])
        require(one["role"] != other["role"] or results, "roles must alternate")
    waiting: list[dict] = []
    for content in contents:
        require(bool(content.get("parts")), "contents.parts must not be empty")
        for part in content["parts"]:
            data = [key for key in part if key not in ("thought", "thoughtSignature", "videoMetadata", "mediaResolution")]
            require(len(data) == 1, f"a part has exactly one of its data: {sorted(part)}")
        calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
        results = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
        require(len(results) == len(waiting), "the number of function response parts is equal to the number of function call parts")
        for call, result in zip(waiting, results):
            require(call["name"] == result["name"], f"{call['name']} is answered by {result['name']}")
            require(call.get("id") == result.get("id"), f"call {call.get('id')!r} is answered by {result.get('id')!r}")
        require(not results or "functionResponse" in content["parts"][0], "function responses come first")
        waiting = calls
    require(not waiting, "function calls without a response")


def _hear(turn, part: dict) -> None:
    if part.get("thought"):
        turn.thoughts.append((part.get("text"), plain64(part.get("thoughtSignature"))))
    elif part.get("text"):
        turn.texts.append(part["text"])
    elif "functionCall" in part:
        call = part["functionCall"]
        turn.calls.append(Called(call.get("id"), call["name"], call.get("args") or {}))
    elif "functionResponse" in part:
        response = part["functionResponse"]
        value = response["response"]
        text = next(iter(value.values())) if len(value) == 1 else value
        turn.results.append(Returned(response.get("id"), text))
        for inner in response.get("parts") or []:
            _hear(turn, inner)
    elif "inlineData" in part:
        blob = part["inlineData"]
        turn.media.append(Media("image" if blob["mimeType"].startswith("image/") else "document", blob["mimeType"],
                                plain64(blob["data"])))
    elif "fileData" in part:
        file = part["fileData"]
        mime = file.get("mimeType") or ""
        turn.media.append(Media("document" if mime == "application/pdf" else "image", mime, file["fileUri"]))


def _usage(usage: Usage) -> dict:
    prompt = usage.fresh + usage.read + usage.written
    figures = {"promptTokenCount": prompt, "candidatesTokenCount": usage.output - usage.thought,
               "totalTokenCount": prompt + usage.output}
    figures.update({"thoughtsTokenCount": usage.thought} if usage.thought else {})
    figures.update({"cachedContentTokenCount": usage.read} if usage.read else {})
    return figures
