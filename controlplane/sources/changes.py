"""Which paths have changed since the reader last asked: coalesced, bounded, and never a reason to wait for a reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

PENDING_MAX = 50_000


@dataclass(frozen=True, slots=True)
class Changed:
    """One reading of a subscription."""

    paths: tuple[str, ...]
    """In the order in which they first changed; each once, however often it did."""
    everything: bool = False
    """More changed than was remembered, or the reader came late: look at every record and every key you know."""


class Changes:
    """One reader's view. Iterate over it; `close` when done."""

    def __init__(
        self, *, everything: bool, on_close: Callable[[Changes], None], pending_max: int = PENDING_MAX
    ) -> None:
        self._pending: dict[str, None] = {}
        self._pending_max = pending_max
        self._everything = everything
        self._on_close = on_close
        self._wake = asyncio.Event()
        if everything:
            self._wake.set()

    def note(self, paths: Iterable[str]) -> None:
        if not self._everything:
            self._pending.update(dict.fromkeys(paths))
        if len(self._pending) > self._pending_max:
            self._pending.clear()
            self._everything = True
        if self._pending or self._everything:
            self._wake.set()

    def __aiter__(self) -> AsyncIterator[Changed]:
        return self

    async def __anext__(self) -> Changed:
        await self._wake.wait()
        self._wake.clear()
        changed = Changed(tuple(self._pending), self._everything)
        self._pending, self._everything = {}, False
        return changed

    def close(self) -> None:
        self._on_close(self)
