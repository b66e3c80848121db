"""A strict Anthropic Messages provider.

Sources: the SDK's `MessageCreateParams` and stream event types; the documented rules on turns, tool results, signatures,
`anthropic-version` 2026-10-21 and its refusals.
"""

import re

import strict
from anthropic.types import message_count_tokens_params, message_create_params as params
from anthropic.types.beta import message_count_tokens_params as beta_count_params
from anthropic.types.beta import message_create_params as beta_params
from heard import Called, Heard, Media, Returned, require
from provider import COUNTED, Event, Provider
from scenarios import Answer, Call, Redacted, Refused, Text, Thinking, Usage, dumps, halves

KEY = "sk-ant-mock"
STOPS = {"end": "end_turn", "length": "max_tokens", "call": "tool_use", "filter": "refusal", "refusal": "refusal",
         "sequence": "stop_sequence"}


class Messages(Provider):
    name = "messages"
    path = "/v1/messages"
    request_id = "request-id"

    def route(self, path: str, body: dict) -> bool:
        require(path.split("?")[0] == self.path, f"no such path: {path}")
        return body.get("stream") is True

    def count(self, path: str, body: dict, headers) -> dict | None:
        if path.split("?")[0] != f"{self.path}/count_tokens":
            return None
        _trust(headers)
        types = beta_count_params if headers["anthropic-beta"] else message_count_tokens_params
        strict.check(body, types.MessageCountTokensParams)
        _tools(body)
        _turns(body["messages"])
        return {"input_tokens": COUNTED}

    def validate(self, body: dict, headers) -> None:
        version = _trust(headers)
        extra = {}
        if version == "2023-06-01":
            # The SDK's types are those of the newer version, which has no sampling settings any more.
            extra = {key: body[key] for key in ("temperature", "top_p", "top_k") if key in body}
        # Who names a beta may say what is of betas only, as Claude Code does (`context_management`).
        types = beta_params if headers["anthropic-beta"] else params
        hint = types.MessageCreateParamsStreaming if body.get("stream") else types.MessageCreateParamsNonStreaming
        strict.check({key: value for key, value in body.items() if key not in extra}, hint)
        require(0 <= extra.get("temperature", 0) <= 1, "temperature: range: 0..1")
        _thinking(body)
        _tools(body)
        _turns(body["messages"])
        require(dumps(body).count('"cache_control"') <= 4, "a maximum of 4 blocks with cache_control")

    def hear(self, body: dict) -> Heard:
        heard = Heard(limit=body["max_tokens"], temperature=body.get("temperature"), stop=body.get("stop_sequences") or [])
        system = body.get("system") or []
        heard.system = [system] if isinstance(system, str) else [block["text"] for block in system]
        heard.tools = [tool["name"] for tool in body.get("tools") or []]
        choice = body.get("tool_choice") or {}
        named = {"auto": "auto", "any": "required", "none": "none", "tool": choice.get("name"), None: None}
        heard.choice = named[choice.get("type")]
        heard.parallel = not choice["disable_parallel_tool_use"] if "disable_parallel_tool_use" in choice else None
        heard.schema = ((body.get("output_config") or {}).get("format") or {}).get("schema")
        for message in body["messages"]:
            turn = heard.turn(message["role"])
            for block in _blocks(message):
                _hear(turn, block)
        return heard

    def check_state(self, body: dict, heard: Heard, script: tuple[Answer, ...]) -> None:
        """A signature is of the words that it was issued with; with a budget, the last turn that calls has its thinking."""
        budget = (body.get("thinking") or {}).get("type") == "enabled"
        last = heard.answers()[-1:]
        for said, turn in zip(script, heard.answers()):
            issued = [_issued(block, self) for block in said.blocks if isinstance(block, (Thinking, Redacted))]
            for thought in turn.thoughts:
                require(thought in issued, f"Invalid `signature` in `thinking` block: {thought}")
            require(not (budget and turn.calls and issued and turn in last) or turn.thoughts == issued,
                    "Expected `thinking` or `redacted_thinking`, but found `tool_use`")

    def error_body(self, status: int, kind: str, message: str) -> dict:
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_mock"}

    def error_event(self, status: int, kind: str, message: str, number: int) -> Event:
        return ("error", self.error_body(status, kind, message))

    def whole(self, answer: Answer, body: dict) -> dict:
        return {"id": self.number("msg_"), "type": "message", "role": "assistant", "model": body["model"], "container": None,
                "content": [_block(block, self) for block in answer.blocks], **_stop(answer), "usage": _usage(answer.usage)}

    def stream(self, answer: Answer, body: dict, framing: str) -> list[Event]:
        message = {**self.whole(answer, body), "content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}
        message["usage"] = {**message["usage"], "output_tokens": 1}
        events = [{"type": "message_start", "message": message}]
        for index, block in enumerate(answer.blocks):
            start, deltas = _deltas(block, self, framing)
            events.append({"type": "content_block_start", "index": index, "content_block": start})
            if index == 0:
                events.append({"type": "ping"})
            events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
            events.append({"type": "content_block_stop", "index": index})
        # The same cache figures again: they are cumulative, a reader that adds them doubles them.
        events.append({"type": "message_delta", "delta": _stop(answer), "usage": _usage(answer.usage)})
        events.append({"type": "message_stop"})
        return [(event["type"], event) for event in events]


def _trust(headers) -> str:
    """The version of the format, where the credential and the headers are right."""
    keys = [headers.get("x-api-key"), (headers.get("authorization") or "").removeprefix("Bearer ") or None]
    require([key for key in keys if key] == [KEY], "wrong credential")
    require("x-goog-api-key" not in headers, "a foreign header")
    version = headers["anthropic-version"]
    require(version in ("2023-06-01", "2026-10-21"), f"anthropic-version {version!r}")
    return version


def _hear(turn, block: dict) -> None:
    match block["type"]:
        case "text":
            turn.texts.append(block["text"])
        case "thinking":
            turn.thoughts.append((block["thinking"], block["signature"]))
        case "redacted_thinking":
            turn.thoughts.append((None, block["data"]))
        case "tool_use":
            turn.calls.append(Called(block["id"], block["name"], block["input"]))
        case "tool_result":
            content = block.get("content") or ""
            parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
            turn.results.append(Returned(block["tool_use_id"], "".join(part["text"] for part in parts if part["type"] == "text")))
            for part in parts:
                if part["type"] != "text":
                    _hear(turn, part)
        case "image" | "document":
            source = block["source"]
            turn.media.append(Media(block["type"], source.get("media_type"), source.get("data") or source.get("url")))
        case other:
            require(False, f"a block of type {other!r} that no client sent")


def _thinking(body: dict) -> None:
    thinking = body.get("thinking") or {}
    if thinking.get("type") == "enabled":
        require(1024 <= thinking["budget_tokens"] < body["max_tokens"], "budget_tokens: from 1024, less than max_tokens")
        require(body.get("temperature", 1) == 1, "temperature with thinking")
        require((body.get("tool_choice") or {}).get("type") not in ("any", "tool"), "thinking with a forced tool")


def _tools(body: dict) -> None:
    tools = body.get("tools") or []
    names = [tool["name"] for tool in tools]
    require(len(names) == len(set(names)), "tools: names must be unique")
    for tool in tools:
        require(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool["name"]) is not None, f"tools: name {tool['name']!r}")
        if "input_schema" in tool:
            require(tool["input_schema"].get("type") == "object", "input_schema.type: object")
    require(bool(tools) or "tool_choice" not in body, "tool_choice without tools")


