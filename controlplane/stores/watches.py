"""`feed.Feed` on etcd: paged lists at one revision, and watch streams that never end or stall unnoticed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from aetcd.rpc import rpc_pb2 as pb

from controlplane.stores.connection import Connection, Endpoint, Message, metadata
from controlplane.stores.failures import ETCD, EtcdRefused, Meaning, is_token_problem, meaning, translate
from controlplane.stores.feed import Batch, Change, Compacted, Delta, Frame, Gone, Listing, Progress, Silent
from controlplane.stores.keys import Keys
from controlplane.stores.store import record
from controlplane.stores.versions import progress_is_true
from reconcilers.errors import Refused, Unavailable
from reconcilers.ports import Record

PAGE = 500
_DELETE = 1


class EtcdFeed:
    """`feed.Feed`."""

    def __init__(self, connection: Connection, keys: Keys, *, page: int = PAGE) -> None:
        self._connection = connection
        self._keys = keys
        self._page = page

    async def list(self, prefix: str) -> Listing:
        """
        Everything below `prefix`, in pages that all show the same revision. Raises: Compacted, Refused,
        Unavailable.
        """
        start, end = self._keys.span(prefix)
        records: list[Record] = []
        revision = 0
        while True:
            answer = await self._range(
                pb.RangeRequest(key=start, range_end=end, limit=self._page, revision=revision)
            )
            revision = revision or int(answer.header.revision)
            records.extend(record(self._keys, kv) for kv in answer.kvs)
            if not answer.more:
                return Listing(tuple(records), revision)
            start = answer.kvs[-1].key + b"\0"

    async def since(self, prefix: str, revision: int) -> Delta:
        """What was written at or after `revision`, and the number of all records. Raises: Refused, Unavailable."""
        start, end = self._keys.span(prefix)
        answer = await self._range(pb.RangeRequest(key=start, range_end=end, min_mod_revision=revision))
        records = tuple(record(self._keys, kv) for kv in answer.kvs)
        return Delta(records, int(answer.count), int(answer.header.revision))

    @asynccontextmanager
    async def watch(self, prefix: str, start_revision: int) -> AsyncIterator[EtcdWatch]:
        """
        Events from `start_revision` on. A stream that its reader calls Silent is not tried again on that
        endpoint.
        """
        endpoint = await self._connection.ready_endpoint()
        truthful = progress_is_true(await self._connection.version(endpoint))
        token = await self._connection.token(endpoint)
        stream = endpoint.watch.Watch(metadata=metadata(token))
        watch = EtcdWatch(self._connection, self._keys, endpoint, token, stream, truthful=truthful)
        try:
            await watch.open(prefix, start_revision)
            yield watch
        except Silent:
            self._connection.suspect(endpoint)
            raise
        finally:
            stream.cancel()

    async def _range(self, request: Message) -> Message:
        try:
            return await self._connection.call("kv", "Range", request)
        except EtcdRefused as exc:
            if "compacted" in exc.detail:
                raise Compacted(request.revision) from exc
            raise


class EtcdWatch:
    """`feed.Watch`: one watcher on one stream."""

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        endpoint: Endpoint,
        token: str,
        stream: Message,
        *,
        truthful: bool,
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._endpoint = endpoint
        self._token = token
        self._stream = stream
        self._truthful = truthful
        self._fragments: list[Change] = []

    async def open(self, prefix: str, start_revision: int) -> None:
        start, end = self._keys.span(prefix)
        create = pb.WatchCreateRequest(
            key=start, range_end=end, start_revision=start_revision, fragment=True, progress_notify=True
        )
        await self._write(pb.WatchRequest(create_request=create))

    async def ask_progress(self) -> None:
        await self._write(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))

    async def next(self) -> Frame:
        while True:
            answer = await self._read()
            if answer.canceled:
                raise self._canceled(answer)
            if answer.created:
                return Progress(0)
            if not answer.events:
                return Progress(int(answer.header.revision), self._truthful)
            self._fragments.extend(self._change(event) for event in answer.events)
            # A revision is applied whole or not at all: what is cut off half way is asked for again.
            if not answer.fragment:
                changes, self._fragments = tuple(self._fragments), []
                return Batch(changes, int(answer.events[-1].kv.mod_revision))

    def _change(self, event: Message) -> Change:
        if event.type == _DELETE:
            return Gone(self._keys.path(event.kv.key), int(event.kv.mod_revision))
        return record(self._keys, event.kv)

    def _canceled(self, answer: Message) -> Exception:
        if answer.compact_revision:
            return Compacted(int(answer.compact_revision))
        reason = str(answer.cancel_reason)
        # Older servers say "permission denied" of an expired token, too: log in again in either case.
        self._connection.forget(self._token)
        if is_token_problem(reason):
            return Unavailable(ETCD, f"watch: {reason}")
        return Refused(ETCD, f"watch: {reason or 'canceled without a reason'}")

    async def _read(self) -> Message:
        try:
            answer = await self._stream.read()
        except grpc.aio.AioRpcError as exc:
            raise self._broken(exc) from exc
        if answer is grpc.aio.EOF:
            raise Unavailable(ETCD, "the watch stream ended")
        return answer

    async def _write(self, request: Message) -> None:
        try:
            await self._stream.write(request)
        except grpc.aio.AioRpcError as exc:
            raise self._broken(exc) from exc
        except grpc.aio.UsageError as exc:  # raised when the stream has ended already
            raise Unavailable(ETCD, "the watch stream ended") from exc

    def _broken(self, error: grpc.aio.AioRpcError) -> Exception:
        if meaning(error) is Meaning.LOG_IN:
            self._connection.forget(self._token)
            return Unavailable(ETCD, f"watch: {error.details()}")
        self._connection.suspect(self._endpoint, error)
        return translate(error, write=False)
