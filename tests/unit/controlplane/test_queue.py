"""What the work queue promises, in virtual time."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.queue import BACKOFF_MAX_S, WorkQueue
from tests.sim.clock import FakeClock, FakeIds
from tests.sim.loop import run
from tests.unit.controlplane.observers import Seen


def make(seen: Seen | None = None, **limits: int) -> WorkQueue[str]:
    return WorkQueue("test", FakeClock(), FakeIds(), seen or Seen(), **limits)


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def take(queue: WorkQueue[str], within_s: float = 3_000.0) -> str | None:
    async with asyncio.timeout(within_s):
        return await queue.get()


async def drained(queue: WorkQueue[str]) -> list[str]:
    """Everything that is due now, in order, each given back at once."""
    order: list[str] = []
    while queue.stats().depth:
        key = await take(queue)
        assert key is not None
        order.append(key)
        queue.done(key)
    return order


def test_a_key_added_three_times_is_handed_out_once() -> None:
    async def main() -> None:
        queue = make()
        for key in ("a", "b", "a", "a"):
            queue.add(key)

        assert await drained(queue) == ["a", "b"]

    run(main())


def test_a_key_is_never_with_two_workers_and_an_add_meanwhile_is_not_lost() -> None:
    async def main() -> None:
        queue = make()
        queue.add("a")
        assert await take(queue) == "a"
        queue.add("a")

        with pytest.raises(TimeoutError):
            await take(queue, within_s=60)
        queue.done("a")

        assert await take(queue) == "a"
        queue.done("a")
        assert queue.stats().depth == 0

    run(main())


def test_a_hot_key_goes_to_the_end_of_the_line() -> None:
    async def main() -> None:
        queue = make()
        order: list[str] = []
        for name in ("hot", "b", "c"):
            queue.add(name)
        for _ in range(4):
            key = await take(queue)
            assert key is not None
            order.append(key)
            queue.add("hot")
            queue.done(key)

        assert order == ["hot", "b", "c", "hot"]

    run(main())


def test_an_add_wakes_a_waiting_worker_at_once() -> None:
    async def main() -> None:
        queue = make()
        async with asyncio.TaskGroup() as group:
            worker = group.create_task(take(queue))
            await asyncio.sleep(5)
            queue.add("a")
        assert worker.result() == "a"
        assert now_s() == 5

    run(main())


def test_a_cancelled_worker_passes_its_wake_up_on() -> None:
    async def main() -> None:
        queue = make()
        async with asyncio.TaskGroup() as group:
            leaves = group.create_task(take(queue))
            stays = group.create_task(take(queue))
            await asyncio.sleep(1)
            queue.add("a")
            leaves.cancel()
        assert stays.result() == "a"
        assert now_s() == 1

    run(main())


def test_the_earliest_of_several_delays_wins() -> None:
    async def main() -> None:
        queue = make()
        queue.add_after("a", 30)
        queue.add_after("a", 10)
        queue.add_after("a", 20)

        assert await take(queue) == "a"
        assert now_s() == pytest.approx(10, abs=0.002)
        queue.done("a")
        with pytest.raises(TimeoutError):
            await take(queue, within_s=100)

    run(main())


def test_a_pass_cancels_the_delay_that_was_set_before_it() -> None:
    async def main() -> None:
        queue = make()
        queue.add_after("a", 10)
        queue.add("a")
        queue.done(await take(queue) or "")

        with pytest.raises(TimeoutError):
            await take(queue, within_s=100)

    run(main())


def test_delays_come_in_the_order_of_their_time() -> None:
    async def main() -> None:
        queue = make()
        for name, delay_s in (("c", 3), ("a", 1), ("b", 2)):
            queue.add_after(name, delay_s)
        order = []
        for _ in range(3):
            key = await take(queue)
            assert key is not None
            order.append((key, round(now_s())))
            queue.done(key)

        assert order == [("a", 1), ("b", 2), ("c", 3)]

    run(main())


def test_back_off_doubles_from_5_ms_to_1000_s_and_starts_again_after_success() -> None:
    async def main() -> None:
        queue = make()
        queue.add("a")
        delays_s = []
        for _ in range(22):
            before_s = now_s()
            assert await take(queue) == "a"
            delays_s.append(now_s() - before_s)
            queue.retry("a")
            queue.done("a")

        for number, delay_s in enumerate(delays_s[1:]):
            low_s = min(BACKOFF_MAX_S, 0.005 * 2**number)
            assert low_s - 0.002 <= delay_s <= min(BACKOFF_MAX_S, low_s * 1.1) + 0.002
        assert delays_s[-1] == pytest.approx(1000, abs=0.01)

        assert await take(queue) == "a"
        queue.forget("a")
        queue.retry("a")
        queue.done("a")
        before_s = now_s()
        await take(queue)
        assert now_s() - before_s < 0.01

    run(main())


def test_a_dependency_may_ask_for_a_longer_delay() -> None:
    async def main() -> None:
        queue = make()
        queue.retry("a", at_least_s=7)
        await take(queue)
        assert now_s() == pytest.approx(7, abs=0.002)

    run(main())


def test_keys_that_hang_leave_workers_for_the_healthy() -> None:
    """60 keys hang for 60 s and fail, for ever; 4 workers; at most 2 may be with failed keys."""

    async def main() -> None:
        queue = make(suspects_max=2)
        late_s: list[float] = []

        async def worker() -> None:
            while (key := await queue.get()) is not None:
                if key.startswith("bad"):
                    await asyncio.sleep(60)
                    queue.retry(key)
                else:
                    late_s.append(now_s() - asked_s)
                queue.done(key)

        async with asyncio.TaskGroup() as group:
            for number in range(60):
                queue.add(f"bad-{number}")
            for _ in range(4):
                group.create_task(worker())
            await asyncio.sleep(60 * 60 / 4 + 1)  # every bad key has had its first turn
            for number in range(100):
                asked_s = now_s()
                queue.add(f"good-{number}")
                await asyncio.sleep(10)
            queue.shutdown()

        assert len(late_s) == 100
        assert max(late_s) <= 1

    run(main())


def test_suspects_are_served_one_after_the_other() -> None:
    async def main() -> None:
        queue = make(suspects_max=1)
        for key in ("x", "y"):
            queue.retry(key)
        first = await take(queue)
        async with asyncio.TaskGroup() as group:
            second = group.create_task(take(queue))
            await asyncio.sleep(60)
            assert not second.done()
            queue.done(first or "")

        assert {first, second.result()} == {"x", "y"}

    run(main())


def test_shutdown_wakes_every_worker_and_takes_nothing_more() -> None:
    async def main() -> None:
        queue = make()
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(take(queue)) for _ in range(3)]
            await asyncio.sleep(1)
            queue.shutdown()
        assert [worker.result() for worker in workers] == [None, None, None]

        queue.add("a")
        queue.add_after("b", 1)
        queue.retry("c")
        await asyncio.sleep(2000)
        assert queue.stats().depth == 0
        assert await take(queue) is None

    run(main())


def test_a_key_in_work_at_shutdown_can_be_given_back() -> None:
    async def main() -> None:
        queue = make()
        queue.add("a")
        await take(queue)
        queue.add("a")
        queue.shutdown()
        queue.done("a")
        assert queue.stats().in_work == 0
        assert queue.stats().depth == 0

    run(main())


def test_a_full_queue_refuses_and_says_so() -> None:
    async def main() -> None:
        seen = Seen()
        queue = make(seen, keys_max=3)
        for key in ("a", "b"):
            queue.add(key)
        queue.add_after("c", 5)
        queue.add("d")
        queue.retry("e")

        assert seen.counts["refused"] == 2
        assert queue.stats().retrying == 0
        await asyncio.sleep(6)
        assert await drained(queue) == ["a", "b", "c"]

    run(main())


def test_the_heap_does_not_grow_with_moved_delays() -> None:
    async def main() -> None:
        queue = make()
        for step in range(10_000):
            queue.add_after("a", 10_000 - step)
        assert len(queue._alarms) < 200
        queue.shutdown()

    run(main())


def test_the_observer_sees_waiting_and_work_in_seconds() -> None:
    async def main() -> None:
        seen = Seen()
        queue = make(seen)
        queue.add("a")
        assert seen.depth == 1
        await asyncio.sleep(3)
        assert queue.stats().oldest_s == pytest.approx(3)
        await take(queue)
        await asyncio.sleep(4)
        stats = queue.stats()
        queue.done("a")

        assert seen.waited_s == [pytest.approx(3)]
        assert seen.worked_s == [pytest.approx(4)]
        assert stats.in_work == 1
        assert [stats.longest_s, stats.unfinished_s] == pytest.approx([4, 4])
        assert seen.counts["added"] == 1
        assert seen.depth == 0

    run(main())


steps = st.lists(
    st.tuples(st.sampled_from(["add", "after", "retry", "forget", "work"]), st.sampled_from("abc")),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(steps)
def test_whatever_happens_no_added_key_is_lost_and_none_is_worked_on_twice_at_once(
    script: list[tuple[str, str]],
) -> None:
    async def main() -> None:
        queue = make()
        active: set[str] = set()
        last_added: dict[str, float] = {}
        last_begun: dict[str, float] = {}

        async def worker() -> None:
            while (key := await queue.get()) is not None:
                assert key not in active
                active.add(key)
                last_begun[key] = now_s()
                await asyncio.sleep(0.7)
                active.discard(key)
                queue.done(key)

        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(worker())
            for verb, key in script:
                if verb == "work":
                    await asyncio.sleep(0.3)
                    continue
                if verb != "forget":
                    last_added[key] = now_s()
                _do(queue, verb, key)
            await asyncio.sleep(5_000)
            queue.shutdown()

        for key, added_s in last_added.items():
            assert last_begun[key] >= added_s

    run(main())


def _do(queue: WorkQueue[str], verb: str, key: str) -> None:
    match verb:
        case "add":
            queue.add(key)
        case "after":
            queue.add_after(key, 0.5)
        case "retry":
            queue.retry(key)
        case "forget":
            queue.forget(key)


def test_ten_thousand_keys_are_handed_out_in_order() -> None:
    async def main() -> list[str]:
        queue = make()
        for number in range(10_000):
            queue.add(str(number))
        return await drained(queue)

    assert run(main()) == [str(number) for number in range(10_000)]


def test_virtual_time_refuses_what_can_never_end() -> None:
    async def main() -> None:
        await make().get()

    with pytest.raises(TimeoutError):
        run(main(), limit_s=10)