def _blocks(message: dict) -> list:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _turns(messages: list) -> None:
    require(bool(messages), "messages: at least one message is required")
    require(messages[0]["role"] == "user", "messages: first message must use the user role")
    waiting: list[str] = []
    seen: set[str] = set()
    merged: list[tuple[str, list]] = []
    for message in messages:
        if merged and merged[-1][0] == message["role"]:
            merged[-1][1].extend(_blocks(message))
        else:
            merged.append((message["role"], list(_blocks(message))))
    for role, blocks in merged:
        require(bool(blocks), "messages: content is empty")
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        kinds = [block["type"] for block in blocks]
        require(role == "user" or not results, "tool_result in an assistant turn")
        require(sorted(results) == sorted(waiting), f"tool_use {waiting} is answered by {results}")
        require(kinds[: len(results)] == ["tool_result"] * len(results), "tool_result blocks come first")
        for block in blocks:
            if block["type"] == "text":
                require(bool(block["text"].strip()), "text content blocks must be non-empty")
            if block["type"] in ("thinking", "redacted_thinking"):
                require("cache_control" not in block, "cache_control in a thinking block")
        waiting = [block["id"] for block in blocks if block["type"] == "tool_use"]
        for call in waiting:
            require(re.fullmatch(r"[a-zA-Z0-9_-]+", call) is not None, f"tool_use.id {call!r}")
            require(call not in seen, "tool_use ids must be unique")
            seen.add(call)
    require(not waiting, f"tool_use without tool_result: {waiting}")


def _usage(usage: Usage) -> dict:
    return {"input_tokens": usage.fresh, "cache_creation_input_tokens": usage.written,
            "cache_read_input_tokens": usage.read, "output_tokens": usage.output, "service_tier": "standard",
            "output_tokens_details": {"thinking_tokens": usage.thought}}


def _issued(block, provider: Provider) -> tuple[str | None, str]:
    return (getattr(block, "text", None), provider.mint(block.label))


def _block(block, provider: Provider) -> dict:
    match block:
        case Text(text) | Refused(text):
            return {"type": "text", "text": text, "citations": None}
        case Thinking(text, label):
            return {"type": "thinking", "thinking": text, "signature": provider.mint(label)}
        case Redacted(label):
            return {"type": "redacted_thinking", "data": provider.mint(label)}
        case Call(call, name, arguments):
            return {"type": "tool_use", "id": call, "name": name, "input": arguments}


def _stop(answer: Answer) -> dict:
    details = None
    if answer.stop in ("filter", "refusal"):
        words = answer.blocks[0].text if answer.stop == "refusal" else None
        details = {"type": "refusal", "category": "cyber" if words else None, "explanation": words}
    return {"stop_reason": STOPS[answer.stop], "stop_sequence": "three" if answer.stop == "sequence" else None,
            "stop_details": details}


def _deltas(block, provider: Provider, framing: str) -> tuple[dict, list[dict]]:
    """How a block starts, and the deltas that fill it."""
    start = _block(block, provider)
    match block:
        case Text(text) | Refused(text):
            return {**start, "text": ""}, [{"type": "text_delta", "text": part} for part in halves(text, framing)]
        case Thinking(text, _):
            words = [{"type": "thinking_delta", "thinking": part} for part in (halves(text) if text else [])]
            signature = {"type": "signature_delta", "signature": start["signature"]}
            return {**start, "thinking": "", "signature": ""}, [*words, signature]
        case Call(_, _, arguments):
            parts = ["", *halves(dumps(arguments))] if arguments else [""]
            return {**start, "input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in parts]
    return start, []
