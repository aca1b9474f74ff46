"""A reading that is kept, shared and never too old."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.orchestrators.cached import Cached
from tests.sim.loop import run


class Source:
    """Takes a second per reading; the value is how often it was begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.failing = False

    async def read(self) -> int:
        self.begun += 1
        number = self.begun
        await asyncio.sleep(1)
        if self.failing:
            raise OSError("gone")
        return number


def test_all_who_wait_share_one_reading() -> None:
    async def main() -> tuple[list[int], int]:
        source = Source()
        cached = Cached(source.read)
        return await asyncio.gather(*(cached.get() for _ in range(5))), source.begun

    assert run(main()) == ([1] * 5, 1)


def test_whoever_asks_after_an_invalidation_gets_a_reading_begun_after_it() -> None:
    async def main() -> tuple[int, int, int]:
        cached = Cached(Source().read)
        async with asyncio.TaskGroup() as group:
            early = group.create_task(cached.get())
            await asyncio.sleep(0.5)
            cached.invalidate()
            late = group.create_task(cached.get())
        return early.result(), late.result(), await cached.get()

    assert run(main()) == (1, 2, 2)


def test_a_reading_during_which_something_changed_is_not_kept() -> None:
    async def main() -> tuple[int, int | None, int]:
        cached = Cached(Source().read)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(cached.get())
            await asyncio.sleep(0.5)
            cached.invalidate()
        return first.result(), cached.last(), await cached.get()

    assert run(main()) == (1, 1, 2)


def test_a_failed_reading_is_raised_and_the_old_one_is_not_passed_off_as_new() -> None:
    async def main() -> int:
        source = Source()
        cached = Cached(source.read)
        await cached.get()
        cached.invalidate()
        source.failing = True
        with pytest.raises(OSError, match="gone"):
            await cached.get()
        source.failing = False
        return await cached.get()

    assert run(main()) == 3


def test_when_the_one_who_reads_is_cancelled_the_next_one_reads() -> None:
    async def main() -> int:
        cached = Cached(Source().read)
        reader = asyncio.ensure_future(cached.get())
        await asyncio.sleep(0.1)
        waiter = asyncio.ensure_future(cached.get())
        await asyncio.sleep(0.1)
        reader.cancel()
        return await waiter

    assert run(main()) == 2
