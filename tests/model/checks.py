"""
What must never be. Letters as in the list of oracles that the simulation uses, with what they mean here.

Looked at when a request is accepted; a world by itself needs no check.
"""

from __future__ import annotations

from tests.model.controller import Rules
from tests.model.environment import arrive
from tests.model.state import FENCE, SWARM, Kind, Life, Request, World

S1 = "S1: an effect of an older epoch was accepted on an object that a newer epoch had changed"
S2 = "S2: after a newer epoch was Ready, an effect of an older one changed something live"
S5 = "S5: the volume of a database that nobody dismissed was removed"
S12 = "S12: a late removal hit a service that a newer epoch had adopted"
S13 = "S13: a database runs again after it was gone for good"
READY = "Ready was reported while an effect of an older epoch could still land"
FENCE_HIT = "S2, S12: a late removal hit the fence of a living database, raised by a newer epoch"
RESTORED = "a controller went on after etcd's revision had gone back"
OWN = "S16: Ready was reported, and the owner's own reading was stale or its own update could still land"
LEFT = "L3: something of a deleted database is left, and nobody will ever collect it"
"""Not a step but an end: with it among the strict checks, `scenarios.end` forgives nothing."""
SPEC = "S3: a deletion began while there was a spec"


def accepted(before: World, request: Request, after: World, rules: Rules, strict: frozenset[str]) -> str:
    """What is wrong with `request` having turned one world into the other; "" when nothing is."""
    if request.kind in SWARM:
        return RESTORED if before.rewound else _on_service(before, request, strict)
    if request.kind is Kind.REMOVE_VOLUME:
        return _on_volume(before, request)
    return _on_record(before, request, after, rules, strict)


def _on_service(world: World, request: Request, strict: frozenset[str]) -> str:
    have = world.services[request.slot]
    if request.kind is Kind.REMOVE:
        assert have is not None
        if have.tombstone and have.id == request.id:
            return ""  # whoever sees a tombstone may finish what it began
        if request.slot == FENCE:
            lives = world.accepted is not None and world.accepted.life is Life.ACTIVE
            return FENCE_HIT if lives and have.epoch > request.epoch and FENCE_HIT in strict else ""
        if have.epoch > request.epoch or (have.id != request.id and not have.tombstone):
            return S12
        return S2 if request.epoch < world.ready_epoch else ""
    _, incarnation, _, replicas, _ = request.body
    assert isinstance(incarnation, int)
    if replicas and world.gone >> incarnation & 1:
        return S13
    if request.kind is Kind.CREATE and not replicas:
        return ""  # a late inert create harms nobody and is collected
    if have is not None and have.epoch > request.epoch:
        return S1
    return S2 if request.epoch < world.ready_epoch else ""


def _on_volume(world: World, request: Request) -> str:
    accepted = world.accepted
    dismissed = accepted is None or accepted.incarnation != request.id or accepted.life is Life.DELETING
    return "" if dismissed else S5


def _on_record(before: World, request: Request, after: World, rules: Rules, strict: frozenset[str]) -> str:
    if request.epoch < before.revision and not before.rewound:
        return S1
    if request.kind is Kind.ACCEPT and SPEC in strict:
        old = before.accepted
        begins = request.body[0] is not Life.ACTIVE and old is not None and old.life is Life.ACTIVE
        if begins and before.spec is not None:
            return SPEC
    if request.kind is not Kind.READY:
        return ""
    if any(one.epoch < request.epoch and _would_hurt(after, one, rules) for one in after.network):
        return READY
    return OWN if OWN in strict and not _true(after, request, rules) else ""


def _would_hurt(world: World, late: Request, rules: Rules) -> bool:
    """If it arrived now, it would be accepted, and it is none of those that harm nobody."""
    after = arrive(world, late, rules, 1)
    if after is None or late.kind is Kind.REMOVE_VOLUME or (late.kind is Kind.REMOVE and late.slot == FENCE):
        return False
    if late.kind is Kind.CREATE:
        return bool(late.body[3])
    have = world.services[late.slot]
    return not (late.kind is Kind.REMOVE and have is not None and have.tombstone)


def _true(world: World, request: Request, rules: Rules) -> bool:
    """What the status says of the newest spec holds, and the speaker itself can no longer undo it."""
    spec, record = world.spec, world.accepted
    if spec is None or record is None or request.body != (spec.revision,):
        return True  # it speaks of a spec that was replaced meanwhile, and says so
    for slot in spec.hosts:
        have = world.services[slot]
        if have is None or have[3:] != (record.incarnation, spec.generation, 1, False):
            return False
    updates = [one for one in world.network if one.kind is Kind.UPDATE and one.epoch == request.epoch]
    return not any(arrive(world, one, rules, 1) is not None for one in updates)
