"""A full disk under a primary: the status says so in words, and when there is room again nobody has to do anything."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import psycopg
import pytest

from clustertest.cluster import Cluster, database

NAME, PORT = "brim", 6495
SMALL, LARGE = "150m", "400m"
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
