"""
One host's Docker engine in memory: containers that Swarm's tasks put there, volumes, images; and its port.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from controlplane.orchestrators.cached import Cached
from controlplane.orchestrators.engine import CONTAINER
from controlplane.orchestrators.events import DockerEvent
from controlplane.orchestrators.payload import CLUSTER, check_labels, check_name
from reconcilers.errors import Refused
from reconcilers.ports import Clock, ContainerView, EngineFacts, EngineView, VolumeView


class Hooks:
    """
    Where a simulation puts latency and faults around each call. `after` that raises: the answer was lost.
    """

    async def before(self, op: str) -> None:
        await asyncio.sleep(0)

    async def after(self, op: str) -> None:
        return

    def stale(self) -> bool:
        """Whether a list comes from a manager that has missed the latest."""
        return False


class Now(Protocol):
    def now(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Container:
    view: ContainerView
    service_id: str
    task_id: str


class EngineWorld:
    """
    What is true on one host. Synchronous; `emit` hears every change.

    Args:
        number: 1, 2, ...: makes addresses and IDs of different hosts differ.
        images: What the host has; None: everything.
    """

    def __init__(
        self, number: int, node_id: str, hostname: str, images: frozenset[str] | None = None
    ) -> None:
        self.number, self.node_id, self.hostname, self.images = number, node_id, hostname, images
        self.containers: dict[str, Container] = {}
        self.volumes: dict[str, VolumeView] = {}
        self.logs: dict[str, list[str]] = {}
        """By container ID."""
        self.emit: Callable[[DockerEvent], None] = lambda event: None
        self.died: Callable[[str], None] = lambda service_id: None
        """Called with the service of a container that ended by itself."""
        self.note: Callable[[str, str, str], None] = lambda verb, kind, name: None
        """Hears what is made and removed: verb, kind, name."""
        self.removing: Callable[[str, str], None] = lambda host, volume: None
        """Hears that a volume is about to be removed."""
        self._counter = 0

    def start(
        self,
        service_id: str,
        task_id: str,
        name: str,
        image: str,
        labels: Mapping[str, str],
        volumes: Mapping[str, Mapping[str, str]],
        *,
        on_bridge: bool,
        health: str,
        at: str,
    ) -> None:
        """Run a task's container; volumes that are missing come into being with the given labels."""
        for volume, volume_labels in volumes.items():
            if volume not in self.volumes:
                self._add_volume(volume, volume_labels)
        self._counter += 1
        swarm_labels = {"com.docker.swarm.service.id": service_id, "com.docker.swarm.task.id": task_id}
        view = ContainerView(
            id=f"{self.number:02x}{self._counter:062x}",
            name=name,
            image=image,
            image_id="sha256:" + f"{abs(hash_text(image)):064x}"[:64],
            state="running",
            health=health,
            address=f"172.17.{self._counter // 250}.{self._counter % 250 + 2}" if on_bridge else "",
            labels={**labels, **swarm_labels},
            started_at=at,
            volumes=tuple(sorted(volumes)),
        )
        self.containers[view.id] = Container(view, service_id, task_id)
        self._say("container", "create", view.id, {**view.labels, "name": name})
        self._say("container", "start", view.id, {**view.labels, "name": name})

    def remove_task(self, task_id: str) -> None:
        """Swarm shuts a task down: its container ends and goes away."""
        for identity in [c.view.id for c in self.containers.values() if c.task_id == task_id]:
            view = self.containers.pop(identity).view
            for action in ("die", "destroy"):
                self._say("container", action, identity, {**view.labels, "name": view.name})

    def clear(self, service_id: str) -> None:
        """Swarm removes a service: what its ended tasks have left goes, too."""
        for container in [c for c in self.containers.values() if c.service_id == service_id]:
            self.remove_task(container.task_id)

    def kill(self, container_id: str) -> None:
        """The container ends by itself; Swarm puts a new task in its place."""
        container = self.containers[container_id]
        ended = replace(container.view, state="exited", address="", started_at="", health="none")
        self.containers[container_id] = replace(container, view=ended)
        self._say("container", "die", container_id, {**ended.labels, "name": ended.name})
        self.died(container.service_id)

    def set_health(self, container_id: str, health: str) -> None:
        container = self.containers[container_id]
        self.containers[container_id] = replace(container, view=replace(container.view, health=health))
        self._say("container", "health_status", container_id, {**container.view.labels})

    def running(self, service_id: str) -> list[ContainerView]:
        found = [c.view for c in self.containers.values() if c.service_id == service_id]
        return [view for view in found if view.state == "running"]

    def create_volume(self, name: str, labels: Mapping[str, str]) -> VolumeView:
        """The volume of that name, which may have been there with other labels."""
        if name not in self.volumes:
            self._add_volume(name, labels)
        return self.volumes[name]

    def remove_volume(self, name: str) -> None:
        users = [c.view.id for c in self.containers.values() if name in c.view.volumes]
        if users:
            raise Refused("docker", f"remove {name}: volume is in use - {users}")
        if name in self.volumes:
            self.removing(self.hostname, name)
        if self.volumes.pop(name, None) is not None:
            self.note("remove", "volume", name)
            self._say("volume", "destroy", name, {"driver": "local"})

    def _add_volume(self, name: str, labels: Mapping[str, str]) -> None:
        self.note("create", "volume", name)
        self.volumes[name] = VolumeView(name, dict(labels), f"/var/lib/docker/volumes/{name}/_data")
        self._say("volume", "create", name, {"driver": "local"})

    def _say(self, kind: str, action: str, identity: str, attributes: Mapping[str, str]) -> None:
        self.emit(DockerEvent(kind, action, identity, attributes.get("name", ""), dict(attributes)))


