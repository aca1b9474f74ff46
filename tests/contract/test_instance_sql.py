"""What an agent does inside Postgres: the same promises on the fake and on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from controlplane.clients.sql import PostgresSql
from crds.instance import LogicalDatabaseDesired, RoleDesired
from reconcilers.errors import OwnershipLost, Unavailable
from reconcilers.ports import InstanceAccess, Secret, Sql, Statement
from reconcilers.resources import inventory, pem, scram
from reconcilers.resources.inventory import RoleView
from tests.postgres_server import PASSWORD, Person, PostgresServer
from tests.sim.agent_host import AgentHost
from tests.sim.clock import FakeClock, FakeIds
from tests.sim.patroni import PRIMARY, FakePatroni
from tests.sim.postgres import FakePostgres, FakeSql

EVIL = (
    '"; DROP ROLE postgres; --',
    "o'clock\\",
    "$(reboot) ${VAR} {{.Env}} {0} %s %",
    "naïve ‮ name",
    'a"b',
)


@dataclass(slots=True)
class World:
    sql: Sql
    access: InstanceAccess
    person: Person | FakePostgres
    agent: AgentHost
    patroni: FakePatroni
    real: bool

    async def roles(self, *names: str) -> dict[str, RoleView]:
        rows = await self.sql.query(self.access, "postgres", inventory.query(names, (), ()))
        return dict(inventory.read(rows).roles)

    async def owner(self, database: str) -> str:
        rows = await self.sql.query(self.access, "postgres", inventory.query((), (), [database]))
        return inventory.read(rows).databases[database].owner

    async def auto_conf(self) -> tuple[str, ...]:
        rows = await self.sql.query(self.access, "postgres", inventory.query((), (), ()))
        return inventory.read(rows).auto_conf


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = PostgresServer.primary()
    yield server
    server.stop()


def _fake() -> World:
    ids = FakeIds()
    person = FakePostgres("10.0.0.1")
    person.password = PASSWORD
    patroni = FakePatroni({"10.0.0.1": PRIMARY})
    sql = FakeSql([person], ids)
    secrets = {"superuser": PASSWORD, "rest": "rest", "ca": "-"}
    agent = AgentHost(sql, patroni, ids, address="10.0.0.1", secrets=secrets)
    access = InstanceAccess("10.0.0.1", "pgswarm", Secret(PASSWORD), "pgswarm", Secret("rest"), "")
    return World(sql, access, person, agent, patroni, real=False)


def _real(server: PostgresServer) -> World:
    ids = FakeIds()
    patroni = FakePatroni({"127.0.0.1": PRIMARY})
    sql = PostgresSql(FakeClock(), ids, port=server.port)
    secrets = {"superuser": PASSWORD, "rest": "rest", "ca": server.ca.reveal()}
    agent = AgentHost(sql, patroni, ids, address="127.0.0.1", secrets=secrets)
    return World(sql, server.access(), Person(server), agent, patroni, real=True)


@pytest.fixture(params=["fake", "real"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    world = _fake() if request.param == "fake" else _real(request.getfixturevalue("server"))
    world.agent.run()
    yield world
    await world.sql.close()  # type: ignore[attr-defined]
    world.person.clean()


def app(world: World, **more: object) -> RoleDesired:
    path = world.agent.secret("role-app", "a password")
    return RoleDesired(name="app", login=True, password_path=path, **more)


ORDERS = LogicalDatabaseDesired(name="orders", owner="app", extensions=("hstore",))


async def test_roles_databases_and_extensions_come_to_be_in_their_order(world: World) -> None:
    reader = RoleDesired(
        name="reader", comment="it reads", member_of=("app", "pg_monitor"), connection_limit=5
    )
    world.agent.want(roles=[reader, app(world)], databases=[ORDERS])

    seen = await world.agent.settle()

    assert seen.problems == ()
    assert seen.sql is not None
    assert (seen.sql.in_sync, seen.sql.drift) == (True, ())
    assert (seen.sql.databases, seen.sql.roles) == (("orders",), ("reader", "app"))
    have = await world.roles("reader", "app")
    assert {one.parent for one in have["reader"].member_of} == {"app", "pg_monitor"}
    assert (have["reader"].comment, have["reader"].connection_limit) == ("it reads", 5)
    assert await world.owner("orders") == "app"
    rows = await world.sql.query(world.access, "orders", Statement(inventory.EXTENSIONS))
    assert "hstore" in inventory.names(rows)


async def test_a_pass_with_nothing_to_do_writes_nothing(world: World) -> None:
    world.agent.want(
        roles=[app(world, comment="it's", valid_until="2030-01-01T00:00:00+02:00")], databases=[ORDERS]
    )
    await world.agent.settle()
    commits, effects = len(world.agent.etcd.commits), len(world.agent.engine.effects)

    for _ in range(3):
        result = await world.agent.once()
        assert result.actions == 0
        assert result.requeue_after_s is not None
        assert result.requeue_after_s >= 5

    assert (len(world.agent.etcd.commits), len(world.agent.engine.effects)) == (commits, effects)


@pytest.mark.parametrize(
    "flag", ["login", "superuser", "createdb", "createrole", "replication", "bypassrls", "inherit"]
)
async def test_an_altered_attribute_is_set_back(world: World, flag: str) -> None:
    world.agent.want(roles=[app(world)])
    await world.agent.settle()
    wanted = getattr((await world.roles("app"))["app"], flag)
    world.person.alter_role("app", flag, not wanted)

    await world.agent.settle()

    assert getattr((await world.roles("app"))["app"], flag) is wanted


async def test_limit_validity_and_comment_are_set_back(world: World) -> None:
    world.agent.want(roles=[app(world, comment="ours")])
    await world.agent.settle()
    world.person.limit_role("app", 3, "2020-01-01T00:00:00Z")
    world.person.comment_role("app", "theirs")

    await world.agent.settle()

    have = (await world.roles("app"))["app"]
    assert (have.connection_limit, have.valid_until, have.comment) == (-1, None, "ours")


async def test_a_changed_password_is_set_back_and_the_declared_one_is_never_plain(world: World) -> None:
    world.agent.want(roles=[app(world)])
    await world.agent.settle()
    world.person.set_password("app", "another")

    await world.agent.settle()

    stored = (await world.roles("app"))["app"].password
    assert stored is not None
    assert scram.matches(stored, Secret("a password"))
    if world.real:
        assert isinstance(world.person, Person)
        assert world.person.server.login("app", "a password")
        assert not world.person.server.login("app", "another")
        log = world.person.server.log()
        assert "'a password'" not in log
        assert stored.reveal() not in log


async def test_a_new_password_in_the_vault_reaches_postgres(world: World) -> None:
    world.agent.want(roles=[app(world)])
    await world.agent.settle()
    world.agent.secret("role-app", "pässword \u2168")

    await world.agent.settle()

    stored = (await world.roles("app"))["app"].password
    assert stored is not None
    assert scram.matches(stored, Secret("pässword IX"))


async def test_a_given_verifier_is_stored_as_it_is(world: World) -> None:
    given = scram.verifier(Secret("only the user knows"), b"0123456789abcdef").reveal()
    world.agent.want(roles=[RoleDesired(name="app", login=True, scram=given)])
    await world.agent.settle()
    world.person.set_password("app", "only the user knows")

    await world.agent.settle()

    assert (await world.roles("app"))["app"].password == Secret(given)


async def test_a_dropped_role_comes_back(world: World) -> None:
    world.agent.want(roles=[app(world)])
    await world.agent.settle()
    world.person.drop_role("app")

    await world.agent.settle()

    assert (await world.roles("app"))["app"].login


async def test_memberships_become_what_is_declared(world: World) -> None:
    world.person.make_role("team")
    roles = [RoleDesired(name="app", member_of=("team", "pg_monitor"))]
    world.agent.want(roles=roles)
    await world.agent.settle()
    world.person.revoke("pg_monitor", "app")
    world.person.grant("pg_read_all_data", "app")
    world.person.grant("team", "app", admin=True)

    seen = await world.agent.settle()

    assert seen.sql is not None
    assert seen.sql.in_sync
    have = (await world.roles("app"))["app"]
    assert {(one.parent, one.admin) for one in have.member_of} == {("team", False), ("pg_monitor", False)}


async def test_membership_of_a_role_that_does_not_exist_is_said_and_waits(world: World) -> None:
    world.agent.want(roles=[RoleDesired(name="app", member_of=("ghost",))])

    seen = await world.agent.settle()

    assert seen.sql is not None
    assert seen.sql.in_sync is False
    assert any("ghost" in line for line in seen.sql.drift)
    world.person.make_role("ghost")
    seen = await world.agent.settle()
    assert seen.sql is not None
    assert seen.sql.in_sync


async def test_a_role_that_is_to_go_goes_when_nothing_hangs_on_it(world: World) -> None:
    world.person.make_role("gone")
    world.person.make_database("legacy", "gone")
    world.agent.want(roles=[RoleDesired(name="gone", ensure="absent")])

    seen = await world.agent.settle()

    assert [problem.reason for problem in seen.problems] == ["RoleInUse"]
    assert "legacy" in seen.problems[0].message
    world.person.own_database("legacy", "pgswarm")
    seen = await world.agent.settle()
    assert seen.problems == ()
    assert await world.roles("gone") == {}


async def test_roles_that_are_not_declared_are_left_alone(world: World) -> None:
    world.person.make_role("somebody")
    world.agent.want(roles=[])

    await world.agent.settle()

    assert "somebody" in await world.roles("somebody")


@pytest.mark.parametrize("name", ["pgswarm", "replicator", "pg_monitor", "pgswarm_x"])
async def test_reserved_roles_are_refused_and_untouched(world: World, name: str) -> None:
    before = await world.roles(name)
    world.agent.want(roles=[RoleDesired(name=name, login=True), RoleDesired(name="app")])

    seen = await world.agent.settle()

    assert [problem.reason for problem in seen.problems] == ["ReservedRole"]
    assert await world.roles(name) == before
    assert "app" in await world.roles("app")


async def test_a_dropped_database_is_reported_as_lost_and_not_made_again(world: World) -> None:
    world.agent.want(roles=[app(world)], databases=[ORDERS])
    await world.agent.settle()
    world.person.drop_database("orders")

    seen = await world.agent.settle()

    assert seen.sql is not None
    assert seen.sql.lost_databases == ("orders",)
    assert seen.sql.in_sync is False
    assert [problem.reason for problem in seen.problems] == ["DatabaseLost"]
    assert seen.sql.databases == ()


async def test_a_lost_database_may_begin_anew_once_the_spec_has_let_it_go(world: World) -> None:
    world.agent.want(roles=[app(world)], databases=[ORDERS])
    await world.agent.settle()
    world.person.drop_database("orders")
    world.agent.want(roles=[app(world)])
    await world.agent.settle()
    world.agent.want(roles=[app(world)], databases=[ORDERS])

    seen = await world.agent.settle()

    assert seen.problems == ()
    assert seen.sql is not None
    assert seen.sql.databases == ("orders",)


async def test_a_database_that_left_the_spec_stays(world: World) -> None:
    world.agent.want(roles=[app(world)], databases=[ORDERS])
    await world.agent.settle()
    world.agent.want(roles=[app(world)])

    await world.agent.settle()

    assert await world.owner("orders") == "app"


async def test_an_existing_database_is_adopted_and_its_owner_set(world: World) -> None:
    world.person.make_database("orders")
    world.agent.want(roles=[app(world)], databases=[ORDERS])

    seen = await world.agent.settle()

    assert seen.problems == ()
    assert await world.owner("orders") == "app"
    world.person.drop_database("orders")
    assert (await world.agent.settle()).problems[0].reason == "DatabaseLost"


async def test_a_changed_owner_is_set_back(world: World) -> None:
    world.agent.want(roles=[app(world)], databases=[ORDERS])
    await world.agent.settle()
    world.person.own_database("orders", "pgswarm")

    await world.agent.settle()

    assert await world.owner("orders") == "app"


async def test_what_cannot_be_changed_in_a_database_is_said(world: World) -> None:
    world.person.make_database("orders")
    odd = LogicalDatabaseDesired(name="orders", encoding="LATIN1", locale="de_DE")
    world.agent.want(databases=[odd])

    seen = await world.agent.settle()

    assert [problem.reason for problem in seen.problems] == ["DatabaseFixed", "DatabaseFixed"]


async def test_a_dropped_extension_comes_back(world: World) -> None:
    world.agent.want(roles=[app(world)], databases=[ORDERS])
    await world.agent.settle()
    world.person.drop_extension("orders", "hstore")

    await world.agent.settle()

    rows = await world.sql.query(world.access, "orders", Statement(inventory.EXTENSIONS))
    assert "hstore" in inventory.names(rows)


async def test_an_extension_that_the_image_lacks_is_a_problem_and_stops_nothing_else(world: World) -> None:
    databases = [LogicalDatabaseDesired(name="orders", extensions=("no_such_thing", "hstore"))]
    world.agent.want(databases=databases)
    for _ in range(4):
        await world.agent.once()

    seen = world.agent.seen()

    assert [problem.reason for problem in seen.problems] == ["Refused"]
    assert "no_such_thing" in seen.problems[0].message
    rows = await world.sql.query(world.access, "orders", Statement(inventory.EXTENSIONS))
    assert "hstore" in inventory.names(rows)


async def test_alter_system_is_taken_back(world: World) -> None:
    world.agent.want()
    await world.agent.settle()
    world.person.alter_system("work_mem", "123MB")
    world.person.alter_system("max_connections", "77")

    seen = await world.agent.settle()

    assert await world.auto_conf() == ()
    assert world.patroni.reloads == [world.agent.address]
    assert seen.problems == ()
    if world.real:
        assert isinstance(world.person, Person)
        assert world.person.server.run("SHOW work_mem") == [("4MB",)]


async def test_what_a_restore_needs_in_auto_conf_stays(world: World) -> None:
    world.agent.want()
    world.person.alter_system("recovery_target_action", "promote")

    await world.agent.settle()

    assert await world.auto_conf() == ("recovery_target_action",)


@pytest.mark.parametrize("name", EVIL)
async def test_names_and_values_are_never_sql(world: World, name: str) -> None:
    path = world.agent.secret("role-evil", name)
    evil = RoleDesired(name=name, login=True, comment=name, password_path=path)
    world.agent.want(roles=[evil], databases=[LogicalDatabaseDesired(name=name, owner=name)])

    seen = await world.agent.settle()

    assert seen.problems == ()
    assert seen.sql is not None
    assert (seen.sql.in_sync, seen.sql.roles, seen.sql.databases) == (True, (name,), (name,))
    have = (await world.roles(name, "pgswarm"))[name]
    assert have.comment == name
    assert have.password is not None
    assert scram.matches(have.password, Secret(name))
    assert not have.superuser
    assert await world.owner(name) == name


@pytest.mark.parametrize("name", ["x" * 64, "nul\0nul"])
async def test_a_name_that_postgres_would_cut_is_refused(world: World, name: str) -> None:
    world.agent.want(roles=[RoleDesired(name=name)])
    await world.agent.once()

    seen = world.agent.seen()

    assert [problem.reason for problem in seen.problems] == ["Refused"]


async def test_an_older_epoch_is_refused(world: World) -> None:
    world.agent.want(roles=[app(world)], epoch=9)
    await world.agent.settle()
    world.agent.want(roles=[app(world), RoleDesired(name="late")], epoch=8)

    with pytest.raises(OwnershipLost):
        await world.agent.once()

    assert await world.roles("late") == {}
    assert [problem.reason for problem in world.agent.seen().problems] == ["OwnershipLost"]


async def test_a_wrong_superuser_password_is_said_without_the_password(world: World) -> None:
    world.agent.secret("superuser", "wr0ng-password")
    world.agent.want(roles=[app(world)])
    await world.agent.once()

    seen = world.agent.seen()

    assert [problem.reason for problem in seen.problems] == ["PostgresUnavailable"]
    assert "authentication failed" in seen.problems[0].message
    assert "wr0ng" not in seen.model_dump_json()


async def test_unreachable_database_raises_unavailable(world: World) -> None:
    with pytest.raises(Unavailable):
        await world.sql.query(world.access, "no_such_database", Statement(inventory.EXTENSIONS))


def test_the_bundle_shown_to_clients_has_no_key(server: PostgresServer) -> None:
    assert "PRIVATE" in server.ca.reveal()
    assert "PRIVATE" not in pem.certificates(server.ca)
