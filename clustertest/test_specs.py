"""Spec in, spec out: bad specs change nothing, edits converge on the last one, deletion keeps what it promises."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from clustertest.cluster import Cluster, database

GOOD = "apiVersion: pgswarm.dev/v1\nkind: Database\nmetadata: {name: solo}\nspec:\n"

BAD = {
    "broken YAML": ("apiVersion: [", "line 2, column 1"),
    "not a mapping": ("just words", "line 1"),
    "unknown field": (
        GOOD + "  postgres: {version: '17'}\n  nodes: [{name: n1, hosts: [host-2]}]\n  ressources: {}\n",
        "resources",
    ),
    "alias bomb": ("a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "line 1"),
    "oversize": ("# " + "x" * 70_000, "65536"),
    "wrong name": (
        GOOD.replace("solo", "other")
        + "  postgres: {version: '17'}\n  nodes: [{name: n1, hosts: [host-2]}]\n",
        "solo",
    ),
    "unknown host": (
        GOOD + "  postgres: {version: '17'}\n  nodes: [{name: n1, hosts: [host-77]}]\n",
        "host-77",
    ),
    "two nodes": (
        GOOD
        + "  postgres: {version: '17'}\n  nodes: [{name: n1, hosts: [host-2]}, {name: n2, hosts: [host-3]}]\n",
        "multi-active",
    ),
    "plaintext password": (
        GOOD
        + "  postgres: {version: '17'}\n  nodes: [{name: n1, hosts: [host-2]}]\n  roles: [{name: app, password: x}]\n",
        "password",
    ),
}


@pytest.fixture
def put_back(cluster: Cluster, solo: str) -> Iterator[str]:
    yield solo
    cluster.apply(database("solo", [cluster.hosts[1]], port=6433))
    cluster.ready("solo")


@pytest.mark.parametrize("what", BAD)
def test_a_bad_spec_changes_nothing_and_names_its_place(cluster: Cluster, put_back: str, what: str) -> None:
    text, said = BAD[what]
    before = cluster.service(cluster.primary(put_back)["name"])["Version"]
    cluster.put_spec(put_back, text)

    condition = cluster.eventually(
        "SpecValid is False",
        lambda: (c := cluster.condition(put_back, "SpecValid")).get("status") == "False" and c,
        15,
    )
    assert said in condition["message"], condition
    assert "stays in force" in condition["message"]
    assert cluster.sql(put_back, "select 1") == [(1,)]
    assert cluster.service(cluster.primary(put_back)["name"])["Version"] == before


def test_the_last_good_spec_stays_in_force_through_a_restart_of_every_controller(
    cluster: Cluster, put_back: str
) -> None:
    cluster.put_spec(put_back, "nonsense: [")
    cluster.eventually("seen", lambda: cluster.condition(put_back, "SpecValid").get("status") == "False", 15)
    owner = cluster.status(put_back)["status"]["epoch"]
    said = cluster.condition(put_back, "SpecValid")["message"]
    assert re.search(r"line \d+, column \d+", said)
    for host in cluster.hosts:
        cluster.lab.kill(host, only="pgswarm")
    for host in cluster.hosts:
        cluster.lab.start(host, only="pgswarm")

    def again() -> bool:
        status = cluster.status(put_back)["status"]
        return bool(status["epoch"] != owner and cluster.condition(put_back, "SpecValid")["message"] == said)

    cluster.eventually("a new owner says the same", again, 40)
    assert cluster.sql(put_back, "select 1") == [(1,)]


def test_three_edits_while_it_applies_end_in_the_last(cluster: Cluster, put_back: str) -> None:
    for size in ("9MB", "10MB", "11MB"):
        wanted = database("solo", [cluster.hosts[1]], port=6433, postgres={"parameters": {"work_mem": size}})
        cluster.apply(wanted)

    cluster.ready(put_back)
    cluster.eventually("11MB", lambda: cluster.superuser_sql(put_back, "show work_mem") == "11MB", 30)


def test_a_parameter_that_needs_a_restart_is_restarted_for(cluster: Cluster, put_back: str) -> None:
    cluster.apply(
        database("solo", [cluster.hosts[1]], port=6433, postgres={"parameters": {"max_connections": 37}})
    )

    cluster.eventually("37", lambda: cluster.superuser_sql(put_back, "show max_connections") == "37", 60)
    cluster.ready(put_back)


def test_a_spec_edited_while_the_database_is_being_created(cluster: Cluster) -> None:
    cluster.apply(database("hasty", [cluster.hosts[2]], port=6440))
    cluster.apply(
        database("hasty", [cluster.hosts[2]], port=6441, resources={"cpus": "1", "memory": "300MiB"})
    )
    cluster.apply(
        database("hasty", [cluster.hosts[2]], port=6442, resources={"cpus": "1", "memory": "320MiB"})
    )
    cluster.ready("hasty")

    service = cluster.service(cluster.primary("hasty")["name"])["Spec"]
    assert [port["PublishedPort"] for port in service["EndpointSpec"]["Ports"]] == [6442]
    assert service["TaskTemplate"]["Resources"]["Limits"]["MemoryBytes"] == 320 * 2**20
    assert [key for key in cluster.etcd_keys("/pgswarm/v1/allocations/port/") if "644" in key] == [
        f"/pgswarm/v1/allocations/port/{cluster.hosts[2]}/6442"
    ]
    cluster.pgswarm("delete", "hasty", "--yes")


def test_retained_data_is_adopted_by_the_same_name(cluster: Cluster) -> None:
    spec = database("keeper", [cluster.hosts[0]], port=6450)
    cluster.apply(spec)
    cluster.ready("keeper")
    cluster.sql("keeper", "create table precious (n int)")
    cluster.sql("keeper", "insert into precious values (1), (2)")
    password = cluster.password("keeper")
    cluster.pgswarm("delete", "keeper", "--yes")
    cluster.eventually(
        "retained", lambda: cluster.status("keeper").get("status", {}).get("phase") == "Retained", 90
    )

    assert cluster.services("keeper") == []
    assert "keeper-net" not in cluster.docker(cluster.hosts[0], "network", "ls")
    assert "keeper-n1" in cluster.docker(cluster.hosts[0], "volume", "ls", "-q")

    cluster.apply(spec)
    cluster.ready("keeper")
    assert cluster.sql("keeper", "select count(*) from precious") == [(2,)]
    assert cluster.password("keeper") == password


def test_policy_delete_leaves_nothing(cluster: Cluster) -> None:
    spec = database("keeper", [cluster.hosts[0]], port=6450, deletion={"policy": "delete"})
    cluster.apply(spec)
    cluster.ready("keeper")
    cluster.pgswarm("delete", "keeper", "--yes")
    cluster.gone("keeper", 90)

    assert cluster.services("keeper") == []
    for kind in ("network", "volume", "secret", "config"):
        assert "keeper" not in cluster.docker(cluster.hosts[0], kind, "ls")
    cluster.eventually(
        "no key is left but events, which end by themselves",
        lambda: not [key for key in cluster.etcd_keys("") if "keeper" in key and "/events/" not in key],
        20,
    )
    assert "keeper" not in cluster.etcdctl("user", "list")
    assert "keeper" not in cluster.etcdctl("role", "list")


def test_a_protected_database_outlives_its_spec(cluster: Cluster, put_back: str) -> None:
    protected = database("solo", [cluster.hosts[1]], port=6433, deletion={"protected": True})
    cluster.apply(protected)
    cluster.ready(put_back)
    cluster.etcdctl("del", f"/pgswarm/v1/specs/database/{put_back}")

    cluster.eventually(
        "it says so", lambda: cluster.condition(put_back, "Protected").get("status") == "True", 15
    )
    assert len(cluster.services(put_back)) == 2
    assert cluster.pgswarm("delete", put_back, "--yes", check=False).returncode != 0


def test_an_emptied_etcd_prefix_removes_no_database(cluster: Cluster, orders: str, solo: str) -> None:
    """S15: when most specs vanish at once it is an accident until a person says otherwise."""
    cluster.apply(database("third", [cluster.hosts[2]], port=6460))
    cluster.ready("third")
    names = sorted(key.rpartition("/")[2] for key in cluster.etcd_keys("/pgswarm/v1/specs/database/"))
    specs = {
        name: cluster.etcdctl("get", "--print-value-only", f"/pgswarm/v1/specs/database/{name}")
        for name in names
    }
    assert len(names) >= 3
    cluster.etcdctl("del", "--prefix", "/pgswarm/v1/specs/database/")
    cluster.eventually(
        "stopped", lambda: cluster.condition("third", "MassDeletionStopped").get("status") == "True", 15
    )

    for name in names:
        assert len(cluster.services(name)) >= 2, name
    cluster.pgswarm("confirm-deletion", "third", "--yes")
    cluster.eventually(
        "retained", lambda: cluster.status("third").get("status", {}).get("phase") == "Retained", 90
    )
    # Now fewer are gone than would have stopped anything: the others still wait for a word of their own.
    time.sleep(10)
    for name in names:
        if name != "third":
            assert len(cluster.services(name)) >= 2, name
            cluster.put_spec(name, specs[name])
    for name in names:
        if name != "third":
            cluster.ready(name)
