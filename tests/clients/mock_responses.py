"""A strict OpenAI Responses provider.

Sources: the SDK's `ResponseCreateParams`, its stream event types and `ResponseStreamState.accumulate_event`; the rules
on reasoning items and their required neighbours, call ids and `store: false` that the API's own errors state.
"""

import json
import re

import mock_chat
import strict
from heard import Called, Heard, Media, Returned, require
from mock_chat import closed
from openai.types.responses import input_token_count_params, response_create_params as params
from provider import COUNTED, Event, Provider
from scenarios import Answer, Call, Redacted, Refused, Text, Thinking, Usage, dumps, halves

KEY = "sk-mock-responses"
PARTS = ("message", "reasoning", "function_call", "function_call_output")


class Responses(Provider):
    name = "responses"
    path = "/v1/responses"

    def route(self, path: str, body: dict) -> bool:
        require(path == self.path, f"no such path: {path}")
        return body.get("stream") is True

    def count(self, path: str, body: dict, headers) -> dict | None:
        return _count(path, body, headers, KEY)

    def validate(self, body: dict, headers) -> None:
        _trust(headers, KEY)
        streaming = body.get("stream") is True
        hint = params.ResponseCreateParamsStreaming if streaming else params.ResponseCreateParamsNonStreaming
        strict.check(body, hint)
        require(bool(body.get("input")), "one of input, prompt, conversation is required")
        require(streaming or "stream_options" not in body, "stream_options without stream")
        require(body.get("previous_response_id") is None, "previous_response_id: there is none")
        require(0 <= (body.get("temperature") or 0) <= 2, "temperature: 0..2")
        _tools(body)
        items = _items(body)
        _pairs(items)
        _order(items)
        _ids(items, stored=body.get("store") is not False)

    def hear(self, body: dict) -> Heard:
        heard = Heard(limit=body.get("max_output_tokens"), temperature=body.get("temperature"),
                      parallel=body.get("parallel_tool_calls"))
        heard.system = [body["instructions"]] if body.get("instructions") else []
        heard.tools = [tool["name"] for group in _offered(body) for tool in group]
        choice = body.get("tool_choice")
        heard.choice = choice["name"] if isinstance(choice, dict) else choice
        heard.schema = ((body.get("text") or {}).get("format") or {}).get("schema")
        for item in _items(body):
            _hear(heard, item)
        return heard

    def check_state(self, body: dict, heard: Heard, script: tuple[Answer, ...]) -> None:
        for said, turn in zip(script, heard.answers()):
            issued = [(getattr(block, "text", "") or "", self.mint(block.label)) for block in said.blocks
                      if isinstance(block, (Thinking, Redacted))]
            for thought in turn.thoughts:
                require(thought in issued, f"The encrypted content of a reasoning item could not be verified: {thought}")
            # What a client did not keep cannot come back; what came back is whole and in order.
            require(turn.thoughts == issued or not turn.thoughts, "a reasoning item is missing")

    def error_body(self, status: int, kind: str, message: str) -> dict:
        return {"error": {"message": message, "type": kind, "param": None, "code": None}}

    def error_event(self, status: int, kind: str, message: str, number: int) -> Event:
        event = {"type": "error", "code": kind, "message": message, "param": None, "sequence_number": number}
        return ("error", event)

    def whole(self, answer: Answer, body: dict) -> dict:
        return self._response(answer, body, [self._item(answer, number) for number in range(len(_grouped(answer)))])

    def _response(self, answer: Answer, body: dict, output: list, status: str | None = None) -> dict:
        reason = {"length": "max_output_tokens", "filter": "content_filter"}.get(answer.stop)
        status = status or ("incomplete" if reason else "completed")
        ended = status != "in_progress"
        return {"id": self.number("resp_"), "object": "response", "created_at": 1741570283, "status": status, "background": False,
                "completed_at": 1741570284 if status == "completed" else None, "error": None,
                "incomplete_details": {"reason": reason} if ended and reason else None,
                "instructions": body.get("instructions"), "max_output_tokens": body.get("max_output_tokens"),
                "max_tool_calls": None, "model": body["model"], "output": output,
                "parallel_tool_calls": body.get("parallel_tool_calls", True), "previous_response_id": None,
                "prompt_cache_key": None, "reasoning": {"effort": "medium", "summary": None}, "safety_identifier": None,
                "service_tier": "default" if ended else "auto", "store": body.get("store", True), "temperature": 1.0,
                "text": body.get("text") or {"format": {"type": "text"}, "verbosity": "medium"},
                "tool_choice": body.get("tool_choice", "auto"), "tools": body.get("tools") or [], "top_logprobs": 0,
                "top_p": 1.0, "truncation": "disabled", "usage": _usage(answer.usage) if ended else None, "user": None,
                "metadata": body.get("metadata") or {}}

    def _item(self, answer: Answer, number: int) -> dict:
        """An item of the output as it stands in the end."""
        group = _grouped(answer)[number]
        match group[0]:
            case Thinking(text, label):
                summary = [{"type": "summary_text", "text": text}] if text else []
                return {"id": f"rs_{number}", "type": "reasoning", "summary": summary, "content": [],
                        "encrypted_content": self.mint(label)}
            case Redacted(label):
                return {"id": f"rs_{number}", "type": "reasoning", "summary": [], "content": [],
                        "encrypted_content": self.mint(label)}
            case Call(call, name, arguments):
                return {"id": f"fc_{number}", "type": "function_call", "status": "completed", "call_id": call, "name": name,
                        "arguments": dumps(arguments)}
            case _:
                status = "incomplete" if answer.stop in ("length", "filter") else "completed"
                return {"id": f"msg_{number}", "type": "message", "status": status, "role": "assistant",
                        "content": [_part(block) for block in group]}

    def stream(self, answer: Answer, body: dict, framing: str) -> list[Event]:
        events = [{"type": "response.created", "response": self._response(answer, body, [], "in_progress")},
                  {"type": "response.in_progress", "response": self._response(answer, body, [], "in_progress")}]
        output = [self._item(answer, number) for number in range(len(_grouped(answer)))]
        for number, item in enumerate(output):
            events += [{**event, "output_index": number} for event in _item_events(item, framing)]
        final = self._response(answer, body, output)
        events.append({"type": f"response.{final['status']}", "response": final})
        return [(event["type"], {**event, "sequence_number": number}) for number, event in enumerate(events)]