def hash_text(text: str) -> int:
    """Equal in every run, unlike `hash`."""
    value = 0
    for byte in text.encode():
        value = (value * 257 + byte) % (1 << 255)
    return value


class FakeEngine:
    """The Engine port on an EngineWorld."""

    def __init__(self, world: EngineWorld, cluster: str, clock: Clock, hooks: Hooks | None = None) -> None:
        self.world, self._cluster, self._clock = world, cluster, clock
        self._hooks = hooks or Hooks()
        self._cache = Cached(self._read)
        self.calls = 0

    async def view(self) -> EngineView:
        return await self._cache.get()

    def invalidate(self) -> None:
        self._cache.invalidate()

    async def facts(self) -> EngineFacts:
        await self._enter("facts")
        facts = EngineFacts(
            node_id=self.world.node_id,
            hostname=self.world.hostname,
            manager=True,
            engine_version="20.10.24",
            api_version="1.41",
            os="linux",
            architecture="x86_64",
            cpus=2,
            memory_bytes=4 << 30,
            bridge_gateway=f"172.17.0.{self.world.number}",
        )
        await self._hooks.after("facts")
        return facts

    async def has_image(self, image: str) -> bool:
        await self._enter("has_image")
        found = self.world.images is None or image in self.world.images
        await self._hooks.after("has_image")
        return found

    async def log(self, container_id: str, *, lines: int, since_s: float) -> tuple[str, ...]:
        if not CONTAINER.match(container_id):
            raise ValueError(f"not an ID of a container: {container_id!r}")
        await self._enter("log")
        found = self.world.logs.get(container_id, [])[-lines:]
        await self._hooks.after("log")
        return tuple(found)

    async def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        wanted = check_labels(labels)
        if wanted.get(CLUSTER) != self._cluster:
            raise ValueError(f"label {CLUSTER}={self._cluster} is missing")
        await self._enter("create_volume")
        try:
            found = self.world.create_volume(check_name(name), wanted)
            await self._hooks.after("create_volume")
        finally:
            self.invalidate()
        differing = any(found.labels[key] != wanted.get(key, found.labels[key]) for key in found.labels)
        if differing or found.labels.get(CLUSTER) != self._cluster:
            raise Refused("docker", f"volume {name} exists with other labels")

    async def remove_volume(self, name: str) -> None:
        await self._enter("remove_volume")
        try:
            self.world.remove_volume(check_name(name))
            await self._hooks.after("remove_volume")
        finally:
            self.invalidate()

    async def _enter(self, op: str) -> None:
        self.calls += 1
        await self._hooks.before(op)

    async def _read(self) -> EngineView:
        at_s = self._clock.monotonic()
        await self._enter("engine_view")
        containers = [c.view for c in self.world.containers.values()]
        view = EngineView(
            at_s,
            tuple(sorted((c for c in containers if self._ours(c.labels)), key=lambda c: (c.name, c.id))),
            tuple(
                sorted((v for v in self.world.volumes.values() if self._ours(v.labels)), key=lambda v: v.name)
            ),
        )
        await self._hooks.after("engine_view")
        return view

    def _ours(self, labels: Mapping[str, str]) -> bool:
        return labels.get(CLUSTER) == self._cluster
