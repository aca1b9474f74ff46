"""An event loop in virtual time: when everybody sleeps, the clock jumps to the next alarm."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
RESOLUTION_S = 1e-6
"""A timer is due when it lies within it: covers the rounding of now + (when - now)."""

PROCESS = contextvars.ContextVar("PROCESS", default="")
"""Whose work it is. Tasks hand it on to whatever they start, and a whole process can be stopped by it."""
NOBODY = contextvars.Context()
"""For alarms of the world, which ring whoever set them and whatever has become of him."""


class Deadlock(AssertionError):
    """Every task waits for another and no timer is set: in real time this would hang for ever."""


class _Call:
    """What is to be called, and when: what asyncio asks of a handle, and nothing else."""

    __slots__ = ("args", "callback", "context", "when_s")

    def __init__(
        self,
        when_s: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> None:
        self.when_s = when_s
        self.callback: Callable[..., object] | None = callback
        self.args = args
        self.context = context if context is not None else contextvars.copy_context()

    def __repr__(self) -> str:
        return f"<{self.callback!r} at {self.when_s:.3f} s>"

    def cancel(self) -> None:
        self.callback, self.args = None, ()

    def cancelled(self) -> bool:
        return self.callback is None

    def when(self) -> float:
        return self.when_s


class VirtualLoop(asyncio.BaseEventLoop):
    """
    `time()` starts at 0 and moves only by sleeping. Threads and sockets are refused because they live in real time.

    It asks no selector: there is nothing outside to wait for. What is due at the same moment runs in the order in
    which it was asked for.

    `stop_process` is SIGSTOP: nothing of that PROCESS runs, no timer rings, no answer is read, while time passes for
    all others; with `continue_process` it finds everything at once that it has missed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._virtual_s = 0.0
        self._asked = self._steps = 0
        self._soon: deque[_Call] = deque()
        self._alarms: list[tuple[float, int, _Call]] = []
        self._stopping = False
        self._stopped: dict[str, list[_Call]] = {}
        """What they will find, by process."""
        # Each future that is made asks it: False, said in C.
        self.get_debug = bool  # type: ignore[method-assign]

    def stop_process(self, process: str) -> None:
        self._stopped.setdefault(process, [])

    def continue_process(self, process: str) -> None:
        self._soon.extend(self._stopped.pop(process, ()))

    def time(self) -> float:
        return self._virtual_s

    def moment(self) -> tuple[int, int]:
        """Two looks that find the same are in one step, and nothing was asked of the loop between them."""
        return self._steps, self._asked

    def advance(self, seconds: float) -> None:
        """Let time pass at once. Called from a task it is a stall: nothing else ran meanwhile."""
        self._virtual_s += seconds

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        call = _Call(self._virtual_s, callback, args, context)
        self._asked += 1
        self._soon.append(call)
        return call  # type: ignore[return-value]

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """There are no threads; a signal's handler comes here."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        when_s = self._virtual_s + delay
        call = _Call(when_s, callback, args, context)
        self._asked += 1
        heapq.heappush(self._alarms, (when_s, self._asked, call))
        return call  # type: ignore[return-value]

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        call = _Call(when, callback, args, context)
        self._asked += 1
        heapq.heappush(self._alarms, (when, self._asked, call))
        return call  # type: ignore[return-value]

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        raise NotImplementedError("no threads in virtual time")

    def _run_once(self) -> None:
        """asyncio calls it again and again until somebody has called `stop`."""
        alarms, soon = self._alarms, self._soon
        while alarms and alarms[0][2].callback is None:
            heapq.heappop(alarms)
        if not soon and not self._stopping:
            if not alarms:
                raise Deadlock("nothing is scheduled and nothing can wake the loop")
            self._virtual_s += max(0.0, alarms[0][0] - self._virtual_s)
        due_s = self._virtual_s + RESOLUTION_S
        while alarms and alarms[0][0] < due_s:
            soon.append(heapq.heappop(alarms)[2])
        for _ in range(len(soon)):
            call = soon.popleft()
            if call.callback is None:
                continue
            if self._stopped and (missed := self._stopped.get(call.context.get(PROCESS, ""))) is not None:
                missed.append(call)
                continue
            self._steps += 1
            try:
                call.context.run(call.callback, *call.args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                self.call_exception_handler(
                    {"message": "a callback failed", "exception": error, "handle": call}
                )


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
