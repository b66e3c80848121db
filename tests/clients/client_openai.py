"""The official `openai` package for Python: Chat Completions and Responses."""

import json

import clients
import openai
import pydantic
from clients import TOOLS, Client, raised, seen

KINDS = {openai.BadRequestError: "bad_request", openai.AuthenticationError: "authentication",
         openai.PermissionDeniedError: "permission", openai.NotFoundError: "not_found", openai.RateLimitError: "rate_limit",
         openai.InternalServerError: "server"}


class Person(pydantic.BaseModel):
    name: str
    age: int


def failure(error: Exception, words: str) -> dict:
    if isinstance(error, openai.APIStatusError):
        return raised(KINDS.get(type(error), "status"), error, error.status_code, error.message,
                      error.response.headers.get("retry-after"), error.request_id, words)
    if isinstance(error, openai.APIError):
        return raised("stream", error, message=error.message, words=words)
    raise error


def tools(ask: dict) -> list:
    return [(name, *TOOLS[name]) for name in ask.get("tools", [])]


def given(**settings) -> dict:
    return {key: value for key, value in settings.items() if value is not None}


class OpenAIChat(Client):
    name = "openai-python chat"
    format = "chat"
    STOPS = {"stop": "end", "length": "length", "tool_calls": "call", "content_filter": "filter"}

    def __init__(self, edge: str) -> None:
        self.sdk = openai.OpenAI(base_url=f"{edge}/v1", api_key=clients.KEY, max_retries=0, timeout=30)

    def begin(self, ask: dict) -> list:
        history = [{"role": "system", "content": text} for text in ask.get("system", [])]
        history += [{"role": role, "content": text} for role, text in ask.get("before", [])]
        content = ask["text"]
        if ask.get("parts"):
            content = [{"type": "text", "text": ask["text"]}, *map(self._part, ask["parts"])]
        return [*history, {"role": "user", "content": content}]

    @staticmethod
    def _part(part: dict) -> dict:
        if part["kind"] == "image":
            return {"type": "image_url", "image_url": {"url": part.get("url") or f"data:image/png;base64,{part['data']}"}}
        return {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{part['data']}"}}

    def settings(self, ask: dict) -> dict:
        choice = ask.get("choice")
        if choice not in (None, "auto", "required", "none"):
            choice = {"type": "function", "function": {"name": choice}}
        declared = [{"type": "function", "function": {"name": name, "description": words, "parameters": schema}}
                    for name, words, schema in tools(ask)]
        return given(tools=declared or None, tool_choice=choice, parallel_tool_calls=ask.get("parallel"), stop=ask.get("stop"),
                     max_completion_tokens=ask.get("limit"), temperature=ask.get("temperature"),
                     reasoning_effort="high" if ask.get("think") else None)

    def send(self, ask: dict, history: list) -> tuple[dict, object]:
        body = {"model": ask["model"], "messages": history, **self.settings(ask)}
        words = ""
        try:
            if ask["stream"]:
                extra = {"response_format": Person} if ask.get("schema") else {}
                with self.sdk.chat.completions.stream(**body, **extra, stream_options={"include_usage": True}) as events:
                    for event in events:
                        if event.type == "chunk" and event.chunk.choices:
                            words += event.chunk.choices[0].delta.content or ""
                    # Not `get_final_completion`: it raises on a finish reason of `length` by design.
                    completion = events.current_completion_snapshot
            elif ask.get("schema"):
                completion = self.sdk.chat.completions.parse(**body, response_format=Person)
            else:
                completion = self.sdk.chat.completions.create(**body)
        except Exception as error:  # noqa: BLE001 (which of them is told apart below)
            return failure(error, words), None
        return self._seen(completion, ask), completion.choices[0].message

    def _seen(self, completion, ask: dict) -> dict:
        assert len(completion.choices) == 1 and completion.created is not None
        choice = completion.choices[0]
        message, usage = choice.message, completion.usage
        assert message.role == "assistant" and choice.index == 0
        calls = [{"id": call.id, "name": call.function.name, "arguments": json.loads(call.function.arguments)}
                 for call in message.tool_calls or []]
        assert all(call.type == "function" for call in message.tool_calls or [])
        figures = usage and {
            "input": usage.prompt_tokens, "read": usage.prompt_tokens_details.cached_tokens,
            "written": usage.prompt_tokens_details.cache_write_tokens or 0, "output": usage.completion_tokens,
            "thought": usage.completion_tokens_details.reasoning_tokens}
        assert usage is None or usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        parsed = message.parsed.model_dump() if ask.get("schema") and message.parsed else None
        return seen(text=message.content or "", thinking=(message.model_extra or {}).get("reasoning_content") or "",
                    refusal=message.refusal or "", calls=calls, stop=self.STOPS[choice.finish_reason], usage=figures,
                    parsed=parsed, id=completion.id, model=completion.model)

    def reply(self, history: list, turn, results: list) -> None:
        """As an application does that knows OpenRouter's fields: what they call `reasoning_details` goes back."""
        extra = turn.model_extra or {}
        calls = [{"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": call.function.arguments}}
                 for call in turn.tool_calls]
        back = {key: extra[key] for key in ("reasoning_content", "reasoning_details") if extra.get(key)}
        history.append({"role": "assistant", "content": turn.content, "tool_calls": calls, **back})
        # Backwards: the id says where a result belongs, not its place.
        history += [{"role": "tool", "tool_call_id": call["id"], "content": text} for call, text in reversed(results)]


