"""
The work queue: which key is next. It knows keys and time, never what a key means.

- Deduplicated: a key that waits is not added twice; one that is in work is queued again at `done`.
- One worker per key at any moment.
- Fair: first come, first served. A key that is added all the time goes to the end each time.
- Keys that failed last time share a bounded number of workers (`suspects_max`), so that many keys that hang
  until their deadline still leave workers for the healthy ones.
- Bounded: at most `keys_max` keys wait; a key refused here comes back with the resync.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from reconcilers.ports import Clock, Ids

BACKOFF_FIRST_S = 0.005
BACKOFF_MAX_S = 1000.0
BACKOFF_JITTER = 0.1
"""Share of the delay that is added at random, so that keys that failed together do not come back together."""
KEYS_MAX = 100_000
_EARLY_S = 0.001
"""A timer may ring this early: the loop's clock and the `Clock` port need not agree to the last digit."""
_DOUBLINGS_MAX = 18
"""5 ms doubled this often is past the longest delay; keeps the power small."""

K = TypeVar("K", bound=Hashable)


class QueueObserver(Protocol):
    """What a queue reports as it happens; `queue` is its name. Must not block and must not raise."""

    def queue_depth(self, queue: str, depth: int) -> None:
        """Keys that are due and wait for a worker."""

    def queue_added(self, queue: str) -> None:
        """A key became due (a duplicate is not counted)."""

    def queue_retried(self, queue: str) -> None:
        """A key was put back with back-off."""

    def queue_refused(self, queue: str) -> None:
        """A key was not taken because the queue is full."""

    def queue_waited(self, queue: str, seconds: float) -> None:
        """A worker took a key that had been due for `seconds`."""

    def queue_worked(self, queue: str, seconds: float) -> None:
        """A worker had a key for `seconds`."""


@dataclass(frozen=True, slots=True)
class QueueStats:
    """A reading for gauges, taken when metrics are scraped."""

    depth: int
    """Keys due and waiting."""
    delayed: int
    """Keys waiting for their time."""
    retrying: int
    """Keys with failures since their last success."""
    in_work: int
    unfinished_s: float
    """Sum over the keys in work of the seconds since they were taken."""
    longest_s: float
    """The longest of those."""
    oldest_s: float
    """Seconds that the first key in line has been due."""


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[K]):
    key: K
    order: int
    since_s: float


