"""Kill things: hosts, controllers, the owner. Nobody repairs anything by hand."""

from __future__ import annotations

import time

from clustertest.cluster import Cluster, database

LEASE_TTL_S = 5.0


def owner_of(cluster: Cluster, name: str) -> str:
    return cluster.etcdctl("get", "--print-value-only", f"/pgswarm/v1/owners/database/{name}").strip()


def epoch_of(cluster: Cluster, name: str) -> int:
    return int(cluster.service(f"{name}-fence")["Spec"]["Labels"]["pgswarm.epoch"])


def test_the_owner_killed_another_acts_within_the_lease(cluster: Cluster, orders: str) -> None:
    owner, epoch = owner_of(cluster, orders), epoch_of(cluster, orders)
    cluster.lab.kill(owner, only="pgswarm")
    started = time.monotonic()
    cluster.eventually("a newer epoch", lambda: epoch_of(cluster, orders) > epoch, 30)
    took_s = time.monotonic() - started

    assert owner_of(cluster, orders) != owner
    assert took_s <= LEASE_TTL_S + 2 + 1.5, f"{took_s:.1f} s (1.5 s for asking)"


def test_the_owner_asked_to_stop_hands_over_at_once(cluster: Cluster, orders: str) -> None:
    cluster.ready(orders)
    owner = owner_of(cluster, orders)
    started = cluster.stop(owner)
    cluster.eventually("another owner", lambda: owner_of(cluster, orders) not in ("", owner), 10)
    took_s = time.monotonic() - started
    cluster.eventually("it has ended", lambda: cluster.stopped(owner), 15)

    assert took_s < 1.5, f"{took_s:.2f} s, asking included"


def test_a_new_owner_restarts_nothing(cluster: Cluster, orders: str) -> None:
    """The sweep of epoch labels must not disturb a single task."""
    cluster.ready(orders)
    before = {one["name"]: cluster.container(one["host"], one["name"]) for one in cluster.instances(orders)}
    owner, epoch = owner_of(cluster, orders), epoch_of(cluster, orders)
    cluster.stop(owner)
    cluster.eventually("a newer epoch", lambda: epoch_of(cluster, orders) > epoch, 15)
    cluster.eventually("it has ended", lambda: cluster.stopped(owner), 15)
    cluster.mend()
    cluster.ready(orders)

    assert {
        one["name"]: cluster.container(one["host"], one["name"]) for one in cluster.instances(orders)
    } == before


def test_every_controller_killed_and_back(cluster: Cluster, orders: str) -> None:
    for host in cluster.hosts:
        cluster.lab.kill(host, only="pgswarm")
    assert cluster.sql(orders, "select 1") == [(1,)]
    one = cluster.replicas_by_docker(orders)[0]
    cluster.docker(cluster.hosts[0], "service", "rm", one)
    for host in cluster.hosts:
        cluster.lab.start(host, only="pgswarm")

    cluster.eventually("the service is back", lambda: cluster.service(one), 60)
    cluster.ready(orders)


def test_all_controllers_killed_in_the_middle_of_a_create(cluster: Cluster) -> None:
    cluster.apply(database("phoenix", cluster.hosts[:2], port=6470, deletion={"policy": "delete"}))
    cluster.eventually("it has begun", lambda: cluster.services("phoenix"), 20)
    for host in cluster.hosts:
        cluster.lab.kill(host, only="pgswarm")
    for host in cluster.hosts:
        cluster.lab.start(host, only="pgswarm")

    cluster.ready("phoenix")
    assert len(cluster.services("phoenix")) == 3
    cluster.pgswarm("delete", "phoenix", "--yes")
    cluster.gone("phoenix", 90)


def test_the_primarys_host_dies_and_comes_back(cluster: Cluster, orders: str) -> None:
    cluster.ready(orders)
    cluster.sql(orders, "create table if not exists survived (n int)")
    cluster.sql(orders, "insert into survived values (1)")
    cluster.eventually(
        "replicated",
        lambda: all(
            cluster.sql(orders, "select count(*) from survived", host=h)[0][0] >= 1 for h in cluster.hosts
        ),
        20,
    )
    dead = cluster.primary(orders)
    cluster.lab.kill(dead["host"])

    def failed_over() -> bool:
        status = cluster.status(orders).get("status", {})
        primary = [node["primary"] for node in status.get("nodes", [])]
        return bool(primary and primary[0] not in (None, dead["name"]) and status["phase"] == "Degraded")

    cluster.eventually("another primary, and Degraded is said", failed_over, 60)
    message = cluster.condition(orders, "Degraded")["message"]
    assert dead["host"] in message or "down" in message
    assert cluster.sql(orders, "select count(*) >= 1 from survived") == [(True,)]
    cluster.sql(orders, "insert into survived values (2)")

    cluster.lab.start(dead["host"])
    cluster.ready(orders, 180)
    cluster.eventually(
        "the returned host has both rows",
        lambda: cluster.sql(orders, "select count(distinct n) from survived", host=dead["host"]) == [(2,)],
        30,
    )


def test_an_etcd_member_killed_disturbs_nobody(cluster: Cluster, orders: str) -> None:
    cluster.lab.kill(cluster.hosts[2], only="etcd")
    try:
        time.sleep(5)
        assert cluster.sql(orders, "select 1") == [(1,)]
        one = cluster.replicas(orders)[0]
        before = cluster.container(one["host"], one["name"])
        cluster.docker(cluster.hosts[0], "service", "rm", one["name"])
        cluster.eventually("the service is back", lambda: cluster.service(one["name"]), 20)
    finally:
        cluster.lab.start(cluster.hosts[2], only="etcd")
    # A Patroni that is told to stop while its etcd member is away may use up its grace of 120 s, and the next
    # container waits for the lock on the data directory that long.
    cluster.eventually(
        "the old container is gone", lambda: before not in cluster.containers(one["host"]), 150
    )
    cluster.ready(orders)


def test_the_owners_docker_stands_still_and_another_repairs(cluster: Cluster, orders: str) -> None:
    """Its pgswarm lives and holds its lease, and can neither see nor change anything."""
    cluster.ready(orders)
    owner = owner_of(cluster, orders)
    other = next(host for host in cluster.hosts if host != owner)
    lost = next(one["name"] for one in cluster.replicas(orders) if one["host"] != owner)
    before = cluster.service(lost, via=other)["ID"]
    cluster.lab.pause(owner, only="dockerd")
    try:
        # It may have been the leading manager: the others answer when they have chosen another.
        cluster.eventually("removed", lambda: cluster.docker(other, "service", "rm", lost, check=False), 60)
        cluster.eventually("another owner", lambda: owner_of(cluster, orders) not in ("", owner), 90)
        cluster.eventually(
            "the service is back",
            lambda: cluster.service(lost, via=other).get("ID") not in (None, before),
            30,
        )
    finally:
        cluster.lab.resume(owner, only="dockerd")
    cluster.ready(orders)


def test_a_paused_owner_that_wakes_up_late_does_no_harm(cluster: Cluster, orders: str) -> None:
    """SIGSTOP for longer than the lease, then on: the old owner must not act under its old epoch."""
    cluster.ready(orders)
    owner, epoch = owner_of(cluster, orders), epoch_of(cluster, orders)
    cluster.lab.pause(owner, only="pgswarm")
    cluster.eventually("another took over", lambda: epoch_of(cluster, orders) > epoch, 30)
    newer = epoch_of(cluster, orders)
    cluster.lab.resume(owner, only="pgswarm")
    time.sleep(5)

    assert epoch_of(cluster, orders) >= newer
    cluster.ready(orders)