class OpenAIResponses(Client):
    name = "openai-python responses"
    format = "responses"

    def __init__(self, edge: str) -> None:
        self.sdk = openai.OpenAI(base_url=f"{edge}/v1", api_key=clients.KEY, max_retries=0, timeout=30)

    def begin(self, ask: dict) -> list:
        history = [{"role": "developer", "content": text} for text in ask.get("system", [])[1:]]
        history += [{"role": role, "content": text} for role, text in ask.get("before", [])]
        content = ask["text"]
        if ask.get("parts"):
            content = [{"type": "input_text", "text": ask["text"]}, *map(self._part, ask["parts"])]
        return [*history, {"role": "user", "content": content}]

    @staticmethod
    def _part(part: dict) -> dict:
        if part["kind"] == "image":
            return {"type": "input_image", "detail": "auto", "image_url": part.get("url") or f"data:image/png;base64,{part['data']}"}
        return {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{part['data']}"}

    def settings(self, ask: dict) -> dict:
        choice = ask.get("choice")
        if choice not in (None, "auto", "required", "none"):
            choice = {"type": "function", "name": choice}
        declared = [{"type": "function", "name": name, "description": words, "parameters": schema, "strict": False}
                    for name, words, schema in tools(ask)]
        return given(tools=declared or None, tool_choice=choice, parallel_tool_calls=ask.get("parallel"),
                     max_output_tokens=ask.get("limit"), temperature=ask.get("temperature"), store=False,
                     instructions=(ask.get("system") or [None])[0],
                     reasoning={"effort": "high", "summary": "auto"} if ask.get("think") else None,
                     include=["reasoning.encrypted_content"] if ask.get("think") else None)

    def send(self, ask: dict, history: list) -> tuple[dict, object]:
        body = {"model": ask["model"], "input": history, **self.settings(ask)}
        words, final = "", None
        extra = {"text_format": Person} if ask.get("schema") else {}
        try:
            if ask["stream"]:
                # The accumulator checks what belongs to what; the last event says how it ended.
                with self.sdk.responses.stream(**body, **extra) as events:
                    for number, event in enumerate(events):
                        assert event.sequence_number == number, f"{event.type} is number {event.sequence_number}, not {number}"
                        words += event.delta if event.type == "response.output_text.delta" else ""
                        if event.type == "error":
                            return raised("stream", RuntimeError(event.message), message=event.message, words=words), None
                        if event.type in ("response.completed", "response.incomplete", "response.failed"):
                            assert final is None, "two ends"
                            final = event.response
                    if final is not None and final.status == "completed":
                        assert events.get_final_response().output_text == final.output_text
                if final is None:
                    return seen(text=words, stop=None), None
            elif ask.get("schema"):
                final = self.sdk.responses.parse(**body, **extra)
            else:
                final = self.sdk.responses.create(**body)
        except Exception as error:  # noqa: BLE001
            return failure(error, words), None
        if final.status == "failed":
            # The SDK raises nothing here: its users look at the status.
            return raised("stream", RuntimeError(final.error.code), message=final.error.message, words=words), None
        return self._seen(final, ask), final.output

    def _seen(self, final, ask: dict) -> dict:
        assert final.object == "response" and final.created_at is not None
        calls, thinking, refusal = [], "", ""
        for item in final.output:
            if item.type == "function_call":
                calls.append({"id": item.call_id, "name": item.name, "arguments": json.loads(item.arguments)})
            elif item.type == "reasoning":
                thinking += "".join(part.text for part in [*item.summary, *(item.content or [])])
            else:
                refusal += "".join(part.refusal for part in item.content if part.type == "refusal")
        stop = "call" if calls else "end"
        if final.status == "incomplete":
            stop = {"max_output_tokens": "length", "content_filter": "filter"}[final.incomplete_details.reason]
        usage = final.usage
        figures = usage and {"input": usage.input_tokens, "read": usage.input_tokens_details.cached_tokens,
                             "written": usage.input_tokens_details.cache_write_tokens, "output": usage.output_tokens,
                             "thought": usage.output_tokens_details.reasoning_tokens}
        assert usage is None or usage.total_tokens == usage.input_tokens + usage.output_tokens
        parsed = final.output_parsed.model_dump() if ask.get("schema") and final.output_parsed else None
        return seen(text=final.output_text, thinking=thinking, refusal=refusal, calls=calls, stop=stop, usage=figures,
                    parsed=parsed, id=final.id, model=final.model)

    def reply(self, history: list, turn, results: list) -> None:
        for item in turn:
            plain = item.model_dump(exclude_none=True, exclude={"parsed_arguments"})
            if plain["type"] == "message":
                for part in plain["content"]:
                    part.pop("parsed", None)
            history.append(plain)
        history += [{"type": "function_call_output", "call_id": call["id"], "output": text} for call, text in reversed(results)]
