"""
Keep the records below one prefix equal to etcd's, whatever etcd and the network do.

    list -> watch from the revision after it -> apply batches
    stream cut, etcd restarted, token expired   -> watch again from the last whole revision
    history compacted                           -> list again, compare with what is held (deletions!)
    stream silent for three heartbeats          -> audit, then watch again, elsewhere if there is an elsewhere
    every minute or so                          -> audit: what was written since, and how many are there?
    every ten minutes or so                     -> list again in any case

A batch's own revision is the only place to resume from. What etcd says about its progress is a sign of life and
serves read-your-writes; a server that says too much there (some do) costs a re-read, never an event.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

from controlplane.lifecycle import until_one_ends
from controlplane.sources.cache import RecordCache
from controlplane.stores.failures import ETCD
from controlplane.stores.feed import Batch, Compacted, Feed, Silent, Watch
from reconcilers.errors import RetryableError
from reconcilers.held import HELD, whose
from reconcilers.ports import Clock, Ids

_LEAST_S = 0.001
"""Timers may ring a little early by the clock port; a loop that waits again must then wait at all."""


class _WentBack(RetryableError):
    """etcd's revision is below one that was seen: it was restored from a backup, or this member lags."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """All in seconds."""

    heartbeat_s: float = 5.0
    """A stream that has been quiet for this long is asked for a sign of life; after three it counts as dead."""
    audit_s: float = 60.0
    relist_s: float = 600.0
    jitter: float = 0.2
    """Share that is added at random to the two above, so that hosts do not list all at once."""
    prompt_s: float = 0.01
    """At most one question about progress in this time."""
    prompt_max_s: float = 0.25
    """Without an answer the question is put ever less often, down to once in this time."""
    backoff_first_s: float = 0.1
    backoff_max_s: float = 2.0


