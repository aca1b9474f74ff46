"""Power is lost while a node gets its first data, or a replica its copy. Nobody repairs anything by hand."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from clustertest.cluster import Cluster, Failed, database

SOON_S = 60.0


@pytest.fixture
def phoenix(cluster: Cluster) -> Iterator[Callable[[], str]]:
    """Begins a new database with an instance on each host."""
    names: list[str] = []

    def begin() -> str:
        name = f"birth{int(time.monotonic() * 10) % 100_000}"
        names.append(name)
        cluster.apply(database(name, cluster.hosts, port=6480, deletion={"policy": "delete"}))
        return name

    yield begin
    for name in names:
        cluster.pgswarm("delete", name, "--yes", check=False)
        cluster.gone(name, 90)


def on(cluster: Cluster, name: str, host: str) -> str:
    """The running container of the database on that host; "" while there is none."""
    found = cluster.docker(host, "ps", "-q", "--filter", f"label=pgswarm.database={name}")
    return found.partition("\n")[0]


def caught(cluster: Cluster, name: str, host: str, program: str) -> str:
    """Freeze the instance's container as soon as `program` runs in it. Returns its ID."""
    deadline_s = time.monotonic() + SOON_S
    while time.monotonic() < deadline_s:
        with suppress(Failed):
            container = on(cluster, name, host)
            if container and program in cluster.docker(host, "top", container, "-eo", "pid,args"):
                cluster.docker(host, "pause", container)
                if program in cluster.docker(host, "top", container, "-eo", "pid,args"):
                    return container
                cluster.docker(host, "unpause", container)
        time.sleep(0.02)
    raise AssertionError(f"{program} was not seen on {host}")


def cut(cluster: Cluster, host: str, container: str) -> None:
    """SIGKILL to its first process, and so to every other in the same moment."""
    cluster.docker(host, "kill", "--signal", "KILL", container, check=False)
    with suppress(Failed):
        cluster.docker(host, "unpause", container)
    cluster.eventually("the container is gone", lambda: container not in cluster.containers(host), 30)


def birth(cluster: Cluster, name: str) -> str:
    """The host that may initialise it: the first of the spec that was up."""

    def chosen() -> str:
        text = cluster.etcdctl("get", "--print-value-only", f"/pgswarm/v1/accepted/database/{name}")
        return str(json.loads(text)["births"]["n1"]) if text else ""

    return str(cluster.eventually("it is accepted", chosen, 20))


def initialize(cluster: Cluster, name: str) -> list[str]:
    """The record's lines: none when it is absent, one empty line while somebody is at it."""
    return cluster.etcdctl("get", "--print-value-only", f"/patroni/{name}-n1/initialize").splitlines()


def serves_everywhere(cluster: Cluster, name: str) -> None:
    found: dict[str, Any] = cluster.ready(name, 180)
    assert found["status"]["phase"] == "Ready"
    cluster.sql(name, "create table born (n int)")
    cluster.sql(name, "insert into born values (1)")
    for host in cluster.hosts:
        cluster.eventually(
            f"{host} has the row",
            lambda host=host: cluster.sql(name, "select n from born", host=host) == [(1,)],  # type: ignore[misc]
            30,
        )


def test_the_first_instance_killed_in_the_middle_of_initdb(
    cluster: Cluster, phoenix: Callable[[], str]
) -> None:
    name = phoenix()
    host = birth(cluster, name)
    container = caught(cluster, name, host, "bin/initdb")
    assert initialize(cluster, name) == [""]
    cut(cluster, host, container)

    serves_everywhere(cluster, name)


def test_the_first_host_loses_its_power_in_the_middle_of_initdb_and_stays_off(
    cluster: Cluster, phoenix: Callable[[], str]
) -> None:
    name = phoenix()
    host = birth(cluster, name)
    container = caught(cluster, name, host, "bin/initdb")
    cluster.docker(host, "unpause", container)  # what is frozen may not die
    cluster.lab.kill(host)

    def moved() -> bool:
        primaries = [node["primary"] for node in cluster.status(name).get("status", {}).get("nodes", [])]
        return bool(primaries and primaries[0])

    cluster.eventually("another host has initialised it", moved, 120)
    assert cluster.primary(name)["host"] != host
    cluster.lab.start(host)
    serves_everywhere(cluster, name)


def test_a_replica_killed_in_the_middle_of_its_copy(cluster: Cluster, phoenix: Callable[[], str]) -> None:
    name = phoenix()
    host = next(host for host in cluster.hosts if host != birth(cluster, name))
    container = caught(cluster, name, host, "pg_basebackup.real")
    cut(cluster, host, container)

    serves_everywhere(cluster, name)


def test_every_instance_killed_again_and_again_while_they_come_up(
    cluster: Cluster, phoenix: Callable[[], str]
) -> None:
    name = phoenix()
    for _ in range(4):
        for host in cluster.hosts:
            container = on(cluster, name, host)
            if container:
                cluster.docker(host, "kill", "--signal", "KILL", container, check=False)
        time.sleep(2.5)

    serves_everywhere(cluster, name)