class Chat(mock_chat.Chat):
    """The vendor's other format, which has no path of its own for counts."""

    def count(self, path: str, body: dict, headers) -> dict | None:
        return _count(path, body, headers, mock_chat.KEY)


def _count(path: str, body: dict, headers, key: str) -> dict | None:
    if path != f"{Responses.path}/input_tokens":
        return None
    _trust(headers, key)
    strict.check(body, input_token_count_params.InputTokenCountParams)
    require(bool(body.get("input")), "one of input, prompt, conversation is required")
    _tools(body)
    _pairs(_items(body))
    return {"object": "response.input_tokens", "input_tokens": COUNTED}


def _trust(headers, key: str) -> None:
    require(headers["authorization"] == f"Bearer {key}", "wrong credential")
    for foreign in ("x-api-key", "anthropic-version", "anthropic-beta", "x-goog-api-key"):
        require(foreign not in headers, f"a foreign header: {foreign}")


def _grouped(answer: Answer) -> list[list]:
    """The blocks item by item: texts that follow each other are one message."""
    groups: list[list] = []
    for block in answer.blocks:
        words = isinstance(block, (Text, Refused))
        if words and groups and isinstance(groups[-1][0], (Text, Refused)):
            groups[-1].append(block)
        else:
            groups.append([block])
    return groups


