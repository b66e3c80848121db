"""What the edge itself says to the official SDKs: its own errors, its list of models, and the asynchronous clients."""

import anthropic
import clients
import openai
import pytest
import scenarios
from google import genai
from google.genai import errors, types
from provider import COUNTED

OPTIONS = types.HttpRetryOptions(attempts=1)


def gemini(edge, key=clients.KEY):
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=edge, retry_options=OPTIONS))


def test_the_edges_own_errors_are_the_right_class(edge, sdks):
    asked = {"messages": [{"role": "user", "content": "x"}]}
    chat = sdks["openai-python chat"].sdk
    with pytest.raises(openai.NotFoundError) as caught:
        chat.chat.completions.create(model="nobody", **asked)
    assert "nobody" in caught.value.message and caught.value.request_id
    with pytest.raises(openai.NotFoundError) as caught:
        chat.responses.create(model="nobody", input="x")
    assert "nobody" in caught.value.message and caught.value.request_id
    with pytest.raises(anthropic.NotFoundError) as caught:
        sdks["anthropic-python"].sdk.messages.create(model="nobody", max_tokens=9, **asked)
    assert "nobody" in caught.value.message and caught.value.request_id
    with pytest.raises(errors.ClientError) as caught:
        sdks["google-genai-python"].sdk.models.generate_content(model="nobody", contents="x")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND") and "nobody" in caught.value.message
    with pytest.raises(openai.BadRequestError):
        chat.chat.completions.create(model="plain-messages", n=2, **asked)


def test_strangers_are_turned_away(edge):
    asked = {"model": "plain-chat", "messages": [{"role": "user", "content": "x"}]}
    with openai.OpenAI(base_url=f"{edge}/v1", api_key="wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError):
            stranger.chat.completions.create(**asked)
        with pytest.raises(openai.AuthenticationError):
            stranger.responses.create(model="plain-chat", input="x")
    with (anthropic.Anthropic(base_url=edge, api_key="wrong", max_retries=0) as stranger,
          pytest.raises(anthropic.AuthenticationError)):
        stranger.messages.create(max_tokens=9, **asked)
    stranger = gemini(edge, "wrong")
    with pytest.raises(errors.ClientError) as caught:
        stranger.models.generate_content(model="plain-chat", contents="x")
    assert caught.value.code in (400, 401, 403)


def test_what_only_the_provider_keeps_is_refused_elsewhere(sdks):
    for field in ({"previous_response_id": "resp_1"}, {"conversation": "conv_1"}, {"background": True}):
        for provider in ("chat", "messages", "gemini"):
            with pytest.raises(openai.BadRequestError) as caught:
                sdks["openai-python responses"].sdk.responses.create(model=f"plain-{provider}", input="x", **field)
            assert next(iter(field)) in caught.value.message


def test_models(sdks):
    wanted = {"plain-chat", "plain-gemini"}
    chat = sdks["openai-python chat"].sdk
    assert wanted <= {model.id for model in chat.models.list()}
    assert chat.models.retrieve("plain-messages").id == "plain-messages"
    messages = sdks["anthropic-python"].sdk
    assert wanted <= {model.id for model in messages.models.list()}
    assert messages.models.retrieve("plain-chat").type == "model"
    models = sdks["google-genai-python"].sdk.models
    assert {f"models/{name}" for name in wanted} <= {model.name for model in models.list()}
    assert models.get(model="plain-chat").name == "models/plain-chat"


PROVIDERS = ["chat", "responses", "messages", "gemini"]
TOOL = ("weather", *clients.TOOLS["weather"])


@pytest.mark.parametrize("provider", PROVIDERS)
def test_tokens_are_counted(sdks, providers, provider):
    """Instructions, a tool, an image and the result of a call are in what every provider counts."""
    model, (name, about, schema) = f"plain-{provider}", TOOL
    messages = sdks["anthropic-python"].sdk.messages.count_tokens(
        model=model, system="Be brief.", tools=[{"name": name, "description": about, "input_schema": schema}],
        messages=[{"role": "user", "content": "How many?"},
                  {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": name, "input": scenarios.PARIS}]},
                  {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "sun"}]}])
    assert messages.input_tokens == COUNTED
    told = str(providers[provider].last)
    assert all(part in told for part in ("Be brief.", about, "How many?", "Paris", "sun")), told
    counted = sdks["openai-python responses"].sdk.responses.input_tokens.count(
        model=model, instructions="Be brief.", input="How many?",
        tools=[{"type": "function", "name": name, "description": about, "parameters": schema, "strict": False}])
    assert (counted.object, counted.input_tokens) == ("response.input_tokens", COUNTED)
    assert about in str(providers[provider].last)
    counted = sdks["google-genai-python"].sdk.models.count_tokens(model=model, contents="How many?")
    assert counted.total_tokens == COUNTED


def test_what_counts_nothing_is_refused(sdks):
    asked = {"model": "think-chat", "messages": [{"role": "user", "content": "x"}]}
    with pytest.raises(anthropic.BadRequestError) as caught:
        sdks["anthropic-python"].sdk.messages.count_tokens(**asked)
    assert "counts tokens" in caught.value.message


@pytest.mark.asyncio
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_async(edge, provider):
    model, asked = f"plain-{provider}", [{"role": "user", "content": "[[unicode]]"}]
    said = scenarios.SCENARIOS["unicode"][0].texts()
    async with openai.AsyncOpenAI(base_url=f"{edge}/v1", api_key=clients.KEY, max_retries=0) as client:
        stream = await client.chat.completions.create(model=model, messages=asked, stream=True)
        assert "".join([choice.delta.content or "" async for chunk in stream for choice in chunk.choices]) == said
        stream = await client.responses.create(model=model, input=asked, stream=True)
        assert "".join([event.delta async for event in stream if event.type == "response.output_text.delta"]) == said
    async with anthropic.AsyncAnthropic(base_url=edge, api_key=clients.KEY, max_retries=0) as client:
        async with client.messages.stream(model=model, max_tokens=9, messages=asked) as stream:
            assert "".join([word async for word in stream.text_stream]) == said
    async with gemini(edge).aio as client:
        stream = await client.models.generate_content_stream(model=model, contents="[[unicode]]")
        assert "".join([chunk.text or "" async for chunk in stream]) == said
