"""
Which databases this process owns. Every controller runs this; nobody hands out work.

A claim is the record `owners/<kind>/<name>` on this process's session lease, written only if it was absent;
the revision that created it is the epoch (rule F1). It may be acted on while *all* of these hold:

- the session's deadline, counted from sending its last keepalive, lies ahead by a margin;
- the session still has the lease that the claim was made on;
- the mirror has not shown another record, or none, in its place;
- it is not being handed over, and this process is not shutting down.

Where a key belongs is computed, the same in each process (placement.py). An absent record is claimed at once
by the controller it belongs on, and after a while by any other. A record that another controller should have
is handed over only after that has been so for `settle_s`, so that a controller that flaps moves nothing.
Level-triggered like everything else: `reconcile` looks at one key and does the next step, whatever happened.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from controlplane.claims import HeldClaim
from controlplane.group_commit import GroupCommit
from controlplane.membership import Membership
from controlplane.placement import key_of
from controlplane.queue import WorkQueue
from crds.meta import Key
from reconcilers import paths
from reconcilers.contract import Claim, Result
from reconcilers.errors import UnknownFate
from reconcilers.ports import Clock, Put, Records, Remove, Store

CHANGES = ("acquired", "suspended", "resumed", "lost", "released")
"""Closed set of what happens to a claim. `suspended`: the deadline passed; `released`: we gave it up."""


class OwnershipObserver(Protocol):
    """Must not block and must not raise."""

    def claims_held(self, count: int) -> None:
        """Claims that this process has, suspended ones included."""

    def claim_changed(self, change: str) -> None:
        """`change` is one of CHANGES."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How quickly ownership moves. All in seconds."""

    settle_s: float = 5.0
    """Another controller must have been the better one for this long before a claim is handed over."""
    patience_s: float = 10.0
    """How long a key may be without an owner until the next in rank takes it."""
    tick_s: float = 0.2
    """How often the session is looked at. (Claims look at it themselves whenever they are asked.)"""
    resync_s: float = 60.0
    """How often every key is looked at without an event."""
    poll_s: float = 0.05
    """How often a hand-over looks whether the running pass has ended."""


