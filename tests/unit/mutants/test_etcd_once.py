"""A write to etcd whose answer is missing may have been applied: it is sent once. A read may be asked again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from aetcd.rpc import rpc_pb2 as pb

from controlplane.stores.connection import Connection, Timeouts
from reconcilers.errors import Unavailable, UnknownFate


class Silent(grpc.GenericRpcHandler):  # type: ignore[misc]
    """An etcd that takes every call and breaks off before it answers."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def service(self, details: Any) -> Any:
        async def take(request: bytes, context: Any) -> None:
            self.taken.append(details.method.rpartition("/")[2])
            await context.abort(grpc.StatusCode.UNAVAILABLE, "transport is closing")

        return grpc.unary_unary_rpc_method_handler(take)


@asynccontextmanager
async def silent() -> AsyncIterator[tuple[Silent, Connection]]:
    server, handler = grpc.aio.server(), Silent()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    connection = Connection([f"http://127.0.0.1:{port}"], timeouts=Timeouts(connect_s=5.0, attempt_s=5.0))
    try:
        yield handler, connection
    finally:
        await connection.close()
        await server.stop(None)


async def test_a_write_whose_answer_is_missing_is_sent_once() -> None:
    async with silent() as (etcd, connection):
        with pytest.raises(UnknownFate):
            await connection.call("kv", "Txn", pb.TxnRequest(), write=True)
        assert etcd.taken == ["Txn"]


async def test_a_read_is_asked_again() -> None:
    async with silent() as (etcd, connection):
        with pytest.raises(Unavailable):
            await connection.call("kv", "Range", pb.RangeRequest(key=b"a"))
        assert etcd.taken == ["Range", "Range"]
