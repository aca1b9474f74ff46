"""Fixtures of the contract suites: real etcd servers, and the world that is one of them or the in-memory one."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from controlplane.stores.keys import Keys
from tests.contract.etcd_world import FakeWorld, World, connected
from tests.etcd_server import EtcdServer, TlsFiles

_prefixes = itertools.count(1)


@pytest.fixture(scope="session")
def shared_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    server = EtcdServer(tmp_path_factory.mktemp("etcd")).start()
    yield server
    server.kill()


@pytest.fixture
def own_etcd(tmp_path: Path) -> Iterator[Callable[..., EtcdServer]]:
    """Make servers that this test may break: `own_etcd("--flag", ...)`."""
    servers: list[EtcdServer] = []

    def start(*flags: str, tls: TlsFiles | None = None) -> EtcdServer:
        folder = tmp_path / f"etcd-{len(servers)}"
        folder.mkdir()
        servers.append(EtcdServer(folder, flags, tls))
        return servers[-1].start()

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(params=["fake", "etcd"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "fake":
        yield FakeWorld()
        return
    number = next(_prefixes)
    keys = Keys(prefix=f"/test-{number}/v1/", patroni=f"/test-{number}-patroni/")
    async with connected(request.getfixturevalue("shared_etcd"), keys=keys, page=3) as real:
        yield real
