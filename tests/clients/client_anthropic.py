"""The official `anthropic` package for Python."""

import anthropic
import clients
from client_openai import Person, given, tools
from clients import Client, raised, seen

KINDS = {anthropic.BadRequestError: "bad_request", anthropic.AuthenticationError: "authentication",
         anthropic.PermissionDeniedError: "permission", anthropic.NotFoundError: "not_found",
         anthropic.RateLimitError: "rate_limit"}


def failure(error: Exception, words: str) -> dict:
    if isinstance(error, anthropic.APIStatusError):
        kind = "server" if isinstance(error, anthropic.InternalServerError) else KINDS.get(type(error), "status")
        # An error in the middle of a stream has the status of the stream.
        kind = "stream" if error.response.status_code == 200 else kind
        message = (error.body or {}).get("error", {}).get("message") if isinstance(error.body, dict) else str(error.body)
        return raised(kind, error, error.status_code, message, error.response.headers.get("retry-after"), error.request_id, words)
    if isinstance(error, anthropic.APIError):
        return raised("stream", error, message=error.message, words=words)
    raise error


class Anthropic(Client):
    name = "anthropic-python"
    format = "messages"
    STOPS = {"end_turn": "end", "max_tokens": "length", "tool_use": "call", "refusal": "filter", "stop_sequence": "sequence"}

    def __init__(self, edge: str) -> None:
        self.sdk = anthropic.Anthropic(base_url=edge, api_key=clients.KEY, max_retries=0, timeout=30)

    def begin(self, ask: dict) -> list:
        history = [{"role": role, "content": text} for role, text in ask.get("before", [])]
        content = ask["text"]
        if ask.get("parts"):
            content = [{"type": "text", "text": ask["text"]}, *map(self._part, ask["parts"])]
        return [*history, {"role": "user", "content": content}]

    @staticmethod
    def _part(part: dict) -> dict:
        if part["kind"] == "image":
            source = {"type": "url", "url": part["url"]} if "url" in part else {
                "type": "base64", "media_type": "image/png", "data": part["data"]}
            return {"type": "image", "source": source}
        return {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": part["data"]}}

    def settings(self, ask: dict) -> dict:
        named = {"auto": {"type": "auto"}, "required": {"type": "any"}, "none": {"type": "none"}, None: None}
        wanted = ask.get("choice")
        choice = named[wanted] if wanted in named else {"type": "tool", "name": wanted}
        if ask.get("parallel") is False and wanted != "none":
            choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
        declared = [{"name": name, "description": words, "input_schema": schema} for name, words, schema in tools(ask)]
        # The package's types have no temperature since the version of 2026-10-21, which refuses it.
        return given(tools=declared or None, tool_choice=choice, stop_sequences=ask.get("stop"),
                     max_tokens=ask.get("limit", 16000),
                     system=[{"type": "text", "text": text} for text in ask.get("system", [])] or None,
                     thinking={"type": "adaptive", "display": "summarized"} if ask.get("think") else None,
                     output_config={"effort": "high"} if ask.get("think") else None)

    def send(self, ask: dict, history: list) -> tuple[dict, object]:
        body = {"model": ask["model"], "messages": history, **self.settings(ask)}
        words = ""
        extra = {"output_format": Person} if ask.get("schema") else {}
        try:
            if ask["stream"]:
                with self.sdk.messages.stream(**body, **extra) as events:
                    for event in events:
                        words += event.text if event.type == "text" else ""
                    message = events.get_final_message()
            elif ask.get("schema"):
                message = self.sdk.messages.parse(**body, **extra)
            else:
                message = self.sdk.messages.create(**body)
        except Exception as error:  # noqa: BLE001
            return failure(error, words), None
        if message.stop_reason is None:
            return seen(text=words, stop=None), None
        return self._seen(message, ask), message.content

    def _seen(self, message, ask: dict) -> dict:
        assert (message.type, message.role) == ("message", "assistant")
        calls = [{"id": block.id, "name": block.name, "arguments": block.input} for block in message.content
                 if block.type == "tool_use"]
        usage, details = message.usage, message.stop_details
        read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
        thought = usage.output_tokens_details.thinking_tokens if usage.output_tokens_details else 0
        figures = {"input": usage.input_tokens + read + written, "read": read, "written": written,
                   "output": usage.output_tokens, "thought": thought}
        parsed = message.parsed_output.model_dump() if ask.get("schema") and message.parsed_output else None
        return seen(text="".join(block.text for block in message.content if block.type == "text"),
                    thinking="".join(block.thinking for block in message.content if block.type == "thinking"),
                    refusal=(details.explanation or "") if details else "", calls=calls, stop=self.STOPS[message.stop_reason],
                    usage=figures, parsed=parsed, id=message.id, model=message.model)

    def reply(self, history: list, turn, results: list) -> None:
        history.append({"role": "assistant", "content": turn})
        history.append({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": call["id"], "content": text} for call, text in reversed(results)]})
