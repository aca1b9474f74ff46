"""An event loop in virtual time: when everybody sleeps, the clock jumps to the next alarm."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Deadlock(AssertionError):
    """Every task waits for another and no timer is set: in real time this would hang for ever."""


class _Selector(selectors.DefaultSelector):
    """Asks the real selector without waiting, and pays the waiting time in virtual seconds."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise Deadlock("nothing is scheduled and nothing can wake the loop")
        if not ready and timeout is not None and timeout > 0:
            self.loop.advance(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` starts at 0 and moves only by sleeping; threads are refused because they live in real time."""

    def __init__(self) -> None:
        selector = _Selector()
        super().__init__(selector)
        selector.loop = self
        self._virtual_s = 0.0
        # A timer is due when it lies within the resolution: covers the rounding of now + (when - now).
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._virtual_s

    def advance(self, seconds: float) -> None:
        """Let time pass at once. Called from a task it is a stall: nothing else ran meanwhile."""
        self._virtual_s += seconds

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        raise NotImplementedError("no threads in virtual time")


def run(main: Coroutine[Any, Any, T], *, limit_s: float = 86_400.0) -> T:
    """
    Run `main` in a fresh virtual loop and return what it returns.

    Raises:
        TimeoutError: `main` did not end within `limit_s` virtual seconds.
        AssertionError: a task was left behind (asyncio.Runner would cancel it silently).
        Deadlock: nothing could ever happen again.
    """

    async def bounded() -> T:
        async with asyncio.timeout(limit_s):
            result = await main
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left behind: {sorted(task.get_name() for task in left)}"
        return result

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(bounded())
