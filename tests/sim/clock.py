"""`ports.Clock` and `ports.Ids` for virtual time: repeatable from one seed."""

from __future__ import annotations

import asyncio
import random
import uuid
from datetime import UTC, datetime, timedelta

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

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.offset_s

    def now(self) -> str:
        moment = _START + timedelta(seconds=asyncio.get_running_loop().time())
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    def epoch_s(self) -> float:
        return _START.timestamp() + asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        # As asyncio.sleep, which asks more of the loop.
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        alarm = loop.call_later(seconds, _wake, over)
        try:
            await over
        finally:
            alarm.cancel()

    def stall(self, seconds: float) -> None:
        """The whole process stands still for `seconds`: garbage collection, SIGSTOP, a blocking call."""
        loop = asyncio.get_running_loop()
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


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
