"""
The one way to Docker's API: bounded calls, errors in pgswarm's words, and an event stream that says when it
broke.

aiodocker gives the transport and the version negotiation; its collections are not used (its service update
cannot carry a whole spec, its create rewrites the caller's dict, its event subscription goes silent after a
cut).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
from aiodocker import Docker
from aiodocker.exceptions import DockerError

from controlplane.orchestrators.payload import Api
from reconcilers.errors import Conflict, PgswarmError, Refused, Unavailable, UnknownFate

DEPENDENCY = "docker"
CALL_S = 30.0
CONNECT_S = 5.0
STREAM_SILENCE_S = 600.0
"""A stream that says nothing for so long is opened anew: it may be dead without anybody having noticed."""
NO_CONNECTION = 900
"""aiodocker's status for a call without an HTTP answer."""
DETAIL_MAX = 300
TURN = 200
"""Objects that are decoded until others have their turn."""

T = TypeVar("T")

# Docker has few status codes for many outcomes (a lost race is a 500), so the text decides.
CONFLICTS = ("update out of sequence", "name conflicts with", "already exists", "not found")
UNDECIDED = ("deadline exceeded", "context canceled", "leader", "raft", "transport", "quorum")


class Door:
    """
    One engine. Opens its connections at the first call; `close` ends them.

    Args:
        url: `unix:///path` or `tcp://host:port` (plain text: only for networks that are trusted).
        call_s: Seconds until a call without an answer fails.
    """

    def __init__(self, url: str, *, call_s: float = CALL_S) -> None:
        if not url.startswith(("unix:///", "tcp://")):
            raise ValueError(f"not a Docker address: {url!r} (unix:///path or tcp://host:port)")
        self._url = url
        self._call_s = call_s
        self._calls: Docker | None = None
        self._streams: Docker | None = None

    def _open(self, timeout: aiohttp.ClientTimeout) -> Docker:
        # limit=0: a pool that streams have used up would block every call for ever.
        connector: aiohttp.BaseConnector
        if self._url.startswith("unix://"):
            connector = aiohttp.UnixConnector(self._url.removeprefix("unix://"), limit=0)
            return Docker(url="unix://localhost", connector=connector, timeout=timeout)
        connector = aiohttp.TCPConnector(limit=0)
        return Docker(url="http://" + self._url.removeprefix("tcp://"), connector=connector, timeout=timeout)

    async def close(self) -> None:
        clients, self._calls, self._streams = (self._calls, self._streams), None, None
        for client in clients:
            if client is not None:
                await client.close()
                await client.connector.close()

    def _client(self) -> Docker:
        if self._calls is None:
            self._calls = self._open(aiohttp.ClientTimeout(total=self._call_s, sock_connect=CONNECT_S))
        return self._calls

    async def api(self) -> Api:
        """The API version in use; asked for once. Raises: Unavailable, Refused."""
        client = self._client()
        if client.api_version == "auto":
            await self.read("version")
        major, _, minor = client.api_version.removeprefix("v").partition(".")
        return int(major), int(minor)

    async def read(self, path: str, *, filters: Mapping[str, list[str]] | None = None, **params: str) -> Any:
        """
        GET; None when there is no such thing.

        Raises:
            Unavailable: no answer.
            Refused: an answer, and it was no.
        """
        query = dict(params)
        if filters:
            query["filters"] = json.dumps(filters)
        try:
            return await self._client()._query_json(path, params=query)
        except (DockerError, aiohttp.ClientError, OSError, ValueError) as exc:
            if isinstance(exc, DockerError) and exc.status == 404:
                return None
            raise read_error(exc) from exc

    async def raw(self, path: str, **params: str) -> bytes | None:
        """GET of what is no JSON; as `read` in all else."""
        try:
            async with self._client()._query(path, params=params) as answer:
                return await answer.read()
        except (DockerError, aiohttp.ClientError, OSError, ValueError) as exc:
            if isinstance(exc, DockerError) and exc.status == 404:
                return None
            raise read_error(exc) from exc

    async def each(
        self, path: str, made: Callable[[Any], Any], *, filters: Mapping[str, list[str]] | None = None
    ) -> list[Any]:
        """
        What `made` makes of each object of a list; [] when there is no such list.

        One is decoded at a time: of ten thousand services the whole JSON would take more memory than everything else,
        and decoding it at once would let nobody else have a turn.

        Raises: as `read`.
        """
        query = {"filters": json.dumps(filters)} if filters else {}
        try:
            async with self._client()._query(path, params=query) as answer:
                text = await answer.text()
            found: list[Any] = []
            for number, one in enumerate(decoded(text), start=1):
                found.append(made(one))
                if number % TURN == 0:
                    await asyncio.sleep(0)
        except (DockerError, aiohttp.ClientError, OSError, ValueError) as exc:
            if isinstance(exc, DockerError) and exc.status == 404:
                return []
            raise read_error(exc) from exc
        return found

    async def remove(self, path: str, *, what: str) -> None:
        """DELETE; absent is fine. Raises: as `write`."""
        await self._change("DELETE", path, None, what, {}, absent_is_fine=True)

    async def write(self, path: str, body: Any, *, what: str, **params: str) -> Any:
        """
        POST.

        Args:
            what: The object in words, for errors. No secret: it is shown.

        Raises:
            Conflict: the object changed, its name is taken, or something it refers to is gone.
            Refused: an answer, and it was no.
            Unavailable: certainly not applied.
            UnknownFate: sent, and no usable answer came.
        """
        return await self._change("POST", path, body, what, params)

    async def _change(
        self,
        method: str,
        path: str,
        body: Any,
        what: str,
        params: Mapping[str, str],
        *,
        absent_is_fine: bool = False,
    ) -> Any:
        await self.api()  # a failed negotiation is Unavailable: the write itself was not sent
        try:
            return await self._client()._query_json(path, method, params=dict(params), data=body)
        except (DockerError, aiohttp.ClientError, OSError, ValueError) as exc:
            if absent_is_fine and isinstance(exc, DockerError) and exc.status == 404:
                return None
            raise write_error(exc, what) from exc

    @asynccontextmanager
    async def stream(
        self, path: str, *, filters: Mapping[str, list[str]], **params: str
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """
        An endless answer, on a connection of its own.

        Raises (also while it is read): Unavailable, Refused.
        """
        if self._streams is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=STREAM_SILENCE_S)
            self._streams = self._open(timeout)
        query = {**params, "filters": json.dumps(filters)}
        try:
            async with self._streams._query(path, params=query) as answer:
                try:
                    yield answer.content
                finally:
                    answer.close()
        except (DockerError, aiohttp.ClientError, OSError, ValueError) as exc:
            raise read_error(exc) from exc


