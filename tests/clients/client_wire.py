"""Clients without an SDK: they hold what the edge says against the SDKs' response types and each format's grammar.

The SDKs build their objects without validation, so that a field that is missing, or one of the wrong type, is seen here
only. The grammars are written down from the vendors' documents, and by nobody who wrote the edge's own checkers.
"""

import http.client
import json
import urllib.parse

import clients
from anthropic.types import Message, RawMessageStreamEvent
from client_anthropic import Anthropic
from client_genai import GenAI
from client_openai import OpenAIChat, OpenAIResponses
from clients import Client, seen
from google.genai.types import GenerateContentResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter


class Wire(Client):
    """Subclasses say path, headers, body and grammar."""

    whole: TypeAdapter
    event: TypeAdapter

    def __init__(self, edge: str) -> None:
        self.host = urllib.parse.urlsplit(edge).netloc

    def request(self, ask: dict) -> tuple[str, dict, dict]:
        """Path, headers and body."""
        raise NotImplementedError

    def converse(self, ask: dict) -> list[dict]:
        path, headers, body = self.request(ask)
        connection = http.client.HTTPConnection(self.host, timeout=30)
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        raw = answer.read()
        connection.close()
        assert answer.status == 200, raw[:600]
        kind = "text/event-stream" if ask["stream"] else "application/json"
        assert answer.headers["content-type"].startswith(kind), answer.headers["content-type"]
        if not ask["stream"]:
            self.whole.validate_json(raw)
            return [seen(id="whole", model="whole")]
        assert b"\r" not in raw and raw.endswith(b"\n\n"), "an event has no end"
        events = [self._event(block) for block in raw.decode().removesuffix("\n\n").split("\n\n")]
        self.grammar([event for event in events if event is not None])
        return [seen(id="stream", model="stream")]

    def _event(self, block: str):
        """Name and data of one event; comments are none."""
        lines = [line for line in block.split("\n") if not line.startswith(":")]
        if not lines:
            assert self.format != "gemini", "a comment, which the SDK of Gemini takes for JSON"
            return None
        fields = [line.split(": ", 1) for line in lines]
        names = [value for field, value in fields if field == "event"]
        data = [value for field, value in fields if field == "data"]
        assert len(data) == 1 and len(names) + 1 == len(fields), f"an event of {fields}"
        if data[0] == "[DONE]":
            return None, "[DONE]"
        self.event.validate_json(data[0])
        return (names or [None])[0], json.loads(data[0])

    def grammar(self, events: list) -> None:
        raise NotImplementedError


def need(holds, problem: str) -> None:
    assert holds, problem


class WireChat(Wire):
    name = "wire chat"
    format = "chat"
    whole = TypeAdapter(ChatCompletion)
    event = TypeAdapter(ChatCompletionChunk | str)

    def request(self, ask: dict) -> tuple[str, dict, dict]:
        sdk = OpenAIChat.__new__(OpenAIChat)
        body = {"model": ask["model"], "messages": sdk.begin(ask), **sdk.settings(ask)}
        if ask["stream"]:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return "/v1/chat/completions", {"authorization": f"Bearer {clients.KEY}"}, body

    def grammar(self, events: list) -> None:
        need(all(name is None for name, _ in events), "events have no names")
        need(events[-1][1] == "[DONE]", "the end is missing")
        chunks = [chunk for _, chunk in events[:-1]]
        need(len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1, "id, created or model change")
        usage = chunks.pop()
        need(usage["choices"] == [] and usage["usage"]["total_tokens"] > 0, "usage comes last, without choices")
        need(all(len(chunk["choices"]) == 1 and chunk.get("usage") is None for chunk in chunks), "usage comes last")
        choices = [chunk["choices"][0] for chunk in chunks]
        need([choice["delta"].get("role") for choice in choices].count("assistant") == 1, "the role comes once")
        need(choices[0]["delta"].get("role") == "assistant", "the role comes first")
        need([choice["finish_reason"] is not None for choice in choices].index(True) == len(choices) - 1, "a reason ends it")
        begun: list[str] = []
        for call in [call for choice in choices for call in choice["delta"].get("tool_calls") or []]:
            first = call["index"] == len(begun)
            need(first or call["index"] < len(begun), "calls are numbered as they begin")
            has = "id" in call, call.get("type") == "function", "name" in call["function"]
            need(has == (first,) * 3, f"id, type and name come once: {call}")
            begun += [call["id"]] if first else []


