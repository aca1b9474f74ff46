"""
etcd in memory, for virtual time: revisions, transactions, leases, watches with compaction. One object is the cluster.

`FakeEtcd` is the server; `FakeStore`, `FakeFeed`, `FakeLeases` and `FakeAccounts` are one process's clients of it and
speak the same ports as the real ones. `FakeEtcd.gate` is where a simulation puts latency and faults: every call awaits
it twice, before its effect and before its answer, and whatever it raises is what the caller gets.
"""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from controlplane.stores.feed import (
    Batch,
    Change,
    Compacted,
    Delta,
    Frame,
    Gone,
    Lease,
    LeaseLost,
    Listing,
    Progress,
    TooLarge,
)
from controlplane.stores.leases import SharedLeases
from reconcilers.errors import Conflict, OwnershipLost, PgswarmError, Unavailable, UnknownFate
from reconcilers.ports import Clock, Fence, Put, Record, Remove, Secret, Write
from tests.sim.loop import NOBODY

T = TypeVar("T")
PATRONI = "patroni/"
LAST = "\U0010ffff"
"""Comes after every letter of a path."""
OPERATIONS_MAX = 128
REQUEST_BYTES_MAX = 1_572_864 - 4_096
NO_LEASE = 0
LAST = "\U0010ffff"
"""After every character of a path."""


@dataclass(frozen=True, slots=True)
class Call:
    """What `FakeEtcd.gate` is told. `moment` is `before` or `after` the effect."""

    client: str
    operation: str
    """read, commit, list, since, watch, grant, keep_alive, revoke, ensure or drop."""
    moment: str
    detail: str = ""


async def open_gate(call: Call) -> None:
    """Let everything through at once."""


@dataclass(slots=True)
class _FakeLease:
    ttl_s: int
    ends_s: float
    paths: set[str] = field(default_factory=set)


