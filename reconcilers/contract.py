"""What a controller may expect of a reconciler, and the claim it hands over. No implementation lives here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from crds.meta import Key


@dataclass(frozen=True, slots=True)
class Result:
    """How a pass ended when nothing went wrong."""

    requeue_after_s: float | None = None
    """Seconds until the key must be looked at again even if nothing happens; None: only on an event."""
    actions: int = 0
    """Effects that this pass carried out; 0 in a no-op pass."""
    warning: str = ""
    """What only a person can mend, as a sentence for the log; "": nothing."""


class Claim(Protocol):
    """The right to act on one object, with a local deadline (never a boolean that can go stale)."""

    @property
    def epoch(self) -> int:
        """etcd create_revision of the owner record; grows with every change of owner."""

    @property
    def path(self) -> str:
        """Path of the owner record that `epoch` belongs to."""

    def may_act(self) -> bool:
        """True while the deadline, counted from *sending* the last keepalive, lies ahead."""


class Reconciler(Protocol):
    """refresh -> plan -> apply -> report for one key; level-triggered, so it never sees an event."""

    async def reconcile(self, key: Key, claim: Claim) -> Result:
        """
        Bring the world one frontier closer to the spec.

        Raises:
            RetryableError: back off and come again.
            Conflict: come again at once.
            OwnershipLost: forget the key.
            TerminalError: wait for the spec to change.
        """
        ...
