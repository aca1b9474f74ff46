"""
Databases of which only the Swarm knows, as keys for ownership: whoever owns such a key collects what is left of it.

Looks at the reading that the resync makes anyway. A name counts when two looks in a row find it: a reading may be
older than the records beside it, or a mirror older than the reading.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from controlplane.logger import Log
from crds.meta import Key
from reconcilers import paths
from reconcilers.errors import PgswarmError
from reconcilers.ports import Clock, Records, SwarmView
from reconcilers.resources import orphan

TOLD_MAX = 20
"""Names in one line of the log."""


class Reading(Protocol):
    async def view(self) -> SwarmView: ...


class OrphanSource:
    """
    Runs for ever beside the ticker.

    Args:
        cluster: Value of the cluster label.
        period_s: Seconds between two looks.
        wake: Called with a key that begins or ceases to be an orphan; must not block.
    """

    def __init__(
        self,
        orchestrator: Reading,
        records: Records,
        clock: Clock,
        log: Log,
        *,
        cluster: str,
        period_s: float,
        wake: Callable[[Key], None],
    ) -> None:
        self._orchestrator, self._records, self._clock, self._log = orchestrator, records, clock, log
        self._cluster, self._period_s, self._wake = cluster, period_s, wake
        self._seen = orphan.Orphans()
        self._idle: frozenset[str] = frozenset()
        self._told: frozenset[str] = frozenset()

    def keys(self) -> frozenset[Key]:
        """What is to be collected, as far as this process knows."""
        return frozenset(Key("database", name) for name in self._idle if not self._recorded(name))

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await self._clock.sleep(self._period_s)
            try:
                self.look(await self._orchestrator.view())
            except PgswarmError as error:
                self._log.warning("cannot look for what deleted databases left behind", error=str(error))

    def look(self, view: SwarmView) -> None:
        """Compare a reading with the records; returns at once."""
        before, self._seen = (
            self._seen,
            orphan.find(view, self._cluster, self._recorded, self._records.revision),
        )
        idle, self._idle = self._idle, before.idle & self._seen.idle
        for name in sorted(idle ^ self._idle):
            self._wake(Key("database", name))
        self._tell(before.alive & self._seen.alive)

    def _tell(self, alive: frozenset[str]) -> None:
        if alive - self._told:
            self._log.warning(
                "services run of which etcd holds no record; nothing of their databases is touched",
                databases=sorted(alive)[:TOLD_MAX],
                count=len(alive),
            )
        self._told = alive

    def _recorded(self, name: str) -> bool:
        key = Key("database", name)
        return any(self._records.get(path) is not None for path in (paths.spec(key), paths.accepted(key)))