class FakeEtcd:
    """The server. Leases end by the given clock, also while nobody calls; `down` makes every call Unavailable."""

    def __init__(self, clock: Clock, *, min_ttl_s: int = 2) -> None:
        self.clock = clock
        self.gate: Callable[[Call], Awaitable[None]] = open_gate
        self.judge: Callable[[str, Sequence[Write], Sequence[Fence]], None] = lambda client, writes, fences: (
            None
        )
        """Told of every transaction of a process that was carried out."""
        self.listeners: list[Callable[[Sequence[Change]], None]] = []
        """Told of every change at the very moment, whoever made it."""
        self.down = False
        self.revision = 1
        self.compacted = 0
        self.accounts: dict[str, tuple[Secret, str]] = {}
        self._min_ttl_s = min_ttl_s
        self._records: dict[str, Record] = {}
        self._paths: list[str] = []
        """Of all of them, in order."""
        self._bound: dict[str, int] = {}
        self._leases: dict[int, _FakeLease] = {}
        self._next_lease = 0x1000
        self._expire_at_s = math.inf
        """No lease ends before."""
        self._history: list[Change] = []
        self._watches: list[FakeWatch] = []

    # --- what a test may ask and do directly ---

    def get(self, path: str) -> Record | None:
        self._expire()
        return self._records.get(path)

    def under(self, prefix: str) -> list[Record]:
        self._expire()
        return [self._records[path] for path in self._span(prefix)]

    def count(self, prefix: str) -> int:
        """How many are under it."""
        self._expire()
        return len(self._span(prefix))

    def written_since(self, revision: int) -> list[Record]:
        """What is there and was written at that revision or later, in order of paths."""
        self._expire()
        if revision <= self.compacted:
            return [record for record in self.under("") if record.mod_revision >= revision]
        written = {change.path for change in self._recent(revision)}
        return [self._records[path] for path in sorted(written & self._records.keys())]

    def put(self, path: str, value: bytes) -> int:
        """A person with etcdctl."""
        return self.apply([Put(path, value)], (), NO_LEASE, {})

    def remove(self, path: str, *, prefix: bool = False) -> int:
        return self.apply([Remove(path, prefix=prefix)], (), NO_LEASE, {})

    def compact(self, revision: int | None = None) -> None:
        """Forget the history up to `revision` (default: all of it)."""
        self.compacted = self.revision if revision is None else revision
        self._history = [change for change in self._history if _revision(change) > self.compacted]

    def cut_watches(self) -> None:
        """Every open stream breaks."""
        for watch in list(self._watches):
            watch.fail(Unavailable("etcd", "the watch stream broke"))

    def silence_watches(self) -> None:
        """Every open stream looks open and delivers nothing any more."""
        for watch in self._watches:
            watch.silent = True

    def wipe(self) -> None:
        """A new, empty cluster under the old address: revisions start over."""
        self.revision, self.compacted = 1, 0
        for store in (self._records, self._paths, self._bound, self._leases, self._history):
            store.clear()
        self.cut_watches()

    def snapshot(self) -> tuple[int, dict[str, Record]]:
        """Revision and records; what hangs on a lease is left out, as it is gone by the time of any restore."""
        self._expire()
        kept = {path: record for path, record in self._records.items() if path not in self._bound}
        return self.revision, kept

    def restore(self, snapshot: tuple[int, dict[str, Record]], *, bump: int = 0) -> None:
        """A new cluster under the old address from a snapshot; `bump` is etcdutl's --bump-revision."""
        self.wipe()
        revision, records = snapshot
        self.revision = self.compacted = revision + bump
        self._records.update(records)
        self._paths = sorted(self._records)

    # --- server ---

    async def pass_gate(self, call: Call) -> None:
        await self.gate(call)
        if self.down:
            raise Unavailable("etcd", "it is down")

    def apply(
        self, writes: Sequence[Write], fences: Sequence[Fence], session: int, shared: dict[int, int]
    ) -> int:
        self._expire()
        for fence in fences:
            held = self._records.get(fence.path)
            if (held.create_revision if held else 0) != fence.epoch:
                raise OwnershipLost(fence.path) if fence.owner else Conflict(fence.path)
        for write in writes:
            if write.expected is not None and self._mod_revision(write.path) != write.expected:
                raise Conflict(write.path)
        leases = {write.path: _lease_of(write, session, shared) for write in writes if isinstance(write, Put)}
        if any(lease not in (NO_LEASE, *self._leases) for lease in leases.values()):
            raise Unavailable("etcd", "the lease has ended; nothing was written")
        changes: list[Change] = []
        for write in writes:
            if isinstance(write, Put):
                changes.append(self._put(write, leases[write.path]))
            else:
                changes.extend(self._gone(path) for path in self._matching(write))
        return self._publish(changes)

    def grant(self, ttl_s: int) -> Lease:
        self._expire()
        ttl_s = max(ttl_s, self._min_ttl_s)
        self._next_lease += 1
        self._leases[self._next_lease] = _FakeLease(ttl_s, 0.0)
        self._prolong(self._next_lease)
        return Lease(self._next_lease, ttl_s)

    def keep_alive(self, lease_id: int) -> int:
        self._expire()
        if lease_id not in self._leases:
            raise LeaseLost(lease_id)
        return self._prolong(lease_id)

    def time_to_live(self, lease_id: int) -> int:
        self._expire()
        if lease_id not in self._leases:
            raise LeaseLost(lease_id)
        return max(1, int(self._leases[lease_id].ends_s - self.clock.monotonic()))

    def revoke(self, lease_id: int) -> None:
        lease = self._leases.pop(lease_id, None)
        if lease is not None:
            self._publish([self._gone(path) for path in sorted(lease.paths)])

    def renew_all(self) -> None:
        """A new etcd leader gives every lease its full time again."""
        for lease_id in self._leases:
            self._prolong(lease_id)

    def history(self, prefix: str, start_revision: int) -> list[Change]:
        # As etcd does: a watch may begin at the compacted revision itself, and a deletion there is lost to it.
        if start_revision < self.compacted:
            raise Compacted(self.compacted)
        return [change for change in self._recent(start_revision) if _belongs(change.path, prefix)]

    def attach(self, watch: FakeWatch) -> None:
        self._watches.append(watch)

    def detach(self, watch: FakeWatch) -> None:
        self._watches.remove(watch)

    # --- inside ---

    def _mod_revision(self, path: str) -> int:
        held = self._records.get(path)
        return held.mod_revision if held else 0

    def _matching(self, remove: Remove) -> list[str]:
        if not remove.prefix:
            return [remove.path] if remove.path in self._records else []
        return self._span(remove.path)

    def _span(self, prefix: str) -> list[str]:
        """Paths that begin with it, in order."""
        first = bisect_left(self._paths, prefix)
        return self._paths[first : bisect_left(self._paths, prefix + LAST, lo=first)]

    def _recent(self, revision: int) -> list[Change]:
        """The history from there on; it is in order of revisions."""
        return self._history[bisect_left(self._history, revision, key=_revision) :]

    def _put(self, write: Put, lease: int) -> Record:
        revision = self.revision + 1
        held = self._records.get(write.path)
        if held is None:
            insort(self._paths, write.path)
        created = held.create_revision if held else revision
        self._unbind(write.path)
        if lease != NO_LEASE:
            self._leases[lease].paths.add(write.path)
            self._bound[write.path] = lease
        record = Record(write.path, write.value, created, revision)
        self._records[write.path] = record
        return record

    def _gone(self, path: str) -> Gone:
        del self._records[path]
        del self._paths[bisect_left(self._paths, path)]
        self._unbind(path)
        return Gone(path, self.revision + 1)

    def _unbind(self, path: str) -> None:
        lease = self._leases.get(self._bound.pop(path, NO_LEASE))
        if lease is not None:
            lease.paths.discard(path)

    def _publish(self, changes: list[Change]) -> int:
        if changes:
            self.revision += 1
            self._history.extend(changes)
            for watch in list(self._watches):
                watch.offer([change for change in changes if _belongs(change.path, watch.prefix)])
            for listener in self.listeners:
                listener(changes)
        return self.revision

    def _prolong(self, lease_id: int) -> int:
        lease = self._leases[lease_id]
        lease.ends_s = self.clock.monotonic() + lease.ttl_s
        self._expire_at_s = min(self._expire_at_s, lease.ends_s)
        asyncio.get_running_loop().call_later(lease.ttl_s + 0.001, self._expire, context=NOBODY.copy())
        return lease.ttl_s

    def _expire(self) -> None:
        now_s = self.clock.monotonic()
        if now_s < self._expire_at_s:
            return
        for lease_id in [each for each, lease in self._leases.items() if lease.ends_s <= now_s]:
            self.revoke(lease_id)
        self._expire_at_s = min((lease.ends_s for lease in self._leases.values()), default=math.inf)


