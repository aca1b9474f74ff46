"""The lab: its verbs, as a person types them, and what it leaves behind. One of its own, two hosts, no pgswarm."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clustertest.lab.process import Identity
from clustertest.lab.settings import REPO

OWN_LAB = True
NAMES = {
    "PGSWARM_LAB_NAME": "verbs",
    "PGSWARM_LAB_NETWORK": "10.97.0",
    "LAB_ARGS": "--no-pgswarm",
    "HOSTS": "2",
}
FOLDER = Path("/var/lib/pgswarm-lab-verbs")
PREFIX = "pgslverbs"
UP_GOAL_S = 60.0
SOON_S = 20.0
# Connect, say how long it took; a wire that is cut drops frames, so only a limit ends it.
CONNECT = (
    "import socket,time,sys; began=time.monotonic();"
    "socket.create_connection((sys.argv[1], 2379), 3).close(); print(time.monotonic()-began)"
)


@dataclass(frozen=True)
class Shell:
    """Commands as a person gives them, in the repository's folder."""

    environment: dict[str, str]

    def run(self, *argv: str, check: bool = True, limit_s: float = 120) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            argv, cwd=REPO, env=self.environment, capture_output=True, text=True, timeout=limit_s, check=False
        )
        assert done.returncode == 0 or not check, (
            f"{' '.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done

    def lab(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "clustertest.lab", *words, check=check)

    def make(self, target: str) -> str:
        return self.run("make", target, f"LAB_PYTHON={sys.executable}").stdout

    def sh(self, script: str, *, check: bool = True) -> str:
        """With what `make lab-env` prints."""
        return self._sh(script, check=check).stdout.strip()

    def succeeds(self, script: str) -> bool:
        return self._sh(script, check=False).returncode == 0

    def _sh(self, script: str, *, check: bool) -> subprocess.CompletedProcess[str]:
        return self.run("sh", "-c", f'eval "$(make -s lab-env)"; {script}', check=check)

    def connects(self, host: str, other: str) -> float:
        """Seconds that a connection from one host to another's etcd takes; infinite when there is none."""
        done = self.lab("exec", host, "--", "python3", "-c", CONNECT, f"10.97.0.1{other[-1]}", check=False)
        return float(done.stdout) if done.returncode == 0 else float("inf")

    def service(self, host: str, name: str) -> str:
        """A process id, or "down"."""
        row = next(line for line in self.lab("status").stdout.splitlines() if line.startswith(host))
        return re.findall(rf"{name}=(\S+)", row)[0]


def eventually(what: str, ask: Callable[[], bool], limit_s: float = SOON_S) -> None:
    deadline = time.monotonic() + limit_s
    while not ask():
        assert time.monotonic() < deadline, f"not within {limit_s:.0f} s: {what}"
        time.sleep(0.2)


def traces() -> dict[str, list[str]]:
    """What the whole machine shows of any lab, engine or network; the same before and after, whoever else is on it."""

    def said(*argv: str) -> list[str]:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()

    rules = [line for line in said("iptables-save") if not line.startswith("#")]
    return {
        "interfaces": sorted(line.split()[1] for line in said("ip", "-o", "link") if "veth" not in line),
        "namespaces": sorted(path.name for path in Path("/run/netns").glob("*")),
        "firewall": [re.sub(r"\[\d+:\d+\]", "", line) for line in rules],
        "mounts": sorted(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        "cgroups": sorted(
            str(path) for depth in ("", "*/") for path in Path("/sys/fs/cgroup").glob(f"{depth}pgsl*")
        ),
        "sockets": sorted(str(path) for path in Path("/run").glob("docker*")),
    }


@pytest.fixture(autouse=True)
def whole_again() -> None:
    """Each test here leaves its lab whole; the shared one is not up."""


@pytest.fixture(scope="module")
def shell() -> Shell:
    if os.geteuid() != 0:
        pytest.fail("the lab makes network namespaces: run the cluster tests as root")
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PGSWARM_LAB", "DOCKER_"))
    }
    return Shell({**kept, **NAMES})


@pytest.fixture(scope="module")
def images(shell: Shell) -> None:
    """The figure for `up` is with warm images."""
    shell.lab("images")


@pytest.fixture(scope="module")
def up(shell: Shell, images: None) -> Iterator[Shell]:
    before = traces()
    began_s = time.monotonic()
    shell.make("lab-up")
    took_s = time.monotonic() - began_s
    try:
        assert took_s <= UP_GOAL_S, f"up took {took_s:.0f} s"
        yield shell
    finally:
        shell.make("lab-down")
    assert traces() == before
    assert not FOLDER.exists()


def test_the_exports_work_in_a_shell(up: Shell) -> None:
    assert up.sh("etcdctl endpoint health 2>&1 | grep -c 'is healthy'") == "2"
    assert up.sh('docker -H "$DOCKER_HOST_2" node ls --format "{{.Hostname}}" | sort').split() == [
        "host-1",
        "host-2",
    ]
    assert up.sh('echo "$HOST_ADDR_1 $HOST_ADDR_2 $PGSWARM_API_2"') == (
        "10.97.0.11 10.97.0.12 http://10.97.0.12:7432"
    )
    for host in ("1", "2"):
        assert up.sh(f'docker -H "$DOCKER_HOST_{host}" images -q pgswarm/postgres:17')


def test_a_command_runs_inside_a_host(up: Shell) -> None:
    assert up.lab("exec", "host-2", "--", "hostname").stdout.strip() == "host-2"
    assert "10.97.0.12" in up.lab("exec", "2", "--", "ip", "-br", "address").stdout
    assert up.lab("exec", "host-1", "--", "sh", "-c", "exit 7", check=False).returncode == 7
    wrong = up.lab("exec", "host-9", "--", "true", check=False)
    assert (wrong.returncode, "no host 'host-9'" in wrong.stderr) == (1, True)


def test_one_service_is_killed_and_started(up: Shell) -> None:
    version = 'docker -H "$DOCKER_HOST_1" version'
    for service, answers in (
        ("dockerd", version),
        ("etcd", 'ETCDCTL_ENDPOINTS="$HOST_ADDR_1:2379" etcdctl endpoint health'),
    ):
        other = up.service("host-2", service)
        up.lab("kill", "host-1", "--only", service)
        assert up.service("host-1", service) == "down"
        assert not up.succeeds(answers)
        again = up.lab("start", "host-1", "--only", service)
        assert again.returncode == 0
        eventually(f"{service} answers", lambda ask=answers: up.succeeds(ask))
        assert up.service("host-2", service) == other

    twice = up.lab("start", "host-1", "--only", "etcd", check=False)
    assert (twice.returncode, "runs already" in twice.stderr) == (1, True)


def test_a_host_loses_power_and_keeps_its_disk(up: Shell) -> None:
    docker = 'docker -H "$DOCKER_HOST_2"'
    up.sh(f"{docker} volume create kept")
    inner = int(up.service("host-2", "dockerd"))
    up.lab("kill", "host-2")
    assert Identity.of(inner) is None
    assert "down" in next(line for line in up.lab("status").stdout.splitlines() if line.startswith("host-2"))
    assert up.lab("exec", "host-2", "--", "true", check=False).returncode == 1

    up.lab("start", "host-2")
    assert up.sh(f"{docker} volume ls -q") == "kept"
    eventually(
        "the Swarm is whole",
        lambda: (
            up.sh(f"{docker} node ls --format '{{{{.Status}}}}'", check=False).split() == ["Ready", "Ready"]
        ),
    )


def test_paused_it_says_nothing_and_resumed_it_goes_on(up: Shell) -> None:
    health = 'ETCDCTL_ENDPOINTS="$HOST_ADDR_1:2379" etcdctl --command-timeout 2s endpoint health'
    for words in (("--only", "etcd"), ()):
        up.lab("pause", "host-1", *words)
        try:
            assert not up.succeeds(health)
            assert up.service("host-1", "etcd") != "down"
        finally:
            up.lab("resume", "host-1", *words)
        eventually("etcd answers", lambda: up.succeeds(health))


def test_a_cut_wire_is_silent_until_it_is_healed(up: Shell) -> None:
    assert up.connects("host-1", "host-2") < 1
    up.lab("partition", "host-1", "host-2")
    assert up.connects("host-1", "host-2") == up.connects("host-2", "host-1") == float("inf")
    assert "partition: host-1 | host-2" in up.lab("status").stdout
    # A host that boots into a partition is cut off, too.
    up.lab("kill", "host-2")
    up.lab("start", "host-2")
    assert up.connects("host-2", "host-1") == float("inf")
    up.lab("heal")
    assert up.connects("host-1", "host-2") < 1
    assert up.connects("host-2", "host-1") < 1


def test_a_slow_wire_is_late_by_what_was_asked(up: Shell) -> None:
    up.lab("slow", "host-1", "200ms")
    assert 0.2 <= up.connects("host-1", "host-2") < 1
    assert 0.2 <= up.connects("host-2", "host-1") < 1  # the answer comes late
    assert "slow: host-1 200ms" in up.lab("status").stdout
    up.lab("slow", "host-1", "0")
    assert up.connects("host-1", "host-2") < 0.1
    wrong = up.lab("slow", "host-1", "fast", check=False)
    assert (wrong.returncode, "200ms" in wrong.stderr) == (1, True)


def killed(shell: Shell, after: str) -> None:
    """`up`, ended by SIGKILL when it has said this."""
    argv = [sys.executable, "-m", "clustertest.lab", "up", "--hosts", "2", "--no-pgswarm"]
    making = subprocess.Popen(
        argv, cwd=REPO, env=shell.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    with making:
        assert making.stderr is not None
        said = next((line for line in making.stderr if after in line), "")
        making.send_signal(signal.SIGKILL)
    assert said, f"it never said {after!r}"


def test_what_a_killed_up_left_is_taken_away(up: Shell) -> None:
    """By `down`, and by the next `up`; last here, because it makes the lab of this file anew."""
    killed(up, "engine up")
    up.make("lab-down")
    assert not FOLDER.exists()
    assert not [name for name in traces()["namespaces"] if name.startswith(PREFIX)]

    killed(up, "2 hosts on")
    up.make("lab-up")
    assert up.lab("exec", "host-2", "--", "hostname").stdout.strip() == "host-2"
    managers = 'docker -H "$DOCKER_HOST_1" node ls -q'
    eventually("one Swarm", lambda: len(up.sh(managers, check=False).split()) == 2)
