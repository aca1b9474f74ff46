"""Ready is not said on the word of an old list, nor while an update of our own may still arrive."""

from __future__ import annotations

import copy

import pytest

from reconcilers.errors import Conflict
from tests.sim.loop import run
from tests.sim.scenes import FIRST, memory_of, spec, up
from tests.sim.world import HOSTS, Crossing, Effect, Fault, cluster

ONE = HOSTS[:1]
BEFORE = spec(ONE)
EDITED = spec(ONE, resources={"memory": "4GiB"})


def test_an_update_whose_answer_was_given_up_arrives_too_late_to_undo_what_was_reverted() -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world, BEFORE)
            service = world.service(FIRST)
            late, version = copy.deepcopy(service.payload), service.version
            late["TaskTemplate"]["Resources"]["Limits"]["MemoryBytes"] *= 4
            reverted: list[int] = []

            def lose(crossing: Crossing) -> Fault | None:
                due = (crossing.what, crossing.moment) == ("swarm:update_service", "before")
                if not due or reverted:
                    return None
                reverted.append(world.apply(BEFORE))
                return Fault("fails", 0.0)

            world.fault = lose
            world.apply(EDITED)
            await world.until(lambda: bool(reverted) and world.ready(reverted[0]), what="Ready")
            with pytest.raises(Conflict):
                world.swarm.update_service(service.id, version, late)
            updates = sum(one.what == "swarm:update_service" for one in world.effects)
            await world.quiet(70)
            assert sum(one.what == "swarm:update_service" for one in world.effects) == updates

    run(story())


def test_an_old_list_after_our_own_update_does_not_count_as_what_was_reverted() -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world, BEFORE)
            memory = memory_of(world.service(FIRST))
            reverted: list[int] = []

            def revert(effect: Effect) -> None:
                if effect.what == "swarm:update_service" and not reverted:
                    world.outdated.add(effect.client)
                    reverted.append(world.apply(BEFORE))

            world.intruders.append(revert)
            world.apply(EDITED)
            await world.until(lambda: bool(reverted), what="the update is under way")
            await world.clock.sleep(60)
            assert memory_of(world.service(FIRST)) != memory
            assert not world.ready(reverted[0])

            world.outdated.clear()
            await world.until(lambda: world.ready(reverted[0]), what="Ready")
            assert memory_of(world.service(FIRST)) == memory

    run(story())


def test_once_it_is_seen_an_update_costs_nothing_more() -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world, BEFORE)
            await up(world, EDITED)
            effects, views = len(world.effects), world.calls["swarm:view"]
            await world.clock.sleep(600)

            assert world.effects[effects:] == []
            assert world.calls["swarm:view"] - views <= 3 * 11

    run(story())
