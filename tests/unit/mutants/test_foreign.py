"""What belongs to another pgswarm on the same Swarm (S12)."""

from __future__ import annotations

from reconcilers.ports import NetworkSpec
from reconcilers.resources import naming
from tests.sim.loop import run
from tests.sim.scenes import left_of, spec, up
from tests.sim.world import cluster


def test_a_network_of_another_cluster_outlives_our_database_of_the_same_name() -> None:
    async def story() -> None:
        async with cluster() as world:
            labels = {naming.CLUSTER: "other", naming.DATABASE: "orders", naming.KIND: "network"}
            theirs = world.swarm.create_network(NetworkSpec("theirs", labels, "10.121.0.0/26"))
            await up(world, spec(deletion={"policy": "delete"}))
            assert len(world.swarm.networks) >= 2
            world.delete()
            await world.until(lambda: not left_of(world), within_s=300, what="ours is gone")

            assert theirs in world.swarm.networks

    run(story())
