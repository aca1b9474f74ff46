"""The mirror: `ports.Records` kept warm by list and watch, and the paths that change as wake-ups."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence

from controlplane.sources.changes import Changes
from controlplane.sources.follower import Follower, Rhythm
from controlplane.stores.feed import Feed
from reconcilers.ports import Clock, Ids, Record

OURS = ""
PATRONI = "patroni/"


class Mirror:
    """
    `ports.Records` over several prefixes, one watch each. `run` keeps it equal to etcd for ever.

    Prefixes are paths: `""` is pgswarm's own, `patroni/` Patroni's.
    """

    def __init__(
        self,
        feed: Feed,
        clock: Clock,
        ids: Ids,
        *,
        prefixes: Sequence[str] = (OURS, PATRONI),
        rhythm: Rhythm | None = None,
    ) -> None:
        assert prefixes
        self._clock = clock
        self._subscriptions: list[Changes] = []
        self._moved = asyncio.Event()
        self._waiting_for: list[int] = []
        self.ready = asyncio.Event()
        """Set when every prefix has been listed once; stays set."""
        rhythm = rhythm or Rhythm()
        self._followers = [Follower(feed, p, clock, ids, self._changed, rhythm) for p in prefixes]
        self._longest_first = sorted(self._followers, key=lambda follower: -len(follower.prefix))

    # --- ports.Records ---

    def get(self, path: str) -> Record | None:
        return self._follower(path).cache.get(path)

    def under(self, prefix: str) -> Sequence[Record]:
        """Records whose path starts with `prefix`, in path order."""
        found = [f.cache.under(prefix) for f in self._followers if _overlap(prefix, f.prefix)]
        found = [records for records in found if records]
        if len(found) > 1:
            return list(heapq.merge(*found, key=lambda record: record.path))
        return found[0] if found else []

    def held_by(self, prefix: str, holder: str) -> Sequence[Record]:
        return self._follower(prefix).cache.held_by(prefix, holder)

    def touched(self, whose: str) -> int:
        return sum(follower.cache.touched(whose) for follower in self._followers)

    @property
    def revision(self) -> int:
        """Everything up to this etcd revision is in the mirror."""
        return min(follower.seen for follower in self._followers)

    async def reached(self, revision: int) -> None:
        """Return once the mirror holds `revision`. The caller brings the deadline."""
        if self.revision >= revision:
            return
        self._waiting_for.append(revision)
        try:
            while self.revision < revision:
                self._moved.clear()
                self._prompt()
                await self._moved.wait()
        finally:
            self._waiting_for.remove(revision)

    # --- wake-ups and health ---

    def changes(self) -> Changes:
        """
        Subscribe, from now on. Its first item after the first list names every path.

        A subscriber that comes when the mirror is warm already is told to look at everything.
        """
        changes = Changes(everything=self.ready.is_set(), on_close=self._subscriptions.remove)
        self._subscriptions.append(changes)
        return changes

    @property
    def stale_for_s(self) -> float:
        """Seconds since etcd last answered, on the prefix where that is longest ago."""
        return max(follower.silent_for_s() for follower in self._followers)

    @property
    def last_error(self) -> str:
        """Why a prefix is not being followed at the moment; `""` when all are."""
        return "; ".join(follower.error for follower in self._followers if follower.error)

    def __len__(self) -> int:
        return sum(len(follower.cache) for follower in self._followers)

    async def run(self) -> None:
        """Follow all prefixes until cancelled."""
        async with asyncio.TaskGroup() as group:
            for follower in self._followers:
                group.create_task(follower.run(), name=f"follow {follower.prefix or 'own records'}")

    def _follower(self, path: str) -> Follower:
        """The one whose prefix is the longest that fits."""
        for follower in self._longest_first:
            if path.startswith(follower.prefix):
                return follower
        raise LookupError(path)

    def _changed(self, paths: list[str]) -> None:
        if not self.ready.is_set() and all(follower.listed for follower in self._followers):
            self.ready.set()
        if paths:
            for changes in self._subscriptions:
                changes.note(paths)
        self._moved.set()
        self._prompt()

    def _prompt(self) -> None:
        """A quiet prefix says nothing about how far it is; it is asked when another has moved on."""
        # Events only: if answers counted, two quiet prefixes would ask each other for ever.
        wanted = max(follower.position for follower in self._followers)
        for follower in self._followers:
            follower.prompt(max([wanted, *self._waiting_for]))


def _overlap(prefix: str, root: str) -> bool:
    return prefix.startswith(root) or root.startswith(prefix)
