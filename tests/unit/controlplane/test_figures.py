"""Figures of owned databases, read from records."""

from __future__ import annotations

import asyncio

from controlplane.figures import DatabaseFigures, DatabaseFiguresSource, Measured, Successes
from crds.meta import Condition, Key
from reconcilers import paths
from reconcilers.contract import Claim, Result
from tests.sim.clock import FakeClock
from tests.sim.etcd import FakeEtcd
from tests.sim.loop import run
from tests.unit.controlplane import shown

START = 1_767_225_600.0
"""2026-01-01, where the fake clock begins."""


class World:
    """One process' view: the fake etcd stands for the mirror."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.etcd = FakeEtcd(self.clock)
        self.successes = Successes(self.clock)
        self.owned = {shown.KEY}
        self.source = DatabaseFiguresSource(
            _Mirror(self.etcd), lambda: self.owned, self.successes, self.clock
        )


class _Mirror:
    def __init__(self, etcd: FakeEtcd) -> None:
        self.get, self.under, self.revision = etcd.get, etcd.under, 0

    async def reached(self, revision: int) -> None:
        return None


def test_a_database_nobody_has_looked_at_is_pending_since_it_was_noticed() -> None:
    async def scenario() -> list[DatabaseFigures]:
        world = World()
        world.etcd.put(paths.spec(shown.KEY), shown.SPEC)
        first = world.source.read()
        await asyncio.sleep(30)
        return [*first, *world.source.read()]

    assert run(scenario()) == [
        DatabaseFigures("orders", False, 0.0, 0.0),
        DatabaseFigures("orders", False, 0.0, 30.0),
    ]


def test_a_ready_database_has_nothing_pending() -> None:
    async def scenario() -> list[DatabaseFigures]:
        world = World()
        shown.fill(world.etcd)
        return world.source.read()

    (found,) = run(scenario())
    assert (found.ready, found.oldest_pending_s) == (True, 0.0)
    assert found.last_success_s == shown.NOW_S - 30


def test_pending_counts_from_when_synced_became_false() -> None:
    async def scenario() -> list[DatabaseFigures]:
        world = World()
        bad = shown.status(ready=False)
        since = bad.conditions[1].model_copy(update={"last_transition_time": "2026-01-01T00:00:00Z"})
        conditions = (bad.conditions[0], since)
        status = bad.model_copy(update={"conditions": conditions})
        world.etcd.put(paths.status(shown.KEY), status.model_dump_json().encode())
        await asyncio.sleep(75)
        return world.source.read()

    (found,) = run(scenario())
    assert (found.ready, found.oldest_pending_s) == (False, 75.0)


def test_a_refused_spec_is_pending_since_it_was_refused_though_the_last_one_is_ready() -> None:
    async def scenario() -> list[DatabaseFigures]:
        world = World()
        status = shown.refused(shown.status(), 2, "no such field")
        at_start = tuple(
            one.model_copy(update={"last_transition_time": "2026-01-01T00:00:00Z"})
            if one.type == "SpecValid"
            else one
            for one in status.conditions
        )
        status = status.model_copy(update={"conditions": at_start})
        world.etcd.put(paths.status(shown.KEY), status.model_dump_json().encode())
        await asyncio.sleep(75)
        return world.source.read()

    (found,) = run(scenario())
    assert (found.ready, found.oldest_pending_s) == (True, 75.0)


def conditions(*given: Condition) -> DatabaseFigures:
    """The figures after an hour of these."""

    async def scenario() -> list[DatabaseFigures]:
        world = World()
        since = {"last_transition_time": "2026-01-01T00:00:00Z"}
        status = shown.status().model_copy(
            update={"conditions": tuple(one.model_copy(update=since) for one in given)}
        )
        world.etcd.put(paths.status(shown.KEY), status.model_dump_json().encode())
        await asyncio.sleep(3600)
        return world.source.read()

    (found,) = run(scenario())
    return found


def test_retained_data_is_neither_ready_nor_not() -> None:
    found = conditions(
        shown.condition("Ready", "False", "Retained"), shown.condition("Synced", "True", "AsSpecified")
    )

    assert (found.ready, found.paused, found.oldest_pending_s) == (None, False, 0.0)


def test_a_paused_database_has_nothing_pending_and_is_ready_or_not_only_if_something_is_amiss() -> None:
    paused, synced = (
        shown.condition(type_, said, "Paused") for type_, said in (("Paused", "True"), ("Synced", "False"))
    )
    fine = conditions(shown.condition("Ready", "False", "Paused"), synced, paused)
    down = conditions(shown.condition("Ready", "False", "NoPrimary"), synced, paused)

    assert (fine.ready, fine.paused, fine.oldest_pending_s) == (None, True, 0.0)
    assert (down.ready, down.paused, down.oldest_pending_s) == (False, True, 0.0)


def test_a_pass_that_changed_nothing_is_a_success_too() -> None:
    class Nothing:
        async def reconcile(self, key: Key, claim: Claim) -> Result:
            return Result()

    class AnyClaim:
        epoch, path = 1, ""

        def may_act(self) -> bool:
            return True

    async def scenario() -> float:
        world = World()
        await asyncio.sleep(5)
        await Measured(Nothing(), world.successes).reconcile(shown.KEY, AnyClaim())
        return world.source.read()[0].last_success_s

    assert run(scenario()) == START + 5


def test_what_is_not_owned_any_more_has_no_figures_and_leaves_nothing_behind() -> None:
    async def scenario() -> tuple[list[DatabaseFigures], float]:
        world = World()
        world.successes.note(shown.KEY)
        world.owned.clear()
        return world.source.read(), world.successes.at_s(shown.KEY)

    assert run(scenario()) == ([], 0.0)


def test_a_status_that_is_not_json_counts_as_none() -> None:
    async def scenario() -> list[DatabaseFigures]:
        world = World()
        for broken in (b"\xff", b"[]", b'{"conditions": [1]}'):
            world.etcd.put(paths.status(shown.KEY), broken)
            assert world.source.read() == [DatabaseFigures("orders", False, 0.0, 0.0)]
        return world.source.read()

    run(scenario())
