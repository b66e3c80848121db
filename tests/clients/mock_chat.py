"""A strict OpenAI Chat Completions provider.

Sources: the SDK's `CompletionCreateParams` and `ChatCompletionChunk`; the API reference's rules on tool messages.
"""

import json
import re

import strict
from heard import Called, Heard, Media, Returned, require
from openai.types.chat import completion_create_params as params
from provider import Event, Provider
from scenarios import Answer, Call, Refused, Usage, dumps, halves

KEY = "sk-mock-openai"
STOPS = {"end": "stop", "length": "length", "call": "tool_calls", "filter": "content_filter", "refusal": "stop",
         "sequence": "stop"}


class Chat(Provider):
    name = "chat"
    path = "/v1/chat/completions"
    # Whether reasoning is shown as `reasoning_content`, which OpenAI itself never does.
    reasons = False

    def route(self, path: str, body: dict) -> bool:
        require(path == self.path, f"no such path: {path}")
        return body.get("stream") is True

    def validate(self, body: dict, headers) -> None:
        require(headers["authorization"] == f"Bearer {KEY}", "wrong credential")
        for foreign in ("x-api-key", "anthropic-version", "anthropic-beta", "x-goog-api-key"):
            require(foreign not in headers, f"a foreign header: {foreign}")
        streaming = body.get("stream") is True
        strict.check(body, params.CompletionCreateParamsStreaming if streaming else params.CompletionCreateParamsNonStreaming)
        require(streaming or "stream_options" not in body, "stream_options without stream")
        require(not ("max_tokens" in body and "max_completion_tokens" in body), "two limits")
        require(len(body["messages"]) > 0, "no messages")
        stop = body.get("stop") or []
        require(isinstance(stop, str) or len(stop) <= 4, "stop: at most four")
        require(0 <= body.get("temperature", 0) <= 2, "temperature: 0..2")
        _tools(body)
        _pairs(body["messages"])
        for message in body["messages"]:
            content = message.get("content")
            require(message["role"] == "assistant" or content is not None, "content is missing")
            if message["role"] == "assistant":
                require(bool(content) or message.get("tool_calls") or message.get("refusal"), "an empty assistant turn")

    def hear(self, body: dict) -> Heard:
        heard = Heard(limit=body.get("max_completion_tokens", body.get("max_tokens")), temperature=body.get("temperature"),
                      parallel=body.get("parallel_tool_calls"))
        stop = body.get("stop") or []
        heard.stop = [stop] if isinstance(stop, str) else list(stop)
        heard.tools = [tool["function"]["name"] for tool in body.get("tools") or []]
        choice = body.get("tool_choice")
        heard.choice = choice["function"]["name"] if isinstance(choice, dict) else choice
        heard.schema = ((body.get("response_format") or {}).get("json_schema") or {}).get("schema")
        for message in body["messages"]:
            if message["role"] in ("system", "developer"):
                heard.system += _texts(message["content"])
            elif message["role"] == "tool":
                text = "".join(_texts(message["content"]))
                heard.turn("user").results.append(Returned(message["tool_call_id"], text))
            else:
                turn = heard.turn(message["role"])
                turn.texts += _texts(message.get("content"))
                turn.media += _media(message.get("content"))
                turn.thoughts += [(text, None) for text in [message.get("reasoning_content")] if text]
                for call in message.get("tool_calls") or []:
                    function = call["function"]
                    turn.calls.append(Called(call["id"], function["name"], _object(function["arguments"])))
        return heard

    def error_body(self, status: int, kind: str, message: str) -> dict:
        return {"error": {"message": message, "type": kind, "param": None, "code": None}}

    def error_event(self, status: int, kind: str, message: str, number: int) -> Event:
        return (None, self.error_body(status, kind, message))

    def whole(self, answer: Answer, body: dict) -> dict:
        message = {"role": "assistant", "content": answer.texts() or None, "refusal": _refusal(answer), "annotations": []}
        if self.reasons:
            message["reasoning_content"] = answer.thinking()
        if answer.calls():
            message["tool_calls"] = [_call(call) for call in answer.calls()]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": STOPS[answer.stop]}
        return {"id": self.number("chatcmpl-"), "object": "chat.completion", "created": 1741570283, "model": body["model"],
                "choices": [choice], "usage": _usage(answer.usage), "service_tier": "default", "system_fingerprint": "fp_mock"}

    def stream(self, answer: Answer, body: dict, framing: str) -> list[Event]:
        include_usage = (body.get("stream_options") or {}).get("include_usage") is True
        head = {"id": self.number("chatcmpl-"), "object": "chat.completion.chunk", "created": 1741570283, "model": body["model"],
                "service_tier": "default", "system_fingerprint": "fp_mock"}
        usage = {"usage": None} if include_usage else {}

        def chunk(delta: dict, finish: str | None = None) -> Event:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return (None, {**head, "choices": [choice], **usage, "obfuscation": "Xy1"})

        events = [chunk({"role": "assistant", "content": "" if answer.texts() else None, "refusal": None})]
        if self.reasons and answer.thinking():
            events += [chunk({"content": None, "reasoning_content": part}) for part in halves(answer.thinking())]
        if answer.texts():
            events += [chunk({"content": part}) for part in halves(answer.texts(), framing)]
        if refusal := _refusal(answer):
            events += [chunk({"refusal": part}) for part in halves(refusal)]
        for index, call in enumerate(answer.calls()):
            start = {"index": index, **_call(call)}
            start["function"] = {**start["function"], "arguments": ""}
            events.append(chunk({"tool_calls": [start]}))
            for part in halves(dumps(call.arguments)):
                events.append(chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]}))
        events.append(chunk({}, STOPS[answer.stop]))
        if include_usage:
            events.append((None, {**head, "choices": [], "usage": _usage(answer.usage)}))
        return [*events, (None, "[DONE]")]


