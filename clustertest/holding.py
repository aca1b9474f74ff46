"""A door in front of a Docker socket that keeps requests back: what a slow wire does, at a chosen moment."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from pathlib import Path

REQUEST = re.compile(rb"(GET|HEAD|POST|PUT|DELETE) (/\S*) HTTP/1\.1\r\n")
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r]*\r\n")
CHUNK = 65_536


class HoldingProxy:
    """
    Serves on `path` while its block runs and hands everything on to `upstream`.

    A held request goes on when it is released, whatever has become of who sent it.
    """

    def __init__(self, path: Path, upstream: Path) -> None:
        self._path, self._upstream = path, upstream
        self._listener = socket.socket(socket.AF_UNIX)
        self._wanted: re.Pattern[str] | None = None
        self._released = threading.Event()
        self.held: list[str] = []
        """Method and path of each request that was kept back, in order."""
        self.answers: list[str] = []
        """What the engine said to these."""

    def __enter__(self) -> HoldingProxy:
        self._path.unlink(missing_ok=True)
        self._listener.bind(str(self._path))
        self._listener.listen()
        _start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def hold(self, pattern: str) -> None:
        """Keep back requests whose `METHOD /path` matches, from now on."""
        self.held.clear()
        self.answers.clear()
        self._released.clear()
        self._wanted = re.compile(pattern)

    def release(self) -> None:
        """Let them go on, and keep back no more."""
        self._wanted = None
        self._released.set()

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
                _end(client, engine)
                continue
            late = threading.Event()
            _start(self._ask, client, engine, late)
            _start(self._answer, engine, client, late)

    def _ask(self, client: socket.socket, engine: socket.socket, late: threading.Event) -> None:
        try:
            while chunk := client.recv(CHUNK):
                if self._keeps(chunk):
                    late.set()
                    # Whole, and on its way, before its sender is stopped or killed.
                    chunk += _rest_of(client)
                    self._released.wait()
                engine.sendall(chunk)
        except OSError:
            pass
        finally:
            if late.is_set():
                _end(client)  # the engine still has to answer
            else:
                _end(client, engine)

    def _keeps(self, chunk: bytes) -> bool:
        found = REQUEST.match(chunk)
        if found is None or self._wanted is None:
            return False
        name = f"{found[1].decode()} {re.sub(r'^/v[0-9.]+', '', found[2].decode())}"
        if not self._wanted.match(name):
            return False
        self.held.append(name)
        return True

    def _answer(self, engine: socket.socket, client: socket.socket, late: threading.Event) -> None:
        try:
            while chunk := engine.recv(CHUNK):
                if late.is_set():
                    found = STATUS.match(chunk)
                    self.answers.append(chunk.decode(errors="replace") if found else "")
                    late.clear()
                with suppress(OSError):
                    client.sendall(chunk)
        except OSError:
            pass
        finally:
            _end(engine, client)


def _rest_of(client: socket.socket) -> bytes:
    """What of the request comes in further pieces."""
    rest = b""
    client.settimeout(0.5)
    with suppress(TimeoutError):
        while piece := client.recv(CHUNK):
            rest += piece
    client.settimeout(None)
    return rest


def _start(action: object, *args: object) -> None:
    threading.Thread(target=action, args=args, daemon=True).start()  # type: ignore[arg-type]


def _end(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
