"""Requests that real clients sent, translated to every format: what comes out fits the types of the vendors' SDKs.

The recordings stand beside the project (`../shared/corpus`, or where `TIDEGATE_CORPUS` says). Without them nothing is
checked, and the tests say so; where `TIDEGATE_CORPUS_REQUIRED` is set, they fail.
"""

import collections
import json
import os
import pathlib
import subprocess
from concurrent.futures import ThreadPoolExecutor

import mock_chat
import mock_gemini
import mock_messages
import mock_responses
import pytest
from conftest import ROOT
from heard import BadRequest
from strict import Refused

CORPUS = pathlib.Path(os.environ.get("TIDEGATE_CORPUS") or ROOT.parent / "shared" / "corpus")
# The folders of requests that a client of a format sends.
RECORDED = {
    "openai_chat": ("openai_chat", "azure_chat", "openai_compat", "mistral_chat"),
    "openai_responses": ("openai_responses", "azure_responses"),
    "anthropic_messages": ("anthropic_messages",),
    "gemini_generate": ("gemini",),
}
# Recordings that a provider took although they are wrong by its own documents: OpenAI refuses such requests.
WRONG = {"claude-3-opus-toolresult-tools-stream-e242cf37": "its result answers no call"}
# A provider of each format: the headers that it wants of us, and a model that thinks and one that does not.
TARGETS = {
    "openai_chat": (mock_chat.Chat, {"authorization": f"Bearer {mock_chat.KEY}"}, ("gpt-4.1", "gpt-5.6")),
    "openai_responses": (mock_responses.Responses, {"authorization": f"Bearer {mock_responses.KEY}"}, ("gpt-4.1", "gpt-5.6")),
    "anthropic_messages": (mock_messages.Messages, {"x-api-key": mock_messages.KEY, "anthropic-version": "2023-06-01"},
                           ("claude-haiku-4-5", "claude-opus-4-8")),
    "gemini_generate": (mock_gemini.Gemini, {"x-goog-api-key": mock_gemini.KEY}, ("gemini-2.5-flash", "gemini-3-pro")),
}


def requests(client: str) -> list[pathlib.Path]:
    """The requests that were answered: those that were refused are wrong in any format."""
    if not CORPUS.is_dir() and "TIDEGATE_CORPUS_REQUIRED" not in os.environ:
        pytest.skip(f"no recorded requests at {CORPUS}: nothing was checked")
    paths = [path for folder in RECORDED[client] for path in sorted((CORPUS / folder).glob("*/request.json"))]
    taken = [path for path in paths if json.loads((path.parent / "meta.json").read_text())["status"] < 400]
    assert taken, f"no recorded requests of {client} in {CORPUS}: nothing was checked"
    return [path for path in taken if path.parent.name not in WRONG]


def explain(binary: pathlib.Path, path: pathlib.Path, client: str, target: str, model: str) -> dict | str:
    """What the provider would get; or, for a request that is refused, why."""
    command = [binary, "explain", path, "--json", "--from", client, "--to", target, "--model", model]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if ended.returncode == 0:
        return json.loads(ended.stdout)
    assert ended.returncode in (64, 65), f"{path}: {ended.stderr}"
    return ended.stderr.strip()


def fault(binary: pathlib.Path, path: pathlib.Path, client: str, target: str, model: str) -> tuple[str, str] | None:
    """What is wrong with the translation: `refused` and why, or `wrong` and where; `None` if it is taken."""
    shown = explain(binary, path, client, target, model)
    if isinstance(shown, str):
        return "refused", shown
    provider, headers, _ = TARGETS[target]
    headers = collections.defaultdict(str, {**headers, **{name.lower(): value for name, value in shown["headers"]}})
    try:
        provider.validate(provider.__new__(provider), shown["request"], headers)
    except (Refused, BadRequest) as wrong:
        return "wrong", f"{path.parent.parent.name}/{path.parent.name} to {model}: {wrong}"
    return None


@pytest.mark.parametrize(("client", "target"), [(client, target) for client in RECORDED for target in TARGETS if client != target])
def test_what_was_recorded_is_taken_by_every_provider(binary, client, target):
    cases = [(path, client, target, model) for path in requests(client) for model in TARGETS[target][2]]
    with ThreadPoolExecutor(max_workers=2) as pool:
        faults = [found for found in pool.map(lambda case: fault(binary, *case), cases) if found]
    wrong = [text for kind, text in faults if kind == "wrong"]
    refused = collections.Counter(text for kind, text in faults if kind == "refused")
    print(f"{client} to {target}: {len(cases) - len(faults)} taken, {refused.total()} refused before: {dict(refused)}")
    assert not wrong, "\n".join([f"{len(wrong)} of {len(cases)}:", *wrong])