class FakeStore:
    """`ports.Store`. `client` names the process in `FakeEtcd.gate`."""

    def __init__(
        self, etcd: FakeEtcd, *, lease: Callable[[], int] = lambda: NO_LEASE, client: str = ""
    ) -> None:
        self._etcd, self._lease, self._client = etcd, lease, client
        self._shared = SharedLeases(FakeLeases(etcd, client=client), etcd.clock)

    async def read(self, path: str) -> Record | None:
        await self._etcd.pass_gate(Call(self._client, "read", "before", path))
        found = self._etcd.get(path)
        await self._etcd.gate(Call(self._client, "read", "after", path))
        return found

    async def commit(self, writes: Sequence[Write], fences: Sequence[Fence] = ()) -> int:
        _check(writes, fences)
        session = self._lease() if any(isinstance(w, Put) and w.leased for w in writes) else NO_LEASE
        if session == NO_LEASE and any(isinstance(w, Put) and w.leased for w in writes):
            raise Unavailable("etcd", "this process holds no lease at the moment")
        lifetimes = {w.ttl_s for w in writes if isinstance(w, Put) and w.ttl_s is not None and not w.leased}
        shared = {ttl_s: await self._shared.for_ttl(ttl_s) for ttl_s in sorted(lifetimes)}
        detail = ",".join(write.path for write in writes)
        await self._etcd.pass_gate(Call(self._client, "commit", "before", detail))
        revision, error = 0, None
        try:
            revision = self._etcd.apply(writes, fences, session, shared)
            self._etcd.judge(self._client, writes, fences)
        except Unavailable:
            self._shared.forget()
            raise
        except PgswarmError as exc:
            error = exc
        try:
            await self._etcd.gate(Call(self._client, "commit", "after", detail))
        except Unavailable as exc:
            raise UnknownFate("etcd", "the answer was lost") from exc
        if error is not None:
            raise error
        return revision


