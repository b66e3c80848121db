"""The mocks against the SDKs without the edge between: what they accept and say is the real thing."""

import anthropic
import mock_anthropic
import mock_openai
import openai
import pytest
import scenarios
import strict
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming as ChatParams


@pytest.fixture
def direct_chat(openai_provider):
    with openai.OpenAI(base_url=f"{openai_provider.url}/v1", api_key=mock_openai.KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def direct_messages(anthropic_provider):
    with anthropic.Anthropic(base_url=anthropic_provider.url, api_key=mock_anthropic.KEY, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("name", [n for n, s in scenarios.SCENARIOS.items() if isinstance(s, scenarios.Answer)])
def test_a_stream_adds_up_to_the_whole(direct_chat, direct_messages, name):
    asked = [{"role": "user", "content": f"[[{name}]]"}]
    whole = direct_chat.chat.completions.create(model="m", messages=asked)
    with direct_chat.chat.completions.stream(model="m", messages=asked, stream_options={"include_usage": True}) as stream:
        streamed = list(stream) and stream.current_completion_snapshot
    assert streamed.choices[0].message.content == whole.choices[0].message.content
    assert streamed.usage == whole.usage
    whole = direct_messages.messages.create(model="m", max_tokens=99, messages=asked)
    with direct_messages.messages.stream(model="m", max_tokens=99, messages=asked) as stream:
        streamed = stream.get_final_message()
    assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in whole.content]
    assert (streamed.stop_reason, streamed.usage.cache_read_input_tokens) == (whole.stop_reason, whole.usage.cache_read_input_tokens)


@pytest.mark.parametrize("broken", [
    {"nonsense": 1},
    {"messages": [{"role": "user", "content": "x", "reasoning_content": "y"}]},
    {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
    {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}, "input_schema": {}}}]},
    {"tool_choice": "any"},
    {"max_tokens": "9"},
])
def test_the_types_are_held_strictly(broken):
    good = {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}
    strict.check(good, ChatParams)
    with pytest.raises(strict.Refused):
        strict.check({**good, **broken}, ChatParams)


@pytest.mark.parametrize("turns", [
    [{"role": "assistant", "content": "x"}],
    [{"role": "user", "content": "x"}, {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]}],
    [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}]}],
    [{"role": "user", "content": [{"type": "text", "text": ""}]}],
    [{"role": "user", "content": "x"}, {"role": "assistant", "content": [{"type": "thinking", "thinking": "", "signature": "no"}]}],
])
def test_the_rules_on_turns_are_held(direct_messages, anthropic_provider, turns):
    with pytest.raises(anthropic.BadRequestError):
        direct_messages.messages.create(model="m", max_tokens=9, messages=turns)
    anthropic_provider.refusals.clear()
