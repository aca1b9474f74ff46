"""One database, one pass: refresh -> plan -> apply -> report. No branch on what happened, only on what is."""

from __future__ import annotations

import json

from crds.meta import Key
from crds.status import DatabaseStatus
from reconcilers import paths
from reconcilers.actions import Plan
from reconcilers.contract import Claim, Result
from reconcilers.database import report
from reconcilers.database.apply import Effects, Outcome, apply
from reconcilers.database.plan import plan
from reconcilers.database.refresh import Refresh
from reconcilers.errors import OwnershipLost, PgswarmError
from reconcilers.observed import Observed
from reconcilers.ports import Fence, Put, Records

AGAIN_S = 0.0
"""After a pass that did something: its effects may have opened the next frontier."""
WAITING_S = 5.0
"""While something waits whose end no event announces."""
EVENT_TTL_S = 3600
EVENTS_PER_PASS_MAX = 20


class DatabaseReconciler:
    """The owner's half: Swarm objects, Patroni's records, and what it asks of the agents."""

    def __init__(self, refresh: Refresh, effects: Effects, records: Records) -> None:
        self._refresh = refresh
        self._effects = effects
        self._records = records
        self._written: dict[Key, int] = {}

    async def reconcile(self, key: Key, claim: Claim) -> Result:
        await self._records.reached(self._written.get(key, 0))
        observed = await self._refresh.read(key, claim)
        todo = plan(observed)
        if todo.step_down:
            raise OwnershipLost(claim.path)
        outcome = await apply(todo.actions, claim, self._effects) if todo.actions else Outcome(())
        revision = max(outcome.revision, await self._report(observed, todo, outcome, claim))
        if revision:
            self._written[key] = revision
        if _forgotten(observed, outcome):
            self._written.pop(key, None)
        error = outcome.error()
        if error is not None:
            raise error
        if todo.actions:
            return Result(AGAIN_S, len(outcome.done))
        return Result(WAITING_S if todo.waiting else None)

    async def _report(self, observed: Observed, todo: Plan, outcome: Outcome, claim: Claim) -> int:
        """Write status and events if there is anything new to say; return the revision, or 0."""
        if _forgotten(observed, outcome) or (observed.accepted is None and not observed.spec.present):
            return 0
        status = report.report(observed, todo, outcome.error())
        events = self._events(observed, outcome)
        if report.same(observed.status, status) and not events:
            return 0
        return await self._write(observed, status, events, claim)

    async def _write(
        self, observed: Observed, status: DatabaseStatus, events: list[Put], claim: Claim
    ) -> int:
        if not claim.may_act():
            raise OwnershipLost(claim.path)
        put = Put(
            paths.status(observed.key), status.model_dump_json().encode(), expected=observed.status_revision
        )
        return await self._effects.store.commit([put, *events], (Fence(claim.path, claim.epoch),))

    def _events(self, observed: Observed, outcome: Outcome) -> list[Put]:
        said = [
            ("Normal", str(action.why), f"{action}", action.change.value)
            for action in outcome.done
            if report.notable(action)
        ]
        said += [
            ("Warning", error.reason, f"{action}: {error}", "none")
            for action, error in outcome.failed
            if _told(error)
        ]
        return [
            Put(
                f"{paths.events(observed.key)}{self._effects.ids.ulid()}",
                json.dumps(
                    {"at": observed.at, "type": kind, "reason": reason, "message": message, "change": change}
                ).encode(),
                ttl_s=EVENT_TTL_S,
            )
            for kind, reason, message, change in said[:EVENTS_PER_PASS_MAX]
        ]


def _told(error: PgswarmError) -> bool:
    """Conflicts are everyday life of a level-triggered controller, not news."""
    return error.reason not in ("Conflict", "OwnershipLost")


def _forgotten(observed: Observed, outcome: Outcome) -> bool:
    """The last transaction of a deletion went through: there is nothing left to write a status for."""
    return any(action.kind == "database" and action.name == observed.key.name for action in outcome.done)