class FakeLeases:
    """`feed.Leases`."""

    def __init__(self, etcd: FakeEtcd, *, client: str = "") -> None:
        self._etcd, self._client = etcd, client

    async def grant(self, ttl_s: int) -> Lease:
        return await self._call("grant", lambda: self._etcd.grant(ttl_s))

    async def keep_alive(self, lease_id: int) -> int:
        return await self._call("keep_alive", lambda: self._etcd.keep_alive(lease_id))

    async def revoke(self, lease_id: int) -> None:
        await self._call("revoke", lambda: self._etcd.revoke(lease_id))

    async def time_to_live(self, lease_id: int) -> int:
        return await self._call("time_to_live", lambda: self._etcd.time_to_live(lease_id))

    async def _call(self, operation: str, effect: Callable[[], T]) -> T:
        await self._etcd.pass_gate(Call(self._client, operation, "before"))
        answer = effect()
        await self._etcd.gate(Call(self._client, operation, "after"))
        return answer


class FakeFeed:
    """`feed.Feed`."""

    def __init__(self, etcd: FakeEtcd, *, client: str = "") -> None:
        self._etcd, self._client = etcd, client

    async def list(self, prefix: str) -> Listing:
        await self._etcd.pass_gate(Call(self._client, "list", "before", prefix))
        listing = Listing(self._under(prefix), self._etcd.revision)
        await self._etcd.gate(Call(self._client, "list", "after", prefix))
        return listing

    async def since(self, prefix: str, revision: int) -> Delta:
        await self._etcd.pass_gate(Call(self._client, "since", "before", prefix))
        recent = [one for one in self._etcd.written_since(revision) if _belongs(one.path, prefix)]
        count = self._etcd.count(prefix) - (0 if prefix else self._etcd.count(PATRONI))
        delta = Delta(tuple(recent), count, self._etcd.revision)
        await self._etcd.gate(Call(self._client, "since", "after", prefix))
        return delta

    @asynccontextmanager
    async def watch(self, prefix: str, start_revision: int) -> AsyncIterator[FakeWatch]:
        await self._etcd.pass_gate(Call(self._client, "watch", "before", prefix))
        watch = FakeWatch(self._etcd, prefix, start_revision)
        self._etcd.attach(watch)
        try:
            yield watch
        finally:
            self._etcd.detach(watch)

    def _under(self, prefix: str) -> tuple[Record, ...]:
        return tuple(record for record in self._etcd.under("") if _belongs(record.path, prefix))