class Ownership:
    """
    Claims for one process. `run` watches session and members; `reconcile` is a pass of its own controller.

    Callbacks: `on_acquired(key, epoch)` when acting on a key becomes possible (again), `on_lost(key)` when it
    no longer is. They must not block.
    """

    def __init__(
        self,
        membership: Membership,
        queue: WorkQueue[Key],
        records: Records,
        store: Store,
        clock: Clock,
        observer: OwnershipObserver,
        *,
        on_acquired: Callable[[Key, int], None],
        on_lost: Callable[[Key], None],
        busy: Callable[[Key], bool],
        orphans: Callable[[], Collection[Key]] = tuple,
        pace: Pace | None = None,
    ) -> None:
        """
        Args:
            queue: Ownership's own queue, served by a controller that calls `reconcile`.
            busy: True while a pass runs for the key (`WorkQueue.in_work` of the queue that the claims serve).
            orphans: Keys without a record of which something is left to tidy up.
        """
        self._membership, self._me = membership, membership.me
        self._queue, self._records, self._batch = queue, records, GroupCommit(store)
        self._clock, self._observer = clock, observer
        self._on_acquired, self._on_lost, self._busy = on_acquired, on_lost, busy
        self._orphans = orphans
        self._pace = pace or Pace()
        self._claims: dict[Key, HeldClaim] = {}
        self._absent_since_s: dict[Key, float] = {}
        self._lease_id = 0
        self._active = False
        self._frozen = False

    # --- asked by others ---

    def claim(self, key: Key) -> Claim | None:
        """The claim on `key` if it may be acted on now."""
        held = self._claims.get(key)
        return held if held is not None and held.may_act() else None

    def owned(self) -> tuple[Key, ...]:
        """Keys that may be acted on now, in order."""
        return tuple(sorted(key for key, held in self._claims.items() if held.may_act()))

    def changed(self, changed_paths: Iterable[str], *, everything: bool = False) -> None:
        """The mirror has taken in changes at these paths, or more than it could remember."""
        members_touched = everything
        for path in changed_paths:
            members_touched = members_touched or path.startswith(paths.CONTROLLERS)
            for root in (paths.OWNERS, paths.SPECS, paths.ACCEPTED):
                self._add(key_of(path, root))
        if (members_touched and self._membership.read()) or everything:
            self._add_all()

    def look_at(self, key: Key) -> None:
        """Something changed about the key that no record tells of."""
        self._add(key)

    def freeze(self) -> None:
        """Start no effect any more (what runs may end) and claim nothing."""
        self._frozen = True

    async def hand_over(self) -> None:
        """Give up everything in one revision. Call when the running passes have ended."""
        self.freeze()
        await self._membership.leave()
        for key in list(self._claims):
            self._drop(key, "released")

    # --- all keys ---

    async def run(self) -> None:
        """Look at the session again and again, keep us registered, resync. Runs until cancelled."""
        self._membership.read()
        resync_at_s = self._clock.monotonic()
        while True:
            self._look_at_session()
            if self._active and not self._frozen:
                await self._membership.register()
            if self._clock.monotonic() >= resync_at_s:
                resync_at_s = self._clock.monotonic() + self._pace.resync_s
                self._add_all()
            await self._clock.sleep(self._pace.tick_s)

    def _look_at_session(self) -> None:
        if self._frozen:
            return  # `hand_over` ends the claims
        active, lease_id = self._membership.believes(), self._membership.lease_id
        if lease_id != self._lease_id:
            self._lease_id = lease_id
            for key in [key for key, held in self._claims.items() if held.lease_id != lease_id]:
                self._drop(key, "lost")
        elif active == self._active:
            return
        if active != self._active:
            self._active = active
            self._tell_all("resumed" if active else "suspended")
        self._add_all()

    def _tell_all(self, change: str) -> None:
        for key, held in list(self._claims.items()):
            self._observer.claim_changed(change)
            if change == "resumed":
                self._on_acquired(key, held.epoch)
            else:
                self._on_lost(key)

    def _add(self, key: Key | None) -> None:
        if key is not None and key.kind in self._me.kinds:
            self._queue.add(key)

    def _add_all(self) -> None:
        for key in [*self._claims, *self._orphans()]:
            self._add(key)
        for root in (paths.SPECS, paths.ACCEPTED):
            for record in self._records.under(root):
                self._add(key_of(record.path, root))

    # --- one key ---

    async def reconcile(self, key: Key, claim: Claim) -> Result:
        """Do the next step for one key. `claim` is not used: whether the key is ours is decided here."""
        if self._frozen or not self._active or not self._membership.believes():
            return Result()  # every key is added again when that changes
        held = self._claims.get(key)
        if held is not None and not self._shown(held):
            self._drop(key, "lost")
            held = None
        if held is not None:
            return await self._keep(key, held)
        record = self._records.get(paths.owner(key))
        if record is None:
            return await self._take(key)
        self._absent_since_s.pop(key, None)
        if record.value == self._me.identity.encode() and self._membership.present():
            # Left by a write whose answer was lost, perhaps on an earlier lease: nobody knows its deadline.
            await self._batch.commit(Remove(record.path, expected=record.mod_revision))
            return Result(requeue_after_s=self._pace.poll_s, actions=1)
        return Result()

    async def _take(self, key: Key) -> Result:
        rank = self._membership.rank(key)
        # An orphan can wait for the one controller it belongs on. Any other may not know yet that it is gone, and
        # would claim it again each time that its owner, having done its work, lets it go.
        if rank is None or not (self._recorded(key) if rank else self._exists(key)):
            self._absent_since_s.pop(key, None)
            return Result()
        now_s = self._clock.monotonic()
        wait_s = self._absent_since_s.setdefault(key, now_s) + rank * self._pace.patience_s - now_s
        if wait_s > 0:
            return Result(requeue_after_s=wait_s)
        held = await self._write_claim(paths.owner(key))
        if rank > 0:
            held.elected_from = self._membership.members
        self._absent_since_s.pop(key, None)
        self._claims[key] = held
        self._note("acquired")
        if self._active:
            self._on_acquired(key, held.epoch)
        return Result(actions=1)

    async def _write_claim(self, path: str) -> HeldClaim:
        lease_id = self._membership.lease_id
        epoch = await self._batch.commit(Put(path, self._me.identity.encode(), expected=0, leased=True))
        if lease_id != self._membership.lease_id:
            raise UnknownFate("etcd", "the lease changed while claiming")
        return HeldClaim(path, epoch, lease_id, self._stands)

    async def _keep(self, key: Key, held: HeldClaim) -> Result:
        if not held.closing:
            wait_s = self._keep_for_s(key, held)
            if wait_s is None or wait_s > 0:
                return Result(requeue_after_s=wait_s)
            held.closing = True  # no new pass, no new effect: the running pass ends at its next look
        if self._busy(key):
            return Result(requeue_after_s=self._pace.poll_s)
        await self._batch.commit(Remove(held.path, expected=held.epoch))
        if self._claims.get(key) is held:
            self._drop(key, "released")
        return Result(actions=1)

    def _keep_for_s(self, key: Key, held: HeldClaim) -> float | None:
        """Seconds until the claim is to be handed over; None: it is wanted here."""
        # Rank None: our own record is missing. Nobody is better until it is back.
        best = self._membership.rank(key) in (0, None) or held.elected_from == self._membership.members
        if best and self._exists(key):
            held.unwanted_since_s = None
            return None
        now_s = self._clock.monotonic()
        if held.unwanted_since_s is None:
            held.unwanted_since_s = now_s
        return held.unwanted_since_s + self._pace.settle_s - now_s

    def _exists(self, key: Key) -> bool:
        return self._recorded(key) or key in self._orphans()

    def _recorded(self, key: Key) -> bool:
        return any(self._records.get(path) is not None for path in (paths.spec(key), paths.accepted(key)))

    def _stands(self, held: HeldClaim) -> bool:
        on_lease = held.lease_id == self._membership.lease_id
        return not self._frozen and on_lease and self._membership.believes() and self._shown(held)

    def _shown(self, held: HeldClaim) -> bool:
        """False once the mirror shows the record gone or created anew; at first it may not show it yet."""
        record = self._records.get(held.path)
        if record is not None and record.create_revision == held.epoch:
            held.seen = True
            return True
        later = record is not None and record.create_revision > held.epoch
        return not later and not held.seen and self._records.revision < held.epoch

    def _drop(self, key: Key, change: str) -> None:
        self._claims.pop(key).closing = True  # whoever still holds it may never act on it again
        self._note(change)
        if self._active:
            self._on_lost(key)  # else it was told when the deadline passed

    def _note(self, change: str) -> None:
        self._observer.claim_changed(change)
        self._observer.claims_held(len(self._claims))
