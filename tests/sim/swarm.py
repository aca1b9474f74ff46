"""
The Orchestrator port and the event stream of one process on a `SwarmWorld`, with hooks for latency and
faults.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from controlplane.orchestrators.events import GAP, DockerEvent
from controlplane.orchestrators.identity import DATABASE, is_ours, restored
from controlplane.orchestrators.payload import CLUSTER, Kept, check_id, check_labels, check_name, to_payload
from controlplane.orchestrators.swarm_cache import SwarmCache
from reconcilers.errors import Conflict, Refused
from reconcilers.ports import (
    Clock,
    NetworkSpec,
    NetworkView,
    NodeView,
    Secret,
    ServiceSpec,
    ServiceView,
    Share,
    SwarmView,
)
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
        self._cache = SwarmCache(cluster, self._read, self._read_part)
        self._kept: dict[str, tuple[int, Kept]] = {}
        self._strays: set[str] = set()
        self._old: dict[str, tuple[SwarmView, dict[str, tuple[int, Kept]]]] = {}
        """What was read last: "" is everything, else a database."""
        self.calls = 0

    async def view(self) -> SwarmView:
        return await self._cache.view()

    async def share(self, database: str) -> Share:
        return await self._cache.share(database)

    @property
    def nodes(self) -> tuple[NodeView, ...]:
        return self._cache.nodes

    @property
    def networks(self) -> tuple[NetworkView, ...]:
        return self._cache.networks

    def owner_of(self, identity: str) -> str | None:
        return self._cache.owner_of(identity)

    def invalidate(self, database: str | None = None, *, wanted: bool = False) -> None:
        self._cache.invalidate(database, wanted=wanted)

    async def _read(self) -> SwarmView:
        return await self._reading("", lambda service: self._mine(service) or service.id in self._strays)

    async def _read_part(self, database: str) -> SwarmView:
        return await self._reading(database, lambda service: self._named(service, database))

    async def _reading(self, what: str, wanted: Callable[[Service], bool]) -> SwarmView:
        at_s = self._clock.monotonic()
        self.calls += 1
        await self._hooks.before("view")
        if what in self._old and self._hooks.stale():
            view, kept = self._old[what]
        else:
            view, kept = self._look(wanted)
            if not what:
                self._old.clear()
            self._old[what] = (view, kept)
        self._kept = {} if not what else self._kept
        self._kept.update(kept)
        await self._hooks.after("view")
        return replace(view, at_s=at_s)

    def _look(self, wanted: Callable[[Service], bool]) -> tuple[SwarmView, dict[str, tuple[int, Kept]]]:
        mine = [service for _, service in sorted(self.world.services.items()) if wanted(service)]
        labelled = {service.id for service in mine if self._mine(service)}
        self._strays = (self._strays & self.world.services.keys()) | {service.id for service in mine}
        self._strays -= labelled
        view = SwarmView(
            at_s=0.0,
            services=tuple(ServiceView(s.id, s.version, self._spec(s), s.updated_at) for s in mine),
            networks=tuple(n for _, n in sorted(self.world.networks.items())),
            secrets=tuple(b for _, b in sorted(self.world.secrets.items()) if self._labelled(b.labels)),
            configs=tuple(b for _, b in sorted(self.world.configs.items()) if self._labelled(b.labels)),
            nodes=tuple(n for _, n in sorted(self.world.nodes.items())),
            tasks=tuple(sorted((t for s in mine for t in s.tasks), key=lambda t: t.id)),
        )
        return view, {s.id: (s.version, s.kept()) for s in mine}

    def _named(self, service: Service, database: str) -> bool:
        """Found by the name, which nobody can change, and ours by whatever labels are left."""
        if not service.payload["Name"].lower().startswith(f"{database}-"):
            return False
        return self._mine(service) or service.id in self._strays or is_ours(service.spec(), self._cluster)

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
        return await self._write("create_network", lambda: self.world.create_network(spec), spec.labels)

    async def remove_network(self, network_id: str) -> None:
        await self._remove(network_id, "remove_network", self.world.remove_network)

    async def create_secret(self, name: str, labels: Mapping[str, str], data: Secret) -> str:
        return await self._create_blob("secret", name, labels, data.reveal())

    async def remove_secret(self, secret_id: str) -> None:
        await self._remove(secret_id, "remove_secret", lambda one: self.world.remove_blob("secret", one))

    async def create_config(self, name: str, labels: Mapping[str, str], data: str) -> str:
        return await self._create_blob("config", name, labels, data)

    async def remove_config(self, config_id: str) -> None:
        await self._remove(config_id, "remove_config", lambda one: self.world.remove_blob("config", one))

    async def _create_blob(self, kind: str, name: str, labels: Mapping[str, str], data: str) -> str:
        self._check_cluster(labels)
        ours = check_labels(labels)
        return await self._write(
            f"create_{kind}", lambda: self.world.create_blob(kind, check_name(name), ours, data), labels
        )

    async def create_service(self, spec: ServiceSpec) -> str:
        self._check_cluster(spec.labels)
        payload = to_payload(spec)
        try:
            return await self._write(
                "create_service", lambda: self.world.create_service(payload), spec.labels
            )
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
        newest, carried = self._kept.get(service_id, (-1, None))
        if carried is None or newest != version:
            self.invalidate(spec.labels.get(DATABASE))
            raise Conflict(f"service {spec.name}")
        payload = to_payload(spec, kept=carried)
        payload["Labels"][CLUSTER] = self._cluster
        payload["TaskTemplate"]["ForceUpdate"] += int(afresh)
        await self._write(
            "update_service",
            lambda: self.world.update_service(service_id, version, payload),
            spec.labels,
        )

    async def remove_service(self, service_id: str) -> None:
        await self._remove(service_id, "remove_service", self.world.remove_service)

    async def _remove(self, identity: str, op: str, effect: Callable[[str], None]) -> None:
        owner = self._cache.owner_of(identity)
        labels = {DATABASE: owner} if owner is not None else {}
        await self._write(op, lambda: effect(check_id(identity)), labels)

    async def _write(self, op: str, effect: Callable[[], T], labels: Mapping[str, str]) -> T:
        self.calls += 1
        try:
            await self._hooks.before(op)
            outcome = effect()
            await self._hooks.after(op)
        except Conflict:
            if op.startswith("create"):
                self.invalidate()
            raise
        finally:
            self.invalidate(labels.get(DATABASE))
        return outcome
