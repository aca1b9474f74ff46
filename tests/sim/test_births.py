"""No crash while a node gets its first data, or an instance its copy of it, needs a person."""

from __future__ import annotations

import asyncio

from reconcilers import paths
from reconcilers.resources import naming
from tests.sim.loop import run
from tests.sim.scenes import FIRST, SCOPE, SECOND, THIRD, spec, up
from tests.sim.world import HOSTS, World, cluster


def doing(world: World, instance: str, what: str) -> bool:
    return any(one.name == instance and one.busy == what for one in world.patroni.members.values())


async def begun(world: World, instance: str, what: str) -> int:
    """A new database, as far as the instance is in the middle of it. Returns the revision of the spec."""
    revision = world.apply(spec())
    await world.until(lambda: doing(world, instance, what), what=f"{instance}: {what}")
    return revision


def kill_container(world: World, host: str) -> None:
    """Every process of the instance on that host by SIGKILL."""
    engine = world.swarm.engine(host)
    [container] = [
        one.view
        for one in engine.containers.values()
        if one.view.state == "running" and one.view.labels.get(naming.INSTANCE) == world.instance(host)
    ]
    engine.kill(container.id)


def initialize(world: World) -> str | None:
    record = world.etcd.get(paths.patroni(SCOPE, "initialize"))
    return None if record is None else record.value.decode()


def primary(world: World) -> str | None:
    status = world.status()
    return status.nodes[0].primary if status is not None and status.nodes else None


async def whole(world: World, revision: int, leader: str) -> None:
    await world.until(lambda: world.ready(revision), what="Ready")
    assert primary(world) == leader
    assert len(world.patroni.bootstraps) == 1
    assert (world.patroni.torn, world.patroni.marked) == (set(), set())
    assert world.bugs() == []


def test_a_container_killed_in_the_middle_of_initdb_is_followed_by_one_that_succeeds() -> None:
    async def story() -> None:
        async with cluster() as world:
            revision = await begun(world, FIRST, "initdb")
            kill_container(world, "host-1")
            assert initialize(world) == ""
            assert world.patroni.torn

            await whole(world, revision, FIRST)

    run(story())


def test_a_container_killed_in_the_middle_of_a_copy_is_followed_by_one_that_succeeds() -> None:
    async def story() -> None:
        async with cluster() as world:
            revision = await begun(world, SECOND, "copy")
            kill_container(world, "host-2")
            assert world.patroni.torn

            await whole(world, revision, FIRST)

    run(story())


def test_a_host_that_loses_its_power_in_the_middle_of_initdb_is_not_waited_for() -> None:
    async def story() -> None:
        async with cluster() as world:
            await begun(world, FIRST, "initdb")
            world.kill_host("host-1")
            await world.until(lambda: primary(world) == SECOND, what="a primary on the next host")

            world.revive_host("host-1")
            await whole(world, 0, SECOND)

    run(story())


def test_a_host_whose_power_is_back_at_once_goes_on() -> None:
    async def story() -> None:
        async with cluster() as world:
            await begun(world, FIRST, "initdb")
            world.patroni.down.add("host-1")  # shorter than the Swarm needs to see it
            await asyncio.sleep(2.0)
            assert initialize(world) == ""
            world.patroni.down.discard("host-1")

            await world.until(lambda: world.phase() == "Ready", what="Ready")
            assert primary(world) == FIRST
            assert world.bugs() == []

    run(story())


def test_who_finishes_after_another_has_initialised_changes_nothing_and_ends() -> None:
    """Its host was cut off in the middle of initdb, and the owner had let another begin."""

    async def story() -> None:
        async with cluster() as world:
            revision = await begun(world, FIRST, "initdb")
            late = next(one for one in world.patroni.members.values() if one.name == FIRST)
            world.etcd.put(paths.patroni(SCOPE, "initialize"), b"7299999999999999999")
            await world.until(lambda: late not in world.patroni.members.values(), what="it has ended itself")
            assert initialize(world) == "7299999999999999999"
            assert world.patroni.bootstraps == []

            world.etcd.remove(paths.patroni(SCOPE, "initialize"))
            await whole(world, revision, FIRST)

    run(story())


def test_the_status_says_who_makes_the_first_data() -> None:
    async def story() -> None:
        async with cluster() as world:
            revision = await begun(world, FIRST, "initdb")
            member = next(one for one in world.patroni.members.values() if one.name == FIRST)
            member.stalled = True

            await world.until(lambda: world.condition("Synced") == ("False", "Initialising"), within_s=30)
            member.stalled = False
            await whole(world, revision, FIRST)

    run(story())


def test_a_node_with_data_is_not_initialised_again_by_who_was_faster_than_the_owner() -> None:
    """S10: the record is lost, an empty volume begins; it may not finish."""

    async def story() -> None:
        async with cluster() as world:
            await up(world)
            sysid = initialize(world)
            world.etcd.put(paths.patroni(SCOPE, "initialize"), b"")

            await world.until(lambda: initialize(world) == sysid, what="the record is put back")
            assert len(world.patroni.bootstraps) == 1

    run(story())


def test_every_instance_killed_at_once_while_they_come_up() -> None:
    async def story() -> None:
        async with cluster() as world:
            for instance, what in ((FIRST, "initdb"), (THIRD, "copy")):
                revision = await begun(world, instance, what)
                for host in HOSTS:
                    kill_container(world, host)
            await whole(world, revision, primary(world) or FIRST)

    run(story())
