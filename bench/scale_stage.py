"""One real `pgswarm run` with a real etcd, and around it ten thousand databases that only seem to run."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bench.usage import Usage
from tests.dockerd import Raw
from tests.etcd_server import EtcdServer, free_port
from tests.scale.fleet import SUBNET_POOL
from tests.scale.outside import HOST
from tests.scale.store import KEK

T = TypeVar("T")
REPO = Path(__file__).resolve().parent.parent
START_S, END_S = 30.0, 20.0
CALM_PERCENT, CALM_PERCENT_EACH = 3.0, 0.004
"""Of a core, used over CALM_S: nothing is to be done any more but the resync, which costs something a database."""
CALM_S = 1.0
PASSES = re.compile(r'^pgswarm_reconciles_total\{controller="database",outcome="([^"]*)"\} (\S+)', re.M)


@dataclass
class Scale:
    """Everything that runs."""

    folder: Path
    etcd: EtcdServer
    outside: subprocess.Popen[str]
    control: Raw
    say: Callable[[str], None]
    calm_percent: float
    process: subprocess.Popen[bytes] | None = None
    api: str = ""

    # --- the process under test ---

    def start(self, **environment: str) -> float:
        """`pgswarm run`; the monotonic seconds at which it was started."""
        port = free_port()
        self.api = f"http://127.0.0.1:{port}"
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PGSWARM_")},
            "PGSWARM_HOST": HOST,
            "PGSWARM_ETCD_ENDPOINTS": self.etcd.url,
            "PGSWARM_INSTANCE_ETCD_ENDPOINTS": "http://127.0.0.1:2379",
            "PGSWARM_DOCKER": f"unix://{self.folder / 'docker.sock'}",
            "PGSWARM_API_LISTEN": f"127.0.0.1:{port}",
            "PGSWARM_STATE_DIR": str(self.folder),
            "PGSWARM_KEY_FILE": str(self.folder / "key"),
            "PGSWARM_SUBNET_POOL": SUBNET_POOL,
            "PGSWARM_LOG_LEVEL": "warning",
            "PYTHONPATH": str(REPO),
            **environment,
        }
        argv = [sys.executable, "-c", "from controlplane.cli import main; main()", "run"]
        began_s = time.monotonic()
        with (self.folder / "pgswarm.log").open("ab") as log:
            self.process = subprocess.Popen(argv, env=env, cwd=REPO, stdout=log, stderr=log)
        return began_s

    @property
    def pid(self) -> int:
        assert self.process is not None
        code = self.process.poll()
        assert code is None, f"pgswarm ended with {code}: {self.log_tail()}"
        return self.process.pid

    def stop(self) -> None:
        if self.process is not None:
            end(self.process)
        self.process = None

    def log_tail(self) -> str:
        return (self.folder / "pgswarm.log").read_text()[-2000:]

    def usage(self) -> Usage:
        return Usage.of(self.pid)

    def calm(self, limit_s: float) -> Usage:
        """
        Wait until the process has nothing to do; what it had used when that began, within CALM_S.

        Raises: TimeoutError.
        """
        deadline_s, before = time.monotonic() + limit_s, self.usage()
        while time.monotonic() < deadline_s:
            time.sleep(CALM_S)
            now = self.usage()
            if (now.cpu_s - before.cpu_s) / CALM_S * 100 <= self.calm_percent:
                return before
            before = now
        raise TimeoutError(f"pgswarm is still at work after {limit_s:.0f} s")

    def metrics(self) -> str:
        with urllib.request.urlopen(f"{self.api}/metrics", timeout=60) as answer:
            return str(answer.read().decode())

    def passes(self) -> Counter[str]:
        """Over databases, by how they ended."""
        return Counter({outcome: int(float(count)) for outcome, count in PASSES.findall(self.metrics())})

    # --- the world around it ---

    def asked(self, what: str) -> Any:
        return self.control.call("GET", f"control/{what}")

    def until(
        self, what: str, wanted: Callable[[], T | None], limit_s: float, pause_s: float = 0.1
    ) -> tuple[float, T]:
        """When it was so, in monotonic seconds, and the answer. Raises: TimeoutError."""
        deadline_s = time.monotonic() + limit_s
        while time.monotonic() < deadline_s:
            assert self.pid
            found = wanted()
            if found is not None:
                return time.monotonic(), found
            time.sleep(pause_s)
        raise TimeoutError(f"{what}: not within {limit_s:.0f} s; {self.log_tail()}")


@contextmanager
def stage(folder: Path, databases: int, say: Callable[[str], None]) -> Iterator[Scale]:
    etcd = EtcdServer(folder, ("--quota-backend-bytes", str(8 << 30)))
    with ExitStack() as stack:
        stack.callback(etcd.kill)
        yield _staged(folder, etcd.start(), databases, say, stack)


def _staged(
    folder: Path, etcd: EtcdServer, databases: int, say: Callable[[str], None], stack: ExitStack
) -> Scale:
    key = folder / "key"
    key.touch(0o600)
    key.write_bytes(base64.b64encode(KEK.key))
    socket = folder / "docker.sock"
    argv = [sys.executable, "-m", "tests.scale.outside", "--socket", str(socket), "--etcd", etcd.url]
    argv += ["--databases", str(databases)]
    outside = subprocess.Popen(argv, cwd=REPO, stdout=subprocess.PIPE, text=True)
    stack.callback(end, outside)
    assert outside.stdout is not None
    assert outside.stdout.readline() == "ready\n", "the world around pgswarm did not come up"
    say(f"etcd and the Swarm hold {databases} databases")
    one = Scale(
        folder, etcd, outside, Raw(f"unix://{socket}"), say, CALM_PERCENT + CALM_PERCENT_EACH * databases
    )
    stack.callback(one.stop)
    return one


def end(process: subprocess.Popen[Any]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(END_S)
