"""
What may happen in a database's life, each from a quiet beginning to an end that must always be the same.

Every one of them is played under every single fault (`crashes.py`) and under many at once (`fuzz.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from crds.meta import Key
from reconcilers import paths
from reconcilers.resources import naming
from tests.sim.crashes import Scenario, Step
from tests.sim.scenes import FIRST, SCOPE, SECOND, THIRD, left_of, spec, up
from tests.sim.world import HOSTS, World

LONG_S = 300.0
ONE = HOSTS[:1]
PARAMETERS = {"version": "17", "parameters": {"max_connections": "77", "work_mem": "8MB"}}
SCENARIOS: dict[str, Scenario] = {}


def scenario(
    name: str, before: Step, *, racy: bool = False
) -> Callable[[Callable[[World], Awaitable[None]]], Step]:
    def add(act: Step) -> Step:
        SCENARIOS[name] = Scenario(name, before, act, racy)
        return act

    return add


async def empty(world: World) -> None:
    """Three hosts, no database."""


def standing(hosts: tuple[str, ...] = HOSTS, **fields: Any) -> Step:
    async def before(world: World) -> None:
        await up(world, spec(hosts, **fields))

    return before


async def ready(world: World, text: str, name: str = "orders") -> None:
    revision = world.apply(text, name)
    await world.until(lambda: world.ready(revision, name), within_s=LONG_S, what=f"{name} is Ready")


async def gone(world: World) -> None:
    await world.until(lambda: not left_of(world), within_s=LONG_S, what="nothing is left of it")


async def phase(world: World, name: str) -> None:
    await world.until(lambda: world.phase() == name, within_s=LONG_S, what=name)


def edit(name: str, hosts: tuple[str, ...] = HOSTS, after: tuple[str, ...] = HOSTS, **fields: Any) -> None:
    """From the plain spec to one with these fields."""

    @scenario(name, standing(hosts))
    async def act(world: World) -> None:
        await ready(world, spec(after, **fields))


# --- create ---

for count, word in ((1, "one"), (2, "two"), (3, "three")):

    @scenario(f"create {word}", empty)
    async def create(world: World, count: int = count) -> None:
        await ready(world, spec(HOSTS[:count], port="auto"))


@scenario("create with everything", empty)
async def create_with_everything(world: World) -> None:
    roles = [{"name": "app", "login": True, "memberOf": ["readers"]}, {"name": "readers"}]
    databases = [
        {"name": "orders", "owner": "app", "extensions": ["pg_stat_statements"]},
        {"name": "more", "owner": "app"},
    ]
    patroni = {"synchronous": "on", "ttl": "30s"}
    await ready(
        world, spec(port=6000, roles=roles, databases=databases, patroni=patroni, postgres=PARAMETERS)
    )


@scenario("create while the first host is down", empty)
async def create_without_the_first_host(world: World) -> None:
    world.kill_host("host-1")
    world.apply(spec())
    await phase(world, "Degraded")
    world.revive_host("host-1")
    await phase(world, "Ready")


@scenario("create two databases at once", empty)
async def create_two_databases(world: World) -> None:
    first, second = world.apply(spec(port="auto")), world.apply(spec(name="ledger", port="auto"), "ledger")
    await world.until(lambda: world.ready(first) and world.ready(second, "ledger"), within_s=LONG_S)


# --- edit ---

edit("add a replica", HOSTS[:2])
edit("add two replicas", ONE)
edit("remove a replica", after=HOSTS[:2])
edit("remove both replicas", after=ONE)
edit("remove the primary's host", after=HOSTS[1:])
edit("move to another host", ONE, HOSTS[2:])
edit("name the hosts in another order", after=(HOSTS[2], HOSTS[0], HOSTS[1]))
edit("change memory", resources={"memory": "1GiB"})
edit("change memory of one instance", ONE, ONE, resources={"memory": "1GiB"})
edit("change cpus", resources={"cpus": "2"})
edit("publish a port", port="auto")
edit("change a parameter that is reloaded", postgres={"version": "17", "parameters": {"work_mem": "8MB"}})
edit("change a parameter that asks for a restart", postgres=PARAMETERS)
edit("change the image", postgres={"version": "17", "image": "example/postgres:17.1"})
edit("add a rule to pg_hba", postgres={"version": "17", "hba": ["host all app 10.0.0.0/8 scram-sha-256"]})
edit("add a role", roles=[{"name": "app", "login": True}, {"name": "reader", "login": True}])
edit("change a role", roles=[{"name": "app", "login": True, "connectionLimit": 5, "createdb": True}])
edit("add an extension", databases=[{"name": "orders", "owner": "app", "extensions": ["pg_stat_statements"]}])
edit("add a logical database", databases=[{"name": "orders", "owner": "app"}, {"name": "b", "owner": "app"}])
edit("make replication synchronous", patroni={"synchronous": "on"})
edit("lengthen Patroni's lease", patroni={"ttl": "40s"})
edit(
    "everything at once", HOSTS[:2], HOSTS[1:], port="auto", resources={"memory": "1GiB"}, postgres=PARAMETERS
)


@scenario("drop a role", standing(roles=[{"name": "app", "login": True}, {"name": "old"}]))
async def drop_a_role(world: World) -> None:
    await ready(world, spec(roles=[{"name": "app", "login": True}, {"name": "old", "ensure": "absent"}]))


@scenario("take the port back", standing(port=6000))
async def take_the_port_back(world: World) -> None:
    await ready(world, spec())


@scenario("change the port", standing(port=6000))
async def change_the_port(world: World) -> None:
    await ready(world, spec(port=6001))


@scenario("three edits in a row", standing())
async def three_edits(world: World) -> None:
    for memory in ("768MiB", "1GiB"):
        world.apply(spec(resources={"memory": memory}))
        await world.clock.sleep(0.3)
    await ready(world, spec(resources={"memory": "640MiB"}))


@scenario("an edit that is taken back", standing(), racy=True)
async def edit_and_revert(world: World) -> None:
    world.apply(spec(resources={"memory": "1GiB"}))
    await world.clock.sleep(0.5)
    await ready(world, spec())


@scenario("an edit while it is being created", empty, racy=True)
async def edit_while_creating(world: World) -> None:
    world.apply(spec(HOSTS[:2]))
    await world.clock.sleep(1.0)
    await ready(world, spec(port="auto", resources={"memory": "1GiB"}))


@scenario("a bad spec, then a good one", standing())
async def bad_then_good(world: World) -> None:
    world.apply("nodes: [")
    await world.until(lambda: world.condition("SpecValid")[0] == "False", within_s=LONG_S)
    await ready(world, spec(resources={"memory": "1GiB"}))


@scenario("pause, edit, resume", standing())
async def pause_and_resume(world: World) -> None:
    world.apply(spec(paused=True))
    await phase(world, "Paused")
    world.apply(spec(paused=True, resources={"memory": "1GiB"}))
    await world.clock.sleep(2.0)
    await ready(world, spec(resources={"memory": "1GiB"}))


# --- delete ---


@scenario("delete one for good", standing(ONE, port="auto", deletion={"policy": "delete"}))
async def delete_one(world: World) -> None:
    world.delete()
    await gone(world)


@scenario("delete three for good", standing(port="auto", deletion={"policy": "delete"}))
async def delete_three(world: World) -> None:
    world.delete()
    await gone(world)


@scenario("delete for good what a replica was taken out of", standing(deletion={"policy": "delete"}))
async def delete_departed(world: World) -> None:
    await ready(world, spec(HOSTS[:2], deletion={"policy": "delete"}))
    await world.clock.sleep(20.0)
    world.delete()
    await gone(world)


@scenario("delete and retain", standing(port="auto"))
async def retain(world: World) -> None:
    world.delete()
    await phase(world, "Retained")


async def retained(world: World) -> None:
    await up(world, spec(port="auto"))
    world.delete()
    await phase(world, "Retained")
    await world.quiet()


@scenario("adopt what was retained", retained)
async def adopt(world: World) -> None:
    await ready(world, spec(port="auto"))


@scenario("delete what was retained", retained)
async def delete_retained(world: World) -> None:
    await ready(world, spec(port="auto", deletion={"policy": "delete"}))
    world.delete()
    await gone(world)


@scenario("delete while it is being created", empty, racy=True)
async def delete_while_creating(world: World) -> None:
    world.apply(spec(deletion={"policy": "delete"}))
    await world.until(lambda: FIRST in world.services() and bool(world.service(FIRST).tasks), within_s=LONG_S)
    world.delete()
    await gone(world)


@scenario("delete and write again at once", standing(deletion={"policy": "delete"}))
async def delete_and_recreate(world: World) -> None:
    world.delete()
    await phase(world, "Deleting")
    await ready(world, spec(deletion={"policy": "delete"}))


@scenario("protected, then deleted", standing(deletion={"policy": "delete", "protected": True}))
async def protected(world: World) -> None:
    world.delete()
    await world.until(lambda: world.condition("Protected")[0] == "True", within_s=LONG_S)
    await ready(world, spec(deletion={"policy": "delete"}))
    world.delete()
    await gone(world)


# --- what others do ---


def drift(name: str, change: Callable[[World], object]) -> None:
    @scenario(name, standing())
    async def act(world: World) -> None:
        change(world)
        # Whatever it does to the status in between, what was changed must come back.
        await world.clock.sleep(5.0)
        await phase(world, "Ready")


def other_memory(world: World) -> None:
    def change(payload: dict[str, Any]) -> None:
        payload["TaskTemplate"]["Resources"]["Limits"]["MemoryBytes"] = 64 << 20

    world.swarm.edit(world.service(SECOND).id, change)


def scaled_to_nothing(world: World) -> None:
    def change(payload: dict[str, Any]) -> None:
        payload["Mode"]["Replicated"]["Replicas"] = 0

    world.swarm.edit(world.service(FIRST).id, change)


drift("a replica's service is removed", lambda w: w.swarm.drop(w.service(SECOND).id))
drift("the primary's service is removed", lambda w: w.swarm.drop(w.service(FIRST).id))
drift("the fence is removed", lambda w: w.swarm.drop(w.service("orders-fence").id))
drift("a service is changed by hand", other_memory)
drift("the primary is scaled to nothing", scaled_to_nothing)
drift("all of Patroni's records are removed", lambda w: w.etcd.remove(f"patroni/{SCOPE}/", prefix=True))
drift("an etcd account is removed", lambda w: w.etcd.accounts.pop(naming.etcd_user(SECOND)))
drift("the status is removed", lambda w: w.etcd.remove(paths.status(Key("database", "orders"))))
drift("a desired record is removed", lambda w: w.etcd.remove(paths.desired("host-3", THIRD)))


@scenario("a role is dropped by hand", standing())
async def role_dropped(world: World) -> None:
    roles = world.patroni.postgres(SCOPE).state.roles
    del roles["app"]
    await world.until(lambda: "app" in roles, within_s=LONG_S)


# --- hosts ---


@scenario("a host dies and comes back", standing())
async def host_back(world: World) -> None:
    world.kill_host("host-1")
    await phase(world, "Degraded")
    world.revive_host("host-1")
    await phase(world, "Ready")


@scenario("a host is lost for good and taken out of the spec", standing())
async def host_lost(world: World) -> None:
    world.lose_host("host-3")
    await phase(world, "Degraded")
    await ready(world, spec(HOSTS[:2]))


@scenario("every controller is killed and comes back", standing())
async def all_controllers(world: World) -> None:
    world.apply(spec(resources={"memory": "1GiB"}))
    await world.clock.sleep(0.5)
    for client in world.alive():
        world.kill(client)
    await world.clock.sleep(3.0)
    for host in HOSTS:
        world.start(host)
    await ready(world, spec(resources={"memory": "640MiB"}))
