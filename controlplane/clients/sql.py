"""
The Sql port over psycopg: reading, and writing behind the fence.

The fence is one row in the maintenance database. Whoever writes advances it to the own epoch first and holds
its row lock until the work is committed, also when the work is elsewhere: in another database, or outside any
transaction. So nobody with an older epoch writes after somebody with a newer one, and no two write at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg

from controlplane.clients import sql_text
from controlplane.clients.sql_sessions import Sessions
from reconcilers.errors import OwnershipLost, Unavailable, UnknownFate
from reconcilers.ports import Clock, Ids, InstanceAccess, Secret, Statement
from reconcilers.resources import scram
from reconcilers.resources.sql import MAINTENANCE

QUERY_TIMEOUT_S = 10.0
EXECUTE_TIMEOUT_S = 90.0

# One after the other and idempotent: whoever comes second finds everything there.
_SCHEMA = (
    "SELECT pg_advisory_xact_lock(7432001)",
    "CREATE SCHEMA IF NOT EXISTS pgswarm",
    "ALTER SCHEMA pgswarm OWNER TO CURRENT_USER",
    "REVOKE ALL ON SCHEMA pgswarm FROM PUBLIC",
    "CREATE TABLE IF NOT EXISTS pgswarm.fence"
    " (one boolean PRIMARY KEY DEFAULT true CHECK (one), epoch bigint NOT NULL)",
    "CREATE TABLE IF NOT EXISTS pgswarm.ledger"
    " (kind text, name text, created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (kind, name))",
)
_STATE = (
    "SELECT pg_is_in_recovery(), to_regclass('pgswarm.fence') IS NOT NULL,"
    " to_regclass('pgswarm.ledger') IS NOT NULL"
)
_ADVANCE = (
    "INSERT INTO pgswarm.fence AS f (epoch) VALUES ({epoch}) ON CONFLICT (one)"
    " DO UPDATE SET epoch = excluded.epoch WHERE f.epoch <= excluded.epoch RETURNING epoch"
)
_NEWER = "SELECT epoch FROM pgswarm.fence WHERE epoch > {epoch}"

Connection = psycopg.AsyncConnection[tuple[object, ...]]


class PostgresSql:
    """Implements `reconcilers.ports.Sql`."""

    def __init__(
        self,
        clock: Clock,
        ids: Ids,
        *,
        port: int = 5432,
        state_dir: Path | None = None,
        query_timeout_s: float = QUERY_TIMEOUT_S,
        execute_timeout_s: float = EXECUTE_TIMEOUT_S,
    ) -> None:
        """
        Args:
            state_dir: Where the directory with the CA certificates goes; None: the system's temporary one.
        """
        self._ids = ids
        self._sessions = Sessions(clock, port=port, state_dir=state_dir)
        self._query_timeout_s = query_timeout_s
        self._execute_timeout_s = execute_timeout_s

    async def close(self) -> None:
        await self._sessions.close()

    async def query(
        self, access: InstanceAccess, database: str, statement: Statement
    ) -> Sequence[Sequence[Any]]:
        """
        Run one reading statement.

        Raises:
            Unavailable: no connection, or it broke, or there was no answer in time.
            Refused: Postgres said no.
        """
        try:
            async with asyncio.timeout(self._query_timeout_s):
                try:
                    return await self._query(access, database, statement, fresh=False)
                except _Stale:
                    return await self._query(access, database, statement, fresh=True)
        except TimeoutError as exc:
            raise Unavailable("postgres", f"a query took more than {self._query_timeout_s:g} s") from exc

    async def _query(
        self, access: InstanceAccess, database: str, statement: Statement, *, fresh: bool
    ) -> Sequence[Sequence[Any]]:
        async with self._sessions.session(access, database, fresh=fresh) as session:
            text = sql_text.compose(statement)
            try:
                cursor = await session.connection.execute(text)
                return await cursor.fetchall()
            except psycopg.Error as exc:
                if session.connection.broken and session.reused:
                    raise _Stale from exc
                error = sql_text.failure(exc, statement, broken=session.connection.broken, writing=False)
            # Raised out of the handler: psycopg's own error quotes the SQL, and must not hang on ours.
            raise error

    async def execute(
        self, access: InstanceAccess, database: str, statements: Sequence[Statement], *, epoch: int
    ) -> None:
        """
        Run the statements behind the fence; transactional ones in a row are one transaction.

        Safe to cancel: what was not committed is rolled back when the connection closes.

        Raises:
            OwnershipLost: a newer epoch has written.
            Refused: Postgres said no.
            Unavailable: no connection; nothing was done.
            UnknownFate: the connection broke or the time ran out in the middle.
        """
        work = [self._sealed(statement) for statement in statements]
        try:
            async with asyncio.timeout(self._execute_timeout_s):
                # Never an idle connection: that it is stale would look like an unknown fate.
                async with self._sessions.session(access, MAINTENANCE, fresh=True) as session:
                    guard = await _guard(session.connection)
                    for together in _transactions(work):
                        await self._fenced(access, database, together, guard, epoch)
        except TimeoutError as exc:
            raise UnknownFate("postgres", f"no answer in {self._execute_timeout_s:g} s") from exc

    async def _fenced(
        self, access: InstanceAccess, database: str, together: Sequence[Statement], guard: _Guard, epoch: int
    ) -> None:
        """Run one transaction, or one statement that refuses to be in one, under the fence's row lock."""
        transactional = together[0].transactional
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(_transaction(guard.connection))
            await guard.advance(epoch)
            worker = guard.connection
            if database != MAINTENANCE or not transactional:
                elsewhere = self._sessions.session(access, database, fresh=True)
                worker = (await stack.enter_async_context(elsewhere)).connection
                if transactional:
                    await stack.enter_async_context(_transaction(worker))
            for statement in together:
                await _run(worker, statement)

    def _sealed(self, statement: Statement) -> Statement:
        """Turn every secret into its verifier: no password is ever part of an SQL text."""
        literals = {
            place: self._verifier(value) if isinstance(value, Secret) else value
            for place, value in statement.literals.items()
        }
        return replace(statement, literals=literals)

    def _verifier(self, secret: Secret) -> Secret:
        if scram.is_verifier(secret.reveal()):
            return secret
        chance = self._ids.token().reveal().encode()
        return scram.verifier(secret, hashlib.sha256(chance).digest()[: scram.SALT_BYTES])


