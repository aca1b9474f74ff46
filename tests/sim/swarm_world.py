"""
Docker Swarm in memory: what managers store and the tasks that follow from it. Synchronous, so each call is
atomic.

It stores the JSON that the real adapter would send, filled in as Docker does, so payload functions and drift
are exercised too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from controlplane.orchestrators.events import DockerEvent
from controlplane.orchestrators.payload import Kept
from controlplane.orchestrators.payload_reader import from_payload, kept
from reconcilers.errors import Conflict, Refused
from reconcilers.ports import (
    BlobView,
    NetworkSpec,
    NetworkView,
    NodeView,
    ServiceSpec,
    TaskView,
)
from tests.sim.engine import EngineWorld
from tests.sim.loop import NOBODY

BRIDGE_MIRROR = "bridgemirror".ljust(25, "0")
TASK_HISTORY = 5
STOP_S = 0.6
"""So long the container of a task that is replaced goes on; the next one starts when it has ended."""
FORGET_S = 0.4
"""After this long a manager forgets a task that it was told to remove."""


@dataclass(slots=True)
class Service:
    id: str
    version: int
    payload: dict[str, Any]
    updated_at: str
    tasks: list[TaskView] = field(default_factory=list)
    """Newest first; at most one is meant to run, and the next may wait until that one has ended."""
    _read: tuple[dict[str, Any], ServiceSpec, Kept] | None = None

    def spec(self) -> ServiceSpec:
        """What the real adapter makes of it."""
        return self._reading()[1]

    def kept(self) -> Kept:
        """What of it the real adapter carries over into an update."""
        return self._reading()[2]

    def _reading(self) -> tuple[dict[str, Any], ServiceSpec, Kept]:
        """Once a payload: no process sees more of it than another."""
        if self._read is None or self._read[0] is not self.payload:
            spec = from_payload(self.payload, bridges=frozenset({BRIDGE_MIRROR}))
            self._read = (self.payload, spec, kept(self.payload))
        return self._read


class SwarmWorld:
    """
    Args:
        hostnames: One node each, all managers, each with an engine.
        now: RFC 3339 time for records.
    """

    def __init__(self, hostnames: tuple[str, ...], now: Callable[[], str]) -> None:
        self._now = now
        self._index = 10
        self.services: dict[str, Service] = {}
        self.networks: dict[str, NetworkView] = {}
        self.secrets: dict[str, BlobView] = {}
        self.configs: dict[str, BlobView] = {}
        self.data: dict[str, str] = {}
        """Content of secrets and configs by ID."""
        self.nodes: dict[str, NodeView] = {}
        self.engines: dict[str, EngineWorld] = {}
        """By node ID."""
        self._by_host: dict[str, EngineWorld] = {}
        self.judge: Callable[[dict[str, Any] | None, dict[str, Any] | None], None] = lambda before, after: (
            None
        )
        """Told of every change of a service: its payload before and after; None: it was not there, or is gone."""
        self.judge_removal: Callable[[Service], None] = lambda service: None
        """Told of every service that is about to go."""
        self.journal: list[str] = []
        """Every object made and removed, in order, by the part of its name that is the same in every run."""
        self._listeners: list[tuple[str, Callable[[DockerEvent], None]]] = []
        for number, hostname in enumerate(hostnames, start=1):
            self._add_node(number, hostname)
        self.networks["ingress".ljust(25, "0")] = NetworkView(
            "ingress".ljust(25, "0"), "ingress", {}, "overlay", "swarm", ("10.0.0.0/24",)
        )
        self.networks["b" * 64] = NetworkView("b" * 64, "bridge", {}, "bridge", "local", ("172.17.0.0/16",))

    def _add_node(self, number: int, hostname: str) -> None:
        identity = f"node{number:021d}"
        self.nodes[identity] = NodeView(identity, hostname, True, True, True, f"10.99.0.{number}")
        engine = EngineWorld(number, identity, hostname)
        engine.emit = lambda event: self._tell(event, identity)
        engine.died = self._replace_task
        engine.note = self._note
        self.engines[identity] = self._by_host[hostname] = engine

    def engine(self, hostname: str) -> EngineWorld:
        return self._by_host[hostname]

    def node_id(self, hostname: str) -> str:
        return self.engine(hostname).node_id

    # --- events ---

    def listen(self, node_id: str, listener: Callable[[DockerEvent], None]) -> Callable[[], None]:
        """Hear the Swarm's events and those of one node's engine. Returns what ends it."""
        entry = (node_id, listener)
        self._listeners.append(entry)
        return lambda: self._listeners.remove(entry)

    def _tell(self, event: DockerEvent, node_id: str = "") -> None:
        for where, listener in tuple(self._listeners):
            if node_id in ("", where):
                listener(event)

    def _note(self, verb: str, kind: str, name: str) -> None:
        fleeting = kind in ("secret", "config", "volume")  # their names end with a hash or an incarnation
        self.journal.append(f"{verb} {kind} {name.rpartition('-')[0] if fleeting else name}")

    def _say(self, kind: str, action: str, identity: str, name: str) -> None:
        if action in ("create", "remove"):
            self._note(action, kind, name)
        self._tell(DockerEvent(kind, action, identity, name, {"name": name}))

    def _next(self) -> int:
        self._index += 1
        return self._index

    def _id(self, letter: str) -> str:
        return f"{letter}{self._next():024d}"

    # --- networks, secrets, configs ---

    def create_network(self, spec: NetworkSpec) -> str:
        if any(n.name.lower() == spec.name.lower() for n in self.networks.values()):
            raise Conflict(f"network {spec.name}")
        identity = self._id("n")
        self.networks[identity] = NetworkView(
            identity, spec.name, dict(spec.labels), "overlay", "swarm", (spec.subnet,)
        )
        self._say("network", "create", identity, spec.name)
        return identity

    def remove_network(self, identity: str) -> None:
        users = [s.id for s in self.services.values() if identity in self._targets(s)]
        if users:
            raise Refused("docker", f"network {identity} is in use by service {users[0]}")
        gone = self.networks.pop(identity, None)
        if gone is not None:
            self._say("network", "remove", identity, gone.name)

    def create_blob(self, kind: str, name: str, labels: Mapping[str, str], data: str) -> str:
        blobs = self._blobs(kind)
        if any(b.name.lower() == name.lower() for b in blobs.values()):
            raise Conflict(f"{kind} {name}")
        identity = self._id(kind[0])
        blobs[identity] = BlobView(identity, name, dict(labels))
        self.data[identity] = data
        self._say(kind, "create", identity, name)
        return identity

    def remove_blob(self, kind: str, identity: str) -> None:
        for service in self.services.values():
            if identity in self._files(service.payload, kind):
                raise Refused("docker", f"{kind} is in use by the service: {service.payload['Name']}")
        gone = self._blobs(kind).pop(identity, None)
        if gone is not None:
            self._say(kind, "remove", identity, gone.name)

    def _blobs(self, kind: str) -> dict[str, BlobView]:
        return self.secrets if kind == "secret" else self.configs

    def _files(self, payload: Mapping[str, Any], kind: str) -> set[str]:
        word = kind.capitalize()
        return {ref[f"{word}ID"] for ref in payload["TaskTemplate"]["ContainerSpec"].get(f"{word}s", ())}

    def _targets(self, service: Service) -> set[str]:
        return {n["Target"] for n in service.payload["TaskTemplate"].get("Networks", ())}

    # --- services ---

    def create_service(self, payload: dict[str, Any]) -> str:
        name = payload["Name"]
        if any(s.payload["Name"].lower() == name.lower() for s in self.services.values()):
            raise Conflict(f"service {name}")
        stored = self.filled(payload)
        service = Service(self._id("v"), self._next(), stored, self._now())
        self.services[service.id] = service
        self.judge(None, stored)
        self._say("service", "create", service.id, name)
        self._settle(service, restart=False)
        return service.id

    def update_service(self, identity: str, version: int, payload: dict[str, Any]) -> None:
        service = self.services.get(identity)
        if service is None or service.version != version:
            raise Conflict(f"service {payload['Name']}")
        stored = self.filled(payload)
        task_parts = ("TaskTemplate", "EndpointSpec")
        restart = any(stored[part] != service.payload[part] for part in task_parts)
        self.judge(service.payload, stored)
        service.payload, service.version, service.updated_at = stored, self._next(), self._now()
        self._say("service", "update", identity, stored["Name"])
        self._settle(service, restart=restart)

    def remove_service(self, identity: str) -> None:
        service = self.services.pop(identity, None)
        if service is not None:
            self.judge(service.payload, None)
            self.judge_removal(service)
            self._stop(service)
            for engine in self.engines.values():
                engine.clear(identity)
            self._say("service", "remove", identity, service.payload["Name"])

    @contextmanager
    def by_hand(self) -> Iterator[None]:
        """What a person does to services is judged by nobody."""
        judges = self.judge, self.judge_removal
        self.judge, self.judge_removal = lambda before, after: None, lambda service: None
        try:
            yield
        finally:
            self.judge, self.judge_removal = judges

    def drop(self, identity: str) -> None:
        """`docker service rm` by a person."""
        with self.by_hand():
            self.remove_service(identity)

    def edit(self, identity: str, change: Callable[[dict[str, Any]], None]) -> None:
        """`docker service update` by a person."""
        service = self.services[identity]
        payload = _copied(service.payload)
        change(payload)
        with self.by_hand():
            self.update_service(identity, service.version, payload)

    def filled(self, payload: dict[str, Any]) -> dict[str, Any]:
        """As Docker stores it: references resolved, defaults written out."""
        stored: dict[str, Any] = _copied(payload)
        task = stored["TaskTemplate"]
        for network in task.get("Networks", ()):
            if network["Target"] == "bridge":
                network["Target"] = BRIDGE_MIRROR
            if network["Target"] not in self.networks and network["Target"] != BRIDGE_MIRROR:
                raise Conflict(f"network {network['Target']}")
        for kind in ("secret", "config"):
            blobs = self._blobs(kind)
            missing = [identity for identity in self._files(stored, kind) if identity not in blobs]
            if missing:
                raise Conflict(f"{kind} {min(missing)}")
        task["ContainerSpec"].setdefault("Isolation", "default")
        task.setdefault("RestartPolicy", {}).setdefault("MaxAttempts", 0)
        task.setdefault("ForceUpdate", 0)
        task.setdefault("Runtime", "container")
        stored.setdefault("UpdateConfig", {}).setdefault("MaxFailureRatio", 0)
        return stored

    # --- tasks ---

    def fail_node(self, hostname: str) -> None:
        """The node is reported down; what ran there is no longer seen."""
        self._set_ready(hostname, ready=False)

    def recover_node(self, hostname: str) -> None:
        self._set_ready(hostname, ready=True)
        for service in tuple(self.services.values()):
            self._settle(service, restart=False)

    def _set_ready(self, hostname: str, *, ready: bool) -> None:
        identity = self.node_id(hostname)
        self.nodes[identity] = replace(self.nodes[identity], ready=ready)
        self._say("node", "update", identity, hostname)

    def _settle(self, service: Service, *, restart: bool) -> None:
        """Make tasks follow the spec: stop first."""
        spec = service.spec()
        current = service.tasks[0] if service.tasks else None
        active = current is not None and current.desired_state in ("running", "ready")
        if active and restart and spec.replicas and current is not None and current.state == "running":
            self._retire(service, current)
            return
        if active and (spec.replicas == 0 or (restart and current is not None and current.state != "ready")):
            self._stop(service, forget=spec.replicas == 0)
            active = False
        if spec.replicas == 0 or (active and current is not None and current.state in ("running", "ready")):
            return
        node_id = spec.node_id or min(self.nodes)
        node = self.nodes.get(node_id)
        fits = node is not None and node.ready and node.active
        state = "running" if fits else "pending"
        if not active:
            task = TaskView(
                self._id("t"), service.id, node_id if fits else "", state, "running", "", self._now()
            )
            service.tasks = [task, *service.tasks][:TASK_HISTORY]
        elif fits:
            service.tasks[0] = replace(service.tasks[0], node_id=node_id, state=state, since=self._now())
        if fits:
            self._run(service, spec, node_id)

    def _run(self, service: Service, spec: ServiceSpec, node_id: str) -> None:
        mounts = service.payload["TaskTemplate"]["ContainerSpec"].get("Mounts", ())
        task_id = service.tasks[0].id
        self.engines[node_id].start(
            service.id,
            task_id,
            f"{spec.name}.1.{task_id}",
            spec.image,
            spec.container_labels,
            {
                m["Source"]: m.get("VolumeOptions", {}).get("Labels", {})
                for m in mounts
                if m["Type"] == "volume"
            },
            # Without any network a task gets the engine's default one, which is the bridge.
            on_bridge=not spec.networks or any(n.network_id == "bridge" for n in spec.networks),
            health="healthy" if spec.health is not None else "none",
            at=self._now(),
        )

    def _retire(self, service: Service, old: TaskView) -> None:
        """A manager tells the task to end; its container takes a moment, and the next one waits for it."""
        service.tasks[0] = replace(old, desired_state="shutdown")
        coming = TaskView(self._id("t"), service.id, old.node_id, "ready", "ready", "", self._now())
        service.tasks = [coming, *service.tasks][:TASK_HISTORY]
        asyncio.get_running_loop().call_later(STOP_S, self._succeed, service, old.id, context=NOBODY.copy())

    def _succeed(self, service: Service, old_id: str) -> None:
        """The container has ended, by now or long since; what waited for it starts."""
        for number, task in enumerate(service.tasks):
            if task.id == old_id and task.state == "running":
                service.tasks[number] = replace(task, state="shutdown", since=self._now())
                self.engines[task.node_id].remove_task(task.id)
        coming = service.tasks[0] if service.tasks else None
        if service.id in self.services and coming is not None and coming.state == "ready":
            service.tasks[0] = replace(coming, node_id="", state="pending", desired_state="running")
            self._settle(service, restart=False)

    def _stop(self, service: Service, *, forget: bool = False) -> None:
        for number, task in enumerate(service.tasks):
            if task.state in ("running", "ready", "pending"):
                desired = "remove" if forget else "shutdown"
                ended = replace(task, state="shutdown", desired_state=desired, since=self._now())
                service.tasks[number] = ended
                if task.node_id:
                    self.engines[task.node_id].remove_task(task.id)
                if forget:
                    asyncio.get_running_loop().call_later(
                        FORGET_S, self._forget, service, task.id, context=NOBODY.copy()
                    )

    def _forget(self, service: Service, task_id: str) -> None:
        service.tasks = [task for task in service.tasks if task.id != task_id]

    def _replace_task(self, service_id: str) -> None:
        service = self.services.get(service_id)
        if service is None:
            return
        failed = {"state": "failed", "desired_state": "shutdown", "error": "task: non-zero exit (137)"}
        at = next(n for n, task in enumerate(service.tasks) if task.state == "running")
        service.tasks[at] = replace(service.tasks[at], since=self._now(), **failed)
        if at:
            self._succeed(service, service.tasks[at].id)
            return
        self._settle(service, restart=False)


def _copied(value: Any) -> Any:
    """A copy of JSON; `copy.deepcopy` asks ten times as much."""
    if isinstance(value, dict):
        return {name: _copied(part) for name, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, list) else value
