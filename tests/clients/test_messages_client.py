"""The official `anthropic` SDK through the edge, to a provider of each format."""

import json

import anthropic
import conftest
import pydantic
import pytest
import scenarios

TOOLS = [
    {"name": "weather", "description": "The weather of a place.", "input_schema": {
        "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "big": {"type": "integer"}},
        "required": ["city"]}},
    {"name": "now", "input_schema": {"type": "object", "properties": {}}},
]
PNG = ("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==")


def ask(messages, model, stream, text, **more):
    """The message, streamed through the SDK's own accumulator or whole."""
    body = {"model": model, "max_tokens": 512, "messages": [{"role": "user", "content": text}], **more}
    if not stream:
        return messages.messages.create(**body)
    with messages.messages.stream(**body) as events:
        return events.get_final_message()


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def test_words(messages, model, stream):
    message = ask(messages, model, stream, "[[hello]]")
    assert (message.type, message.role, message.stop_reason) == ("message", "assistant", "end_turn")
    assert [(block.type, block.text) for block in message.content] == [("text", "Hello!")]
    assert message.id and message.model
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (12, 8, 5)


def test_cached_tokens_are_counted_once(messages, model, stream):
    usage = ask(messages, model, stream, "[[cached]]").usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (10, 512, 1733)


def test_every_character_survives(messages, model, stream, provider):
    message = ask(messages, model, stream, f"[[unicode]] {scenarios.UNICODE}")
    assert text_of(message) == scenarios.UNICODE
    assert scenarios.first_text(provider.last["messages"]) == f"[[unicode]] {scenarios.UNICODE}"


def test_a_long_answer(messages, model, stream):
    assert text_of(ask(messages, model, stream, "[[long]]")) == "word " * 2000


@pytest.mark.parametrize(("scenario", "reason"), [("length", "max_tokens"), ("refusal", "refusal"), ("tool", "tool_use")])
def test_why_it_stopped(messages, model, stream, scenario, reason):
    assert ask(messages, model, stream, f"[[{scenario}]]", tools=TOOLS).stop_reason == reason


def test_parallel_tools(messages, model, stream):
    message = ask(messages, model, stream, "[[parallel]]", tools=TOOLS)
    assert message.stop_reason == "tool_use"
    assert [block.type for block in message.content] == ["text", "tool_use", "tool_use", "tool_use"]
    calls = message.content[1:]
    assert [call.name for call in calls] == ["weather", "weather", "now"]
    assert [call.input for call in calls] == [scenarios.PARIS, scenarios.ROME, {}]
    assert len({call.id for call in calls}) == 3


@pytest.mark.parametrize(("choice", "native"), [
    ({"type": "auto"}, "auto"), ({"type": "any"}, "required"), ({"type": "none"}, "none"),
    ({"type": "tool", "name": "now"}, {"type": "function", "function": {"name": "now"}}),
])
def test_the_choice_of_a_tool(messages, model, provider, choice, native):
    sent = choice if choice["type"] == "none" else {**choice, "disable_parallel_tool_use": True}
    ask(messages, model, False, "[[hello]]", tools=TOOLS, tool_choice=sent)
    if model == "on-anthropic":
        assert provider.last["tool_choice"] == sent
    else:
        assert provider.last["tool_choice"] == native
        assert provider.last.get("parallel_tool_calls") is (None if native == "none" else False)


