"""A door in front of a Docker socket that counts who knocks: a witness that is no part of pgswarm."""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

REQUEST = re.compile(rb"(GET|HEAD|POST|PUT|DELETE) (/\S*) HTTP/1\.1\r\n")
REST_MAX = 16_384
CHUNK = 65_536


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
        self._listener = socket.socket(socket.AF_UNIX)

    def __enter__(self) -> CountingProxy:
        self._path.unlink(missing_ok=True)
        self._listener.bind(str(self._path))
        self._listener.listen()
        start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        # Connections that are open end with their client.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def calls(self) -> Counter[str]:
        """Since the beginning."""
        with self._lock:
            return Counter(self._calls)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            engine = socket.socket(socket.AF_UNIX)
            try:
                engine.connect(str(self._upstream))
            except OSError:
                end(client, engine)
                continue
            start(self._pump, client, engine, Requests())
            start(self._pump, engine, client, None)

    def _pump(self, source: socket.socket, sink: socket.socket, requests: Requests | None) -> None:
        try:
            while chunk := source.recv(CHUNK):
                if requests is not None:
                    with self._lock:
                        self._calls.update(requests.feed(chunk))
                sink.sendall(chunk)
        except OSError:
            pass
        finally:
            # Either side's end is the end of both: the engine closes streams, and clients leave them.
            end(source, sink)


def start(action: Callable[..., None], *args: object) -> None:
    threading.Thread(target=action, args=args, daemon=True).start()


def end(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
