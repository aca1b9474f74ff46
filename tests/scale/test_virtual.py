"""Many databases on three controllers, in virtual time: nothing is written, nobody starves or is long unowned."""

from __future__ import annotations

import asyncio

import pytest

from crds.meta import Key
from reconcilers import paths
from tests.scale.virtual import TTL_S, Fleet, fleet, unfairness
from tests.sim.loop import run

COUNT = 60
HOUR_S = 3600.0
UNFAIR_MAX = 5.0


def test_a_steady_hour_writes_nothing() -> None:
    async def story() -> None:
        async with fleet(COUNT) as one:
            await one.world.quiet()
            effects, revision = len(one.world.effects), one.world.etcd.revision
            await asyncio.sleep(HOUR_S)
            assert one.world.effects[effects:] == []
            assert one.world.etcd.revision == revision

    run(story())


def test_when_a_controller_dies_everything_is_owned_again_within_the_ttl_and_two_seconds() -> None:
    async def story() -> None:
        async with fleet(COUNT) as one:
            victim = one.world.owner(one.names[0])
            lost = [name for name in one.names if one.world.owner(name) == victim]
            assert len(lost) > COUNT / 6
            one.world.kill(victim)
            await asyncio.sleep(0.01)
            took_s = await one.times_s(one.owned, lost, 60)
            assert took_s[-1] <= TTL_S + 2

    run(story())


def edited(one: Fleet, name: str) -> None:
    path = paths.spec(Key("database", name))
    record = one.world.etcd.get(path)
    assert record is not None
    one.world.etcd.put(
        path, record.value.replace(b'version: "17"\n', b'version: "17"\n    parameters: {work_mem: 8MB}\n')
    )


@pytest.mark.parametrize("trouble", ["none", "a poisoned spec", "a host that does not answer"])
def test_when_all_are_edited_at_once_nobody_waits_much_longer_than_others(trouble: str) -> None:
    async def story() -> None:
        async with fleet(COUNT) as one:
            poisoned, deaf = one.names[7], one.names[8]
            names = [name for name in one.names if name not in (poisoned, deaf)]
            if trouble == "a host that does not answer":
                one.deaf.add(one.status(deaf).nodes[0].instances[0].host)
            for name in one.names:
                edited(one, name)
            if trouble == "a poisoned spec":
                one.world.etcd.put(paths.spec(Key("database", poisoned)), b"\x00: [")
            took_s = await one.times_s(one.reported, names, 120)
            assert unfairness(took_s) <= UNFAIR_MAX, took_s

    run(story())
