"""`make up` and `make down`, as a person calls them, on a machine that has nothing yet."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from clustertest.machine import Machine

FILE = "/var/lib/pgswarm"


@pytest.fixture(autouse=True)
def whole_again() -> None:
    """These tests need no lab."""


@pytest.fixture(scope="module")
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
