"""The Swarm as it was read, kept until somebody says what has changed: everything, or what one database has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from controlplane.orchestrators.identity import DATABASE
from controlplane.orchestrators.payload import CLUSTER
from reconcilers.ports import BlobView, NetworkView, NodeView, ServiceView, Share, SwarmView, TaskView

NOTHING = Share()
MANY = 16
MANY_SHARE = 0.03
"""
From so many databases on, and from such a part of all, one reading of everything is cheaper than one of each.
"""


class SwarmCache:
    """
    Whole readings, and between them readings of single databases, so that a change costs what its database has.

    A reading that began before an invalidation is never handed to anybody who asked after it. Safe to cancel: whoever
    waits next reads.

    Args:
        cluster: Whose objects count.
        read: Everything.
        read_part: One database's part of it. What is in there of others is ignored, and so are nodes.
    """

    def __init__(
        self,
        cluster: str,
        read: Callable[[], Awaitable[SwarmView]],
        read_part: Callable[[str], Awaitable[SwarmView]],
    ) -> None:
        self._cluster, self._read, self._read_part = cluster, read, read_part
        self._now = 1
        """Counts invalidations. What a reading shows is told by what the count was when it began."""
        self._all_changed = 1
        self._changed: dict[str, int] = {}
        """Database -> when it changed; without what the whole reading shows."""
        self._view: SwarmView | None = None
        self._view_began = 0
        self._shares: dict[str, tuple[int, Share]] = {}
        """Database -> when its newest reading began, and what it shows. Who is not in it has nothing."""
        self._owners: dict[str, str] = {}
        self._asked: set[str] = set()
        """Databases that somebody asks for; of the others nobody cares when they change."""
        self._due: set[str] = set()
        """Those of them that have changed since they were read."""
        self._whole_lock = asyncio.Lock()
        self._part_locks: dict[str, asyncio.Lock] = {}

    def invalidate(self, database: str | None = None, *, wanted: bool = False) -> None:
        """
        Args:
            database: Only what this one has; None: everything.
            wanted: It will be asked for.
        """
        self._now += 1
        if database is None:
            self._all_changed = self._now
            return
        self._changed[database] = self._now
        if wanted:
            self._asked.add(database)
        if database in self._asked:
            self._due.add(database)

    def owner_of(self, identity: str) -> str | None:
        """Whose an object was when it was last seen, by its ID; None: nobody's that is known."""
        return self._owners.get(identity)

    @property
    def nodes(self) -> tuple[NodeView, ...]:
        """Of the last whole reading; () before the first."""
        return self._view.nodes if self._view is not None else ()

    @property
    def networks(self) -> tuple[NetworkView, ...]:
        """Everybody's, as `nodes`."""
        return self._view.networks if self._view is not None else ()

    async def view(self) -> SwarmView:
        """Raises: whatever the reading raises; an earlier reading is then not returned in its stead."""
        return await self._since(max(self._all_changed, *self._changed.values(), 0))

    async def share(self, database: str) -> Share:
        """Raises: as `view`."""
        wanted = max(self._all_changed, self._changed.get(database, 0))
        self._asked.add(database)
        await self._since(self._all_changed)
        began, found = self._known(database)
        if began < wanted and len(self._due) > max(MANY, MANY_SHARE * len(self._shares)):
            await self._since(wanted)
            began, found = self._known(database)
        if began < wanted:
            async with self._part_locks.setdefault(database, asyncio.Lock()):
                began, found = self._known(database)
                if began < wanted:
                    began = self._now
                    read = shares(await self._read_part(database), self._cluster)
                    found = read.get(database, NOTHING)
                    self._keep(database, began, found)
        return found

    async def _since(self, wanted: int) -> SwarmView:
        """A whole reading that did not begin before `wanted`."""
        if self._view is None or self._view_began < wanted:
            async with self._whole_lock:
                if self._view is None or self._view_began < wanted:
                    began = self._now
                    self._take(await self._read(), began)
        assert self._view is not None
        return self._view

    def _known(self, database: str) -> tuple[int, Share]:
        return self._shares.get(database, (self._view_began, NOTHING))

    def _take(self, view: SwarmView, began: int) -> None:
        self._view, self._view_began = view, began
        newer = {name: known for name, known in self._shares.items() if known[0] > began}
        found = shares(view, self._cluster)
        self._shares = {name: (began, self._same(name, share)) for name, share in found.items()} | newer
        self._changed = {name: at for name, at in self._changed.items() if at > began}
        self._due &= self._changed.keys()
        self._owners = {}
        for name, (_, share) in self._shares.items():
            self._own(name, share)

    def _keep(self, database: str, began: int, share: Share) -> None:
        if began > self._known(database)[0]:
            self._shares[database] = (began, share)
            self._own(database, share)
        if self._changed.get(database, 0) <= began:
            self._due.discard(database)

    def _same(self, database: str, share: Share) -> Share:
        """What has not changed stays the same object: it is compared at a glance, and kept once."""
        _, before = self._known(database)
        return before if before == share else share

    def _own(self, database: str, share: Share) -> None:
        for kind in (share.services, share.networks, share.secrets, share.configs):
            for one in kind.values():
                self._owners[one.id] = database


@dataclass(slots=True)
class _Heap:
    """A share that is being filled."""

    services: dict[str, ServiceView] = field(default_factory=dict)
    networks: dict[str, NetworkView] = field(default_factory=dict)
    secrets: dict[str, BlobView] = field(default_factory=dict)
    configs: dict[str, BlobView] = field(default_factory=dict)
    tasks: list[TaskView] = field(default_factory=list)


def shares(view: SwarmView, cluster: str) -> dict[str, Share]:
    """What each database has of it, by its name. Pure."""
    heaps: dict[str, _Heap] = {}

    def heap(labels: Mapping[str, str]) -> _Heap | None:
        if labels.get(CLUSTER) != cluster or DATABASE not in labels:
            return None
        return heaps.setdefault(labels[DATABASE], _Heap())

    tasks: dict[str, list[TaskView]] = {}
    for service in view.services:
        if (mine := heap(service.spec.labels)) is not None:
            mine.services[service.spec.name] = service
            tasks[service.id] = mine.tasks
    for task in view.tasks:
        if task.service_id in tasks:
            tasks[task.service_id].append(task)
    for network in view.networks:
        if (mine := heap(network.labels)) is not None:
            mine.networks[network.name] = network
    for secret in view.secrets:
        if (mine := heap(secret.labels)) is not None:
            mine.secrets[secret.name] = secret
    for config in view.configs:
        if (mine := heap(config.labels)) is not None:
            mine.configs[config.name] = config
    return {
        name: Share(one.services, one.networks, one.secrets, one.configs, tuple(one.tasks))
        for name, one in heaps.items()
    }
