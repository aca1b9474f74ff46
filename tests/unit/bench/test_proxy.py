"""The counting door counts each call once, however the bytes are cut, and changes none of them."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from pathlib import Path

import pytest

from bench.proxy import CountingProxy, Requests

SENT = (
    b"GET /v1.41/services?filters=x HTTP/1.1\r\nHost: localhost\r\n\r\n"
    b'POST /v1.41/services/abc/update?version=3 HTTP/1.1\r\nContent-Length: 14\r\n\r\n{"Name": "a b"}'
    b"GET /v1.41/info HTTP/1.1\r\n\r\n"
)
NAMES = ["GET /services", "POST /services/*/update", "GET /info"]


@pytest.mark.parametrize("size", [1, 7, 64, len(SENT)])
def test_a_call_is_counted_once_however_it_is_cut(size: int) -> None:
    requests = Requests()
    found = [
        name for start in range(0, len(SENT), size) for name in requests.feed(SENT[start : start + size])
    ]
    assert found == NAMES


def test_bytes_pass_unchanged_and_are_counted(tmp_path: Path) -> None:
    upstream = socket.socket(socket.AF_UNIX)
    upstream.bind(str(tmp_path / "engine.sock"))
    upstream.listen()
    upstream.settimeout(5)
    got: list[bytes] = []

    def engine() -> None:
        peer, _ = upstream.accept()
        peer.settimeout(5)
        with peer:
            while len(b"".join(got)) < len(SENT):
                got.append(peer.recv(4096))
            peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    thread = threading.Thread(target=engine)
    thread.start()
    with CountingProxy(tmp_path / "door.sock", tmp_path / "engine.sock") as proxy:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(tmp_path / "door.sock"))
            client.sendall(SENT)
            answer = client.recv(4096)
        calls = proxy.calls()
    thread.join(5)
    upstream.close()

    assert b"".join(got) == SENT
    assert answer == b"HTTP/1.1 200 OK\r\n\r\n"
    assert calls == Counter(NAMES)