def _part(block) -> dict:
    if isinstance(block, Refused):
        return {"type": "refusal", "refusal": block.text}
    return {"type": "output_text", "text": block.text, "annotations": [], "logprobs": []}


def _item_events(item: dict, framing: str) -> list[dict]:
    """The life of one item; the caller says which it is."""
    match item["type"]:
        case "reasoning":
            added = {**item, "summary": []}
            # What stands here is not yet what counts: only the finished item's state is good.
            added["encrypted_content"] = item["encrypted_content"][:12]
            body = []
            for index, part in enumerate(item["summary"]):
                at = {"item_id": item["id"], "summary_index": index}
                body.append({"type": "response.reasoning_summary_part.added", **at, "part": {**part, "text": ""}})
                body += [{"type": "response.reasoning_summary_text.delta", **at, "delta": piece, "obfuscation": "x"}
                         for piece in halves(part["text"])]
                body.append({"type": "response.reasoning_summary_text.done", **at, "text": part["text"]})
                body.append({"type": "response.reasoning_summary_part.done", **at, "part": part})
        case "function_call":
            added = {**item, "arguments": "", "status": "in_progress"}
            at = {"item_id": item["id"]}
            body = [{"type": "response.function_call_arguments.delta", **at, "delta": piece, "obfuscation": "x"}
                    for piece in halves(item["arguments"])]
            done = {"type": "response.function_call_arguments.done", **at, "arguments": item["arguments"], "name": item["name"]}
            body.append(done)
        case _:
            added = {**item, "content": [], "status": "in_progress"}
            body = [event for index, part in enumerate(item["content"]) for event in _part_events(item, index, part, framing)]
    return [{"type": "response.output_item.added", "item": added}, *body, {"type": "response.output_item.done", "item": item}]


def _part_events(item: dict, index: int, part: dict, framing: str) -> list[dict]:
    at = {"item_id": item["id"], "content_index": index}
    key = "refusal" if part["type"] == "refusal" else "text"
    kind = "response.refusal" if key == "refusal" else "response.output_text"
    more = {} if key == "refusal" else {"logprobs": []}
    deltas = [{"type": f"{kind}.delta", **at, "delta": piece, **more, "obfuscation": "x"} for piece in halves(part[key], framing)]
    return [{"type": "response.content_part.added", **at, "part": {**part, key: ""}}, *deltas,
            {"type": f"{kind}.done", **at, key: part[key], **more}, {"type": "response.content_part.done", **at, "part": part}]


def _items(body: dict) -> list[dict]:
    if isinstance(body["input"], str):
        return [{"type": "message", "role": "user", "content": body["input"]}]
    return [{"type": "message", **item} for item in body["input"]]


def _hear(heard: Heard, item: dict) -> None:
    require(item["type"] in PARTS, f"an item of type {item['type']!r} that no client sent")
    match item["type"]:
        case "reasoning":
            text = "".join(part["text"] for part in item["summary"])
            heard.turn("assistant").thoughts.append((text, item.get("encrypted_content")))
        case "function_call":
            call = Called(item["call_id"], item["name"], json.loads(item["arguments"]))
            require(isinstance(call.arguments, dict), "arguments: no JSON object")
            heard.turn("assistant").calls.append(call)
        case "function_call_output":
            output = item["output"]
            parts = [{"type": "input_text", "text": output}] if isinstance(output, str) else output
            text = "".join(part["text"] for part in parts if part["type"] == "input_text")
            heard.turn("user").results.append(Returned(item["call_id"], text))
            heard.turn("user").media += [_media(part) for part in parts if part["type"] in ("input_image", "input_file")]
        case _:
            content = item["content"]
            parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
            texts = [part.get("text") or part.get("refusal") for part in parts if part["type"] in
                     ("input_text", "output_text", "refusal")]
            if item["role"] in ("system", "developer"):
                heard.system += texts
                return
            require(all((part["type"] == "input_text") == (item["role"] == "user") for part in parts
                        if part["type"] in ("input_text", "output_text")) or isinstance(content, str),
                    "input_text is the user's, output_text the assistant's")
            turn = heard.turn(item["role"])
            turn.texts += [text for text in texts if text]
            turn.media += [_media(part) for part in parts if part["type"] in ("input_image", "input_file")]


