"""A reading that is kept until somebody says that the world has changed. Knows nothing of Docker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Cached(Generic[T]):
    """
    One reading at a time, shared by all who wait for it.

    A reading that began before an invalidation is never handed to anybody who asked after it, and never kept:
    it may not show the change. Safe to cancel: whoever waits next reads.
    """

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read = read
        self._lock = asyncio.Lock()
        self._generation = 1
        self._value: T | None = None
        self._value_generation = 0

    def invalidate(self) -> None:
        self._generation += 1

    def last(self) -> T | None:
        """The newest reading, however old; None before the first."""
        return self._value

    async def get(self) -> T:
        """Raises: whatever the reading raises; an earlier reading is then not returned in its stead."""
        wanted = self._generation
        value = self._value
        if value is None or self._value_generation < wanted:
            async with self._lock:
                value = self._value
                if value is None or self._value_generation < wanted:
                    began = self._generation
                    value = await self._read()
                    self._value, self._value_generation = value, began
        return value