class WireResponses(Wire):
    name = "wire responses"
    format = "responses"
    whole = TypeAdapter(Response)
    event = TypeAdapter(ResponseStreamEvent)

    def request(self, ask: dict) -> tuple[str, dict, dict]:
        sdk = OpenAIResponses.__new__(OpenAIResponses)
        body = {"model": ask["model"], "input": sdk.begin(ask), **sdk.settings(ask), "stream": ask["stream"]}
        return "/v1/responses", {"authorization": f"Bearer {clients.KEY}"}, body

    def grammar(self, events: list) -> None:
        need(all(name == event["type"] for name, event in events), "an event's name is its type")
        events = [event for _, event in events]
        need([event["sequence_number"] for event in events] == list(range(len(events))), "numbers without a gap")
        need([event["type"] for event in events[:2]] == ["response.created", "response.in_progress"], "the beginning")
        need(events[-1]["type"] in ("response.completed", "response.incomplete"), "the end")
        need(len({event["response"]["id"] for event in events if "response" in event}) == 1, "one id")
        items: dict[int, dict] = {}
        parts: dict[tuple, str] = {}
        done: dict[int, dict] = {}
        for event in events[2:-1]:
            self._step(event, items, parts, done)
        output = events[-1]["response"]["output"]
        need([done[at] for at in sorted(done)] == output and len(items) == len(done), "the end repeats all items")
        need(all(value == "done" for value in parts.values()), "each part ends")

    def _step(self, event: dict, items: dict, parts: dict, done: dict) -> None:
        kind, at = event["type"].removeprefix("response."), event["output_index"]
        if kind == "output_item.added":
            need(at == len(items), "items are numbered as they begin")
            items[at] = event["item"]
            return
        item = items[at]
        need(at not in done, f"{kind} behind the item's end")
        if kind == "output_item.done":
            need({key: item.get(key) for key in ("id", "type", "call_id")} == {
                key: event["item"].get(key) for key in ("id", "type", "call_id")}, "the item changed")
            done[at] = event["item"]
            return
        need(event["item_id"] == item["id"], "another item's id")
        part = (at, event.get("content_index"), event.get("summary_index"))
        begins = kind in ("content_part.added", "reasoning_summary_part.added")
        if "content_index" in event or "summary_index" in event:
            need((part in parts) != begins, f"{kind} out of its place")
            need(parts.get(part) != "done", f"{kind} behind the part's end")
        if begins:
            parts[part] = ""
        elif kind in ("content_part.done", "reasoning_summary_part.done"):
            need((event["part"].get("text") or event["part"].get("refusal", "")) == parts[part], "the part says otherwise")
            parts[part] = "done"
        elif kind.endswith(".delta"):
            parts[part] = parts.get(part, "") + event["delta"]
        elif kind in ("output_text.done", "refusal.done", "reasoning_summary_text.done", "reasoning_text.done"):
            need((event.get("text") or event.get("refusal", "")) == parts[part], "the words are others in the end")
        elif kind == "function_call_arguments.done":
            need(event["arguments"] == parts.pop(part), "the arguments are others in the end")


class WireMessages(Wire):
    name = "wire messages"
    format = "messages"
    whole = TypeAdapter(Message)
    event = TypeAdapter(RawMessageStreamEvent | dict)

    def request(self, ask: dict) -> tuple[str, dict, dict]:
        sdk = Anthropic.__new__(Anthropic)
        body = {"model": ask["model"], "messages": sdk.begin(ask), **sdk.settings(ask), "stream": ask["stream"]}
        return "/v1/messages", {"x-api-key": clients.KEY, "anthropic-version": "2026-10-21"}, body

    def grammar(self, events: list) -> None:
        need(all(name == event["type"] for name, event in events), "an event's name is its type")
        events = [event for _, event in events if event["type"] != "ping"]
        for event in events:
            TypeAdapter(RawMessageStreamEvent).validate_python(event)
        need((events[0]["type"], events[-1]["type"], events[-2]["type"]) == ("message_start", "message_stop", "message_delta"),
             "the beginning or the end")
        message = events[0]["message"]
        need(message["content"] == [] and message["stop_reason"] is None, "it begins empty")
        need(events[-2]["delta"]["stop_reason"] is not None, "a reason ends it")
        deltas = {"text": {"text_delta", "citations_delta"}, "thinking": {"thinking_delta", "signature_delta"},
                  "tool_use": {"input_json_delta"}, "redacted_thinking": set()}
        is_open, count, signed = None, 0, False
        for event in events[1:-2]:
            need(event["index"] == (count if event["type"] == "content_block_start" else count - 1), "blocks in a row")
            if event["type"] == "content_block_start":
                need(is_open is None, "one block at a time")
                is_open, count, signed = event["content_block"]["type"], count + 1, False
            elif event["type"] == "content_block_stop":
                is_open = None
            else:
                need(event["delta"]["type"] in deltas[is_open] and not signed, f"{event['delta']['type']} in {is_open}")
                signed = event["delta"]["type"] == "signature_delta"
        need(is_open is None, "each block ends")


class WireGemini(Wire):
    name = "wire gemini"
    format = "gemini"
    whole = TypeAdapter(GenerateContentResponse)
    event = TypeAdapter(GenerateContentResponse)

    def request(self, ask: dict) -> tuple[str, dict, dict]:
        sdk = GenAI.__new__(GenAI)
        config = sdk.config(ask).model_dump(by_alias=True, exclude_none=True, mode="json")
        config.pop("automaticFunctionCalling", None)
        instruction = config.pop("systemInstruction", None)
        outside = {key: config.pop(key) for key in ("tools", "toolConfig") if key in config}
        contents = [content.model_dump(by_alias=True, exclude_none=True, mode="json") for content in sdk.begin(ask)]
        body = {"contents": contents, "generationConfig": config, **outside}
        if instruction:
            body["systemInstruction"] = {"parts": instruction}
        verb = "streamGenerateContent?alt=sse" if ask["stream"] else "generateContent"
        return f"/v1beta/models/{ask['model']}:{verb}", {"x-goog-api-key": clients.KEY}, body

    def grammar(self, events: list) -> None:
        need(all(name is None for name, _ in events), "events have no names")
        pieces = [piece for _, piece in events]
        need(len({(piece["responseId"], piece["modelVersion"]) for piece in pieces}) == 1, "id or model change")
        ends = ["finishReason" in piece["candidates"][0] for piece in pieces]
        need(ends.index(True) == len(ends) - 1, "a reason ends it")
        need("usageMetadata" in pieces[-1], "usage comes in the end")
        for part in [part for piece in pieces for part in piece["candidates"][0].get("content", {}).get("parts", [])]:
            data = set(part) - {"thought", "thoughtSignature"}
            need(len(data) == 1, f"a part of {data}")
            need("functionCall" not in part or isinstance(part["functionCall"]["args"], dict), "arguments are an object")
