"""The mocks against the SDKs without the edge between: what they accept and say is the real thing."""

import anthropic
import mock_chat
import mock_gemini
import mock_messages
import mock_responses
import openai
import pytest
import scenarios
import strict
from client_wire import WireChat, WireGemini, WireMessages, WireResponses
from google import genai
from google.genai import errors
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming as ChatParams
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming as ResponsesParams
from provider import COUNTED


@pytest.fixture(scope="module")
def direct(providers):
    """An SDK of each format that speaks to its mock at once."""
    options = {"base_url": providers["gemini"].url, "api_version": "v1beta", "retry_options": {"attempts": 1}}
    return {
        "chat": openai.OpenAI(base_url=f"{providers['chat'].url}/v1", api_key=mock_chat.KEY, max_retries=0),
        "responses": openai.OpenAI(base_url=f"{providers['responses'].url}/v1", api_key=mock_responses.KEY, max_retries=0),
        "messages": anthropic.Anthropic(base_url=providers["messages"].url, api_key=mock_messages.KEY, max_retries=0),
        "gemini": genai.Client(api_key=mock_gemini.KEY, http_options=options),
    }


@pytest.mark.parametrize("name", [n for n, s in scenarios.SCENARIOS.items() if isinstance(s, tuple) and n != "blocked"])
def test_a_stream_adds_up_to_the_whole(direct, name):
    asked = [{"role": "user", "content": f"[[{name}]]"}]
    chat = direct["chat"].chat.completions
    whole = chat.create(model="m", messages=asked)
    with chat.stream(model="m", messages=asked, stream_options={"include_usage": True}) as stream:
        streamed = list(stream) and stream.current_completion_snapshot
    assert streamed.choices[0].message.content == whole.choices[0].message.content
    assert streamed.usage == whole.usage
    whole = direct["messages"].messages.create(model="m", max_tokens=99, messages=asked)
    with direct["messages"].messages.stream(model="m", max_tokens=99, messages=asked) as stream:
        streamed = stream.get_final_message()
    assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in whole.content]
    assert (streamed.stop_reason, streamed.usage.cache_read_input_tokens) == (whole.stop_reason, whole.usage.cache_read_input_tokens)
    whole = direct["responses"].responses.create(model="m", input=asked)
    last = list(direct["responses"].responses.create(model="m", input=asked, stream=True))[-1].response
    assert [item.to_dict() for item in last.output] == [item.to_dict() for item in whole.output]
    assert (last.status, last.usage) == (whole.status, whole.usage)
    contents = f"[[{name}]]"
    whole = direct["gemini"].models.generate_content(model="m", contents=contents)
    chunks = list(direct["gemini"].models.generate_content_stream(model="m", contents=contents))
    texts = [part.text or "" for chunk in chunks for part in chunk.candidates[0].content.parts if not part.thought]
    said = [part.text or "" for part in (whole.candidates[0].content.parts if whole.candidates[0].content else []) if not part.thought]
    assert "".join(texts) == "".join(said)
    assert chunks[-1].usage_metadata == whole.usage_metadata


@pytest.mark.parametrize("broken", [
    {"nonsense": 1},
    {"messages": [{"role": "user", "content": "x", "reasoning_content": "y"}]},
    {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
    {"messages": [{"role": "user"}]},
    {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}, "input_schema": {}}}]},
    {"tool_choice": "any"},
    {"max_tokens": "9"},
])
def test_the_types_of_chat_are_held_strictly(broken):
    good = {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}
    strict.check(good, ChatParams)
    with pytest.raises(strict.Refused):
        strict.check({**good, **broken}, ChatParams)


