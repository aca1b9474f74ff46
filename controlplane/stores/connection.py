"""
The channel to etcd: endpoints, TLS, log-in, deadlines, error translation. What is sent over it lives next door.

One gRPC channel per endpoint, one of them in use: TLS then checks each member by its own name, and a member that
is frozen rather than dead costs one deadline, not one call in three for as long as it stays frozen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

import grpc
from aetcd.rpc import rpc_pb2 as pb
from aetcd.rpc import rpc_pb2_grpc as stubs
from grpc import ChannelConnectivity

from controlplane.stores.failures import ETCD, Meaning, meaning, translate
from reconcilers.errors import Refused, Unavailable
from reconcilers.ports import Secret

Message: TypeAlias = Any
"""A protobuf message: the generated modules carry no types. Stays inside this package."""

T = TypeVar("T")
DEFAULT_PORT = 2379
_LOGINS_MAX = 3
_POLL_S = 0.02
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),
    # etcd is never behind the proxy that a host's environment names for the web.
    ("grpc.enable_http_proxy", 0),
)


@dataclass(frozen=True, slots=True)
class Credentials:
    user: str
    password: Secret


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM texts. Without `ca` the system's roots are used; `cert` and `key` come together (mutual TLS)."""

    ca: bytes | None = None
    cert: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    server_name: str | None = None
    """Name to expect in the members' certificates instead of the one in the endpoint."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `connect_s` bounds the wait for any endpoint, `attempt_s` one call on one endpoint."""

    connect_s: float = 1.5
    attempt_s: float = 2.0


class Endpoint:
    """One etcd member."""

    def __init__(self, url: str, tls: Tls | None) -> None:
        self.url = url
        parts = urlsplit(url if "//" in url else f"//{url}", scheme="https" if tls else "http")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"an etcd endpoint is http(s)://host:port, not {url!r}")
        if parts.scheme == "http" and tls is not None:
            raise ValueError(f"TLS material is given, but {url} would send everything in clear")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self._channel = _channel(
            f"{host}:{parts.port or DEFAULT_PORT}", parts.scheme == "https", tls or Tls()
        )
        self.kv = stubs.KVStub(self._channel)
        self.watch = stubs.WatchStub(self._channel)
        self.lease = stubs.LeaseStub(self._channel)
        self.auth = stubs.AuthStub(self._channel)
        self.maintenance = stubs.MaintenanceStub(self._channel)

    def connected(self) -> bool:
        """Look, and start connecting if that is not so."""
        return self._channel.get_state(try_to_connect=True) is ChannelConnectivity.READY

    async def close(self) -> None:
        await self._channel.close()


def _channel(target: str, secure: bool, tls: Tls) -> grpc.aio.Channel:
    if not secure:
        return grpc.aio.insecure_channel(target, options=_OPTIONS)
    named = (("grpc.ssl_target_name_override", tls.server_name),) if tls.server_name else ()
    credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.cert)
    return grpc.aio.secure_channel(target, credentials, options=_OPTIONS + named)


