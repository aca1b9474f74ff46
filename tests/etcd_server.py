"""
A real etcd for contract tests: one process on loopback with its data in a temporary folder, ended by its pid.

The suites are for etcd 3.5 and later. The program comes from $PGSWARM_ETCD_BIN (a folder), from the temporary
directory or PATH, or is fetched once into the temporary directory.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT_PASSWORD = "root-password"
START_S = 20.0
REPO = Path(__file__).resolve().parent.parent


@functools.cache
def programs() -> Path:
    """Folder with etcd and etcdctl."""
    temporary = Path(tempfile.gettempdir())
    named = os.environ.get("PGSWARM_ETCD_BIN")
    on_path = shutil.which("etcd")
    candidates = [Path(named)] if named else [temporary / "etcd-bin"]
    if on_path and not named:
        candidates.append(Path(on_path).resolve().parent)
    for folder in candidates:
        if (folder / "etcd").exists() and (folder / "etcdctl").exists():
            return folder
    assert not named, f"PGSWARM_ETCD_BIN={named} holds no etcd and etcdctl"
    argv = [sys.executable, "-m", "clustertest.lab.etcd", "--fetch", str(temporary / "pgswarm-etcd")]
    fetched = subprocess.run(argv, cwd=REPO, check=True, capture_output=True, text=True)
    return Path(fetched.stdout.strip().splitlines()[-1])


@functools.cache
def version() -> tuple[int, ...]:
    text = subprocess.run(
        [programs() / "etcd", "--version"], check=True, capture_output=True, text=True
    ).stdout
    return tuple(int(part) for part in text.splitlines()[0].rsplit(maxsplit=1)[-1].split("."))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _state(task: Path) -> str:
    """The letter of a thread's state; "T": stopped, also for one that has just ended."""
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "T"


@dataclass
class TlsFiles:
    ca: Path
    cert: Path
    key: Path


@dataclass
class EtcdServer:
    """One member. `start` may be called again after `kill` or `stop`: same address, same data."""

    folder: Path
    flags: tuple[str, ...] = ()
    tls: TlsFiles | None = None
    port: int = field(default_factory=free_port)
    peer_port: int = field(default_factory=free_port)
    name: str = "m1"
    members: str = ""
    """`--initial-cluster`; empty: this member alone."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def peer_url(self) -> str:
        return f"http://127.0.0.1:{self.peer_port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> EtcdServer:
        self.launch()
        self.wait()
        return self

    def launch(self) -> None:
        peer = f"http://127.0.0.1:{self.peer_port}"
        argv = [
            *(programs() / "etcd", "--data-dir", self.folder / "data", "--name", self.name),
            *("--log-level", "error"),
            *("--listen-client-urls", self.url, "--advertise-client-urls", self.url),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", self.members or f"{self.name}={peer}"),
            *("--heartbeat-interval", "20", "--election-timeout", "200"),
            *self._tls_flags(),
            *(("--unsafe-no-fsync",) if version() >= (3, 5) else ()),
            *self.flags,
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)

    def ctl(self, *args: str, user: str = "") -> str:
        """Run etcdctl, with API version 3, and return what it prints."""
        tls: list[str] = []
        if self.tls:
            tls = ["--cacert", str(self.tls.ca), "--cert", str(self.tls.cert), "--key", str(self.tls.key)]
        argv = [
            str(programs() / "etcdctl"),
            "--endpoints",
            self.url,
            *tls,
            *(["--user", user] if user else []),
        ]
        env = {"ETCDCTL_API": "3", "PATH": os.environ["PATH"]}
        done = subprocess.run(
            [*argv, *args], env=env, capture_output=True, text=True, timeout=20, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def switch_auth_on(self) -> None:
        self.ctl("user", "add", f"root:{ROOT_PASSWORD}")
        self.ctl("user", "grant-role", "root", "root")
        self.ctl("auth", "enable")

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Returns when it stands: the signal takes its time to reach every thread, and one may answer meanwhile."""
        self._signal(signal.SIGSTOP)
        assert self.process is not None
        tasks = Path(f"/proc/{self.process.pid}/task")
        deadline_s = time.monotonic() + 5.0
        while any(_state(task) != "T" for task in tasks.iterdir()):
            assert time.monotonic() < deadline_s, "etcd does not stop"
            time.sleep(0.001)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _tls_flags(self) -> tuple[str | Path, ...]:
        if self.tls is None:
            return ()
        files = ("--cert-file", self.tls.cert, "--key-file", self.tls.key, "--trusted-ca-file", self.tls.ca)
        return (*files, "--client-cert-auth")

    def wait(self) -> None:
        """Until it accepts connections; its clients do the rest of the waiting themselves."""
        deadline_s = time.monotonic() + START_S
        while True:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=0.5).close()
            except OSError:
                assert time.monotonic() < deadline_s, "etcd does not come up"
                time.sleep(0.02)
            else:
                return

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.send_signal(signal.SIGCONT)
            self.process.wait(timeout=20)
        self.process = None


def members_in(folder: Path, size: int) -> list[EtcdServer]:
    """Members that know each other, to be launched all before one is waited for."""
    servers = [EtcdServer(folder / f"m{number}", name=f"m{number}") for number in range(1, size + 1)]
    for server in servers:
        server.folder.mkdir()
        server.members = ",".join(f"{each.name}={each.peer_url}" for each in servers)
    return servers
