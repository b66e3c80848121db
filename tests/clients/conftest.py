"""Starts the real binary between the official SDKs and strict mock providers; all of it on loopback.

`TIDEGATE_BIN` names the binary (default: the debug build). To run it:

    python3 -m venv .venv && .venv/bin/pip install -r tests/clients/requirements.txt
    .venv/bin/python -m pytest tests/clients
"""

import json
import os
import pathlib
import socket
import subprocess
import time
import urllib.error
import urllib.request

import anthropic
import mock_anthropic
import mock_openai
import openai
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLIENT_KEY = "sk-client-of-the-edge"
# The targets' names are those of real families: what a family can do is part of the translation.
CONFIG = """
server: {{listen: [{{address: "127.0.0.1:{port}"}}]}}
admin: {{listen: "127.0.0.1:{admin}"}}
providers:
  oa: {{kind: openai, url: "{openai}", key: "{openai_key}"}}
  co: {{kind: openai-compatible, url: "{compatible}", key: "{openai_key}"}}
  an: {{kind: anthropic, url: "{anthropic}", key: "{anthropic_key}"}}
models:
  on-openai: oa/gpt-4.1
  on-compatible: co/deepseek-reasoner
  on-anthropic: an/claude-sonnet-4-5
  on-adaptive: an/claude-opus-4-6
clients:
  - {{name: sdk, key: "{client}"}}
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="session")
def openai_provider():
    return mock_openai.OpenAI()


@pytest.fixture(scope="session")
def compatible_provider():
    return mock_openai.Compatible()


@pytest.fixture(scope="session")
def anthropic_provider():
    return mock_anthropic.Anthropic()


@pytest.fixture(scope="session")
def edge(openai_provider, compatible_provider, anthropic_provider, tmp_path_factory):
    """The base URL of a running edge."""
    binary = pathlib.Path(os.environ.get("TIDEGATE_BIN", ROOT / "target" / "debug" / "tidegate"))
    assert binary.exists(), f"{binary} is not there: build it, or name it in TIDEGATE_BIN"
    folder = tmp_path_factory.mktemp("edge")
    port, admin = free_port(), free_port()
    config = CONFIG.format(port=port, admin=admin, openai=openai_provider.url,
                           compatible=compatible_provider.url, anthropic=anthropic_provider.url,
                           openai_key=mock_openai.KEY, anthropic_key=mock_anthropic.KEY, client=CLIENT_KEY)
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


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch):
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_refusals(openai_provider, compatible_provider, anthropic_provider):
    """A request that a real provider would refuse fails the test that caused it."""
    providers = (openai_provider, compatible_provider, anthropic_provider)
    for provider in providers:
        provider.refusals.clear()
        provider.requests.clear()
        provider.headers.clear()
    yield
    refused = [refusal for provider in providers for refusal in provider.refusals]
    bodies = [body for provider in providers for body in provider.requests]
    assert not refused, f"{refused}\nof {json.dumps(bodies, indent=1, ensure_ascii=False)[:4000]}"


@pytest.fixture
def chat(edge):
    with openai.OpenAI(base_url=f"{edge}/v1", api_key=CLIENT_KEY, max_retries=0, timeout=20) as client:
        yield client


@pytest.fixture
def messages(edge):
    with anthropic.Anthropic(base_url=edge, api_key=CLIENT_KEY, max_retries=0, timeout=20) as client:
        yield client


@pytest.fixture(params=["on-openai", "on-anthropic"])
def model(request):
    """A name behind which each provider stands in turn."""
    return request.param


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def stream(request):
    return request.param


@pytest.fixture
def provider(model, openai_provider, anthropic_provider):
    """The provider behind `model`."""
    return openai_provider if model == "on-openai" else anthropic_provider