class Connection:
    """Calls to etcd. Must be built, used and closed inside one running event loop."""

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        credentials: Credentials | None = None,
        tls: Tls | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        """Raises: ValueError when an endpoint makes no sense."""
        if not endpoints:
            raise ValueError("at least one etcd endpoint is needed")
        self._endpoints = [Endpoint(url, tls) for url in endpoints]
        self._active = 0
        self._credentials = credentials
        self._timeouts = timeouts or Timeouts()
        self._token: str | None = None
        self._logging_in = asyncio.Lock()
        self._closed = False

    @property
    def has_credentials(self) -> bool:
        return self._credentials is not None

    async def close(self) -> None:
        self._closed = True
        for endpoint in self._endpoints:
            await endpoint.close()

    async def call(self, service: str, method: str, request: Message, *, write: bool = False) -> Message:
        """
        Call `service.method` of the stubs (`kv.Txn`) and return the answer.

        Without `write` the call may be repeated on another endpoint; with it, it is sent at most once.

        Raises:
            UnknownFate: a write was sent and the answer is missing.
            Unavailable: not sent, or certainly not applied.
            Refused: etcd said no (an EtcdRefused, which carries the code).
        """
        attempts = 1 if write else min(len(self._endpoints) + 1, 3)
        while True:
            endpoint = await self.ready_endpoint()
            attempts -= 1
            try:
                return await self._attempt(endpoint, service, method, request)
            except grpc.aio.AioRpcError as exc:
                self.suspect(endpoint, exc)
                if attempts == 0 or meaning(exc) is Meaning.REFUSED:
                    raise translate(exc, write=write) from exc

    async def _attempt(self, endpoint: Endpoint, service: str, method: str, request: Message) -> Message:
        rpc = getattr(getattr(endpoint, service), method)
        for logins_left in reversed(range(_LOGINS_MAX)):
            token = await self.token(endpoint)
            try:
                return await rpc(request, metadata=metadata(token), timeout=self._timeouts.attempt_s)
            except grpc.aio.AioRpcError as exc:
                # Nothing was applied in this case, so sending again is safe for a write, too.
                if self._credentials is None or logins_left == 0 or meaning(exc) is not Meaning.LOG_IN:
                    raise
                self.forget(token)
        raise AssertionError("unreachable")

    async def exchange(
        self, service: str, method: str, request: Message, *, read: Callable[[Message], T]
    ) -> T:
        """One question and one answer on a stream of its own. Raises: Refused, Unavailable."""
        endpoint = await self.ready_endpoint()
        token = await self.token(endpoint)
        stream = getattr(getattr(endpoint, service), method)(
            metadata=metadata(token), timeout=self._timeouts.attempt_s
        )
        try:
            await stream.write(request)
            answer = await stream.read()
        except grpc.aio.AioRpcError as exc:
            self.forget(token)
            self.suspect(endpoint, exc)
            raise translate(exc, write=False) from exc
        finally:
            stream.cancel()
        if answer is grpc.aio.EOF:
            raise Unavailable(ETCD, f"{method} ended without an answer")
        return read(answer)

    async def ready_endpoint(self) -> Endpoint:
        """The endpoint in use, or the next one that accepts connections. Raises: Unavailable."""
        waited_s = 0.0
        while not self._closed:
            for n in range(len(self._endpoints)):
                index = (self._active + n) % len(self._endpoints)
                if self._endpoints[index].connected():
                    self._active = index
                    return self._endpoints[index]
            if waited_s >= self._timeouts.connect_s:
                urls = ", ".join(endpoint.url for endpoint in self._endpoints)
                raise Unavailable(ETCD, f"no endpoint accepts a connection: {urls}")
            await asyncio.sleep(_POLL_S)
            waited_s += _POLL_S
        raise Unavailable(ETCD, "the connection is closed")

    def suspect(self, endpoint: Endpoint, error: grpc.aio.AioRpcError | None = None) -> None:
        """Use another endpoint from now on, unless `error` shows that this one answers well enough."""
        if error is not None and meaning(error) not in (Meaning.LOST, Meaning.NOT_APPLIED):
            return
        if self._endpoints[self._active] is endpoint:
            self._active = (self._active + 1) % len(self._endpoints)

    async def token(self, endpoint: Endpoint) -> str:
        """The token in force, logging in if there is none; `""` without credentials or with auth switched off."""
        if self._credentials is None:
            return ""
        if self._token is None:
            async with self._logging_in:
                if self._token is None:
                    self._token = await self._log_in(endpoint, self._credentials)
        return self._token

    async def logged_in(self) -> bool:
        """etcd has given us a token: authentication is on. Raises: Refused, Unavailable."""
        return await self.token(await self.ready_endpoint()) != ""

    async def version(self, endpoint: Endpoint) -> str:
        """etcd's version on that member. Raises: Refused, Unavailable."""
        try:
            answer = await self._attempt(endpoint, "maintenance", "Status", pb.StatusRequest())
        except grpc.aio.AioRpcError as exc:
            self.suspect(endpoint, exc)
            raise translate(exc, write=False) from exc
        return str(answer.version)

    def forget(self, token: str) -> None:
        """Make the next call log in, unless somebody has logged in since `token` was handed out."""
        if self._token == token:
            self._token = None

    async def _log_in(self, endpoint: Endpoint, credentials: Credentials) -> str:
        request = pb.AuthenticateRequest(name=credentials.user, password=credentials.password.reveal())
        try:
            answer = await endpoint.auth.Authenticate(request, timeout=self._timeouts.attempt_s)
        except grpc.aio.AioRpcError as exc:
            self.suspect(endpoint, exc)
            if "not enabled" in (exc.details() or ""):
                return ""
            if meaning(exc) is Meaning.REFUSED:
                raise Refused(ETCD, f"log-in of user {credentials.user!r}: {exc.details()}") from exc
            raise translate(exc, write=False) from exc
        return str(answer.token)


def metadata(token: str) -> tuple[tuple[str, str], ...]:
    """A member without a leader must answer so at once: it could neither write nor keep a watch fed."""
    leader = (("hasleader", "true"),)
    return (*leader, ("token", token)) if token else leader
