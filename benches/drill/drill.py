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

from house import House, Unit, descriptors, health, memory, quantile
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
            if number % 10 == 9:
                house.config.write_text("providers: {broken: {kind: nonsense}}\n")
            else:
                house.write(*house.parts, server={"max_attempts": 2 + number % 3})
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
async def hold_back(house: House, streams: int = 1000, crowd: int = 64, breaker: int = 1) -> int:
    """The first target dies after its lifecycle frames; the client must see one whole stream of the second.

    With --breaker 0 the dying one is asked every time."""
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
    providers = {
        "dying-chat": {"kind": "openai", "url": f"http://127.0.0.1:{port}/v1", "key": "sk-drill"},
        "dying-messages": {"kind": "anthropic", "url": f"http://127.0.0.1:{port}", "key": "sk-drill"},
        "chat": {"kind": "openai", "url": f"http://127.0.0.1:{good}/v1", "key": "sk-drill"},
        "messages": {"kind": "anthropic", "url": f"http://127.0.0.1:{good}", "key": "sk-drill"},
    }
    if not breaker:
        for name in ("dying-chat", "dying-messages"):
            providers[name]["breaker"] = {"failures": 1000}
    pairs = itertools.product(("chat", "messages"), repeat=2)
    models = {f"{dead}-{other}": {"targets": [f"dying-{dead}/m", f"{other}/m"]} for dead, other in pairs}
    asked = list(models)
    house.write(providers, {**models, "good": "chat/m"})
    house.run()
    house.text = await FORMATS[0].ask(Connection(house.port), "good", False)
    problems, slots = [], asyncio.Semaphore(crowd)

    async def one(number: int) -> None:
        form, model = FORMATS[number % 4], asked[number // 4 % 4]
        async with slots:
            try:
                text = await form.ask(Connection(house.port), model, True)
                if text != house.text:
                    problems.append(f"{form.name} of {model}: {text[:100]!r}")
            except Wrong as wrong:
                problems.append(str(wrong))

    await asyncio.gather(*(one(number) for number in range(streams)))
    return verdict({"streams": streams, "died": died, "wrong": len(problems)}, problems)


@drill
async def storm(house: House, requests: int = 5000) -> int:
    """All targets fail: attempts stay within 1.2 times the requests and ten a second."""
    ports = [house.simulate(status_mix="503:1", retry_after=0) for _ in range(3)]
    providers = {f"p{at}": {"kind": "openai", "url": f"http://127.0.0.1:{port}/v1", "key": "k"} for at, port in enumerate(ports)}
    house.write(providers, {"m": {"targets": [f"{name}/m" for name in providers]}})
    house.run()
    house.text, began = "", time.monotonic()
    async with Load(house, ["m"], 32) as load:
        await load.reach(requests)
    took, attempts = time.monotonic() - began, house.count("gateway_retry_attempts_total") + load.done
    bound = 1.2 * load.done + 10 * took
    figures = {"requests": load.done, "attempts": attempts, "bound": round(bound), "seconds": round(took, 1)}
    return verdict(figures, [] if attempts <= bound else ["more attempts than the budget allows"])


@drill
async def bad_endpoint(house: House, requests: int = 3000) -> int:
    """One endpoint of three fails and nothing is tried again: at most 5 failures are seen, then none."""
    ports = [house.simulate(tokens=8), house.simulate(tokens=8), house.simulate(status_mix="500:1")]
    fleet = {"kind": "openai", "key": "k", "endpoints": [f"http://127.0.0.1:{port}/v1" for port in ports]}
    fleet["breaker"] = {"open": "10m", "open_max": "10m"}
    house.write({"fleet": fleet}, {"m": {"targets": ["fleet/m"], "retries": {"budget": 0, "budget_floor": 0, "rounds": 0}}})
    house.run()
    house.text = await steady(house, "m")
    async with Load(house, ["m"], 1) as load:
        await load.reach(requests)
    figures = {"requests": load.done, "failed": len(load.wrong)}
    return verdict(figures, [] if len(load.wrong) <= 5 else load.wrong)


async def steady(house: House, model: str) -> str:
    """The simulated text, from whoever gives it."""
    while True:
        with contextlib.suppress(Wrong):
            return await FORMATS[0].ask(Connection(house.port), model, False)


@drill
async def overload(house: House, seconds: int = 10, concurrent: int = 40, line: int = 20) -> int:
    """Three times what a provider's limit lets through: what is served stays, what is refused is refused at once."""
    port = house.simulate(tokens=1, first_token_ms=200)
    limit = {"max_concurrent": concurrent, "queue": {"size": line, "wait": "1s"}}
    house.write({"p": {"kind": "openai", "url": f"http://127.0.0.1:{port}/v1", "key": "k", **limit}}, {"m": "p/m"})
    house.run()
    form, body = FORMATS[0], json.dumps(FORMATS[0].body("m", "Hello", False)).encode()
    served, refused, problems = [], [], []

    async def one(idle: list[Connection], slow: list) -> None:
        connection, began = idle.pop() if idle else Connection(house.port), time.monotonic()
        answer = await connection.ask(form.path("m", False), {}, body)
        text = await answer.body()
        took = time.monotonic() - began
        if answer.status == 200:
            slow.append(took)
        else:
            refused.append(took)
            if answer.status not in (429, 503) or "retry-after" not in answer.headers or b"error" not in text:
                problems.append(f"{answer.status} {text[:100]!r}")
        idle.append(connection)

    async def rate(per_second: float) -> float:
        """Requests as they are due, whatever became of those before; what was served in a second."""
        tasks, idle, done, began = [], [], [], time.monotonic()
        for number in range(int(per_second * seconds)):
            await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
            tasks.append(asyncio.create_task(one(idle, done)))
        await asyncio.gather(*tasks)
        served.append(len(done))
        return len(done) / (time.monotonic() - began)

    capacity = concurrent / 0.2
    peak = await rate(capacity * 0.95)
    refused.clear()
    probe = asyncio.create_task(health(house.port, seconds))
    goodput = await rate(capacity * 3)
    asked = await probe
    figures = {
        "peak, a second": round(peak), "goodput at three times, a second": round(goodput), "served": served[-1],
        "refused": len(refused), "refusal p50, ms": round(quantile(refused, 0.5) * 1000, 1),
        "refusal p99, ms": round(quantile(refused, 0.99) * 1000, 1),
        "health p99, ms": round(quantile(asked, 0.99) * 1000, 1), "RSS, MiB": round(memory(house.edge) / MIB, 1),
    }
    bounds = [(goodput >= 0.9 * peak, "goodput falls"), (quantile(asked, 0.99) <= 0.05, "/health is slow")]
    bounds += [(quantile(refused, 0.99) <= 0.01, "refusals take their time"), (bool(refused), "nothing was refused")]
    return verdict(figures, problems + [said for holds, said in bounds if not holds])


@drill
async def drip(house: House, connections: int = 1000, seconds: int = 15) -> int:
    """Connections that send a head a byte at a time: honest requests are at most 20 % slower."""
    await mixed(house)

    async def honest() -> float:
        async with Load(house, QUICK, 4) as load:
            await asyncio.sleep(seconds)
        if load.wrong:
            raise SystemExit(load.wrong[0])
        return quantile(load.took, 0.99)

    async def dripping() -> None:
        with contextlib.suppress(OSError):
            while True:
                reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
                for byte in b"POST /v1/chat/completions HTTP/1.1\r\nhost: edge\r\n" + b"x-drip: 1\r\n" * 100:
                    writer.write(bytes([byte]))
                    await asyncio.sleep(1)
                    if reader.at_eof():
                        break
                writer.close()

    before = await honest()
    drips = [asyncio.create_task(dripping()) for _ in range(connections)]
    await asyncio.sleep(2)
    during = await honest()
    for task in drips:
        task.cancel()
    figures = {"p99 alone, ms": round(before * 1000, 2), "p99 beside them, ms": round(during * 1000, 2)}
    return verdict(figures, [] if during <= before * 1.2 else ["the dripping ones cost more than a fifth"])


@drill
async def streams(house: House, streams: int = 9000, seconds: int = 60, pair: str = "chat-messages", probes: int = 300) -> int:
    """Slow streams open at once: memory a stream, memory after they closed, and the time to the first word of another."""
    client, upstream = pair.split("-")
    form = next(form for form in FORMATS if form.name == client)
    port = house.simulate(tokens=seconds, tokens_per_second=1, first_token_ms=1000)
    kind, path = {"chat": ("openai", "/v1"), "messages": ("anthropic", "")}[upstream]
    near = house.simulate(tokens=8)
    house.write(
        {name: {"kind": kind, "url": f"http://127.0.0.1:{at}{path}", "key": "k"} for name, at in (("slow", port), ("quick", near))},
        {"m": "slow/m", "q": "quick/m"},
    )
    house.run()
    word = (await form.ask(Connection(house.port), "m", False)).split()[0].encode()
    idle, problems, slots = memory(house.edge), [], asyncio.Semaphore(200)

    async def one() -> None:
        connection = Connection(house.port)
        try:
            await form.ask(connection, "m", True)
        except Wrong as wrong:
            problems.append(str(wrong))
        connection.close()

    tasks, peak = [], idle
    for _ in range(streams):
        tasks.append(asyncio.create_task(one()))
        if len(tasks) % 50 == 0:
            await asyncio.sleep(0.05)
    while not problems and not all(task.done() for task in tasks) and house.count("gateway_upstream_in_flight") < streams:
        await asyncio.sleep(0.5)
    # In turn, so that whatever else the machine does is in both.
    own = next(form for form in FORMATS if form.name == upstream)
    ways = {"direct": (own, Connection(near), []), "edge": (form, Connection(house.port), [])}
    for _ in range(probes):
        for asked, connection, took in ways.values():
            took.append(await asked.first_word(connection, "q", word) * 1000)
    open_most = 0.0
    while not all(task.done() for task in tasks):
        peak = max(peak, memory(house.edge))
        open_most = max(open_most, sum(not task.done() for task in tasks))
        await asyncio.sleep(0.5)
    await asyncio.sleep(15)
    after = memory(house.edge)
    figures = {
        "pair": pair, "streams": streams, "open at once": open_most, "wrong": len(problems),
        "KB a stream": round((peak - idle) / streams / 1024, 1),
        **{f"first word {way}, p50 and p99 ms": [round(quantile(took, at), 2) for at in (0.5, 0.99)] for way, (_, _, took) in ways.items()},
        "idle, MiB": round(idle / MIB, 1), "peak, MiB": round(peak / MIB, 1), "15 s after, MiB": round(after / MIB, 1),
    }
    return verdict(figures, problems)


@drill
async def soak(house: House, minutes: int = 30, workers: int = 8) -> int:
    """Mixed load for long: memory may grow by 1 MiB a minute at most, descriptors come back."""
    await mixed(house, drip=0.1, gzip=0.1)
    fds, samples = descriptors(house.edge), []
    async with Load(house, QUICK + SLOW[:0], workers) as load:
        for minute in range(minutes * 6):
            await asyncio.sleep(10)
            samples.append((minute / 6, memory(house.edge) / MIB))
    warm = [sample for sample in samples if sample[0] >= min(2, minutes / 5)]
    await asyncio.sleep(5)
    figures = {
        "minutes": minutes, "requests": load.done, "wrong": len(load.wrong), "MiB a minute": round(slope(warm), 3),
        "MiB at the end": round(samples[-1][1], 1), "descriptors": [fds, descriptors(house.edge)],
    }
    problems = load.wrong + (["memory grows"] if slope(warm) > 1 else [])
    return verdict(figures, problems + (["descriptors stay"] if descriptors(house.edge) > fds + 64 else []))


def slope(samples: list[tuple[float, float]]) -> float:
    """The least-squares slope."""
    if len(samples) < 2:
        return 0.0
    mean_x, mean_y = (sum(axis) / len(samples) for axis in zip(*samples))
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/tidegate")
    parser.add_argument("--unit", help="the edge is this unit of systemd, on a machine of its own: see booted.sh")
    parser.add_argument("name", choices=["list", *DRILLS])
    args, options = parser.parse_known_args()
    if args.name == "list":
        for name, function in DRILLS.items():
            print(f"{name:14} {function.__doc__.splitlines()[0]}")
        return 0
    function = DRILLS[args.name]
    kinds = {name: type(default) for name, default in zip(function.__code__.co_varnames[1:], function.__defaults__ or ())}
    words = {name.lstrip("-").replace("-", "_"): value for name, value in zip(options[::2], options[1::2])}
    for name in words:
        if name not in kinds:
            parser.error(f"{args.name} knows no --{name}; it knows {', '.join(kinds)}")
    with Unit(args.binary, args.unit) if args.unit else House(args.binary) as house:
        return asyncio.run(function(house, **{name: kinds[name](value) for name, value in words.items()}))


if __name__ == "__main__":
    sys.exit(main())
