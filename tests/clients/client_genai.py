"""The official `google-genai` package for Python."""

import base64
import json

import clients
from client_openai import Person, given, tools
from clients import Client, raised, seen
from google import genai
from google.genai import errors, types

KINDS = {400: "bad_request", 401: "authentication", 403: "permission", 404: "not_found", 429: "rate_limit"}


def failure(error: Exception, words: str) -> dict:
    if isinstance(error, errors.APIError):
        status, headers = error.code, getattr(error.response, "headers", {})
        kind = "server" if isinstance(error, errors.ServerError) else KINDS.get(status, "status")
        assert isinstance(error, (errors.ClientError, errors.ServerError)), f"a bare {error!r}"
        kind = "stream" if getattr(error.response, "status_code", 200) == 200 else kind
        request_id = headers.get("x-request-id")
        return raised(kind, error, status, error.message or "", headers.get("retry-after"), request_id, words)
    if isinstance(error, errors.UnknownApiResponseError):
        return raised("stream", error, words=words)
    raise error


class GenAI(Client):
    name = "google-genai-python"
    format = "gemini"
    STOPS = {"STOP": "end", "MAX_TOKENS": "length", "SAFETY": "filter", "PROHIBITED_CONTENT": "filter"}

    def __init__(self, edge: str) -> None:
        options = types.HttpOptions(base_url=edge, timeout=30000, retry_options=types.HttpRetryOptions(attempts=1))
        self.sdk = genai.Client(api_key=clients.KEY, http_options=options)

    def begin(self, ask: dict) -> list:
        names = {"user": "user", "assistant": "model"}
        history = [types.Content(role=names[role], parts=[types.Part(text=text)]) for role, text in ask.get("before", [])]
        parts = [types.Part(text=ask["text"]), *map(self._part, ask.get("parts", []))]
        return [*history, types.Content(role="user", parts=parts)]

    @staticmethod
    def _part(part: dict) -> types.Part:
        mime = "image/png" if part["kind"] == "image" else "application/pdf"
        if "url" in part:
            return types.Part.from_uri(file_uri=part["url"], mime_type=mime)
        return types.Part.from_bytes(data=base64.b64decode(part["data"]), mime_type=mime)

    def config(self, ask: dict) -> types.GenerateContentConfig:
        wanted = ask.get("choice")
        modes = {"auto": "AUTO", "required": "ANY", "none": "NONE"}
        calling = None
        if wanted is not None:
            names = None if wanted in modes else [wanted]
            calling = types.ToolConfig(function_calling_config=types.FunctionCallingConfig(
                mode=modes.get(wanted, "ANY"), allowed_function_names=names))
        declared = [types.FunctionDeclaration(name=name, description=words,
                                              parameters_json_schema=schema if schema["properties"] else None)
                    for name, words, schema in tools(ask)]
        return types.GenerateContentConfig(**given(
            tools=[types.Tool(function_declarations=declared)] if declared else None, tool_config=calling,
            stop_sequences=ask.get("stop"), max_output_tokens=ask.get("limit"), temperature=ask.get("temperature"),
            system_instruction=[types.Part(text=text) for text in ask.get("system", [])] or None,
            thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_level="HIGH") if ask.get("think") else None,
            response_mime_type="application/json" if ask.get("schema") else None,
            response_schema=Person if ask.get("schema") else None,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)))

    def send(self, ask: dict, history: list) -> tuple[dict, object]:
        body = {"model": ask["model"], "contents": history, "config": self.config(ask)}
        words = ""
        try:
            if not ask["stream"]:
                chunks = [self.sdk.models.generate_content(**body)]
            else:
                chunks = []
                for chunk in self.sdk.models.generate_content_stream(**body):
                    chunks.append(chunk)
                    words += "".join(part.text or "" for part in self._parts(chunk) if not part.thought)
        except Exception as error:  # noqa: BLE001
            return failure(error, words), None
        parts = [part for chunk in chunks for part in self._parts(chunk)]
        return self._seen(chunks, parts, ask), parts

    @staticmethod
    def _parts(chunk) -> list:
        content = chunk.candidates[0].content if chunk.candidates else None
        return (content.parts if content else None) or []

    def _seen(self, chunks: list, parts: list, ask: dict) -> dict:
        last = chunks[-1]
        reasons = [chunk.candidates[0].finish_reason.name for chunk in chunks if chunk.candidates and chunk.candidates[0].finish_reason]
        blocked = [chunk.prompt_feedback.block_reason for chunk in chunks if chunk.prompt_feedback]
        assert len(reasons) <= 1, "two ends"
        text = "".join(part.text or "" for part in parts if not part.thought)
        calls = [{"id": part.function_call.id, "name": part.function_call.name, "arguments": part.function_call.args or {}}
                 for part in parts if part.function_call]
        stop = "filter" if blocked else self.STOPS[reasons[0]] if reasons else None
        usage = last.usage_metadata
        thought = (usage.thoughts_token_count or 0) if usage else 0
        figures = usage and {"input": usage.prompt_token_count, "read": usage.cached_content_token_count or 0, "written": None,
                             "output": (usage.candidates_token_count or 0) + thought, "thought": thought}
        assert usage is None or usage.total_token_count == figures["input"] + figures["output"]
        message = (last.candidates[0].finish_message or "") if last.candidates else ""
        parsed = None
        if ask.get("schema"):
            parsed = last.parsed.model_dump() if not ask["stream"] else Person(**json.loads(text)).model_dump()
        return seen(text=text, thinking="".join(part.text or "" for part in parts if part.thought), refusal=message, calls=calls,
                    stop="call" if calls and stop == "end" else stop, usage=figures, parsed=parsed, id=last.response_id,
                    model=last.model_version)

    def reply(self, history: list, turn, results: list) -> None:
        history.append(types.Content(role="model", parts=turn))
        history.append(types.Content(role="user", parts=[
            types.Part(function_response=types.FunctionResponse(id=call["id"], name=call["name"], response={"output": text}))
            for call, text in results]))
