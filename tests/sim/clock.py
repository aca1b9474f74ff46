"""`ports.Clock` and `ports.Ids` for virtual time: repeatable from one seed."""

from __future__ import annotations

import asyncio
import random
import uuid
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from controlplane.clock import ulid_text
from reconcilers.ports import Secret
from tests.sim.loop import VirtualLoop

_START = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """
    Reads the running loop's time. `offset_s` differs per process, so that a reading which leaks from
    one process into another (or is mixed with the loop's own time) is noticed.
    """

    def __init__(self, offset_s: float = 1_000.0) -> None:
        self.offset_s = offset_s
        self._known: asyncio.AbstractEventLoop | None = None

    def _loop(self) -> asyncio.AbstractEventLoop:
        """The running one; it is asked for once, as asyncio makes a system call each time."""
        loop = self._known
        if loop is None or loop.is_closed():
            loop = self._known = asyncio.get_running_loop()
        return loop

    def monotonic(self) -> float:
        return self._loop().time() + self.offset_s

    def now(self) -> str:
        return _text(int(self._loop().time()))

    def epoch_s(self) -> float:
        return _START.timestamp() + self._loop().time()

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        # As asyncio.sleep, which asks more of the loop.
        loop = self._loop()
        over: asyncio.Future[None] = loop.create_future()
        alarm = loop.call_later(seconds, _wake, over)
        try:
            await over
        finally:
            alarm.cancel()

    def stall(self, seconds: float) -> None:
        """The whole process stands still for `seconds`: garbage collection, SIGSTOP, a blocking call."""
        loop = self._loop()
        assert isinstance(loop, VirtualLoop)
        loop.advance(seconds)


class FakeIds:
    """Same seed, same ids. Give it the world's `Random` to share one stream with the faults."""

    def __init__(self, seed: int | random.Random = 0) -> None:
        self._random = seed if isinstance(seed, random.Random) else random.Random(seed)
        self._count = 0

    def uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def ulid(self) -> str:
        self._count += 1
        return ulid_text(self._count, self._random.getrandbits(80))

    def token(self, bits: int = 192) -> Secret:
        return Secret(f"{self._random.getrandbits(bits):0{bits // 4}x}")

    def jitter(self, seconds: float) -> float:
        return self._random.random() * seconds


@lru_cache(maxsize=64)
def _text(second: int) -> str:
    return (_START + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
