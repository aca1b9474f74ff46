"""Writes and fences to an etcd transaction, and a refused transaction to an error. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aetcd.rpc import rpc_pb2 as pb

from controlplane.stores.connection import Message
from controlplane.stores.feed import TooLarge
from controlplane.stores.keys import Keys, end_of
from reconcilers.errors import Conflict, OwnershipLost, PgswarmError
from reconcilers.ports import Fence, Put, Remove, Write

OPERATIONS_MAX = 128
REQUEST_BYTES_MAX = 1_572_864 - 4_096
"""etcd's own limit counts its envelope, too."""


def build(
    keys: Keys, writes: Sequence[Write], fences: Sequence[Fence], lease_of: Callable[[Put], int]
) -> Message:
    """
    The transaction: all compares hold -> all writes; otherwise look at what was compared.

    Raises:
        TooLarge: over one of etcd's limits.
        ValueError: a record is written twice, or a prefix is not one.
    """
    check(writes)
    guarded = [write for write in writes if write.expected is not None]
    request = pb.TxnRequest(
        compare=[_same_epoch(keys, fence) for fence in fences]
        + [_unchanged(keys, write) for write in guarded],
        success=[_operation(keys, write, lease_of) for write in writes],
        failure=[_look(keys, item.path) for item in (*fences, *guarded)],
    )
    if max(len(request.compare), len(request.success)) > OPERATIONS_MAX:
        raise TooLarge(
            f"a transaction of {len(writes)} writes and {len(fences)} fences; at most {OPERATIONS_MAX}"
        )
    if request.ByteSize() > REQUEST_BYTES_MAX:
        raise TooLarge(f"a transaction of {request.ByteSize()} bytes; at most {REQUEST_BYTES_MAX}")
    return request


def check(writes: Sequence[Write]) -> None:
    """Raises: ValueError for what etcd would refuse, or would take and mean something else by."""
    seen: set[str] = set()
    for write in writes:
        if write.path in seen:
            raise ValueError(f"{write.path} is written twice in one transaction")
        seen.add(write.path)
    for write in writes:
        if not isinstance(write, Remove) or not write.prefix:
            continue
        if not write.path.endswith("/") or write.expected is not None:
            raise ValueError(f"a prefix ends with a slash and has no revision to expect: {write.path!r}")
        if any(path.startswith(write.path) for path in seen - {write.path}):
            raise ValueError(
                f"something below {write.path} is written in the transaction that removes it all"
            )


def why_refused(answer: Message, writes: Sequence[Write], fences: Sequence[Fence]) -> PgswarmError:
    """Which compare did not hold; a lost fence counts first, as everything else may follow from it."""
    looked = [op.response_range.kvs[0] if op.response_range.kvs else None for op in answer.responses]
    for fence, found in zip(fences, looked, strict=False):
        if (found.create_revision if found else 0) != fence.epoch:
            return OwnershipLost(fence.path) if fence.owner else Conflict(fence.path)
    guarded = [write for write in writes if write.expected is not None]
    for write, found in zip(guarded, looked[len(fences) :], strict=True):
        if (found.mod_revision if found else 0) != write.expected:
            return Conflict(write.path)
    raise AssertionError("etcd refused a transaction whose compares all hold")


def _same_epoch(keys: Keys, fence: Fence) -> Message:
    return pb.Compare(
        key=keys.key(fence.path),
        target=pb.Compare.CREATE,
        result=pb.Compare.EQUAL,
        create_revision=fence.epoch,
    )


def _unchanged(keys: Keys, write: Write) -> Message:
    return pb.Compare(
        key=keys.key(write.path),
        target=pb.Compare.MOD,
        result=pb.Compare.EQUAL,
        mod_revision=write.expected,
    )


def _look(keys: Keys, path: str) -> Message:
    return pb.RequestOp(request_range=pb.RangeRequest(key=keys.key(path), keys_only=True))


def _operation(keys: Keys, write: Write, lease_of: Callable[[Put], int]) -> Message:
    key = keys.key(write.path)
    match write:
        case Put():
            return pb.RequestOp(request_put=pb.PutRequest(key=key, value=write.value, lease=lease_of(write)))
        case Remove(prefix=True):
            return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key, range_end=end_of(key)))
        case Remove():
            return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key))
