"""A database is torn down while its owner is late, or the Swarm answers with old lists."""

from __future__ import annotations

import pytest

from crds.meta import Key
from reconcilers import paths
from tests.sim.loop import run
from tests.sim.scenes import left_of, spec, up
from tests.sim.world import HOSTS, Effect, World, cluster

DATABASE = Key("database", "orders")
FENCE = "orders-fence"
LATE_HOST, OTHERS = HOSTS[0], HOSTS[1:]
GC_S = 300.0


def late_at(world: World, what: str, *, alone: bool = False) -> list[str]:
    """Whose first such effect is under way and does not arrive. `alone`: once nothing but the fence is there."""
    late: list[str] = []

    def look(effect: Effect) -> None:
        due = effect.what == what and effect.client == world.owner() and not late
        if due and (not alone or world.services() == {FENCE}):
            late.append(effect.client)
            world.hold(effect.client)

    world.intruders.append(look)
    return late


def fence_id(world: World) -> str:
    return world.service(FENCE).id


def accepted(world: World) -> bool:
    return world.etcd.get(paths.accepted(DATABASE)) is not None


@pytest.mark.parametrize(
    "there", [True, False], ids=["its host is back at once", "after the next owner is done"]
)
def test_a_late_removal_of_the_fence_does_not_hit_that_of_the_adopted_database(there: bool) -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world, spec(OTHERS))
            late = late_at(world, "swarm:remove_service", alone=True)
            world.delete()
            await world.until(lambda: bool(late), what="the fence's removal is under way")
            assert late[0].startswith(LATE_HOST), "its host has no instance of the database"

            revision = world.apply(spec(OTHERS))
            await world.until(lambda: world.owner() not in ("", late[0]), what="another owner")
            if not there:
                await world.until(lambda: world.ready(revision), what="Ready")
                fence = fence_id(world)
            world.release(late[0])
            await world.until(lambda: world.ready(revision), what="Ready")
            await world.quiet()
            if not there:
                assert fence_id(world) == fence

    run(story())


def test_an_old_list_without_a_service_does_not_end_a_database_that_is_about_to_start() -> None:
    """S13: its start is under way; whoever takes over to delete it looks at a list from before it was made."""

    async def story() -> None:
        async with cluster() as world:
            await world.clock.sleep(120)  # by then every process has listed what there is: nothing
            world.outdated = {client for client in world.alive() if not client.startswith(LATE_HOST)}
            late = late_at(world, "swarm:update_service")
            world.apply(spec(OTHERS, deletion={"policy": "delete"}))
            await world.until(lambda: bool(late), what="the start is under way")
            assert late[0].startswith(LATE_HOST), "its host has no instance of the database"
            world.delete()
            await world.until(lambda: world.owner() not in ("", late[0]), what="another owner")
            await world.clock.sleep(60)
            assert accepted(world)

            world.outdated.clear()
            world.release(late[0])
            await world.until(lambda: not left_of(world), within_s=GC_S, what="nothing is left")

    run(story())


def test_an_hour_after_a_database_was_retained_costs_no_write_and_one_list_a_resync() -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world)
            world.delete()
            await world.until(lambda: not world.services(), what="its services are gone")
            await world.quiet()
            effects, calls = len(world.effects), world.calls.copy()
            await world.clock.sleep(3600)

            assert world.services() == set()
            assert accepted(world)
            assert world.effects[effects:] == []
            assert world.calls["etcd:commit"] == calls["etcd:commit"]
            assert world.calls["swarm:view"] - calls["swarm:view"] <= 3 * 61

    run(story())
