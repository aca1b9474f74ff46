"""A door in front of a Docker socket that counts who knocks: a witness that is no part of pgswarm."""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from pathlib import Path

REQUEST = re.compile(rb"(GET|HEAD|POST|PUT|DELETE) (/\S*) HTTP/1\.1\r\n")
REST_MAX = 16_384
CHUNK = 65_536
START_S = 5.0


def name_of(method: bytes, target: bytes) -> str:
    """A call without version, query and IDs: `GET /services`, `POST /services/*/update`."""
    parts = (
        re.sub(rb"^/v[0-9.]+", b"", target.partition(b"?")[0]).decode(errors="replace").strip("/").split("/")
    )
    if len(parts) > 1 and parts[1] not in ("create", "json", "bridge"):
        parts[1] = "*"
    return f"{method.decode()} /{'/'.join(parts)}"


class Requests:
    """Finds the head lines in what a client sends, however it is cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[str]:
        data = self._rest + chunk
        found = [name_of(*match.groups()) for match in REQUEST.finditer(data)]
        self._rest = data[data.rfind(b"\n") + 1 :][-REST_MAX:]
        return found


class CountingProxy:
    """Serves on `path` while its block runs and hands everything on to `upstream`."""

    def __init__(self, path: Path, upstream: Path) -> None:
        self._path, self._upstream = path, upstream
        self._calls: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._ready, self._ended = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> CountingProxy:
        self._path.unlink(missing_ok=True)
        self._thread.start()
        assert self._ready.wait(START_S), f"{self._path} does not open"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(START_S)
        self._path.unlink(missing_ok=True)

    def calls(self) -> Counter[str]:
        """Since the beginning."""
        with self._lock:
            return Counter(self._calls)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_unix_server(self._client, self._path)
        self._ready.set()
        await self._ended.wait()
        server.close()  # asyncio.run cancels the connections that are left

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_unix_connection(str(self._upstream))
        except OSError:
            writer.close()
            return
        try:
            # Either side's end is the end of both: the engine closes streams, and clients leave them.
            ways = [
                asyncio.ensure_future(self._pump(reader, up_writer, Requests())),
                asyncio.ensure_future(self._pump(up_reader, writer, None)),
            ]
            _, open_ways = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in open_ways:
                way.cancel()
        finally:
            writer.close()
            up_writer.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, requests: Requests | None
    ) -> None:
        try:
            while chunk := await reader.read(CHUNK):
                if requests is not None:
                    with self._lock:
                        self._calls.update(requests.feed(chunk))
                writer.write(chunk)
                await writer.drain()
        except OSError:
            return
