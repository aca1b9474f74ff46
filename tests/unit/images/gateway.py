"""etcd's JSON gateway with the records of one scope, as far as the Postgres image asks it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = base64.b64encode(b"/patroni/orders-n1/initialize").decode()


class Gateway:
    """Refuses what it does not know, so that a misspelt request is no success."""

    def __init__(self, value: str | None) -> None:
        self.value = value
        self.asked: list[str] = []
        self.login: tuple[str, str] | None = None
        """Name and password that are asked for; None: anybody may."""
        self.before: Callable[[], None] = lambda: None
        """Called before each transaction: somebody else's."""
        self.lose_answers = 0
        """So many transactions are carried out and not answered."""
        self.members: tuple[str, ...] = ()
        """Instances of the scope that have said that they are there."""
        self.port = 0

    def answer(self, path: str, body: dict[str, Any], token: str) -> dict[str, Any] | None:
        self.asked.append(path)
        if path == "/v3/auth/authenticate":
            return {"token": "t1"} if self.login == (body["name"], body["password"]) else None
        if self.login is not None and token != "t1":
            return None
        if path == "/v3/kv/range":
            return self._range(body)
        if path != "/v3/kv/txn":
            return None
        self.before()
        [compare] = body["compare"]
        assert (compare["key"], compare["target"], compare["result"]) == (KEY, "VALUE", "EQUAL")
        wanted = base64.b64decode(compare["value"]).decode()
        succeeded = self.value is not None and self.value == wanted
        done = (
            [self._do(one) for one in body["success" if succeeded else "failure"]]
            if (succeeded or "failure" in body)
            else []
        )
        # The gateway leaves out what is false.
        return {**({"succeeded": True} if succeeded else {}), "responses": done}

    def _do(self, operation: dict[str, Any]) -> dict[str, Any]:
        [(what, body)] = operation.items()
        assert body["key"] == KEY
        match what:
            case "request_put":
                self.value = base64.b64decode(body["value"]).decode()
                return {"response_put": {}}
            case "request_delete_range":
                self.value = None
                return {"response_delete_range": {"deleted": "1"}}
            case "request_range":
                return {"response_range": self._range(body)}
        raise AssertionError(what)

    def _range(self, body: dict[str, Any]) -> dict[str, Any]:
        if "range_end" in body:
            first, end = (base64.b64decode(body[name]).decode() for name in ("key", "range_end"))
            keys = [f"/patroni/orders-n1/members/{name}" for name in self.members]
            found = [{"key": base64.b64encode(key.encode()).decode()} for key in keys if first <= key < end]
            return {"header": {}, "kvs": found} if found else {"header": {}}
        assert body == {"key": KEY}
        if self.value is None:
            return {"header": {}}
        record = {"key": KEY}
        if self.value:
            record["value"] = base64.b64encode(self.value.encode()).decode()
        return {"header": {}, "kvs": [record], "count": "1"}


@contextmanager
def serving(value: str | None) -> Iterator[Gateway]:
    """On a free port of loopback."""
    gateway = Gateway(value)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = gateway.answer(self.path, body, self.headers.get("Authorization", ""))
            if self.path == "/v3/kv/txn" and gateway.lose_answers:
                gateway.lose_answers -= 1
                self.close_connection = True
                return
            text = json.dumps(found or {"error": "etcdserver: no"}).encode()
            self.send_response(200 if found is not None else 400)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    gateway.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield gateway
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
