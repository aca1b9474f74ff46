"""
Single writes that arrive together, committed in one transaction. Never knows what is written.

After a controller dies another takes over thousands of keys at once; one transaction each would be thousands
of round trips and fsyncs. While one transaction is under way, the next gathers.
"""

from __future__ import annotations

import asyncio
from collections import deque

from reconcilers.errors import Conflict, PgswarmError, Refused, TerminalError, UnknownFate
from reconcilers.ports import Store, Write

BATCH_MAX = 64
"""Half of etcd's default limit of 128 operations in a transaction."""

_Pending = tuple[Write, "asyncio.Future[int]"]


class GroupCommit:
    """Each write succeeds or fails by itself, as if it had been committed alone."""

    def __init__(self, store: Store, *, batch_max: int = BATCH_MAX) -> None:
        self._store, self._batch_max = store, batch_max
        self._pending: deque[_Pending] = deque()
        self._turn = asyncio.Lock()

    async def commit(self, write: Write) -> int:
        """
        Commit one unfenced write and return the revision of its transaction.

        If the caller is cancelled the write may or may not happen.

        Raises: what `Store.commit` raises.
        """
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._pending.append((write, answer))
        try:
            while not answer.done():
                async with self._turn:
                    if not answer.done():
                        await self._flush()
        finally:
            answer.cancel()  # no effect on an answer; keeps a cancelled caller's write out of later batches
        return answer.result()

    async def _flush(self) -> None:
        batch: list[_Pending] = []
        while self._pending and len(batch) < self._batch_max:
            write, answer = self._pending.popleft()
            if not answer.done():
                batch.append((write, answer))
        try:
            await self._send(batch)
        finally:
            # Only if this caller was cancelled or met a bug: the others must not wait for ever.
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(UnknownFate("etcd", "the transaction was abandoned"))
                    answer.exception()  # marks it as seen, should its caller be the one that leaves

    async def _send(self, batch: list[_Pending]) -> None:
        """Commit the batch; if etcd says no because of one write, halve it until only that write fails."""
        if not batch:
            return
        try:
            revision = await self._store.commit([write for write, _ in batch])
        except (Conflict, Refused, TerminalError) as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            middle = len(batch) // 2
            await self._send(batch[:middle])
            await self._send(batch[middle:])
        except PgswarmError as error:
            _fail(batch, error)
        else:
            for _, answer in batch:
                if not answer.done():
                    answer.set_result(revision)


def _fail(batch: list[_Pending], error: PgswarmError) -> None:
    for _, answer in batch:
        if not answer.done():
            answer.set_exception(error)
            answer.exception()
