"""One etcd, real or in memory, as the contract suites see it: the ports, and a hand on what a person could do to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from aetcd.rpc import rpc_pb2 as pb

from controlplane.clock import SystemClock, SystemIds
from controlplane.sources.etcd import Mirror
from controlplane.sources.follower import Rhythm
from controlplane.stores.connection import Connection, Credentials, Timeouts
from controlplane.stores.feed import Change, Feed, Frame, Leases, Progress, Watch
from controlplane.stores.keys import Keys
from controlplane.stores.leases import EtcdLeases
from controlplane.stores.store import EtcdStore
from controlplane.stores.watches import EtcdFeed
from reconcilers.ports import Store
from tests.etcd_server import EtcdServer
from tests.sim.etcd import FakeEtcd, FakeFeed, FakeLeases, FakeStore

LIMIT_S = 10.0
POLL_S = 0.01
QUICK = Timeouts(connect_s=0.5, attempt_s=0.5)


class World(Protocol):
    clock: SystemClock
    ids: SystemIds
    feed: Feed
    leases: Leases

    def store(self, lease: Callable[[], int] = ...) -> Store: ...

    async def compact(self) -> int:
        """Forget all history; returns the revision."""
        ...


class FakeWorld:
    def __init__(self) -> None:
        self.clock, self.ids = SystemClock(), SystemIds()
        self.etcd = FakeEtcd(self.clock, min_ttl_s=1)
        self.feed: Feed = FakeFeed(self.etcd)
        self.leases: Leases = FakeLeases(self.etcd)

    def store(self, lease: Callable[[], int] = lambda: 0) -> Store:
        return FakeStore(self.etcd, lease=lease)

    async def compact(self) -> int:
        self.etcd.compact()
        return self.etcd.revision


class EtcdWorld:
    """A prefix of its own on a shared server, so that tests do not see each other."""

    def __init__(self, connection: Connection, keys: Keys, *, page: int = 500) -> None:
        self.clock, self.ids = SystemClock(), SystemIds()
        self.connection, self.keys = connection, keys
        self.feed: Feed = EtcdFeed(connection, keys, page=page)
        self.leases: Leases = EtcdLeases(connection)

    def store(self, lease: Callable[[], int] = lambda: 0) -> Store:
        return EtcdStore(self.connection, self.keys, self.clock, lease=lease)

    async def compact(self) -> int:
        answer = await self.connection.call("kv", "Range", pb.RangeRequest(key=b"/"))
        revision = int(answer.header.revision)
        await self.connection.call("kv", "Compact", pb.CompactionRequest(revision=revision, physical=True))
        return revision


@asynccontextmanager
async def connected(
    server: EtcdServer,
    *,
    keys: Keys | None = None,
    credentials: Credentials | None = None,
    timeouts: Timeouts | None = None,
    page: int = 500,
) -> AsyncIterator[EtcdWorld]:
    connection = Connection([server.url], credentials=credentials, timeouts=timeouts)
    try:
        yield EtcdWorld(connection, keys or Keys(), page=page)
    finally:
        await connection.close()


@asynccontextmanager
async def mirrored(world: World, *, rhythm: Rhythm | None = None) -> AsyncIterator[Mirror]:
    """A mirror that runs and is ready."""
    mirror = Mirror(world.feed, world.clock, world.ids, rhythm=rhythm)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(mirror.run())
        try:
            async with asyncio.timeout(LIMIT_S):
                await mirror.ready.wait()
            yield mirror
        finally:
            task.cancel()


async def next_changes(watch: Watch, count: int) -> list[Change]:
    """The next `count` changes; fails rather than wait for ever."""
    changes: list[Change] = []
    async with asyncio.timeout(LIMIT_S):
        while len(changes) < count:
            frame = await watch.next()
            if not isinstance(frame, Progress):
                changes.extend(frame.changes)
    return changes


async def next_frame(watch: Watch) -> Frame:
    async with asyncio.timeout(LIMIT_S):
        return await watch.next()


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that must happen; fails rather than wait for ever."""
    for _ in range(int(LIMIT_S / POLL_S)):
        if true():
            return
        await asyncio.sleep(POLL_S)
    raise AssertionError("what had to happen did not")
