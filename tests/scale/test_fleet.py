"""What the fleet says that etcd and the Swarm hold is what pgswarm would have made: its owner finds nothing to do."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from controlplane.clients.certificates import DatabaseCertificates
from controlplane.clock import SystemIds
from controlplane.sources.cache import RecordCache
from crds.meta import Key
from reconcilers.database.plan import plan
from reconcilers.database.refresh import Ports, Refresh, Settings
from reconcilers.database.report import report, same
from reconcilers.held import HELD, whose
from reconcilers.observed import Observed
from reconcilers.ports import Record
from tests.scale.fleet import EPOCH, OWNER, Holdings, Maker, Terms, fleet
from tests.sim.agent_host import OpenVault
from tests.sim.clock import FakeClock
from tests.sim.swarm import FakeOrchestrator
from tests.sim.swarm_world import SwarmWorld

TERMS = Terms(hosts=("host-001", "host-002"))
FIRST = 3


class Cache(RecordCache):
    """`ports.HeldRecords` that are all there is."""

    revision = 100

    async def reached(self, revision: int) -> None:
        assert revision <= self.revision


class NoAccounts:
    listed_at = 0

    def names(self) -> None:
        return None


@dataclass(frozen=True)
class Claim:
    path: str
    epoch: int = EPOCH

    def may_act(self) -> bool:
        return True


async def read(databases: list[Holdings], name: str) -> Observed:
    """As the refresh of its owner reads it."""
    key = Key("database", name)
    return await staged(databases)[0].read(key, Claim(f"owners/database/{name}"))


def staged(databases: list[Holdings]) -> tuple[Refresh, Cache, FakeOrchestrator]:
    """Of an owner of them all."""
    clock = FakeClock()
    swarm, cache = SwarmWorld(TERMS.hosts, clock.now), Cache(HELD, whose)
    records = [Record(path, value, 1, 1) for path, value in Maker(TERMS).host_records()]
    for number, database in enumerate(databases):
        database.put_into(swarm)
        records += [Record(path, value, FIRST + number, FIRST + number) for path, value in database.records]
    cache.replace(records)
    orchestrator = FakeOrchestrator(swarm, TERMS.cluster, clock)
    refresh = Refresh(
        Ports(
            cache,
            orchestrator,
            NoAccounts(),  # type: ignore[arg-type]
            OpenVault(),
            clock,
            SystemIds(),
            DatabaseCertificates(),
        ),
        Settings(
            identity=OWNER,
            cluster=TERMS.cluster,
            etcd_endpoints=TERMS.etcd_endpoints,
            subnet_pool=TERMS.subnet_pool,
            catalogue=TERMS.catalogue,
        ),
    )
    return refresh, cache, orchestrator


@pytest.mark.parametrize("number", [0, 1, 2])
async def test_the_owner_of_a_settled_database_has_nothing_to_do_and_nothing_to_say(number: int) -> None:
    databases = list(fleet(TERMS, 3, FIRST, OpenVault()))

    observed = await read(databases, databases[number].name)

    assert [task.state for task in observed.tasks] == ["running"]
    todo = plan(observed)
    assert (todo.actions, todo.waiting) == ((), ())
    status = report(observed, todo, None)
    assert status.phase == "Ready"
    assert same(observed.status, status)


async def test_what_is_missing_is_noticed() -> None:
    """So that an empty plan above says something."""
    whole = next(fleet(TERMS, 1, FIRST, OpenVault()))
    less = Holdings(
        whole.name, whole.records, whole.networks, whole.secrets, whole.configs, whole.services[:1]
    )

    todo = plan(await read([less], whole.name))

    assert [action.name for action in todo.actions] == [whole.services[1][0].spec.name]


async def test_databases_share_nothing_that_only_one_may_have() -> None:
    databases = list(fleet(TERMS, 70, FIRST, OpenVault()))

    paths = [path for one in databases for path, _ in one.records]
    assert len(set(paths)) == len(paths)
    ids = [view.id for one in databases for view, _ in one.services]
    assert len(set(ids)) == len(ids)
    subnets = [subnet for one in databases for network in one.networks for subnet in network.subnets]
    assert len(set(subnets)) == len(databases)
