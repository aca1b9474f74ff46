"""
The one lease of this process. Everything that must vanish when the process does is bound to it.

What is believed has a deadline, counted from when the renewal was *sent*, so that a slow answer shortens it and
none can stretch it. Past the deadline the session is not valid, but not lost either: etcd may keep the lease longer
(a new etcd leader gives every lease its full time again), and whoever renews it then has had it all along. It is
lost when etcd says so; then a new one is taken.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from controlplane.stores.feed import LeaseLost, Leases
from reconcilers.errors import RetryableError
from reconcilers.ports import Clock, Ids

RENEWALS_PER_TTL = 3
_LEAST_S = 0.001
_RETRY_FIRST_S = 0.1
_RETRY_MAX_S = 1.0


class Session:
    """
    Holds a lease for as long as `run` runs.

    Args:
        ttl_s: Seconds until etcd frees what the process held, after its last renewal.
        margin_s: Seconds before the deadline from which `valid` is False; default: a fifth, at least one second.
    """

    def __init__(
        self, leases: Leases, clock: Clock, ids: Ids, *, ttl_s: int = 10, margin_s: float | None = None
    ) -> None:
        assert ttl_s >= 2
        self._leases, self._clock, self._ids = leases, clock, ids
        self._ttl_s = ttl_s
        self._margin_s = max(1.0, ttl_s / 5) if margin_s is None else margin_s
        self._lease_id = 0
        self._lives_until_s = -math.inf
        self._renew_at_s = -math.inf
        self._failures = 0
        self._closed = False
        self._lost: list[Callable[[int], None]] = []
        self._acquired = asyncio.Event()
        self.last_error = ""
        """Why the last renewal failed; `""` when it did not."""

    @property
    def lease_id(self) -> int:
        """0 while there is none."""
        return self._lease_id

    def deadline(self) -> float:
        """Monotonic seconds until which the lease surely lives; no margin is taken off."""
        return self._lives_until_s

    def valid(self) -> bool:
        """True while the lease surely lives, with the margin in hand. Asks the clock at each call."""
        return self._lease_id != 0 and self._clock.monotonic() < self._lives_until_s - self._margin_s

    def on_lost(self, callback: Callable[[int], None]) -> None:
        """Call `callback(lease_id)` when a lease has ended. It must not block."""
        self._lost.append(callback)

    async def acquired(self) -> None:
        """Return once there is a lease."""
        await self._acquired.wait()

    async def run(self) -> None:
        """Take a lease and renew it, for ever; returns after `close`. What etcd answers never ends it."""
        while not self._closed:
            try:
                await (self._renew() if self._lease_id else self._acquire())
            except LeaseLost:
                self._drop()
                continue
            except RetryableError as exc:
                self.last_error = str(exc)
                await self._back_off()
                continue
            self.last_error, self._failures = "", 0
            await self._clock.sleep(max(_LEAST_S, self._renew_at_s - self._clock.monotonic()))

    async def close(self) -> None:
        """End the lease at once: what is bound to it vanishes in one revision. If etcd is away, it ends by itself."""
        self._closed = True
        lease_id = self._lease_id
        self._drop()
        if lease_id:
            try:
                await self._leases.revoke(lease_id)
            except RetryableError as exc:
                self.last_error = str(exc)

    async def _acquire(self) -> None:
        sent_s = self._clock.monotonic()
        lease = await self._leases.grant(self._ttl_s)
        if self._closed:
            await self._leases.revoke(lease.id)
            return
        self._lease_id = lease.id
        self._believe(sent_s, lease.ttl_s)
        self._acquired.set()

    async def _renew(self) -> None:
        lease_id, sent_s = self._lease_id, self._clock.monotonic()
        ttl_s = await self._leases.keep_alive(lease_id)
        if self._lease_id == lease_id:
            self._believe(sent_s, ttl_s)

    def _believe(self, sent_s: float, ttl_s: int) -> None:
        # etcd may grant more than was asked for; what we rely on stays what was asked for.
        ttl_s = min(ttl_s, self._ttl_s)
        self._lives_until_s = sent_s + ttl_s
        self._renew_at_s = sent_s + ttl_s / RENEWALS_PER_TTL

    def _drop(self) -> None:
        lease_id, self._lease_id = self._lease_id, 0
        self._lives_until_s = -math.inf
        self._acquired.clear()
        if lease_id:
            for callback in self._lost:
                callback(lease_id)

    async def _back_off(self) -> None:
        ceiling_s = min(_RETRY_MAX_S, _RETRY_FIRST_S * 2 ** min(self._failures, 10))
        self._failures += 1
        await self._clock.sleep(ceiling_s / 2 + self._ids.jitter(ceiling_s / 2))
