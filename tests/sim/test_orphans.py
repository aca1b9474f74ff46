"""
What arrives after its database was deleted for good is collected; what only looks like that is not touched.

The bound is reliability.md's L4: one period of 300 s.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controlplane.orchestrators.payload import to_payload
from crds.meta import Key
from reconcilers import paths
from reconcilers.ports import FileRef, NetworkAttachment, NetworkSpec, ServiceSpec
from reconcilers.resources import naming
from tests.sim.loop import run
from tests.sim.oracles import FOREIGN
from tests.sim.process import CLUSTER
from tests.sim.scenes import FIRST, SECOND, left_of, spec, up
from tests.sim.world import HOSTS, Crossing, Effect, Fault, World, cluster

GC_S = 300.0
LATE_HOST = "host-1"
DELETED = {"policy": "delete"}
OWNER = paths.owner(Key("database", "orders"))
LABELS = {naming.CLUSTER: CLUSTER, naming.DATABASE: "orders"}
CREATES = ("swarm:create_network", "swarm:create_secret", "swarm:create_config", "swarm:create_service")
"""Of services the fence is the first; one of an instance names secrets, and is refused once they are gone."""


class Late:
    """Holds back a process from its first such effect on; what it had sent arrives with `release`."""

    def __init__(self, world: World, what: str) -> None:
        self.world, self.client, self._what = world, "", what
        world.intruders.append(self._look)

    def _look(self, effect: Effect) -> None:
        if not self.client and effect.what == self._what and effect.client == self.world.owner():
            self.client = effect.client
            self.world.hold(effect.client)

    async def held(self) -> None:
        await self.world.until(lambda: bool(self.client), within_s=GC_S, what=f"{self._what} to hold back")

    async def release(self) -> None:
        self.world.release(self.client)
        await self.world.clock.sleep(1.0)


async def shop_stands(world: World) -> dict[str, str]:
    """Another database, and all that must stay of it."""
    revision = world.apply(spec(name="shop"), "shop")
    await world.until(lambda: world.ready(revision, "shop"))
    return of(world, "shop")


def of(world: World, name: str) -> dict[str, str]:
    """Every object of a database, by ID."""
    swarm = world.swarm
    found = {identity: one.payload["Name"] for identity, one in swarm.services.items()}
    for objects in (swarm.networks, swarm.secrets, swarm.configs):
        found |= {identity: one.name for identity, one in objects.items()}
    for engine in swarm.engines.values():
        found |= {f"{engine.hostname} {volume}": volume for volume in engine.volumes}
        found |= {one.view.id: one.view.name for one in engine.containers.values()}
    return {i: one for i, one in found.items() if one.startswith(f"{name}-") and not one.startswith(FOREIGN)}


async def deleted_with(world: World, late: Late) -> None:
    """Made by another owner than the one who is late, deleted for good, and then the late one's create arrives."""
    revision = world.apply(spec(HOSTS[1:], deletion=DELETED))
    await late.held()
    assert late.client.startswith(LATE_HOST), "its host has no instance of the database"
    await world.until(lambda: world.ready(revision))
    world.delete()
    await world.until(lambda: not left_of(world), within_s=GC_S)
    await world.until(lambda: world.etcd.get(OWNER) is None, what="the claim is released")
    await late.release()


@pytest.mark.parametrize("collector", ["the late one itself", "another"])
@pytest.mark.parametrize("create", CREATES)
def test_whatever_arrives_late_is_gone_within_a_period(create: str, collector: str) -> None:
    async def story() -> None:
        async with cluster() as world:
            shop = await shop_stands(world)
            late = Late(world, create)
            foreign = world.swarm.create_blob("secret", "foreign", {naming.DATABASE: "orders"}, "x")
            others = world.swarm.create_blob("config", "others", {**LABELS, naming.CLUSTER: "other"}, "x")
            await deleted_with(world, late)
            arrived = of(world, "orders")
            assert arrived, "it did arrive"
            if collector == "another":
                world.kill(late.client)
            await world.until(lambda: not of(world, "orders"), within_s=GC_S, what=f"{arrived} are collected")
            await world.until(lambda: world.etcd.get(OWNER) is None, what="the claim is released")

            assert foreign in world.swarm.secrets
            assert others in world.swarm.configs
            assert of(world, "shop") == shop

    run(story())


