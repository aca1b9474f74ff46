"""Leases, and the shared short ones that records with a time to live hang on."""

from __future__ import annotations

import asyncio
import math

from aetcd.rpc import rpc_pb2 as pb

from controlplane.stores import feed
from controlplane.stores.connection import Connection
from controlplane.stores.failures import EtcdRefused
from controlplane.stores.feed import Lease, LeaseLost
from reconcilers.ports import Clock

_NOT_FOUND = "NOT_FOUND"


class EtcdLeases:
    """`feed.Leases` on etcd."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def grant(self, ttl_s: int) -> Lease:
        answer = await self._connection.call("lease", "LeaseGrant", pb.LeaseGrantRequest(TTL=ttl_s))
        return Lease(int(answer.ID), int(answer.TTL))

    async def keep_alive(self, lease_id: int) -> int:
        # One short stream per renewal: a stream that is kept open can die unnoticed, a new one says so.
        ttl_s = await self._connection.exchange(
            "lease",
            "LeaseKeepAlive",
            pb.LeaseKeepAliveRequest(ID=lease_id),
            read=lambda answer: int(answer.TTL),
        )
        if ttl_s <= 0:
            raise LeaseLost(lease_id)
        return ttl_s

    async def revoke(self, lease_id: int) -> None:
        try:
            await self._connection.call("lease", "LeaseRevoke", pb.LeaseRevokeRequest(ID=lease_id))
        except EtcdRefused as exc:
            if exc.code != _NOT_FOUND:
                raise

    async def time_to_live(self, lease_id: int) -> int:
        answer = await self._connection.call(
            "lease", "LeaseTimeToLive", pb.LeaseTimeToLiveRequest(ID=lease_id)
        )
        if answer.TTL <= 0:
            raise LeaseLost(lease_id)
        return int(answer.TTL)


class SharedLeases:
    """
    Short leases that many records share, so that a thousand events a minute cost a handful of leases.

    A record lives at least as long as it asks for, and at most half as long again.
    """

    def __init__(self, leases: feed.Leases, clock: Clock) -> None:
        self._leases = leases
        self._clock = clock
        self._current: dict[int, tuple[int, float]] = {}
        self._granting = asyncio.Lock()

    async def for_ttl(self, ttl_s: int) -> int:
        """ID of a lease with at least `ttl_s` to go. Raises: Refused, Unavailable."""
        async with self._granting:
            lease_id, reuse_until_s = self._current.get(ttl_s, (0, -math.inf))
            asked_s = self._clock.monotonic()
            if asked_s >= reuse_until_s:
                lease_id = (await self._leases.grant(math.ceil(ttl_s * 1.5))).id
                self._current[ttl_s] = (lease_id, asked_s + ttl_s * 0.5)
                self._drop_stale(asked_s)
            return lease_id

    def forget(self) -> None:
        """Grant anew from here on: etcd does not know one of the leases any more."""
        self._current.clear()

    def _drop_stale(self, now_s: float) -> None:
        self._current = {ttl_s: kept for ttl_s, kept in self._current.items() if kept[1] > now_s}
