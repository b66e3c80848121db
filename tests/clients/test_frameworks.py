"""LangChain and pydantic-ai through the edge to a provider of every format, and straight to one of their own format.

They pin other SDKs than the matrix does, and so live in an environment of their own, which `./x sdk` makes. The run straight
to a mock shows that the case is fair: what fails there is the framework's or the mock's own.
"""

import asyncio
import functools

import anthropic
import clients
import mock_chat
import mock_gemini
import mock_messages
import mock_responses
import openai
import pytest
import scenarios
import strict
from cases import FORMATS, Case, Seen, same, script_of, state_survives, text_arrives, tool_case, tools_arrive, well
from clients import TOOLS, Client, raised, seen
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI
from pydantic_ai import Agent, Tool
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider

# LangChain replays its own turns without what the types demand of an item, and the server takes it so.
strict.LENIENT |= {("ResponseOutputMessageParam", "id"), ("ResponseOutputMessageParam", "status"), ("FunctionToolParam", "strict")}
strict._required.cache_clear()

KEYS = {"chat": mock_chat.KEY, "compatible": mock_chat.KEY, "responses": mock_responses.KEY, "messages": mock_messages.KEY,
        "gemini": mock_gemini.KEY}
# The names by which a framework knows a model of its own format; some of what it sends depends on them.
OWN = {"chat": "gpt-4.1", "compatible": "deepseek-reasoner", "responses": "gpt-5.1", "messages": "claude-sonnet-4-5",
       "gemini": "gemini-3-pro-preview"}
STOPS = {"stop": "end", "tool_calls": "call", "length": "length", "completed": "end", "end_turn": "end", "tool_use": "call",
         "max_tokens": "length", "STOP": "end", "MAX_TOKENS": "length", "tool_call": "call"}


def chain(error: BaseException):
    """The failure, and those behind it."""
    while error is not None:
        yield error
        error = error.__cause__


def failure(error: Exception, begun: bool, words: str) -> dict:
    """What a framework's user can tell of a failure; one that comes when the answer has begun is the stream's."""
    status = next((code for one in chain(error) for code in (getattr(one, "status_code", None), getattr(one, "code", None))
                   if isinstance(code, int)), None)
    answers = [one.response for one in chain(error) if hasattr(getattr(one, "response", None), "headers")]
    named = {400: "bad_request", 404: "not_found", 429: "rate_limit"}
    kind = "stream" if begun else named.get(status, "server" if (status or 0) >= 500 else "other")
    return raised(kind, error, status, str(error), answers[0].headers.get("retry-after") if answers else None, words=words)


class LangChain(Client):
    """A chat model with tools bound to it, and a loop as its documents show it."""

    def __init__(self, format: str, **facts) -> None:
        self.name, self.format = f"langchain {format}", format
        for key, value in facts.items():
            setattr(self, key, value)

    @functools.cache  # noqa: B019 (there are four for the whole run)
    def model(self, base: str, key: str, name: str, think: bool):
        if self.format == "messages":
            settings = {"thinking": {"type": "enabled", "budget_tokens": 2048}} if think else {}
            return ChatAnthropic(model=name, base_url=base, api_key=key, max_retries=0, timeout=30, max_tokens=16000, **settings)
        if self.format == "gemini":
            settings = {"include_thoughts": True, "thinking_level": "high"} if think else {}
            return ChatGoogleGenerativeAI(model=name, base_url=base, google_api_key=key, max_retries=1, timeout=30, **settings)
        settings = {"use_responses_api": True, "store": False} if self.format == "responses" else {}
        if think and self.format == "responses":
            settings |= {"reasoning": {"effort": "high", "summary": "auto"}, "include": ["reasoning.encrypted_content"]}
        elif think:
            settings["reasoning_effort"] = "high"
        return ChatOpenAI(model=name, base_url=f"{base}/v1", api_key=key, max_retries=0, timeout=30, stream_usage=True, **settings)

    def converse(self, ask: dict) -> list[dict]:
        model = self.model(ask["base"], ask["key"], ask["model"], ask.get("think", False))
        if ask.get("tools"):
            model = model.bind_tools([{"type": "function", "function": {"name": name, "description": words, "parameters": schema}}
                                      for name, (words, schema) in TOOLS.items()])
        history, answers = [HumanMessage(ask["text"])], []
        for _ in range(ask.get("rounds", 0) + 1):
            message = None
            try:
                if ask["stream"]:
                    for piece in model.stream(history):
                        message = piece if message is None else message + piece
                else:
                    message = model.invoke(history)
            except Exception as error:  # noqa: BLE001 (which of them is told apart by its status)
                return [*answers, failure(error, message is not None, str(message.text) if message is not None else "")]
            answers.append(self._seen(message))
            if not message.tool_calls:
                break
            history.append(message)
            history += [ToolMessage(scenarios.result_of(call["name"], call["args"]), tool_call_id=call["id"], name=call["name"])
                        for call in message.tool_calls]
        return answers

    def _seen(self, message) -> dict:
        assert not message.invalid_tool_calls, message.invalid_tool_calls
        facts = message.response_metadata
        stop = STOPS[facts.get("finish_reason") or facts.get("stop_reason") or facts["status"]]
        calls = [{"id": call["id"], "name": call["name"], "arguments": call["args"]} for call in message.tool_calls]
        thinking = "".join(block.get("reasoning", "") for block in message.content_blocks if block["type"] == "reasoning")
        usage = message.usage_metadata
        inward, outward = usage.get("input_token_details", {}), usage.get("output_token_details", {})
        # Of what was written to a cache for a known time it counts the times apart.
        written = [inward[key] for key in ("cache_creation", "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens") if key in inward]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
        figures = {"input": usage["input_tokens"], "read": inward.get("cache_read"), "written": sum(written) if written else None,
                   "output": usage["output_tokens"], "thought": outward.get("reasoning")}
        return seen(text=str(message.text), thinking=thinking, calls=calls, stop="call" if calls and stop == "end" else stop,
                    usage=figures, id=message.id, model=facts["model_name"])