def _media(part: dict) -> Media:
    kind = "image" if part["type"] == "input_image" else "document"
    address = part.get("image_url") or part.get("file_data") or part.get("file_url")
    require(isinstance(address, str), f"{part['type']} without its data")
    if address.startswith("data:"):
        mime, data = address.removeprefix("data:").split(";base64,")
        return Media(kind, mime, data)
    return Media(kind, None, address)


def _tools(body: dict) -> None:
    for group in _offered(body):
        names = [tool["name"] for tool in group]
        require(len(names) == len(set(names)), "a tool name twice")
        for tool in group:
            require(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", tool["name"]) is not None, f"tool name {tool['name']!r}")
            if tool.get("strict"):
                closed(tool["parameters"], tool["name"])
    require(bool(body.get("tools")) or "tool_choice" not in body, "tool_choice without tools")
    output = (body.get("text") or {}).get("format") or {}
    if output.get("type") == "json_schema":
        require(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", output["name"]) is not None, "text.format.name")
        if output.get("strict"):
            closed(output["schema"], "text.format")


def _offered(body: dict) -> list[list[dict]]:
    """The tools that the client runs, those of each namespace apart; what the server runs by itself has no name."""
    tools = body.get("tools") or []
    own = [tool for tool in tools if tool["type"] != "namespace" and "name" in tool]
    return [own, *(tool["tools"] for tool in tools if tool["type"] == "namespace")]


def _pairs(items: list) -> None:
    """Each output has its call before it, each call its output after it, and no id is over 64 characters."""
    open_calls: list[str] = []
    for item in items:
        if item["type"] == "function_call":
            require(len(item["call_id"]) <= 64, "string_above_max_length: call_id")
            require(item["call_id"] not in open_calls, f"call_id twice: {item['call_id']!r}")
            open_calls.append(item["call_id"])
        if item["type"] == "function_call_output":
            require(item["call_id"] in open_calls, f"No tool call found for function call output {item['call_id']!r}")
            open_calls.remove(item["call_id"])
    require(not open_calls, f"No tool output found for function call {open_calls}")


def _order(items: list) -> None:
    """A reasoning item stands directly before what it led to."""
    for item, after in zip(items, [*items[1:], None]):
        if item["type"] != "reasoning":
            continue
        follows = after is not None and (after["type"] in ("function_call", "reasoning") or after.get("role") == "assistant")
        require(follows, f"Item {item.get('id')!r} of type 'reasoning' was provided without its required following item.")


def _ids(items: list, stored: bool) -> None:
    """An id names something that is kept: with `store: false`, nothing but an item that carries its own state is."""
    wanted = {"reasoning": "rs", "function_call": "fc", "message": "msg"}
    for item in items:
        if item["type"] in wanted and item.get("id"):
            require(item["id"].startswith(wanted[item["type"]]), f"Invalid id {item['id']!r}: expected {wanted[item['type']]}_…")
            require(item["type"] != "reasoning" or bool(item.get("encrypted_content")) or stored,
                    f"Item with id {item['id']!r} not found. Items are not persisted when `store` is set to false.")


def _usage(usage: Usage) -> dict:
    prompt = usage.fresh + usage.read + usage.written
    return {"input_tokens": prompt, "input_tokens_details": {"cached_tokens": usage.read, "cache_write_tokens": usage.written},
            "output_tokens": usage.output, "output_tokens_details": {"reasoning_tokens": usage.thought},
            "total_tokens": prompt + usage.output}
