"""A controller that cannot see the Swarm any more does not keep others from working."""

from __future__ import annotations

from tests.sim.loop import run
from tests.sim.scenes import up
from tests.sim.world import HOSTS, Crossing, Fault, cluster

HANGS_S = 20.0


def test_the_owners_docker_falls_silent_and_another_repairs_what_it_cannot_see() -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world)
            silent = world.owner().partition("#")[0]

            def hang(crossing: Crossing) -> Fault | None:
                system, host = crossing.what.partition(":")[0], crossing.client.partition("#")[0]
                deaf = host == silent and system in ("engine", "swarm") and crossing.moment == "before"
                return Fault("hangs", HANGS_S) if deaf else None

            world.fault = hang
            other = world.instance(next(host for host in HOSTS if host != silent))
            lost = world.service(other).id
            world.swarm.drop(lost)
            await world.until(
                lambda: other in world.services() and world.service(other).id != lost,
                within_s=90,
                what="repaired",
            )
            assert world.owner().partition("#")[0] != silent

            world.fault = lambda crossing: None
            await world.until(lambda: world.owner().partition("#")[0] == silent, within_s=90, what="back")
            await world.until(lambda: world.phase() == "Ready", within_s=120, what="Ready")

    run(story())