def test_an_account_goes_with_its_database_though_its_maker_died_before_it_could_say_that_it_is_made() -> (
    None
):
    async def story() -> None:
        async with cluster() as world:

            def die(crossing: Crossing) -> Fault | None:
                due = crossing.what.startswith("etcd:ensure") and crossing.moment == "after"
                if not due or world.struck:
                    return None
                world.delete()
                return Fault("dies", 1.0)

            world.fault = die
            world.apply(spec(deletion=DELETED))
            await world.until(lambda: bool(world.struck), what="an account is made")
            await world.until(lambda: not left_of(world), within_s=GC_S, what="nothing is left")

    run(story())


def test_a_service_that_somebody_scales_up_while_it_is_removed_goes_all_the_same() -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world, spec(HOSTS[:1], deletion=DELETED))
            scaled: list[str] = []

            def scale(_: Effect) -> None:
                for one in list(world.swarm.services.values()):
                    labels, name = one.payload["Labels"], one.payload["Name"]
                    if naming.TOMBSTONE in labels and name == FIRST and not scaled:
                        scaled.append(name)
                        world.swarm.edit(
                            one.id, lambda payload: payload["Mode"]["Replicated"].update(Replicas=1)
                        )

            world.intruders.append(scale)
            world.delete()
            await world.until(lambda: not left_of(world), within_s=GC_S, what="nothing is left")
            assert scaled == [FIRST]

    run(story())


def half_made(world: World) -> None:
    """What there is of a database shortly before it is started: it names all that is beside it."""
    network = world.swarm.create_network(NetworkSpec("orders-net", LABELS, "10.121.9.0/26"))
    secret = world.swarm.create_blob("secret", f"{SECOND}-patroni-0123456789", LABELS, "x")
    labels = {**LABELS, naming.KIND: "instance", naming.INSTANCE: SECOND, naming.EPOCH: "1"}
    service = ServiceSpec(
        name=SECOND,
        labels=labels,
        container_labels=labels,
        image="postgres",
        networks=(NetworkAttachment(network),),
        secrets=(FileRef(secret, f"{SECOND}-patroni-0123456789", "/x"),),
    )
    world.swarm.create_service(to_payload(service))


def test_a_service_that_never_ran_goes_with_all_that_it_names() -> None:
    async def story() -> None:
        async with cluster() as world:
            await world.quiet()
            half_made(world)
            shown: list[Key] = []
            world.intruders.append(lambda one: shown.extend(world.running[one.client].process.watched()))
            await world.until(lambda: not of(world, "orders"), within_s=GC_S)

            assert shown == [], "nobody wants figures of it"
            done = [effect.what for effect in world.effects]
            assert done == [f"swarm:{one}" for one in ("update_service", "remove_service")] + sorted(
                f"swarm:{one}" for one in ("remove_network", "remove_secret")
            )

    run(story())


def test_no_event_is_needed_to_find_it() -> None:
    async def story() -> None:
        async with cluster() as world:
            await world.quiet()
            for one in world.running.values():
                one.process.events.cut()  # type: ignore[attr-defined]
            half_made(world)
            await world.until(lambda: not of(world, "orders"), within_s=GC_S)

    run(story())


def test_an_hour_after_it_is_collected_costs_no_write_and_one_list_a_resync() -> None:
    async def story() -> None:
        async with cluster() as world:
            half_made(world)
            await world.until(lambda: not of(world, "orders"), within_s=GC_S)
            await world.until(lambda: world.etcd.get(OWNER) is None, what="the claim is released")
            claims = world.etcd.revision
            effects, calls = len(world.effects), world.calls.copy()
            await world.clock.sleep(3600)

            assert world.effects[effects:] == []
            assert world.calls["etcd:commit"] == calls["etcd:commit"]
            assert world.etcd.revision == claims
            assert world.calls["swarm:view"] - calls["swarm:view"] <= 3 * 61

    run(story())


