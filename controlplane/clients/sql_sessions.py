"""
Connections to the instances of this host: TLS checked against the database's CA, quiet in the server's log.

One idle connection per instance is kept, to the maintenance database only: one to a user's database would
stand in the way of whoever drops it.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from controlplane.clients import sql_text
from reconcilers.ports import Clock, InstanceAccess
from reconcilers.resources.sql import MAINTENANCE

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 60
LOCK_TIMEOUT_S = 5
IDLE_MAX_S = 60.0
IDLE_MAX = 64

# Given at start, these outrank what a database or role carries. Verifiers stay out of log and statistics, and
# no user's function can be found in place of Postgres's own.
_OPTIONS = {
    "search_path": "pg_catalog",
    "statement_timeout": f"{STATEMENT_TIMEOUT_S}s",
    "lock_timeout": f"{LOCK_TIMEOUT_S}s",
    "idle_in_transaction_session_timeout": "0",
    "default_transaction_read_only": "off",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_error_statement": "panic",
    "pg_stat_statements.track": "none",
}


@dataclass(slots=True)
class Session:
    connection: psycopg.AsyncConnection[tuple[object, ...]]
    reused: bool
    """It was idle before: that it is broken may be old news."""


@dataclass(frozen=True, slots=True)
class _Idle:
    connection: psycopg.AsyncConnection[tuple[object, ...]]
    since_s: float


class Sessions:
    """Opens connections and keeps the idle ones; at most IDLE_MAX, each at most IDLE_MAX_S."""

    def __init__(self, clock: Clock, *, port: int, state_dir: Path | None) -> None:
        self._clock = clock
        self._port = port
        self._idle: OrderedDict[InstanceAccess, _Idle] = OrderedDict()
        # libpq takes certificates from files only. They are public; the directory is ours alone all the same.
        self._trusted = Path(tempfile.mkdtemp(prefix="pgswarm-ca-", dir=state_dir))
        self._tidy = weakref.finalize(self, shutil.rmtree, self._trusted, ignore_errors=True)

    async def close(self) -> None:
        while self._idle:
            await self._idle.popitem()[1].connection.close()
        self._tidy()

    @asynccontextmanager
    async def session(
        self, access: InstanceAccess, database: str, *, fresh: bool = False
    ) -> AsyncIterator[Session]:
        """
        Lend a connection in autocommit mode; it is kept only if the block ends well.

        Raises: Unavailable when there is none to be had.
        """
        session = None if fresh or database != MAINTENANCE else await self._take(access)
        session = session or Session(await self._open(access, database), reused=False)
        kept = False
        try:
            yield session
            kept = await self._keep(access, session.connection) if database == MAINTENANCE else False
        finally:
            if not kept:
                await session.connection.close()

    async def _take(self, access: InstanceAccess) -> Session | None:
        """Return an idle connection, and close those that have been idle for too long."""
        now_s = self._clock.monotonic()
        for key, idle in list(self._idle.items()):
            if now_s - idle.since_s > IDLE_MAX_S:
                await self._discard(key)
        found = self._idle.pop(access, None)
        return None if found is None else Session(found.connection, reused=True)

    async def _keep(
        self, access: InstanceAccess, connection: psycopg.AsyncConnection[tuple[object, ...]]
    ) -> bool:
        if connection.closed or access in self._idle:
            return False
        self._idle[access] = _Idle(connection, self._clock.monotonic())
        while len(self._idle) > IDLE_MAX:
            await self._discard(next(iter(self._idle)))
        return True

    async def _discard(self, access: InstanceAccess) -> None:
        idle = self._idle.pop(access, None)
        if idle is not None:
            await idle.connection.close()

    async def _open(
        self, access: InstanceAccess, database: str
    ) -> psycopg.AsyncConnection[tuple[object, ...]]:
        options = " ".join(f"-c {name}={value}" for name, value in _OPTIONS.items())
        try:
            return await psycopg.AsyncConnection.connect(
                # With both given libpq goes to hostaddr and holds the certificate against host.
                host=access.server_name or access.address,
                hostaddr=access.address,
                port=self._port,
                user=access.superuser,
                password=access.password.reveal(),
                dbname=database,
                sslmode="verify-full" if access.server_name else "verify-ca",
                sslrootcert=str(self._trust(access.ca_pem)),
                ssl_min_protocol_version="TLSv1.3",
                channel_binding="require",
                gssencmode="disable",
                connect_timeout=CONNECT_TIMEOUT_S,
                application_name="pgswarm",
                client_encoding="UTF8",
                options=options,
                autocommit=True,
                prepare_threshold=None,
            )
        except psycopg.Error as exc:
            raise sql_text.unreachable(exc) from exc
        except (ValueError, OSError) as exc:
            raise sql_text.unreachable(psycopg.OperationalError(type(exc).__name__)) from exc

    def _trust(self, ca_pem: str) -> Path:
        """Return the file of these certificates; one per database on this host, so few."""
        path = self._trusted / (hashlib.sha256(ca_pem.encode()).hexdigest()[:32] + ".pem")
        if not path.exists():
            path.write_text(ca_pem)
        return path
