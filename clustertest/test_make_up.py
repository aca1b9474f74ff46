"""`make up` and `make down`, as a person calls them, on a machine that has nothing yet."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from clustertest.lab.process import wait_until
from clustertest.machine import Machine

FILE = "/var/lib/pgswarm"
LAB_FOLDER = "/var/lib/pgswarm-lab-beside"


@pytest.fixture(autouse=True)
def whole_again() -> None:
    """These tests need no lab."""


@pytest.fixture
def machine() -> Iterator[Machine]:
    if os.geteuid() != 0:
        pytest.fail("the machine is made of namespaces: run the cluster tests as root")
    # Not pytest's folder: an engine's layers are deep, and paths of its mounts have a limit.
    folder = Path(tempfile.mkdtemp(prefix="pgswarm-bare-"))
    made = Machine(folder)
    try:
        yield made.start()
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)
        # On this machine's own disk, so that it is made by links as any; what runs in it has ended with the machine.
        shutil.rmtree(LAB_FOLDER, ignore_errors=True)


def pasted(machine: Machine, said: str, sql: str) -> str:
    """The psql line that `make up` ended with, pasted into a shell."""
    lines = re.findall(r"(?m)^  (PGPASSWORD=.* sslmode=require\")$", said)
    assert len(lines) == 1, said
    return machine.run("sh", "-c", f'{lines[0]} -XAtc "{sql}"').strip()


@pytest.mark.timeout(420)
def test_up_again_down_up_and_purge(machine: Machine) -> None:
    first = machine.make("up")
    pasted(machine, first, "CREATE TABLE t AS SELECT 42 AS a")

    # Again, with nothing to do.
    again = machine.make("up")
    assert "runs, process" in again
    assert pasted(machine, again, "SELECT a FROM t") == "42"

    # Again, after both of our processes died without a word.
    machine.run("sh", "-c", f"kill -9 $(cut -d' ' -f1 {FILE}/pgswarm.pid) $(cut -d' ' -f1 {FILE}/etcd.pid)")
    after_crash = machine.make("up")
    assert pasted(machine, after_crash, "SELECT a FROM t") == "42"

    # Down: nothing of it runs, and the data is kept.
    assert "the data is kept" in machine.make("down")
    assert machine.processes() == []
    assert "nothing" not in machine.make("down")
    back = machine.make("up")
    assert pasted(machine, back, "SELECT a FROM t") == "42"

    # Down for good, also in two steps.
    machine.make("down")
    machine.make("down", PURGE="1")
    assert machine.processes() == []
    left = machine.run("sh", "-c", f"ls -A {FILE} /usr/local/bin; ls /var/lib/docker/volumes", check=False)
    assert "hello" not in left
    assert "key" not in left
    assert "pgswarm" not in machine.run("ls", "/usr/local/bin")
    assert "nothing is up" in machine.make("down")


ENGINE = (
    "setsid dockerd --data-root /var/lib/docker >/run/theirs.log 2>&1 </dev/null & echo $! >/run/theirs.pid"
)
LAB = {"PGSWARM_LAB_NAME": "beside", "PGSWARM_LAB_NETWORK": "10.96.0", "LAB_PYTHON": sys.executable}


@pytest.mark.timeout(420)
def test_up_beside_an_engine_and_a_swarm_that_are_there(machine: Machine) -> None:
    machine.run("sh", "-ec", ENGINE)
    wait_until(lambda: "Server" in machine.run("docker", "version", check=False), 30, "their engine")
    swarm = ("docker", "swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1:2377")
    machine.run(*swarm)
    machine.run("docker", "service", "create", "-d", "--name", "theirs", "--replicas", "0", "theirs:none")
    machine.run("docker", "network", "create", "--driver", "overlay", "theirs-net")
    machine.run("docker", "volume", "create", "theirs-data")

    def theirs() -> str:
        what = "cat /run/theirs.pid; docker info -f '{{.Swarm.NodeID}} {{.Swarm.Cluster.ID}}'"
        what += "; docker service inspect -f '{{.ID}}' theirs; docker network inspect -f '{{.ID}}' theirs-net"
        return machine.run("sh", "-c", f"{what}; docker volume inspect theirs-data")

    before = theirs()
    said = machine.make("up")
    assert "found, Docker" in said
    assert "active already" in said
    pasted(machine, said, "CREATE TABLE t AS SELECT 42 AS a")

    # A lab beside that engine: both work, and neither takes anything of the other's away.
    machine.run("make", "lab-up", "HOSTS=2", "LAB_ARGS=--no-pgswarm", environment=LAB)
    nodes = 'eval "$(make -s lab-env)"; docker -H "$DOCKER_HOST_2" node ls -q | wc -l'
    assert machine.run("sh", "-c", nodes, environment=LAB).strip() == "2"
    assert pasted(machine, said, "SELECT a FROM t") == "42"
    machine.run("make", "lab-down", environment=LAB)
    assert pasted(machine, said, "SELECT a FROM t") == "42"

    assert "not ours, left alone" in machine.make("down", PURGE="1")
    assert theirs() == before
    assert machine.run("docker", "ps", "-aq") == ""
