"""A process that is stopped and goes on: nothing of it ran meanwhile, and it takes nobody by surprise."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Sequence
from typing import Any

import pytest

from reconcilers.ports import Fence, Write
from tests.sim.crashes import TTL_S
from tests.sim.loop import PROCESS, VirtualLoop, run
from tests.sim.scenes import spec, up
from tests.sim.world import HOSTS, Effect, cluster


def test_nothing_of_a_stopped_process_runs_and_then_it_finds_all_that_it_missed() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        told: list[tuple[str, float]] = []

        async def tell(name: str) -> None:
            for _ in range(3):
                await asyncio.sleep(1.0)
                told.append((name, loop.time()))

        contexts = {name: contextvars.Context() for name in ("one", "another")}
        for name, context in contexts.items():
            context.run(PROCESS.set, name)
        tasks = [loop.create_task(tell(name), context=context) for name, context in contexts.items()]
        await asyncio.sleep(1.5)
        loop.stop_process("one")
        await asyncio.sleep(10.0)
        assert [at for name, at in told if name == "one"] == [1.0]
        assert [at for name, at in told if name == "another"] == [1.0, 2.0, 3.0]
        loop.continue_process("one")
        await asyncio.gather(*tasks)
        assert [at for name, at in told if name == "one"] == [1.0, 11.5, 12.5]

    run(story())


@pytest.mark.parametrize("moment", ["swarm:update_service", "etcd:commit desired/", "etcd:commit status/"])
@pytest.mark.parametrize("seconds", [TTL_S + 1.0, 3 * TTL_S])
def test_an_owner_that_was_stopped_does_nothing_more_under_its_old_epoch(moment: str, seconds: float) -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world, spec(HOSTS[1:]))
            stopped: list[str] = []
            late: list[Effect] = []

            def look(effect: Effect) -> None:
                if not stopped and effect.what.startswith(moment) and effect.client == world.owner():
                    stopped.append(effect.client)
                    world.stop(effect.client)
                    world.later(seconds, lambda: world.resume(effect.client))

            def carried_out() -> None:
                if PROCESS.get() in stopped and world.owner() not in ("", *stopped):
                    late.append(world.effects[-1])

            def committed(client: str, writes: Sequence[Write], fences: Sequence[Fence]) -> None:
                if fences:  # what agents say of their own host needs none
                    carried_out()
                etcd(client, writes, fences)

            def changed(before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
                carried_out()
                swarm(before, after)

            etcd, world.etcd.judge = world.etcd.judge, committed
            swarm, world.swarm.judge = world.swarm.judge, changed
            world.intruders.append(look)
            revision = world.apply(spec(HOSTS[1:], resources={"memory": "1GiB"}))
            await world.until(lambda: bool(stopped), what="an effect in the middle of which it is stopped")
            await world.until(lambda: world.owner() not in ("", *stopped), what="another owner")
            await world.until(lambda: world.ready(revision), within_s=300)
            await world.clock.sleep(3 * TTL_S)
            assert late == []

    run(story())
