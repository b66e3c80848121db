"""The processes of a drill: simulated providers and an edge, on ports of their own, in a folder that goes with them."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from wire import Connection


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


class House:
    """`with House(binary) as house: …`; every process that was started ends with it."""

    def __init__(self, binary: str):
        self.binary = binary
        self.folder = Path(tempfile.mkdtemp(prefix="drill-"))
        self.started: list[subprocess.Popen] = []
        self.port, self.admin = free_port(), free_port()
        self.config = self.folder / "tidegate.yaml"
        self.edge = 0

    def __enter__(self) -> "House":
        return self

    def __exit__(self, *_) -> None:
        for process in self.started:
            process.terminate()
        if self.edge and self.edge not in [process.pid for process in self.started]:
            os.kill(self.edge, signal.SIGTERM)
        for process in self.started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def spawn(self, *words: str, log: str) -> int:
        output = open(self.folder / log, "ab")
        process = subprocess.Popen([self.binary, *words], stdout=output, stderr=output)
        self.started.append(process)
        return process.pid

    def simulate(self, **knobs) -> int:
        """Starts a simulated provider; its port."""
        port = free_port()
        words = [f"--{name.replace('_', '-')}={value}" for name, value in knobs.items()]
        self.spawn("simulate", f"--listen=127.0.0.1:{port}", *words, log=f"simulate-{port}.log")
        self.wait(port)
        return port

    def write(self, providers: dict, models: dict, **more) -> None:
        """Writes the edge's config. JSON is YAML."""
        server = {
            "listen": [{"address": f"127.0.0.1:{self.port}"}],
            "upgrade_socket": str(self.folder / "upgrade.sock"),
            "threads": 1,
            **more.pop("server", {}),
        }
        config = {
            "server": {key: value for key, value in server.items() if value is not None},
            "admin": {"listen": f"127.0.0.1:{self.admin}"},
            "access_log": {"enabled": False},
            "auth": "off",
            "providers": providers,
            "models": models,
            **more,
        }
        draft = self.config.with_suffix(".new")
        draft.write_text(json.dumps(config))
        draft.rename(self.config)

    def run(self) -> None:
        self.edge = self.spawn("run", "--config", str(self.config), log="edge.log")
        self.wait(self.port)

    def upgrade(self, binary: str | None = None) -> str:
        """Puts a new process in the edge's place; what the command said."""
        words = [binary or self.binary, "upgrade", "--config", str(self.config)]
        with open(self.folder / "edge.log", "ab") as log:
            done = subprocess.run(words, stdout=subprocess.PIPE, stderr=log, text=True, timeout=90)
        if done.returncode == 0:
            self.edge = int(done.stdout.split("process ")[1].split()[0].rstrip(".,"))
        return done.stdout

    def wait(self, port: int) -> None:
        until = time.monotonic() + 15
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                    return
            except OSError:
                if time.monotonic() > until:
                    raise SystemExit(f"nothing answers at port {port}: {self.log()}") from None
                time.sleep(0.05)

    def log(self) -> str:
        return "\n".join(file.read_text()[-2000:] for file in self.folder.glob("*.log"))

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line and line[0] != "#"}

    def count(self, name: str) -> float:
        """A metric, over all its labels."""
        return sum(value for key, value in self.metrics().items() if key.split("{")[0] == name)


class Unit(House):
    """The same with the edge as a unit of systemd; for a machine that is there for nothing else."""

    def __init__(self, binary: str, unit: str):
        # Where the unit's files are: the binary is put out of the way, so that a bad one can take its place.
        super().__init__(shutil.copy(binary, tempfile.mkdtemp(prefix="drill-")))
        self.installed, self.unit = Path(binary), unit
        self.config = Path("/etc/tidegate/tidegate.yaml")

    def __exit__(self, *_) -> None:
        self.systemctl("stop")
        self.edge = 0
        super().__exit__()

    def systemctl(self, verb: str) -> bool:
        return subprocess.run(["systemctl", verb, self.unit], stderr=subprocess.DEVNULL, timeout=120).returncode == 0

    def write(self, providers: dict, models: dict, **more) -> None:
        # Where the sockets are handed over is the unit's business.
        super().write(providers, models, **{**more, "server": {"upgrade_socket": None, **more.get("server", {})}})

    def run(self) -> None:
        if not self.systemctl("start"):
            raise SystemExit(f"the unit does not start: {self.log()}")
        self.edge = self.main()
        self.wait(self.port)

    def main(self) -> int:
        words = ["systemctl", "show", "--property=MainPID", "--value", self.unit]
        return int(subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout)

    def upgrade(self, binary: str | None = None) -> str:
        self.install(binary or self.binary)
        try:
            done = self.systemctl("reload")
        finally:
            self.install(self.binary)
        before, self.edge = self.edge, self.main()
        return f"process {self.edge}" if done and self.edge != before else ""

    def install(self, binary: str) -> None:
        # A file that runs cannot be written, but another can take its name.
        draft = self.installed.with_suffix(".new")
        shutil.copy(binary, draft)
        draft.rename(self.installed)

    def log(self) -> str:
        edge = Path("/var/log/edge.log")
        status = subprocess.run(["systemctl", "status", "--no-pager", self.unit], stdout=subprocess.PIPE, text=True)
        return super().log() + (edge.read_text()[-2000:] if edge.exists() else "") + status.stdout


async def health(port: int, seconds: float) -> list[float]:
    """How long `/health` took, in seconds, asked ten times a second."""
    took, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        connection, began = Connection(port), time.monotonic()
        answer = await connection.get("/health")
        await answer.body()
        connection.close()
        if answer.status != 200:
            raise SystemExit(f"/health answered {answer.status}")
        took.append(time.monotonic() - began)
        await asyncio.sleep(0.1)
    return took


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
