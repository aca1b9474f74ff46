"""
A stale owner on a real Swarm: stopped with a request under way, which arrives when somebody else owns the database.

Whatever it was, it must change nothing that the new owner stands for.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from clustertest.cluster import Cluster, database
from clustertest.holding import HoldingProxy
from controlplane.placement import Member, ranking
from crds.meta import Key

HOSTS = ("host-1", "host-2", "host-3")
NAME = next(
    name
    for name in (f"late-{number}" for number in range(100))
    if ranking(Key("database", name), [Member(host, "", ("database",)) for host in HOSTS])[0] == HOSTS[0]
)
"""It belongs on the host that has no instance: while a stopped owner's agent is silent, no instance there is Ready."""
PORT = 6490
MIB = 2**20
COLLECTED_S = 300.0
"""What a late create leaves behind is gone after this."""


def spec(cluster: Cluster, *, memory: int = 256, instances: int = 2) -> dict[str, Any]:
    resources = {"cpus": "1", "memory": f"{memory}MiB"}
    hosts = cluster.hosts[-instances:]
    return database(NAME, hosts, port=PORT, resources=resources, deletion={"policy": "delete"})


def owner_of(cluster: Cluster) -> str:
    return cluster.etcdctl("get", "--print-value-only", f"/pgswarm/v1/owners/database/{NAME}").strip()


def epoch_of(cluster: Cluster) -> int:
    return int(cluster.service(f"{NAME}-fence")["Spec"]["Labels"]["pgswarm.epoch"])


class Owner:
    """The process that owns the database, behind a door that keeps its requests back."""

    def __init__(self, cluster: Cluster, host: str, door: HoldingProxy) -> None:
        self.cluster, self.host, self.door = cluster, host, door

    def _signal(self, number: int) -> None:
        service = self.cluster.lab.host(self.host).service("pgswarm")
        assert service is not None
        os.kill(service.pid, number)

    def caught(self, pattern: str) -> None:
        """It has sent such a request, which has not arrived."""
        self.cluster.eventually(f"a request like {pattern}", lambda: self.door.held, 60)

    def depose(self) -> None:
        """Stop it until another owns the database and has said so on the fence."""
        epoch = epoch_of(self.cluster)
        self._signal(signal.SIGSTOP)
        self.cluster.eventually("another owner", lambda: owner_of(self.cluster) not in ("", self.host), 60)
        self.cluster.eventually("a newer epoch", lambda: epoch_of(self.cluster) > epoch, 60)

    def go_on(self) -> str:
        """The request arrives, and the process moves again. What the engine answered."""
        self.door.release()
        self.cluster.eventually("an answer", lambda: self.door.answers, 20)
        self._signal(signal.SIGCONT)
        return self.door.answers[0]


@contextmanager
def behind_a_door(cluster: Cluster) -> Iterator[Owner]:
    cluster.apply(spec(cluster))
    cluster.ready(NAME)
    name = HOSTS[0]
    cluster.eventually("it has come home", lambda: owner_of(cluster) == name, 60)
    host = cluster.lab.host(name)
    door = host.folder / "held.sock"
    with HoldingProxy(door, host.engine.socket) as proxy:
        cluster.stop(name)
        cluster.eventually("it has ended", lambda: cluster.stopped(name), 20)
        cluster.lab.start(name, only="pgswarm", environment={"PGSWARM_DOCKER": f"unix://{door}"})
        try:
            cluster.eventually("it owns the database again", lambda: owner_of(cluster) == name, 60)
            cluster.ready(NAME)
            yield Owner(cluster, name, proxy)
        finally:
            proxy.release()
            if host.service("pgswarm") is not None:
                cluster.lab.kill(name, only="pgswarm")
    cluster.mend()
    cluster.apply(spec(cluster))
    cluster.ready(NAME)


def instance_on(cluster: Cluster, host: str) -> str:
    return next(str(one["name"]) for one in cluster.instances(NAME) if one["host"] == host)


def replica(cluster: Cluster) -> str:
    return str(cluster.replicas(NAME)[0]["name"])


def memory_mib(service: dict[str, Any]) -> int:
    return int(service["Spec"]["TaskTemplate"]["Resources"]["Limits"]["MemoryBytes"]) // MIB


@pytest.mark.timeout(600)
def test_a_late_update_is_refused(cluster: Cluster) -> None:
    with behind_a_door(cluster) as owner:
        owner.door.hold(r"POST /services/\w+/update")
        cluster.apply(spec(cluster, memory=320))
        owner.caught("update")
        owner.depose()
        cluster.apply(spec(cluster))  # as it was: nothing would put it right but a new plan
        cluster.ready(NAME)
        before = {name: cluster.service(name) for name in cluster.services(NAME)}
        answer = owner.go_on()
        time.sleep(2)

        assert "update out of sequence" in answer
        after = {name: cluster.service(name) for name in cluster.services(NAME)}
        assert {name: one["Version"] for name, one in after.items()} == {
            name: one["Version"] for name, one in before.items()
        }
        assert {memory_mib(one) for name, one in after.items() if not name.endswith("-fence")} == {256}


@pytest.mark.timeout(600)
def test_a_late_create_meets_the_name_that_is_taken(cluster: Cluster) -> None:
    with behind_a_door(cluster) as owner:
        lost = replica(cluster)
        owner.door.hold(r"POST /services/create")
        cluster.docker(cluster.live_host(), "service", "rm", lost)
        owner.caught("create")
        owner.depose()
        cluster.ready(NAME)
        made = cluster.service(lost)["ID"]
        answer = owner.go_on()

        assert "name conflicts" in answer
        assert cluster.service(lost)["ID"] == made
        cluster.ready(NAME)


@pytest.mark.timeout(600)
def test_a_late_removal_does_not_find_what_has_the_name_by_now(cluster: Cluster) -> None:
    with behind_a_door(cluster) as owner:
        surplus = instance_on(cluster, cluster.hosts[-2])
        owner.door.hold(r"DELETE /services/")
        cluster.apply(spec(cluster, instances=1))
        owner.caught("removal")
        owner.depose()
        cluster.eventually("it is gone", lambda: not cluster.service(surplus), 90)
        cluster.apply(spec(cluster))
        cluster.ready(NAME)
        made = cluster.service(surplus)["ID"]
        answer = owner.go_on()
        time.sleep(2)

        assert " 404 " in answer
        assert cluster.service(surplus)["ID"] == made
        cluster.ready(NAME)


@pytest.mark.timeout(900)
def test_what_a_late_create_makes_after_the_deletion_never_runs_and_is_collected(cluster: Cluster) -> None:
    with behind_a_door(cluster) as owner:
        lost = replica(cluster)
        owner.door.hold(r"POST /services/create")
        cluster.docker(cluster.live_host(), "service", "rm", lost)
        owner.caught("create")
        owner.depose()
        cluster.ready(NAME)
        cluster.pgswarm("delete", NAME, "--yes")
        cluster.gone(NAME)
        cluster.eventually("no service is left", lambda: not cluster.services(NAME), 60)
        owner.go_on()

        deadline_s = time.monotonic() + COLLECTED_S
        while made := cluster.service(lost):
            assert made["Spec"]["Mode"]["Replicated"]["Replicas"] == 0
            assert time.monotonic() < deadline_s, "nobody has collected it"
            time.sleep(2)
        assert cluster.etcd_keys(f"/pgswarm/v1/accepted/database/{NAME}") == []
