"""
A dockerd that runs nothing: Docker's API over a unix socket, on a `SwarmWorld`. What pgswarm asks, and no more.

Each object is made into JSON once a version, and objects are found by name and label without looking at all of them:
with ten thousand databases the fake must not be what is measured.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from bench.proxy import name_of
from controlplane.orchestrators.events import DockerEvent
from reconcilers.errors import Conflict, PgswarmError
from reconcilers.ports import NetworkSpec
from tests.scale.docker_json import inspected, listed, raw, volume
from tests.scale.index import Filters, Index, has
from tests.sim.swarm_world import BRIDGE_MIRROR, Service, SwarmWorld

VERSION = re.compile(r"\A/v[0-9.]+/")
EVENTS_KEPT = 256
"""As many as an engine remembers for those who ask what they missed."""


class Rejected(Exception):
    """An answer with a status of its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class FakeDockerd:
    """
    The engine of one node, which is a manager.

    Args:
        hostname: Whose engine this is.
    """

    def __init__(self, world: SwarmWorld, hostname: str) -> None:
        self.world = world
        self.node_id = world.node_id(hostname)
        self.index = Index(world)
        self.calls: Counter[str] = Counter()
        self.created: list[tuple[str, int]] = []
        """Services that were asked for: name, and nanoseconds since 1970."""
        self.control: Callable[[str, list[str], Any], Any] = lambda method, parts, body: None
        """What nobody else has an answer to: method, parts of the path, body."""
        self._known: dict[str, tuple[Any, bytes]] = {}
        self._events: deque[tuple[int, bytes]] = deque(maxlen=EVENTS_KEPT)
        self._listeners: set[asyncio.Queue[bytes]] = set()
        world.listen(self.node_id, self._hear)

    @asynccontextmanager
    async def serving(self, socket: Path) -> AsyncIterator[str]:
        """Its URL."""
        runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.UnixSite(runner, str(socket)).start()
            yield f"unix://{socket}"
        finally:
            await runner.cleanup()
            remove(socket)

    # --- events ---

    def _hear(self, event: DockerEvent) -> None:
        self.index.hear(event)
        at_ns = time.time_ns()
        actor = {"ID": event.id, "Attributes": dict(event.attributes)}
        raw = {"Type": event.kind, "Action": event.action, "Actor": actor, "timeNano": at_ns}
        line = json.dumps(raw).encode() + b"\n"
        self._events.append((at_ns, line))
        for queue in self._listeners:
            queue.put_nowait(line)

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        since_ns = int(float(request.query.get("since") or time.time()) * 1e9)
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        for line in [line for at_ns, line in self._events if at_ns >= since_ns]:
            queue.put_nowait(line)
        self._listeners.add(queue)
        try:
            await answer.prepare(request)
            while True:
                lines = [await queue.get()]
                while not queue.empty():
                    lines.append(queue.get_nowait())
                await answer.write(b"".join(lines))
        finally:
            self._listeners.discard(queue)

    # --- requests ---

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = VERSION.sub("", request.path).strip("/")
        self.calls[name_of(request.method.encode(), f"/{path}".encode())] += 1
        if path == "events":
            return await self._stream(request)
        body = await request.read()
        try:
            filters: Filters = json.loads(request.query.get("filters") or "{}")
            said = json.loads(body) if body else {}
            answer = self._answer(request.method, path.split("/"), filters, said, request.query)
        except Rejected as exc:
            return _json({"message": str(exc)}, exc.status)
        except Conflict as exc:
            return _json({"message": f"name conflicts with an existing object: {exc}"}, 409)
        except PgswarmError as exc:
            return _json({"message": str(exc)}, 400)
        if answer is None:
            return web.Response(status=204)
        return _body(answer) if isinstance(answer, bytes) else _json(answer, 200)

    def _answer(
        self, method: str, parts: list[str], filters: Filters, body: Any, query: Mapping[str, str]
    ) -> Any:
        match method, parts:
            case "GET", ["services" | "networks" | "secrets" | "configs" as kind]:
                return self._list(self.index.found(kind.removesuffix("s"), filters))
            case "GET", ["tasks"]:
                found = self.index.found("service", filters)
                return self._list(task for service in found for task in service.tasks)
            case "GET", ["nodes"]:
                return self._list(self.world.nodes.values())
            case "GET", ["networks", identity]:
                return self._network(identity)
            case "GET", ["services", identity]:
                return self._one(self._service(identity))
            case "POST", ["services", "create"]:
                self.created.append((body["Name"], time.time_ns()))
                return {"ID": self.world.create_service(body)}
            case "POST", ["services", identity, "update"]:
                return self._update(identity, int(query["version"]), body)
            case "POST", ["networks", "create"]:
                subnet = body["IPAM"]["Config"][0]["Subnet"]
                return {"Id": self.world.create_network(NetworkSpec(body["Name"], body["Labels"], subnet))}
            case "POST", ["secrets" | "configs" as kind, "create"]:
                data = base64.b64decode(body["Data"]).decode()
                name, labels = body["Name"], body["Labels"]
                return {"ID": self.world.create_blob(kind.removesuffix("s"), name, labels, data)}
            case "DELETE", ["services" | "networks" | "secrets" | "configs" as kind, identity]:
                return self._remove(kind.removesuffix("s"), identity)
        return self._engine(method, parts, filters, body)

    def _update(self, identity: str, version: int, body: Any) -> Any:
        if self._service(identity).version != version:
            raise Rejected(500, "rpc error: code = Unknown desc = update out of sequence")
        self.world.update_service(identity, version, body)
        return {"Warnings": None}

    def _remove(self, kind: str, identity: str) -> None:
        if kind == "service":
            self._service(identity)
            self.world.remove_service(identity)
        elif kind == "network":
            if identity not in self.world.networks:
                raise Rejected(404, f"network {identity} not found")
            self.world.remove_network(identity)
        else:
            if identity not in (self.world.secrets if kind == "secret" else self.world.configs):
                raise Rejected(404, f"{kind} {identity} not found")
            self.world.remove_blob(kind, identity)
        self._known.pop(identity, None)

    def _service(self, identity: str) -> Service:
        found = self.world.services.get(identity)
        if found is None:
            raise Rejected(404, f"service {identity} not found")
        return found

    def _network(self, identity: str) -> Any:
        if identity in ("bridge", BRIDGE_MIRROR):
            config = {"Subnet": "172.17.0.0/16"}
            return {"Id": identity, "Name": "bridge", "Driver": "bridge", "IPAM": {"Config": [config]}}
        if identity not in self.world.networks:
            raise Rejected(404, f"network {identity} not found")
        return self._one(self.world.networks[identity])

    # --- the node's own engine ---

    def _engine(self, method: str, parts: list[str], filters: Filters, body: Any) -> Any:
        engine, wanted = self.world.engines[self.node_id], filters.get("label", [])
        match method, parts:
            case "GET", ["version"]:
                return {"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12"}
            case "GET", ["info"]:
                node = self.world.nodes[self.node_id]
                swarm = {"NodeID": node.id, "ControlAvailable": True, "NodeAddr": node.address}
                system = {"OSType": "linux", "Architecture": "x86_64", "NCPU": 2, "MemTotal": 4 << 30}
                return {"Name": node.hostname, "Swarm": swarm, **system}
            case "GET", ["containers", "json"]:
                return [listed(c.view) for c in engine.containers.values() if has(c.view.labels, wanted)]
            case "GET", ["containers", identity, "json"] if identity in engine.containers:
                return inspected(engine.containers[identity].view)
            case "POST", ["containers", identity, "kill"] if identity in engine.containers:
                return engine.kill(identity)
            case "GET", ["volumes"]:
                return {"Volumes": [volume(v) for v in engine.volumes.values() if has(v.labels, wanted)]}
            case "POST", ["volumes", "create"]:
                return volume(engine.create_volume(body["Name"], body["Labels"]))
            case "DELETE", ["volumes", name]:
                if name not in engine.volumes:
                    raise Rejected(404, f"get {name}: no such volume")
                return engine.remove_volume(name)
            case "GET", ["images", *name, "json"]:
                return {"Id": "/".join(name)}
        answer = self.control(method, parts, body)
        if answer is None:
            raise Rejected(404, f"page not found: {method} {'/'.join(parts)}")
        return answer

    def drop(self, name: str) -> int:
        """`docker service rm` by a person; when the event was sent, in nanoseconds since 1970."""
        found = next(iter(self.index.found("service", {"name": [name]})))
        assert found.payload["Name"] == name
        at_ns = time.time_ns()
        self.world.drop(found.id)
        return at_ns

    # --- JSON ---

    def _list(self, objects: Iterable[Any]) -> bytes:
        return b"[" + b",".join(map(self._one, objects)) + b"]"

    def _one(self, one: Any) -> bytes:
        """Values are frozen, and a service that changes gets another payload and version."""
        stamp = one.version if isinstance(one, Service) else one
        known = self._known.get(one.id)
        if known is None or known[0] != stamp:
            known = (stamp, json.dumps(raw(one)).encode())
            self._known[one.id] = known
        return known[1]


def remove(socket: Path) -> None:
    socket.unlink(missing_ok=True)


def _json(value: Any, status: int) -> web.Response:
    return web.Response(body=json.dumps(value).encode(), status=status, content_type="application/json")


def _body(value: bytes) -> web.Response:
    return web.Response(body=value, content_type="application/json")
