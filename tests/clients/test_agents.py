"""Codex, Claude Code and Gemini CLI, each as it is published, through the edge to a provider of every format.

`./x agents` installs and runs them; they are too big a download for every change. Each runs without a screen and with a
home of its own, and works with its own shell. The mocks hold what it sends to the same rules as the SDKs' requests, and to
the script: each turn comes back as it was said, each result at its call, each state as it was issued.
"""

import base64
import dataclasses
import http.server
import itertools
import json
import os
import pathlib
import signal
import subprocess
import threading
from collections.abc import Callable

import clients
import provider as mocks
import pytest
import scenarios
from cases import FORMATS, PNG, same
from heard import Heard
from scenarios import Answer, Call, Failure, Text, Thinking, Usage

PACKAGES = pathlib.Path(__file__).with_name("agents") / "node_modules"
# How long an agent may take; it is killed then, and what it started with it.
LIMIT = 60
DONE = "It said 北 all the way."
THOUGHTS = ("I need the shell.", "And once more.", "That is all.")
PERSON = {"name": "北", "age": 3}
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, "required": ["name", "age"],
          "additionalProperties": False}


@dataclasses.dataclass
class Told:
    """What an agent told its user."""

    # Whether it says that the work is done.
    done: bool
    words: str = ""
    thoughts: str = ""
    # Its words on a failure.
    problem: str = ""
    # The answer of which a schema was wanted.
    output: object = None
    # All that it wrote.
    raw: str = ""


@dataclasses.dataclass(frozen=True)
class Run:
    """One agent at work: where it reaches the edge, whom it asks, where it lives and works, and what it is asked."""

    edge: str
    model: str
    home: pathlib.Path
    work: pathlib.Path
    words: str
    think: bool = False
    image: pathlib.Path | None = None
    schema: dict | None = None


class Agent:
    """A coding agent's command. Subclasses say how it is called, and read what it says."""

    name = ""
    # Its script, in the packages.
    script = ""
    # The wire format that it speaks.
    format = ""
    shows_thinking = True
    # Whether it takes a schema for its answer, and whether it hands that on as one.
    schemas = True
    asks_for_schemas = False
    # What it tells its user where it has used up a limit.
    limited: tuple[str, ...] = ()

    def model(self, provider: str, think: bool) -> str:
        """The name by which it asks for a provider's model."""
        return f"{'think' if think else 'plain'}-{provider}"

    def line(self, run: Run) -> tuple[list[str], dict, str]:
        """Its arguments, its environment, and what it reads."""
        raise NotImplementedError

    def read(self, events: list[dict], told: Told) -> None:
        raise NotImplementedError

    def shell(self, command: str) -> tuple[str, dict]:
        """What it calls its shell, and what that takes."""
        raise NotImplementedError

    def look(self, path: str) -> tuple[str, dict]:
        """What it calls its reader of images, and what that takes."""
        raise NotImplementedError

    def person(self) -> tuple[Answer, ...]:
        """How a model answers by a schema."""
        return (Answer((Text(scenarios.dumps(PERSON)),)),)


