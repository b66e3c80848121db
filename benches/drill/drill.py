#!/usr/bin/env python3
"""Drills: the edge under load while something happens to it. Each prints its figures and fails when one is out of bounds.

    benches/drill/drill.py [--binary target/release/tidegate] NAME [--option value …]

Needs Python 3.11 and nothing else; everything stays on loopback. `drill.py list` names the drills.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from house import House, descriptors, health, memory, quantile
from wire import FORMATS, Connection, Wrong

DRILLS = {}
MIB = 1 << 20


def drill(function):
    DRILLS[function.__name__.replace("_", "-")] = function
    return function


class Load:
    """Workers that ask all formats for all models in turn, whole and streamed, and count what was not right."""

    def __init__(self, house: House, models: list[str], workers: int = 16):
        self.house, self.models, self.workers = house, models, workers
        self.done, self.wrong, self.took, self.stop = 0, [], [], False
        self.tasks = []

    async def __aenter__(self) -> "Load":
        self.tasks = [asyncio.create_task(self.work(number)) for number in range(self.workers)]
        return self

    async def __aexit__(self, *_) -> None:
        self.stop = True
        await asyncio.gather(*self.tasks)

    async def work(self, number: int) -> None:
        connection = Connection(self.house.port)
        cases = list(itertools.product(FORMATS, self.models, (False, True)))
        for turn in itertools.count(number):
            if self.stop:
                connection.close()
                return
            form, model, stream = cases[turn % len(cases)]
            began = time.monotonic()
            try:
                text = await form.ask(connection, model, stream)
                if text != self.house.text:
                    self.wrong.append(f"{form.name} of {model}: {text[:100]!r}")
            except Wrong as wrong:
                self.wrong.append(str(wrong))
            self.took.append(time.monotonic() - began)
            self.done += 1

    async def reach(self, count: int) -> None:
        while self.done < count:
            await asyncio.sleep(0.05)


async def mixed(house: House, **knobs) -> None:
    """An edge between all four client formats and simulated providers of two."""
    quick, slow = house.simulate(tokens=8, **knobs), house.simulate(tokens=120, tokens_per_second=2)
    urls = {"chat": ("openai", "/v1"), "messages": ("anthropic", "")}
    providers = {
        f"{pace}-{name}": {"kind": kind, "url": f"http://127.0.0.1:{port}{path}", "key": "sk-drill"}
        for pace, port in (("quick", quick), ("slow", slow))
        for name, (kind, path) in urls.items()
    }
    house.parts = providers, {name: f"{name}/model" for name in providers}
    house.write(*house.parts)
    house.run()
    house.text = await FORMATS[0].ask(Connection(house.port), "quick-chat", False)
    house.slow_text = None


QUICK, SLOW = ["quick-chat", "quick-messages"], ["slow-chat", "slow-messages"]


async def long_stream(house: House, number: int) -> str:
    """A stream of a minute; '' or what was wrong with it."""
    form, model = FORMATS[number % 4], SLOW[number // 4 % 2]
    try:
        words = len((await form.ask(Connection(house.port), model, True)).split())
    except Wrong as wrong:
        return str(wrong)
    return "" if words > 60 else f"{form.name} of {model}: {words} words"


def verdict(figures: dict, problems: list[str]) -> int:
    print(json.dumps(figures, indent=1))
    for problem in problems[:10]:
        print(f"FAILED: {problem}", file=sys.stderr)
    return 1 if problems else 0


@drill
async def reload(house: House, reloads: int = 100, requests: int = 20000, streams: int = 48) -> int:
    """SIGHUP under load, each with a config that differs; every tenth is bad."""
    await mixed(house)
    crossing = [asyncio.create_task(long_stream(house, number)) for number in range(streams)]
    async with Load(house, QUICK) as load:
        for number in range(reloads):
            good = (house.config.read_text(), house.write)
            if number % 10 == 9:
                house.config.write_text("providers: {broken: {kind: nonsense}}\n")
            else:
                good[1](*house.parts, server={"max_attempts": 2 + number % 3})
            os.kill(house.edge, signal.SIGHUP)
            await load.reach((number + 1) * requests // reloads)
        if number % 10 == 9:
            house.write(*house.parts)
    cut = [fault for fault in await asyncio.gather(*crossing) if fault]
    figures = {"reloads": reloads, "requests": load.done, "failed": len(load.wrong), "streams": streams, "cut": len(cut)}
    return verdict(figures, load.wrong + cut)


@drill
async def upgrade(house: House, upgrades: int = 10, requests: int = 20000, streams: int = 48) -> int:
    """A new process under load, again and again, with a config and a binary in between that do not come up."""
    await mixed(house)
    first, problems, ends = house.edge, [], []
    bad = house.folder / "bad"
    bad.write_text("#!/bin/sh\nexit 1\n")
    bad.chmod(0o755)
    crossing = []
    async with Load(house, QUICK) as load:
        for number in range(upgrades):
            crossing += [asyncio.create_task(long_stream(house, at)) for at in range(streams // upgrades + 1)]
            await asyncio.sleep(0.5)
            with contextlib.suppress(subprocess.TimeoutExpired):
                if await asyncio.to_thread(house.upgrade, str(bad)):
                    problems.append("a binary that ends at once said that it serves")
            whole = house.config.read_text()
            house.config.write_text(whole.replace('"auth": "off"', '"auth": "maybe"'))
            if await asyncio.to_thread(house.upgrade):
                problems.append("a bad config was served")
            house.config.write_text(whole)
            ends.append(house.edge)
            if not await asyncio.to_thread(house.upgrade):
                problems.append(f"upgrade {number} did not happen")
            await load.reach((number + 1) * requests // upgrades)
    cut = [fault for fault in await asyncio.gather(*crossing) if fault]
    await asyncio.sleep(2)
    left = [pid for pid in ends if alive(pid)]
    if left:
        problems.append(f"processes {left} did not end after their last stream")
    figures = {"upgrades": upgrades, "requests": load.done, "failed": len(load.wrong), "streams": len(crossing), "cut": len(cut)}
    figures["first process ended"] = not alive(first)
    return verdict(figures, problems + load.wrong + cut)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@drill
async def hold_back(house: House, streams: int = 1000) -> int:
    """The first target dies after its lifecycle frames; the client must see one whole stream of the second."""
    frames = {
        "/v1/chat/completions": [{"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
                                  "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}],
        "/v1/messages": [{"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant",
                          "model": "m", "content": [], "stop_reason": None, "usage": {"input_tokens": 1, "output_tokens": 1}}},
                         {"type": "ping"}],
    }
    died = 0

    async def dying(reader, writer):
        nonlocal died
        with contextlib.suppress(OSError, EOFError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")]
                await reader.readexactly(int(length[0].split()[1]) if length else 0)
                path = head.split()[1].decode()
                events = frames.get(path, [])
                body = "".join(("event: " + event["type"] + "\n" if "type" in event else "") + f"data: {json.dumps(event)}\n\n" for event in events)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
                writer.write(f"{len(body):x}\r\n{body}\r\n".encode())
                await writer.drain()
                died += 1
                if died % 2:
                    writer.transport.abort()
                writer.close()
                return

    server = await asyncio.start_server(dying, "127.0.0.1", 0)
    port, good = server.sockets[0].getsockname()[1], house.simulate(tokens=8)
    breaker = {"breaker": {"failures": 1000000}}
    providers = {
        "dying-chat": {"kind": "openai", "url": f"http://127.0.0.1:{port}/v1", "key": "sk-drill", **breaker},
        "dying-messages": {"kind": "anthropic", "url": f"http://127.0.0.1:{port}", "key": "sk-drill", **breaker},
        "chat": {"kind": "openai", "url": f"http://127.0.0.1:{good}/v1", "key": "sk-drill"},
        "messages": {"kind": "anthropic", "url": f"http://127.0.0.1:{good}", "key": "sk-drill"},
    }
    models = {f"{dead}-{other}": [f"dying-{dead}/m", f"{other}/m"] for dead in ("chat", "messages") for other in ("chat", "messages")}
    models["good"] = "chat/m"
    if os.environ.get("DRILL_NO_BREAKER", "") == "":
        for provider in providers.values():
            provider.pop("breaker", None)
    retries = {"retries": {"budget": {"share": 1000, "per_second": 100000}}}
    house.write(providers, models, **({} if house.plain else retries))
    house.run()
    house.text = await FORMATS[0].ask(Connection(house.port), "good", False)
    problems, slots = [], asyncio.Semaphore(16)

    async def one(number: int) -> None:
        form, model = FORMATS[number % 4], [name for name in models if name != "good"][number // 4 % 4]
        async with slots:
            try:
                text = await form.ask(Connection(house.port), model, True)
                if text != house.text:
                    problems.append(f"{form.name} of {model}: {text[:100]!r}")
            except Wrong as wrong:
                problems.append(str(wrong))

    await asyncio.gather(*(one(number) for number in range(streams)))
    return verdict({"streams": streams, "died": died, "wrong": len(problems)}, problems)
