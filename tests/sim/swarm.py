"""
The Orchestrator port and the event stream of one process on a `SwarmWorld`, with hooks for latency and
faults.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from controlplane.orchestrators.cached import Cached
from controlplane.orchestrators.events import GAP, DockerEvent
from controlplane.orchestrators.identity import is_ours, restored
from controlplane.orchestrators.payload import CLUSTER, Kept, check_id, check_labels, check_name, to_payload
from reconcilers.errors import Conflict, Refused
from reconcilers.ports import Clock, NetworkSpec, Secret, ServiceSpec, ServiceView, SwarmView
from tests.sim.engine import Hooks
from tests.sim.swarm_world import Service, SwarmWorld

T = TypeVar("T")
EVENTS_MAX = 100_000


class FakeEventStream:
    """`EventStream` of one node's engine. `cut` breaks the connection: what happens meanwhile is lost."""

    def __init__(self, world: SwarmWorld, node_id: str) -> None:
        self._world, self._node_id = world, node_id
        self._queue: asyncio.Queue[DockerEvent] = asyncio.Queue(EVENTS_MAX)
        self._connected = True

    async def close(self) -> None:
        return

    async def events(self) -> AsyncGenerator[DockerEvent, None]:
        self._queue = asyncio.Queue(EVENTS_MAX)
        stop = self._world.listen(self._node_id, self._hear)
        try:
            yield DockerEvent(GAP)
            while True:
                yield await self._queue.get()
        finally:
            stop()

    def cut(self) -> None:
        self._connected = False

    def mend(self) -> None:
        self._connected = True
        self._queue.put_nowait(DockerEvent(GAP))

    def _hear(self, event: DockerEvent) -> None:
        if self._connected:
            self._queue.put_nowait(event)


class FakeOrchestrator:
    """The Orchestrator port of one process."""

    def __init__(self, world: SwarmWorld, cluster: str, clock: Clock, hooks: Hooks | None = None) -> None:
        self.world, self._cluster, self._clock = world, cluster, clock
        self._hooks = hooks or Hooks()
        self._cache = Cached(self._read)
        self._kept: dict[tuple[str, int], Kept] = {}
        self._strays: set[str] = set()
        self._old: tuple[SwarmView, dict[tuple[str, int], Kept]] | None = None
        """What was read last."""
        self.calls = 0

    async def view(self) -> SwarmView:
        return await self._cache.get()

    def last_view(self) -> SwarmView | None:
        return self._cache.last()

    def invalidate(self) -> None:
        self._cache.invalidate()

    async def _read(self) -> SwarmView:
        at_s = self._clock.monotonic()
        self.calls += 1
        await self._hooks.before("view")
        if self._old is not None and self._hooks.stale():
            view, self._kept = self._old
            await self._hooks.after("view")
            return replace(view, at_s=at_s)
        mine = [s for _, s in sorted(self.world.services.items()) if self._mine(s) or s.id in self._strays]
        self._strays &= {s.id for s in mine if not self._mine(s)}
        self._kept = {(s.id, s.version): s.kept() for s in mine}
        view = SwarmView(
            at_s=at_s,
            services=tuple(ServiceView(s.id, s.version, self._spec(s)) for s in mine),
            networks=tuple(n for _, n in sorted(self.world.networks.items())),
            secrets=tuple(b for _, b in sorted(self.world.secrets.items()) if self._labelled(b.labels)),
            configs=tuple(b for _, b in sorted(self.world.configs.items()) if self._labelled(b.labels)),
            nodes=tuple(n for _, n in sorted(self.world.nodes.items())),
            tasks=tuple(sorted((t for s in mine for t in s.tasks), key=lambda t: t.id)),
        )
        self._old = (view, self._kept)
        await self._hooks.after("view")
        return view

    def _spec(self, service: Service) -> ServiceSpec:
        return restored(service.spec(), self._cluster)

    def _labelled(self, labels: Mapping[str, str]) -> bool:
        return labels.get(CLUSTER) == self._cluster

    def _mine(self, service: Service) -> bool:
        return self._labelled(service.payload.get("Labels") or {})

    def _check_cluster(self, labels: Mapping[str, str]) -> None:
        if not self._labelled(labels):
            raise ValueError(f"label {CLUSTER}={self._cluster} is missing")

    async def create_network(self, spec: NetworkSpec) -> str:
        self._check_cluster(spec.labels)
        return await self._write("create_network", lambda: self.world.create_network(spec))

    async def remove_network(self, network_id: str) -> None:
        await self._write("remove_network", lambda: self.world.remove_network(check_id(network_id)))

    async def create_secret(self, name: str, labels: Mapping[str, str], data: Secret) -> str:
        return await self._create_blob("secret", name, labels, data.reveal())

    async def remove_secret(self, secret_id: str) -> None:
        await self._write("remove_secret", lambda: self.world.remove_blob("secret", check_id(secret_id)))

    async def create_config(self, name: str, labels: Mapping[str, str], data: str) -> str:
        return await self._create_blob("config", name, labels, data)

    async def remove_config(self, config_id: str) -> None:
        await self._write("remove_config", lambda: self.world.remove_blob("config", check_id(config_id)))

    async def _create_blob(self, kind: str, name: str, labels: Mapping[str, str], data: str) -> str:
        self._check_cluster(labels)
        ours = check_labels(labels)
        return await self._write(
            f"create_{kind}", lambda: self.world.create_blob(kind, check_name(name), ours, data)
        )

    async def create_service(self, spec: ServiceSpec) -> str:
        self._check_cluster(spec.labels)
        payload = to_payload(spec)
        try:
            return await self._write("create_service", lambda: self.world.create_service(payload))
        except Conflict:
            self._find_stray(spec.name)
            raise

    def _find_stray(self, name: str) -> None:
        for service in self.world.services.values():
            found = service.spec()
            if found.name.lower() != name.lower() or self._mine(service):
                continue
            if service.id in self._strays or not is_ours(found, self._cluster):
                raise Refused("docker", f"the service name {name} is taken by a service of somebody else")
            self._strays.add(service.id)

    async def update_service(
        self, service_id: str, version: int, spec: ServiceSpec, *, afresh: bool = False
    ) -> None:
        check_id(service_id)
        carried = self._kept.get((service_id, version))
        if carried is None:
            self.invalidate()
            raise Conflict(f"service {spec.name}")
        payload = to_payload(spec, kept=carried)
        payload["Labels"][CLUSTER] = self._cluster
        payload["TaskTemplate"]["ForceUpdate"] += int(afresh)
        await self._write("update_service", lambda: self.world.update_service(service_id, version, payload))

    async def remove_service(self, service_id: str) -> None:
        await self._write("remove_service", lambda: self.world.remove_service(check_id(service_id)))

    async def _write(self, op: str, effect: Callable[[], T]) -> T:
        self.calls += 1
        try:
            await self._hooks.before(op)
            outcome = effect()
            await self._hooks.after(op)
        finally:
            self.invalidate()
        return outcome