# --- what only looks like it ----------------------------------------------------------------------------


@pytest.mark.parametrize("scaled_down", [False, True], ids=["it runs", "somebody scaled it down"])
def test_of_a_database_whose_records_are_lost_nothing_is_touched(scaled_down: bool) -> None:
    """S15: an etcd that was emptied. What no service names may be the last copy of something, too."""

    async def story() -> None:
        async with cluster() as world:
            await up(world)
            world.etcd.wipe()
            await world.clock.sleep(30)  # whoever owned it has noticed
            services = [one for one in world.swarm.services.values() if one.payload["Name"] != "orders-fence"]
            world.swarm.create_blob("secret", "orders-unused", LABELS, "x")
            if scaled_down:
                for service in services:
                    world.swarm.edit(
                        service.id, lambda payload: payload["Mode"]["Replicated"].update(Replicas=0)
                    )
                await world.clock.sleep(1)  # Swarm forgets their tasks
            before, tasks = of(world, "orders"), [task.id for service in services for task in service.tasks]
            assert len([name for name in before.values() if ".1." in name]) == (0 if scaled_down else 3)
            effects = len(world.effects)
            await world.clock.sleep(1800)

            assert of(world, "orders") == before
            assert [task.id for service in services for task in service.tasks] == tasks
            assert [e.what for e in world.effects[effects:] if e.what.startswith("swarm:")] == []
            assert world.etcd.get(OWNER) is None
            for one in world.running.values():
                told = [line for line in one.process.lines.lines if "holds no record" in line[1]]
                assert [(level, fields["databases"]) for level, _, fields in told] == [
                    ("warning", ["orders"])
                ]

    run(story())


# --- a new database of the same name --------------------------------------------------------------------


def a_fence(world: World) -> None:
    labels = {**LABELS, naming.KIND: "fence", naming.EPOCH: "1"}
    world.swarm.create_service(to_payload(ServiceSpec(name="orders-fence", labels=labels, image="none")))


REMOVALS = {
    "network": (half_made, "swarm:remove_network"),
    "secret": (half_made, "swarm:remove_secret"),
    "tombstone": (half_made, "swarm:update_service"),
    "service": (half_made, "swarm:remove_service"),
    "fence": (a_fence, "swarm:remove_service"),
}
MOMENTS = {
    "as it makes secrets": "swarm:create_secret",
    "as it makes services": "swarm:create_service",
    "when it is ready": "",
}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
@pytest.mark.parametrize(("made", "removal"), REMOVALS.values(), ids=REMOVALS)
def test_a_removal_under_way_does_not_keep_a_new_database_of_that_name_from_getting_ready(
    made: Callable[[World], None], removal: str, moment: str
) -> None:
    async def story() -> None:
        async with cluster() as world:
            await world.quiet()
            made(world)
            late = Late(world, removal)
            await late.held()
            first: list[str] = []

            def look(effect: Effect) -> None:
                theirs = effect.what == moment and effect.client != late.client
                if theirs and not first and "orders-fence" in world.services():
                    first.append(effect.client)
                    world.release(late.client)

            world.intruders.append(look)
            hosts = tuple(host for host in HOSTS if not late.client.startswith(host))
            revision = world.apply(spec(hosts))
            await world.until(lambda: world.ready(revision), within_s=GC_S)
            assert bool(first) == bool(moment)
            if not first:
                await late.release()
            await world.quiet(70)

            assert world.phase() == "Ready"
            names = sorted(of(world, "orders").values())
            assert len([name for name in names if name.endswith("-net")]) == 1
            assert {s.payload["Name"] for s in world.swarm.services.values()} == {
                "orders-fence",
                *(naming.instance("orders", "n1", host) for host in hosts),
            }
            assert all(naming.TOMBSTONE not in s.payload["Labels"] for s in world.swarm.services.values())
            assert len(world.patroni.bootstraps) == 1

    run(story())
