"""
An etcd that speaks TLS, wants client certificates and has users: a database of its own on it becomes Ready and answers.

On a lab of its own, one host, which is gone before the shared lab is made (conftest orders it so).
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clustertest.cluster import Cluster, database
from clustertest.lab import Lab
from clustertest.test_stack import BUILD_S, controllers, deployed, have_image

OWN_LAB = True
HOSTS = 1
# Names and addresses apart from the shared lab's: one that somebody has up and attaches to is left alone.
NAMES = {"PGSWARM_LAB_NAME": "tls", "PGSWARM_LAB_NETWORK": "10.98.0"}
FOLDER = "PGSWARM_LAB_DIR"
PORT = 6481
SHOW = "cat /run/secrets/etcd-client.pem"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """In place of the shared one, for everything here that asks for a cluster."""
    if os.geteuid() != 0:
        pytest.fail("the lab makes network namespaces: run the cluster tests as root")
    before = dict(os.environ)
    os.environ.update(NAMES)
    os.environ.pop(FOLDER, None)
    try:
        with Lab.up(hosts=HOSTS, tls=True) as lab:
            yield Cluster(lab)
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="module")
def secured(cluster: Cluster) -> str:
    cluster.apply(database("secured", cluster.hosts, port=PORT, deletion={"policy": "delete"}))
    cluster.ready("secured")
    return "secured"


def inside(cluster: Cluster, name: str, *argv: str) -> str:
    """What a command in the primary's container prints."""
    primary = cluster.primary(name)
    container = cluster.container(primary["host"], primary["name"])
    return cluster.docker(primary["host"], "exec", container, *argv)


def etcd3(cluster: Cluster, name: str) -> dict[str, Any]:
    return dict(json.loads(inside(cluster, name, "cat", "/run/secrets/patroni.yml"))["etcd3"])


def as_instance(cluster: Cluster, name: str, folder: Path, user: str, *argv: str) -> str:
    """What etcd answers to somebody who has everything that is in the container; errors too."""
    client = folder / "etcd-client.pem"
    client.write_text(inside(cluster, name, *SHOW.split()))
    own = {"ETCDCTL_CERT": str(client), "ETCDCTL_KEY": str(client), "ETCDCTL_USER": user}
    environment = {**cluster.environment, **own}
    if not user:
        del environment["ETCDCTL_USER"]
    done = subprocess.run(
        ["etcdctl", *argv], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    return done.stdout + done.stderr


def test_a_database_is_ready_and_answers(cluster: Cluster, secured: str) -> None:
    cluster.sql(secured, "create table rows as select generate_series(1, 100) as n")

    assert cluster.sql(secured, "select count(*) from rows") == [(100,)]


def test_patroni_speaks_tls_with_a_certificate_that_is_not_pgswarms(cluster: Cluster, secured: str) -> None:
    section, tls = etcd3(cluster, secured), cluster.lab.tls
    assert tls is not None

    assert section["protocol"] == "https"
    assert {section["cert"], section["key"]} == set(SHOW.split()[1:])
    shown = inside(cluster, secured, *SHOW.split())
    assert tls.cert("instances").read_text().strip() in shown
    assert tls.cert("pgswarm").read_text().strip() not in shown
    assert inside(cluster, secured, "cat", section["cacert"]).split() == tls.ca.read_text().split()


def test_what_a_container_has_opens_its_own_records_and_no_others(
    cluster: Cluster, secured: str, tmp_path: Path
) -> None:
    section = etcd3(cluster, secured)
    login = f"{section['username']}:{section['password']}"
    own, others = f"/patroni/{secured}-n1/leader", "/pgswarm/v1/x"

    assert own in as_instance(cluster, secured, tmp_path, login, "get", own)
    assert "permission denied" in as_instance(cluster, secured, tmp_path, login, "put", others, "x")
    for words in (("get", own), ("put", others, "x"), ("user", "list")):
        said = as_instance(cluster, secured, tmp_path, "", *words)
        assert "Error" in said, (words, said)


def test_the_certificate_is_in_no_place_that_people_look_at(cluster: Cluster, secured: str) -> None:
    tls, primary = cluster.lab.tls, cluster.primary(secured)
    assert tls is not None
    # The second line: the first of such a key says only which curve it is on.
    key = inside(cluster, secured, *SHOW.split()).partition("PRIVATE KEY-----")[2].split()[1]
    container = cluster.container(primary["host"], primary["name"])
    places = {
        "etcd": cluster.etcdctl("get", "--prefix", ""),
        "services": cluster.docker(primary["host"], "service", "inspect", *cluster.services(secured)),
        "container": cluster.docker(primary["host"], "inspect", container),
        "status": cluster.pgswarm("status", secured, "-o", "yaml").stdout,
        "pgswarm's log": cluster.lab.host(primary["host"]).log("pgswarm").read_text(),
    }

    assert len(key) == 64
    assert all(places.values())
    assert not [place for place, text in places.items() if key in text]


@pytest.mark.timeout(BUILD_S + 600)
def test_pgswarm_as_a_service_of_the_swarm_does_it_too(cluster: Cluster) -> None:
    """examples/stack-tls.yaml over examples/stack.yaml."""
    have_image(cluster)
    with deployed(cluster):
        cluster.eventually(
            "a controller from every task", lambda: len(controllers(cluster)) == len(cluster.hosts), 90
        )
        cluster.apply(database("stacked", cluster.hosts, port=PORT + 1, deletion={"policy": "delete"}))
        cluster.ready("stacked")
        assert cluster.sql("stacked", "select 1") == [(1,)]
        cluster.pgswarm("delete", "stacked", "--yes")
        cluster.gone("stacked", 90)
