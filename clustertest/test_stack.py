"""pgswarm deployed as examples/stack.yaml says: a global Swarm service, from its own image, does the main job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clustertest.cluster import Cluster, database
from clustertest.lab.settings import REPO

STACK = "pgswarm"
IMAGE = "pgswarm/controlplane:latest"
BUILD_S = 1500


def objects(cluster: Cluster) -> list[tuple[str, str, Path]]:
    """(kind, name, file) of everything that the heads of the files say to make before the first time."""
    lab = cluster.lab
    found = [
        ("secret", "pgswarm_key", lab.key_file),
        ("secret", "pgswarm_etcd_password", lab.etcd_password_file),
    ]
    if lab.tls is not None:
        found += [
            ("config", "pgswarm_etcd_ca", lab.tls.ca),
            ("config", "pgswarm_etcd_cert", lab.tls.cert("pgswarm")),
            ("secret", "pgswarm_etcd_key", lab.tls.key("pgswarm")),
            ("config", "pgswarm_instance_etcd_cert", lab.tls.cert("instances")),
            ("secret", "pgswarm_instance_etcd_key", lab.tls.key("instances")),
        ]
    return found


def have_image(cluster: Cluster) -> None:
    """Built from this tree if it is not there, and on every host."""
    argv = [sys.executable, "-m", "clustertest.lab", "images", "--controlplane"]
    done = subprocess.run(argv, cwd=REPO, capture_output=True, text=True, timeout=BUILD_S, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    for host in cluster.hosts:
        assert cluster.docker(host, "image", "ls", "-q", IMAGE), f"{host} has no {IMAGE}"


def tasks(cluster: Cluster, host: str) -> list[str]:
    """The stack's containers on a host, ended ones too."""
    return cluster.docker(host, "ps", "-aq", "--filter", f"label=com.docker.stack.namespace={STACK}").split()


def controllers(cluster: Cluster) -> set[str]:
    return set(cluster.etcd_keys("/pgswarm/v1/controllers/"))


@contextmanager
def deployed(cluster: Cluster) -> Iterator[None]:
    """The stack instead of the processes that the lab runs on its hosts."""
    first = cluster.hosts[0]
    for host in cluster.hosts:
        cluster.lab.kill(host, only="pgswarm")
    cluster.eventually("the old processes' leases end", lambda: not controllers(cluster), 30)
    try:
        for kind, name, file in objects(cluster):
            cluster.docker(first, kind, "create", name, str(file))
        deploy(cluster)
        yield
    finally:
        cluster.docker(first, "stack", "rm", STACK, check=False)
        for host in cluster.hosts:
            cluster.eventually(f"no task is left on {host}", lambda host=host: not tasks(cluster, host), 60)  # type: ignore[misc]
        for kind, name, _ in objects(cluster):
            cluster.docker(first, kind, "rm", name, check=False)


def deploy(cluster: Cluster) -> None:
    """As the head of the file says, the site's own values in the environment."""
    host = cluster.lab.host(cluster.hosts[0])
    site = {
        name: value for name, value in cluster.lab.environment().items() if name.startswith("PGSWARM_ETCD_")
    }
    argv = ["docker", "-H", host.docker_url, "stack", "deploy", "--resolve-image", "never"]
    for file in ("stack.yaml", *(("stack-tls.yaml",) if cluster.lab.tls is not None else ())):
        argv += ["-c", str(REPO / "examples" / file)]
    argv.append(STACK)
    environment = {"PATH": os.environ["PATH"], "HOME": "/root", **site}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(BUILD_S + 600)
def test_the_main_job_with_pgswarm_as_a_service_of_the_swarm(cluster: Cluster) -> None:
    have_image(cluster)
    with deployed(cluster):
        cluster.eventually(
            "a controller from every task", lambda: len(controllers(cluster)) == len(cluster.hosts), 90
        )
        for host in cluster.hosts:
            [container] = tasks(cluster, host)
            [seen] = json.loads(cluster.docker(host, "inspect", container))
            assert (seen["Config"]["Image"], seen["HostConfig"]["NetworkMode"]) == (IMAGE, "host")

        cluster.apply(database("stacked", cluster.hosts, port=6480, deletion={"policy": "delete"}))
        cluster.ready("stacked")
        cluster.sql("stacked", "create table rows (n int)")
        cluster.sql("stacked", "insert into rows select generate_series(1, 100)")
        for host in cluster.hosts:
            cluster.eventually(
                f"{host} has the rows",
                lambda host=host: cluster.sql("stacked", "select count(*) from rows", host=host) == [(100,)],  # type: ignore[misc]
                30,
            )

        replica = cluster.replicas("stacked")[0]["name"]
        cluster.docker(cluster.hosts[0], "service", "rm", replica)
        cluster.eventually("the service is back", lambda: cluster.service(replica), 20)
        time.sleep(1)  # until status has noticed
        cluster.ready("stacked")
        assert not secrets_in_sight(cluster)

        cluster.pgswarm("delete", "stacked", "--yes")
        cluster.gone("stacked", 90)
        assert cluster.services("stacked") == []


def secrets_in_sight(cluster: Cluster) -> list[str]:
    """Where the key or etcd's password can be read: what Docker shows of the service, its tasks and their output."""
    words = [cluster.lab.key_file.read_text().strip(), cluster.lab.etcd_password_file.read_text().strip()]
    first = cluster.hosts[0]
    [service] = cluster.docker(first, "stack", "services", "-q", STACK).split()
    places = {"service": cluster.docker(first, "service", "inspect", service)}
    for host in cluster.hosts:
        for container in tasks(cluster, host):
            places[f"container on {host}"] = cluster.docker(host, "inspect", container)
            places[f"output on {host}"] = cluster.logs(host, container)
    assert all(places.values()), [place for place, text in places.items() if not text]
    return [place for place, text in places.items() if any(word in text for word in words)]
