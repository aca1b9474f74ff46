"""The whole of pgswarm in virtual time: what it makes, what it mends, who goes on when a process dies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from controlplane.orchestrators.events import DockerEvent
from crds.meta import Key
from reconcilers import paths
from reconcilers.resources import naming
from tests.sim.loop import run
from tests.sim.scenes import FIRST, SCOPE, SECOND, THIRD, left_of, memory_of, spec, up
from tests.sim.world import HOSTS, World, cluster


@pytest.mark.parametrize("hosts", [HOSTS[:1], HOSTS], ids=["one instance", "three instances"])
def test_a_new_database_becomes_ready_within_seconds(hosts: tuple[str, ...]) -> None:
    async def story() -> None:
        async with cluster() as world:
            revision = world.apply(spec(hosts, port=6432))
            took_s = await world.until(lambda: world.ready(revision))
            assert took_s < 15
            await world.quiet()

            status = world.status()
            assert status is not None
            assert [one.host for one in status.nodes[0].instances] == list(hosts)
            assert status.nodes[0].primary == FIRST
            assert {e.role for e in status.endpoints} == (
                {"primary", "replica"} if hosts[1:] else {"primary"}
            )
            assert status.pending == ()
            assert "app" in world.patroni.postgres(SCOPE).state.roles
            assert "orders" in world.patroni.postgres(SCOPE).state.databases
            assert len(world.patroni.bootstraps) == 1

    run(story())


# --- drift ----------------------------------------------------------------------------------------------


def _task(change: Callable[[dict[str, Any]], None]) -> Callable[[World], None]:
    return lambda world: world.swarm.edit(
        world.service(SECOND).id, lambda payload: change(payload["TaskTemplate"])
    )


def _scale(replicas: int, name: str = SECOND) -> Callable[[World], None]:
    def change(payload: dict[str, Any]) -> None:
        payload["Mode"]["Replicated"]["Replicas"] = replicas

    return lambda world: world.swarm.edit(world.service(name).id, change)


def _remove(name: str) -> Callable[[World], None]:
    return lambda world: world.swarm.drop(world.service(name).id)


def _label(payload: dict[str, Any]) -> None:
    del payload["Labels"][naming.NODE]


def _configuration(world: World) -> None:
    record = world.etcd.get(paths.patroni(SCOPE, "config"))
    assert record is not None
    value = json.loads(record.value)
    value["postgresql"]["parameters"]["work_mem"] = "1kB"
    value["ttl"] = 3600
    world.etcd.put(record.path, json.dumps(value).encode())


DRIFTS: dict[str, Callable[[World], None]] = {
    "a replica's service is removed": _remove(SECOND),
    "the primary's service is removed": _remove(FIRST),
    "the fence is removed": _remove("orders-fence"),
    "scaled to nothing": _scale(0),
    "the primary is scaled to nothing": _scale(0, FIRST),
    "scaled to two": _scale(2),
    "an environment variable is added": _task(lambda t: t["ContainerSpec"].update(Env=["PGDATA=/tmp"])),
    "another image": _task(lambda t: t["ContainerSpec"].update(Image="evil:1")),
    "another limit": _task(lambda t: t["Resources"]["Limits"].update(MemoryBytes=1 << 20)),
    "a field that pgswarm never sets": _task(lambda t: t["ContainerSpec"].update(Sysctls={"a": "b"})),
    "a label is taken off": lambda world: world.swarm.edit(world.service(SECOND).id, _label),
    "patroni's configuration is edited": _configuration,
    "patroni's configuration is removed": lambda world: _none(
        world.etcd.remove(paths.patroni(SCOPE, "config"))
    ),
    "all of patroni's records are removed": lambda world: _none(
        world.etcd.remove(f"patroni/{SCOPE}/", prefix=True)
    ),
    "a role is altered": lambda world: world.patroni.postgres(SCOPE).alter_role("app", "superuser", True),
    "a role is renamed away": lambda world: _none(world.patroni.postgres(SCOPE).state.roles.pop("app")),
    "ALTER SYSTEM": lambda world: world.patroni.postgres(SCOPE).alter_system("work_mem", "1GB", SECOND),
    "an etcd account is removed": lambda world: _none(world.etcd.accounts.pop(naming.etcd_user(SECOND))),
    "a desired record is removed": lambda world: _none(world.etcd.remove(paths.desired("host-2", SECOND))),
    "a desired record is spoilt": lambda world: _none(
        world.etcd.put(paths.desired("host-2", SECOND), b"nonsense")
    ),
    "the status is removed": lambda world: _none(world.etcd.remove(paths.status(Key("database", "orders")))),
    "an agent's word is removed": lambda world: _none(world.etcd.remove(paths.observed("host-2", SECOND))),
    "a host's record is removed": lambda world: _none(world.etcd.remove(paths.host("host-2"))),
}


def _none(_: object) -> None:
    return


@pytest.mark.parametrize("drift", DRIFTS.values(), ids=DRIFTS.keys())
def test_what_somebody_changes_by_hand_is_put_back(drift: Callable[[World], None]) -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world)
            before = world.end_state()
            role = replace(world.patroni.postgres(SCOPE).state.roles["app"])
            drift(world)
            await world.quiet(70)

            assert world.phase() == "Ready"
            assert world.end_state() == before
            assert world.patroni.postgres(SCOPE).state.roles["app"].flags == role.flags
            assert not any(world.patroni.postgres(SCOPE).auto_conf.values())
            assert len(world.patroni.bootstraps) == 1

    run(story())


def test_a_secret_and_a_network_that_nothing_uses_any_more_are_made_again() -> None:
    """Swarm lets nobody remove them while a service uses them; so the services go first, by hand."""

    async def story() -> None:
        async with cluster() as world:
            await up(world, spec(HOSTS[:1]))
            before = world.end_state()
            for name in (FIRST,):
                world.swarm.drop(world.service(name).id)
            for identity in [i for i, b in world.swarm.secrets.items() if naming.CLUSTER in b.labels]:
                world.swarm.remove_blob("secret", identity)
            for identity in [i for i, n in world.swarm.networks.items() if n.name == "orders-net"]:
                world.swarm.remove_network(identity)
            await world.quiet(70)

            assert world.phase() == "Ready"
            assert world.end_state() == before
            assert len(world.patroni.bootstraps) == 1

    run(story())


# --- edits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap_s", [0.0, 0.05, 0.3, 1.0, 4.0])
def test_of_three_edits_in_a_row_the_last_is_in_force(gap_s: float) -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world)
            for memory in ("768MiB", "1GiB", "640MiB"):
                revision = world.apply(spec(resources={"memory": memory}))
                await world.clock.sleep(gap_s)
            await world.until(lambda: world.ready(revision), within_s=300)
            await world.quiet()

            limits = {memory_of(world.service(name)) for name in (FIRST, SECOND, THIRD)}
            assert limits == {640 << 20}
            assert world.phase() == "Ready"

    run(story())


def test_a_rolling_change_never_stops_two_instances_and_moves_the_primary_once() -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world)
            most = 0

            def count(_: DockerEvent) -> None:
                nonlocal most
                ending = [
                    one
                    for one in world.swarm.services.values()
                    if any(task.state == "ready" for task in one.tasks)
                ]
                most = max(most, len(ending))

            for node in world.swarm.nodes:
                world.swarm.listen(node, count)
            revision = world.apply(spec(resources={"memory": "1GiB"}))
            await world.until(lambda: world.ready(revision), within_s=300)
            await world.quiet()

            assert most == 1
            assert len(world.patroni.moves) == 1
            assert world.phase() == "Ready"

    run(story())


def test_a_parameter_that_needs_a_restart_restarts_postgres_one_by_one() -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world)
            before = {m.container.id for m in world.patroni.members.values()}
            revision = world.apply(spec(postgres={"version": "17", "parameters": {"max_connections": "77"}}))
            await world.until(lambda: world.ready(revision), within_s=300)
            await world.quiet()

            assert {m.container.id for m in world.patroni.members.values()} == before
            assert {m.started_with["max_connections"] for m in world.patroni.members.values()} == {"77"}

    run(story())


def test_a_replica_is_added_and_the_primarys_host_is_taken_away() -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world, spec(("host-1", "host-2")))
            await up(world, spec(("host-2", "host-3")))

            status = world.status()
            assert status is not None
            assert status.nodes[0].primary in (SECOND, THIRD)
            assert {s.payload["Name"] for s in world.swarm.services.values()} == {
                SECOND,
                THIRD,
                "orders-fence",
            }
            assert len(world.patroni.moves) == 1

    run(story())


# --- deletion -------------------------------------------------------------------------------------------


def test_retained_data_is_adopted_by_the_same_name_and_deleted_for_good_when_asked() -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world, spec(port="auto"))
            first = world.status()
            assert first is not None
            world.delete()
            await world.until(lambda: world.phase() == "Retained")
            await world.quiet()
            assert world.swarm.services == {}
            state = world.end_state()
            assert (state["secrets"], state["networks"], len(state["volumes"])) == ([], [], 3)

            await up(world, spec(port="auto", deletion={"policy": "delete"}))
            again = world.status()
            assert again is not None
            assert again.incarnation == first.incarnation
            assert len(world.patroni.bootstraps) == 1
            assert "app" in world.patroni.postgres(SCOPE).state.roles

            world.delete()
            await world.until(lambda: not left_of(world), what="nothing is left")
            await world.quiet()
            assert left_of(world) == []

    run(story())


def test_a_database_deleted_and_written_again_at_once_is_a_new_one() -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world, spec(deletion={"policy": "delete"}))
            first = world.status()
            assert first is not None
            world.delete()
            await world.until(lambda: world.phase() == "Deleting")
            revision = world.apply(spec())
            await world.until(lambda: world.ready(revision), within_s=300)
            await world.quiet()

            again = world.status()
            assert again is not None
            assert again.incarnation != first.incarnation
            assert len(world.patroni.bootstraps) == 2
            assert len(world.end_state()["volumes"]) == 3

    run(story())


# --- quiet ----------------------------------------------------------------------------------------------


def test_an_hour_in_which_nothing_happens_costs_no_effect_and_no_write() -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world)
            effects, calls = len(world.effects), world.calls.copy()
            await world.clock.sleep(3600)
            spent = {name: count - calls[name] for name, count in world.calls.items() if count != calls[name]}

            assert world.effects[effects:] == []
            assert "etcd:commit" not in spent
            # One list per host and resync at most.
            assert spent.get("swarm:view", 0) <= 3 * 61
            assert world.phase() == "Ready"

    run(story())


# --- what goes wrong and stays wrong --------------------------------------------------------------------


def condition(world: World, type_: str) -> tuple[str, str]:
    """Status and reason."""
    status = world.status()
    found = status.condition(type_) if status is not None else None
    return ("", "") if found is None else (found.status.value, found.reason)


def test_a_host_that_is_gone_for_good_can_be_taken_out_of_the_spec() -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world)
            world.lose_host("host-1")
            await world.until(lambda: world.phase() == "Degraded", within_s=60)
            # Another edit that still names it is no mistake: the host was known when it was accepted.
            world.apply(spec(roles=[{"name": "app", "login": True}, {"name": "reader"}]))
            await world.until(lambda: "reader" in world.patroni.postgres(SCOPE).state.roles)
            revision = world.apply(spec(HOSTS[1:]))
            await world.until(lambda: world.ready(revision), within_s=120)
            await world.quiet(70)

            assert [r.path for r in world.etcd.under("desired/host-1/")] == []
            assert FIRST not in {s.payload["Name"] for s in world.swarm.services.values()}

    run(story())


def test_a_database_moves_to_another_host_in_one_edit() -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world, spec(("host-1",)))
            await up(world, spec(("host-3",)))

            status = world.status()
            assert status is not None
            assert status.nodes[0].primary == THIRD
            assert len(world.patroni.bootstraps) == 1
            assert len(world.patroni.moves) == 1

    run(story())


def test_an_accepted_record_that_cannot_be_read_stops_everything_and_says_so() -> None:
    """Taken for absent it would be written anew with another incarnation, and the data would be lost from sight."""

    async def story() -> None:
        async with cluster() as world:
            await up(world)
            before = world.end_state()
            path = paths.accepted(Key("database", "orders"))
            record = world.etcd.get(path)
            assert record is not None
            world.etcd.put(path, b'{"spec": "of another version"}')
            await world.until(lambda: condition(world, "Synced") == ("False", "AcceptedUnreadable"))
            world.apply(spec(resources={"memory": "1GiB"}))
            await world.clock.sleep(30)
            assert world.end_state() == before
            assert condition(world, "Ready") == ("Unknown", "AcceptedUnreadable")
            world.etcd.put(path, record.value)
            await world.until(lambda: world.phase() == "Ready", within_s=300)
            await world.quiet()
            assert memory_of(world.service(FIRST)) == 1 << 30

    run(story())


def test_a_secret_that_cannot_be_opened_is_told_of() -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world)
            path = paths.secret(Key("database", "orders"), "superuser")
            record = world.etcd.get(path)
            assert record is not None
            world.etcd.put(path, b"sealed with another key")
            took_s = await world.until(lambda: condition(world, "Synced") == ("False", "Refused"))
            assert took_s < 30
            world.etcd.put(path, record.value)
            await world.until(lambda: world.phase() == "Ready" and condition(world, "Synced")[0] == "True")

    run(story())


def test_a_drift_that_comes_back_at_once_is_not_fought_at_full_speed() -> None:
    """Or a single instance would be restarted several times a second for as long as it lasts."""

    async def story() -> None:
        async with cluster() as world:
            await up(world, spec(HOSTS[:1]))
            stubborn = world.service(FIRST).id

            async def spoil() -> None:
                while True:
                    payload = world.swarm.services[stubborn].payload
                    if "Sysctls" not in payload["TaskTemplate"]["ContainerSpec"]:
                        world.swarm.edit(
                            stubborn, lambda p: p["TaskTemplate"]["ContainerSpec"].update(Sysctls={"a": "b"})
                        )
                    await world.clock.sleep(0.01)

            other_tool = asyncio.create_task(spoil())
            begun = len(world.effects)
            await world.clock.sleep(600)
            updates = [one for one in world.effects[begun:] if one.what == "swarm:update_service"]
            assert 5 <= len(updates) <= 25
            assert condition(world, "Synced")[1] in ("DoesNotLast", "Applying")
            other_tool.cancel()
            await world.until(lambda: world.phase() == "Ready", within_s=180)
            await asyncio.gather(other_tool, return_exceptions=True)

    run(story())


def test_a_protected_database_whose_spec_is_gone_stays_ready() -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world, spec(deletion={"protected": True}))
            before = world.end_state()["services"]
            world.delete()
            await world.until(lambda: condition(world, "Protected")[0] == "True")
            await world.quiet()
            assert world.end_state()["services"] == before
            assert world.phase() == "Ready"
            assert condition(world, "Synced") == ("False", "Protected")

    run(story())


def test_a_paused_database_whose_spec_is_removed_is_taken_down_as_its_policy_says() -> None:
    async def story() -> None:
        async with cluster() as world:
            revision = world.apply(spec())
            await world.until(lambda: world.ready(revision))
            world.apply(spec(paused=True))
            await world.until(lambda: world.phase() == "Paused")
            world.delete()
            await world.until(lambda: world.phase() == "Retained")

    run(story())


def test_no_pgswarm_that_stops_or_starts_somewhere_rewrites_a_configuration() -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world)
            record = world.etcd.get(paths.patroni(SCOPE, "config"))
            for host in HOSTS:
                [client] = world.alive(host)
                world.kill(client)
                await world.clock.sleep(15)
                world.start(host)
                await world.clock.sleep(15)
            assert world.etcd.get(paths.patroni(SCOPE, "config")) == record
            await world.until(lambda: world.phase() == "Ready")

    run(story())


def test_drift_of_which_no_event_told_is_found_with_the_resync() -> None:
    async def story() -> None:
        async with cluster() as world:
            await up(world)
            before = world.end_state()
            for one in world.running.values():
                one.process.events.cut()  # type: ignore[attr-defined]
            _scale(0)(world)
            await world.until(lambda: world.end_state() == before, within_s=130)

    run(story())
