"""Figures of the databases that this process owns, read from records when metrics are scraped. No library here."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crds.meta import Key
from reconcilers import paths
from reconcilers.contract import Claim, Reconciler, Result
from reconcilers.ports import Clock, Records

KIND = "database"
PAUSED, RETAINED = "Paused", "Retained"
"""Reasons of a database that is left alone because a person wants that: it serves as far as is seen, or need not."""


@dataclass(frozen=True, slots=True)
class DatabaseFigures:
    database: str
    ready: bool | None
    """None: neither is meant. Its data is retained and nothing is to run, or it is paused and nothing is amiss."""
    last_success_s: float
    """Seconds since 1970 when a pass last ended well; 0: never."""
    oldest_pending_s: float
    """Seconds for which what is specified has not been in force, because it is refused or not done; 0: it is."""
    paused: bool = False


class Successes:
    """When a pass over each key last ended well: status is not written for a pass that changed nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at_s: dict[Key, float] = {}

    def note(self, key: Key) -> None:
        self._at_s[key] = self._clock.epoch_s()

    def at_s(self, key: Key) -> float:
        return self._at_s.get(key, 0.0)

    def keep_only(self, keys: Collection[Key]) -> None:
        for key in [key for key in self._at_s if key not in keys]:
            del self._at_s[key]


class Measured:
    """A reconciler that also notes when a pass ended well."""

    def __init__(self, inner: Reconciler, successes: Successes) -> None:
        self._inner, self._successes = inner, successes

    async def reconcile(self, key: Key, claim: Claim) -> Result:
        result = await self._inner.reconcile(key, claim)
        self._successes.note(key)
        return result


class DatabaseFiguresSource:
    """Reads the figures of owned databases; what is no longer owned, or gone, leaves no trace."""

    def __init__(
        self, records: Records, owned: Callable[[], Collection[Key]], successes: Successes, clock: Clock
    ) -> None:
        self._records, self._owned, self._successes, self._clock = records, owned, successes, clock
        self._unseen_since_s: dict[Key, float] = {}

    def read(self) -> list[DatabaseFigures]:
        keys = {key for key in self._owned() if key.kind == KIND}
        self._successes.keep_only(keys)
        self._unseen_since_s = {key: at_s for key, at_s in self._unseen_since_s.items() if key in keys}
        return [self._one(key) for key in sorted(keys)]

    def _one(self, key: Key) -> DatabaseFigures:
        now_s = self._clock.epoch_s()
        spec, record = self._records.get(paths.spec(key)), self._records.get(paths.status(key))
        status = _mapping(record.value) if record is not None else {}
        since_s = [
            seconds(found.get("lastTransitionTime")) or now_s
            for found in (_condition(status, "Synced"), _condition(status, "SpecValid"))
            # That nothing is done while it is paused is what is specified.
            if found.get("status") == "False" and found.get("reason") != PAUSED
        ]
        if spec is not None and status.get("observedRevision", 0) < spec.mod_revision:
            # Nobody has written down when this began, so it counts from when it was first noticed here.
            since_s.append(self._unseen_since_s.setdefault(key, now_s))
        else:
            self._unseen_since_s.pop(key, None)
        return DatabaseFigures(
            database=key.name,
            ready=_ready(_condition(status, "Ready")),
            last_success_s=max(self._successes.at_s(key), seconds(status.get("lastSuccess"))),
            oldest_pending_s=max(0.0, now_s - min(since_s)) if since_s else 0.0,
            paused=_condition(status, PAUSED).get("status") == "True",
        )


def _ready(condition: Mapping[str, Any]) -> bool | None:
    if condition.get("reason") in (PAUSED, RETAINED):
        return None
    return condition.get("status") == "True"


def seconds(text: Any) -> float:
    """Seconds since 1970 of an RFC 3339 time; 0 for anything else."""
    try:
        return datetime.fromisoformat(str(text)).timestamp() if text else 0.0
    except ValueError:
        return 0.0


def _condition(status: Mapping[str, Any], type_: str) -> Mapping[str, Any]:
    conditions = status.get("conditions", ())
    return next((one for one in conditions if isinstance(one, dict) and one.get("type") == type_), {})


def _mapping(value: bytes) -> dict[str, Any]:
    try:
        found = json.loads(value)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
