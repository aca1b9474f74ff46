"""What a host says of itself, and how it notices that its Docker is silent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from controlplane.heartbeat import SILENT_S, Heartbeat
from controlplane.sources.etcd import Mirror
from controlplane.stores.session import Session
from crds.heartbeat import HostRecord
from reconcilers import paths
from reconcilers.errors import Unavailable
from reconcilers.ports import EngineFacts
from tests.sim.clock import FakeClock, FakeIds
from tests.sim.engine import EngineWorld, FakeEngine
from tests.sim.etcd import FakeEtcd, FakeFeed, FakeLeases, FakeStore
from tests.sim.loop import run
from tests.unit.controlplane.observers import Lines

HOST = "host-1"


class Moody(FakeEngine):
    """An engine that answers, refuses, or says nothing."""

    mood = "answers"
    manager = True

    async def facts(self) -> EngineFacts:
        if self.mood == "hangs":
            await asyncio.Event().wait()
        if self.mood == "fails":
            raise Unavailable("docker", "connection refused")
        return replace(await super().facts(), manager=self.manager)


@dataclass
class World:
    etcd: FakeEtcd = field(default_factory=lambda: FakeEtcd(FakeClock(offset_s=0.0)))
    log: Lines = field(default_factory=Lines)

    def __post_init__(self) -> None:
        clock = FakeClock(offset_s=1_000.0)
        self.engine = Moody(EngineWorld(1, "node1", HOST), "default", clock)
        self.mirror = Mirror(FakeFeed(self.etcd, client="one"), clock, FakeIds(1))
        self.session = Session(FakeLeases(self.etcd, client="one"), clock, FakeIds(2), ttl_s=10)
        store = FakeStore(self.etcd, lease=lambda: self.session.lease_id, client="one")
        self.heartbeat = Heartbeat(HOST, "10.99.0.1", self.engine, self.mirror, store, clock, self.log)

    def said(self) -> HostRecord | None:
        record = self.etcd.get(paths.host(HOST))
        return HostRecord.model_validate_json(record.value) if record is not None else None


def play(story: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        it = World()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(part) for part in (it.session.run(), it.mirror.run(), it.heartbeat.run())
            ]
            await story(it)
            for task in tasks:
                task.cancel()

    run(main())


def test_a_host_says_what_it_is_and_can_be_worked_with() -> None:
    async def story(it: World) -> None:
        await asyncio.sleep(5)
        said = it.said()
        assert said is not None
        assert (said.name, said.address, said.manager) == (HOST, "10.99.0.1", True)
        assert it.heartbeat.able()
        assert it.heartbeat.answered

    play(story)


def test_a_silence_is_noticed_and_so_is_its_end() -> None:
    async def story(it: World) -> None:
        for mood in ("hangs", "fails"):
            await asyncio.sleep(60)
            assert it.heartbeat.able()
            it.engine.mood = mood
            await asyncio.sleep(SILENT_S - 12)
            assert it.heartbeat.able(), "it may only be slow"
            await asyncio.sleep(25)
            assert not it.heartbeat.able()
            assert not it.heartbeat.answered
            it.engine.mood = "answers"
            await asyncio.sleep(15)
            assert it.heartbeat.able()

    play(story)


def test_a_long_silence_is_told_once() -> None:
    async def story(it: World) -> None:
        it.engine.mood = "fails"
        await asyncio.sleep(600)
        assert [event for _, event, _ in it.log.lines].count("Docker does not answer") == 1

    play(story)


def test_a_node_that_is_no_manager_any_more_cannot_be_worked_with() -> None:
    async def story(it: World) -> None:
        await asyncio.sleep(5)
        it.engine.manager = False
        await asyncio.sleep(15)
        assert not it.heartbeat.able()
        it.engine.manager = True
        await asyncio.sleep(15)
        assert it.heartbeat.able()

    play(story)


def test_what_a_host_is_stays_known_while_its_docker_is_silent() -> None:
    async def story(it: World) -> None:
        await asyncio.sleep(5)
        it.engine.mood = "hangs"
        await asyncio.sleep(30)
        it.etcd.remove(paths.host(HOST))  # as when a lease ends
        await asyncio.sleep(15)
        assert it.said() is not None

    play(story)
