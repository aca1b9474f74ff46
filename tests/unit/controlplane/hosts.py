"""A few processes that elect owners over one etcd, all in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from controlplane.claims import Unelected
from controlplane.controller import Controller
from controlplane.membership import Membership
from controlplane.ownership import Ownership, Pace
from controlplane.placement import Member
from controlplane.queue import WorkQueue
from controlplane.sources.etcd import Mirror
from controlplane.stores.session import Session
from crds.meta import Key
from reconcilers import paths
from reconcilers.errors import Unavailable
from reconcilers.ports import Record
from tests.sim.clock import FakeClock, FakeIds
from tests.sim.etcd import Call, FakeEtcd, FakeFeed, FakeLeases, FakeStore
from tests.unit.controlplane.observers import Lines, Seen

TTL_S = 10
CALL_S = 0.002


@dataclass
class Line:
    """The connection of one process to etcd."""

    cut: bool = False
    lose_answers: int = 0
    """Commits whose effect happens and whose answer does not arrive."""
    answer_after_s: float = CALL_S / 2


class Lagging:
    """`ports.Records` that can stand still while etcd moves on."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._still: tuple[dict[str, Record], int] | None = None

    def freeze(self) -> None:
        self._still = ({record.path: record for record in self._mirror.under("")}, self._mirror.revision)

    def show(self, record: Record) -> None:
        """While frozen: let this one record through, and say nothing of its revision."""
        assert self._still is not None
        self._still[0][record.path] = record

    def hide(self, path: str) -> None:
        assert self._still is not None
        self._still[0].pop(path, None)

    def reach(self, revision: int) -> None:
        """While frozen: claim to be at this revision."""
        assert self._still is not None
        self._still = (self._still[0], revision)

    @property
    def frozen(self) -> bool:
        return self._still is not None

    @property
    def revision(self) -> int:
        return self._mirror.revision if self._still is None else self._still[1]

    def get(self, path: str) -> Record | None:
        return self._mirror.get(path) if self._still is None else self._still[0].get(path)

    def under(self, prefix: str) -> Sequence[Record]:
        if self._still is None:
            return self._mirror.under(prefix)
        return [record for path, record in sorted(self._still[0].items()) if path.startswith(prefix)]

    async def reached(self, revision: int) -> None:
        await self._mirror.reached(revision)


@dataclass
class Host:
    """One process: mirror, session, ownership and its controller."""

    name: str
    line: Line
    records: Lagging
    session: Session
    clock: FakeClock
    ownership: Ownership
    membership: Membership
    seen: Seen
    log: Lines
    calls: list[tuple[str, Key]]
    usable: list[bool]
    """Per `on_acquired`: could the claim be used at that moment?"""
    busy: set[Key]
    orphans: set[Key]
    docker: list[bool]
    """Whether Docker can be worked with; the last one counts."""
    tasks: dict[str, asyncio.Task[Any]]

    def kill(self) -> None:
        """As SIGKILL: nothing is said to anybody."""
        for task in self.tasks.values():
            task.cancel()
        self.line.cut = True

    def owned(self) -> set[str]:
        return {key.name for key in self.ownership.owned()}


class World:
    def __init__(self) -> None:
        self.etcd = FakeEtcd(FakeClock(offset_s=0.0))
        self.etcd.gate = self._gate
        self.hosts: list[Host] = []
        self.lines: dict[str, Line] = {}
        self.transactions = 0

    async def _gate(self, call: Call) -> None:
        line = self.lines[call.client]
        commit = call.operation == "commit"
        self.transactions += commit and call.moment == "before"
        await asyncio.sleep(line.answer_after_s if commit and call.moment == "after" else CALL_S / 2)
        if line.cut:
            await asyncio.sleep(1.0)
            raise Unavailable("etcd", "cut off")
        if commit and call.moment == "after" and line.lose_answers:
            line.lose_answers -= 1
            raise Unavailable("etcd", "the answer is lost")

    def start(
        self, name: str, *, boot: str = "", pace: Pace | None = None, kinds: tuple[str, ...] = ("database",)
    ) -> Host:
        number = len(self.hosts)
        client = f"{name}-{number}"
        clock, ids, line = FakeClock(offset_s=1_000.0 * (number + 1)), FakeIds(number), Line()
        self.lines[client] = line
        mirror = Mirror(FakeFeed(self.etcd, client=client), clock, ids)
        records, seen, log = Lagging(mirror), Seen(), Lines()
        session = Session(FakeLeases(self.etcd, client=client), clock, ids, ttl_s=TTL_S)
        store = FakeStore(self.etcd, lease=lambda: session.lease_id, client=client)
        queue: WorkQueue[Key] = WorkQueue("ownership", clock, ids, seen, suspects_max=64)
        me = Member(name, boot or f"boot-{number}", kinds)
        docker = [True]
        membership = Membership(
            me, {"host": name}, records, store, session, clock, log, able=lambda: docker[-1]
        )
        calls: list[tuple[str, Key]] = []
        usable: list[bool] = []
        busy: set[Key] = set()
        orphans: set[Key] = set()

        def acquired(key: Key, epoch: int) -> None:
            calls.append(("acquired", key))
            usable.append(ownership.claim(key) is not None)

        ownership = Ownership(
            membership,
            queue,
            records,
            store,
            clock,
            seen,
            on_acquired=acquired,
            on_lost=lambda key: calls.append(("lost", key)),
            busy=busy.__contains__,
            orphans=lambda: orphans,
            pace=pace,
        )
        controller = Controller(
            "ownership", queue, ownership, Unelected(), clock, seen, log, workers=64, deadline_s=30
        )

        async def dispatch() -> None:
            async for changed in mirror.changes():
                if not records.frozen:
                    ownership.changed(changed.paths, everything=changed.everything)

        parts = {
            "mirror": mirror.run(),
            "dispatch": dispatch(),
            "session": session.run(),
            "ownership": ownership.run(),
            "controller": controller.run(),
        }
        tasks = {part: asyncio.create_task(work, name=f"{client} {part}") for part, work in parts.items()}
        host = Host(
            name,
            line,
            records,
            session,
            clock,
            ownership,
            membership,
            seen,
            log,
            calls,
            usable,
            busy,
            orphans,
            docker,
            tasks,
        )
        self.hosts.append(host)
        return host

    def spec(self, *names: str) -> None:
        for name in names:
            self.etcd.put(paths.spec(Key("database", name)), b"{}")

    def owners(self) -> dict[str, str]:
        return {r.path.rpartition("/")[2]: r.value.decode() for r in self.etcd.under(paths.OWNERS)}

    def epoch(self, name: str) -> int:
        record = self.etcd.get(paths.owner(Key("database", name)))
        assert record is not None
        return record.create_revision

    def actors(self, key: Key) -> list[str]:
        """Who believes that it may act on the key now."""
        return [host.name for host in self.hosts if host.ownership.claim(key) is not None]


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    it = World()
    try:
        yield it
    finally:
        for host in it.hosts:
            host.kill()
        everything = [task for host in it.hosts for task in host.tasks.values()]
        ends = await asyncio.gather(*everything, return_exceptions=True)
    crashed = [end for end in ends if isinstance(end, Exception)]
    assert not crashed, crashed
