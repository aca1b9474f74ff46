"""The way from a command to etcd or to the API, and back to views."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from controlplane.api import views
from controlplane.api.schemas import DatabaseList, DatabaseView, HostList
from controlplane.clock import SystemClock
from controlplane.commands.outcome import Failure
from controlplane.config import Config
from controlplane.stores.feed import Listing
from controlplane.version import VERSION
from crds.meta import Key
from reconcilers import paths
from reconcilers.ports import Clock, Record, Store

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class Lists(Protocol):
    async def list(self, prefix: str) -> Listing:
        """Raises: Refused, Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Session:
    """What a command may do with etcd."""

    store: Store
    lists: Lists


def stored(record: Record, model: type[M]) -> M:
    """
    What pgswarm itself wrote.

    Raises:
        Failure: it was not this version that did.
    """
    try:
        return model.model_validate_json(record.value, extra="ignore")
    except ValidationError as exc:
        message = f"the record {record.path} cannot be read by pgswarm {VERSION}, so nothing was done"
        raise Failure(f"{message}; use the version that runs on the hosts") from exc


class Source(Protocol):
    """Where views come from: etcd itself, or a pgswarm process' API."""

    async def databases(self) -> DatabaseList: ...

    async def database(self, name: str) -> DatabaseView | None: ...

    async def hosts(self) -> HostList: ...


class Snapshot:
    """`ports.Records` over a few lists, made for one look."""

    def __init__(self, listings: Sequence[Listing], records: Sequence[Record | None] = ()) -> None:
        found = [record for listing in listings for record in listing.records]
        found += [record for record in records if record is not None]
        self._records = {record.path: record for record in sorted(found, key=lambda record: record.path)}
        self.revision = min((listing.revision for listing in listings), default=0)

    def get(self, path: str) -> Record | None:
        return self._records.get(path)

    def under(self, prefix: str) -> Sequence[Record]:
        return [record for path, record in self._records.items() if path.startswith(prefix)]

    async def reached(self, revision: int) -> None:
        raise NotImplementedError("a snapshot does not move")


class EtcdSource:
    def __init__(self, session: Session) -> None:
        self._session = session

    async def databases(self) -> DatabaseList:
        roots = (paths.SPECS, paths.ACCEPTED, paths.STATUS)
        return views.databases(await self._lists(*(f"{root}{views.DATABASE}/" for root in roots)))

    async def database(self, name: str) -> DatabaseView | None:
        key = Key(views.DATABASE, name)
        read = self._session.store.read
        events, patroni, *records = await asyncio.gather(
            self._session.lists.list(paths.events(key)),
            # Every node's records; a database whose name goes on from here is in it, too, and is not looked at.
            self._session.lists.list(paths.patroni(f"{name}-n").rstrip("/")),
            read(paths.spec(key)),
            read(paths.accepted(key)),
            read(paths.status(key)),
        )
        return views.database(Snapshot([events, patroni], records), name)

    async def hosts(self) -> HostList:
        return views.hosts(await self._lists(paths.HOSTS, f"{paths.SPECS}{views.HOST}/", paths.DESIRED))

    async def _lists(self, *prefixes: str) -> Snapshot:
        return Snapshot(await asyncio.gather(*(self._session.lists.list(prefix) for prefix in prefixes)))


@asynccontextmanager
async def etcd_session(config: Config) -> AsyncIterator[Session]:
    """
    Connect to etcd as the settings say.

    Raises:
        ConfigError: a file that the settings name cannot be read.
    """
    from controlplane.dial import dial

    connection, keys = dial(config)
    try:
        from controlplane.stores.store import EtcdStore
        from controlplane.stores.watches import EtcdFeed

        yield Session(EtcdStore(connection, keys, SystemClock()), EtcdFeed(connection, keys))
    finally:
        await connection.close()


def api_source(url: str) -> AbstractAsyncContextManager[Source]:
    from controlplane.commands.remote import api_source as open_

    return open_(url)


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@dataclass(frozen=True)
class World:
    """What commands reach for outside themselves; tests bring their own."""

    session: Callable[[Config], AbstractAsyncContextManager[Session]] = etcd_session
    remote: Callable[[str], AbstractAsyncContextManager[Source]] = api_source
    clock: Clock = field(default_factory=SystemClock)
    run: Callable[[Coroutine[Any, Any, Any]], Any] = run

    @asynccontextmanager
    async def source(self, config: Config, api: str | None) -> AsyncIterator[Source]:
        if api:
            async with self.remote(api) as remote:
                yield remote
        else:
            async with self.session(config) as session:
                yield EtcdSource(session)
