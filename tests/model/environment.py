"""
What a request does when it arrives: etcd, the Swarm and a host's engine, each with its own idea of a condition.

`arrive` returns the world after it, or None if the request is refused. `hopeless` tells that it will be for ever.
"""

from __future__ import annotations

from typing import Any

from tests.model.controller import Rules
from tests.model.rules import Rule
from tests.model.state import SWARM, Accepted, Ask, Kind, Life, Request, Service, Services, World, fresh


def arrive(world: World, request: Request, rules: Rules, depth: int) -> World | None:
    """Args: depth: how many lists back a stale manager can be."""
    if request.kind in SWARM:
        services = _swarm(world, request, rules)
        return None if services is None else _show(world, services, depth)
    if request.kind is Kind.REMOVE_VOLUME:
        return _remove_volume(world, request)
    if Rule.F1 in rules and request.epoch != world.owner_epoch:
        return None
    return _etcd(world, request, rules)


def hopeless(world: World, request: Request, rules: Rules) -> bool:
    """Nothing that can still happen would let it be accepted: versions, IDs and epochs do not come back."""
    if request.kind is Kind.CREATE:
        return False
    if request.kind is Kind.UPDATE:
        one = world.services[request.slot]
        return one is None or one.id != request.id or (Rule.F3 in rules and one.version != request.version)
    if request.kind is Kind.REMOVE:
        one = world.services[request.slot]
        return Rule.F6_ID in rules and (one is None or one.id != request.id)
    if request.kind is Kind.REMOVE_VOLUME:
        return Rule.F7 in rules and not world.volumes >> request.id & 1
    return Rule.F1 in rules and request.epoch != world.owner_epoch


# --- Swarm ---


def _swarm(world: World, request: Request, rules: Rules) -> Services | None:
    have = world.services[request.slot]
    if request.kind is Kind.CREATE:
        return None if have is not None else _placed(world, request, fresh(world))
    if have is None:
        return None
    if request.kind is Kind.REMOVE:
        if have.id != request.id and Rule.F6_ID in rules:
            return None
        return _with(world.services, request.slot, None)
    if have.id != request.id or (Rule.F3 in rules and have.version != request.version):
        return None
    return _placed(world, request, have.id)


def _placed(world: World, request: Request, identity: int) -> Services:
    body: Any = request.body
    version = max(fresh(world), identity)
    return _with(world.services, request.slot, Service(identity, version, *body))


def _with(services: Services, slot: int, one: Service | None) -> Services:
    return (*services[:slot], one, *services[slot + 1 :])


def _show(world: World, services: Services, depth: int) -> World:
    volumes = world.volumes
    for one in services:
        if one is not None and one.replicas:
            volumes |= 1 << one.incarnation  # Docker makes the volume that a task mounts
    return world._replace(services=services, older=(world.services, *world.older)[:depth], volumes=volumes)


# --- a host's engine ---


def in_use(world: World, incarnation: int) -> bool:
    return any(one is not None and one.replicas and one.incarnation == incarnation for one in world.services)


def _remove_volume(world: World, request: Request) -> World | None:
    bit = 1 << request.id
    if not world.volumes & bit or in_use(world, request.id):
        return None
    return world._replace(volumes=world.volumes & ~bit)


# --- etcd ---


def _etcd(world: World, request: Request, rules: Rules) -> World | None:
    body: Any = request.body
    if request.kind is Kind.READY:
        (revision,) = body
        return world._replace(
            ready=(request.epoch, revision), ready_epoch=max(world.ready_epoch, request.epoch)
        )
    if request.kind is Kind.HALT:
        return world._replace(halted=True)
    if request.kind is Kind.ASK:
        before, after = body
        revision = world.accepted.revision if world.accepted is not None else 0
        if (world.ask or ()) != before or (Rule.RECORD in rules and revision != request.slot):
            return None
        return world._replace(ask=Ask(*after) if after else None)
    if (world.accepted.revision if world.accepted is not None else 0) != request.slot:
        return None
    if request.kind is Kind.FORGET:
        assert world.accepted is not None
        gone = world.gone | 1 << world.accepted.incarnation
        return world._replace(accepted=None, ask=None, ready=(0, 0), gone=gone)
    return _accept(world, request, rules)


def _accept(world: World, request: Request, rules: Rules) -> World | None:
    body: Any = request.body
    life, generation, hosts, deletes, cleared = body
    if Rule.DISMISSAL in rules and life is not Life.ACTIVE and not cleared and world.spec is not None:
        return None
    old, incarnations = world.accepted, world.incarnations
    if old is not None:
        incarnation = old.incarnation
    else:
        incarnation = incarnations + 1 if Rule.F7 in rules else 1
        incarnations = max(incarnations, incarnation)
    accepted = Accepted(life, generation, hosts, deletes, incarnation, world.commits + 1, cleared)
    gone = world.gone & ~(1 << incarnation)  # without F7 an incarnation may come back
    return world._replace(accepted=accepted, incarnations=incarnations, gone=gone, commits=world.commits + 1)
