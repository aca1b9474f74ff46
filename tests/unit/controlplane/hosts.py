"""A few processes that elect owners over one small etcd, all in virtual time."""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from controlplane.claims import Unelected
from controlplane.controller import Controller
from controlplane.membership import Membership
from controlplane.ownership import Ownership, Pace
from controlplane.placement import Member
from controlplane.queue import WorkQueue
from controlplane.stores.feed import Lease, LeaseLost
from controlplane.stores.session import Session
from crds.meta import Key
from reconcilers import paths
from reconcilers.errors import Conflict, Unavailable, UnknownFate
from reconcilers.ports import Fence, Put, Record, Remove, Write
from tests.sim.clock import FakeClock, FakeIds
from tests.unit.controlplane.observers import Lines, Seen

TTL_S = 10
CALL_S = 0.002
MIRROR_S = 0.005


class Etcd:
    """Keys, revisions, leases. Every change reaches every mirror MIRROR_S later."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.revision = 1
        self.transactions = 0
        self.mirrors: list[Mirror] = []
        self.leases: dict[int, tuple[float, int]] = {}
        self.lease_of: dict[str, int] = {}
        self._last_lease = 0

    def commit(self, writes: Sequence[Write], lease_id: int) -> int:
        self.transactions += 1
        for write in writes:
            found = self.records.get(write.path)
            if write.expected is not None and write.expected != (found.mod_revision if found else 0):
                raise Conflict(write.path)
        self.revision += 1
        for write in writes:
            if isinstance(write, Remove):
                self.records.pop(write.path, None)
                continue
            found = self.records.get(write.path)
            created = found.create_revision if found else self.revision
            self.records[write.path] = Record(write.path, write.value, created, self.revision)
            self.lease_of[write.path] = lease_id if write.leased else 0
        self._publish([write.path for write in writes])
        return self.revision

    def grant(self, ttl_s: int) -> int:
        self._last_lease += 1
        self.renew(self._last_lease, ttl_s)
        return self._last_lease

    def renew(self, lease_id: int, ttl_s: int) -> None:
        ends_s = asyncio.get_running_loop().time() + ttl_s
        self.leases[lease_id] = (ends_s, ttl_s)
        asyncio.get_running_loop().call_at(ends_s, self._expire, lease_id)

    def revoke(self, lease_id: int) -> None:
        self.leases.pop(lease_id, None)
        gone = [path for path in sorted(self.records) if self.lease_of.get(path) == lease_id]
        for path in gone:
            del self.records[path]
        if gone:
            self.revision += 1
            self._publish(gone)

    def put(self, path: str, value: bytes = b"{}") -> int:
        return self.commit([Put(path, value)], 0)

    def _expire(self, lease_id: int) -> None:
        ends_s, _ = self.leases.get(lease_id, (float("inf"), 0))
        if ends_s <= asyncio.get_running_loop().time() + 1e-6:
            self.revoke(lease_id)

    def _publish(self, changed: list[str]) -> None:
        revision = self.revision
        now = {path: self.records.get(path) for path in changed}
        for mirror in self.mirrors:
            asyncio.get_running_loop().call_later(MIRROR_S, mirror.take, now, revision)


class Mirror:
    """`ports.Records`."""

    def __init__(self, etcd: Etcd) -> None:
        self._records = dict(etcd.records)
        self._paths = sorted(self._records)
        self.revision = etcd.revision
        self.changed: Callable[[list[str]], None] = lambda _: None
        self.frozen = False
        etcd.mirrors.append(self)

    def take(self, now: dict[str, Record | None], revision: int) -> None:
        if self.frozen:
            return
        for path, record in now.items():
            if record is None:
                self._records.pop(path, None)
            else:
                self._records[path] = record
        self._paths = []
        self.revision = max(self.revision, revision)
        self.changed(list(now))

    def get(self, path: str) -> Record | None:
        return self._records.get(path)

    def under(self, prefix: str) -> list[Record]:
        if not self._paths:
            self._paths = sorted(self._records)
        start = bisect.bisect_left(self._paths, prefix)
        found = []
        for path in self._paths[start:]:
            if not path.startswith(prefix):
                break
            found.append(self._records[path])
        return found

    async def reached(self, revision: int) -> None:
        raise NotImplementedError


class Client:
    """`ports.Store` and `feed.Leases` of one process. `cut` breaks it off; `lose_answers` loses that many."""

    def __init__(self, etcd: Etcd) -> None:
        self._etcd = etcd
        self.session: Session | None = None
        self.cut = False
        self.lose_answers = 0
        self.answer_after_s = CALL_S / 2

    async def read(self, path: str) -> Record | None:
        await self._call()
        return self._etcd.records.get(path)

    async def commit(self, writes: Sequence[Write], fences: Sequence[Fence] = ()) -> int:
        lease_id = self.session.lease_id if self.session is not None else 0
        await self._call()
        if lease_id not in self._etcd.leases and any(isinstance(w, Put) and w.leased for w in writes):
            raise Unavailable("etcd", "no lease")
        revision = self._etcd.commit(writes, lease_id)
        await asyncio.sleep(self.answer_after_s)
        if self.lose_answers:
            self.lose_answers -= 1
            raise UnknownFate("etcd")
        return revision

    async def grant(self, ttl_s: int) -> Lease:
        await self._call()
        return Lease(self._etcd.grant(ttl_s), ttl_s)

    async def keep_alive(self, lease_id: int) -> int:
        await self._call()
        if lease_id not in self._etcd.leases:
            raise LeaseLost(lease_id)
        ttl_s = self._etcd.leases[lease_id][1]
        self._etcd.renew(lease_id, ttl_s)
        return ttl_s

    async def revoke(self, lease_id: int) -> None:
        await self._call()
        self._etcd.revoke(lease_id)

    async def time_to_live(self, lease_id: int) -> int:
        raise NotImplementedError

    async def _call(self) -> None:
        await asyncio.sleep(CALL_S / 2)
        if self.cut:
            await asyncio.sleep(1.0)
            raise Unavailable("etcd", "cut off")


@dataclass
class Host:
    """One process: session, mirror, ownership and its controller."""

    name: str
    etcd: Etcd
    mirror: Mirror
    client: Client
    clock: FakeClock
    ownership: Ownership
    membership: Membership
    seen: Seen
    log: Lines
    log_of_calls: list[tuple[str, Key]]
    busy: set[Key]
    usable: list[bool]
    tasks: list[asyncio.Task[Any]]

    def kill(self) -> None:
        """As SIGKILL: nothing is said to anybody."""
        for task in self.tasks:
            task.cancel()
        self.client.cut = True

    def owned(self) -> set[str]:
        return {key.name for key in self.ownership.owned()}


class World:
    def __init__(self) -> None:
        self.etcd = Etcd()
        self.hosts: list[Host] = []

    def start(
        self, name: str, *, boot: str = "", pace: Pace | None = None, kinds: tuple[str, ...] = ("database",)
    ) -> Host:
        number = len(self.hosts)
        clock, ids = FakeClock(offset_s=1_000.0 * (number + 1)), FakeIds(number)
        client, mirror, seen, log = Client(self.etcd), Mirror(self.etcd), Seen(), Lines()
        session = Session(client, clock, ids, ttl_s=TTL_S)
        client.session = session
        queue: WorkQueue[Key] = WorkQueue("ownership", clock, ids, seen, suspects_max=64)
        me = Member(name, boot or f"boot-{number}", kinds)
        membership = Membership(me, {"host": name}, mirror, client, session, clock, log)
        calls: list[tuple[str, Key]] = []
        busy: set[Key] = set()
        usable: list[bool] = []

        def acquired(key: Key, epoch: int) -> None:
            calls.append(("acquired", key))
            usable.append(ownership.claim(key) is not None)

        ownership = Ownership(
            membership,
            queue,
            mirror,
            client,
            clock,
            seen,
            on_acquired=acquired,
            on_lost=lambda key: calls.append(("lost", key)),
            busy=busy.__contains__,
            pace=pace,
        )
        mirror.changed = ownership.changed
        controller = Controller(
            "ownership", queue, ownership, Unelected(), clock, seen, log, workers=64, deadline_s=30
        )
        tasks = [asyncio.create_task(part) for part in (session.run(), ownership.run(), controller.run())]
        host = Host(
            name,
            self.etcd,
            mirror,
            client,
            clock,
            ownership,
            membership,
            seen,
            log,
            calls,
            busy,
            usable,
            tasks,
        )
        self.hosts.append(host)
        return host

    def spec(self, *names: str) -> None:
        for name in names:
            self.etcd.put(paths.spec(Key("database", name)))

    def owners(self) -> dict[str, str]:
        found = self.etcd.records.items()
        return {
            path.rpartition("/")[2]: r.value.decode()
            for path, r in sorted(found)
            if path.startswith(paths.OWNERS)
        }

    def actors(self, key: Key) -> list[str]:
        """Who believes that it may act on the key now."""
        return [host.name for host in self.hosts if host.ownership.claim(key) is not None]


@asynccontextmanager
async def world() -> Any:
    it = World()
    try:
        yield it
    finally:
        for host in it.hosts:
            host.kill()
        await asyncio.gather(*(task for host in it.hosts for task in host.tasks), return_exceptions=True)
