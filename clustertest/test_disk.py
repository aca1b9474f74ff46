"""No room, for a primary or for etcd: it is said in words, and when there is room again nobody has to do anything."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest

from clustertest.chaos import Client
from clustertest.cluster import Cluster, database

NAME, PORT = "brim", 6495
SMALL, LARGE = "150m", "400m"
NO_ROOM_S, STEADY_S = 20.0, 5.0
"""A leader's lease runs out in that time if Patroni needs to write to keep it."""
PIECES_MAX = 60
"""Rows of four megabytes; more than the small disk holds."""


class Disk:
    """The volume of the only instance, on a file system of its own in memory."""

    def __init__(self, cluster: Cluster, host: str, volume: str) -> None:
        self.cluster, self.host = cluster, host
        self.path = json.loads(cluster.docker(host, "volume", "inspect", volume))[0]["Mountpoint"]

    def do(self, *argv: str) -> None:
        """As the engine sees the host's files."""
        engine = self.cluster.lab.host(self.host).service("dockerd")
        assert engine is not None
        subprocess.run(["nsenter", "-t", str(engine.pid), "-m", "-p", *argv], check=True, timeout=60)

    def move(self) -> None:
        """Put it on the small disk, with what is in it."""
        self.do("sh", "-c", f"cp -a {self.path} {self.path}.kept")
        self.do("mount", "-t", "tmpfs", "-o", f"size={SMALL},mode=0700,uid=999,gid=999", "tmpfs", self.path)
        self.do("sh", "-c", f"cp -a {self.path}.kept/. {self.path}/ && rm -r {self.path}.kept")

    def grow(self) -> None:
        self.do("mount", "-o", f"remount,size={LARGE}", self.path)

    def free(self) -> None:
        self.do("umount", "-l", self.path)


@pytest.fixture
def disk(cluster: Cluster) -> Iterator[Disk]:
    spec = database(NAME, [cluster.hosts[-1]], port=PORT, deletion={"policy": "delete"})
    cluster.apply(spec)
    cluster.ready(NAME)
    [one] = cluster.instances(NAME)
    # With pgswarm away nobody starts it again while its data is moved.
    for host in cluster.hosts:
        cluster.lab.kill(host, only="pgswarm")
    cluster.docker(cluster.live_host(), "service", "scale", "--detach", f"{one['name']}=0")
    cluster.eventually("it has ended", lambda: not cluster.container(one["host"], one["name"]), 60)
    found = Disk(cluster, one["host"], one["volume"])
    found.move()
    try:
        cluster.mend()
        cluster.eventually("it runs again", lambda: cluster.sql(NAME, "select 1"), 120)
        cluster.ready(NAME)
        yield found
    finally:
        cluster.mend()
        found.free()
        cluster.pgswarm("delete", NAME, "--yes")
        cluster.gone(NAME)


def fill(cluster: Cluster) -> int:
    """Write until it fails; how many rows were acknowledged."""
    text = "string_agg(md5(random()::text), '') from generate_series(1, 131072)"
    for number in range(PIECES_MAX):
        try:
            cluster.sql(NAME, f"insert into fill select {number}, {text}")
        except psycopg.Error:
            return number
    raise AssertionError("the disk did not fill")


@pytest.mark.timeout(600)
def test_a_full_disk_is_named_and_room_is_all_it_needs(cluster: Cluster, disk: Disk) -> None:
    cluster.sql(NAME, "create table fill (n int, t text)")
    written = fill(cluster)

    def told() -> str:
        ready = cluster.condition(NAME, "Ready")
        return str(ready["message"]) if ready.get("status") == "False" else ""

    cluster.eventually("it says why", lambda: "the disk of its volume is full" in told(), 120)
    disk.grow()
    cluster.ready(NAME)

    assert written > 2
    assert cluster.sql(NAME, "select count(distinct n) from fill") == [(written,)]


@pytest.fixture
def brimful(cluster: Cluster, orders: str) -> Iterator[None]:
    """An etcd that takes no more: each member has a quota that is used up."""
    cluster.ready(orders)
    sizes = json.loads(cluster.etcdctl("endpoint", "status", "-w", "json"))
    quota = max(one["Status"]["dbSize"] for one in sizes) + (2 << 20)
    restart(cluster, {"ETCD_QUOTA_BACKEND_BYTES": str(quota)})
    cluster.ready(orders)
    refused = ""
    for number in range(2 * (quota >> 20)):
        refused = put(cluster, f"/junk/{number}", "x" * (1 << 20))
        if refused:
            break
    assert "space exceeded" in refused
    try:
        yield
    finally:
        cluster.eventually("there is room", lambda: make_room(cluster), 60)
        restart(cluster, {})


def restart(cluster: Cluster, environment: dict[str, str]) -> None:
    """Every member of etcd, one after the other."""
    for host in cluster.hosts:
        cluster.lab.kill(host, only="etcd")
        cluster.lab.start(host, only="etcd", environment=environment)
        cluster.eventually("etcd is whole", lambda: cluster.etcdctl("endpoint", "health") is not None, 30)


def put(cluster: Cluster, key: str, value: str) -> str:
    """What etcdctl says against it; "" when it was written."""
    done = subprocess.run(
        ["etcdctl", "put", key],
        input=value,
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.stderr if done.returncode else ""


def make_room(cluster: Cluster) -> bool:
    """What etcd's manual says: remove, compact, defragment, take the alarm back. True when it is done."""
    cluster.etcdctl("del", "--prefix", "/junk/")
    members = json.loads(cluster.etcdctl("endpoint", "status", "-w", "json"))
    revision = min(one["Status"]["header"]["revision"] for one in members)
    with suppress(subprocess.CalledProcessError):  # it has been compacted that far already
        cluster.etcdctl("compact", str(revision))
    cluster.etcdctl("--command-timeout=30s", "defrag")
    cluster.etcdctl("alarm", "disarm")
    return not cluster.etcdctl("alarm", "list").strip() and not put(cluster, "/junk/last", "x")


@pytest.mark.timeout(600)
def test_an_etcd_without_room_stops_no_database_and_is_named(
    cluster: Cluster, orders: str, brimful: None
) -> None:
    roles = [{"name": "app", "login": True}, {"name": "auditor"}]
    before, wider = (
        database(orders, cluster.hosts, port=6432, roles=[{**roles[0], "connectionLimit": limit}, roles[1]])
        for limit in (-1, 40)
    )
    with Client(cluster, orders) as client:
        done = cluster.pgswarm("apply", "-f", "-", text=json.dumps(wider), check=False)
        assert done.returncode != 0
        assert "space exceeded" in done.stderr
        time.sleep(NO_ROOM_S)
        written = len(client.acknowledged)
        time.sleep(STEADY_S)
        assert len(client.acknowledged) > written, "no row is acknowledged"
        assert client.lost() == set()

    cluster.eventually("there is room", lambda: make_room(cluster), 60)
    cluster.apply(wider)
    cluster.ready(orders)
    assert cluster.sql(orders, "select rolconnlimit from pg_roles where rolname = 'app'") == [(40,)]
    cluster.apply(before)
    cluster.ready(orders)
