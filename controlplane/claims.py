"""The right to act on one key: held by election, or given because there is nothing to elect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from controlplane.placement import Member
from crds.meta import Key
from reconcilers.contract import Claim


class HeldClaim:
    """`contract.Claim` of this process. Asks at each use; keeps no answer."""

    __slots__ = (
        "_epoch",
        "_path",
        "_stands",
        "closing",
        "elected_from",
        "lease_id",
        "seen",
        "unwanted_since_s",
    )

    def __init__(self, path: str, epoch: int, lease_id: int, stands: Callable[[HeldClaim], bool]) -> None:
        self._path, self._epoch, self._stands = path, epoch, stands
        self.lease_id = lease_id
        self.seen = False
        """The mirror has shown the record."""
        self.closing = False
        self.unwanted_since_s: float | None = None
        self.elected_from: tuple[Member, ...] | None = None
        """Set if taken because the controller it belongs on did not: kept until the members change."""

    @property
    def epoch(self) -> int:
        return self._epoch

    @property
    def path(self) -> str:
        return self._path

    def may_act(self) -> bool:
        return not self.closing and self._stands(self)


class Unelected:
    """`Claims` for keys that need no owner, such as those of ownership's own controller."""

    def claim(self, key: Key) -> Claim:
        return _ALWAYS


@dataclass(frozen=True, slots=True)
class _Always:
    epoch: int = 0
    path: str = ""

    def may_act(self) -> bool:
        return True


_ALWAYS = _Always()
