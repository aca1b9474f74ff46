"""The Patroni port over its REST API: TLS against the database's CA, basic auth for what changes anything."""

from __future__ import annotations

import json
import ssl
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import aiohttp

from reconcilers.errors import Refused, Unavailable, UnknownFate
from reconcilers.ports import InstanceAccess, PatroniView

VIEW_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 60.0
"""A restart answers when it is done, shutdown checkpoint included."""
BODY_BYTES_MAX = 1 << 20
_CONTEXTS_MAX = 256
_DETAIL_MAX = 200

# No connection came about, so nothing was asked.
_UNSENT = (aiohttp.ClientConnectorError, aiohttp.ServerFingerprintMismatch, aiohttp.ConnectionTimeoutError)


class PatroniRest:
    """Implements `reconcilers.ports.Patroni`."""

    def __init__(
        self,
        *,
        port: int = 8008,
        view_timeout_s: float = VIEW_TIMEOUT_S,
        command_timeout_s: float = COMMAND_TIMEOUT_S,
    ) -> None:
        self._port = port
        self._view_timeout = aiohttp.ClientTimeout(total=view_timeout_s)
        self._command_timeout = aiohttp.ClientTimeout(total=command_timeout_s, connect=view_timeout_s)
        self._contexts: OrderedDict[tuple[str, bool], _Trust] = OrderedDict()
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def view(self, access: InstanceAccess) -> PatroniView:
        """
        Ask Patroni about itself. A 503 with a body is an answer like any other.

        Raises: Unavailable when there is no answer, or one that is not Patroni's.
        """
        context = self._context(access)
        try:
            async with self._client().get(
                self._url(access, "patroni"),
                ssl=context,
                server_hostname=access.server_name or None,
                timeout=self._view_timeout,
                allow_redirects=False,
            ) as response:
                status, body = response.status, await _body(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise Unavailable("patroni", _words(exc)) from exc
        return _view(status, body, context.ends.get(access.server_name or access.address, ""))

    async def restart(self, access: InstanceAccess, *, only_if_pending: bool = True) -> None:
        """
        Restart Postgres and wait until it is done.

        Raises:
            Refused: Patroni did not (nothing is pending, or it is at something else).
            Unavailable: it was not asked.
            UnknownFate: it was asked and did not answer.
        """
        await self._post(access, "restart", {"restart_pending": True} if only_if_pending else {})

    async def reload(self, access: InstanceAccess) -> None:
        """Raises: as `restart`."""
        await self._post(access, "reload", {})

    async def reinitialize(self, access: InstanceAccess) -> None:
        """Raises: as `restart`; Patroni refuses on a leader."""
        await self._post(access, "reinitialize", {"force": True})

    async def _post(self, access: InstanceAccess, verb: str, body: Mapping[str, Any]) -> None:
        try:
            async with self._client().post(
                self._url(access, verb),
                json=body,
                auth=aiohttp.BasicAuth(access.rest_user, access.rest_password.reveal()),
                ssl=self._context(access),
                server_hostname=access.server_name or None,
                timeout=self._command_timeout,
                allow_redirects=False,
            ) as response:
                status, answer = response.status, await _body(response)
        except _UNSENT as exc:
            raise Unavailable("patroni", _words(exc)) from exc
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise UnknownFate("patroni", _words(exc)) from exc
        if not 200 <= status < 300:
            detail = answer.decode(errors="replace").strip()[:_DETAIL_MAX]
            raise Refused("patroni", f"{verb}: {status} {detail if detail.isprintable() else ''}".rstrip())

    def _client(self) -> aiohttp.ClientSession:
        """Made on first use, for it belongs to the running loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=64), cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session

    def _url(self, access: InstanceAccess, path: str) -> str:
        return f"https://{access.address}:{self._port}/{path}"

    def _context(self, access: InstanceAccess) -> _Trust:
        """Trust this database's CA and nothing else; the name is checked if there is one to check."""
        key = (access.ca_pem, bool(access.server_name))
        context = self._contexts.pop(key, None) or _trusting(*key)
        self._contexts[key] = context
        while len(self._contexts) > _CONTEXTS_MAX:
            self._contexts.popitem(last=False)
        return context


class _Trust(ssl.SSLContext):
    """Whom to trust, and what was presented: a kept connection shows its certificate when it is made, and once."""

    def __init__(self, _protocol: int) -> None:
        self.sslobject_class = _Noting
        self.ends: OrderedDict[str, str] = OrderedDict()
        """Name that was asked for -> RFC 3339 end of the certificate that its server presented last."""

    def note(self, name: str, ends_s: float) -> None:
        self.ends.pop(name, None)
        self.ends[name] = datetime.fromtimestamp(ends_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        while len(self.ends) > _CONTEXTS_MAX:
            self.ends.popitem(last=False)


class _Noting(ssl.SSLObject):
    def do_handshake(self) -> None:
        super().do_handshake()
        presented = self.getpeercert()
        if presented and isinstance(self.context, _Trust):
            self.context.note(
                self.server_hostname or "", ssl.cert_time_to_seconds(str(presented["notAfter"]))
            )


def _trusting(ca_pem: str, check_name: bool) -> _Trust:
    """Raises: Unavailable when `ca_pem` holds no certificate."""
    context = _Trust(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = check_name
    try:
        context.load_verify_locations(cadata=ca_pem)
    except (ssl.SSLError, ValueError) as exc:
        raise Unavailable("patroni", "the database's CA is no certificate") from exc
    return context


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """Read at most BODY_BYTES_MAX. Raises: ClientPayloadError beyond."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise aiohttp.ClientPayloadError("the answer is too long")
    return bytes(body)


def _view(status: int, body: bytes, certificate_expires: str) -> PatroniView:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise Unavailable("patroni", f"status {status} and no JSON") from exc
    if not isinstance(said, dict) or not isinstance(said.get("state"), str):
        raise Unavailable("patroni", f"status {status} and no word about its state")
    xlog = said.get("xlog")
    positions = xlog if isinstance(xlog, dict) else {}
    role = str(said.get("role", ""))
    return PatroniView(
        state=said["state"],
        role="primary" if role == "master" else role,
        timeline=_number(said.get("timeline")),
        server_version=_number(said.get("server_version")),
        pending_restart=bool(said.get("pending_restart")),
        paused=bool(said.get("pause")),
        sysid=str(said.get("database_system_identifier") or ""),
        lsn=_number(positions.get("location", positions.get("replayed_location"))),
        certificate_expires=certificate_expires,
    )


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _words(exc: BaseException) -> str:
    """What to say of a transport error: its kind and the system's word, no addresses that change."""
    cause = exc.os_error if isinstance(exc, aiohttp.ClientConnectorError) else exc
    said = getattr(cause, "verify_message", None) or getattr(cause, "strerror", None)
    return str(said or type(cause).__name__)[:_DETAIL_MAX]
