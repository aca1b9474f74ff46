"""The main job: a spec in etcd becomes a Postgres that serves, and what is said about it is true."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from clustertest.cluster import Cluster, database


def test_three_instances_come_up_and_replicate(cluster: Cluster, orders: str) -> None:
    cluster.sql(orders, "create table if not exists copied (n int)")
    cluster.sql(orders, "insert into copied select generate_series(1, 100)")

    for host in cluster.hosts:
        cluster.eventually(
            f"{host} has the rows",
            lambda host=host: cluster.sql(orders, "select count(*) from copied", host=host)[0][0] >= 100,  # type: ignore[misc]
            30,
        )
    roles = sorted(one["role"] for one in cluster.instances(orders))
    assert roles == ["primary", "replica", "replica"]


def test_one_instance_comes_up(cluster: Cluster, solo: str) -> None:
    assert cluster.sql(solo, "select pg_is_in_recovery()") == [(False,)]
    assert [one["host"] for one in cluster.instances(solo)] == [cluster.hosts[1]]


def test_two_databases_share_hosts_and_nothing_else(cluster: Cluster, orders: str, solo: str) -> None:
    def secrets(name: str) -> set[str]:
        label = f"label=pgswarm.database={name}"
        return set(cluster.docker(cluster.hosts[0], "secret", "ls", "-q", "--filter", label).split())

    assert secrets(orders)
    assert secrets(solo)
    assert not secrets(orders) & secrets(solo)
    assert cluster.password(orders) != cluster.password(solo)


def test_containers_run_with_few_rights(cluster: Cluster, orders: str) -> None:
    primary = cluster.primary(orders)
    container = cluster.container(primary["host"], primary["name"])
    [seen] = json.loads(cluster.docker(primary["host"], "inspect", container))
    status = cluster.docker(primary["host"], "exec", container, "cat", "/proc/1/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)

    assert seen["Config"]["User"] not in ("", "root", "0")
    assert seen["HostConfig"]["CapDrop"] == ["ALL"]
    assert fields["NoNewPrivs"] == "1"
    assert int(fields["CapEff"], 16) == 0
    shm = cluster.docker(
        primary["host"], "exec", container, "df", "-B1", "--output=size", "/dev/shm"
    ).split()[-1]
    assert int(shm) >= 64 * 2**20


def processes() -> str:
    """Arguments and environment of every process of pgswarm, etcd, Patroni and Postgres on this machine."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            arguments = (process / "cmdline").read_bytes()
            if any(
                word in arguments
                for word in (b"pgswarm run", b"pgswarm\0run", b"etcd", b"patroni", b"postgres")
            ):
                found.append(arguments + b"\n" + (process / "environ").read_bytes())
    return b"\n".join(found).decode(errors="replace")


def test_no_secret_is_where_people_look(cluster: Cluster, orders: str) -> None:
    """Secrets in etcd are sealed; logs, labels, environment, arguments, status and events hold none."""
    primary = cluster.primary(orders)
    container = cluster.container(primary["host"], primary["name"])
    patroni = json.loads(
        cluster.docker(primary["host"], "exec", container, "cat", "/run/secrets/patroni.yml")
    )
    secrets = {
        cluster.password(orders),
        patroni["etcd3"]["password"],
        patroni["restapi"]["authentication"]["password"],
        *(part["password"] for part in patroni["postgresql"]["authentication"].values()),
    }
    assert len(secrets) == 5

    places = {
        "etcd": cluster.etcdctl("get", "--prefix", ""),
        "services": cluster.docker(primary["host"], "service", "inspect", *cluster.services(orders)),
        "container": cluster.docker(primary["host"], "inspect", container),
        "processes": cluster.docker(primary["host"], "top", container, "-eo", "pid,args"),
        "container log": cluster.logs(primary["host"], container),
        "environments and arguments": processes(),
        "status": cluster.pgswarm("status", orders, "-o", "yaml").stdout,
        **{f"log of {host.name}": host.log("pgswarm").read_text() for host in cluster.lab.hosts},
    }
    for place, text in places.items():
        assert text, place
        for secret in secrets:
            assert secret not in text, f"a secret is in {place}"


def test_an_instance_may_touch_nothing_but_its_own_patroni_records(
    cluster: Cluster, orders: str, solo: str
) -> None:
    primary = cluster.primary(orders)
    container = cluster.container(primary["host"], primary["name"])
    patroni = json.loads(
        cluster.docker(primary["host"], "exec", container, "cat", "/run/secrets/patroni.yml")
    )
    login = f"{patroni['etcd3']['username']}:{patroni['etcd3']['password']}"

    def attempt(*argv: str) -> int:
        environment = {**cluster.environment, "ETCDCTL_USER": login}
        return subprocess.run(
            ["etcdctl", *argv], env=environment, capture_output=True, timeout=30, check=False
        ).returncode

    assert attempt("get", f"/patroni/{orders}-n1/leader") == 0
    assert attempt("get", f"/patroni/{solo}-n1/leader") != 0
    assert attempt("get", "--prefix", "/pgswarm/") != 0
    assert attempt("put", f"/pgswarm/v1/specs/database/{orders}", "x") != 0
    assert attempt("put", f"/patroni/{solo}-n1/config", "{}") != 0
    assert attempt("user", "list") != 0


def test_plain_text_connections_are_refused(cluster: Cluster, orders: str) -> None:
    port = cluster.status(orders)["status"]["endpoints"][0]["port"]
    address = cluster.lab.host(cluster.primary(orders)["host"]).address
    login = {"user": "app", "password": cluster.password(orders), "dbname": orders}

    with pytest.raises(psycopg.OperationalError, match=r"no encryption|SSL off"):
        psycopg.connect(host=address, port=port, sslmode="disable", connect_timeout=3, **login)


def test_the_api_tells_the_same_on_every_host(cluster: Cluster, orders: str) -> None:
    def ask(host: str, path: str) -> dict[str, object]:
        with urllib.request.urlopen(cluster.lab.host(host).api_url + path, timeout=5) as answer:
            return dict(json.loads(answer.read()))

    for host in cluster.hosts:
        view = ask(host, f"/v1/databases/{orders}")
        assert view["status"]["phase"] == "Ready"  # type: ignore[index]
        assert len(ask(host, "/v1/hosts")["items"]) == len(cluster.hosts)  # type: ignore[arg-type]
        with urllib.request.urlopen(cluster.lab.host(host).api_url + "/readyz", timeout=5) as answer:
            assert answer.status == 200


def test_a_quiet_database_costs_no_writes(cluster: Cluster, orders: str, solo: str) -> None:
    """A no-op pass writes nothing: in 12 quiet seconds no key of pgswarm's own changes."""

    def revisions() -> dict[str, int]:
        found = json.loads(cluster.etcdctl("get", "--prefix", "/pgswarm/v1/", "-w", "json"))
        return {one["key"]: one["mod_revision"] for one in found["kvs"]}

    cluster.ready(orders)
    time.sleep(3)
    before = revisions()
    time.sleep(12)

    assert revisions() == before


def test_bad_ports_and_duplicates_of_another_database_are_refused(cluster: Cluster, orders: str) -> None:
    cluster.apply(database("clash", [cluster.hosts[0]], port=6432))

    said = cluster.eventually(
        "the clash is named",
        lambda: "orders" in cluster.condition("clash", "SpecValid").get("message", ""),
        20,
    )

    assert said
    assert cluster.services("clash") == []
    cluster.pgswarm("delete", "clash", "--yes")
