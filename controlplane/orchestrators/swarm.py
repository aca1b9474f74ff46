"""The Orchestrator port on Docker Swarm, seen from a manager (engine 20.10, API 1.41, and newer)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, TypeVar

from controlplane.lifecycle import together
from controlplane.orchestrators import payload, readings, shared
from controlplane.orchestrators.door import DEPENDENCY, Door
from controlplane.orchestrators.identity import DATABASE, is_ours, restored
from controlplane.orchestrators.payload import CLUSTER, Api, Kept, check_id, check_labels, check_name
from controlplane.orchestrators.payload_reader import BRIDGE, from_payload, kept
from controlplane.orchestrators.swarm_cache import SwarmCache
from reconcilers.errors import Conflict, Refused
from reconcilers.ports import (
    BlobView,
    Clock,
    NetworkSpec,
    NetworkView,
    NodeView,
    Secret,
    ServiceSpec,
    ServiceView,
    Share,
    SwarmView,
    TaskView,
)

V = TypeVar("V")
BRIDGES_MAX = 64
STRAYS_MAX = 64


@dataclass(frozen=True, slots=True)
class _Service:
    """A service as it was read."""

    api: Api
    """Of the engine that said so: what its JSON means depends on it."""
    view: ServiceView
    kept: Kept
    """What an update must carry over."""


class SwarmOrchestrator:
    """
    Objects labelled `pgswarm.cluster=<cluster>`, and every network and node.

    Args:
        docker_url: The socket of a manager.
        cluster: Value of the cluster label; several pgswarm may share one Swarm.
    """

    def __init__(self, docker_url: str, cluster: str, clock: Clock) -> None:
        self._door = Door(docker_url)
        self._cluster = cluster
        self._clock = clock
        self._cache = SwarmCache(cluster, self._read, self._read_part)
        self._bridges: dict[str, bool] = {}
        self._seen: dict[str, _Service] = {}
        """Service ID -> as it was read last."""
        self._strays: set[str] = set()

    async def close(self) -> None:
        await self._door.close()

    # --- reading ---

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
        """Whose an object was when it was last seen, without a call; None: nobody's that is known."""
        return self._cache.owner_of(identity)

    def invalidate(self, database: str | None = None, *, wanted: bool = False) -> None:
        self._cache.invalidate(database, wanted=wanted)

    async def _read(self) -> SwarmView:
        at_s, api = self._clock.monotonic(), await self._door.api()
        ours = {"label": [f"{CLUSTER}={self._cluster}"]}
        labelled: set[str] = set()
        others: set[str] = set()

        def service(raw: Any) -> _Service | None:
            (labelled if _cluster(raw) == self._cluster else others).add(raw["ID"])
            return self._service(raw, api) if raw["ID"] in labelled or raw["ID"] in self._strays else None

        services, networks, secrets, configs, nodes, tasks = await together(
            self._door.each("services", service, filters=None if self._strays else ours),
            self._door.each("networks", readings.network),
            self._door.each("secrets", readings.blob, filters=ours),
            self._door.each("configs", readings.blob, filters=ours),
            self._door.each("nodes", readings.node),
            self._door.each("tasks", readings.task, filters=ours),
        )
        self._strays &= others
        mine = await self._bridged([one for one in services if one is not None], networks)
        self._seen = {one.view.id: one for one in mine}
        return _view(at_s, mine, networks, secrets, configs, nodes, tasks)

    async def _read_part(self, database: str) -> SwarmView:
        """
        By name, which nobody can change: all objects of a database begin with its own, and some of others, too.

        By label a service would be missing whose label somebody took off, and a deletion would leave it behind.
        """
        at_s, api = self._clock.monotonic(), await self._door.api()
        named, labelled = {"name": [f"{database}-"]}, {"label": [f"{DATABASE}={database}"]}

        def service(raw: Any) -> _Service | None:
            if not self._is_mine(raw):
                return None
            if _cluster(raw) != self._cluster:
                self._strays.add(raw["ID"])
            return self._service(raw, api)

        services, networks, secrets, configs, tasks = await together(
            self._door.each("services", service, filters=named),
            self._door.each("networks", readings.network, filters=labelled),
            self._door.each("secrets", readings.blob, filters=named),
            self._door.each("configs", readings.blob, filters=named),
            self._door.each("tasks", readings.task, filters=named),
        )
        mine = await self._bridged([one for one in services if one is not None], networks)
        self._seen |= {one.view.id: one for one in mine}
        return _view(at_s, mine, networks, secrets, configs, [], tasks)

    def _is_mine(self, raw: Any) -> bool:
        if _cluster(raw) == self._cluster or raw["ID"] in self._strays:
            return True
        return len(self._strays) < STRAYS_MAX and is_ours(from_payload(raw["Spec"]), self._cluster)

    def _service(self, raw: Any, api: Api) -> _Service:
        """Reading a spec costs much more than getting its JSON; Swarm gives every change of it a new version."""
        identity, version = raw["ID"], raw["Version"]["Index"]
        known = self._seen.get(identity)
        if known is not None and (known.view.version, known.api) == (version, api):
            return known
        said = shared.json(raw["Spec"])
        spec = restored(from_payload(said, api, self._bridge_ids()), self._cluster)
        view = ServiceView(shared.text(identity), version, spec, raw.get("UpdatedAt", ""))
        return _Service(api, view, kept(said))

    async def _bridged(self, found: list[_Service], listed: list[NetworkView]) -> list[_Service]:
        """
        In a defined order, and with the predefined bridge by its name.

        Swarm has a mirror of it under an ID of its own, which no list of networks shows: a service's network
        that is not listed is asked for once.
        """
        attached = {network.network_id for one in found for network in one.view.spec.networks}
        known = {network.id for network in listed} | self._bridges.keys() | {"", BRIDGE}
        for target in sorted(attached - known)[:BRIDGES_MAX]:
            raw = await self._door.read(f"networks/{target}")
            if raw is not None and len(self._bridges) < BRIDGES_MAX:
                self._bridges[target] = raw.get("Name") == BRIDGE and raw.get("Driver") == "bridge"
        bridges = self._bridge_ids()
        if bridges & attached:
            found = [_with_bridge(one, bridges) for one in found]
        return sorted(found, key=lambda one: one.view.id)

    def _bridge_ids(self) -> frozenset[str]:
        return frozenset(target for target, found in self._bridges.items() if found)

    # --- networks, secrets, configs ---

    async def create_network(self, spec: NetworkSpec) -> str:
        body = payload.network_payload(spec)
        self._check_cluster(spec.labels)
        return await self._create("networks/create", body, f"network {spec.name}", spec.labels, key="Id")

    async def remove_network(self, network_id: str) -> None:
        await self._remove("networks", network_id)

    async def create_secret(self, name: str, labels: Mapping[str, str], data: Secret) -> str:
        return await self._create_blob("secrets", name, labels, data.reveal())

    async def remove_secret(self, secret_id: str) -> None:
        await self._remove("secrets", secret_id)

    async def create_config(self, name: str, labels: Mapping[str, str], data: str) -> str:
        return await self._create_blob("configs", name, labels, data)

    async def remove_config(self, config_id: str) -> None:
        await self._remove("configs", config_id)

    async def _create_blob(self, kind: str, name: str, labels: Mapping[str, str], data: str) -> str:
        self._check_cluster(labels)
        body = {
            "Name": check_name(name),
            "Labels": check_labels(labels),
            "Data": base64.b64encode(data.encode()).decode(),
        }
        return await self._create(f"{kind}/create", body, f"{kind.removesuffix('s')} {name}", labels)

    # --- services ---

    async def create_service(self, spec: ServiceSpec) -> str:
        self._check_cluster(spec.labels)
        body = payload.to_payload(spec, await self._door.api())
        try:
            return await self._create("services/create", body, f"service {spec.name}", spec.labels)
        except Conflict:
            await self._find_stray(spec.name)
            raise

    async def _find_stray(self, name: str) -> None:
        """
        Find out who has the name that we may not have.

        A service of ours whose cluster label was taken off is in no list by label, yet holds its name. It is
        remembered, and until the label is back the whole list is read, so that a reading remains one
        snapshot.

        Raises: Refused when the name belongs to somebody else, which no new plan would change.
        """
        for raw in await self._door.read("services") or []:  # names are unique whatever their case
            found = from_payload(raw["Spec"])
            if found.name.lower() != name.lower() or _cluster(raw) == self._cluster:
                continue
            known = raw["ID"] in self._strays or len(self._strays) >= STRAYS_MAX
            if known or not is_ours(found, self._cluster):
                raise Refused(DEPENDENCY, f"the service name {name} is taken by a service of somebody else")
            self._strays.add(raw["ID"])

    async def update_service(
        self, service_id: str, version: int, spec: ServiceSpec, *, afresh: bool = False
    ) -> None:
        check_id(service_id)
        read = self._seen.get(service_id)
        if read is None or read.view.version != version:
            # Not the version of the newest reading, so the plan is not of that reading.
            self.invalidate(spec.labels.get(DATABASE))
            raise Conflict(f"service {spec.name}")
        body = payload.to_payload(spec, await self._door.api(), read.kept)
        body["Labels"][CLUSTER] = self._cluster
        body["TaskTemplate"]["ForceUpdate"] += int(afresh)
        path, what = f"services/{service_id}/update", f"service {spec.name}"
        try:
            await self._door.write(path, body, what=what, version=str(version), registryAuthFrom="spec")
        finally:
            self.invalidate(spec.labels.get(DATABASE))

    async def remove_service(self, service_id: str) -> None:
        await self._remove("services", service_id)

    # --- shared ---

    def _check_cluster(self, labels: Mapping[str, str]) -> None:
        """An object without our cluster's label would never be seen again. Raises: ValueError."""
        if labels.get(CLUSTER) != self._cluster:
            raise ValueError(f"label {CLUSTER}={self._cluster} is missing")

    async def _create(
        self, path: str, body: dict[str, Any], what: str, labels: Mapping[str, str], key: str = "ID"
    ) -> str:
        try:
            answer = await self._door.write(path, body, what=what)
        except Conflict:
            self.invalidate()  # the name is taken by what the reading of this database does not show
            raise
        finally:
            self.invalidate(labels.get(DATABASE))
        return str(answer[key])

    async def _remove(self, kind: str, identity: str) -> None:
        try:
            await self._door.remove(
                f"{kind}/{check_id(identity)}", what=f"{kind.removesuffix('s')} {identity}"
            )
        finally:
            self.invalidate(self._cache.owner_of(identity))


