"""Breadth-first search over all worlds: the shortest way to something wrong, and whether the end stays reachable."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from tests.model.moves import Bounds, claimable, moves, start
from tests.model.state import World

Progress = Callable[[int, int, int, float], None]
"""Called with states, transitions, states that wait to be looked at, and seconds since the beginning."""
PROGRESS_S = 2.0


@dataclass(frozen=True)
class Found:
    """What a search came to."""

    states: int
    transitions: int
    seconds: float
    complete: bool
    """Everything was looked at; False: something wrong was found, or the limit was reached."""
    wrong: str = ""
    trace: tuple[str, ...] = ()
    """The steps to what is wrong, or to a state that is stuck."""
    ends: int = 0
    stuck: int = 0


class _Graph:
    """States by number, in the order in which they were met; transitions as two parallel arrays of numbers."""

    def __init__(self, first: World) -> None:
        self.numbers: dict[World, int] = {first: 0}
        self.states: list[World] = [first]
        self.parents = array("l", [-1])
        self.sources, self.targets = array("l"), array("l")
        self.transitions = 0

    def add(self, source: int, world: World) -> None:
        self.transitions += 1
        target = self.numbers.setdefault(world, len(self.states))
        if target == len(self.states):
            self.states.append(world)
            self.parents.append(source)
        if target != source:
            self.sources.append(source)
            self.targets.append(target)

    def path(self, number: int, bounds: Bounds) -> list[str]:
        """The steps to a state; found again by repeating them, so that no step has to be kept."""
        chain = [number]
        while self.parents[chain[-1]] >= 0:
            chain.append(self.parents[chain[-1]])
        chain.reverse()
        return [
            next(str(move) for move in moves(self.states[a], bounds) if move.after == self.states[b])
            for a, b in pairwise(chain)
        ]


def search(
    bounds: Bounds,
    end: Callable[[World], bool],
    *,
    limit: int = 10_000_000,
    liveness: bool = True,
    progress: Progress | None = None,
) -> Found:
    """
    Look at every world that can be reached.

    Args:
        end: Whether a world is as the user wants it in the end.
        limit: Stop after so many states.
        liveness: Also look for worlds from which the end cannot be reached though there can still be an owner.
    """
    began_s = told_s = time.monotonic()
    graph = _Graph(start(bounds))
    number = 0
    while number < len(graph.states) <= limit:
        for move in moves(graph.states[number], bounds):
            if move.wrong:
                trace = (*graph.path(number, bounds), str(move))
                seconds = time.monotonic() - began_s
                return Found(len(graph.states), graph.transitions, seconds, False, move.wrong, trace)
            graph.add(number, move.after)
        number += 1
        if progress is not None and not number % 512 and time.monotonic() - told_s >= PROGRESS_S:
            told_s = time.monotonic()
            progress(len(graph.states), graph.transitions, len(graph.states) - number, told_s - began_s)
    complete = number == len(graph.states)
    ends, stuck = _reachable(graph, bounds, end) if complete and liveness else (0, [])
    return Found(
        len(graph.states),
        graph.transitions,
        time.monotonic() - began_s,
        complete,
        trace=tuple(graph.path(stuck[0], bounds)) if stuck else (),
        ends=ends,
        stuck=len(stuck),
    )


def _reachable(graph: _Graph, bounds: Bounds, end: Callable[[World], bool]) -> tuple[int, list[int]]:
    """How many states are an end, and the states from which none can be reached though it should be (AG EF)."""
    order, into = _backwards(graph)
    good = bytearray(len(graph.states))
    todo = [number for number, world in enumerate(graph.states) if end(world)]
    ends = len(todo)
    for number in todo:
        good[number] = 1
    while todo:
        number = todo.pop()
        for position in range(into[number], into[number + 1]):
            source = order[position]
            if not good[source]:
                good[source] = 1
                todo.append(source)
    return ends, [n for n, world in enumerate(graph.states) if not good[n] and _may_be_owned(world, bounds)]


def _backwards(graph: _Graph) -> tuple[array[int], array[int]]:
    """The transitions sorted by target: sources, and where each target's begin."""
    into = array("l", bytes(array("l").itemsize * (len(graph.states) + 1)))
    for target in graph.targets:
        into[target + 1] += 1
    for number in range(len(graph.states)):
        into[number + 1] += into[number]
    free, order = array("l", into), array("l", bytes(array("l").itemsize * len(graph.targets)))
    for source, target in zip(graph.sources, graph.targets, strict=True):
        order[free[target]] = source
        free[target] += 1
    return order, into


def _may_be_owned(world: World, bounds: Bounds) -> bool:
    return claimable(world, bounds) or (
        world.owner >= 0 and world.controllers[world.owner].epoch == world.owner_epoch
    )