class Codex(Agent):
    name = "codex"
    script = "@openai/codex/bin/codex.js"
    format = "responses"
    asks_for_schemas = True
    # Of a 429 it tells no more than that.
    limited = ("429 Too Many Requests",)

    def line(self, run: Run) -> tuple[list[str], dict, str]:
        # It knows what a model can do by its name, and takes no other to reason. What it offers beyond loops, as plugins,
        # it would fetch.
        (run.home / "config.toml").write_text(f"""
model_provider = "edge"
model_reasoning_effort = "medium"
model_reasoning_summary = "auto"
model_supports_reasoning_summaries = {str(run.think).lower()}
check_for_update_on_startup = false
[model_providers.edge]
name = "edge"
base_url = "{run.edge}/v1"
env_key = "EDGE_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
[analytics]
enabled = false
[features]
apps = false
plugins = false
""")
        line = ["exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "-m", run.model]
        if run.schema:
            (run.home / "schema.json").write_text(json.dumps(run.schema))
            line += ["--output-schema", str(run.home / "schema.json")]
        if run.image:
            line += ["-i", str(run.image)]
        return [*line, "--", run.words], {"CODEX_HOME": str(run.home), "EDGE_KEY": clients.KEY}, ""

    def read(self, events: list[dict], told: Told) -> None:
        items = [event["item"] for event in events if event["type"] == "item.completed"]
        said = [item["text"] for item in items if item["type"] == "agent_message"]
        told.words = said[-1] if said else ""
        told.output = json.loads(told.words) if told.words.startswith("{") else None
        told.thoughts = "\n".join(item["text"] for item in items if item["type"] == "reasoning")
        told.done = any(event["type"] == "turn.completed" for event in events)
        told.problem = "\n".join(event["error"]["message"] for event in events if event["type"] == "turn.failed")

    def shell(self, command: str) -> tuple[str, dict]:
        return "exec_command", {"cmd": command}

    def look(self, path: str) -> tuple[str, dict]:
        return "view_image", {"path": path}


class Claude(Agent):
    name = "claude"
    script = "@anthropic-ai/claude-code/cli-wrapper.cjs"
    format = "messages"
    limited = ("429", "the provider's own words")

    def model(self, provider: str, think: bool) -> str:
        # Of an answer that names another model than it asked for it drops the thinking, as state that this model would
        # refuse. Where nothing is translated an answer names the provider's model, so here both have one name.
        return "claude-sonnet-4-5" if provider == self.format else super().model(provider, think)

    def line(self, run: Run) -> tuple[list[str], dict, str]:
        line = ["-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose",
                "--dangerously-skip-permissions"]
        line += ["--json-schema", json.dumps(run.schema)] if run.schema else []
        content = [{"type": "text", "text": run.words}]
        if run.image:
            content.append({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}})
        models = ("ANTHROPIC_MODEL", "ANTHROPIC_SMALL_FAST_MODEL", "ANTHROPIC_DEFAULT_HAIKU_MODEL")
        # The last because it may run as root here, and would not run commands unasked then.
        quiet = ("DISABLE_TELEMETRY", "DISABLE_ERROR_REPORTING", "DISABLE_AUTOUPDATER",
                 "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "IS_SANDBOX")
        environment = {"ANTHROPIC_BASE_URL": run.edge, "ANTHROPIC_API_KEY": clients.KEY, "CLAUDE_CODE_MAX_RETRIES": "0",
                       **dict.fromkeys(models, run.model), **dict.fromkeys(quiet, "1")}
        return line, environment, json.dumps({"type": "user", "message": {"role": "user", "content": content}}) + "\n"

    def read(self, events: list[dict], told: Told) -> None:
        blocks = [block for event in events if event["type"] == "assistant" for block in event["message"]["content"]]
        told.thoughts = "\n".join(block["thinking"] for block in blocks if block["type"] == "thinking")
        for end in [event for event in events if event["type"] == "result"]:
            told.done, told.output = not end["is_error"], end.get("structured_output")
            said = str(end.get("result") or end.get("errors"))
            told.problem = "" if told.done else said
            # What it says beside a structured answer is that answer once more.
            told.words = said if told.done and told.output is None else ""

    def shell(self, command: str) -> tuple[str, dict]:
        return "Bash", {"command": command, "description": "says it"}

    def look(self, path: str) -> tuple[str, dict]:
        return "Read", {"file_path": path}

    def person(self) -> tuple[Answer, ...]:
        # It ends by a call of a tool that it has for that, and asks no more.
        return (Answer((Call("call_1", "StructuredOutput", PERSON),), stop="call"),)


class Gemini(Agent):
    name = "gemini"
    script = "@google/gemini-cli/bundle/gemini.js"
    format = "gemini"
    shows_thinking = False
    schemas = False
    limited = ("the provider's own words", "Suggested retry after 7s")

    def model(self, provider: str, think: bool) -> str:
        # How hard to think it says to models of names that it knows only.
        return "gemini-3.1-pro-preview" if think and provider == "messages" else super().model(provider, think)

    def line(self, run: Run) -> tuple[list[str], dict, str]:
        (run.home / ".gemini").mkdir()
        settings = {"security": {"auth": {"selectedType": "gemini-api-key"}}, "privacy": {"usageStatisticsEnabled": False},
                    "general": {"enableAutoUpdate": False, "maxAttempts": 1, "retryFetchErrors": False},
                    "telemetry": {"enabled": False}}
        (run.home / ".gemini" / "settings.json").write_text(json.dumps(settings))
        words = f"{run.words} @{run.image.name}" if run.image else run.words
        environment = {"GOOGLE_GEMINI_BASE_URL": run.edge, "GEMINI_API_KEY": clients.KEY, "GEMINI_CLI_TRUST_WORKSPACE": "true",
                       # Without, it starts itself again, with more memory.
                       "GEMINI_CLI_NO_RELAUNCH": "true"}
        return ["--output-format", "stream-json", "-y", "-m", run.model, "-p", words], environment, ""

    def read(self, events: list[dict], told: Told) -> None:
        said = [""]
        for event in events:
            if event["type"] == "message" and event["role"] == "assistant":
                said[-1] += event["content"]
            elif event["type"] == "tool_use":
                said.append("")
            elif event["type"] == "error":
                told.problem = event["message"]
        told.words = said[-1]
        for end in [event for event in events if event["type"] == "result"]:
            told.done = end["status"] == "success"
            told.problem = (end.get("error") or {}).get("message") or told.problem

    def shell(self, command: str) -> tuple[str, dict]:
        return "run_shell_command", {"command": command}

    def look(self, path: str) -> tuple[str, dict]:
        return "read_file", {"file_path": path}


AGENTS = (Codex(), Claude(), Gemini())


def scripts(agent: Agent) -> dict[str, tuple[Answer, ...]]:
    """What a provider says to an agent, which has its own name for a shell."""
    def shell(number: int) -> Call:
        # What it prints stands nowhere in the command itself.
        name, arguments = agent.shell(f"printf '%s 北 %s' said {number}")
        return Call(f"call_{number}", name, arguments, says=f"said 北 {number}")

    def thinks(number: int, *blocks, stop: str = "end") -> Answer:
        thought = Thinking(THOUGHTS[number - 1], f"{agent.name} {number}")
        return Answer((thought, *blocks), stop=stop, usage=Usage(output=50, thought=40))

    look, done = Text("Let me look."), Text(DONE)
    return {
        "text": (Answer((done,)),),
        "loop": (Answer((look, shell(1)), stop="call"), Answer((shell(2),), stop="call"),
                 Answer((Text("Once more."), shell(3)), stop="call"), Answer((done,))),
        "parallel": (Answer((look, shell(1), shell(2)), stop="call"), Answer((done,))),
        "look": (Answer((Call("call_1", *agent.look("dot.png"), says=""),), stop="call"), Answer((done,))),
        "schema": agent.person(),
        "think": (thinks(1, look, shell(1), stop="call"), thinks(2, shell(2), stop="call"), thinks(3, done)),
    }


scenarios.SCENARIOS |= {f"{agent.name} {name}": script for agent in AGENTS for name, script in scripts(agent).items()}


def run_agent(agent: Agent, run: Run, proxy: int) -> Told:
    """What becomes of a run; the proxy at a port of loopback is all that it is told of the world."""
    line, settings, words = agent.line(run)
    script = PACKAGES / agent.script
    assert script.exists(), f"{script} is not there: ./x agents installs it"
    environment = {"HOME": str(run.home), "TMPDIR": str(run.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8",
                   "HTTPS_PROXY": f"http://127.0.0.1:{proxy}", "HTTP_PROXY": f"http://127.0.0.1:{proxy}", "NO_PROXY": "127.0.0.1",
                   **settings}
    # A group of its own: the script starts the program in some, and what it started holds the pipes.
    process = subprocess.Popen([os.environ.get("NODE", "node"), str(script), *line], cwd=run.work, env=environment, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    try:
        out, err = process.communicate(words, timeout=LIMIT)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    told = Told(done=False, raw=out + err)
    agent.read([json.loads(text) for text in out.splitlines() if text.startswith("{")], told)
    told.done = told.done and process.returncode == 0
    return told


@dataclasses.dataclass
class Seen:
    """One run as all sides saw it: what the agent told, what was said to it, and what the provider heard."""

    agent: Agent
    provider: str
    told: Told
    script: tuple[Answer, ...] | Failure
    heard: list[Heard]
    bodies: list[dict]


def works(seen: Seen) -> None:
    """The agent did as the script says, turn by turn, and says so. The mock has refused by now what came back otherwise."""
    assert seen.told.done and not seen.told.problem, seen.told.raw[-3000:]
    same(len(seen.bodies), len(seen.script), "the requests")
    same(seen.told.words, seen.script[-1].texts(), "the words")


def thinks(seen: Seen) -> None:
    """What was thought is seen, and its state comes back, each once."""
    works(seen)
    if seen.agent.shows_thinking:
        same(seen.told.thoughts, "\n".join(THOUGHTS), "the reasoning")
    if seen.provider == "messages":
        kinds = [(body.get("thinking") or {}).get("type") for body in seen.bodies]
        assert set(kinds) in ({"enabled"}, {"adaptive"}), f"it was asked to think so: {kinds}"
    # A server of the chat format has no state; its mock wants the words themselves back.
    text = scenarios.dumps(seen.bodies[-1]).replace("-", "+").replace("_", "/")
    for block in [said.blocks[0] for said in seen.script[:-1] if seen.provider != "chat"]:
        state = scenarios.mint(seen.provider, block.label)
        assert text.count(state) == 1, f"the state {block.label!r} came back {text.count(state)} times"


def looks(seen: Seen) -> None:
    works(seen)
    media = [(media.kind, media.mime, media.data) for turn in seen.heard[-1].turns for media in turn.media]
    same(media, [("image", "image/png", PNG)], "the image")


def fits(seen: Seen) -> None:
    works(seen)
    same(seen.told.output, PERSON, "the structured answer")
    schema = seen.heard[-1].schema
    same(schema and sorted(schema["properties"]), ["age", "name"] if seen.agent.asks_for_schemas else None, "the schema")


def fails(*words: str) -> Callable[[Seen], None]:
    """The agent ends, says why in the words that it was told, and asks once."""
    def check(seen: Seen) -> None:
        assert not seen.told.done, f"it looks done: {seen.told.raw[-3000:]}"
        for word in words or seen.agent.limited:
            assert word in seen.told.problem, seen.told.raw[-3000:]
        same(len(seen.bodies), 1, "the requests")
    return check


def breaks(seen: Seen) -> None:
    """An answer that ended before its time is a failure."""
    # Claude Code asks once more, for the whole; and the edge does of each where nothing has come through yet.
    assert len(seen.bodies) <= 4, f"{len(seen.bodies)} requests"
    assert not seen.told.done and seen.told.problem, f"it looks done: {seen.told.raw[-3000:]}"
    assert seen.told.words in ("", "Hell"), seen.told.words


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    # What the prompt names: a script of the agent's own, or one of all clients.
    asks: str
    check: Callable[[Seen], None] = works
    think: bool = False
    # Whether an image and a schema go with the prompt.
    image: bool = False
    schema: bool = False
    # The name of the model, where it is not the agent's own choice.
    model: str | None = None
    # Why an agent or a provider has no part in it, or None.
    without: Callable[[Agent, str], str | None] = lambda _agent, _provider: None


def no_schema(agent: Agent, _provider: str) -> str | None:
    return None if agent.schemas else "it has no option for it"


def whole_call(_agent: Agent, provider: str) -> str | None:
    return "a call of Gemini is one piece: what is cut behind it is whole, and agents run it" if provider == "gemini" else None


def not_messages(agent: Agent, provider: str) -> str | None:
    return None if agent.format == provider == "messages" else "only there does the model's name choose between two ways to think"


CASES = [
    Case("text", "AGENT text"),
    Case("loop", "AGENT loop"),
    Case("parallel", "AGENT parallel"),
    Case("think", "AGENT think", thinks, think=True),
    Case("think-adaptive", "AGENT think", thinks, think=True, model="claude-opus-4-6", without=not_messages),
    Case("image", "hello", looks, image=True),
    Case("image-in-result", "AGENT look", looks),
    Case("schema", "AGENT schema", fits, schema=True, without=no_schema),
    Case("400", "error 400 invalid_request_error", fails("the provider's own words")),
    # The edge's key is at fault, not the client's.
    Case("401", "error 401 authentication_error", fails("The provider refused this server's credentials")),
    Case("429", "error 429 rate_limit_error", fails()),
    Case("529", "error 529 overloaded_error", fails("the provider's own words")),
    Case("broken-words", "broken-words", breaks),
    Case("broken-cut", "broken-cut", breaks),
    Case("broken-end", "broken-end", breaks),
    Case("broken-call", "broken-call", breaks, without=whole_call),
]
# What the edge does not do yet, though it could.
OPEN: dict[str, str] = {}


def runs() -> list:
    found = []
    for agent, provider, case in itertools.product(AGENTS, FORMATS, CASES):
        name = f"{agent.name}>{provider}-{case.name}"
        marks = [pytest.mark.xfail(strict=True, reason=OPEN[name])] if name in OPEN else []
        if case.without(agent, provider) is None:
            found.append(pytest.param(agent, provider, case, id=name, marks=marks))
    return found


class Outside(http.server.BaseHTTPRequestHandler):
    """Stands for the rest of the world, and lets nobody through to it."""

    def do_CONNECT(self) -> None:  # noqa: N802 (the base class's name)
        self.server.asked.append(self.path)
        self.send_error(502)

    do_GET = do_POST = do_CONNECT

    def log_message(self, *_args) -> None:
        pass


@pytest.fixture(scope="session")
def outside():
    """A proxy for all that is not loopback, which all three heed; it keeps where an agent wanted to go."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Outside)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture
def ask(edge, providers, outside, tmp_path):
    """Runs a case, with a home and a folder of its own that has an image and nothing else."""
    def run(agent: Agent, provider: str, case: Case) -> Seen:
        home, work = tmp_path / "home", tmp_path / "work"
        home.mkdir()
        work.mkdir()
        image = work / "dot.png"
        image.write_bytes(base64.b64decode(PNG))
        asks = f"[[{case.asks.replace('AGENT', agent.name)}]]"
        model = case.model or agent.model(provider, case.think)
        outside.asked.clear()
        told = run_agent(agent, Run(edge, model, home, work, asks, case.think, image if case.image else None,
                                    SCHEMA if case.schema else None), outside.server_address[1])
        assert not outside.asked, f"{agent.name} wanted to go to {outside.asked}"
        refused = [refusal for mock in providers.values() for refusal in mock.refusals]
        for mock in providers.values():
            mock.refusals.clear()
        assert not refused, refused
        log = sorted((entry for mock in providers.values() for entry in mock.log), key=lambda entry: entry[0])
        return Seen(agent, provider, told, scenarios.pick(asks), [heard for _, heard, _ in log], [body for _, _, body in log])
    return run


@pytest.mark.parametrize(("agent", "provider", "case"), runs())
def test_agents(ask, agent: Agent, provider: str, case: Case):
    case.check(ask(agent, provider, case))


# Models that Codex knows. The newest it gives one tool, which runs a script that calls its others, and this in a namespace,
# where a provider without namespaces has a name of the edge's making; older ones a patch as free text.
EXEC = {"gpt-6-sol": ("chat", "functions_exec_FIMj-H3rj3"), "gpt-5.6-sol": ("messages", "functions_exec_148323f8"),
        "gpt-5.6-terra": ("gemini", "functions_exec_148323f8")}


@pytest.mark.parametrize("model", EXEC)
def test_codex_runs_scripts(ask, monkeypatch, model: str):
    provider, name = EXEC[model]

    def script(number: int) -> Call:
        words = f"""const it = await tools.exec_command({{cmd: "printf '%s 北 %s' said {number}"}}); text(it.output);"""
        return Call(f"call_{number}", name, {"input": words}, says=f"said 北 {number}")

    calls = [Answer((Thinking(THOUGHTS[number], f"script {number}"), script(number)), stop="call") for number in range(2)]
    monkeypatch.setitem(scenarios.SCENARIOS, "script", (*calls, Answer((Thinking(THOUGHTS[2], "script 2"), Text(DONE)))))
    thinks(ask(AGENTS[0], provider, Case("script", "script", think=True, model=model)))


def test_codex_patches_files(ask, monkeypatch, tmp_path):
    words = "*** Begin Patch\n*** Add File: new.txt\n+said 北\n*** End Patch\n"
    patch = Call("call_1", "apply_patch", {"input": words}, says="new.txt")
    monkeypatch.setitem(scenarios.SCENARIOS, "patch", (Answer((patch,), stop="call"), Answer((Text(DONE),))))
    works(ask(AGENTS[0], "chat", Case("patch", "patch", model="gpt-5.5")))
    same((tmp_path / "work" / "new.txt").read_text(), "said 北\n", "the file")


@pytest.mark.parametrize("agent", [pytest.param(agent, id=agent.name) for agent in AGENTS])
def test_a_server_may_repeat_its_ids(ask, monkeypatch, agent: Agent):
    """Ollama names its answers by a number below a thousand, others all alike."""
    monkeypatch.setattr(mocks.Provider, "number", lambda _self, prefix: f"{prefix}42")
    works(ask(agent, "chat", Case("loop", "AGENT loop")))