def _with_bridge(one: _Service, bridges: frozenset[str]) -> _Service:
    """With the name of the predefined bridge instead of an ID that stands for it."""
    spec = one.view.spec
    if not any(network.network_id in bridges for network in spec.networks):
        return one
    networks = tuple(
        replace(network, network_id=BRIDGE) if network.network_id in bridges else network
        for network in spec.networks
    )
    return replace(one, view=replace(one.view, spec=replace(spec, networks=networks)))


def _view(
    at_s: float,
    mine: list[_Service],
    networks: list[NetworkView],
    secrets: list[BlobView],
    configs: list[BlobView],
    nodes: list[NodeView],
    tasks: list[TaskView],
) -> SwarmView:
    services = {one.view.id for one in mine}
    return SwarmView(
        at_s=at_s,
        services=tuple(one.view for one in mine),
        networks=_by_id(networks),
        secrets=_by_id(secrets),
        configs=_by_id(configs),
        nodes=_by_id(nodes),
        tasks=_by_id([task for task in tasks if task.service_id in services]),
    )


def _by_id(found: list[V]) -> tuple[V, ...]:
    """In a defined order."""
    return tuple(sorted(found, key=attrgetter("id")))


def _cluster(raw: Any) -> str:
    """The cluster label of a service's JSON."""
    return str((raw["Spec"].get("Labels") or {}).get(CLUSTER, ""))
