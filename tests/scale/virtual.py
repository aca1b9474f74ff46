"""Three controllers and many settled databases in virtual time; agents on other hosts say yes to everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from controlplane.stores.feed import Change
from crds.instance import InstanceObserved
from crds.meta import Key
from crds.status import DatabaseStatus
from reconcilers import paths
from reconcilers.ports import Put, Record
from tests.scale.fleet import Maker, Terms
from tests.sim.agent_host import OpenVault
from tests.sim.world import World

CONTROLLERS = ("host-1", "host-2", "host-3")
TERMS = Terms(etcd_endpoints=("http://10.99.0.1:2379",), subnet_pool="10.128.0.0/12")
LARGEST = 16_384
"""Databases for which the pool above has room."""
AGENT_S = 0.1
LOOK_S = 0.05
START_S, START_EACH_S = 600.0, 0.1
"""Virtual seconds until all must be owned and reported, and what is added for each database."""


class Fleet:
    """What costs something here costs it for each change, never for each database that there is."""

    def __init__(self, world: World, count: int, say: Callable[[str], None]) -> None:
        assert count <= LARGEST
        self.world = world
        self.say = say
        """Told how far a wait is."""
        self.names: list[str] = []
        self._deaf = ""
        self._unheard: list[tuple[str, int]] = []
        self._touched: dict[str, float] = {}
        """Databases whose status or owner is another one since somebody looked, and since when; virtual seconds."""
        maker = Maker(TERMS)
        world.etcd.apply([Put(path, value) for path, value in maker.host_records()], (), 0, {})
        for number in range(count):
            settled = maker.settled(number, world.etcd.revision + 1)
            holdings = settled.holdings(OpenVault())
            holdings.put_into(world.swarm)
            world.etcd.apply([Put(path, value) for path, value in holdings.records], (), 0, {})
            self.names.append(holdings.name)
            say(f"{number + 1} of {count} databases are made")
        world.etcd.listeners.append(self._hear)

    # --- agents ---

    def deafen(self, host: str) -> None:
        """Its agent answers nothing, until another's does not or, with "", all hear again."""
        self._deaf, unheard, self._unheard = host, self._unheard, []
        for path, revision in unheard:
            self._agree(path, revision)

    def _hear(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.path.startswith((paths.STATUS, paths.OWNERS)):
                self._touched[change.path.rpartition("/")[2]] = self.world.clock.monotonic()
            elif change.path.startswith(paths.DESIRED) and isinstance(change, Record):
                self.world.later(AGENT_S, partial(self._agree, change.path, change.mod_revision))

    def _agree(self, path: str, revision: int) -> None:
        """The agent has done what is desired."""
        wanted, record = self.world.etcd.get(path), self._observed(path)
        if wanted is None or wanted.mod_revision != revision or record is None:
            return
        if path.split("/", 2)[1] == self._deaf:
            self._unheard.append((path, revision))
            return
        seen = InstanceObserved.model_validate_json(record.value)
        if seen.desired_revision != revision:
            done = seen.model_copy(update={"desired_revision": revision})
            self.world.etcd.put(record.path, done.model_dump_json().encode())

    def _observed(self, path: str) -> Record | None:
        return self.world.etcd.get(path.replace(paths.DESIRED, paths.OBSERVED, 1))

    # --- what is there ---

    def host(self, name: str) -> str:
        """Where it runs."""
        return self.status(name).nodes[0].instances[0].host

    def owner(self, name: str) -> str:
        """Host of the controller in its owner record; "" if there is none."""
        record = self.world.etcd.get(paths.owner(Key("database", name)))
        return "" if record is None else record.value.decode()

    def owned(self, name: str) -> bool:
        """By a controller that lives."""
        return bool(self.world.alive(self.owner(name) or "nobody"))

    def reported(self, name: str) -> bool:
        """Ready, by the word of the one that owns it, about the spec as it is."""
        status, spec = self.status(name), self.world.etcd.get(paths.spec(Key("database", name)))
        assert spec is not None
        return (
            status.owner == self.owner(name)
            and status.phase == "Ready"
            and status.observed_revision == spec.mod_revision
        )

    def status(self, name: str) -> DatabaseStatus:
        found = self.world.status(name)
        assert found is not None
        return found

    async def times_s(
        self, what: str, true: Callable[[str], bool], names: Sequence[str], within_s: float
    ) -> list[float]:
        """For each name: virtual seconds until `true(name)`, which only its status and its owner record tell."""
        clock, took_s = self.world.clock, dict[str, float]()
        began_s, left = clock.monotonic(), set(names)
        self._touched |= dict.fromkeys(names, began_s)
        while left:
            passed_s = clock.monotonic() - began_s
            assert passed_s < within_s, f"{what}: {len(left)} of {len(names)} are late"
            touched, self._touched = self._touched, {}
            took_s |= {name: touched[name] - began_s for name in touched.keys() & left if true(name)}
            left -= took_s.keys()
            self.say(f"{what}: {len(took_s)} of {len(names)} after {passed_s:.1f} virtual s")
            await asyncio.sleep(LOOK_S)
        return sorted(took_s.values())


@asynccontextmanager
async def fleet(count: int, say: Callable[[str], None] = lambda text: None) -> AsyncIterator[Fleet]:
    """All are owned, and their owners have said so."""
    world = World((*TERMS.hosts, *CONTROLLERS))
    world.etcd_auth, world.subnet_pool = False, TERMS.subnet_pool
    one = Fleet(world, count, say)
    for host in CONTROLLERS:
        world.start(host)
    try:
        await one.times_s("owned and reported", one.reported, one.names, START_S + START_EACH_S * count)
        yield one
        assert not world.bugs(), world.bugs()
    finally:
        for client in world.alive():
            world.kill(client)
        await asyncio.sleep(0)
        await asyncio.gather(*(one.task for one in world.running.values()), return_exceptions=True)
