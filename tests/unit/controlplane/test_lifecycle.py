"""How the process ends: real signals (real time, milliseconds) and the order of the drain (virtual time)."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from controlplane.lifecycle import (
    PHASES,
    Drain,
    run_until_stopped,
    shield_with_deadline,
    stop_tasks,
    together,
    until_one_ends,
)
from tests.sim.loop import run
from tests.unit.controlplane.observers import Lines


def noting(done: list[str], what: str, seconds: float = 0.0) -> Callable[[], Awaitable[None]]:
    async def step() -> None:
        await asyncio.sleep(seconds)
        done.append(what)

    return step


def test_shielded_work_gives_its_result() -> None:
    async def work() -> int:
        await asyncio.sleep(1)
        return 5

    async def main() -> int:
        return await shield_with_deadline(work(), 1)

    assert run(main()) == 5


def test_shielded_work_raises_its_error() -> None:
    async def work() -> None:
        raise KeyError("x")

    async def main() -> None:
        await shield_with_deadline(work(), 1)

    with pytest.raises(KeyError):
        run(main())


@pytest.mark.parametrize(
    ("needs_s", "ends_at_s", "finished"),
    [
        pytest.param(4.0, 4.0, True, id="ends within its grace"),
        pytest.param(100.0, 6.0, False, id="is cut at the end of its grace"),
    ],
)
def test_cancelled_while_shielded_the_work_has_its_grace_and_the_cancellation_goes_on(
    needs_s: float, ends_at_s: float, finished: bool
) -> None:
    async def main() -> None:
        done: list[str] = []
        task = asyncio.create_task(shielded(done))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.get_running_loop().time() == pytest.approx(ends_at_s)
        assert (done == ["effect"]) is finished

    async def shielded(done: list[str]) -> None:
        await shield_with_deadline(effect(done), 5)

    async def effect(done: list[str]) -> None:
        await asyncio.sleep(needs_s)
        done.append("effect")

    run(main())


def test_a_second_cancellation_ends_the_grace() -> None:
    async def main() -> None:
        task = asyncio.create_task(shielded())
        for _ in range(2):
            await asyncio.sleep(1)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.get_running_loop().time() == pytest.approx(2)

    async def shielded() -> None:
        await shield_with_deadline(asyncio.sleep(100), 50)

    run(main())


def test_the_drain_goes_phase_by_phase_whatever_the_order_of_adding() -> None:
    async def main() -> None:
        done: list[str] = []
        drain = Drain(Lines())
        for phase in reversed(list(PHASES)):
            drain.add(phase, phase, noting(done, phase, 0.5))
            drain.add(phase, phase, noting(done, phase, 0.5))
        await drain.run()

        assert done == [phase for phase in PHASES for _ in range(2)]
        assert asyncio.get_running_loop().time() == pytest.approx(0.5 * len(PHASES))

    run(main())


def test_a_step_that_fails_or_hangs_does_not_keep_the_next_phase() -> None:
    async def main() -> None:
        async def fails() -> None:
            raise ZeroDivisionError

        done: list[str] = []
        log = Lines()
        drain = Drain(log)
        drain.add("sources", "fails", fails)
        drain.add("workers", "hangs", noting(done, "never", 1_000))
        drain.add("claims", "claims", noting(done, "claims"))
        await drain.run()

        assert done == ["claims"]
        assert log.at("error") == ["drain step failed"]
        assert log.at("warning") == ["drain step is late"]
        assert asyncio.get_running_loop().time() == pytest.approx(PHASES["workers"])

    run(main())


def test_the_drain_ends_before_docker_kills() -> None:
    assert sum(PHASES.values()) < 10


def test_stop_tasks_says_when_one_does_not_end() -> None:
    async def main() -> None:
        async def stubborn() -> None:
            for _ in range(2):
                try:
                    await asyncio.sleep(5)
                except asyncio.CancelledError:
                    continue

        easy, hard = asyncio.create_task(asyncio.sleep(100)), asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        assert await stop_tasks([easy]) is True
        assert await stop_tasks([hard]) is False
        await hard

    run(main())


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_one_signal_drains_while_everything_goes_on_and_exits_0(number: signal.Signals) -> None:
    done: list[str] = []

    async def serve() -> None:
        try:
            while True:
                await asyncio.sleep(0.01)
                done.append("keepalive")
        finally:
            done.append("cancelled")

    drain = Drain(Lines())
    drain.add("claims", "claims", noting(done, "handed over", 0.05))
    asyncio.get_running_loop().call_later(0.02, send, number)

    assert await run_until_stopped(serve(), drain, Lines()) == 0
    assert done[-1] == "cancelled"
    assert "keepalive" in done[: done.index("handed over")]


async def test_a_second_signal_ends_it_at_once() -> None:
    done: list[str] = []
    drain = Drain(Lines())
    drain.add("workers", "hangs", noting(done, "never", 4))
    loop = asyncio.get_running_loop()
    for delay_s in (0.01, 0.05):
        loop.call_later(delay_s, send, signal.SIGTERM)
    start_s = loop.time()

    assert await run_until_stopped(asyncio.sleep(100), drain, Lines()) == 128 + signal.SIGTERM
    assert loop.time() - start_s < 1
    assert done == []


async def test_a_crash_still_drains_and_is_raised() -> None:
    async def serve() -> None:
        raise ZeroDivisionError

    done: list[str] = []
    drain = Drain(Lines())
    drain.add("claims", "claims", noting(done, "handed over"))

    with pytest.raises(ZeroDivisionError):
        await run_until_stopped(serve(), drain, Lines())
    assert done == ["handed over"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_signal_handlers_are_gone_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)

    await run_until_stopped(asyncio.sleep(0), Drain(Lines()), Lines())
    assert signal.getsignal(signal.SIGTERM) == before


# --- side by side ---


async def fail_at(when: asyncio.Event) -> None:
    await when.wait()
    raise OSError("the stream broke")


async def test_of_calls_made_together_the_first_failure_is_raised_as_it_is_and_ends_the_others() -> None:
    ended = []

    async def hang() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("hang")

    when = asyncio.Event()
    when.set()
    with pytest.raises(OSError, match="the stream broke"):
        await together(hang(), fail_at(when))
    assert ended == ["hang"]


async def test_calls_made_together_answer_in_their_order() -> None:
    async def after(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    assert await together(after(0.02), after(0.0), after(0.01)) == [0.02, 0.0, 0.01]
    assert await together() == []


async def test_the_first_part_that_ends_ends_all() -> None:
    when = asyncio.Event()
    await until_one_ends(asyncio.sleep(60), asyncio.sleep(0))
    when.set()
    with pytest.raises(OSError, match="the stream broke"):
        await until_one_ends(asyncio.sleep(60), fail_at(when))


@pytest.mark.parametrize("side_by_side", [together, until_one_ends])
async def test_a_cancellation_outlives_a_failure_of_the_same_turn(side_by_side: Any) -> None:
    when = asyncio.Event()

    async def again_and_again() -> None:
        while True:
            try:
                await side_by_side(asyncio.sleep(60), fail_at(when))
            except OSError:
                when.clear()

    task = asyncio.create_task(again_and_again())
    await asyncio.sleep(0.01)
    when.set()
    task.cancel()
    await asyncio.wait([task], timeout=1.0)

    assert task.cancelled()
