"""What people read of a pass that fails again and again."""

from __future__ import annotations

import json

from reconcilers import paths
from tests.sim.loop import run
from tests.sim.scenes import FIRST, up
from tests.sim.world import Crossing, Fault, World, cluster

AWAY_S = 5.0


def warnings(world: World) -> list[str]:
    events = [json.loads(record.value) for record in world.etcd.under(paths.EVENTS)]
    return [str(event["message"]) for event in events if event["type"] == "Warning"]


def test_one_failure_is_one_event_however_often_it_is_tried() -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world)
            until_s = world.clock.monotonic() + AWAY_S
            tries: list[Crossing] = []

            def fault(crossing: Crossing) -> Fault | None:
                if world.clock.monotonic() >= until_s or "create_service" not in crossing.what:
                    return None
                tries.append(crossing)
                return Fault("fails", 0.0)

            world.fault = fault
            world.swarm.drop(next(i for i, s in world.swarm.services.items() if s.payload["Name"] == FIRST))
            await world.until(lambda: not world.ready(0), within_s=60, what="it is noticed")
            await world.until(lambda: world.ready(0), within_s=120, what="Ready again")

            assert len(tries) > 3
            assert len(warnings(world)) == 1, warnings(world)

    run(story())
