"""
What the rest of the process may expect of etcd beyond `ports.Store`: lists, watches, leases. Protocols, the values
that cross them and their errors; no library is imported here, so that the in-memory etcd of the tests speaks it too.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from reconcilers.errors import RetryableError, TerminalError, Unavailable
from reconcilers.ports import Record


class Compacted(RetryableError):
    """The history that was asked for is gone: list again."""

    reason = "Compacted"

    def __init__(self, revision: int) -> None:
        super().__init__(f"etcd has compacted its history up to revision {revision}")
        self.revision = revision


class LeaseLost(RetryableError):
    """The lease has expired or was revoked; what was bound to it is gone."""

    reason = "LeaseLost"

    def __init__(self, lease_id: int) -> None:
        super().__init__(f"the lease {lease_id:x} is gone")
        self.lease_id = lease_id


class Silent(Unavailable):
    """A watch stream that still looks open has said nothing for too long."""

    reason = "Silent"


class TooLarge(TerminalError):
    """The transaction is over one of etcd's limits; it was not sent."""

    reason = "TooLarge"


@dataclass(frozen=True, slots=True)
class Gone:
    """A record was deleted, or its lease ran out, at `revision`."""

    path: str
    revision: int


Change = Record | Gone


@dataclass(frozen=True, slots=True)
class Listing:
    """Everything below a prefix at exactly `revision`, in path order."""

    records: tuple[Record, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Delta:
    """Records written at or after a revision, as they are at `revision`, and how many records there are in all."""

    records: tuple[Record, ...]
    count: int
    revision: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes in etcd's order, whole revisions only; `revision` is that of the last one."""

    changes: tuple[Change, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Progress:
    """A sign of life. etcd is at `revision` (0: it did not say)."""

    revision: int
    complete: bool = True
    """Every event up to `revision` was sent before. Some releases cannot be believed in this."""


Frame = Batch | Progress


class Watch(Protocol):
    """One open watch stream."""

    async def next(self) -> Frame:
        """
        Wait for the next frame, as long as it takes.

        Raises:
            Compacted: list again.
            Refused: the prefix is forbidden to us.
            Unavailable: the stream ended or broke.
        """
        ...

    async def ask_progress(self) -> None:
        """Ask for a Progress frame. Raises: Unavailable."""
        ...


class Feed(Protocol):
    """Lists and watches below a path prefix: `""` is all of pgswarm's own records, `patroni/` all of Patroni's."""

    async def list(self, prefix: str) -> Listing:
        """Raises: Refused, Unavailable."""
        ...

    async def since(self, prefix: str, revision: int) -> Delta:
        """Raises: Refused, Unavailable."""
        ...

    def watch(self, prefix: str, start_revision: int) -> AbstractAsyncContextManager[Watch]: ...


@dataclass(frozen=True, slots=True)
class Lease:
    id: int
    ttl_s: int
    """What etcd granted, which may be more than was asked for."""


class Leases(Protocol):
    async def grant(self, ttl_s: int) -> Lease:
        """Raises: Refused, Unavailable."""
        ...

    async def keep_alive(self, lease_id: int) -> int:
        """
        Renew the lease and return its new time to live in seconds.

        Raises:
            LeaseLost: it had ended before.
            Unavailable: no answer; it may have been renewed or not.
        """
        ...

    async def revoke(self, lease_id: int) -> None:
        """End the lease and delete what is bound to it; ended before is fine. Raises: Refused, Unavailable."""
        ...

    async def time_to_live(self, lease_id: int) -> int:
        """Seconds that are left. Raises: LeaseLost, Unavailable."""
        ...
