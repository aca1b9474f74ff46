"""
How the process ends: signals, the order of the drain, work that must not be cut in half.

The only place for `asyncio.create_task`, `asyncio.shield` and signal handlers.

First SIGTERM or SIGINT: drain, phase by phase, while everything (above all the keepalive) goes on running;
then cancel what is left. Second: cancel at once; the lease ends by itself.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, TypeVar

from controlplane.logger import Log

T = TypeVar("T")

PHASES: Mapping[str, float] = MappingProxyType(
    {"sources": 1.0, "workers": 5.0, "claims": 1.0, "clients": 1.0}
)
"""Drain phases in order, and seconds each may take: together below the 10 s until Docker sends SIGKILL."""

CANCEL_GRACE_S = 1.0
"""Seconds that a cancelled task gets to clean up."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
EXIT_SIGNALLED = 128
"""Plus the signal's number: the exit code after a second signal."""


async def shield_with_deadline(work: Coroutine[Any, Any, T], grace_s: float) -> T:
    """
    Run `work`; if the caller is cancelled meanwhile, let it go on for `grace_s` seconds, then cancel it.

    Cancellation is always raised again, also when `work` ended well in its grace; another ends the grace.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            await _let_end(task, grace_s)
        raise


async def together(*calls: Coroutine[Any, Any, T]) -> list[T]:
    """
    Run the calls at once; the first failure ends the others and is raised as it is, not in a group.

    Not a TaskGroup: in Python 3.11 one whose child fails in the same turn of the loop in which its task is
    cancelled raises the error and forgets the cancellation, and whoever cancelled waits for ever.
    """
    return await _ended(calls, asyncio.FIRST_EXCEPTION) if calls else []


async def until_one_ends(*parts: Coroutine[Any, Any, None]) -> None:
    """Run the parts side by side until one ends or fails; end the others. Raises what that one raised."""
    await _ended(parts, asyncio.FIRST_COMPLETED)


async def _ended(parts: Iterable[Coroutine[Any, Any, T]], when: str) -> list[T]:
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        await asyncio.wait(tasks, return_when=when)
    finally:
        over = [task for task in tasks if task.done()]
        # Asked of each: an error that nobody asks for is reported as lost when its task is collected.
        failures = [task for task in over if not task.cancelled() and task.exception() is not None]
        await stop_tasks(tasks)
    return [task.result() for task in (failures or over)]


async def _let_end(task: asyncio.Task[Any], grace_s: float) -> None:
    try:
        await asyncio.wait([task], timeout=grace_s)
    finally:
        await stop_tasks([task])


async def stop_tasks(tasks: Iterable[asyncio.Task[Any]], grace_s: float = CANCEL_GRACE_S) -> bool:
    """Cancel the tasks and wait until they have ended, at most `grace_s` seconds; False if one has not."""
    ends = [task for task in tasks if not task.done()]
    for task in ends:
        task.cancel()
    late: set[asyncio.Task[Any]] = set()
    if ends:
        done, late = await asyncio.wait(ends, timeout=grace_s)
        for task in done:
            if not task.cancelled():
                task.exception()  # marks it as seen: it was told to stop, how it did is its own matter
    return not late


class Drain:
    """What is to be done at the end, phase by phase; the steps of one phase run side by side."""

    def __init__(self, log: Log, deadlines_s: Mapping[str, float] = PHASES) -> None:
        self._log, self._deadlines_s = log, deadlines_s
        self._steps: dict[str, list[tuple[str, Callable[[], Awaitable[None]]]]] = {
            phase: [] for phase in PHASES
        }

    def add(self, phase: str, name: str, step: Callable[[], Awaitable[None]]) -> None:
        """Do `step` in `phase`, one of PHASES."""
        self._steps[phase].append((name, step))

    async def run(self) -> None:
        """Go through the phases. A step that fails or is late is logged, and the next phase begins."""
        for phase, steps in self._steps.items():
            tasks = [asyncio.create_task(_run(step), name=name) for name, step in steps]
            try:
                if tasks:
                    await asyncio.wait(tasks, timeout=self._deadlines_s[phase])
                self._report(phase, tasks)
            finally:
                await stop_tasks(tasks)

    def _report(self, phase: str, tasks: Iterable[asyncio.Task[None]]) -> None:
        for task in tasks:
            if not task.done():
                self._log.warning("drain step is late", phase=phase, step=task.get_name())
            elif not task.cancelled() and (error := task.exception()) is not None:
                self._log.error("drain step failed", phase=phase, step=task.get_name(), exc_info=error)


async def _run(step: Callable[[], Awaitable[None]]) -> None:
    await step()


class _Stop:
    """What signals have said so far."""

    def __init__(self) -> None:
        self.first, self.second = asyncio.Event(), asyncio.Event()
        self.last_signal = 0

    def hear(self, number: int) -> None:
        self.last_signal = number
        (self.second if self.first.is_set() else self.first).set()


@contextmanager
def _listening(stop: _Stop, signals: Iterable[signal.Signals]) -> Iterator[None]:
    loop, heard = asyncio.get_running_loop(), tuple(signals)
    for number in heard:
        loop.add_signal_handler(number, stop.hear, number)
    try:
        yield
    finally:
        for number in heard:
            loop.remove_signal_handler(number)


async def run_until_stopped(
    serve: Coroutine[Any, Any, None],
    drain: Drain,
    log: Log,
    *,
    signals: Iterable[signal.Signals] = STOP_SIGNALS,
) -> int:
    """
    Run `serve` until it ends or a signal comes, then drain, then cancel `serve`; return the exit code.

    Raises: what `serve` raised, after the drain.
    """
    stop = _Stop()
    with _listening(stop, signals):
        server = asyncio.create_task(serve, name="serve")
        first, second = asyncio.create_task(stop.first.wait()), asyncio.create_task(stop.second.wait())
        helpers: list[asyncio.Task[Any]] = [first, second]
        try:
            await asyncio.wait([server, first], return_when=asyncio.FIRST_COMPLETED)
            log.info("draining", signal=stop.last_signal)
            helpers.append(draining := asyncio.create_task(drain.run(), name="drain"))
            await asyncio.wait([draining, second], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended_by_itself = server.done()
            if not await stop_tasks([server, *helpers]):
                log.error("some tasks did not end when cancelled")
    if stop.second.is_set():
        return EXIT_SIGNALLED + stop.last_signal
    if ended_by_itself:
        server.result()
    return 0
