"""
The world as one value: small tuples that hash fast and compare whole.

Identifiers and versions of services come from one growing number, as in a Swarm. Only their order matters, so
`normal` renames them to 1, 2, 3, ...: worlds that differ in nothing else are one state.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

FENCE = 0
"""Slot of the fence service; the instances follow."""
NOBODY = -1


class Life(IntEnum):
    ACTIVE = 1
    RETAINED = 2
    DELETING = 3


class Ensure(IntEnum):
    PRESENT = 1
    ABSENT = 2


class Spec(NamedTuple):
    """What the user wrote. `revision` is the step that wrote it."""

    generation: int
    hosts: tuple[int, ...]
    deletes: bool
    """Policy when the spec goes: delete the data, or retain it."""
    revision: int = 0


class Accepted(NamedTuple):
    life: Life
    generation: int
    hosts: tuple[int, ...]
    deletes: bool
    incarnation: int
    revision: int
    cleared: bool = False
    """A reading with the fence's tombstone on it has shown that no service is left."""


class Ask(NamedTuple):
    """The `desired` record that the agent reads."""

    incarnation: int
    ensure: Ensure


class Service(NamedTuple):
    id: int
    version: int
    epoch: int
    incarnation: int
    generation: int
    replicas: int
    tombstone: bool


Services = tuple[Service | None, ...]
"""One list, by slot: what one GET of a manager returns."""


class Kind(IntEnum):
    CREATE = 1
    UPDATE = 2
    REMOVE = 3
    ACCEPT = 4
    ASK = 5
    FORGET = 6
    READY = 7
    HALT = 8
    REMOVE_VOLUME = 9


SWARM = frozenset({Kind.CREATE, Kind.UPDATE, Kind.REMOVE})


class Request(NamedTuple):
    """Something sent and not yet arrived. `epoch` is the sender's."""

    kind: Kind
    epoch: int
    slot: int = 0
    id: int = 0
    version: int = 0
    body: tuple[object, ...] = ()


class Controller(NamedTuple):
    epoch: int
    """Of the claim that it believes to have; 0: none."""
    unseen: tuple[tuple[int, int], ...] = ()
    """(ID, version) of services that it sent updates of."""


IDLE = Controller(0)


class Backup(NamedTuple):
    revision: int
    spec: Spec | None
    accepted: Accepted | None
    ask: Ask | None


class World(NamedTuple):
    # etcd
    revision: int
    """Of the newest claim: the newest epoch."""
    owner: int
    """Index of the controller that the owner record names, or NOBODY."""
    spec: Spec | None
    accepted: Accepted | None
    ask: Ask | None
    ready: tuple[int, int]
    """(epoch, spec revision) of the last status that said Ready."""
    halted: bool
    # Swarm and hosts
    services: Services
    older: tuple[Services, ...]
    """Lists that a stale manager may still answer with, newest first."""
    volumes: int
    """Bit n: a volume of incarnation n exists."""
    # processes and network
    controllers: tuple[Controller, ...]
    network: tuple[Request, ...]
    # the rest of the script, and what the checks need to remember
    step: int
    claims: int
    ready_epoch: int
    """Newest epoch that ever reported Ready."""
    commits: int
    """Writes of the accepted record: its next revision."""
    incarnations: int
    gone: int
    """Bit n: incarnation n was forgotten for good."""
    backup: Backup | None
    rewound: bool
    """etcd was restored without moving its revision on."""

    @property
    def owner_epoch(self) -> int:
        return self.revision if self.owner != NOBODY else 0


def newest_epoch(world: World) -> int:
    """The newest that any service is labelled with."""
    return max((one.epoch for one in world.services if one is not None), default=0)


def fresh(world: World) -> int:
    """An identifier or version that nothing has or had."""
    return 1 + max(_numbers(world), default=0)


def normal(world: World) -> World:
    """The same world with identifiers and versions renamed to 1, 2, 3, ... in order."""
    numbers = sorted(_numbers(world))
    if not numbers or numbers[-1] == len(numbers):
        return world
    rank = {number: position for position, number in enumerate(numbers, 1)}
    rank[0] = 0
    return world._replace(
        services=_renamed(world.services, rank),
        older=tuple(_renamed(services, rank) for services in world.older),
        network=tuple(
            sorted(
                one._replace(id=rank[one.id], version=rank[one.version]) if one.id else one
                for one in world.network
            )
        ),
        controllers=tuple(
            one._replace(unseen=tuple((rank[i], rank[v]) for i, v in one.unseen)) if one.unseen else one
            for one in world.controllers
        ),
    )


def _numbers(world: World) -> set[int]:
    found = set()
    for services in (world.services, *world.older):
        for service in services:
            if service is not None:
                found.add(service.id)
                found.add(service.version)
    for request in world.network:
        if request.id:
            found.add(request.id)
            found.add(request.version or request.id)
    for controller in world.controllers:
        for pair in controller.unseen:
            found.update(pair)
    return found


def _renamed(services: Services, rank: dict[int, int]) -> Services:
    return tuple(
        one._replace(id=rank[one.id], version=rank[one.version]) if one is not None else None
        for one in services
    )