@pytest.mark.parametrize("scenario", ["parallel", "tool", "empty-tool"])
def test_a_loop_of_tools(messages, model, stream, provider, scenario):
    first = ask(messages, model, stream, f"[[{scenario}]]", tools=TOOLS)
    calls = [block for block in first.content if block.type == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": f"sun for {call.id}"} for call in calls]
    results[0]["is_error"] = True
    history = [{"role": "user", "content": f"[[{scenario}]]"}, {"role": "assistant", "content": first.content},
               {"role": "user", "content": [*results, {"type": "text", "text": "And now?"}]}]
    second = messages.messages.create(model=model, max_tokens=512, tools=TOOLS, messages=history)
    assert text_of(second) == "It is sunny in Paris." and second.stop_reason == "end_turn"
    sent = json.dumps(provider.last, ensure_ascii=False)
    assert all(f"sun for {call.id}" in sent for call in calls) and "And now?" in sent
    if scenario != "empty-tool":
        assert "12345678901234567890" in sent, "a number is not rounded on its way back"


@pytest.mark.parametrize("scenario", ["think-tool", "redacted-tool", "silent-tool"])
def test_thinking_comes_back_as_it_was(messages, stream, scenario, anthropic_provider):
    thinking = {"type": "enabled", "budget_tokens": 2000}
    asked = {"tools": TOOLS, "thinking": thinking, "max_tokens": 4000}
    first = ask(messages, "on-anthropic", stream, f"[[{scenario}]]", **asked)
    history = [{"role": "user", "content": f"[[{scenario}]]"}, {"role": "assistant", "content": first.content},
               {"role": "user", "content": [{"type": "tool_result", "tool_use_id": first.content[-1].id, "content": "sun"}]}]
    second = messages.messages.create(model="on-anthropic", messages=history, **asked)
    assert text_of(second) == "It is sunny in Paris."
    kept = anthropic_provider.last["messages"][1]["content"][0]
    assert kept.get("signature") == scenarios.SIGNATURE or kept.get("data") == scenarios.REDACTED


def test_a_conversation_may_move_to_another_provider(messages, stream, openai_provider):
    """Thinking that Anthropic signed is not shown to OpenAI, and does not break the request."""
    thinking = {"type": "enabled", "budget_tokens": 2000}
    first = ask(messages, "on-anthropic", stream, "[[think-tool]]", tools=TOOLS, thinking=thinking, max_tokens=4000)
    history = [{"role": "user", "content": "[[think-tool]]"}, {"role": "assistant", "content": first.content},
               {"role": "user", "content": [{"type": "tool_result", "tool_use_id": first.content[-1].id, "content": "sun"}]}]
    second = messages.messages.create(model="on-openai", messages=history, tools=TOOLS, max_tokens=4000)
    assert text_of(second) == "It is sunny in Paris."
    assert scenarios.SIGNATURE not in json.dumps(openai_provider.last)


def test_reasoning_of_a_compatible_server_goes_back_to_it(messages, stream, compatible_provider):
    first = ask(messages, "on-compatible", stream, "[[think-tool]]", tools=TOOLS)
    assert [block.type for block in first.content] == ["thinking", "tool_use"]
    assert first.content[0].thinking == "I need the weather." and first.content[0].signature
    history = [{"role": "user", "content": "[[think-tool]]"}, {"role": "assistant", "content": first.content},
               {"role": "user", "content": [{"type": "tool_result", "tool_use_id": first.content[-1].id, "content": "sun"}]}]
    second = messages.messages.create(model="on-compatible", messages=history, tools=TOOLS, max_tokens=99)
    assert text_of(second) == "It is sunny in Paris."
    assert compatible_provider.last["messages"][1]["reasoning_content"] == "I need the weather."


def test_reasoning_of_another_provider_never_reaches_anthropic(messages, stream, anthropic_provider):
    """Anthropic refuses a thinking block that it did not sign; the edge takes it out even of a body that it passes on."""
    first = ask(messages, "on-compatible", stream, "[[think-tool]]", tools=TOOLS)
    history = [{"role": "user", "content": "[[think-tool]]"}, {"role": "assistant", "content": first.content},
               {"role": "user", "content": [{"type": "tool_result", "tool_use_id": first.content[-1].id, "content": "sun"}]}]
    second = messages.messages.create(model="on-anthropic", messages=history, tools=TOOLS, max_tokens=99)
    assert text_of(second) == "It is sunny in Paris."
    assert [block["type"] for block in anthropic_provider.last["messages"][1]["content"]] == ["tool_use"]


@pytest.mark.parametrize("source", [{"type": "base64", "media_type": "image/png", "data": PNG},
                                    {"type": "url", "url": "https://example.test/cat.png"}])
def test_vision(messages, model, provider, source):
    content = [{"type": "text", "text": "[[hello]] What is it?"}, {"type": "image", "source": source}]
    message = messages.messages.create(model=model, max_tokens=9, messages=[{"role": "user", "content": content}])
    assert text_of(message) == "Hello!"
    parts = provider.last["messages"][0]["content"]
    if model == "on-anthropic":
        assert parts == content
    else:
        assert parts[1]["type"] == "image_url"
        wanted = source.get("url") or f"data:image/png;base64,{PNG}"
        assert parts[1]["image_url"]["url"] == wanted


class Person(pydantic.BaseModel):
    name: str
    age: int


def test_structured_output(messages, model, provider):
    message = messages.messages.parse(model=model, max_tokens=99, messages=[{"role": "user", "content": "[[json]]"}],
                                      output_format=Person)
    assert message.parsed_output == Person(name="北", age=3)
    if model == "on-openai":
        output = provider.last["response_format"]
        assert output["type"] == "json_schema" and output["json_schema"]["schema"]["required"] == ["name", "age"]


def test_settings_reach_the_provider(messages, model, provider):
    messages.messages.create(model=model, max_tokens=77, stop_sequences=["a", "b"], metadata={"user_id": "u-1"}, system=[
        {"type": "text", "text": "one"}, {"type": "text", "text": "two", "cache_control": {"type": "ephemeral"}}],
        messages=[{"role": "user", "content": "[[hello]]"}, {"role": "assistant", "content": "yes"},
                  {"role": "user", "content": "go on"}])
    sent = provider.last
    if model == "on-openai":
        assert sent.get("max_completion_tokens", sent.get("max_tokens")) == 77
        assert sent["stop"] == ["a", "b"]
        assert [part["text"] for part in sent["messages"][0]["content"]] == ["one", "two"]


@pytest.mark.parametrize(("status", "kind", "error", "seen", "told"), [
    (400, "invalid_request_error", anthropic.BadRequestError, 400, "invalid_request_error"),
    (404, "not_found_error", anthropic.NotFoundError, 404, "not_found_error"),
    (413, "request_too_large", anthropic.APIStatusError, 413, "request_too_large"),
    (429, "rate_limit_error", anthropic.RateLimitError, 429, "rate_limit_error"),
    (500, "api_error", anthropic.InternalServerError, 500, "api_error"),
    (503, "overloaded_error", anthropic.InternalServerError, 503, "overloaded_error"),
    (529, "overloaded_error", anthropic.InternalServerError, 529, "overloaded_error"),
    (401, "authentication_error", anthropic.InternalServerError, 502, "api_error"),
    (403, "permission_error", anthropic.InternalServerError, 502, "api_error"),
])
def test_a_providers_error_is_the_right_class(messages, model, stream, status, kind, error, seen, told):
    with pytest.raises(error) as caught:
        messages.messages.create(model=model, max_tokens=9, stream=stream,
                                 messages=[{"role": "user", "content": f"[[error {status} {kind}]]"}])
    assert (caught.value.status_code, caught.value.body["error"]["type"]) == (seen, told)
    assert caught.value.request_id
    if status not in (401, 403):
        assert "the provider's own words" in caught.value.body["error"]["message"]
    if status == 429:
        assert caught.value.response.headers["retry-after"] == "1"


def test_the_edges_own_errors_are_the_right_class(edge, messages):
    asked = {"model": "on-anthropic", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    with pytest.raises(anthropic.NotFoundError) as caught:
        messages.messages.create(**{**asked, "model": "nobody"})
    assert "nobody" in caught.value.message and caught.value.request_id
    with (anthropic.Anthropic(base_url=edge, api_key="wrong", max_retries=0) as stranger,
          pytest.raises(anthropic.AuthenticationError)):
        stranger.messages.create(**asked)


@pytest.mark.parametrize("scenario", ["broken-words", "broken-cut"])
def test_a_broken_stream_raises(messages, model, scenario):
    words = ""
    asked = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": f"[[{scenario}]]"}]}
    with pytest.raises(anthropic.APIError), messages.messages.stream(**asked) as stream:
        for word in stream.text_stream:
            words += word
    assert "Hello!".startswith(words)


def test_models(messages):
    listed = list(messages.models.list())
    assert {"on-openai", "on-anthropic"} <= {model.id for model in listed}
    assert messages.models.retrieve("on-openai").type == "model"


@pytest.mark.asyncio
async def test_async(edge, model):
    async with anthropic.AsyncAnthropic(base_url=edge, api_key=conftest.CLIENT_KEY, max_retries=0) as client:
        asked = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "[[unicode]]"}]}
        async with client.messages.stream(**asked) as stream:
            assert "".join([word async for word in stream.text_stream]) == scenarios.UNICODE
        assert text_of(await client.messages.create(**asked)) == scenarios.UNICODE
