"""The Postgres image, as it stands: one instance a data directory, PID 1, health, what is in it, each version."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from clustertest.cluster import Cluster, database
from clustertest.lab.builder import Seed
from clustertest.lab.progress import Progress

IMAGE = "pgswarm/postgres:17"
SIZE_GOAL_BYTES = 600_000_000
HOME = "/var/lib/pgswarm"
BUILD_S = 2400
# Enough for Patroni to be started; it never gets as far as a database without its etcd.
LONELY = """
import pathlib
pathlib.Path('/tmp/patroni.yml').write_text('''
scope: lonely
name: lonely
restapi: {listen: 127.0.0.1:8008, connect_address: 127.0.0.1:8008}
etcd3: {hosts: 127.0.0.1:1}
postgresql: {listen: 127.0.0.1:5432, connect_address: 127.0.0.1:5432, data_dir: /var/lib/pgswarm/pgdata}
''')
"""
ENTRYPOINT = "/usr/local/lib/pgswarm/entrypoint"

Run = Callable[..., str]


@pytest.fixture
def run(cluster: Cluster) -> Iterator[Run]:
    """Start a container of the image in the background on the first host; it and its volume go afterwards."""
    host, made = cluster.hosts[0], list[str]()

    def start(*argv: str, options: tuple[str, ...] = ("-v", "image-test:/var/lib/pgswarm")) -> str:
        words = ["run", "-d", "--network", "none", *options, "--entrypoint", "sh", IMAGE, "-c", *argv]
        made.append(cluster.docker(host, *words))
        return made[-1]

    yield start
    for container in made:
        cluster.docker(host, "rm", "-f", container, check=False)
    cluster.docker(host, "volume", "rm", "-f", "image-test", check=False)


def inside(cluster: Cluster, container: str, *argv: str, check: bool = True) -> str:
    return cluster.docker(cluster.hosts[0], "exec", container, *argv, check=check)


def state(cluster: Cluster, container: str) -> dict[str, object]:
    return dict(json.loads(cluster.docker(cluster.hosts[0], "inspect", container))[0]["State"])


def test_a_second_instance_on_a_data_directory_does_not_start(cluster: Cluster, run: Run) -> None:
    lonely = f'python3 -c "{LONELY}"; exec {ENTRYPOINT} /tmp/patroni.yml'
    first = run(lonely)
    cluster.eventually(
        "Patroni runs", lambda: "patroni" in inside(cluster, first, "cat", "/proc/1/cmdline"), 20
    )

    second = run(lonely)
    cluster.eventually("it gave up", lambda: state(cluster, second)["Status"] == "exited", 20)
    assert state(cluster, second)["ExitCode"] == 75
    assert "another instance runs on this data directory" in cluster.logs(cluster.hosts[0], second)
    assert state(cluster, first)["Status"] == "running"

    # The lock goes with its holder, however that ends.
    cluster.docker(cluster.hosts[0], "kill", first)
    third = run(lonely)
    cluster.eventually(
        "Patroni runs", lambda: "patroni" in inside(cluster, third, "cat", "/proc/1/cmdline"), 20
    )


def test_what_is_missing_is_said_and_has_its_own_exit_code(cluster: Cluster, run: Run) -> None:
    container = run(f"exec {ENTRYPOINT}")
    cluster.eventually("it gave up", lambda: state(cluster, container)["Status"] == "exited", 20)
    assert state(cluster, container)["ExitCode"] == 78
    assert "no Patroni configuration at /run/secrets/patroni.yml" in cluster.logs(cluster.hosts[0], container)

    container = run(f"exec {ENTRYPOINT}", options=("--tmpfs", f"{HOME}:uid=0,mode=0755"))
    cluster.eventually("it gave up", lambda: state(cluster, container)["Status"] == "exited", 20)
    assert state(cluster, container)["ExitCode"] == 73


def test_the_first_process_reaps_forwards_signals_and_may_gain_nothing(cluster: Cluster, solo: str) -> None:
    primary = cluster.primary(solo)
    host = primary["host"]
    container = cluster.container(host, primary["name"])

    def docker(*argv: str) -> str:
        return cluster.docker(host, "exec", container, *argv)

    assert docker("cat", "/proc/1/comm") == "tini"
    status = docker("cat", "/proc/1/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == ["999"] * 4
    assert (fields["NoNewPrivs"], int(fields["CapEff"], 16), int(fields["CapBnd"], 16)) == ("1", 0, 0)

    # An orphan that ends is nobody's child but its: no zombie stays.
    docker("sh", "-c", "(sleep 0.2 &) ; true")
    time.sleep(1)
    zombies = docker("sh", "-c", "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null || true")
    assert zombies == ""

    # SIGTERM reaches Patroni, which stops Postgres in order: a shutdown checkpoint, and nothing to recover from.
    cluster.docker(host, "kill", "--signal", "TERM", container)
    cluster.eventually(
        "it ended", lambda: container not in [one[:12] for one in cluster.containers(host)], 60
    )
    said = cluster.logs(host, container)
    assert "database system is shut down" in said
    time.sleep(1)
    cluster.ready(solo)
    after = cluster.logs(host, cluster.container(host, primary["name"]))
    assert "database system was not properly shut down" not in after


def test_the_health_check_says_whether_patroni_lives(cluster: Cluster, solo: str) -> None:
    primary = cluster.primary(solo)
    container = cluster.container(primary["host"], primary["name"])
    check = ("exec", container, "/usr/local/lib/pgswarm/liveness")
    cluster.docker(primary["host"], *check)
    found = json.loads(cluster.docker(primary["host"], "inspect", container))[0]["State"]["Health"]["Status"]
    assert found == "healthy"

    patroni = cluster.docker(primary["host"], "exec", container, "sh", "-c", "pgrep -f bin/patroni | head -1")
    cluster.docker(primary["host"], "exec", container, "kill", "-STOP", patroni)
    try:
        with pytest.raises(AssertionError, match="liveness"):
            cluster.docker(primary["host"], *check)
    finally:
        cluster.docker(primary["host"], "exec", container, "kill", "-CONT", patroni)
    cluster.docker(primary["host"], *check)
    cluster.ready(solo)


def test_what_the_image_has_and_what_it_has_not(cluster: Cluster, run: Run) -> None:
    [seen] = json.loads(cluster.docker(cluster.hosts[0], "image", "inspect", IMAGE))
    assert seen["Size"] < SIZE_GOAL_BYTES
    assert seen["Config"]["User"] == "999:999"
    assert not [one for one in seen["Config"]["Env"] if "PASSWORD" in one or "SECRET" in one]

    container = run("sleep 60", options=())
    for argv in (
        ("pgbackrest", "version"),
        ("patroni", "--version"),
        ("flock", "--version"),
        ("id", "postgres"),
    ):
        assert inside(cluster, container, *argv), argv
    assert inside(
        cluster,
        container,
        "sh",
        "-c",
        "ls $(pg_config --pkglibdir 2>/dev/null || echo /usr/lib/postgresql/17/lib)/pglogical.so",
    )
    assert "en_US.utf8" in inside(cluster, container, "locale", "-a")
    seen_by_it = (
        "-xdev",
        "-type",
        "d",
        "!",
        "-readable",
        "-prune",
        "-o",
        "-type",
        "f",
        "-perm",
        "/6000",
        "-print",
    )
    assert inside(cluster, container, "find", "/", *seen_by_it) == ""


NOBODY = "etcdserver: user name is empty"


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ({"code": 3, "message": NOBODY}, "UserEmpty"),
        ({"code": 3, "error": NOBODY, "message": NOBODY}, "UserEmpty"),
        ({"error": {"grpc_code": 3, "http_code": 400, "message": NOBODY}}, "UserEmpty"),
        ({"code": 5, "message": "etcdserver: requested lease not found"}, "LeaseNotFound"),
        ({"code": 3, "message": "something else"}, "InvalidArgument"),
    ],
)
def test_patroni_understands_etcds_refusals_however_etcd_was_built(
    cluster: Cluster, solo: str, said: dict[str, Any], known: str
) -> None:
    primary = cluster.primary(solo)
    container = cluster.container(primary["host"], primary["name"])
    program = (
        "import json, runpy, sys; runpy.run_path('/usr/local/bin/patroni')['mend']();"
        "from patroni.dcs import etcd3; print(type(etcd3._raise_for_data(json.loads(sys.argv[1]))).__name__)"
    )
    asked = ("exec", container, "python3", "-c", program, json.dumps(said))

    assert cluster.docker(primary["host"], *asked) == known
    assert cluster.docker(primary["host"], "exec", container, "pgrep", "-f", "/usr/local/bin/patroni")


@pytest.mark.timeout(BUILD_S + 600)
@pytest.mark.parametrize("major", [15, 18])
def test_each_other_version_becomes_a_database(cluster: Cluster, major: int) -> None:
    seed = Seed(cluster.lab.settings, Progress())
    seed.ensure([("postgres", major)])
    seed.load(cluster.lab.hosts[0].engine)
    name = f"pg{major}"
    spec = database(
        name, cluster.hosts[:1], port=6490, postgres={"version": str(major)}, deletion={"policy": "delete"}
    )
    cluster.apply(spec)
    cluster.ready(name)
    assert cluster.sql(name, "show server_version")[0][0].startswith(f"{major}.")
    primary = cluster.primary(name)
    assert "pglogical" in cluster.superuser_sql(
        name, "select name from pg_available_extensions", instance=primary
    )
    cluster.pgswarm("delete", name, "--yes")
    cluster.gone(name, 90)