class _Stale(Exception):
    """An idle connection turned out to be broken: nothing was asked, so a new one may ask again."""


@dataclass(frozen=True, slots=True)
class _Guard:
    """The connection that holds the fence."""

    connection: Connection
    recovering: bool
    """A replica: nothing can be written, so the fence can only be read, as far as it has been replicated."""
    fenced: bool

    async def advance(self, epoch: int) -> None:
        """Raises: OwnershipLost when a newer epoch has written."""
        literals = {"epoch": epoch}
        if self.recovering:
            lost = self.fenced and bool(await _run(self.connection, Statement(_NEWER, literals=literals)))
        else:
            lost = not await _run(self.connection, Statement(_ADVANCE, literals=literals))
        if lost:
            raise OwnershipLost("Postgres: a newer owner has written to it, so it")


async def _guard(connection: Connection) -> _Guard:
    """Look whether the fence is there, and on a primary make it."""
    recovering, fence, ledger = (await _run(connection, Statement(_STATE)))[0]
    if not recovering and not (fence and ledger):
        async with _transaction(connection):
            for text in _SCHEMA:
                await _run(connection, Statement(text))
    return _Guard(connection, recovering=bool(recovering), fenced=bool(fence))


@asynccontextmanager
async def _transaction(connection: Connection) -> AsyncIterator[None]:
    """Begin, and commit if the block ends well. If not, the caller closes the connection: that rolls back."""
    await _run(connection, Statement("BEGIN"))
    yield
    await _run(connection, Statement("COMMIT"))


async def _run(connection: Connection, statement: Statement) -> list[tuple[object, ...]]:
    text = sql_text.compose(statement)
    try:
        cursor = await connection.execute(text)
        return await cursor.fetchall() if cursor.description else []
    except psycopg.Error as exc:
        error = sql_text.failure(exc, statement, broken=connection.broken, writing=True)
    # Raised out of the handler: psycopg's own error quotes the SQL, and must not hang on ours.
    raise error


def _transactions(statements: Sequence[Statement]) -> Iterator[list[Statement]]:
    """Statements that run together: those in a row that bear a transaction, and each other one alone."""
    for transactional, group in itertools.groupby(statements, key=lambda one: one.transactional):
        if transactional:
            yield list(group)
        else:
            yield from ([one] for one in group)
