"""Starts the real binary between the official SDKs and strict mock providers; all of it on loopback.

`TIDEGATE_BIN` names the binary (default: the debug build). To run it:

    python3 -m venv .venv && .venv/bin/pip install -r tests/clients/requirements.txt
    .venv/bin/python -m pytest tests/clients
"""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import clients
import matrix
import mock_chat
import mock_gemini
import mock_messages
import mock_responses
import pytest
from client_anthropic import Anthropic
from client_genai import GenAI
from client_openai import OpenAIChat, OpenAIResponses
from client_wire import WireChat, WireGemini, WireMessages, WireResponses

ROOT = pathlib.Path(__file__).resolve().parents[2]
WRITTEN = pathlib.Path(__file__).with_name("matrix.md")
# The targets' names are those of real families: what a family can do is part of the translation.
CONFIG = """
server: {{listen: [{{address: "127.0.0.1:{port}"}}]}}
admin: {{listen: "127.0.0.1:{admin}"}}
providers:
  chat: {{kind: openai, url: "{chat}", key: "{chat_key}"}}
  compatible: {{kind: openai-compatible, url: "{compatible}", key: "{chat_key}"}}
  responses: {{kind: openai-responses, url: "{responses}", key: "{responses_key}"}}
  messages: {{kind: anthropic, url: "{messages}", key: "{messages_key}"}}
  gemini: {{kind: gemini, url: "{gemini}/v1beta", key: "{gemini_key}"}}
models:
  plain-chat: chat/gpt-4.1
  plain-responses: responses/gpt-4.1
  plain-messages: messages/claude-sonnet-4-5
  plain-gemini: gemini/gemini-3-pro
  think-chat: compatible/deepseek-reasoner
  think-responses: responses/gpt-5.6
  think-messages: messages/claude-sonnet-4-5
  think-gemini: gemini/gemini-3-pro
  think-adaptive: messages/claude-opus-4-6
  # Agents go by a model's name, see test_agents.py.
  claude-sonnet-4-5: messages/claude-sonnet-4-5
  claude-opus-4-6: messages/claude-opus-4-6
  gemini-3.1-pro-preview: messages/claude-sonnet-4-5
  gpt-5.5: chat/gpt-4.1
  gpt-6-sol: compatible/deepseek-reasoner
  gpt-5.6-sol: messages/claude-sonnet-4-5
  gpt-5.6-terra: gemini/gemini-3-pro
clients:
  - {{name: sdk, key: "{client}"}}
"""


TABLE = matrix.Table()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Keeps what became of each check of the matrix; a refusal is found after it, and counts."""
    report = (yield).get_result()
    item.whole = getattr(item, "whole", True) and not report.failed
    if call.when == "teardown" and item.originalname == "test_matrix":
        asked = item.callspec.params
        TABLE.add(CLIENTS[asked["name"]], asked["provider"], asked["case"].row, item.whole)


def pytest_sessionfinish(session) -> None:
    """Where the whole matrix ran, the table in the repository says what it said."""
    if TABLE.totals()[1] < matrix.checks(CLIENTS.values()):
        return
    if session.config.getoption("--write-matrix"):
        WRITTEN.write_text(TABLE.markdown())
    elif not WRITTEN.exists() or WRITTEN.read_text() != TABLE.markdown():
        print(f"\n{WRITTEN.name} says otherwise: ./x matrix writes it anew")
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter) -> None:
    passed, made = TABLE.totals()
    if made:
        terminalreporter.write_line(f"matrix: {passed} of {made} checks pass")


def pytest_addoption(parser) -> None:
    parser.addoption("--write-matrix", action="store_true", help=f"writes {WRITTEN.name} anew")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="session", autouse=True)
def only_loopback():
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]


@pytest.fixture(scope="session")
def providers():
    """All mock providers, by name."""
    kinds = {"chat": mock_responses.Chat, "compatible": mock_chat.Compatible, "responses": mock_responses.Responses,
             "messages": mock_messages.Messages, "gemini": mock_gemini.Gemini}
    return {name: kind() for name, kind in kinds.items()}


@pytest.fixture(scope="session")
def binary():
    """The binary under test."""
    path = pathlib.Path(os.environ.get("TIDEGATE_BIN", ROOT / "target" / "debug" / "tidegate"))
    assert path.exists(), f"{path} is not there: build it, or name it in TIDEGATE_BIN"
    return path


@pytest.fixture(scope="session")
def edge(binary, providers, tmp_path_factory):
    """The base URL of a running edge."""
    folder = tmp_path_factory.mktemp("edge")
    port, admin = free_port(), free_port()
    config = CONFIG.format(port=port, admin=admin, client=clients.KEY, chat_key=mock_chat.KEY,
                           responses_key=mock_responses.KEY, messages_key=mock_messages.KEY, gemini_key=mock_gemini.KEY,
                           **{name: provider.url for name, provider in providers.items()})
    (folder / "tidegate.yaml").write_text(config)
    log = (folder / "log").open("wb")
    command = [str(binary), "run", "--config", str(folder / "tidegate.yaml")]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder, env={})
    try:
        _wait(process, f"http://127.0.0.1:{port}/health", folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _wait(process, url: str, log: pathlib.Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)
    pytest.exit(f"the edge did not start:\n{log.read_text()}", returncode=1)


PYTHON = (OpenAIChat, OpenAIResponses, Anthropic, GenAI)
WIRE = (WireChat, WireResponses, WireMessages, WireGemini)
NODE = (
    clients.Node("openai-node chat", "chat"),
    clients.Node("openai-node responses", "responses"),
    clients.Node("anthropic-node", "messages"),
    # It knows neither reasoning nor refusals in this format, nor anything that would bring state back.
    clients.Node("ai chat", "chat", shows_thinking=False, shows_refusal=False, keeps_state=False),
    clients.Node("ai responses", "responses", shows_refusal=False),
    clients.Node("ai anthropic", "messages", shows_refusal=False, shows_sequence=False),
    clients.Node("ai google", "gemini", shows_refusal=False, takes_addresses=False),
)
CLIENTS = {client.name: client for client in (*PYTHON, *NODE, *WIRE)}


@pytest.fixture(scope="session")
def sdks(edge):
    """All clients, by name."""
    process = clients.NodeProcess(os.environ.get("NODE", "node"), edge)
    for client in NODE:
        client.process = process
    yield {**{kind.name: kind(edge) for kind in (*PYTHON, *WIRE)}, **{client.name: client for client in NODE}}
    process.close()


@pytest.fixture(autouse=True)
def no_refusals(providers):
    """A request that a real provider would refuse fails the test that caused it."""
    for provider in providers.values():
        provider.forget()
    yield
    refused = [refusal for provider in providers.values() for refusal in provider.refusals]
    bodies = [body for provider in providers.values() for body in provider.requests]
    assert not refused, f"{refused}\nof {json.dumps(bodies, indent=1, ensure_ascii=False)[:6000]}"
