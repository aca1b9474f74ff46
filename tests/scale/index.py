"""What a Swarm has, by name and by label, without looking at all of it each time."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from controlplane.orchestrators.events import DockerEvent
from tests.sim.swarm_world import Service, SwarmWorld

KINDS = ("service", "network", "secret", "config")
_LAST = "\U0010ffff"

Labels = Mapping[str, str]
Filters = Mapping[str, list[str]]


class Index:
    """Names and labels of what is there, kept up by the world's own events."""

    def __init__(self, world: SwarmWorld) -> None:
        self._world = world
        self._names: dict[str, list[tuple[str, str]]] = {}
        self._labelled: dict[str, dict[str, set[str]]] = {}
        self.rebuild()

    def rebuild(self) -> None:
        """After objects were put into the world without an event."""
        self._labelled = {kind: defaultdict(set) for kind in KINDS}
        for kind in KINDS:
            for identity in self._all(kind):
                self._label(kind, identity)
            self._names[kind] = sorted((self._name(kind, one), one) for one in self._all(kind))

    def hear(self, event: DockerEvent) -> None:
        if event.kind not in KINDS:
            return
        if event.action == "create":
            insort(self._names[event.kind], (event.name, event.id))
            self._label(event.kind, event.id)
        elif event.action == "remove":
            names = self._names[event.kind]
            del names[bisect_left(names, (event.name, event.id))]

    def found(self, kind: str, filters: Filters) -> Iterator[Any]:
        """Objects of this kind; names are prefixes, every label must be there."""
        objects = self._all(kind)
        for identity in self._candidates(kind, filters):
            one = objects.get(identity)
            if one is not None and has(labels_of(one), filters.get("label", [])):
                yield one

    def _candidates(self, kind: str, filters: Filters) -> Iterable[str]:
        if "name" in filters:
            names = self._names[kind]
            spans = [(bisect_left(names, (p,)), bisect_left(names, (p + _LAST,))) for p in filters["name"]]
            return [identity for first, last in spans for _, identity in names[first:last]]
        if kind != "service":  # whose labels never change
            sets = [self._labelled[kind][label] for label in filters.get("label", [])]
            if sets:
                return sorted(set.intersection(*sets))
        return list(self._all(kind))

    def _label(self, kind: str, identity: str) -> None:
        for key, value in labels_of(self._all(kind)[identity]).items():
            self._labelled[kind][f"{key}={value}"].add(identity)

    def _name(self, kind: str, identity: str) -> str:
        one = self._all(kind)[identity]
        return str(one.payload["Name"] if isinstance(one, Service) else one.name)

    def _all(self, kind: str) -> Mapping[str, Any]:
        world = self._world
        objects: dict[str, Mapping[str, Any]] = {
            "service": world.services,
            "network": world.networks,
            "secret": world.secrets,
            "config": world.configs,
        }
        return objects[kind]


def labels_of(one: Any) -> Labels:
    labels: Labels = one.payload.get("Labels") or {} if isinstance(one, Service) else one.labels
    return labels


def has(labels: Labels, wanted: Iterable[str]) -> bool:
    for one in wanted:
        key, equals, value = one.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True