class Compatible(Chat):
    """A server of the DeepSeek kind: it shows its reasoning, and within a loop of tools it wants it back."""

    reasons = True

    def validate(self, body: dict, headers) -> None:
        plain = []
        for message in body["messages"]:
            plain.append({key: value for key, value in message.items() if key != "reasoning_content"})
            require(message["role"] != "developer", "unknown role developer")
        # What OpenAI has not and the servers of this kind take (vLLM's documents, "Extra Parameters" of its chat API).
        extra = {key: body[key] for key in ("top_k",) if key in body}
        require(isinstance(extra.get("top_k", 0), int), "top_k: no integer")
        super().validate({**{key: value for key, value in body.items() if key not in extra}, "messages": plain}, headers)

    def check_state(self, body: dict, heard: Heard, script: tuple[Answer, ...]) -> None:
        for said, turn in zip(script, heard.answers()):
            words = "".join(text for text, _ in turn.thoughts)
            require(words in ("", said.thinking()), f"reasoning_content that was never said: {words!r}")
            require(not turn.calls or words == said.thinking(),
                    "The `reasoning_content` in the thinking mode must be passed back to the API.")


def _object(arguments: str) -> dict:
    value = json.loads(arguments)
    require(isinstance(value, dict), "arguments: no JSON object")
    return value


def _texts(content) -> list[str]:
    if isinstance(content, str):
        return [content] if content else []
    return [part["text"] for part in content or [] if part["type"] == "text"]


def _media(content) -> list[Media]:
    found = []
    for part in content if isinstance(content, list) else []:
        address = (part.get("image_url") or {}).get("url") or (part.get("file") or {}).get("file_data")
        if address is None:
            continue
        kind = "image" if part["type"] == "image_url" else "document"
        if address.startswith("data:"):
            mime, data = address.removeprefix("data:").split(";base64,")
            found.append(Media(kind, mime, data))
        else:
            found.append(Media(kind, None, address))
    return found


def _tools(body: dict) -> None:
    names = [tool["function"]["name"] for tool in body.get("tools") or [] if tool["type"] == "function"]
    require(len(names) == len(set(names)), "a tool name twice")
    for name in names:
        require(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) is not None, f"tool name {name!r}")
    require(names or ("tool_choice" not in body and "parallel_tool_calls" not in body), "tool settings without tools")
    require("tools" not in body or names, "an empty list of tools")
    output = body.get("response_format") or {}
    if output.get("type") == "json_schema":
        schema = output["json_schema"]
        require(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", schema["name"]) is not None, "the schema's name")
        if schema.get("strict"):
            closed(schema["schema"], "response_format")


def closed(schema: dict, where: str) -> None:
    """A strict schema closes each of its objects and requires each of its properties."""
    if schema.get("type") == "object":
        require(schema.get("additionalProperties") is False, f"{where}: 'additionalProperties' is required to be false")
        require(sorted(schema.get("required") or []) == sorted(schema.get("properties") or {}), f"{where}: all are required")
    for name, inner in (schema.get("properties") or {}).items():
        closed(inner, f"{where}.{name}")


def _pairs(messages: list) -> None:
    """Tool messages follow the turn that called, and answer each of its calls once."""
    open_calls: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            require(message["tool_call_id"] in open_calls, f"no call for {message['tool_call_id']!r}")
            open_calls.remove(message["tool_call_id"])
            continue
        require(not open_calls, f"calls without a result: {open_calls}")
        open_calls = [call["id"] for call in message.get("tool_calls") or []]
        require(len(set(open_calls)) == len(open_calls), "a call id twice")
        for call in open_calls:
            require(len(call) <= 64, "a call id over 64 characters")
    require(not open_calls, f"calls without a result: {open_calls}")


def _usage(usage: Usage) -> dict:
    prompt = usage.fresh + usage.read + usage.written
    return {
        "prompt_tokens": prompt, "completion_tokens": usage.output, "total_tokens": prompt + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.read, "cache_write_tokens": usage.written, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.thought, "audio_tokens": 0,
                                      "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
    }


def _refusal(answer: Answer) -> str | None:
    return "".join(block.text for block in answer.blocks if isinstance(block, Refused)) or None


def _call(call: Call) -> dict:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": dumps(call.arguments)}}
