"""Whatever somebody changes by hand is changed back, by event and without being asked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from clustertest.cluster import Cluster, database

BY_EVENT_S = 10.0
"""Well below the resync of a minute: what is repaired within it was repaired because it was seen."""
BY_POLL_S = 30.0
"""Postgres announces nothing; it is asked every 15 s."""


def repaired(
    cluster: Cluster, name: str, what: str, is_back: Callable[[], Any], limit_s: float = BY_EVENT_S
) -> None:
    cluster.eventually(what, is_back, limit_s)
    cluster.ready(name)


def replica(cluster: Cluster, name: str) -> dict[str, Any]:
    return sorted(cluster.replicas(name), key=lambda one: str(one["name"]))[0]


@pytest.mark.parametrize("role", ["replica", "primary"])
def test_a_removed_service_comes_back(cluster: Cluster, orders: str, role: str) -> None:
    one = replica(cluster, orders) if role == "replica" else cluster.primary(orders)
    before = cluster.service(one["name"])["ID"]
    cluster.docker(cluster.hosts[0], "service", "rm", one["name"])

    repaired(
        cluster, orders, "a new service", lambda: cluster.service(one["name"]).get("ID") not in (None, before)
    )


def test_a_removed_service_of_the_only_instance_comes_back_with_its_data(cluster: Cluster, solo: str) -> None:
    one = cluster.primary(solo)
    cluster.sql(solo, "create table if not exists kept (n int)")
    cluster.sql(solo, "insert into kept values (42)")
    before = cluster.service(one["name"])["ID"]
    cluster.docker(cluster.hosts[0], "service", "rm", one["name"])

    repaired(
        cluster, solo, "a new service", lambda: cluster.service(one["name"]).get("ID") not in (None, before)
    )
    assert (42,) in cluster.sql(solo, "select n from kept")


UPDATES: dict[str, tuple[list[str], Callable[[dict[str, Any]], bool]]] = {
    "image": (
        ["--image", "pgswarm/nonsense:1", "--no-resolve-image"],
        lambda spec: "nonsense" not in spec["TaskTemplate"]["ContainerSpec"]["Image"],
    ),
    "environment": (["--env-add", "A=1"], lambda spec: not spec["TaskTemplate"]["ContainerSpec"].get("Env")),
    "mount": (
        ["--mount-add", "type=tmpfs,target=/mnt"],
        lambda spec: all(one["Target"] != "/mnt" for one in spec["TaskTemplate"]["ContainerSpec"]["Mounts"]),
    ),
    "limit": (
        ["--limit-memory", "300M"],
        lambda spec: spec["TaskTemplate"]["Resources"]["Limits"]["MemoryBytes"] == 256 * 2**20,
    ),
    "label": (
        ["--label-add", "pgswarm.node=n9"],
        lambda spec: spec["Labels"]["pgswarm.node"] == "n1",
    ),
    "scale to 0": (["--replicas", "0"], lambda spec: spec["Mode"]["Replicated"]["Replicas"] == 1),
    "scale to 2": (["--replicas", "2"], lambda spec: spec["Mode"]["Replicated"]["Replicas"] == 1),
    "placement": (
        ["--constraint-add", "node.labels.x==y"],
        lambda spec: len(spec["TaskTemplate"]["Placement"]["Constraints"]) == 1,
    ),
}


@pytest.mark.parametrize("what", UPDATES)
def test_a_service_update_by_hand_is_taken_back(cluster: Cluster, orders: str, what: str) -> None:
    argv, is_back = UPDATES[what]
    one = replica(cluster, orders)
    cluster.docker(cluster.hosts[0], "service", "update", "--detach", *argv, one["name"])

    repaired(cluster, orders, f"{what} is back", lambda: is_back(cluster.service(one["name"])["Spec"]), 60)


def test_drift_on_the_primary_is_mended_and_no_row_is_lost(cluster: Cluster, orders: str) -> None:
    cluster.sql(orders, "create table if not exists drifted (n int)")
    cluster.sql(orders, "insert into drifted values (7)")
    cluster.eventually(
        "the replicas have the row",
        lambda: all(
            cluster.sql(orders, "select max(n) from drifted", host=h)[0][0] == 7 for h in cluster.hosts
        ),
        20,
    )
    one = cluster.primary(orders)
    cluster.docker(cluster.hosts[0], "service", "update", "--detach", "--limit-memory", "300M", one["name"])
    argv_is_back = UPDATES["limit"][1]

    repaired(cluster, orders, "limit is back", lambda: argv_is_back(cluster.service(one["name"])["Spec"]), 90)
    assert (7,) in cluster.sql(orders, "select n from drifted")


def test_drift_on_the_only_instance_is_mended(cluster: Cluster, solo: str) -> None:
    one = cluster.primary(solo)
    cluster.docker(cluster.hosts[0], "service", "update", "--detach", "--env-add", "A=1", one["name"])

    repaired(
        cluster,
        solo,
        "environment is back",
        lambda: UPDATES["environment"][1](cluster.service(one["name"])["Spec"]),
        60,
    )


@pytest.mark.parametrize("which", ["replica", "primary", "only"])
def test_a_killed_task_comes_back(cluster: Cluster, orders: str, solo: str, which: str) -> None:
    name = solo if which == "only" else orders
    one = replica(cluster, orders) if which == "replica" else cluster.primary(name)
    before = cluster.container(one["host"], one["name"])
    cluster.docker(one["host"], "kill", before)

    repaired(
        cluster,
        name,
        "another container",
        lambda: cluster.container(one["host"], one["name"]) not in ("", before),
        30,
    )


def test_a_removed_fence_comes_back(cluster: Cluster, orders: str) -> None:
    cluster.docker(cluster.hosts[0], "service", "rm", f"{orders}-fence")

    repaired(cluster, orders, "the fence", lambda: cluster.service(f"{orders}-fence"))


def test_a_network_and_secrets_that_docker_lets_go_come_back(cluster: Cluster, solo: str) -> None:
    """Only what no service uses can be removed: so the service goes first, and all of it comes back."""
    one = cluster.primary(solo)
    for host in cluster.hosts:  # whoever owns it must not be quicker than the hand that removes
        cluster.lab.pause(host, only="pgswarm")
    try:
        cluster.docker(cluster.hosts[0], "service", "rm", one["name"])
        cluster.eventually(
            "the container is gone", lambda: not cluster.container(one["host"], one["name"]), 60
        )
        label = f"label=pgswarm.database={solo}"
        for kind in ("secret", "config"):
            ids = cluster.docker(cluster.hosts[0], kind, "ls", "-q", "--filter", label).split()
            cluster.docker(cluster.hosts[0], kind, "rm", *ids)
        cluster.eventually(
            "the network goes", lambda: cluster.docker(cluster.hosts[0], "network", "rm", f"{solo}-net"), 30
        )
    finally:
        for host in cluster.hosts:
            cluster.lab.resume(host, only="pgswarm")

    repaired(cluster, solo, "the service", lambda: cluster.service(one["name"]), 60)
    assert cluster.sql(solo, "select 1") == [(1,)]


def test_an_edited_dynamic_configuration_is_taken_back(cluster: Cluster, orders: str) -> None:
    key = f"/patroni/{orders}-n1/config"
    config = json.loads(cluster.etcdctl("get", "--print-value-only", key))
    cluster.etcdctl("put", key, json.dumps({**config, "ttl": 300}))

    repaired(
        cluster,
        orders,
        "ttl is back",
        lambda: json.loads(cluster.etcdctl("get", "--print-value-only", key)) == config,
    )


@pytest.mark.parametrize("role", ["primary", "replica"])
def test_alter_system_is_taken_back(cluster: Cluster, orders: str, role: str) -> None:
    one = cluster.primary(orders) if role == "primary" else replica(cluster, orders)
    cluster.superuser_sql(orders, "alter system set work_mem = '99MB'", instance=one)
    cluster.superuser_sql(orders, "select pg_reload_conf()", instance=one)
    cluster.eventually(
        "it took", lambda: cluster.superuser_sql(orders, "show work_mem", instance=one) == "99MB", 10
    )

    repaired(
        cluster,
        orders,
        "work_mem is back",
        lambda: cluster.superuser_sql(orders, "show work_mem", instance=one) != "99MB",
        BY_POLL_S,
    )


@pytest.mark.parametrize(
    ("change", "look"),
    [
        pytest.param(
            "alter role app createdb",
            "select not rolcreatedb from pg_roles where rolname='app'",
            id="attribute",
        ),
        pytest.param(
            "alter role app nologin", "select rolcanlogin from pg_roles where rolname='app'", id="login"
        ),
        pytest.param(
            "drop role auditor", "select count(*) = 1 from pg_roles where rolname='auditor'", id="dropped"
        ),
        pytest.param(
            "alter database orders owner to pgswarm",
            "select pg_get_userbyid(datdba) = 'app' from pg_database where datname='orders'",
            id="owner of a database",
        ),
    ],
)
def test_roles_and_owners_are_put_back(cluster: Cluster, orders: str, change: str, look: str) -> None:
    cluster.superuser_sql(orders, change)

    repaired(cluster, orders, "as specified", lambda: cluster.superuser_sql(orders, look) == "t", BY_POLL_S)


def test_a_dropped_extension_is_put_back(cluster: Cluster, solo: str) -> None:
    plain, extensions = [{"name": solo, "owner": "app"}], ["pg_stat_statements"]
    hosts = [cluster.primary(solo)["host"]]
    cluster.apply(database(solo, hosts, port=6433, databases=[{**plain[0], "extensions": extensions}]))
    cluster.ready(solo)
    look = "select count(*) from pg_extension where extname = 'pg_stat_statements'"
    cluster.eventually("it is made", lambda: cluster.superuser_sql(solo, look, database=solo) == "1", 60)
    cluster.superuser_sql(solo, "drop extension pg_stat_statements", database=solo)

    repaired(
        cluster,
        solo,
        "it is back",
        lambda: cluster.superuser_sql(solo, look, database=solo) == "1",
        BY_POLL_S,
    )
    cluster.apply(database(solo, hosts, port=6433))
    cluster.ready(solo)


def test_a_changed_password_is_put_back(cluster: Cluster, orders: str) -> None:
    cluster.superuser_sql(orders, "alter role app password 'stolen'")

    repaired(
        cluster, orders, "the password works", lambda: cluster.sql(orders, "select 1") == [(1,)], BY_POLL_S
    )


def test_a_dropped_database_is_reported_as_lost_and_not_made_again(cluster: Cluster, solo: str) -> None:
    cluster.superuser_sql(solo, "drop database solo with (force)")

    loss = cluster.eventually("data loss is said", lambda: cluster.condition(solo, "DataLoss"), BY_POLL_S)
    time.sleep(15)

    assert "solo" in loss["message"]
    assert cluster.superuser_sql(solo, "select count(*) from pg_database where datname = 'solo'") == "0"
    assert cluster.status(solo)["status"]["phase"] == "DataLoss"
    cluster.superuser_sql(solo, "create database solo owner app")
    cluster.ready(solo)
