"""`ports.Store` on etcd: linearizable reads, fenced transactions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aetcd.rpc import rpc_pb2 as pb

from controlplane.stores import transactions
from controlplane.stores.connection import Connection, Message
from controlplane.stores.failures import ETCD, EtcdRefused
from controlplane.stores.keys import Keys
from controlplane.stores.leases import EtcdLeases, SharedLeases
from reconcilers.errors import Unavailable
from reconcilers.ports import Clock, Fence, Put, Record, Write

NO_LEASE = 0


class EtcdStore:
    """`ports.Store`. `lease` names the session's lease for `leased` puts, or 0 while there is none."""

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        clock: Clock,
        *,
        lease: Callable[[], int] = lambda: NO_LEASE,
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._lease = lease
        self._shared = SharedLeases(EtcdLeases(connection), clock)

    async def read(self, path: str) -> Record | None:
        """Linearizable read. Raises: Refused, Unavailable."""
        answer = await self._connection.call("kv", "Range", pb.RangeRequest(key=self._keys.key(path)))
        return record(self._keys, answer.kvs[0]) if answer.kvs else None

    async def commit(self, writes: Sequence[Write], fences: Sequence[Fence] = ()) -> int:
        """
        Apply all writes in one transaction, or none, and return its revision.

        Raises:
            OwnershipLost: a fence's record is gone or was created anew.
            Conflict: an `expected` revision did not match.
            UnknownFate: no answer after sending.
            Unavailable: not sent, or certainly not applied; also while the session has no lease.
            Refused: etcd will not have it (a forbidden key, no space).
            TooLarge: over 128 operations or 1.5 MiB; not sent.
        """
        request = transactions.build(self._keys, writes, fences, await self._lease_ids(writes))
        try:
            answer: Message = await self._connection.call("kv", "Txn", request, write=True)
        except EtcdRefused as exc:
            if "lease not found" not in exc.detail:
                raise
            self._shared.forget()
            raise Unavailable(ETCD, "the lease has ended; nothing was written") from exc
        if not answer.succeeded:
            raise transactions.why_refused(answer, writes, fences)
        return int(answer.header.revision)

    async def _lease_ids(self, writes: Sequence[Write]) -> Callable[[Put], int]:
        puts = [write for write in writes if isinstance(write, Put)]
        session = self._lease() if any(put.leased for put in puts) else NO_LEASE
        if session == NO_LEASE and any(put.leased for put in puts):
            raise Unavailable(ETCD, "this process holds no lease at the moment")
        lifetimes = sorted({put.ttl_s for put in puts if put.ttl_s is not None and not put.leased})
        shared = {ttl_s: await self._shared.for_ttl(ttl_s) for ttl_s in lifetimes}

        def lease_of(put: Put) -> int:
            if put.leased:
                return session
            return NO_LEASE if put.ttl_s is None else shared[put.ttl_s]

        return lease_of


def record(keys: Keys, kv: Message) -> Record:
    return Record(keys.path(kv.key), bytes(kv.value), int(kv.create_revision), int(kv.mod_revision))
