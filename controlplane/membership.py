"""
This process among the controllers: is its lease surely alive, is its record written, who else is there.

`controllers/<identity>` is written only if absent, so it also keeps two processes from sharing an identity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from controlplane.logger import Log
from controlplane.placement import Member, member_value, ranking, read_member
from crds.meta import Key
from reconcilers import paths
from reconcilers.errors import PgswarmError
from reconcilers.ports import Clock, Put, Record, Records, Store

REGISTER_AGAIN_S = 1.0
"""Seconds between attempts to write the membership record; the mirror shows it long before the next."""


class Session(Protocol):
    """The one etcd lease of this process."""

    @property
    def lease_id(self) -> int:
        """0 while there is none."""

    def valid(self) -> bool:
        """True until its deadline: counted from *sending* the last keepalive, less a margin."""
        ...

    async def close(self) -> None:
        """Revoke the lease: everything on it vanishes in one revision."""
        ...


class Membership:
    """Answers from what is known here and now; `register` is its only call to etcd."""

    def __init__(
        self,
        me: Member,
        facts: Mapping[str, Any],
        records: Records,
        store: Store,
        session: Session,
        clock: Clock,
        log: Log,
        *,
        able: Callable[[], bool] = lambda: True,
    ) -> None:
        """
        Args:
            able: Whether this host's Docker can be worked with now. Must not block.
        """
        self.me = me
        self.members: tuple[Member, ...] = ()
        """Live controllers as this process sees them, in order."""
        self._path, self._value = paths.controller(me.identity), member_value(me, facts)
        self._facts, self._able = facts, able
        self._records, self._store, self._session = records, store, session
        self._clock, self._log = clock, log
        self._write_at_s = 0.0

    @property
    def lease_id(self) -> int:
        return self._session.lease_id

    def believes(self) -> bool:
        """True while our lease surely lives, with a margin in hand. Asks the clock at each call."""
        return self._session.valid()

    def read(self) -> bool:
        """Look at the members in the mirror; True if they changed."""
        found = (read_member(record) for record in self._records.under(paths.CONTROLLERS))
        members = tuple(sorted(member for member in found if member is not None))
        changed, self.members = members != self.members, members
        if changed:
            self._log.info("controllers changed", controllers=[member.identity for member in members])
        return changed

    def present(self) -> bool:
        """The mirror shows our own record: this identity is ours, and the others count on us."""
        return self.me in self.members

    def rank(self, key: Key) -> int | None:
        """Our place among those that can own the key, 0 first; None if we are not among them."""
        ranks = ranking(key, self.members) if self.present() else []
        return ranks.index(self.me.identity) if self.me.identity in ranks else None

    async def register(self) -> None:
        """Write our record unless it is there, on the lease we have. A failure is logged and tried again."""
        self._look_at_ourselves()
        record = self._records.get(self._path)
        shown = record is not None and record.value == self._value
        now_s = self._clock.monotonic()
        if shown or now_s < self._write_at_s:
            return
        self._write_at_s = now_s + REGISTER_AGAIN_S
        if record is not None and self._is_of_another(record):
            self._log.warning(
                "another process has this identity; waiting for its lease to end", path=self._path
            )
            return
        await self._write(0 if record is None else record.mod_revision)

    def _look_at_ourselves(self) -> None:
        """A controller that cannot see the Swarm says so, and then its databases belong on others."""
        able = self._able()
        if able == self.me.able:
            return
        self.me = replace(self.me, able=able)
        self._value = member_value(self.me, self._facts)
        if able:
            self._log.info("Docker can be worked with again: databases may come back here")
        else:
            self._log.warning("Docker cannot be worked with: databases go to other controllers")

    async def leave(self) -> None:
        """Revoke the lease, and with it our record and every claim."""
        await self._session.close()

    async def _write(self, expected: int) -> None:
        try:
            await self._store.commit([Put(self._path, self._value, expected=expected, leased=True)])
        except PgswarmError as error:
            self._log.warning("could not register this controller", error=str(error))

    def _is_of_another(self, record: Record) -> bool:
        member = read_member(record)
        return member is not None and member.boot != self.me.boot
