"""What `crashes.at_awaits` leaves out because it is another plan's run: here both are played, and are the same."""

from __future__ import annotations

from tests.sim.crashes import SOON_S
from tests.sim.forks import Forks
from tests.sim.scenes import spec, up
from tests.sim.world import Crossing, Fault, World, cluster

EVERY = 3
FEWEST = 5


def test_to_be_cancelled_before_a_call_that_is_answered_at_once_or_after_it_is_one_run() -> None:
    forks: Forks[object] = Forks(2)

    async def story() -> object:
        async with cluster() as world:
            await up(world)

            def fault(crossing: Crossing) -> Fault | None:
                first = crossing.number - crossing.at_once
                either = crossing.at_once or crossing.moment == "before"
                if either and first % EVERY == 0 and forks.branch(f"{crossing.moment} {first}"):
                    world.fault = lambda _: None
                    return Fault("cancelled", SOON_S)
                return None

            world.fault = fault
            revision = world.apply(spec(resources={"memory": "1GiB"}))
            await world.until(lambda: world.ready(revision))
            world.fault = lambda _: None
            await world.quiet()
            return everything(world)

    forks.play(story)
    ends = {one.label: (one.value, one.error) for one in forks.ended}
    both = [label.split()[1] for label in ends if label.startswith("after") and before(label) in ends]

    assert len(both) >= FEWEST
    for number in both:
        assert ends[f"after {number}"] == ends[f"before {number}"]
        assert not ends[f"after {number}"][1]


def before(label: str) -> str:
    return label.replace("after", "before")


def everything(world: World) -> object:
    records = [(one.path, one.value, one.mod_revision) for one in world.etcd.under("")]
    return world.clock.monotonic(), world.crossings, world.effects, world.swarm.journal, records
