"""etcd is restored from a snapshot: without the revision bump everything stands still, with it all goes on."""

from __future__ import annotations

from crds.halted import Halted
from crds.meta import Key
from reconcilers import paths
from reconcilers.ports import Record
from tests.sim.loop import run
from tests.sim.scenes import memory_of, spec, up
from tests.sim.world import World, cluster

DATABASE = Key("database", "orders")
HALTED = paths.halted(DATABASE)
BUMP = 1_000_000_000
Snapshot = tuple[int, dict[str, Record]]


async def grown_since_a_snapshot(world: World) -> Snapshot:
    """A database whose owner changed after the snapshot, so that its services carry a newer epoch than is in there."""
    await up(world)
    snapshot = world.etcd.snapshot()
    owner = world.owner()
    world.kill(owner)
    world.later(30, lambda: world.start(owner.partition("#")[0]))
    await up(world, spec(resources={"memory": "4GiB"}))
    return snapshot


def swarm_effects(world: World, since: int) -> list[str]:
    return [one.what for one in world.effects[since:] if one.what.startswith("swarm:")]


def halted(world: World) -> Halted | None:
    record = world.etcd.get(HALTED)
    return None if record is None else Halted.model_validate_json(record.value)


def warnings(world: World) -> int:
    return sum(
        "only a person can mend" in event
        for one in world.running.values()
        for level, event, _ in one.process.lines.lines
        if level == "warning"
    )


def test_without_the_bump_nothing_is_touched_until_a_person_has_spoken() -> None:
    async def story() -> None:
        async with cluster() as world:
            snapshot = await grown_since_a_snapshot(world)
            memory = {one.id: memory_of(one) for one in world.swarm.services.values() if one.tasks}
            since = len(world.effects)
            world.etcd.restore(snapshot)
            await world.until(lambda: halted(world) is not None, what="it is written down")
            await world.until(lambda: world.condition("Synced") == ("False", "EtcdWentBack"))
            # As observed, once the agents have looked: Postgres' own fence is newer than what they have from etcd, too.
            await world.until(lambda: world.condition("Ready") == ("False", "InsidePending"))
            found = halted(world)
            assert found is not None
            assert found.epoch < found.newest

            world.apply(spec(resources={"memory": "2GiB"}))
            await world.clock.sleep(1800)
            assert swarm_effects(world, since) == []
            assert {one.id: memory_of(one) for one in world.swarm.services.values() if one.tasks} == memory
            assert 1 <= warnings(world) <= 3

            # Also not once the revisions have caught up, and another owner has an epoch that looks newer.
            while world.etcd.revision <= found.newest:
                world.etcd.put("specs/host/nobody", b"x")
            owner = world.owner()
            world.kill(owner)
            await world.clock.sleep(120)
            assert world.owner() not in ("", owner)
            assert swarm_effects(world, since) == []

            world.start(owner.partition("#")[0])
            world.etcd.remove(HALTED)  # pgswarm resume
            revision = world.apply(spec(resources={"memory": "2GiB"}))
            await world.until(lambda: world.ready(revision), what="Ready")
            assert halted(world) is None

    run(story())


def test_with_the_bump_it_goes_on_by_itself() -> None:
    async def story() -> None:
        async with cluster() as world:
            snapshot = await grown_since_a_snapshot(world)
            world.etcd.restore(snapshot, bump=BUMP)
            revision = world.apply(spec(resources={"memory": "2GiB"}))
            await world.until(lambda: world.ready(revision), within_s=300, what="Ready")
            await world.quiet()
            assert halted(world) is None
            assert warnings(world) == 0

    run(story())


def test_told_to_go_on_too_early_it_halts_again() -> None:
    async def story() -> None:
        async with cluster() as world:
            snapshot = await grown_since_a_snapshot(world)
            since = len(world.effects)
            world.etcd.restore(snapshot)
            await world.until(lambda: halted(world) is not None)
            world.etcd.remove(HALTED)
            await world.until(lambda: halted(world) is not None, what="it is written down again")
            await world.quiet()
            assert swarm_effects(world, since) == []

    run(story())
