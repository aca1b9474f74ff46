"""etcd's TLS files on their way from the settings into the containers, and what another certificate does to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import trustme

from reconcilers.resources import patroni_file
from tests.sim.loop import run
from tests.sim.scenes import up
from tests.sim.world import HOSTS, World, cluster

CA = trustme.CA()


def issued(folder: Path, name: str) -> dict[str, Any]:
    """Settings with a certificate of this name; the name itself is in no certificate."""
    leaf = CA.issue_cert(f"{name}.test")
    ca, cert, key = (folder / f"{name}-{part}.pem" for part in ("ca", "cert", "key"))
    CA.cert_pem.write_to_path(ca)
    leaf.cert_chain_pems[0].write_to_path(cert)
    leaf.private_key_pem.write_to_path(key)
    url = ("https://10.99.0.1:2379",)
    return {
        "etcd_endpoints": url,
        "instance_etcd_endpoints": url,
        "etcd_ca": ca,
        "instance_etcd_cert": cert,
        "instance_etcd_key": key,
    }


def configure(world: World, settings: dict[str, Any]) -> None:
    """For processes that were made and have not begun to run."""
    for client in world.alive():
        process = world.running[client].process
        process.config = process.config.model_copy(update=settings)
        process._controllers()


def mounted(world: World, kind: str, target: str) -> dict[str, str]:
    """By service: the content of a file."""
    found = {}
    for service in world.swarm.services.values():
        for file in service.payload["TaskTemplate"]["ContainerSpec"].get(f"{kind}s", ()):
            if file["File"]["Name"] == target:
                found[service.payload["Name"]] = world.swarm.data[file[f"{kind}ID"]]
    return found


def test_every_instance_gets_the_files_and_new_ones_when_pgswarm_starts_with_new_ones(tmp_path: Path) -> None:
    async def story() -> None:
        async with cluster() as world:

            def now() -> set[str]:
                return set(mounted(world, "Secret", patroni_file.ETCD_CLIENT_PEM).values())

            configure(world, issued(tmp_path, "first"))
            await up(world)
            first = mounted(world, "Secret", patroni_file.ETCD_CLIENT_PEM)
            assert len(first) == 3
            assert {one.count("PRIVATE KEY-----\n") for one in first.values()} == {2}
            old = set(first.values())
            authorities = mounted(world, "Config", patroni_file.ETCD_CA_PEM)
            assert set(authorities.values()) == {CA.cert_pem.bytes().decode()}
            told = mounted(world, "Secret", patroni_file.TARGET)
            assert {json.loads(one)["etcd3"]["cert"] for one in told.values()} == {
                patroni_file.ETCD_CLIENT_PEM
            }

            for client in world.alive():
                world.kill(client)
            for host in HOSTS:
                world.start(host)
            configure(world, issued(tmp_path, "second"))
            await world.until(lambda: not old & now(), within_s=300, what="another certificate everywhere")
            await world.quiet()
            assert len(now()) == 1
            assert world.phase() == "Ready"
            assert len(world.patroni.bootstraps) == 1

    run(story())
