"""
Workers that take keys and run passes. Generic: it knows Key, Claim and Result, never a database.

The only place with a broad `except`: what a pass does wrong costs its key a delay, and nobody else anything.

    a pass ends with          then
    Result                    forget the back-off; look again after `requeue_after_s` if given
    RetryableError            back off (5 ms .. 1000 s), not before `retry_after_s` if the error names one
    deadline passed           back off
    Conflict                  look again at once, a few times in a row; then back off
    OwnershipLost             forget the key
    TerminalError             forget the back-off; only an event brings the key back
    any other Exception       a bug: log it with its traceback, back off
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Protocol

from controlplane.logger import Log, named
from controlplane.queue import WorkQueue
from crds.meta import Key
from reconcilers.contract import Claim, Reconciler, Result
from reconcilers.errors import Conflict, OwnershipLost, PgswarmError, RetryableError, TerminalError
from reconcilers.ports import Clock

OUTCOMES = ("ok", "retry", "timeout", "conflict", "lost", "terminal", "bug", "unowned", "cancelled")
"""Closed set: every pass ends as exactly one. `unowned`: not our key; `cancelled`: the process stops."""

CONFLICTS_MAX = 5
CONFLICT_DELAY_S = 0.01
"""Long enough for the mirror to show the write that we ran into; otherwise the next pass meets it again."""

# When actions of one pass failed in different ways, the first of these decides: a bug must be seen, a lost
# claim ends everything, and one hopeless action must not keep the others from another try.
_GRAVEST_FIRST = ("bug", "lost", "retry", "conflict", "terminal")


class Claims(Protocol):
    def claim(self, key: Key) -> Claim | None:
        """The right to act on `key`, or None if it is not ours."""
        ...


class ControllerObserver(Protocol):
    """What a controller reports; `controller` is its name. Must not block and must not raise."""

    def pass_started(self, controller: str) -> None:
        """A worker is busy from now on."""

    def pass_ended(self, controller: str, outcome: str, seconds: float, actions: int) -> None:
        """`outcome` is one of OUTCOMES; `actions` counts effects (0 unless the outcome is ok)."""


class Controller:
    """N workers on one queue. `run` ends when the queue is shut down."""

    def __init__(
        self,
        name: str,
        queue: WorkQueue[Key],
        reconciler: Reconciler,
        claims: Claims,
        clock: Clock,
        observer: ControllerObserver,
        log: Log,
        *,
        workers: int,
        deadline_s: float,
    ) -> None:
        """
        Args:
            workers: Passes that may run at once.
            deadline_s: Seconds after which a pass is cancelled and tried again.
        """
        assert workers >= 1
        assert deadline_s > 0
        self.name = name
        self._queue, self._reconciler, self._claims = queue, reconciler, claims
        self._clock, self._observer, self._log = clock, observer, log
        self._workers, self._deadline_s = workers, deadline_s
        self._conflicts: dict[Key, int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._tasks = [
                group.create_task(self._work(), name=f"{self.name}-worker-{number}")
                for number in range(self._workers)
            ]

    async def drain(self, grace_s: float) -> None:
        """Hand out no more keys; let running passes end for `grace_s` seconds, then cancel them."""
        self._queue.shutdown()
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=grace_s)
        for task in late:
            task.cancel()
        if late:
            self._log.warning(
                "cancelled passes that did not end in time", controller=self.name, passes=len(late)
            )
            await asyncio.wait(late)

    async def _work(self) -> None:
        while (key := await self._queue.get()) is not None:
            try:
                await self._pass(key)
            finally:
                self._queue.done(key)
            # A pass with nothing to do waits for nothing; thousands of them must not keep the lease from being renewed.
            await asyncio.sleep(0)

    async def _pass(self, key: Key) -> None:
        started_s = self._clock.monotonic()
        self._observer.pass_started(self.name)
        outcome, actions = "cancelled", 0
        try:
            claim = self._claims.claim(key)
            if claim is None:
                outcome = "unowned"
                self._forget(key)
            else:
                outcome, actions = await self._attempt(key, claim)
        finally:
            self._observer.pass_ended(self.name, outcome, self._clock.monotonic() - started_s, actions)

    async def _attempt(self, key: Key, claim: Claim) -> tuple[str, int]:
        """Run one pass and say what becomes of the key."""
        deadline = asyncio.timeout(self._deadline_s)
        try:
            async with deadline:
                result = await self._reconciler.reconcile(key, claim)
        except Exception as error:  # the one broad except: see the top of the file
            late = isinstance(error, TimeoutError) and deadline.expired()
            outcome = "timeout" if late else _judge(error)
            self._after_error(key, claim, outcome, error)
            return outcome, 0
        self._after_result(key, claim, result)
        return "ok", result.actions

    def _after_result(self, key: Key, claim: Claim, result: Result) -> None:
        self._forget(key)
        if result.requeue_after_s is not None:
            self._queue.add_after(key, result.requeue_after_s)
        if result.actions:
            self._bound(key, claim).info("pass changed the world", actions=result.actions)
        if result.warning:
            self._bound(key, claim).warning("pass found what only a person can mend", message=result.warning)

    def _after_error(self, key: Key, claim: Claim, outcome: str, error: Exception) -> None:
        log = self._bound(key, claim)
        if outcome != "conflict":
            self._conflicts.pop(key, None)
        match outcome:
            case "conflict":
                self._again_after_conflict(key)
                log.debug("pass met a conflict", error=_sentence(error))
            case "lost":
                self._forget(key)
                log.info("pass ended: the claim is lost", error=_sentence(error))
            case "terminal":
                self._forget(key)
                log.warning(
                    "pass ended until the spec changes", reason=_reason(error), error=_sentence(error)
                )
            case "bug":
                self._queue.retry(key)
                log.error("pass failed on a bug", failures=self._queue.failures(key), exc_info=error)
            case "timeout":
                self._queue.retry(key)
                log.warning("pass ran into its deadline", deadline_s=self._deadline_s)
            case _:
                self._queue.retry(key, at_least_s=_retry_after_s(error))
                failures = self._queue.failures(key)
                log.warning(
                    "pass will be tried again",
                    reason=_reason(error),
                    error=_sentence(error),
                    failures=failures,
                )

    def _again_after_conflict(self, key: Key) -> None:
        met = self._conflicts.get(key, 0) + 1
        if met > CONFLICTS_MAX:
            self._conflicts.pop(key, None)
            self._queue.retry(key)
        else:
            self._conflicts[key] = met
            self._queue.add_after(key, CONFLICT_DELAY_S)

    def _forget(self, key: Key) -> None:
        self._conflicts.pop(key, None)
        self._queue.forget(key)

    def _bound(self, key: Key, claim: Claim) -> Log:
        return self._log.bind(controller=self.name, epoch=claim.epoch, **named(key))


def _judge(error: Exception) -> str:
    """The outcome of an error; of a group, its gravest member's."""
    return min((_judge_one(leaf) for leaf in _leaves(error)), key=_GRAVEST_FIRST.index)


def _judge_one(error: BaseException) -> str:
    match error:
        case OwnershipLost():
            return "lost"
        case Conflict():
            return "conflict"
        case RetryableError():
            return "retry"
        case TerminalError():
            return "terminal"
        case _:
            return "bug"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _leaves(member)
    else:
        yield error


def _reason(error: Exception) -> str:
    reasons = {leaf.reason for leaf in _leaves(error) if isinstance(leaf, PgswarmError)}
    return ",".join(sorted(reasons))


def _sentence(error: Exception) -> str:
    return "; ".join(str(leaf) for leaf in _leaves(error))


def _retry_after_s(error: Exception) -> float:
    """The longest wait that a dependency asked for; 0.0 if none did."""
    waits_s = (getattr(leaf, "retry_after_s", None) or 0.0 for leaf in _leaves(error))
    return max(waits_s, default=0.0)
