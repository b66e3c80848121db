"""Every official SDK through the edge to a provider of every format: the scenarios of `cases`, streamed and whole."""

import matrix
import pytest
from cases import Case, Seen
from conftest import CLIENTS


def runs() -> list:
    found = []
    for client, provider, case, stream in matrix.runs(CLIENTS.values()):
        mode = "stream" if stream else "whole"
        label = f"{client.name}>{provider}-{case.row}-{case.name}-{mode}".replace(" ", "_")
        found.append(pytest.param(client.name, provider, case, stream, id=label))
    return found


@pytest.mark.parametrize(("name", "provider", "case", "stream"), runs())
def test_matrix(sdks, providers, name: str, provider: str, case: Case, stream: bool):
    client = sdks[name]
    ask = {**case.ask, "model": f"{case.model}-{provider}", "stream": stream}
    answers = client.converse(ask)
    asked = [mock for mock in providers.values() if mock.requests]
    heard = sorted((entry for mock in asked for entry in mock.log), key=lambda entry: entry[0])
    case.check(Seen(client, provider, stream, ask, answers, [one for _, one, _ in heard], [body for _, _, body in heard]))
