from __future__ import annotations

import asyncio

from controlplane.sources.changes import Changed, Changes
from tests.sim.loop import run


def subscription(*, everything: bool = False, pending_max: int = 50_000) -> Changes:
    return Changes(everything=everything, on_close=lambda _: None, pending_max=pending_max)


def test_a_path_that_changes_often_comes_once_and_in_the_order_of_its_first_change() -> None:
    async def main() -> None:
        changes = subscription()
        for paths in (["b"], ["a", "b"], ["b"], ["c"]):
            changes.note(paths)
        assert await anext(changes) == Changed(("b", "a", "c"))

    run(main())


def test_a_reader_waits_until_something_changes_and_misses_nothing_while_it_works() -> None:
    async def main() -> None:
        changes = subscription()
        seen: list[str] = []

        async def read() -> None:
            async for changed in changes:
                seen.extend(changed.paths)
                await asyncio.sleep(1)

        async with asyncio.TaskGroup() as group:
            reader = group.create_task(read())
            for number in range(30):
                changes.note([f"n/{number}"])
                await asyncio.sleep(0.1)
            await asyncio.sleep(5)
            reader.cancel()
        assert seen == [f"n/{number}" for number in range(30)]

    run(main())


def test_more_than_is_remembered_becomes_look_at_everything() -> None:
    async def main() -> None:
        changes = subscription(pending_max=3)
        changes.note(["a", "b"])
        changes.note(["c", "d"])
        changes.note(["e"])
        assert await anext(changes) == Changed((), everything=True)
        changes.note(["f"])
        assert await anext(changes) == Changed(("f",))

    run(main())


def test_nothing_noted_wakes_nobody() -> None:
    async def main() -> None:
        changes = subscription()
        changes.note([])
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(anext(changes))
            await asyncio.sleep(1)
            assert not reading.done()
            changes.note(["a"])
        assert reading.result() == Changed(("a",))

    run(main())