def decoded(text: str) -> Iterator[Any]:
    """The objects of a JSON list, one after the other. Raises: ValueError."""
    if len(text) < 16 and text.strip() in ("", "null"):
        return
    decoder, at = json.JSONDecoder(), _next(text, 0)
    if text[at] != "[":
        raise ValueError("not a list")
    at = _next(text, at + 1)
    while text[at] != "]":
        one, at = decoder.raw_decode(text, at)
        yield one
        at = _next(text, at)
        if text[at] == ",":
            at = _next(text, at + 1)
            if text[at] == "]":
                raise ValueError("a list with nothing after a comma")
        elif text[at] != "]":
            raise ValueError("a list that does not go on")


def _next(text: str, at: int) -> int:
    """Where something else than space stands. Raises: ValueError at the end of the text."""
    while at < len(text):
        if text[at] not in " \t\r\n":
            return at
        at += 1
    raise ValueError("a list that does not end")


def _no_answer(exc: Exception) -> bool:
    return not isinstance(exc, DockerError) or exc.status == NO_CONNECTION


def _certainly_not_sent(exc: Exception) -> bool:
    """Connecting failed, so Docker has not seen a byte. aiodocker chains the cause only implicitly."""
    cause = exc.__context__ if isinstance(exc, DockerError) else exc
    return isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)


def _detail(exc: Exception) -> str:
    text = str(exc.message) if isinstance(exc, DockerError) else str(exc) or type(exc).__name__
    return " ".join(text.replace("rpc error: code = ", "").split())[:DETAIL_MAX]


def read_error(exc: Exception) -> PgswarmError:
    """Which of our errors a failed read is. Pure."""
    if _no_answer(exc) or (isinstance(exc, DockerError) and exc.status >= 500):
        return Unavailable(DEPENDENCY, _detail(exc))
    return Refused(DEPENDENCY, _detail(exc))


def write_error(exc: Exception, what: str) -> PgswarmError:
    """Which of our errors a failed write is. Pure."""
    detail = _detail(exc)
    if not isinstance(exc, DockerError) or exc.status == NO_CONNECTION:
        return (
            Unavailable(DEPENDENCY, detail) if _certainly_not_sent(exc) else UnknownFate(DEPENDENCY, detail)
        )
    if exc.status == 404 or any(text in detail for text in CONFLICTS):
        return Conflict(f"{what} ({detail})")
    if exc.status == 503:
        return Unavailable(DEPENDENCY, detail)
    if exc.status >= 500 and any(text in detail.lower() for text in UNDECIDED):
        return UnknownFate(DEPENDENCY, detail)
    return Refused(DEPENDENCY, detail)
