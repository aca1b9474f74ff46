"""
What an owner does with a reading: the frontier, as requests. Follows the code gate by gate.

Reading, planning and sending are one step here. Nothing is lost by that: a request may wait in the network for as
long as it likes, so a pause between any two of them is a delay of the request. For the same reason the mirror of
etcd needs no lag of its own: what an owner would send from an old reading, it could have sent earlier.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.model.rules import Rule
from tests.model.state import FENCE, Accepted, Ask, Ensure, Kind, Life, Request, Service, Services, World

Rules = frozenset[Rule]


class Reading(NamedTuple):
    """One pass's snapshot: a list of services, which may be stale, and etcd's records."""

    rules: Rules
    epoch: int
    services: Services
    world: World
    """Only its etcd records and what the agent tells of the volume are looked at."""
    unseen: tuple[tuple[int, int], ...]

    @property
    def fence(self) -> Service | None:
        return self.services[FENCE]


def plan(see: Reading) -> list[Request]:
    """`reconcilers.database.plan.plan`. Empty: nothing to do, or nothing that may be done."""
    newest = max((one.epoch for one in see.services if one is not None), default=0)
    if newest > see.epoch:
        return [Request(Kind.HALT, see.epoch)] if Rule.HALT in see.rules and not see.world.halted else []
    if see.world.halted:
        return []
    step = _acceptance(see)
    if step is not None:
        return [step]
    accepted = see.world.accepted
    if accepted is None:
        return [] if see.world.spec is not None else _orphans(see)
    if not _torn_down(see, accepted) and (fencing := _fencing(see, accepted.life)):
        return fencing
    if accepted.life is not Life.ACTIVE:
        return _removal(see, accepted)
    return _active(see, accepted) or _settle(see)


# --- acceptance.py ---


def _acceptance(see: Reading) -> Request | None:
    spec, old = see.world.spec, see.world.accepted
    revision = old.revision if old is not None else 0
    if spec is None:
        if old is None or old.life is not Life.ACTIVE:
            return None
        life = Life.DELETING if old.deletes else Life.RETAINED
        return _accept(see, revision, (life, old.generation, old.hosts, old.deletes, False))
    if old is not None and (
        old.life is Life.DELETING
        or (old.life is Life.ACTIVE and (old.generation, old.hosts) == (spec.generation, spec.hosts))
    ):
        return None
    return _accept(see, revision, (Life.ACTIVE, spec.generation, spec.hosts, spec.deletes, False))


def _accept(see: Reading, expected: int, body: tuple[object, ...]) -> Request:
    return Request(Kind.ACCEPT, see.epoch, slot=expected, body=body)


# --- fence.py ---


def _fencing(see: Reading, life: Life) -> list[Request]:
    """`raise_fence` and `sweep`, side by side in one frontier as in the code."""
    found: list[Request] = []
    if Rule.F2 in see.rules:
        found += _raise_fence(see, closing=Rule.CLOSING in see.rules and life is not Life.ACTIVE)
    if Rule.F4 in see.rules:
        for slot, one in _instances(see):
            if one.epoch < see.epoch:
                found.append(_update(see, slot, one, (see.epoch, *one[3:])))
    return found


def _raise_fence(see: Reading, *, closing: bool) -> list[Request]:
    fence, body = see.fence, (see.epoch, 0, 0, 0, closing)
    if fence is None:
        return [_create(see, FENCE, body)]
    if fence.tombstone and not closing:
        return [_remove(see, FENCE, fence)]
    return [_update(see, FENCE, fence, body)] if tuple(fence[2:]) != body else []


# --- rollout.py, and the end of plan.py ---


def _active(see: Reading, accepted: Accepted) -> list[Request]:
    wanted = Ask(accepted.incarnation, Ensure.PRESENT)
    found = [_ask(see, wanted)] if see.world.ask != wanted else []
    settled = not found
    for slot in accepted.hosts:
        have = see.services[slot]
        body = (see.epoch, accepted.incarnation, accepted.generation, 1, False)
        if have is None:
            replicas = 0 if Rule.F5 in see.rules else 1
            found.append(_create(see, slot, (*body[:3], replicas, False)))
        elif have.tombstone and Rule.F6_DEAD in see.rules:
            found.append(_remove(see, slot, have))
        elif have.replicas == 0 and not see.world.volumes >> accepted.incarnation & 1:
            settled = False  # the agent has not made the volume
        elif tuple(have[3:]) != body[1:] or (Rule.F4 in see.rules and have.epoch != see.epoch):
            found.append(_update(see, slot, have, body))
    if found or not settled:
        return found
    return [_take_down(see, slot, one) for slot, one in _instances(see) if slot not in accepted.hosts]


def _settle(see: Reading) -> list[Request]:
    """Nothing differs. Say so, once, unless an update of our own may still be under way."""
    accepted, spec = see.world.accepted, see.world.spec
    assert accepted is not None
    for slot, one in enumerate(see.services):
        if one is not None and any(i == one.id and v >= one.version for i, v in see.unseen):
            return [_update(see, slot, one, tuple(one[2:]))]
    up = all((have := see.services[slot]) is not None and have.replicas for slot in accepted.hosts)
    if not up or spec is None or see.world.ready == (see.epoch, spec.revision):
        return []
    return [Request(Kind.READY, see.epoch, body=(spec.revision,))]


# --- removal.py ---


def _torn_down(see: Reading, accepted: Accepted) -> bool:
    if accepted.life is Life.ACTIVE or any(see.services):
        return False
    return accepted.cleared or Rule.CLOSING not in see.rules


def _removal(see: Reading, accepted: Accepted) -> list[Request]:
    running = [_take_down(see, slot, one) for slot, one in _instances(see)]
    if running:
        return running
    if Rule.CLOSING in see.rules and not accepted.cleared:
        return [_accept(see, accepted.revision, (*accepted[:4], True))]
    if accepted.life is Life.RETAINED:
        return [*([_ask(see, None)] if see.world.ask is not None else []), *_drop_fence(see)]
    absent = Ask(accepted.incarnation, Ensure.ABSENT)
    if see.world.ask != absent:
        return [_ask(see, absent)]
    if see.world.volumes >> accepted.incarnation & 1:
        return []  # until the agent has removed it
    return _drop_fence(see) or [Request(Kind.FORGET, see.epoch, slot=accepted.revision)]


def _orphans(see: Reading) -> list[Request]:
    """What arrived after the database was forgotten; nothing that runs is touched."""
    if any(one.replicas for _, one in _instances(see)):
        return []
    return [_take_down(see, slot, one) for slot, one in _instances(see)] or _drop_fence(see)


def _take_down(see: Reading, slot: int, one: Service) -> Request:
    if one.tombstone or Rule.F6 not in see.rules:
        return _remove(see, slot, one)
    return _update(see, slot, one, (see.epoch, one.incarnation, one.generation, 0, True))


def _drop_fence(see: Reading) -> list[Request]:
    fence = see.fence
    if fence is None:
        return []
    if fence.tombstone or Rule.CLOSING not in see.rules:
        return [_remove(see, FENCE, fence)]
    return [_update(see, FENCE, fence, (see.epoch, 0, 0, 0, True))]


# --- requests ---


def _instances(see: Reading) -> list[tuple[int, Service]]:
    return [(slot, one) for slot, one in enumerate(see.services) if slot != FENCE and one is not None]


def _create(see: Reading, slot: int, body: tuple[object, ...]) -> Request:
    return Request(Kind.CREATE, see.epoch, slot, body=body)


def _update(see: Reading, slot: int, have: Service, body: tuple[object, ...]) -> Request:
    return Request(Kind.UPDATE, see.epoch, slot, have.id, have.version, body)


def _remove(see: Reading, slot: int, have: Service) -> Request:
    return Request(Kind.REMOVE, see.epoch, slot, have.id)


def _ask(see: Reading, new: Ask | None) -> Request:
    """The write names what it replaces, as its `expected` revision does."""
    revision = see.world.accepted.revision if see.world.accepted is not None else 0
    return Request(Kind.ASK, see.epoch, revision, body=(see.world.ask or (), new or ()))
