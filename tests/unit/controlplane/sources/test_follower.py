"""The mirror in virtual time, on an etcd that cuts, falls silent, compacts, lies and starts over."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from controlplane.sources.etcd import Mirror
from controlplane.sources.follower import Rhythm
from reconcilers.errors import Refused, Unavailable
from reconcilers.ports import Put, Remove
from tests.sim.clock import FakeClock, FakeIds
from tests.sim.etcd import Call, FakeEtcd, FakeFeed
from tests.sim.loop import run

RHYTHM = Rhythm()
Script = Callable[[FakeEtcd, Mirror], Awaitable[None]]


def play(script: Script, *, seed: int = 0, before: Callable[[FakeEtcd], None] = lambda etcd: None) -> None:
    async def main() -> None:
        etcd = FakeEtcd(FakeClock())
        before(etcd)
        mirror = Mirror(FakeFeed(etcd), FakeClock(5_000.0), FakeIds(seed))
        async with asyncio.TaskGroup() as group:
            running = group.create_task(mirror.run())
            await mirror.ready.wait()
            await script(etcd, mirror)
            running.cancel()

    run(main())


def same(etcd: FakeEtcd, mirror: Mirror) -> bool:
    return list(mirror.under("")) == etcd.under("")


def test_a_silent_stream_is_noticed_and_what_it_hid_is_made_up_for() -> None:
    async def script(etcd: FakeEtcd, mirror: Mirror) -> None:
        etcd.put("a", b"1")
        await asyncio.sleep(1)
        etcd.silence_watches()
        etcd.put("b", b"1")
        etcd.remove("a")
        await asyncio.sleep(1)
        assert not same(etcd, mirror)
        await asyncio.sleep(5 * RHYTHM.heartbeat_s)
        assert same(etcd, mirror)

    play(script)


def test_a_quiet_stream_is_not_taken_for_a_silent_one() -> None:
    async def script(etcd: FakeEtcd, mirror: Mirror) -> None:
        opened = 0

        async def count(call: Call) -> None:
            nonlocal opened
            opened += call.operation == "watch"

        await asyncio.sleep(70)
        etcd.gate = count
        await asyncio.sleep(45)
        assert opened <= 2
        assert mirror.stale_for_s <= 2 * RHYTHM.heartbeat_s
        assert mirror.last_error == ""

    play(script)


def test_a_lost_deletion_is_found_by_the_audit() -> None:
    async def script(etcd: FakeEtcd, mirror: Mirror) -> None:
        etcd.put("a", b"1")
        etcd.put("b", b"1")
        await asyncio.sleep(1)
        # The event is lost on the way; the stream goes on as if nothing were.
        lost = etcd._watches[:]
        etcd._watches.clear()
        etcd.remove("a")
        etcd._watches.extend(lost)
        etcd.put("c", b"1")
        await asyncio.sleep(1)
        assert mirror.get("c") is not None
        assert mirror.get("a") is not None
        await asyncio.sleep(RHYTHM.audit_s * 1.3)
        assert same(etcd, mirror)

    play(script)


def test_a_lost_change_is_found_by_the_relist() -> None:
    async def script(etcd: FakeEtcd, mirror: Mirror) -> None:
        etcd.put("a", b"1")
        await asyncio.sleep(1)
        lost = etcd._watches[:]
        etcd._watches.clear()
        etcd.put("a", b"2")
        etcd._watches.extend(lost)
        etcd.put("b", b"1")
        await asyncio.sleep(RHYTHM.relist_s * 1.3 + RHYTHM.audit_s * 1.3)
        assert same(etcd, mirror)

    play(script)


def test_deletions_that_were_compacted_away_while_cut_off_are_seen_as_changes() -> None:
    async def script(etcd: FakeEtcd, mirror: Mirror) -> None:
        etcd.put("a", b"1")
        etcd.put("b", b"1")
        await asyncio.sleep(1)
        changes = mirror.changes()
        await anext(changes)
        etcd.down = True
        etcd.cut_watches()
        etcd.remove("a")
        etcd.put("c", b"1")
        etcd.compact()
        await asyncio.sleep(30)
        assert "down" in mirror.last_error
        assert mirror.stale_for_s > 25
        etcd.down = False
        assert sorted((await anext(changes)).paths) == ["a", "c"]
        assert same(etcd, mirror)
        assert mirror.last_error == ""

    play(script)


def test_a_deletion_at_exactly_the_compacted_revision_is_not_missed() -> None:
    async def script(etcd: FakeEtcd, mirror: Mirror) -> None:
        etcd.put("a", b"1")
        await asyncio.sleep(1)
        etcd.down = True
        etcd.cut_watches()
        etcd.remove("a")
        etcd.compact()
        etcd.down = False
        await asyncio.sleep(3)
        assert mirror.get("a") is None

    play(script)


def test_an_etcd_that_starts_over_is_followed_into_its_new_revisions() -> None:
    async def script(etcd: FakeEtcd, mirror: Mirror) -> None:
        for number in range(100):
            etcd.put(f"n/{number}", b"")
        await asyncio.sleep(1)
        etcd.wipe()
        etcd.put("new", b"")
        await asyncio.sleep(RHYTHM.audit_s * 1.3)
        assert [record.path for record in mirror.under("")] == ["new"]

    play(script)


def test_the_wait_between_attempts_grows_and_stays_bounded() -> None:
    async def script(etcd: FakeEtcd, mirror: Mirror) -> None:
        attempts: list[float] = []

        async def count(call: Call) -> None:
            if call.detail == "" and call.moment == "before":
                attempts.append(asyncio.get_running_loop().time())

        etcd.gate = count
        etcd.down = True
        etcd.cut_watches()
        await asyncio.sleep(60)
        gaps = [later - earlier for earlier, later in pairwise(attempts)]
        assert len(attempts) < 80
        assert max(gaps) <= RHYTHM.backoff_max_s
        assert min(gaps[6:]) >= RHYTHM.backoff_max_s / 2

    play(script)


def test_a_forbidden_prefix_is_reported_and_does_not_hold_up_the_other() -> None:
    async def script(etcd: FakeEtcd, mirror: Mirror) -> None:
        async def forbid(call: Call) -> None:
            if call.detail == "patroni/":
                raise Refused("etcd", "permission denied")

        etcd.gate = forbid
        etcd.cut_watches()
        etcd.put("a", b"1")
        await asyncio.sleep(5)
        assert mirror.get("a") is not None
        assert "permission denied" in mirror.last_error

    play(script)


def test_reached_is_cancelled_by_its_callers_deadline_and_leaves_nothing_behind() -> None:
    async def script(etcd: FakeEtcd, mirror: Mirror) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await mirror.reached(10**9)
        assert mirror._waiting_for == []

    play(script)


def test_waiting_for_what_etcd_does_not_have_yet_is_not_a_busy_loop() -> None:
    async def script(etcd: FakeEtcd, mirror: Mirror) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(40):
                await mirror.reached(10**9)

    play(script)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_the_mirror_ends_up_equal_and_told_its_readers(seed: int) -> None:
    dice = random.Random(seed)

    async def script(etcd: FakeEtcd, mirror: Mirror) -> None:
        changes = mirror.changes()
        known: dict[str, int] = {}

        async def read() -> None:
            async for changed in changes:
                for path in (
                    [r.path for r in mirror.under("")] + list(known) if changed.everything else changed.paths
                ):
                    held = mirror.get(path)
                    known.pop(path, None)
                    if held is not None:
                        known[path] = held.mod_revision

        async def trouble(call: Call) -> None:
            await asyncio.sleep(dice.random() * 0.2)
            if dice.random() < 0.1:
                raise Unavailable("etcd", "bad luck")

        async with asyncio.TaskGroup() as group:
            reader = group.create_task(read())
            etcd.gate = trouble
            for _ in range(150):
                happen(etcd, dice)
                await asyncio.sleep(dice.random() * 2)
            etcd.down, etcd.gate = False, lambda call: asyncio.sleep(0)
            await asyncio.sleep(RHYTHM.audit_s * 1.3 + 5 * RHYTHM.heartbeat_s)
            assert same(etcd, mirror)
            assert known == {record.path: record.mod_revision for record in etcd.under("")}
            assert mirror.last_error == ""
            reader.cancel()

    play(script, seed=seed)


def happen(etcd: FakeEtcd, dice: random.Random) -> None:
    path = dice.choice(["a", "b/1", "b/2", "patroni/x/leader", "patroni/y"])
    match dice.randrange(12):
        case 0:
            etcd.cut_watches()
        case 1:
            etcd.silence_watches()
        case 2:
            etcd.compact()
        case 3 | 4:
            etcd.remove(path)
        case 5:
            etcd.apply([Put("status/x", b"y"), Remove("b/", prefix=True)], (), 0, {})
        case 6:
            etcd.down = not etcd.down
        case _:
            etcd.put(path, b"%d" % dice.randrange(100))
    if etcd.down and dice.random() < 0.5:
        etcd.down = False
