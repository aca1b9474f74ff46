from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from controlplane.stores.session import Session
from reconcilers.errors import Unavailable
from reconcilers.ports import Put
from tests.sim.clock import FakeClock, FakeIds
from tests.sim.etcd import Call, FakeEtcd, FakeLeases, FakeStore
from tests.sim.loop import run


class Process:
    """A session on an etcd whose clock is another one than the process's."""

    def __init__(self) -> None:
        self.etcd = FakeEtcd(FakeClock(offset_s=7_000.0))
        self.clock = FakeClock()
        self.session = Session(FakeLeases(self.etcd), self.clock, FakeIds(), ttl_s=10, margin_s=2.0)
        self.lost: list[tuple[float, int]] = []
        self.session.on_lost(lambda lease_id: self.lost.append((self.clock.monotonic(), lease_id)))
        self.store = FakeStore(self.etcd, lease=lambda: self.session.lease_id)


def play(script: Callable[[Process], Awaitable[None]]) -> None:
    async def main() -> None:
        process = Process()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(process.session.run())
            await process.session.acquired()
            await script(process)
            running.cancel()

    run(main())


def test_a_session_holds_one_lease_for_hours() -> None:
    async def script(p: Process) -> None:
        first = p.session.lease_id
        await p.store.commit([Put("controllers/a", b"", leased=True)])
        for _ in range(720):
            await asyncio.sleep(10)
            assert p.session.valid()
        assert p.session.lease_id == first
        assert p.etcd.get("controllers/a") is not None
        assert p.lost == []

    play(script)


def test_belief_ends_a_margin_before_etcd_ends_the_lease() -> None:
    async def script(p: Process) -> None:
        await p.store.commit([Put("controllers/a", b"", leased=True)])
        p.etcd.down = True
        while p.session.valid():
            assert p.etcd.get("controllers/a") is not None
            await asyncio.sleep(0.05)
        for _ in range(30):
            assert not p.session.valid()
            assert p.etcd.get("controllers/a") is not None
            await asyncio.sleep(0.05)
        assert p.session.last_error != ""

    play(script)


def test_a_slow_answer_shortens_belief_instead_of_stretching_it() -> None:
    async def script(p: Process) -> None:
        async def slow(call: Call) -> None:
            if call.operation == "keep_alive" and call.moment == "after":
                await asyncio.sleep(4)

        p.etcd.gate = slow
        await p.store.commit([Put("controllers/a", b"", leased=True)])
        for _ in range(600):
            if p.session.valid():
                assert p.etcd.get("controllers/a") is not None
            lease_ends_s = p.etcd.time_to_live(p.session.lease_id) + p.clock.monotonic()
            assert p.session.deadline() <= lease_ends_s + 1
            await asyncio.sleep(0.1)

    play(script)


def test_a_process_that_stood_still_does_not_believe_when_it_wakes() -> None:
    async def script(p: Process) -> None:
        await asyncio.sleep(1)
        p.clock.stall(9)
        assert not p.session.valid()

    play(script)


def test_after_an_outage_shorter_than_the_lease_it_is_the_same_lease() -> None:
    async def script(p: Process) -> None:
        first = p.session.lease_id
        p.etcd.down = True
        await asyncio.sleep(8.5)
        assert not p.session.valid()
        p.etcd.down = False
        await asyncio.sleep(1.2)
        assert p.session.valid()
        assert p.session.lease_id == first
        assert p.lost == []

    play(script)


def test_after_a_longer_one_it_is_lost_and_there_is_a_new_one() -> None:
    async def script(p: Process) -> None:
        first = p.session.lease_id
        await p.store.commit([Put("controllers/a", b"", leased=True)])
        p.etcd.down = True
        await asyncio.sleep(60)
        assert p.etcd.get("controllers/a") is None
        p.etcd.down = False
        await asyncio.sleep(1.5)
        assert [lease_id for _, lease_id in p.lost] == [first]
        assert p.session.valid()
        assert p.session.lease_id != first
        assert p.session.last_error == ""

    play(script)


def test_renewals_whose_answers_get_lost_do_not_count() -> None:
    async def script(p: Process) -> None:
        async def lossy(call: Call) -> None:
            if call.operation == "keep_alive" and call.moment == "after":
                raise Unavailable("etcd", "the answer was lost")

        p.etcd.gate = lossy
        await asyncio.sleep(20)
        assert not p.session.valid()
        assert p.session.lease_id != 0
        p.etcd.gate = lambda call: asyncio.sleep(0)
        await asyncio.sleep(1.5)
        assert p.session.valid()

    play(script)


def test_a_closed_session_ends_its_run_and_revokes_even_a_lease_that_was_just_being_granted() -> None:
    async def main() -> None:
        p = Process()

        async def slow(call: Call) -> None:
            if call.operation == "grant" and call.moment == "after":
                await asyncio.sleep(1)

        p.etcd.gate = slow
        async with asyncio.TaskGroup() as group:
            group.create_task(p.session.run())
            await asyncio.sleep(0.5)
            await p.session.close()
        assert p.session.lease_id == 0
        assert not p.etcd._leases

    run(main())


def test_closing_while_etcd_is_away_returns_and_the_lease_ends_by_itself() -> None:
    async def script(p: Process) -> None:
        await p.store.commit([Put("controllers/a", b"", leased=True)])
        p.etcd.down = True
        await p.session.close()
        assert not p.session.valid()
        await asyncio.sleep(11)
        assert p.etcd.get("controllers/a") is None

    play(script)
