"""The Orchestrator port on Docker Swarm, seen from a manager (engine 20.10, API 1.41, and newer)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from controlplane.lifecycle import together
from controlplane.orchestrators import payload, readings
from controlplane.orchestrators.door import DEPENDENCY, Door
from controlplane.orchestrators.identity import DATABASE, is_ours, restored
from controlplane.orchestrators.payload import CLUSTER, Kept, check_id, check_labels, check_name
from controlplane.orchestrators.payload_reader import BRIDGE, from_payload, kept
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

BRIDGES_MAX = 64
STRAYS_MAX = 64


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
        self._kept: dict[str, tuple[int, Kept]] = {}
        """Service ID -> its newest version that was read, and what an update of it must carry over."""
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

    def invalidate(self, database: str | None = None) -> None:
        self._cache.invalidate(database)

    async def _read(self) -> SwarmView:
        at_s = self._clock.monotonic()
        ours = {"label": [f"{CLUSTER}={self._cluster}"]}
        services, networks, secrets, configs, nodes, tasks = await together(
            self._door.read("services", filters=None if self._strays else ours),
            self._door.read("networks"),
            self._door.read("secrets", filters=ours),
            self._door.read("configs", filters=ours),
            self._door.read("nodes"),
            self._door.read("tasks", filters=ours),
        )
        labelled = {raw["ID"] for raw in services or [] if _cluster(raw) == self._cluster}
        self._strays &= {raw["ID"] for raw in services or []} - labelled
        mine = [raw for raw in _by(services, "ID") if raw["ID"] in labelled | self._strays]
        views = await self._services(mine, {raw["Id"] for raw in networks or []})
        self._kept = _kept(mine)
        return _view(at_s, views, networks, secrets, configs, nodes, tasks)

    async def _read_part(self, database: str) -> SwarmView:
        """
        By name, which nobody can change: all objects of a database begin with its own, and some of others, too.

        By label a service would be missing whose label somebody took off, and a deletion would leave it behind.
        """
        at_s = self._clock.monotonic()
        named, labelled = {"name": [f"{database}-"]}, {"label": [f"{DATABASE}={database}"]}
        services, networks, secrets, configs, tasks = await together(
            self._door.read("services", filters=named),
            self._door.read("networks", filters=labelled),
            self._door.read("secrets", filters=named),
            self._door.read("configs", filters=named),
            self._door.read("tasks", filters=named),
        )
        mine = [raw for raw in _by(services, "ID") if self._is_mine(raw)]
        self._strays |= {raw["ID"] for raw in mine if _cluster(raw) != self._cluster}
        views = await self._services(mine, {raw["Id"] for raw in networks or []})
        self._kept |= _kept(mine)
        return _view(at_s, views, networks, secrets, configs, [], tasks)

    def _is_mine(self, raw: Any) -> bool:
        if _cluster(raw) == self._cluster or raw["ID"] in self._strays:
            return True
        return len(self._strays) < STRAYS_MAX and is_ours(from_payload(raw["Spec"]), self._cluster)

    async def _services(self, raws: list[Any], listed: set[str]) -> tuple[ServiceView, ...]:
        bridges = await self._known_bridges(raws, listed)
        api = await self._door.api()
        return tuple(
            ServiceView(
                raw["ID"],
                raw["Version"]["Index"],
                restored(from_payload(raw["Spec"], api, bridges), self._cluster),
                raw.get("UpdatedAt", ""),
            )
            for raw in raws
        )

    async def _known_bridges(self, raws: list[Any], listed: set[str]) -> frozenset[str]:
        """
        IDs that stand for the predefined bridge.

        Swarm has a mirror of it under an ID of its own, which no list of networks shows: a service's network
        that is not listed is asked for once.
        """
        attached = {
            str(network.get("Target", ""))
            for raw in raws
            for network in raw["Spec"].get("TaskTemplate", {}).get("Networks") or []
        }
        for target in sorted(attached - listed - self._bridges.keys() - {"", BRIDGE})[:BRIDGES_MAX]:
            raw = await self._door.read(f"networks/{target}")
            if raw is not None and len(self._bridges) < BRIDGES_MAX:
                self._bridges[target] = raw.get("Name") == BRIDGE and raw.get("Driver") == "bridge"
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
        newest, carried = self._kept.get(service_id, (-1, None))
        if carried is None or newest != version:
            # Not the version of the newest reading, so the plan is not of that reading.
            self.invalidate(spec.labels.get(DATABASE))
            raise Conflict(f"service {spec.name}")
        body = payload.to_payload(spec, await self._door.api(), carried)
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


def _kept(raws: list[Any]) -> dict[str, tuple[int, Kept]]:
    return {raw["ID"]: (raw["Version"]["Index"], kept(raw["Spec"])) for raw in raws}


def _view(
    at_s: float,
    services: tuple[ServiceView, ...],
    networks: list[Any] | None,
    secrets: list[Any] | None,
    configs: list[Any] | None,
    nodes: list[Any] | None,
    tasks: list[Any] | None,
) -> SwarmView:
    mine = {service.id for service in services}
    return SwarmView(
        at_s=at_s,
        services=services,
        networks=tuple(readings.network(raw) for raw in _by(networks, "Id")),
        secrets=tuple(readings.blob(raw) for raw in _by(secrets, "ID")),
        configs=tuple(readings.blob(raw) for raw in _by(configs, "ID")),
        nodes=tuple(readings.node(raw) for raw in _by(nodes, "ID")),
        tasks=tuple(readings.task(raw) for raw in _by(tasks, "ID") if raw.get("ServiceID") in mine),
    )


def _by(raws: list[Any] | None, key: str) -> list[Any]:
    """In a defined order."""
    return sorted(raws or [], key=lambda raw: str(raw[key]))


def _cluster(raw: Any) -> str:
    """The cluster label of a service's JSON."""
    return str((raw["Spec"].get("Labels") or {}).get(CLUSTER, ""))
