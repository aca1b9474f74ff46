"""A reading is given again only where nothing that it shows has changed, and then it is: both, record by record."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.stores.feed import Gone
from crds.meta import Key
from reconcilers import paths
from reconcilers.observed import Observed
from reconcilers.ports import Record
from tests.scale.fleet import fleet
from tests.scale.test_fleet import FIRST, TERMS, Claim, staged
from tests.sim.agent_host import OpenVault

MINE, OTHER = fleet(TERMS, 2, FIRST, OpenVault())
KEY = Key("database", MINE.name)
CLAIM = Claim(f"owners/database/{MINE.name}")
ELSEWHERE = (
    paths.confirmation(KEY),
    paths.halted(KEY),
    f"{paths.SPECS}host/host-001",
    paths.port("host-001", 5000),
    f"{paths.PATRONI}{MINE.name}-n1/failover",
    f"{paths.DESIRED}host-009/{MINE.name}-n1-abcdef",
    "something/new",
)
"""Not among the records of a settled database, and a reading of it may show them."""
UNREAD = f"{paths.PATRONI}{MINE.name}-n1/status"
"""Patroni writes it every few seconds, and no reading shows it."""
SHOWN = [path for path, _ in MINE.records if path != UNREAD]


async def twice(change: Record | Gone | None, claim: Claim = CLAIM) -> tuple[Observed, Observed]:
    """Before and after."""
    refresh, cache, _ = staged([MINE, OTHER])
    first = await refresh.read(KEY, CLAIM)
    if change is not None:
        cache.apply([change])
    return first, await refresh.read(KEY, claim, first)


@pytest.mark.parametrize("path", [*SHOWN, *ELSEWHERE])
async def test_whatever_is_written_that_a_reading_shows_there_is_another(path: str) -> None:
    known = dict(MINE.records).get(path, b"{}")
    first, second = await twice(Record(path, known + b" ", 50, 50))

    assert second is not first


@pytest.mark.parametrize("path", SHOWN)
async def test_whatever_goes_that_a_reading_shows_there_is_another(path: str) -> None:
    first, second = await twice(Gone(path, 50))

    assert second is not first
    assert second != first


@pytest.mark.parametrize("path", [path for path, _ in OTHER.records])
async def test_what_another_database_has_is_none_of_its_business(path: str) -> None:
    for change in (Record(path, dict(OTHER.records)[path] + b" ", 50, 50), Gone(path, 50)):
        first, second = await twice(change)
        assert second is first


async def test_where_nothing_changes_the_reading_is_the_same_one() -> None:
    for change in (None, Record(UNREAD, b"{}", 50, 50), Gone(UNREAD, 50)):
        first, second = await twice(change)
        assert second is first


async def test_a_host_that_says_what_it_said_before_is_nothing_new() -> None:
    refresh, cache, _ = staged([MINE, OTHER])
    first = await refresh.read(KEY, CLAIM)
    said = cache.get(paths.host("host-001"))
    assert said is not None
    cache.apply([replace(said, mod_revision=50)])
    same = await refresh.read(KEY, CLAIM, first)
    cache.apply([Gone(said.path, 51)])
    other = await refresh.read(KEY, CLAIM, same)

    assert same is first
    assert other.hosts != first.hosts


async def test_another_claim_is_another_reading() -> None:
    first, second = await twice(None, Claim(CLAIM.path, CLAIM.epoch + 1))

    assert (second is first, second.epoch) == (False, CLAIM.epoch + 1)


async def test_what_changes_in_the_swarm_is_another_reading() -> None:
    refresh, _, swarm = staged([MINE, OTHER])
    first = await refresh.read(KEY, CLAIM)
    swarm.invalidate()
    same = await refresh.read(KEY, CLAIM, first)
    swarm.world.drop(MINE.services[0][0].id)
    swarm.invalidate(MINE.name)
    other = await refresh.read(KEY, CLAIM, same)

    assert same is first
    assert first.services.keys() - other.services.keys() == {MINE.services[0][0].spec.name}
