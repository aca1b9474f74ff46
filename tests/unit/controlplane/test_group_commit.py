"""Writes that arrive together share transactions, and each has its own fate."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from controlplane.group_commit import BATCH_MAX, GroupCommit
from reconcilers.errors import Conflict, Refused, TerminalError, UnknownFate
from reconcilers.ports import Fence, Put, Record, Write
from tests.sim.loop import run


class Disk:
    """A store that takes 10 ms; `refuses` says which paths it says no to, and how."""

    def __init__(self, refuses: dict[str, Exception] | None = None) -> None:
        self.refuses = refuses or {}
        self.batches: list[list[str]] = []
        self.revision = 0

    async def read(self, path: str) -> Record | None:
        raise NotImplementedError

    async def commit(self, writes: Sequence[Write], fences: Sequence[Fence] = ()) -> int:
        await asyncio.sleep(0.01)
        for write in writes:
            if write.path in self.refuses:
                raise self.refuses[write.path]
        self.batches.append([write.path for write in writes])
        self.revision += 1
        return self.revision


def put(number: int) -> Put:
    return Put(f"p{number}", b"")


def committed(disk: Disk, count: int) -> list[int | BaseException]:
    async def main() -> list[int | BaseException]:
        group = GroupCommit(disk)
        return await asyncio.gather(*(group.commit(put(n)) for n in range(count)), return_exceptions=True)

    return run(main())


def test_what_arrives_during_a_transaction_goes_together_into_the_next() -> None:
    disk = Disk()

    assert committed(disk, 5) == [1, 2, 2, 2, 2]
    assert disk.batches == [["p0"], ["p1", "p2", "p3", "p4"]]


def test_a_transaction_has_a_bound() -> None:
    disk = Disk()
    committed(disk, 1 + 2 * BATCH_MAX + 5)

    assert [len(batch) for batch in disk.batches] == [1, BATCH_MAX, BATCH_MAX, 5]


@pytest.mark.parametrize(
    "error", [Conflict("p3"), Refused("etcd", "no"), TerminalError("too large")], ids=repr
)
def test_one_write_that_is_refused_does_not_take_the_others_with_it(error: Exception) -> None:
    disk = Disk({"p3": error})
    answers = committed(disk, 10)

    assert answers[3] is error
    assert all(isinstance(answer, int) for number, answer in enumerate(answers) if number != 3)
    assert sorted(path for batch in disk.batches for path in batch) == sorted(
        f"p{n}" for n in range(10) if n != 3
    )


def test_an_unknown_fate_is_that_of_the_whole_transaction() -> None:
    answers = committed(Disk({"p3": UnknownFate("etcd")}), 10)

    assert [type(answer) for answer in answers] == [int] + [UnknownFate] * 9


def test_a_bug_in_the_store_reaches_one_caller_and_leaves_none_waiting() -> None:
    answers = committed(Disk({"p3": ZeroDivisionError()}), 4)

    assert [type(answer) for answer in answers] == [int, ZeroDivisionError, UnknownFate, UnknownFate]


def test_a_cancelled_caller_leaves_none_waiting() -> None:
    async def main() -> None:
        disk = Disk()
        group = GroupCommit(disk)
        callers = [asyncio.create_task(group.commit(put(number))) for number in range(4)]
        await asyncio.sleep(0.015)  # p0 is written; p1 leads the transaction of p1, p2 and p3
        late = [asyncio.create_task(group.commit(put(number))) for number in (4, 5)]
        await asyncio.sleep(0.001)
        callers[1].cancel()
        late[0].cancel()
        answers = await asyncio.gather(*callers, *late, return_exceptions=True)

        cancelled = asyncio.CancelledError
        assert [type(answer) for answer in answers] == [
            int,
            cancelled,
            UnknownFate,
            UnknownFate,
            cancelled,
            int,
        ]
        assert disk.batches == [["p0"], ["p5"]]

    run(main())
