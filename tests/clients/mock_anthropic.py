"""A strict Anthropic Messages provider.

Sources: the SDK's `MessageCreateParams` and stream event types; the documented rules on turns, tool results, signatures,
`anthropic-version` 2026-10-21 and its refusals.
"""

import re

import scenarios
import strict
from anthropic.types import message_create_params as params
from provider import Provider, require
from scenarios import Answer, Call, Failure, Redacted, Text, Thinking, Usage, dumps, halves

KEY = "sk-ant-mock"
STOPS = {"end": "end_turn", "length": "max_tokens", "call": "tool_use", "refusal": "refusal", "sequence": "stop_sequence"}


class Anthropic(Provider):
    path = "/v1/messages"

    def validate(self, body: dict, headers) -> None:
        keys = [headers.get("x-api-key"), (headers.get("authorization") or "").removeprefix("Bearer ") or None]
        require([key for key in keys if key] == [KEY], "wrong credential")
        version = headers["anthropic-version"]
        require(version in ("2023-06-01", "2026-10-21"), f"anthropic-version {version!r}")
        extra = {}
        if version == "2023-06-01":
            # The SDK's types are those of the newer version, which has no sampling settings any more.
            extra = {key: body[key] for key in ("temperature", "top_p", "top_k") if key in body}
        hint = params.MessageCreateParamsStreaming if body.get("stream") else params.MessageCreateParamsNonStreaming
        strict.check({key: value for key, value in body.items() if key not in extra}, hint)
        require(0 <= extra.get("temperature", 0) <= 1, "temperature: range: 0..1")
        _thinking(body)
        _tools(body)
        _turns(body["messages"])
        require(dumps(body).count('"cache_control"') <= 4, "a maximum of 4 blocks with cache_control")

    def answer(self, handler, body: dict) -> None:
        scenario = scenarios.pick(body["messages"])
        if isinstance(scenario, Failure) and scenario.after is None:
            error = self.error_body(scenario.kind, scenario.message)
            headers = {"retry-after": "1"} if scenario.status in (429, 529) else {}
            return self.send_json(handler, scenario.status, error, {"request-id": "req_mock", **headers})
        if not body.get("stream"):
            require(isinstance(scenario, Answer), "a broken stream needs a stream")
            return self.send_json(handler, 200, whole(scenario, body["model"]))
        if isinstance(scenario, Failure):
            events = stream(scenarios.SCENARIOS["hello"], body["model"])[: scenario.after]
            if not scenario.cut:
                events.append(_event(self.error_body(scenario.kind, scenario.message)))
            return self.send_stream(handler, events, cut=scenario.cut)
        return self.send_stream(handler, stream(scenario, body["model"]))

    def error_body(self, kind: str, message: str) -> dict:
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_mock"}


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
            if block["type"] == "thinking":
                known = block["signature"] == scenarios.SIGNATURE
                require(known, f"Invalid `signature` in `thinking` block: {block['signature']!r}")
                require("cache_control" not in block, "cache_control in a thinking block")
            if block["type"] == "redacted_thinking":
                require(block["data"] == scenarios.REDACTED, "Invalid `data` in `redacted_thinking` block")
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


def _block(block) -> dict:
    match block:
        case Text(text):
            return {"type": "text", "text": text, "citations": None}
        case Thinking(text, signature):
            return {"type": "thinking", "thinking": text, "signature": signature}
        case Redacted(data):
            return {"type": "redacted_thinking", "data": data}
        case Call(call, name, arguments):
            return {"type": "tool_use", "id": call, "name": name, "input": arguments}


def _stop(answer: Answer) -> dict:
    details = {"type": "refusal", "category": None, "explanation": None} if answer.stop == "refusal" else None
    return {"stop_reason": STOPS[answer.stop], "stop_sequence": "three" if answer.stop == "sequence" else None,
            "stop_details": details}


def whole(answer: Answer, model: str) -> dict:
    return {"id": "msg_mock", "type": "message", "role": "assistant", "model": model, "container": None,
            "content": [_block(block) for block in answer.blocks], **_stop(answer), "usage": _usage(answer.usage)}


def _event(value: dict) -> str:
    return f"event: {value['type']}\ndata: {dumps(value)}\n\n"


def _deltas(block) -> tuple[dict, list[dict]]:
    """How a block starts, and the deltas that fill it."""
    start = _block(block)
    match block:
        case Text(text):
            return {**start, "text": ""}, [{"type": "text_delta", "text": part} for part in halves(text)]
        case Thinking(text, signature):
            words = [{"type": "thinking_delta", "thinking": part} for part in (halves(text) if text else [])]
            return {**start, "thinking": "", "signature": ""}, [*words, {"type": "signature_delta", "signature": signature}]
        case Call(_, _, arguments):
            parts = ["", *halves(dumps(arguments))] if arguments else [""]
            return {**start, "input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in parts]
    return start, []


def stream(answer: Answer, model: str) -> list[str]:
    message = {**whole(answer, model), "content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}
    message["usage"] = {**message["usage"], "output_tokens": 1}
    events = [{"type": "message_start", "message": message}]
    for index, block in enumerate(answer.blocks):
        start, deltas = _deltas(block)
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        if index == 0:
            events.append({"type": "ping"})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    # The same cache figures again: they are cumulative, a reader that adds them doubles them.
    events.append({"type": "message_delta", "delta": _stop(answer), "usage": _usage(answer.usage)})
    events.append({"type": "message_stop"})
    return [_event(event) for event in events]
