"""A task that Swarm's scheduler has put off and does not come back to, though its host is ready."""

from __future__ import annotations

from dataclasses import replace

from reconcilers.resources.service import PUT_OFF
from tests.sim.loop import run
from tests.sim.scenes import FIRST, up
from tests.sim.world import World, cluster


def forget(world: World, name: str) -> str:
    """As after a change of the leading manager: the container is gone, and the new task has no host. Its ID."""
    service = next(one for one in world.swarm.services.values() if one.payload["Name"] == name)
    old = service.tasks[0]
    world.swarm.engines[old.node_id].remove_task(old.id)
    ended = replace(old, state="shutdown", desired_state="shutdown")
    error = f"no suitable node (3 nodes {PUT_OFF})"
    new = replace(old, id=f"{old.id}x", node_id="", state="pending", error=error, since=world.clock.now())
    service.tasks = [new, ended]
    return new.id


def test_it_is_made_anew_by_itself_and_only_that_one() -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world)
            before = {one.id: one.tasks[0].id for one in world.swarm.services.values() if one.tasks}
            forgotten = forget(world, FIRST)
            await world.until(lambda: not world.ready(0), within_s=60, what="it is noticed")
            await world.until(lambda: world.ready(0), within_s=120, what="Ready again")
            after = {one.id: one.tasks[0] for one in world.swarm.services.values() if one.tasks}

            changed = [one for one, task in after.items() if task.id != before[one]]
            assert [after[one].state for one in changed] == ["running"]
            assert after[changed[0]].id != forgotten

    run(story())
