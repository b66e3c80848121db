"""The matrix as a whole: which checks it has, and the table of what came of them, which `./x matrix` writes."""

import collections

from cases import CASES, FORMATS, ROWS

TITLES = {"chat": "Chat Completions", "responses": "Responses", "messages": "Messages", "gemini": "Gemini"}


def runs(clients):
    """Every check: client, provider, case, and whether it streams."""
    for client in clients:
        for provider in FORMATS:
            for case in CASES:
                if case.wire == client.name.startswith("wire") and case.without(client, provider) is None:
                    yield from ((client, provider, case, stream) for stream in case.modes)


def checks(clients) -> int:
    return sum(1 for _ in runs(clients))


class Table:
    """Counts checks by client format, provider and row."""

    def __init__(self) -> None:
        self.passed: collections.Counter = collections.Counter()
        self.made: collections.Counter = collections.Counter()
        self.names: dict[str, set[str]] = collections.defaultdict(set)

    def add(self, client, provider: str, row: str, passed: bool) -> None:
        if not client.name.startswith("wire"):
            self.names[client.format].add(f"`{client.name}`")
        self.made[client.format, provider, row] += 1
        self.passed[client.format, provider, row] += passed

    def totals(self) -> tuple[int, int]:
        return self.passed.total(), self.made.total()

    def markdown(self) -> str:
        """A table for each client format; a cell is checks passed of checks made, streamed and whole together."""
        lines = []
        for format in FORMATS:
            lines += [f"### Clients of {TITLES[format]}", "", f"SDKs: {', '.join(sorted(self.names[format]))}.", ""]
            lines += ["| scenario | " + " | ".join(f"to {TITLES[provider]}" for provider in FORMATS) + " |"]
            lines += ["|---|" + "---|" * len(FORMATS)]
            for row in ROWS:
                lines.append(f"| {row} | " + " | ".join(self._cell(format, provider, row) for provider in FORMATS) + " |")
            lines.append("")
        passed, made = self.totals()
        return "\n".join([*lines, f"{passed} of {made} checks pass.", ""])

    def _cell(self, format: str, provider: str, row: str) -> str:
        made = self.made[format, provider, row]
        return f"{self.passed[format, provider, row]}/{made}" if made else "-"
