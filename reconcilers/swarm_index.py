"""One reading of the Swarm, found by database: made once a reading, so that a pass costs what its database has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconcilers.ports import BlobView, NetworkView, ServiceView, SwarmView, TaskView
from reconcilers.resources import naming
from reconcilers.resources.subnet import Taken


@dataclass(slots=True)
class Share:
    """What one database has; by name, tasks in the order of the reading."""

    services: dict[str, ServiceView] = field(default_factory=dict)
    networks: dict[str, NetworkView] = field(default_factory=dict)
    secrets: dict[str, BlobView] = field(default_factory=dict)
    configs: dict[str, BlobView] = field(default_factory=dict)
    tasks: list[TaskView] = field(default_factory=list)


class SwarmIndex:
    """
    Args:
        view: The reading.
        cluster: Whose objects count; the others' networks only take up addresses.
    """

    def __init__(self, view: SwarmView, cluster: str) -> None:
        self.view = view
        self._cluster = cluster
        self._shares: dict[str, Share] = {}
        self._taken: Taken | None = None
        owner: dict[str, Share] = {}
        for service in view.services:
            share = self._of(service.spec.labels)
            if share is not None:
                share.services[service.spec.name] = service
                owner[service.id] = share
        for task in view.tasks:
            if task.service_id in owner:
                owner[task.service_id].tasks.append(task)
        for network in view.networks:
            if (share := self._of(network.labels)) is not None:
                share.networks[network.name] = network
        for secret in view.secrets:
            if (share := self._of(secret.labels)) is not None:
                share.secrets[secret.name] = secret
        for config in view.configs:
            if (share := self._of(config.labels)) is not None:
                share.configs[config.name] = config

    def share(self, database: str) -> Share:
        """Not to be changed by whoever gets it."""
        return self._shares.get(database) or Share()

    @property
    def taken(self) -> Taken:
        """The addresses of every network there is."""
        if self._taken is None:
            self._taken = Taken(subnet for network in self.view.networks for subnet in network.subnets)
        return self._taken

    def _of(self, labels: Mapping[str, str]) -> Share | None:
        if labels.get(naming.CLUSTER) != self._cluster or naming.DATABASE not in labels:
            return None
        return self._shares.setdefault(labels[naming.DATABASE], Share())
