"""The Sql port: the fence and the errors, on the fake and on a real server; TLS and connections, on a real one."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace

import pytest

from controlplane.clients.certificates import issue_ca
from controlplane.clients.sql import PostgresSql
from controlplane.clients.sql_sessions import IDLE_MAX_S
from reconcilers.errors import OwnershipLost, PgswarmError, Refused, Unavailable, UnknownFate
from reconcilers.ports import InstanceAccess, Secret, Sql, Statement
from reconcilers.resources import extension, inventory, logical_database, pem, scram, settings
from tests.postgres_server import PASSWORD, Person, PostgresServer
from tests.sim.agent_host import AgentHost
from tests.sim.clock import FakeIds
from tests.sim.patroni import PRIMARY, REPLICA, FakePatroni
from tests.sim.postgres import FakePostgres, FakeSql

MAKE = Statement("CREATE DATABASE {database} WITH TEMPLATE template0 ENCODING {encoding}",
                 {"database": "shop"}, {"encoding": "UTF8"}, transactional=False)  # fmt: skip


class HandClock:
    """Time that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def now(self) -> str:
        return "2026-01-01T00:00:00Z"

    def epoch_s(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@dataclass(slots=True)
class World:
    sql: Sql
    access: InstanceAccess
    person: Person | FakePostgres

    async def ledger(self) -> frozenset[str]:
        return inventory.names(await self.sql.query(self.access, "postgres", Statement(inventory.LEDGER)))

    async def exists(self, database: str) -> bool:
        rows = await self.sql.query(self.access, "postgres", inventory.query((), (), [database]))
        return database in inventory.read(rows).databases


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = PostgresServer.primary()
    yield server
    server.stop()


@pytest.fixture
async def real(server: PostgresServer) -> AsyncIterator[PostgresSql]:
    sql = PostgresSql(HandClock(), FakeIds(), port=server.port)
    yield sql
    await sql.close()
    Person(server).clean()


@pytest.fixture(params=["fake", "real"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "real":
        server: PostgresServer = request.getfixturevalue("server")
        sql = PostgresSql(HandClock(), FakeIds(), port=server.port)
        yield World(sql, server.access(), Person(server))
        await sql.close()
        Person(server).clean()
    else:
        fake = FakePostgres("10.0.0.1")
        fake.password = PASSWORD
        access = InstanceAccess("10.0.0.1", "pgswarm", Secret(PASSWORD), "pgswarm", Secret(""), "")
        yield World(FakeSql([fake], FakeIds()), access, fake)


def entry(name: str) -> Statement:
    return Statement(logical_database.ENTER, {}, {"name": name})


# --- the fence


async def test_equal_and_newer_epochs_write_and_older_ones_do_not(world: World) -> None:
    await world.sql.execute(world.access, "postgres", [entry("one")], epoch=5)
    await world.sql.execute(world.access, "postgres", [entry("two")], epoch=5)
    await world.sql.execute(world.access, "postgres", [entry("three")], epoch=8)

    with pytest.raises(OwnershipLost):
        await world.sql.execute(world.access, "postgres", [entry("four")], epoch=7)

    assert await world.ledger() == {"one", "two", "three"}


async def test_the_fence_holds_outside_transactions_and_in_other_databases_too(world: World) -> None:
    await world.sql.execute(world.access, "postgres", [MAKE], epoch=8)
    other = replace(MAKE, identifiers={"database": "late"})
    create = Statement(extension.CREATE, {"extension": "hstore"})

    for database, statement in (("postgres", other), ("shop", create)):
        with pytest.raises(OwnershipLost):
            await world.sql.execute(world.access, database, [statement], epoch=7)

    assert not await world.exists("late")
    rows = await world.sql.query(world.access, "shop", Statement(inventory.EXTENSIONS))
    assert "hstore" not in inventory.names(rows)


async def test_a_transaction_is_all_or_nothing(world: World) -> None:
    await world.sql.execute(world.access, "postgres", [entry("before")], epoch=1)
    drop = Statement("DROP ROLE {role}", {"role": "nobody-of-that-name"})

    with pytest.raises(Refused, match="does not exist"):
        await world.sql.execute(world.access, "postgres", [entry("with"), drop], epoch=2)

    assert await world.ledger() == {"before"}


async def test_what_was_made_outside_a_transaction_stays_when_the_next_statement_fails(world: World) -> None:
    drop = Statement("DROP ROLE {role}", {"role": "nobody"})

    with pytest.raises(Refused):
        await world.sql.execute(world.access, "postgres", [MAKE, entry("shop"), drop], epoch=1)

    assert await world.exists("shop")
    assert await world.ledger() == frozenset()


async def test_a_fence_that_somebody_dropped_is_made_again(server: PostgresServer, real: PostgresSql) -> None:
    await real.execute(server.access(), "postgres", [entry("one")], epoch=5)
    server.run("DELETE FROM pgswarm.fence")
    await real.execute(server.access(), "postgres", [entry("two")], epoch=6)
    server.run("DROP SCHEMA pgswarm CASCADE")

    await real.execute(server.access(), "postgres", [entry("three")], epoch=7)

    assert server.run("SELECT epoch FROM pgswarm.fence") == [(7,)]
    assert server.run("SELECT name FROM pgswarm.ledger") == [("three",)]


async def test_a_newer_owner_waits_for_work_in_flight_elsewhere(
    server: PostgresServer, real: PostgresSql
) -> None:
    """The row lock is held while CREATE DATABASE, which no transaction holds together, is under way."""
    await real.execute(server.access(), "postgres", [entry("one")], epoch=1)
    slow = Statement("SELECT pg_sleep(0.4)", transactional=False)
    order: list[str] = []

    async def older() -> None:
        await real.execute(server.access(), "postgres", [slow], epoch=1)
        order.append("older")

    async def newer() -> None:
        await asyncio.sleep(0.15)
        await real.execute(server.access(), "postgres", [entry("two")], epoch=2)
        order.append("newer")

    await asyncio.gather(older(), newer())

    assert order == ["older", "newer"]


async def test_the_first_writers_make_the_fence_together(server: PostgresServer, real: PostgresSql) -> None:
    names = [f"d{n}" for n in range(6)]

    await asyncio.gather(*(real.execute(server.access(), "postgres", [entry(n)], epoch=1) for n in names))

    assert server.run("SELECT count(*) FROM pgswarm.ledger") == [(6,)]


# --- errors


async def test_a_refusal_names_the_object_and_never_a_value(world: World) -> None:
    values = {"limit": -1, "until": "not-a-time-canary", "password": Secret("canary-password")}
    template = (
        "CREATE ROLE {role} WITH NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT"
        " CONNECTION LIMIT {limit} VALID UNTIL {until} PASSWORD {password}"
    )
    statement = Statement(template, {"role": "app"}, values)  # type: ignore[arg-type]
    if isinstance(world.person, FakePostgres):
        world.person.make_role("app")

    with pytest.raises(Refused) as caught:
        await world.sql.execute(world.access, "postgres", [statement], epoch=1)

    said = _everything(caught.value)
    assert "canary" not in said
    assert "SCRAM" not in said


@pytest.mark.parametrize("value", ["canary in the middle", "ab"])
async def test_a_value_that_a_message_repeats_is_masked(
    server: PostgresServer, real: PostgresSql, value: str
) -> None:
    body = "BEGIN RAISE EXCEPTION 'said \"%\" and so on', $1; END"
    server.run(f"CREATE OR REPLACE FUNCTION public.shout(text) RETURNS int LANGUAGE plpgsql AS $${body}$$")
    if len(value) > 3:
        server.run("CREATE OR REPLACE FUNCTION public.shout(text) RETURNS int LANGUAGE plpgsql"
                   " AS $$BEGIN RAISE EXCEPTION 'said % and so on', $1; END$$")  # fmt: skip

    with pytest.raises(Refused, match=r"said \*\*\* and so on") as caught:
        await real.query(server.access(), "postgres", Statement("SELECT public.shout({v})", {}, {"v": value}))

    assert value not in str(caught.value)
    server.run("DROP FUNCTION public.shout(text)")


async def test_a_secret_enters_sql_only_as_a_verifier(server: PostgresServer, real: PostgresSql) -> None:
    keep = Statement(
        "INSERT INTO pgswarm.ledger (kind, name) VALUES ('test', {secret})", {}, {"secret": Secret("pw")}
    )

    await real.execute(server.access(), "postgres", [keep], epoch=1)

    stored = str(server.run("SELECT name FROM pgswarm.ledger")[0][0])
    assert scram.matches(Secret(stored), Secret("pw"))


async def test_a_syntax_error_does_not_quote_the_statement(server: PostgresServer, real: PostgresSql) -> None:
    broken = Statement(
        "ALTER ROLE {role} PASSWORD {password} BLUNDER", {"role": "app"}, {"password": Secret("pw")}
    )

    with pytest.raises(Refused, match="unrecognized role option") as caught:
        await real.execute(server.access(), "postgres", [broken], epoch=1)

    assert "SCRAM" not in _everything(caught.value)


def _everything(error: BaseException | None) -> str:
    """What a log that follows causes and contexts could show."""
    said = ""
    while error is not None:
        said += f"{error!s} {error!r}"
        error = error.__cause__ or error.__context__
    return said


async def test_no_server_is_unavailable(world: World) -> None:
    if isinstance(world.person, FakePostgres):
        world.person.silent.add(world.access.address)
        sql = world.sql
    else:
        sql = PostgresSql(HandClock(), FakeIds(), port=1)
    for call in (
        sql.query(world.access, "postgres", Statement(inventory.LEDGER)),
        sql.execute(world.access, "postgres", [entry("one")], epoch=1),
    ):
        with pytest.raises(Unavailable):
            await call
    if isinstance(sql, PostgresSql):
        await sql.close()


async def test_time_that_runs_out_is_told_apart_for_reads_and_writes(server: PostgresServer) -> None:
    sql = PostgresSql(HandClock(), FakeIds(), port=server.port, query_timeout_s=0.2, execute_timeout_s=0.2)
    slow = Statement("SELECT pg_sleep(30)")

    with pytest.raises(Unavailable):
        await sql.query(server.access(), "postgres", slow)
    with pytest.raises(UnknownFate):
        await sql.execute(server.access(), "postgres", [slow], epoch=1)
    await sql.close()


async def test_a_connection_cut_while_writing_leaves_the_fate_unknown(
    server: PostgresServer, real: PostgresSql
) -> None:
    kill = Statement("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(UnknownFate):
        await real.execute(server.access(), "postgres", [kill], epoch=1)


async def test_cancelling_a_write_leaves_nothing_behind(server: PostgresServer, real: PostgresSql) -> None:
    slow = [entry("never"), Statement("SELECT pg_sleep(30)")]
    task = asyncio.ensure_future(real.execute(server.access(), "postgres", slow, epoch=1))
    await asyncio.sleep(0.3)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task

    await real.execute(server.access(), "postgres", [entry("next")], epoch=1)
    assert server.run("SELECT name FROM pgswarm.ledger") == [("next",)]


# --- connections


async def test_another_ca_is_not_trusted(server: PostgresServer, real: PostgresSql) -> None:
    other = pem.certificates(issue_ca("orders", time.time()))

    with pytest.raises(Unavailable, match="certificate"):
        await real.query(replace(server.access(), ca_pem=other), "postgres", Statement("SELECT 1"))


async def test_another_instance_at_the_address_is_noticed(server: PostgresServer, real: PostgresSql) -> None:
    with pytest.raises(Unavailable, match="orders-n1-other"):
        await real.query(server.access(server_name="orders-n1-other"), "postgres", Statement("SELECT 1"))


async def test_without_a_name_the_chain_alone_is_checked(server: PostgresServer, real: PostgresSql) -> None:
    assert await real.query(server.access(server_name=""), "postgres", Statement("SELECT 1")) == [(1,)]


async def test_one_idle_connection_is_used_again_and_not_for_ever(server: PostgresServer) -> None:
    clock = HandClock()
    sql = PostgresSql(clock, FakeIds(), port=server.port)
    who = Statement("SELECT pg_backend_pid()")
    first = await sql.query(server.access(), "postgres", who)
    assert await sql.query(server.access(), "postgres", who) == first

    clock.now_s += IDLE_MAX_S + 1

    assert await sql.query(server.access(), "postgres", who) != first
    await sql.close()
    assert _sessions(server) == 0


async def test_no_connection_to_a_users_database_stays(server: PostgresServer, real: PostgresSql) -> None:
    person = Person(server)
    person.make_database("shop")
    await real.query(server.access(), "shop", Statement(inventory.EXTENSIONS))
    await real.execute(server.access(), "shop", [Statement("SELECT 1")], epoch=1)

    person.drop_database("shop")


async def test_a_restarted_server_is_found_again_by_reads_and_writes(
    server: PostgresServer, real: PostgresSql
) -> None:
    await real.execute(server.access(), "postgres", [entry("before")], epoch=1)
    server.halt(signal.SIGQUIT)
    server.start()

    assert await real.query(server.access(), "postgres", Statement(inventory.LEDGER)) == [("before",)]
    server.halt(signal.SIGQUIT)
    server.start()
    await real.execute(server.access(), "postgres", [entry("after")], epoch=1)


async def test_what_a_user_left_in_a_database_does_not_run_as_superuser(
    server: PostgresServer, real: PostgresSql
) -> None:
    """A function in `public` that would be found before Postgres's own, and settings that come with the database."""
    server.run("CREATE DATABASE shop")
    server.run("ALTER DATABASE shop SET default_transaction_read_only = on")
    server.run("ALTER DATABASE shop SET search_path = trap, pg_catalog")
    trap = "CREATE FUNCTION trap.current_database() RETURNS text LANGUAGE sql AS $$SELECT 'trapped'$$"
    server.run("BEGIN READ WRITE; CREATE SCHEMA trap; COMMIT", database="shop")
    server.run(f"BEGIN READ WRITE; {trap}; COMMIT", database="shop")

    assert await real.query(server.access(), "shop", Statement("SELECT current_database()::text")) == [
        ("shop",)
    ]
    await real.execute(
        server.access(), "shop", [Statement(extension.CREATE, {"extension": "plpgsql"})], epoch=1
    )


def _sessions(server: PostgresServer) -> int:
    deadline_s = time.monotonic() + 5
    while True:
        rows = server.run("SELECT count(*)::int FROM pg_stat_activity WHERE application_name = 'pgswarm'")
        if rows[0][0] == 0 or time.monotonic() > deadline_s:
            return int(str(rows[0][0]))
        time.sleep(0.02)


# --- replicas


@pytest.fixture
async def standby(
    server: PostgresServer, real: PostgresSql
) -> AsyncIterator[tuple[PostgresServer, PostgresSql]]:
    copy = server.standby()
    sql = PostgresSql(HandClock(), FakeIds(), port=copy.port)
    yield copy, sql
    await sql.close()
    copy.stop()


async def test_on_a_replica_settings_are_taken_back_and_roles_left_alone(
    server: PostgresServer, standby: tuple[PostgresServer, PostgresSql]
) -> None:
    copy, sql = standby
    copy.run("ALTER SYSTEM SET work_mem = '123MB'")
    patroni = FakePatroni({"127.0.0.1": REPLICA})
    secrets = {"superuser": PASSWORD, "rest": "rest", "ca": server.ca.reveal()}
    agent = AgentHost(sql, patroni, FakeIds(), address="127.0.0.1", secrets=secrets)
    agent.run()
    agent.want(databases=[])

    seen = await agent.settle()

    assert seen.sql is None
    assert seen.problems == ()
    assert patroni.reloads == ["127.0.0.1"]
    rows = await sql.query(copy.access(), "postgres", inventory.query((), (), ()))
    assert inventory.read(rows).auto_conf == ()
    assert inventory.read(rows).in_recovery


async def test_a_replica_knows_the_fence_as_far_as_it_was_replicated(
    server: PostgresServer, real: PostgresSql, standby: tuple[PostgresServer, PostgresSql]
) -> None:
    copy, sql = standby
    reset = Statement(settings.RESET, {"setting": "work_mem"}, transactional=False)
    await sql.execute(copy.access(), "postgres", [reset], epoch=3)
    await real.execute(server.access(), "postgres", [entry("one")], epoch=9)
    deadline_s = time.monotonic() + 10
    error: PgswarmError | None = None

    while error is None and time.monotonic() < deadline_s:
        try:
            await sql.execute(copy.access(), "postgres", [reset], epoch=3)
        except OwnershipLost as exc:
            error = exc

    assert error is not None


async def test_who_lost_the_leader_lock_is_not_written_to(server: PostgresServer, real: PostgresSql) -> None:
    """Postgres still thinks that it is the primary; Patroni knows better."""
    demoted = FakePatroni({"127.0.0.1": replace(PRIMARY, role="demoted")})
    secrets = {"superuser": PASSWORD, "rest": "rest", "ca": server.ca.reveal()}
    agent = AgentHost(real, demoted, FakeIds(), address="127.0.0.1", secrets=secrets)
    agent.run()
    agent.want()

    seen = await agent.settle()

    assert seen.sql is None
