"""
A process dies, loses an answer or stands still at each of its effects; another goes on, or the same one comes back.

What comes out must be what comes out without a fault, with nothing made twice. Here a few scenarios are taken at every
effect, and all others at each seventh; that they are stopped, or get no answer, more rarely. `make crash-all` takes
everything at every effect, and other calls as well.
"""

from __future__ import annotations

import pytest

from tests.sim.crashes import Scenario, at_effects, each, explore, standstills, together
from tests.sim.loop import run
from tests.sim.scenarios import SCENARIOS
from tests.sim.scenes import FIRST, left_of, memory_of, spec, up
from tests.sim.world import HOSTS, Effect, World, cluster

WHOLE = ("create three", "change memory", "delete three for good")
EVERY, EVERY_STANDSTILL = 7, 29


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_whatever_happens_at_whichever_effect_the_end_is_the_same(scenario: Scenario) -> None:
    every = 1 if scenario.name in WHOLE else EVERY
    first = len(scenario.name)
    plans = together(each(every, first, at_effects), each(EVERY_STANDSTILL, first, standstills))
    verdict = explore(scenario, plans)

    assert verdict.runs >= 6 * (verdict.effects // every)
    assert not verdict.failed, f"{len(verdict.failed)} of {verdict.runs}:\n" + "\n".join(
        f"{label}:\n{wrong}" for label, wrong in list(verdict.failed.items())[:5]
    )


# --- an owner that is not dead but late -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["swarm:update_service", "etcd:commit desired/", "etcd:commit status/"])
@pytest.mark.parametrize("reverted", [False, True], ids=["the edit stands", "the edit was taken back"])
def test_a_late_effect_of_an_earlier_owner_changes_nothing(kind: str, reverted: bool) -> None:
    """Rules F1 to F4: what was sent under an older epoch may arrive at any time, and is refused."""

    async def story() -> None:
        async with cluster() as world:
            # The owner has no instance of it on its own host: that its agent stands still, too, hides nothing.
            await up(world, spec(HOSTS[1:]))
            assert world.owner() == "host-1#1"
            late: list[str] = []

            def hold(effect: Effect) -> None:
                if effect.what.startswith(kind) and not late and effect.client == world.owner():
                    late.append(effect.client)
                    world.hold(effect.client)

            world.intruders.append(hold)
            revision = world.apply(spec(HOSTS[1:], resources={"memory": "1GiB"}))
            await world.until(lambda: bool(late), what="an effect to hold back")
            if reverted:
                revision = world.apply(spec(HOSTS[1:]))
            await world.until(lambda: world.owner() not in ("", *late))
            await world.until(lambda: world.ready(revision) and settled(world), within_s=300)
            await world.clock.sleep(20)
            before = state_of(world)
            world.release(late[0])
            await world.clock.sleep(1.0)

            assert state_of(world) == before
            await world.quiet()
            limits = {memory_of(s) for s in world.swarm.services.values() if len(s.tasks)}
            assert limits == {(512 if reverted else 1024) << 20}

    def settled(world: World) -> bool:
        status = world.status()
        return status is not None and status.owner == world.owner().partition("#")[0]

    def state_of(world: World) -> object:
        paths = ("desired/", "status/", "accepted/", "patroni/orders-n1/config")
        services = {s.id: s.version for s in world.swarm.services.values()}
        return services, [r for path in paths for r in world.etcd.under(path)]

    run(story())


def test_a_late_record_of_an_earlier_owner_leaves_nothing_behind_of_a_deleted_database() -> None:
    """Rule F1 alone: an account's record expects no revision, only the fence refuses it."""

    async def story() -> None:
        async with cluster() as world:
            late: list[str] = []

            def hold(effect: Effect) -> None:
                if effect.what.startswith("etcd:commit accounts/") and not late:
                    late.append(effect.client)
                    world.hold(effect.client)

            world.intruders.append(hold)
            revision = world.apply(spec(HOSTS[1:], deletion={"policy": "delete"}))
            await world.until(lambda: bool(late))
            assert late == ["host-1#1"], "its host has no instance of the database"
            await world.until(lambda: world.ready(revision))
            world.delete()
            await world.until(lambda: not left_of(world), within_s=300)
            world.release(late[0])
            await world.quiet()

            # What Swarm made late has no fence: unused secrets may be left, which is why records alone are judged.
            assert [one for one in left_of(world) if "/" in one] == []

    run(story())


def test_a_dead_hosts_databases_find_another_owner_and_its_instances_come_back_with_it() -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world)
            world.kill_host("host-1")
            await world.until(lambda: world.phase() == "Degraded", within_s=60)
            status = world.status()
            assert status is not None
            assert status.nodes[0].primary != FIRST
            world.revive_host("host-1")
            await world.until(lambda: world.phase() == "Ready", within_s=120)
            await world.quiet()
            assert len(world.patroni.bootstraps) == 1

    run(story())