class FakeWatch:
    """`feed.Watch`."""

    def __init__(self, etcd: FakeEtcd, prefix: str, start_revision: int) -> None:
        self.prefix = prefix
        self.silent = False
        self._etcd = etcd
        self._start_revision = start_revision
        self._frames: deque[Frame | PgswarmError] = deque([Progress(0)])
        self._arrived = asyncio.Event()
        try:
            for change in etcd.history(prefix, start_revision) if start_revision <= etcd.revision else []:
                self._add(change)
        except Compacted as exc:
            self._frames.append(exc)

    def offer(self, changes: list[Change]) -> None:
        if self.silent:
            return
        for change in changes:
            if _revision(change) >= self._start_revision:
                self._add(change)
        self._arrived.set()

    def fail(self, error: PgswarmError) -> None:
        self._frames.append(error)
        self._arrived.set()

    async def next(self) -> Frame:
        while not self._frames:
            self._arrived.clear()
            await self._arrived.wait()
        frame = self._frames.popleft()
        if isinstance(frame, PgswarmError):
            raise frame
        return frame

    async def ask_progress(self) -> None:
        # As etcd does: a watcher that starts in the future hears nothing of progress.
        if not self.silent and self._etcd.revision >= self._start_revision:
            self._frames.append(Progress(self._etcd.revision))
            self._arrived.set()

    def _add(self, change: Change) -> None:
        last = self._frames[-1] if self._frames else None
        if isinstance(last, Batch) and last.revision == _revision(change):
            self._frames[-1] = Batch((*last.changes, change), last.revision)
        else:
            self._frames.append(Batch((change,), _revision(change)))


class FakeAccounts:
    """`ports.Accounts`."""

    def __init__(self, etcd: FakeEtcd, *, client: str = "") -> None:
        self._etcd, self._client = etcd, client

    def names(self) -> frozenset[str] | None:
        return frozenset(self._etcd.accounts)

    @property
    def listed_at(self) -> int:
        return self._etcd.revision  # it looks anew each time it is asked

    async def refresh(self) -> None:
        await self._etcd.pass_gate(Call(self._client, "accounts", "before"))

    async def ensure(self, user: str, password: Secret, prefix_path: str) -> None:
        if not prefix_path.endswith("/") or user in ("", "root"):
            raise ValueError(f"no account {user!r} for {prefix_path!r}")
        await self._etcd.pass_gate(Call(self._client, "ensure", "before", user))
        self._etcd.accounts[user] = (password, prefix_path)
        await self._etcd.gate(Call(self._client, "ensure", "after", user))

    async def drop(self, user: str) -> None:
        await self._etcd.pass_gate(Call(self._client, "drop", "before", user))
        self._etcd.accounts.pop(user, None)
        await self._etcd.gate(Call(self._client, "drop", "after", user))


def _check(writes: Sequence[Write], fences: Sequence[Fence]) -> None:
    written = [write.path for write in writes]
    if len(set(written)) != len(written):
        raise ValueError("a record is written twice in one transaction")
    for write in writes:
        if write.path.startswith("/"):
            raise ValueError(f"a path is relative: {write.path!r}")
        if not isinstance(write, Remove) or not write.prefix:
            continue
        if not write.path.endswith("/") or write.expected is not None:
            raise ValueError(f"a prefix ends with a slash and has no revision to expect: {write.path!r}")
        if any(path.startswith(write.path) and path != write.path for path in written):
            raise ValueError(
                f"something below {write.path} is written in the transaction that removes it all"
            )
    compares = len(fences) + sum(write.expected is not None for write in writes)
    size_bytes = sum(len(write.value) for write in writes if isinstance(write, Put))
    if max(compares, len(writes)) > OPERATIONS_MAX or size_bytes > REQUEST_BYTES_MAX:
        raise TooLarge(f"a transaction of {len(writes)} writes and {size_bytes} bytes")


def _lease_of(put: Put, session: int, shared: dict[int, int]) -> int:
    if put.leased:
        return session
    return NO_LEASE if put.ttl_s is None else shared[put.ttl_s]


def _revision(change: Change) -> int:
    return change.revision if isinstance(change, Gone) else change.mod_revision


def _belongs(path: str, prefix: str) -> bool:
    """Below this prefix, where `""` means pgswarm's own records without Patroni's."""
    return path.startswith(prefix) and (bool(prefix) or not path.startswith(PATRONI))
