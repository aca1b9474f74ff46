"""Every step that the user, a controller, an agent, the clock or the network may take next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.model import checks
from tests.model.controller import Reading, Rules, plan
from tests.model.environment import arrive, hopeless, in_use
from tests.model.rules import CODE, Rule
from tests.model.state import (
    IDLE,
    NOBODY,
    Controller,
    Ensure,
    Kind,
    Request,
    World,
    newest_epoch,
    normal,
)
from tests.model.users import User, act
from tests.model.words import say


@dataclass(frozen=True)
class Bounds:
    """How large the world may get."""

    script: tuple[User, ...]
    epochs: int = 2
    """Claims that are ever made."""
    network: int = 2
    """Requests under way at once."""
    depth: int = 1
    """How many lists back a stale manager can be."""
    controllers: int = 2
    slots: int = 1
    rules: Rules = CODE
    strict: frozenset[str] = frozenset()
    """Checks that are not part of what the protocol promises; see checks.py."""


class Move(NamedTuple):
    what: str
    after: World
    request: Request | None = None
    wrong: str = ""

    def __str__(self) -> str:
        return self.what if self.request is None else f"{self.what} {say(self.request)}"


def start(bounds: Bounds) -> World:
    nothing = (None,) * (1 + bounds.slots)
    return World(
        revision=0, owner=NOBODY, spec=None, accepted=None, ask=None, ready=(0, 0), halted=False,
        services=nothing, older=(), volumes=0, controllers=(IDLE,) * bounds.controllers, network=(),
        step=0, claims=0, ready_epoch=0, commits=0, incarnations=0, gone=0, backup=None, rewound=False,
    )  # fmt: skip


def moves(world: World, bounds: Bounds) -> Iterator[Move]:
    acted = act(world, bounds.script)
    if acted is not None:
        yield Move(f"user: {acted[0]}", acted[1])
    yield from _claims(world, bounds)
    for index, controller in enumerate(world.controllers):
        if controller.epoch:
            yield from _pass(world, bounds, index)
    yield from _agent(world, bounds)
    yield from _network(world, bounds)


# --- claims: leases that end, processes that die, elections ---


def _claims(world: World, bounds: Bounds) -> Iterator[Move]:
    for index, controller in enumerate(world.controllers):
        if controller.epoch:
            yield Move(f"c{index}: dies", _sorted(_with(world, index, IDLE), bounds))
    if world.owner != NOBODY:
        after = world
        if Rule.DEADLINE in bounds.rules:
            # Past its deadline it never acts on this claim again: it is as good as one that knows nothing.
            after = _with(world, world.owner, IDLE)
        yield Move(f"etcd: the lease of c{world.owner} ends", _sorted(after._replace(owner=NOBODY), bounds))
        return
    epoch = world.revision + 1
    exists = world.spec is not None or world.accepted is not None or any(world.services)
    if not exists or not claimable(world, bounds):
        return
    for index in _distinct(world):
        claimed = _with(world, index, IDLE._replace(epoch=epoch))
        claimed = claimed._replace(revision=epoch, owner=index, claims=world.claims + 1)
        yield Move(f"c{index}: claims, epoch {epoch}", _sorted(claimed, bounds))


def claimable(world: World, bounds: Bounds) -> bool:
    """Whether the bounds leave room for another claim."""
    # Assumed: the word that etcd went back gets through before its revision has caught up.
    unheard = Rule.HALT in bounds.rules and world.rewound and not world.halted
    caught_up = world.revision + 1 >= newest_epoch(world)
    return world.claims < bounds.epochs and not (unheard and caught_up)


def _distinct(world: World) -> list[int]:
    """One of each sort: controllers that know the same are interchangeable."""
    return [n for n, one in enumerate(world.controllers) if one not in world.controllers[:n]]


def _sorted(world: World, bounds: Bounds) -> World:
    """Controllers in a defined order, and no request that has become hopeless."""
    order = sorted(
        range(len(world.controllers)), key=lambda n: (world.controllers[n], n == world.owner), reverse=True
    )
    owner = order.index(world.owner) if world.owner != NOBODY else NOBODY
    return _settled(
        world._replace(controllers=tuple(world.controllers[n] for n in order), owner=owner), bounds
    )


# --- a pass of a controller ---


def _pass(world: World, bounds: Bounds, index: int) -> Iterator[Move]:
    me = world.controllers[index]
    owns = world.owner == index and world.owner_epoch == me.epoch
    if Rule.DEADLINE in bounds.rules and not owns:
        return
    for age, services in enumerate(dict.fromkeys((world.services, *world.older))):
        wanted = plan(Reading(bounds.rules, me.epoch, services, world, me.unseen))
        reading = "reads a stale list" if age else "reads"
        for request in wanted:
            after = _sent(world, bounds, request)
            if after is None:
                continue
            if Rule.UNSEEN in bounds.rules and request.kind is Kind.UPDATE:
                unseen = tuple(sorted({*me.unseen, (request.id, request.version)}))
                after = _with(after, index, me._replace(unseen=unseen))
            yield Move(f"c{index}: {reading}, and sends", _settled(after, bounds), request)


def _sent(world: World, bounds: Bounds, request: Request) -> World | None:
    twice = (Kind.CREATE, Kind.REMOVE_VOLUME)  # the second may find what the first did not
    again = request in world.network and request.kind not in twice
    if again or len(world.network) >= bounds.network:
        return None
    return world._replace(network=tuple(sorted((*world.network, request))))


# --- the agent on the host ---


def _agent(world: World, bounds: Bounds) -> Iterator[Move]:
    ask = world.ask
    if ask is None:
        return
    there = world.volumes >> ask.incarnation & 1
    if ask.ensure is Ensure.PRESENT and not there:
        yield Move(
            f"agent: makes volume {ask.incarnation}",
            world._replace(volumes=world.volumes | 1 << ask.incarnation),
        )
    if ask.ensure is Ensure.ABSENT and there and not in_use(world, ask.incarnation):
        after = _sent(world, bounds, Request(Kind.REMOVE_VOLUME, 0, id=ask.incarnation))
        if after is not None:
            yield Move(f"agent: sends removal of volume {ask.incarnation}", after)


# --- network ---


def _network(world: World, bounds: Bounds) -> Iterator[Move]:
    for request in dict.fromkeys(world.network):
        left = list(world.network)
        left.remove(request)
        without = world._replace(network=tuple(left))
        yield Move("network: loses", _settled(without, bounds, shrunk=True), request)
        after = arrive(without, request, bounds.rules, bounds.depth)
        if after is not None:
            wrong = checks.accepted(without, request, after, bounds.rules, bounds.strict)
            yield Move("network: delivers", _settled(after, bounds, shrunk=True), request, wrong)


def _settled(world: World, bounds: Bounds, *, shrunk: bool = False) -> World:
    """The same world without what can never matter again. `shrunk`: something is gone already."""
    alive = tuple([one for one in world.network if not hopeless(world, one, bounds.rules)])
    if len(alive) != len(world.network):
        world = world._replace(network=alive)
    elif not shrunk:
        return world
    if Rule.UNSEEN in bounds.rules and any(one.unseen for one in world.controllers):
        world = world._replace(controllers=tuple(_remembering(world, one) for one in world.controllers))
    return normal(world)


def _remembering(world: World, controller: Controller) -> Controller:
    lists = (world.services, *world.older)
    shown = {(one.id, one.version) for services in lists for one in services if one is not None}
    return controller._replace(unseen=tuple(pair for pair in controller.unseen if pair in shown))


def _with(world: World, index: int, controller: Controller) -> World:
    found = list(world.controllers)
    found[index] = controller
    return world._replace(controllers=tuple(found))