class PydanticAI(Client):
    """An agent, which runs the loop of tools by itself."""

    runner = asyncio.Runner()

    def __init__(self, format: str, **facts) -> None:
        self.name, self.format = f"pydantic-ai {format}", format
        for key, value in facts.items():
            setattr(self, key, value)

    @functools.cache  # noqa: B019
    def model(self, base: str, key: str, name: str, reasons: bool):
        if self.format == "messages":
            sdk = anthropic.AsyncAnthropic(base_url=base, api_key=key, max_retries=0, timeout=30)
            return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=sdk))
        if self.format == "gemini":
            return GoogleModel(name, provider=GoogleProvider(api_key=key, base_url=base))
        sdk = openai.AsyncOpenAI(base_url=f"{base}/v1", api_key=key, max_retries=0, timeout=30)
        if self.format == "chat":
            return OpenAIChatModel(name, provider=OpenAIProvider(openai_client=sdk))
        # By the name alone it takes nobody for a model that reasons, and then writes reasoning into the words.
        profile = OpenAIModelProfile(openai_supports_encrypted_reasoning_content=True) if reasons else None
        return OpenAIResponsesModel(name, provider=OpenAIProvider(openai_client=sdk), profile=profile)

    THINK = {"chat": {"openai_reasoning_effort": "high"},
             "responses": {"openai_reasoning_effort": "high", "openai_reasoning_summary": "auto", "openai_store": False},
             "messages": {"anthropic_thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 16000},
             "gemini": {"google_thinking_config": {"include_thoughts": True, "thinking_level": "HIGH"}}}

    def converse(self, ask: dict) -> list[dict]:
        return self.runner.run(self._converse(ask))

    async def _converse(self, ask: dict) -> list[dict]:
        agent = Agent(self.model(ask["base"], ask["key"], ask["model"], ask.get("reasons", True)), retries=0,
                      tools=[self._tool(name) for name in ask.get("tools", [])],
                      model_settings=self.THINK[self.format] if ask.get("think") else {"max_tokens": 16000})
        words = []
        try:
            if not ask["stream"]:
                result = await agent.run(ask["text"])
            else:
                async with agent.iter(ask["text"]) as run:
                    async for node in run:
                        if Agent.is_model_request_node(node):
                            async with node.stream(run.ctx) as events:
                                words += [event async for event in events]
                result = run.result
        except Exception as error:  # noqa: BLE001
            return [failure(error, bool(words), "")]
        return [self._seen(message) for message in result.all_messages() if message.kind == "response"]

    @staticmethod
    def _tool(name: str) -> Tool:
        def answer(**arguments) -> str:
            return scenarios.result_of(name, arguments)
        words, schema = TOOLS[name]
        return Tool.from_schema(answer, name=name, description=words, json_schema=schema)

    def _seen(self, message) -> dict:
        kinds = {kind: [part for part in message.parts if part.part_kind == kind] for kind in ("text", "thinking", "tool-call")}
        calls = [{"id": part.tool_call_id, "name": part.tool_name, "arguments": part.args_as_dict()} for part in kinds["tool-call"]]
        usage, stop = message.usage, STOPS[message.finish_reason]
        figures = {"input": usage.input_tokens, "read": usage.cache_read_tokens, "output": usage.output_tokens, "thought": None,
                   "written": None if self.format == "gemini" else usage.cache_write_tokens}
        return seen(text="".join(part.content for part in kinds["text"]), calls=calls, usage=figures,
                    thinking="".join(part.content for part in kinds["thinking"]), model=message.model_name,
                    stop="call" if calls and stop == "end" else stop, id=message.provider_response_id)


# In Chat Completions LangChain knows no reasoning, and pydantic-ai brings its words back and nothing else.
FRAMEWORKS = {client.name: client for client in (
    LangChain("chat", shows_thinking=False, keeps_state=False), LangChain("responses"), LangChain("messages"), LangChain("gemini"),
    PydanticAI("chat", keeps_state=False), PydanticAI("responses"), PydanticAI("messages"), PydanticAI("gemini"))}


def fails(status: int):
    """The failure is what the framework makes of its own format's, and says when to come back."""
    def check(seen: Seen) -> None:
        got = seen.answer["raised"]
        assert got is not None, f"no failure, but {seen.answer}"
        same((got["kind"], got["status"]), ({400: "bad_request", 429: "rate_limit"}[status], status), "the failure")
        assert "the provider's own words" in got["message"], got
        same(got["retry_after"], "7" if status != 400 else None, "retry-after")
        same(got["class"], CLASSES.setdefault((seen.client.name, status), got["class"]), "the failure's class, as it is straight")
    return check


# Of which class a failure was first, which is straight to the provider.
CLASSES: dict[tuple[str, int], str] = {}


def breaks(seen: Seen) -> None:
    """An answer that ended before its time is a failure."""
    assert seen.answer["raised"] is not None, f"it looks complete: {seen.answer}"
    assert script_of(seen).script != "hello" or seen.answer["text"] in ("", "Hell"), seen.answer


def no_state(client: Client, provider: str) -> str | None:
    lost = provider == "chat" and not client.shows_thinking
    return "the framework brings no reasoning back, and a server that wants it refuses" if lost else None


BOTH, WHOLE, STREAM = (False, True), (False,), (True,)
CASES = [
    Case("text", "text", {"text": "[[unicode]]"}, text_arrives, modes=BOTH),
    tool_case("tools", "tool", modes=BOTH, check=tools_arrive),
    tool_case("parallel tools", "parallel", modes=STREAM, check=tools_arrive),
    tool_case("thinking loops", "think-loop", ask={"think": True}, check=state_survives, model="think", modes=STREAM, without=no_state),
    Case("usage", "cached", {"text": "[[cached]]"}, well, modes=BOTH),
    Case("errors", "400", {"text": "[[error 400 invalid_request_error]]"}, fails(400), modes=STREAM),
    Case("errors", "429", {"text": "[[error 429 rate_limit_error]]"}, fails(429), modes=WHOLE),
    # Straight to the provider not every framework minds a stream that ends early; through the edge each has to.
    Case("cuts", "end", {"text": "[[broken-end]]", "through": True}, breaks, modes=STREAM),
    Case("cuts", "words", {"text": "[[broken-words]]"}, breaks, modes=STREAM),
]


def unfair(client: Client, provider: str, case: Case) -> bool:
    """What is no fault of the edge: Gemini's SDK splits its own server's stream at separators within the words."""
    own = client.format == "gemini" and provider in ("straight", "gemini")
    return case.row == "text" and own or provider == "straight" and case.ask.get("through", False)


def runs() -> list:
    found = []
    for client in FRAMEWORKS.values():
        for case in CASES:
            for provider in ("straight", *FORMATS):
                answers = client.format if provider == "straight" else provider
                if case.without(client, answers) is None and not unfair(client, provider, case):
                    found += [pytest.param(client.name, provider, case, stream, id="-".join((
                        f"{client.name}>{provider}".replace(" ", "_"), case.row.replace(" ", "_"), case.name,
                        "stream" if stream else "whole"))) for stream in case.modes]
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "provider", "case", "stream"), runs())
def test_frameworks(edge, providers, name: str, provider: str, case: Case, stream: bool):
    client = FRAMEWORKS[name]
    target = client.format if provider == "straight" else provider
    if provider == "straight":
        mock = "compatible" if target == "chat" and case.model == "think" else target
        where = {"base": providers[mock].url, "key": KEYS[mock], "model": OWN[mock]}
    else:
        where = {"base": edge, "key": clients.KEY, "model": f"{case.model}-{provider}"}
    ask = {**case.ask, **where, "stream": stream}
    answers = client.converse(ask)
    log = sorted((entry for mock in providers.values() for entry in mock.log), key=lambda entry: entry[0])
    case.check(Seen(client, target, stream, ask, answers, [heard for _, heard, _ in log], [body for _, _, body in log]))
