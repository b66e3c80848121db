"""A strict OpenAI Chat Completions provider.

Sources: the SDK's `CompletionCreateParams` and `ChatCompletionChunk`; the API reference's rules on tool messages.
"""

import re

import scenarios
import strict
from openai.types.chat import completion_create_params as params
from provider import Provider, require
from scenarios import Answer, Call, Failure, Text, Thinking, Usage, dumps, halves

KEY = "sk-mock-openai"
STOPS = {"end": "stop", "length": "length", "call": "tool_calls", "refusal": "content_filter", "sequence": "stop"}


class OpenAI(Provider):
    path = "/v1/chat/completions"
    # Whether reasoning is shown as `reasoning_content`, which OpenAI itself never does.
    reasons = False

    def validate(self, body: dict, headers) -> None:
        require(headers["authorization"] == f"Bearer {KEY}", "wrong credential")
        require("x-api-key" not in headers and "anthropic-version" not in headers, "a foreign header")
        streaming = body.get("stream") is True
        hint = params.CompletionCreateParamsStreaming if streaming else params.CompletionCreateParamsNonStreaming
        strict.check(body, hint)
        require(streaming or "stream_options" not in body, "stream_options without stream")
        require(not ("max_tokens" in body and "max_completion_tokens" in body), "two limits")
        require(len(body["messages"]) > 0, "no messages")
        _tools(body)
        _pairs(body["messages"])
        for message in body["messages"]:
            content = message.get("content")
            require(message["role"] == "assistant" or content is not None, "content is missing")
            if message["role"] == "assistant":
                require(bool(content) or message.get("tool_calls") or message.get("refusal"), "an empty assistant turn")

    def answer(self, handler, body: dict) -> None:
        scenario = scenarios.pick(body["messages"])
        if isinstance(scenario, Failure) and scenario.after is None:
            error = self.error_body(scenario.kind, scenario.message)
            headers = {"retry-after": "1"} if scenario.status in (429, 503, 529) else {}
            return self.send_json(handler, scenario.status, error, {"x-request-id": "req_mock", **headers})
        if not body.get("stream"):
            require(isinstance(scenario, Answer), "a broken stream needs a stream")
            return self.send_json(handler, 200, whole(scenario, body["model"], self.reasons))
        usage = (body.get("stream_options") or {}).get("include_usage") is True
        if isinstance(scenario, Failure):
            events = stream(scenarios.SCENARIOS["hello"], body["model"], usage)[: scenario.after]
            if not scenario.cut:
                events.append(_data(self.error_body(scenario.kind, scenario.message)))
            return self.send_stream(handler, events, cut=scenario.cut)
        return self.send_stream(handler, stream(scenario, body["model"], usage, self.reasons))

    def error_body(self, kind: str, message: str) -> dict:
        return {"error": {"message": message, "type": kind, "param": None, "code": None}}


class Compatible(OpenAI):
    """A server of the DeepSeek kind: it shows its reasoning, and within a loop of tools it wants it back."""

    reasons = True

    def validate(self, body: dict, headers) -> None:
        plain = []
        for message in body["messages"]:
            reasoning = message.get("reasoning_content")
            require(not message.get("tool_calls") or isinstance(reasoning, str),
                    "The `reasoning_content` in the thinking mode must be passed back to the API.")
            plain.append({key: value for key, value in message.items() if key != "reasoning_content"})
            require(message["role"] != "developer", "unknown role developer")
        super().validate({**body, "messages": plain}, headers)


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


def _text(answer: Answer) -> str | None:
    return "".join(block.text for block in answer.blocks if isinstance(block, Text)) or None


def _call(call: Call) -> dict:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": dumps(call.arguments)}}


def _reasoning(answer: Answer) -> str:
    return "".join(block.text for block in answer.blocks if isinstance(block, Thinking))


def whole(answer: Answer, model: str, reasons: bool = False) -> dict:
    message = {"role": "assistant", "content": _text(answer), "refusal": None, "annotations": []}
    if reasons:
        message["reasoning_content"] = _reasoning(answer)
    calls = [_call(block) for block in answer.blocks if isinstance(block, Call)]
    if calls:
        message["tool_calls"] = calls
    return {"id": "chatcmpl-mock", "object": "chat.completion", "created": 1741570283, "model": model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": STOPS[answer.stop]}],
            "usage": _usage(answer.usage), "service_tier": "default", "system_fingerprint": "fp_mock"}


def _data(value: dict) -> str:
    return f"data: {dumps(value)}\n\n"


def stream(answer: Answer, model: str, include_usage: bool, reasons: bool = False) -> list[str]:
    head = {"id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 1741570283, "model": model,
            "service_tier": "default", "system_fingerprint": "fp_mock"}
    usage = {"usage": None} if include_usage else {}

    def chunk(delta: dict, finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _data({**head, "choices": [choice], **usage, "obfuscation": "Xy1"})

    events = [chunk({"role": "assistant", "content": "" if _text(answer) else None, "refusal": None})]
    if reasons and _reasoning(answer):
        events += [chunk({"content": None, "reasoning_content": part}) for part in halves(_reasoning(answer))]
    events += [chunk({"content": part}) for part in (halves(_text(answer)) if _text(answer) else [])]
    calls = [block for block in answer.blocks if isinstance(block, Call)]
    for index, call in enumerate(calls):
        start = {"index": index, **_call(call)}
        start["function"] = {**start["function"], "arguments": ""}
        events.append(chunk({"tool_calls": [start]}))
        for part in halves(dumps(call.arguments)):
            events.append(chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]}))
    events.append(chunk({}, STOPS[answer.stop]))
    if include_usage:
        events.append(_data({**head, "choices": [], "usage": _usage(answer.usage)}))
    return [*events, "data: [DONE]\n\n"]