class WorkQueue(Generic[K]):
    """For one event loop; every method but `get` returns at once."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        ids: Ids,
        observer: QueueObserver,
        *,
        suspects_max: int = 1,
        keys_max: int = KEYS_MAX,
    ) -> None:
        assert suspects_max >= 1
        self.name = name
        self._clock, self._ids, self._observer = clock, ids, observer
        self._suspects_max, self._keys_max = suspects_max, keys_max
        self._order = 0
        self._fresh: deque[_Waiting[K]] = deque()
        self._suspect: deque[_Waiting[K]] = deque()
        self._queued: set[K] = set()
        self._in_work: dict[K, float] = {}
        self._suspects_in_work: set[K] = set()
        self._dirty: set[K] = set()
        self._failures: dict[K, int] = {}
        self._due: dict[K, float] = {}
        self._alarms: list[tuple[float, int, K]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._getters: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def add(self, key: K) -> None:
        """Make the key due now. In work: it is due again when its worker is done."""
        if self._closed or key in self._queued:
            return
        if key in self._in_work:
            self._dirty.add(key)
        elif self._has_room(key):
            self._enqueue(key)

    def add_after(self, key: K, seconds: float) -> None:
        """
        Make the key due in `seconds`. The earliest of several wins.

        A worker that takes the key before that cancels it: the outcome of its pass says when to look again.
        """
        if seconds <= 0:
            self.add(key)
            return
        # A shorter delay would ring at once, for a pass that finds itself too early and asks for the same again.
        due_s = self._clock.monotonic() + max(seconds, _EARLY_S)
        if self._closed or due_s >= self._due.get(key, float("inf")) or not self._has_room(key):
            return
        self._due[key] = due_s
        self._order += 1
        heapq.heappush(self._alarms, (due_s, self._order, key))
        self._drop_stale_alarms()
        self._set_timer()

    def retry(self, key: K, *, at_least_s: float = 0.0) -> None:
        """Make the key due after a delay that doubles with each failure since the last `forget`."""
        failures = self._failures.get(key, 0)
        delay_s = BACKOFF_FIRST_S * 2 ** min(failures, _DOUBLINGS_MAX)
        delay_s = max(delay_s + self._ids.jitter(delay_s * BACKOFF_JITTER), at_least_s)
        self._failures[key] = failures + 1
        self._observer.queue_retried(self.name)
        self.add_after(key, min(BACKOFF_MAX_S, delay_s))
        if key not in self._due:  # refused: a full queue remembers nothing of the key
            self.forget(key)

    def forget(self, key: K) -> None:
        """The key is well: its next failure starts with the shortest delay."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """Failures since the last `forget`."""
        return self._failures.get(key, 0)

    def in_work(self, key: K) -> bool:
        """A worker has the key."""
        return key in self._in_work

    async def get(self) -> K | None:
        """Wait for a key that is due; None after `shutdown`. Each key got must be given back with `done`."""
        while not self._closed:
            waiting = self._next()
            if waiting is not None:
                return self._take(waiting)
            getter = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter in self._getters:
                    self._getters.remove(getter)
                else:
                    self._wake()  # we were called but cannot come: pass it on
                raise
        return None

    def done(self, key: K) -> None:
        """The worker has finished with the key, whatever the outcome."""
        since_s = self._in_work.pop(key)
        self._observer.queue_worked(self.name, self._clock.monotonic() - since_s)
        if key in self._suspects_in_work:
            self._suspects_in_work.discard(key)
            self._wake()  # a place for a suspect is free
        if key in self._dirty:
            self._dirty.discard(key)
            if not self._closed:
                self._enqueue(key)

    def shutdown(self) -> None:
        """Take nothing more, hand out nothing more. What waits is dropped: the next owner looks at all."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for forgotten in (self._fresh, self._suspect, self._queued, self._dirty, self._due, self._alarms):
            forgotten.clear()
        self._observer.queue_depth(self.name, 0)
        while self._getters:
            self._wake()

    def stats(self) -> QueueStats:
        now_s = self._clock.monotonic()
        ages_s = [now_s - since_s for since_s in self._in_work.values()]
        return QueueStats(
            depth=len(self._queued),
            delayed=len(self._due),
            retrying=len(self._failures),
            in_work=len(ages_s),
            unfinished_s=sum(ages_s),
            longest_s=max(ages_s, default=0.0),
            oldest_s=max((now_s - lane[0].since_s for lane in self._lanes() if lane), default=0.0),
        )

    def _lanes(self) -> Iterator[deque[_Waiting[K]]]:
        yield self._fresh
        yield self._suspect

    def _has_room(self, key: K) -> bool:
        if key in self._due or len(self._queued) + len(self._due) < self._keys_max:
            return True
        self._observer.queue_refused(self.name)
        return False

    def _enqueue(self, key: K) -> None:
        self._order += 1
        lane = self._suspect if key in self._failures else self._fresh
        lane.append(_Waiting(key, self._order, self._clock.monotonic()))
        self._queued.add(key)
        self._observer.queue_added(self.name)
        self._observer.queue_depth(self.name, len(self._queued))
        self._wake()

    def _next(self) -> _Waiting[K] | None:
        """Remove and return the key that has waited longest among those that may start."""
        suspects = self._suspect if len(self._suspects_in_work) < self._suspects_max else None
        if suspects and (not self._fresh or suspects[0].order < self._fresh[0].order):
            waiting = suspects.popleft()
            self._suspects_in_work.add(waiting.key)
            return waiting
        return self._fresh.popleft() if self._fresh else None

    def _take(self, waiting: _Waiting[K]) -> K:
        now_s = self._clock.monotonic()
        self._queued.discard(waiting.key)
        self._due.pop(waiting.key, None)
        self._in_work[waiting.key] = now_s
        self._observer.queue_waited(self.name, now_s - waiting.since_s)
        self._observer.queue_depth(self.name, len(self._queued))
        return waiting.key

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def _drop_stale_alarms(self) -> None:
        if len(self._alarms) > 2 * len(self._due) + 64:
            self._alarms = [alarm for alarm in self._alarms if self._due.get(alarm[2]) == alarm[0]]
            heapq.heapify(self._alarms)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._alarms:
            delay_s = max(0.0, self._alarms[0][0] - self._clock.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._ring)

    def _ring(self) -> None:
        now_s = self._clock.monotonic()
        while self._alarms and self._alarms[0][0] <= now_s + _EARLY_S:
            due_s, _, key = heapq.heappop(self._alarms)
            if self._due.get(key) == due_s:
                del self._due[key]
                self.add(key)
        self._set_timer()