class Follower:
    """The records below one path prefix. `on_change(paths)` is called after each change, and must not block."""

    def __init__(
        self,
        feed: Feed,
        prefix: str,
        clock: Clock,
        ids: Ids,
        on_change: Callable[[list[str]], None],
        rhythm: Rhythm,
    ) -> None:
        self.prefix = prefix
        held = {root: holder for root, holder in HELD.items() if root.startswith(prefix)}
        self.cache = RecordCache(held, whose)
        self.listed = False
        self.seen = 0
        """Everything up to this revision is in the cache, by etcd's word about its progress."""
        self.position = 0
        """Everything up to this revision is in the cache, by its own events: resume behind it."""
        self.error = ""
        self._feed, self._clock, self._ids = feed, clock, ids
        self._on_change, self._rhythm = on_change, rhythm
        self._failures = 0
        self._heard_s = clock.monotonic()
        self._audit_at_s = self._relist_at_s = -math.inf
        self._wanted = 0
        self._prompted = asyncio.Event()

    def silent_for_s(self) -> float:
        """Seconds since etcd last answered."""
        return self._clock.monotonic() - self._heard_s

    def prompt(self, revision: int) -> None:
        """Ask etcd until it says that there is nothing below this prefix up to `revision` that is not here."""
        if self.seen < revision:
            self._wanted = max(self._wanted, revision)
            self._prompted.set()

    async def run(self) -> None:
        """Runs until cancelled; no answer of etcd ends it."""
        while True:
            try:
                await self._synchronise()
                await self._watch()
            except RetryableError as exc:
                self.error = str(exc)
                if isinstance(exc, Compacted | _WentBack):
                    self._relist_at_s = -math.inf
                elif isinstance(exc, Silent):
                    self._audit_at_s = -math.inf
                await self._back_off()

    async def _synchronise(self) -> None:
        now_s = self._clock.monotonic()
        if now_s >= self._relist_at_s or (now_s >= self._audit_at_s and not await self._audit()):
            await self._list()

    async def _audit(self) -> bool:
        """Take in what was written since; False if that does not explain how many records there are."""
        delta = await self._feed.since(self.prefix, self.position + 1)
        self._hear()
        if delta.revision < self.position:
            return False
        changed = self.cache.apply(delta.records)
        if len(self.cache) != delta.count:
            self._take(changed, 0)
            return False
        self.position = delta.revision
        self._audit_at_s = self._later(self._rhythm.audit_s)
        self._take(changed, delta.revision)
        return True

    async def _list(self) -> None:
        listing = await self._feed.list(self.prefix)
        self._hear()
        changed = self.cache.replace(listing.records)
        self.listed = True
        # Not the larger of the two: an etcd restored from a backup goes back in its revisions.
        self.position = self.seen = listing.revision
        self._wanted = 0
        self._audit_at_s = self._later(self._rhythm.audit_s)
        self._relist_at_s = self._later(self._rhythm.relist_s)
        self._take(changed, listing.revision)

    async def _watch(self) -> None:
        """Follow one stream; returns when an audit is due."""
        # From the last revision that is known, not behind it: at exactly its compacted revision etcd lets a watch
        # begin though deletions are missing there, and a watch that begins in the future says nothing of progress.
        async with self._feed.watch(self.prefix, self.position) as watch:
            due_s = max(_LEAST_S, self._audit_at_s - self._clock.monotonic())
            await until_one_ends(
                self._read(watch), self._heartbeat(watch), self._ask(watch), self._clock.sleep(due_s)
            )

    async def _read(self, watch: Watch) -> None:
        while True:
            frame = await watch.next()
            self._failures = 0
            self._hear()
            if isinstance(frame, Batch):
                changed = self.cache.apply(frame.changes)
                self.position = max(self.position, frame.revision)
                self._take(changed, frame.revision)
            elif 0 < frame.revision < self.position:
                raise _WentBack(f"etcd is at revision {frame.revision}, and was at {self.position}")
            else:
                self._take([], frame.revision if frame.complete else 0)

    async def _heartbeat(self, watch: Watch) -> None:
        opened_s = self._clock.monotonic()
        while True:
            await self._clock.sleep(self._rhythm.heartbeat_s)
            quiet_s = self._clock.monotonic() - max(self._heard_s, opened_s)
            if quiet_s >= 3 * self._rhythm.heartbeat_s:
                raise Silent(
                    ETCD, f"the watch of {self.prefix or 'our records'} was silent for {quiet_s:.0f} s"
                )
            if quiet_s < self._rhythm.heartbeat_s / 2:
                continue
            await watch.ask_progress()

    async def _ask(self, watch: Watch) -> None:
        while True:
            await self._prompted.wait()
            self._prompted.clear()
            asked_for, pause_s = 0, 0.0
            # A server that is still sending old events may not answer, and the answer of some cannot be used.
            while self.seen < self._wanted:
                pause_s = pause_s * 2 if self._wanted == asked_for else self._rhythm.prompt_s
                asked_for = self._wanted
                if pause_s < self._rhythm.prompt_max_s:
                    await watch.ask_progress()
                    await self._clock.sleep(pause_s)
                else:
                    await self._look()
                    await self._clock.sleep(self._rhythm.prompt_max_s)

    async def _look(self) -> None:
        """The stream does not tell how far it is: read what it should have brought."""
        delta = await self._feed.since(self.prefix, self.position + 1)
        changed = self.cache.apply(delta.records)
        # Deletions are not in it; with as many records as etcd has there are none that we miss.
        self._take(changed, delta.revision if len(self.cache) == delta.count else 0)

    def _hear(self) -> None:
        self._heard_s = self._clock.monotonic()
        self.error = ""

    def _take(self, changed: list[str], revision: int) -> None:
        self.seen = max(self.seen, revision)
        self._on_change(changed)

    def _later(self, seconds: float) -> float:
        return self._clock.monotonic() + seconds + self._ids.jitter(seconds * self._rhythm.jitter)

    async def _back_off(self) -> None:
        ceiling_s = self._rhythm.backoff_first_s * 2 ** min(self._failures, 10)
        ceiling_s = min(self._rhythm.backoff_max_s, ceiling_s)
        self._failures += 1
        await self._clock.sleep(ceiling_s / 2 + self._ids.jitter(ceiling_s / 2))