@pytest.mark.parametrize("broken", [
    {"stop": ["x"]},
    {"max_tokens": 9},
    {"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
    {"input": [{"type": "function_call_output", "call_id": "x"}]},
    {"tools": [{"type": "function", "function": {"name": "f"}}]},
    {"text": {"format": {"type": "json_schema", "json_schema": {}}}},
])
def test_the_types_of_responses_are_held_strictly(broken):
    good = {"model": "m", "input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}]}
    strict.check(good, ResponsesParams)
    with pytest.raises(strict.Refused):
        strict.check({**good, **broken}, ResponsesParams)


@pytest.mark.parametrize(("name", "more"), [
    ("messages", {"max_tokens": 9}),
    ("messages", {"temperature": 1}),
    ("responses", {"store": False}),
    ("responses", {"max_output_tokens": 99}),
    ("gemini", {"systemInstruction": {"parts": [{"text": "x"}]}}),
    ("gemini", {"generateContentRequest": {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}}),
])
def test_what_has_no_place_in_a_count_is_refused(direct, providers, name, more):
    """As the vendors refuse it; without it each counts."""
    ask = {
        "messages": lambda body: direct[name].messages.count_tokens(
            model="m", messages=[{"role": "user", "content": "x"}], extra_body=body).input_tokens,
        "responses": lambda body: direct[name].responses.input_tokens.count(
            model="m", input="x", extra_body=body).input_tokens,
        "gemini": lambda body: direct[name].models.count_tokens(
            model="m", contents="x", config={"http_options": {"extra_body": body}}).total_tokens,
    }[name]
    assert ask({}) == COUNTED
    with pytest.raises((anthropic.BadRequestError, openai.BadRequestError, errors.ClientError)):
        ask(more)
    providers[name].refusals.clear()


CALL = {"type": "tool_use", "id": "call_one", "name": "weather", "input": scenarios.PARIS}


@pytest.mark.parametrize("turns", [
    [{"role": "assistant", "content": "x"}],
    [{"role": "user", "content": "[[tool]]"}, {"role": "assistant", "content": [CALL]}],
    [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}]}],
    [{"role": "user", "content": [{"type": "text", "text": ""}]}],
    [{"role": "user", "content": "x"}, {"role": "assistant", "content": [{"type": "thinking", "thinking": "", "signature": "no"}]}],
    # The result of another call, and a call that was never made.
    [{"role": "user", "content": "[[tool]]"}, {"role": "assistant", "content": [CALL]},
     {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_one", "content": "sun in Rome"}]}],
    [{"role": "user", "content": "[[tool]]"}, {"role": "assistant", "content": [{**CALL, "input": {"city": "Rome"}}]},
     {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_one", "content": "sun in Rome"}]}],
])
def test_the_rules_on_messages_are_held(direct, providers, turns):
    with pytest.raises(anthropic.BadRequestError):
        direct["messages"].messages.create(model="m", max_tokens=9, messages=turns)
    providers["messages"].refusals.clear()


ITEM = {"type": "function_call", "call_id": "call_one", "name": "weather", "arguments": scenarios.dumps(scenarios.PARIS)}
OUTPUT = {"type": "function_call_output", "call_id": "call_one", "output": scenarios.result_of("weather", scenarios.PARIS)}
REASON = {"type": "reasoning", "id": "rs_0", "summary": [], "encrypted_content": "no"}


@pytest.mark.parametrize("items", [
    [ITEM],
    [OUTPUT],
    [ITEM, {**OUTPUT, "call_id": "call_two"}],
    [{**ITEM, "call_id": "x" * 65}, {**OUTPUT, "call_id": "x" * 65}],
    [ITEM, {**OUTPUT, "output": "sun in Rome"}],
    [REASON, ITEM, OUTPUT],
    [ITEM, OUTPUT, REASON],
])
def test_the_rules_on_items_are_held(direct, providers, items):
    with pytest.raises(openai.BadRequestError):
        direct["responses"].responses.create(model="m", input=[{"role": "user", "content": "[[tool]]"}, *items])
    providers["responses"].refusals.clear()


PART = {"function_call": {"id": "call_one", "name": "weather", "args": scenarios.PARIS},
        "thought_signature": scenarios.mint("gemini", "call call_one")}
RESULT = {"function_response": {"id": "call_one", "name": "weather", "response": {"output": OUTPUT["output"]}}}


@pytest.mark.parametrize(("parts", "results", "fits"), [
    ([PART], [RESULT], True),
    ([{"function_call": PART["function_call"]}], [RESULT], False),
    ([{**PART, "thought_signature": scenarios.mint("messages", "call call_one")}], [RESULT], False),
    ([PART], [RESULT, RESULT], False),
    ([PART], [{"text": "sun"}], False),
    ([PART], [{"function_response": {**RESULT["function_response"], "name": "now"}}], False),
])
def test_the_rules_on_parts_are_held(direct, providers, parts, results, fits):
    contents = [{"role": "user", "parts": [{"text": "[[tool]]"}]}, {"role": "model", "parts": parts}, {"role": "user", "parts": results}]
    if fits:
        assert direct["gemini"].models.generate_content(model="m", contents=contents).text == "It is sunny."
        return
    with pytest.raises(errors.ClientError):
        direct["gemini"].models.generate_content(model="m", contents=contents)
    providers["gemini"].refusals.clear()


@pytest.mark.parametrize(("provider", "kind"), [("chat", WireChat), ("responses", WireResponses), ("messages", WireMessages),
                                                ("gemini", WireGemini)])
def test_the_grammars_can_say_no(providers, provider, kind):
    body = {"model": "m", "stream_options": {"include_usage": True}}
    providers["gemini"].model = "m"
    events = providers[provider].stream(scenarios.SCENARIOS["parallel"][0], body, "plain")
    events = [event for event in events if event[0] != "ping"]
    checker = kind.__new__(kind)
    checker.grammar(events)
    twice = next(number for number, (_, data) in enumerate(events) if "call_two" in scenarios.dumps(data))
    wrong = {"no beginning": events[1:], "no end": events[:-1], "two ends": [*events, events[-1]],
             "a name": [("made_up", data) for _, data in events], "twice": [*events[: twice + 1], *events[twice:]]}
    if provider == "gemini":  # any piece may be the first, and calls stand alone
        del wrong["no beginning"], wrong["twice"]
    for broken in wrong.values():
        with pytest.raises((AssertionError, KeyError, ValueError, IndexError, TypeError)):
            checker.grammar(broken)
