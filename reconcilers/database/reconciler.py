"""One database, one pass: refresh -> plan -> apply -> report. No branch on what happened, only on what is."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

from crds.meta import Key
from crds.status import DatabaseStatus
from reconcilers import paths
from reconcilers.actions import Action, Plan
from reconcilers.contract import Claim, Result
from reconcilers.database import halt, report
from reconcilers.database.apply import Effects, Outcome, apply
from reconcilers.database.pace import Pace, held_back
from reconcilers.database.plan import plan
from reconcilers.database.refresh import Refresh
from reconcilers.database.unseen import Unseen
from reconcilers.errors import OwnershipLost, PgswarmError, RetryableError
from reconcilers.observed import Observed
from reconcilers.ports import Fence, Put, Records

AGAIN_S = 0.0
"""After a pass that did something: its effects may have opened the next frontier."""
WAITING_S = 5.0
"""While something waits, should its event be lost."""
UNANNOUNCED_S = 1.0
"""While something waits whose end no event announces."""
EVENT_TTL_S = 3600
EVENTS_PER_PASS_MAX = 20
TOLD_AGAIN_S = 300.0
"""The same failure of the same action is one event in this time, however often it is tried."""
SILENT_MAX = 3
"""Passes in a row that may fail to read the world before the status says so."""


class DatabaseReconciler:
    """The owner's half: Swarm objects, Patroni's records, and what it asks of the agents."""

    def __init__(self, refresh: Refresh, effects: Effects, records: Records) -> None:
        self._refresh = refresh
        self._effects = effects
        self._records = records
        self._pace = Pace()
        self._unseen = Unseen()
        self._written: dict[Key, tuple[int, int]] = {}
        """Key -> (epoch, newest revision written under it)."""
        self._reread: set[Key] = set()
        """Wait for what no event announces."""
        self._quiet: dict[Key, Observed] = {}
        """What was seen when there was nothing to do, to wait for or to say."""
        self._told: dict[Key, dict[tuple[str, str], float]] = {}
        """When which failure was last told of; monotonic seconds."""
        self._warned: dict[Key, str] = {}
        """What only a person can mend, as it was told last."""
        self._unread: dict[Key, int] = {}
        """Passes in a row that could not read the world."""

    async def reconcile(self, key: Key, claim: Claim) -> Result:
        epoch, written = self._written.get(key, (0, 0))
        # A new owner must have seen everything that was written before it became the owner.
        await self._records.reached(written if epoch == claim.epoch else claim.epoch)
        if key in self._reread:
            self._reread.remove(key)
            self._effects.orchestrator.invalidate(key.name)
        observed = await self._read(key, claim)
        unseen = self._unseen.among(key, claim.epoch, observed.services)
        observed = observed if observed.unseen == unseen else replace(observed, unseen=unseen)
        known = self._quiet.get(key)
        if observed is known or observed == known:
            self._quiet[key] = observed  # the next one will be made of the same objects
            return Result()
        self._quiet.pop(key, None)
        found = plan(observed)
        now_s = self._effects.clock.monotonic()
        due = self._pace.due(key, found.actions, now_s)
        late = tuple(action for action in found.actions if action not in due)
        todo = Plan(due, (*found.waiting, *held_back(late)))
        self._unseen.sending(key, claim.epoch, due)
        outcome = await apply(due, claim, self._effects, _standing(observed)) if due else Outcome(())
        self._pace.note(key, outcome.done, now_s)
        revision = max(outcome.revision, await self._report(observed, todo, outcome, claim))
        if revision:
            self._written[key] = (claim.epoch, revision)
        if _forgotten(observed, outcome):
            self._written.pop(key, None)
            self._pace.forget(key)
            self._unseen.forget(key)
            self._told.pop(key, None)
            self._warned.pop(key, None)
        elif not (found.actions or found.waiting or revision):
            self._quiet[key] = observed
            self._told.pop(key, None)
        error = outcome.error()
        if error is not None:
            raise error
        told = self._news(key, _warning(todo))
        if due:
            return Result(AGAIN_S, len(outcome.done), told)
        if late:
            return Result(self._pace.wait_s(key, late, now_s), warning=told)
        if any(one.unannounced for one in todo.waiting):
            self._reread.add(key)
            return Result(UNANNOUNCED_S, warning=told)
        return Result(WAITING_S if todo.waiting else None, warning=told)

    def _news(self, key: Key, warning: str) -> str:
        """The warning, unless it is what was told last."""
        if self._warned.get(key, "") == warning:
            return ""
        self._warned[key] = warning
        return warning

    async def _read(self, key: Key, claim: Claim) -> Observed:
        """Look; if that fails again and again, say so in the status: what is blocked must not be silent."""
        try:
            observed = await self._refresh.read(key, claim, self._quiet.get(key))
        except RetryableError as error:
            self._unread[key] = self._unread.get(key, 0) + 1
            if self._unread[key] >= SILENT_MAX:
                await self._tell_blocked(key, claim, error)
            raise
        self._unread.pop(key, None)
        return observed

    async def _tell_blocked(self, key: Key, claim: Claim, error: PgswarmError) -> None:
        old, revision = self._refresh.status(key)
        new = report.blocked(old, error, self._effects.clock.now())
        if old == new or not claim.may_act():
            return
        put = Put(paths.status(key), new.model_dump_json().encode(), expected=revision)
        await self._effects.store.commit([put], (Fence(claim.path, claim.epoch),))

    async def _report(self, observed: Observed, todo: Plan, outcome: Outcome, claim: Claim) -> int:
        """Write status and events if there is anything new to say; return the revision, or 0."""
        nothing = observed.accepted_revision == 0 and not observed.spec.present
        if nothing or _forgotten(observed, outcome):
            return 0
        events = self._events(observed, outcome)
        if _taking_over(observed) and outcome.done and not outcome.failed and not events:
            return 0  # the next pass follows at once: one word when all is taken over, not one for each step
        status = report.report(observed, todo, outcome.error())
        if report.same(observed.status, status) and not events:
            return 0
        revision = await self._write(observed, status, events, claim)
        self._note_told(observed.key, outcome.failed)
        return revision

    async def _write(
        self, observed: Observed, status: DatabaseStatus, events: list[Put], claim: Claim
    ) -> int:
        if not claim.may_act():
            raise OwnershipLost(claim.path)
        put = Put(
            paths.status(observed.key), status.model_dump_json().encode(), expected=observed.status_revision
        )
        return await self._effects.store.commit([put, *events], (Fence(claim.path, claim.epoch),))

    def _is_news(self, key: Key, what: tuple[str, str]) -> bool:
        at_s = self._told.get(key, {}).get(what)
        return at_s is None or self._effects.clock.monotonic() - at_s >= TOLD_AGAIN_S

    def _note_told(self, key: Key, failed: Iterable[tuple[Action, PgswarmError]]) -> None:
        now_s = self._effects.clock.monotonic()
        told = {what: at_s for what, at_s in self._told.get(key, {}).items() if now_s - at_s < TOLD_AGAIN_S}
        for action, error in failed:
            told.setdefault((f"{action}", error.reason), now_s)
        if told:
            self._told[key] = told

    def _events(self, observed: Observed, outcome: Outcome) -> list[Put]:
        said = [
            ("Normal", str(action.why), f"{action}", action.change.value)
            for action in outcome.done
            if report.notable(action)
        ]
        said += [
            ("Warning", error.reason, f"{action}: {error}", "none")
            for action, error in outcome.failed
            if _notable(error) and self._is_news(observed.key, (f"{action}", error.reason))
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


def _warning(todo: Plan) -> str:
    """What stands in the log as well; asked only when the status has changed, as it stays true."""
    return next((one.message for one in todo.waiting if one.reason == halt.REASON), "")


def _notable(error: PgswarmError) -> bool:
    """Conflicts are everyday life of a level-triggered controller, not news."""
    return error.reason not in ("Conflict", "OwnershipLost")


def _standing(observed: Observed) -> tuple[Fence, ...]:
    """
    What is written for a database is written only while that database is there.

    Without it a record that arrives late, still under the same claim, outlives the last transaction of a deletion.
    """
    if observed.accepted_created == 0:
        return ()
    return (Fence(paths.accepted(observed.key), observed.accepted_created, owner=False),)


def _taking_over(observed: Observed) -> bool:
    """The status is another owner's."""
    return observed.status is not None and observed.status.epoch != observed.epoch


def _forgotten(observed: Observed, outcome: Outcome) -> bool:
    """The last transaction of a deletion went through: there is nothing left to write a status for."""
    return any(action.kind == "database" and action.name == observed.key.name for action in outcome.done)
