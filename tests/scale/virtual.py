"""Three controllers and many settled databases in virtual time; agents on other hosts say yes to everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median

from crds.instance import InstanceObserved
from crds.meta import Key
from crds.status import DatabaseStatus
from reconcilers import paths
from reconcilers.ports import Put
from tests.scale.fleet import Maker, Terms
from tests.sim.agent_host import OpenVault
from tests.sim.world import World

CONTROLLERS = ("host-1", "host-2", "host-3")
TERMS = Terms(etcd_endpoints=("http://10.99.0.1:2379",), subnet_pool="10.121.0.0/16")
LARGEST = 1024
"""Databases for which the pool above has room."""
AGENT_S = 0.1
LOOK_S = 0.05
TTL_S = 10.0


class Fleet:
    def __init__(self, world: World, count: int) -> None:
        assert count <= LARGEST
        self.world = world
        self.names: list[str] = []
        self.deaf: set[str] = set()
        """Hosts whose agents answer nothing."""
        self._seen: dict[str, int] = {}
        maker = Maker(TERMS)
        world.etcd.apply([Put(path, value) for path, value in maker.host_records()], (), 0, {})
        for number in range(count):
            settled = maker.settled(number, world.etcd.revision + 1)
            holdings = settled.holdings(OpenVault())
            holdings.put_into(world.swarm)
            world.etcd.apply([Put(path, value) for path, value in holdings.records], (), 0, {})
            self.names.append(holdings.name)

    async def agents(self) -> None:
        while True:
            for record in self.world.etcd.under(paths.DESIRED):
                host = record.path.split("/", 2)[1]
                if host not in self.deaf and self._seen.get(record.path, 0) < record.mod_revision:
                    self._seen[record.path] = record.mod_revision
                    self._agree(record.path.replace(paths.DESIRED, paths.OBSERVED, 1), record.mod_revision)
            await asyncio.sleep(AGENT_S)

    def _agree(self, path: str, revision: int) -> None:
        record = self.world.etcd.get(path)
        assert record is not None
        seen = InstanceObserved.model_validate_json(record.value)
        if seen.desired_revision != revision:
            self.world.etcd.put(
                path, seen.model_copy(update={"desired_revision": revision}).model_dump_json().encode()
            )

    def owned(self, name: str) -> bool:
        return bool(self.world.owner(name))

    def reported(self, name: str) -> bool:
        """Ready, by the word of one of the three, about the spec as it is."""
        status, spec = self.status(name), self.world.etcd.get(paths.spec(Key("database", name)))
        assert spec is not None
        return (
            status.owner in CONTROLLERS
            and status.phase == "Ready"
            and status.observed_revision == spec.mod_revision
        )

    def status(self, name: str) -> DatabaseStatus:
        found = self.world.status(name)
        assert found is not None
        return found

    async def times_s(self, true: object, names: list[str], within_s: float) -> list[float]:
        """For each name: virtual seconds until `true(name)`."""
        assert callable(true)
        loop, took_s = asyncio.get_running_loop(), dict[str, float]()
        began_s = loop.time()
        while len(took_s) < len(names):
            assert loop.time() - began_s < within_s, f"{len(names) - len(took_s)} of {len(names)} are late"
            took_s |= {name: loop.time() - began_s for name in names if name not in took_s and true(name)}
            await asyncio.sleep(LOOK_S)
        return sorted(took_s.values())


def unfairness(took_s: list[float]) -> float:
    return max(took_s) / median(took_s)


@asynccontextmanager
async def fleet(count: int) -> AsyncIterator[Fleet]:
    """All are owned, and their owners have said so."""
    world = World((*TERMS.hosts, *CONTROLLERS))
    world.etcd_auth = False
    one = Fleet(world, count)
    for host in CONTROLLERS:
        world.start(host)
    agents = asyncio.create_task(one.agents(), name="agents")
    try:
        await one.times_s(one.reported, one.names, 600)
        yield one
        assert not world.bugs(), world.bugs()
    finally:
        for client in world.alive():
            world.kill(client)
        agents.cancel()
        await asyncio.sleep(0)
        await asyncio.gather(agents, *(one.task for one in world.running.values()), return_exceptions=True)
