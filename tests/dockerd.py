"""
A real Docker engine with a one-node Swarm for the contract suites, in namespaces of its own.

Root only. dockerd runs in fresh network, mount, UTS and PID namespaces with its data on a tmpfs inside them,
so everything (containers, mounts, interfaces) is gone when its process is, also when the test run itself is
killed. `PGSWARM_TEST_DOCKER=unix:///path` uses an engine that is already there and never stops it.
"""

from __future__ import annotations

import atexit
import functools
import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

IMAGE = "pgswarm-test:latest"
SECOND_IMAGE = "pgswarm-test:second"
ADDRESS = "10.98.0.1"
START_S = 45.0
PREFIX = "pgswarm-dockerd-"
PROGRAMS = ("sh", "sleep", "cat", "stat")

# dash, as PID 1 of the namespace, reaps what containerd's shims leave behind. The resolver refuses at once,
# so that looking for an image in a registry out of reach costs milliseconds, not a DNS timeout per task.
INSIDE = r"""
set -e
mount --make-rprivate /
mkdir -p "$STATE/cgroup" "$STATE/data" "$STATE/run"
mount --rbind /sys/fs/cgroup "$STATE/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$STATE/cgroup" /sys/fs/cgroup
mount -t tmpfs -o size=1g tmpfs "$STATE/data"
mount -t tmpfs -o size=64m tmpfs "$STATE/run"
echo 'nameserver 127.0.0.1' > "$STATE/run/resolv.conf"
mount --bind "$STATE/run/resolv.conf" "$(readlink -f /etc/resolv.conf)"
hostname pgswarm-test
ip link set lo up
ip link add uplink type bridge
ip addr add "$ADDRESS/24" dev uplink
ip link set uplink up
dockerd --data-root "$STATE/data" --exec-root "$STATE/run/exec" --pidfile "$STATE/run/dockerd.pid" \
  -H "unix://$STATE/docker.sock" --cgroup-parent "/$(basename "$STATE")" --log-level warn &
wait
"""


class UnixHttp(http.client.HTTPConnection):
    """http.client over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Raw:
    """Docker's API without any of pgswarm's code: the hand of a person who changes things out of band."""

    def __init__(self, url: str) -> None:
        assert url.startswith("unix://"), "the contract suites speak to a unix socket"
        self._path = url.removeprefix("unix://")

    def call(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        payload = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
        connection = UnixHttp(self._path)
        try:
            target = f"/v1.41/{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
            connection.request(method, target, payload, {"Content-Type": kind})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text.decode()[:300]}")
        return json.loads(text) if text and "json" in (answer.getheader("Content-Type") or "") else None

    def listed(self, path: str, **filters: list[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("GET", path, filters=json.dumps(filters)) or []
        return found


def _libraries(program: str) -> set[Path]:
    text = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return {Path(found) for found in re.findall(r"(/\S+) \(0x", text)}


def image_tar() -> bytes:
    """
    A root file system with a shell, sleep and cat of this machine, and /data owned by 999: no registry
    needed.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        programs = {f"bin/{name}": shutil.which(name) or f"/bin/{name}" for name in PROGRAMS}
        libraries = {str(lib).lstrip("/"): str(lib) for path in programs.values() for lib in _libraries(path)}
        for name, path in sorted((programs | libraries).items()):
            tar.add(Path(path).resolve(), arcname=name)
        for name, uid, mode in (("data", 999, 0o700), ("tmp", 0, 0o1777), ("etc", 0, 0o755)):
            folder = tarfile.TarInfo(name)
            folder.type, folder.uid, folder.gid, folder.mode = tarfile.DIRTYPE, uid, uid, mode
            tar.addfile(folder)
    return buffer.getvalue()


class Dockerd:
    """One engine of our own. `start` and `stop`; `stop` may be called twice."""

    def __init__(self) -> None:
        sweep()
        self.state = Path(tempfile.mkdtemp(prefix=PREFIX))
        (self.state / "owner").write_text(str(os.getpid()))
        self.url = f"unix://{self.state}/docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if os.geteuid() != 0:
            raise RuntimeError(
                "the Docker contract suite starts dockerd: run it as root, or set PGSWARM_TEST_DOCKER"
            )
        missing = [
            p for p in ("dockerd", "unshare", "setpriv", "ip", "containerd") if shutil.which(p) is None
        ]
        if missing:
            raise RuntimeError(
                f"the Docker contract suite needs {', '.join(missing)} (Debian: docker.io, iproute2)"
            )
        self.launch()
        raw = Raw(self.url)
        raw.call("POST", "swarm/init", {"ListenAddr": f"{ADDRESS}:2377", "AdvertiseAddr": ADDRESS})

    def launch(self) -> None:
        """Start the process (again, after `kill`, with empty state) and wait until it answers."""
        argv = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "unshare",
            "--net",
            "--mount",
            "--uts",
            "--ipc",
            "--pid",
            "--fork",
        ]
        argv += ["--kill-child=KILL", "--mount-proc", "sh", "-c", INSIDE]
        with (self.state / "log").open("ab") as log:
            environment = {**os.environ, "STATE": str(self.state), "ADDRESS": ADDRESS}
            self._process = subprocess.Popen(
                argv,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline_s = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                tail = (self.state / "log").read_text(errors="replace")[-2000:]
                self.stop()
                raise RuntimeError(f"dockerd did not come up:\n{tail}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            Raw(self.url).call("GET", "info")
        except (OSError, RuntimeError, http.client.HTTPException):
            return False
        return True

    def stop(self) -> None:
        """End every process of the engine and remove its files."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)  # to unshare, which takes the namespace's PID 1 with it
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
        self._process = None
        remove_state(self.state)


def remove_state(state: Path) -> None:
    """Files, and the empty directories that are all that is left of the containers' cgroups; deepest first."""
    for root in Path("/sys/fs/cgroup").glob(f"*/{state.name}"):
        for folder in sorted((p for p in root.rglob("*") if p.is_dir()), reverse=True):
            folder.rmdir()
        root.rmdir()
    shutil.rmtree(state, ignore_errors=True)


def sweep() -> None:
    """Remove what a test run that was killed has left; its processes ended with it."""
    for state in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = state / "owner"
        if owner.exists() and not Path("/proc", owner.read_text().strip() or "none").exists():
            remove_state(state)


def load_images(raw: Raw) -> None:
    for image in (IMAGE, SECOND_IMAGE):
        repository, tag = image.split(":")
        raw.call("POST", "images/create", image_tar(), fromSrc="-", repo=repository, tag=tag)


@functools.cache
def _engine() -> Dockerd:
    """One per test run, whoever asks: each test module that imports the fixture has a fixture of its own."""
    engine = Dockerd()
    atexit.register(engine.stop)
    engine.start()
    load_images(Raw(engine.url))
    return engine


@pytest.fixture(scope="session")
def docker_url() -> str:
    """URL of an engine whose node is a Swarm manager and which has IMAGE and SECOND_IMAGE."""
    given = os.environ.get("PGSWARM_TEST_DOCKER")
    if given:
        load_images(Raw(given))
        return given
    return _engine().url
