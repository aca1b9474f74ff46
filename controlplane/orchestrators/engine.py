"""The Engine port: Docker on this host, for what Swarm cannot show or do from elsewhere."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from controlplane.lifecycle import together
from controlplane.orchestrators import readings
from controlplane.orchestrators.cached import Cached
from controlplane.orchestrators.door import DEPENDENCY, Door
from controlplane.orchestrators.payload import CLUSTER, check_labels, check_name
from reconcilers.errors import Refused
from reconcilers.ports import Clock, ContainerView, EngineFacts, EngineView, VolumeView

CONTAINER = re.compile(r"\A[0-9a-f]{64}\Z")
INSPECTIONS_MAX = 8
"""Inspections in flight at most."""


class LocalEngine:
    """
    Containers and volumes labelled `pgswarm.cluster=<cluster>` on the engine behind `docker_url`.

    Args:
        docker_url: The host's own socket.
    """

    def __init__(self, docker_url: str, cluster: str, clock: Clock) -> None:
        self._door = Door(docker_url)
        self._cluster = cluster
        self._clock = clock
        self._cache = Cached(self._read)

    async def close(self) -> None:
        await self._door.close()

    async def view(self) -> EngineView:
        return await self._cache.get()

    def invalidate(self) -> None:
        self._cache.invalidate()

    async def facts(self) -> EngineFacts:
        info, version, bridge = await together(
            self._door.read("info"), self._door.read("version"), self._door.read("networks/bridge")
        )
        return readings.facts(info, version, bridge)

    async def has_image(self, image: str) -> bool:
        return await self._door.read(f"images/{quote(image, safe='/:@')}/json") is not None

    async def log(self, container_id: str, *, lines: int, since_s: float) -> tuple[str, ...]:
        if not CONTAINER.match(container_id):
            raise ValueError(f"not an ID of a container: {container_id!r}")
        since = str(int(self._clock.epoch_s() - since_s))
        path = f"containers/{container_id}/logs"
        await self._door.api()
        found = await self._door.raw(path, stdout="1", stderr="1", tail=str(lines), since=since)
        return readings.log(found or b"")

    async def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Raises: Refused when a volume of that name exists with other labels (they cannot be changed)."""
        if labels.get(CLUSTER) != self._cluster:
            raise ValueError(f"label {CLUSTER}={self._cluster} is missing")
        wanted = check_labels(labels)
        body = {"Name": check_name(name), "Driver": "local", "Labels": wanted}
        try:
            found = readings.volume(await self._door.write("volumes/create", body, what=f"volume {name}"))
        finally:
            self.invalidate()
        # Docker answers "created" for a volume that was there; Swarm may have made it, with fewer labels.
        differing = sorted(
            key for key in found.labels if found.labels[key] != wanted.get(key, found.labels[key])
        )
        if differing or found.labels.get(CLUSTER) != self._cluster:
            raise Refused(
                DEPENDENCY, f"volume {name} exists with other labels: {', '.join(differing) or CLUSTER}"
            )

    async def remove_volume(self, name: str) -> None:
        try:
            await self._door.remove(f"volumes/{check_name(name)}", what=f"volume {name}")
        finally:
            self.invalidate()

    async def _read(self) -> EngineView:
        at_s = self._clock.monotonic()
        ours = {"label": [f"{CLUSTER}={self._cluster}"]}
        containers, volumes = await together(
            self._door.read("containers/json", filters=ours, all="true"),
            self._door.read("volumes", filters=ours),
        )
        return EngineView(at_s, await self._containers(containers or []), _volumes(volumes))

    async def _containers(self, listed: list[Any]) -> tuple[ContainerView, ...]:
        places = asyncio.Semaphore(INSPECTIONS_MAX)

        async def one(raw: Any) -> ContainerView | None:
            if not readings.runs(raw):
                return readings.container(raw, None)
            async with places:
                inspected = await self._door.read(f"containers/{raw['Id']}/json")
            # Gone between list and inspection: it is not there.
            return None if inspected is None else readings.container(raw, inspected)

        found = await together(*(one(raw) for raw in listed))
        return tuple(
            sorted((view for view in found if view is not None), key=lambda view: (view.name, view.id))
        )


def _volumes(raw: Any) -> tuple[VolumeView, ...]:
    listed = (raw or {}).get("Volumes") or []
    return tuple(sorted((readings.volume(item) for item in listed), key=lambda view: view.name))
