"""The official `openai` SDK through the edge, to a provider of each format."""

import json

import conftest
import openai
import pydantic
import pytest
import scenarios

TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "The weather of a place.", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "big": {"type": "integer"}},
        "required": ["city"]}}},
    {"type": "function", "function": {"name": "now"}},
]
PNG = ("data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5E"
       "rkJggg==")


def ask(chat, model, stream, text, **more):
    """The completion, streamed through the SDK's own accumulator or whole."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    if not stream:
        return chat.chat.completions.create(**body)
    with chat.chat.completions.stream(**body, stream_options={"include_usage": True}) as events:
        for _ in events:
            pass
        # Not `get_final_completion`: it raises on a finish reason of `length` by design.
        return events.current_completion_snapshot


def only(completion):
    assert len(completion.choices) == 1
    return completion.choices[0]


def test_words(chat, model, stream):
    completion = ask(chat, model, stream, "[[hello]]")
    choice = only(completion)
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "Hello!", "stop")
    assert completion.id and completion.created and completion.model
    assert not choice.message.tool_calls
    usage = completion.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (20, 5, 25)
    assert usage.prompt_tokens_details.cached_tokens == 8


def test_cached_tokens_are_counted_once(chat, model, stream):
    usage = ask(chat, model, stream, "[[cached]]").usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (2255, 5, 2260)
    assert usage.prompt_tokens_details.cached_tokens == 512
    assert usage.prompt_tokens_details.cache_write_tokens == 1733


def test_every_character_survives(chat, model, stream, provider):
    completion = ask(chat, model, stream, f"[[unicode]] {scenarios.UNICODE}")
    assert only(completion).message.content == scenarios.UNICODE
    assert scenarios.first_text(provider.last["messages"]) == f"[[unicode]] {scenarios.UNICODE}"


def test_a_long_answer(chat, model, stream):
    assert only(ask(chat, model, stream, "[[long]]")).message.content == "word " * 2000


@pytest.mark.parametrize(("scenario", "finish"), [("length", "length"), ("refusal", "content_filter"), ("sequence", "stop"),
                                                  ("tool", "tool_calls")])
def test_why_it_stopped(chat, model, stream, scenario, finish):
    body = {"model": model, "messages": [{"role": "user", "content": f"[[{scenario}]]"}], "tools": TOOLS}
    if not stream:
        assert only(chat.chat.completions.create(**body)).finish_reason == finish
        return
    reasons = [choice.finish_reason for chunk in chat.chat.completions.create(**body, stream=True) for choice in chunk.choices]
    assert [reason for reason in reasons if reason] == [finish]
    assert reasons[-1] == finish, "it comes last"


def test_parallel_tools(chat, model, stream):
    choice = only(ask(chat, model, stream, "[[parallel]]", tools=TOOLS, parallel_tool_calls=True))
    assert choice.message.content == "Let me look." and choice.finish_reason == "tool_calls"
    calls = choice.message.tool_calls
    assert [call.function.name for call in calls] == ["weather", "weather", "now"]
    assert [json.loads(call.function.arguments) for call in calls] == [scenarios.PARIS, scenarios.ROME, {}]
    assert len({call.id for call in calls}) == 3
    assert {call.type for call in calls} == {"function"}


@pytest.mark.parametrize(("choice", "native"), [
    ("auto", {"type": "auto"}), ("required", {"type": "any"}), ("none", {"type": "none"}),
    ({"type": "function", "function": {"name": "now"}}, {"type": "tool", "name": "now"}),
])
def test_the_choice_of_a_tool(chat, model, provider, choice, native):
    chat.chat.completions.create(model=model, messages=[{"role": "user", "content": "[[hello]]"}], tools=TOOLS,
                                 tool_choice=choice, parallel_tool_calls=False)
    if model == "on-openai":
        assert provider.last["tool_choice"] == choice and provider.last["parallel_tool_calls"] is False
    else:
        sent = dict(provider.last["tool_choice"])
        parallel = sent.pop("disable_parallel_tool_use", None)
        assert sent == native
        assert parallel is (None if native["type"] == "none" else True)


@pytest.mark.parametrize("scenario", ["parallel", "tool", "empty-tool"])
def test_a_loop_of_tools(chat, model, stream, provider, scenario):
    first = only(ask(chat, model, stream, f"[[{scenario}]]", tools=TOOLS)).message
    history = [{"role": "system", "content": "Use tools."}, {"role": "user", "content": f"[[{scenario}]]"},
               first.model_dump(exclude_none=True, include={"role", "content", "tool_calls"})]
    for call in history[2]["tool_calls"]:
        call.pop("index", None)
        call["function"].pop("parsed_arguments", None)
    history += [{"role": "tool", "tool_call_id": call.id, "content": f"sun for {call.id}"} for call in reversed(first.tool_calls)]
    second = only(chat.chat.completions.create(model=model, messages=history, tools=TOOLS))
    assert second.message.content == "It is sunny in Paris." and second.finish_reason == "stop"
    sent = json.dumps(provider.last, ensure_ascii=False)
    assert all(f"sun for {call.id}" in sent for call in first.tool_calls)
    if scenario != "empty-tool":
        assert "12345678901234567890" in sent, "a number is not rounded on its way back"


@pytest.mark.parametrize("model", ["on-anthropic", "on-adaptive"])
@pytest.mark.parametrize("scenario", ["think-tool", "redacted-tool", "silent-tool"])
def test_thinking_comes_back_with_its_signature(chat, model, stream, scenario, anthropic_provider):
    """A chat client that echoes `reasoning_details` (OpenRouter's field) keeps an Anthropic tool loop alive."""
    asked = {"tools": TOOLS, "reasoning_effort": "high", "max_completion_tokens": 32000}
    first = only(ask(chat, model, stream, f"[[{scenario}]]", **asked)).message
    assert anthropic_provider.last["thinking"]["type"] == ("enabled" if model == "on-anthropic" else "adaptive")
    if scenario == "think-tool":
        assert first.model_extra["reasoning_content"] == "I need the weather."
    turn = {"role": "assistant", "content": None, "reasoning_details": first.model_extra["reasoning_details"], "tool_calls": [
        {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": call.function.arguments}}
        for call in first.tool_calls]}
    history = [{"role": "user", "content": f"[[{scenario}]]"}, turn,
               {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "sun"}]
    second = only(chat.chat.completions.create(model=model, messages=history, **asked))
    assert second.message.content == "It is sunny in Paris."
    sent = anthropic_provider.last["messages"][1]["content"]
    wanted = {
        "think-tool": {"type": "thinking", "thinking": "I need the weather.", "signature": scenarios.SIGNATURE},
        "silent-tool": {"type": "thinking", "thinking": "", "signature": scenarios.SIGNATURE},
        "redacted-tool": {"type": "redacted_thinking", "data": scenarios.REDACTED},
    }[scenario]
    assert sent[0] == wanted and sent[1]["type"] == "tool_use"
    assert sent[1]["input"] == scenarios.PARIS


def test_reasoning_is_text_and_a_count(chat, stream):
    completion = ask(chat, "on-anthropic", stream, "[[think]]", reasoning_effort="low", max_completion_tokens=9000)
    message = only(completion).message
    assert (message.content, message.model_extra["reasoning_content"]) == ("Sunny.", "First, the weather.")
    assert completion.usage.completion_tokens == 50
    assert completion.usage.completion_tokens_details.reasoning_tokens == 40


@pytest.mark.parametrize("url", [PNG, "https://example.test/cat.png"])
def test_vision(chat, model, provider, url):
    content = [{"type": "text", "text": "[[hello]] What is it?"}, {"type": "image_url", "image_url": {"url": url}},
               {"type": "image_url", "image_url": {"url": url, "detail": "low"}}]
    completion = chat.chat.completions.create(model=model, messages=[{"role": "user", "content": content}])
    assert only(completion).message.content == "Hello!"
    parts = provider.last["messages"][0]["content"]
    if model == "on-openai":
        assert parts == content
        return
    source = ({"type": "base64", "media_type": "image/png", "data": PNG.split(",")[1]} if url == PNG
              else {"type": "url", "url": url})
    assert [part["type"] for part in parts] == ["text", "image", "image"]
    assert parts[1]["source"] == source == parts[2]["source"]


class Person(pydantic.BaseModel):
    name: str
    age: int


def test_structured_output(chat, model, provider):
    completion = chat.chat.completions.parse(model=model, messages=[{"role": "user", "content": "[[json]]"}], response_format=Person)
    assert only(completion).message.parsed == Person(name="北", age=3)
    if model == "on-anthropic":
        output = provider.last["output_config"]["format"]
        assert output["type"] == "json_schema" and output["schema"]["required"] == ["name", "age"]


def test_a_document(chat, model, provider):
    pdf = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjQK"}}
    content = [{"type": "text", "text": "[[hello]]"}, pdf]
    chat.chat.completions.create(model=model, messages=[{"role": "user", "content": content}])
    if model == "on-anthropic":
        document = provider.last["messages"][0]["content"][1]
        assert document["type"] == "document"
        assert document["source"] == {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQK"}


def test_settings_reach_the_provider(chat, model, provider):
    chat.chat.completions.create(model=model, max_completion_tokens=77, temperature=0.5, stop=["a", "b"], user="u-1", messages=[
        {"role": "system", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
        {"role": "user", "content": "[[hello]]"}, {"role": "assistant", "content": "yes"}, {"role": "user", "content": "go on"}])
    sent = provider.last
    if model == "on-anthropic":
        assert (sent["max_tokens"], sent["temperature"], sent["stop_sequences"]) == (77, 0.5, ["a", "b"])
        assert [block["text"] for block in sent["system"]] == ["one", "two"], "never joined"
        assert [turn["role"] for turn in sent["messages"]] == ["user", "assistant", "user"]


@pytest.mark.parametrize(("status", "kind", "error", "seen"), [
    (400, "invalid_request_error", openai.BadRequestError, 400),
    (404, "not_found_error", openai.NotFoundError, 404),
    (413, "request_too_large", openai.APIStatusError, 413),
    (429, "rate_limit_error", openai.RateLimitError, 429),
    (500, "api_error", openai.InternalServerError, 500),
    (503, "overloaded_error", openai.InternalServerError, 503),
    # A status that OpenAI's clients do not know becomes one that they do; between like formats it stays.
    (529, "overloaded_error", openai.InternalServerError, 503),
    (401, "authentication_error", openai.InternalServerError, 502),
    (403, "permission_error", openai.InternalServerError, 502),
])
def test_a_providers_error_is_the_right_class(chat, model, stream, status, kind, error, seen):
    with pytest.raises(error) as caught:
        chat.chat.completions.create(model=model, messages=[{"role": "user", "content": f"[[error {status} {kind}]]"}], stream=stream)
    assert caught.value.status_code == (529 if (status, model) == (529, "on-openai") else seen)
    assert caught.value.request_id
    if status not in (401, 403):
        assert "the provider's own words" in caught.value.message
    if status in (429, 529):
        assert caught.value.response.headers["retry-after"] == "1"


def test_the_edges_own_errors_are_the_right_class(edge, chat):
    def create(client, **more):
        body = {"model": "on-openai", "messages": [{"role": "user", "content": "x"}], **more}
        return client.chat.completions.create(**body)

    with pytest.raises(openai.NotFoundError) as caught:
        create(chat, model="nobody")
    assert "nobody" in caught.value.message and caught.value.request_id
    with openai.OpenAI(base_url=f"{edge}/v1", api_key="wrong", max_retries=0) as stranger, pytest.raises(openai.AuthenticationError):
        create(stranger)
    with pytest.raises(openai.BadRequestError):
        create(chat, model="on-anthropic", n=2)


@pytest.mark.parametrize("scenario", ["broken-words", "broken-cut"])
def test_a_broken_stream_raises(chat, model, scenario):
    words = ""
    with pytest.raises(openai.APIError):
        for chunk in chat.chat.completions.create(model=model, messages=[{"role": "user", "content": f"[[{scenario}]]"}], stream=True):
            words += chunk.choices[0].delta.content or "" if chunk.choices else ""
            assert not (chunk.choices and chunk.choices[0].finish_reason)
    assert words and "Hello!".startswith(words)


def test_models(chat):
    listed = chat.models.list()
    assert {"on-openai", "on-anthropic"} <= {model.id for model in listed}
    assert chat.models.retrieve("on-anthropic").id == "on-anthropic"


@pytest.mark.asyncio
async def test_async(edge, model):
    async with openai.AsyncOpenAI(base_url=f"{edge}/v1", api_key=conftest.CLIENT_KEY, max_retries=0) as client:
        asked = [{"role": "user", "content": "[[unicode]]"}]
        stream = await client.chat.completions.create(model=model, messages=asked, stream=True)
        words = [choice.delta.content or "" async for chunk in stream for choice in chunk.choices]
        assert "".join(words) == scenarios.UNICODE
        again = await client.chat.completions.create(model=model, messages=asked)
        assert only(again).message.content == scenarios.UNICODE
