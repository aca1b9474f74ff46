"""etcd without its quorum: databases serve on, pgswarm touches nothing, and afterwards all is as specified."""

from __future__ import annotations

import time

import pytest

from clustertest.chaos import Client
from clustertest.cluster import Cluster

WITHOUT_S = 60.0
BELIEF_S = 7.0
"""As long as its lease surely lives, 5 s on the lab, an owner may act."""
STEADY_S = 20.0
"""Patroni needs its time to find out that etcd is away and that all members are there; then writes go on."""


@pytest.mark.timeout(600)
def test_databases_serve_and_nothing_is_done_while_etcd_has_no_quorum(cluster: Cluster, orders: str) -> None:
    cluster.ready(orders)
    # No instance: without etcd, Patroni serves on only as long as every instance answers.
    victim = f"{orders}-fence"
    survivors = [name for name in cluster.services(orders) if name != victim]
    with Client(cluster, orders) as client:
        cluster.eventually("rows are written", lambda: client.acknowledged, 15)
        primary = cluster.primary(orders)["name"]
        before = {name: cluster.service(name)["Version"]["Index"] for name in survivors}
        for host in cluster.hosts[:2]:
            cluster.lab.kill(host, only="etcd")
        cut_s = time.monotonic()
        time.sleep(BELIEF_S)
        cluster.docker(cluster.hosts[0], "service", "rm", victim)
        time.sleep(WITHOUT_S - STEADY_S - BELIEF_S)
        written = len(client.acknowledged)
        time.sleep(STEADY_S)

        assert len(client.acknowledged) > written, "no row is acknowledged"
        assert cluster.service(victim) == {}, "somebody acted without having asked etcd"
        assert {name: cluster.service(name)["Version"]["Index"] for name in survivors} == before
        assert time.monotonic() - cut_s >= WITHOUT_S

        for host in cluster.hosts[:2]:
            cluster.lab.start(host, only="etcd")
        cluster.eventually("the service is back", lambda: cluster.service(victim), 90)
        cluster.ready(orders)
        assert cluster.primary(orders)["name"] == primary, "nobody had a reason to fail over"
        assert client.lost() == set()
