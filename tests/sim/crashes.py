"""
Everything that may happen to a process at each of its calls, one at a time, in one scenario.

The scenario is played once without a fault; at each crossing the run forks into one child a fault. Each child must
end as the first run did: the same objects and records, the same ones made and removed, one bootstrap.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from controlplane.main import PASS_DEADLINE_S
from tests.sim.forks import Forks
from tests.sim.world import Crossing, Fault, World, cluster

Step = Callable[[World], Awaitable[None]]
QUIET_S = 30.0
TTL_S = 10.0
HANGS_S = 1.5 * PASS_DEADLINE_S
SOON_S, LATE_S = 1.0, 1.5 * TTL_S
"""A process that is back before its lease has ended, and one whose databases have found another owner by then."""


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    before: Step
    """Brings the world to where the scenario begins; nothing happens to it yet."""
    act: Step
    """What people or hosts do, and what must come of it."""
    racy: bool = False
    """What is made on the way depends on how far it had come when somebody changed their mind: only the end counts."""


@dataclass(frozen=True, slots=True)
class End:
    """What two runs that ended alike have in common, and what tells runs apart that did not need to do the same."""

    state: dict[str, Any]
    made: Counter[str]
    bootstraps: int
    effects: int = 0
    crossings: int = 0


@dataclass(slots=True)
class Verdict:
    scenario: str
    effects: int = 0
    crossings: int = 0
    runs: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """By plan: what was different."""


Plans = Callable[[Crossing], Iterator[tuple[str, Fault]]]


def at_effects(crossing: Crossing) -> Iterator[tuple[str, Fault]]:
    """Death before the effect, or after it; then the same host's process goes on, or another's. Lost answers."""
    if crossing.effect is None:
        return
    where = f"{crossing.moment} effect {crossing.effect} ({crossing.client} {crossing.what})"
    yield f"dies {where}, back soon", Fault("dies", SOON_S)
    yield f"dies {where}, another goes on", Fault("dies", LATE_S)
    yield f"no answer {where}", Fault("fails", 0.0)


def standstills(crossing: Crossing) -> Iterator[tuple[str, Fault]]:
    """
    At each effect: the process is stopped until its lease has just ended, and until long after; the call has no answer
    until its pass is cancelled.
    """
    if crossing.effect is None:
        return
    where = f"{crossing.moment} effect {crossing.effect} ({crossing.client} {crossing.what})"
    yield f"stops {where}", Fault("stops", TTL_S + 1.0)
    yield f"stops for long {where}", Fault("stops", 3 * TTL_S)
    yield f"hangs {where}", Fault("hangs", HANGS_S)


def deaths(crossing: Crossing) -> Iterator[tuple[str, Fault]]:
    """Death at each effect, and the same host's process goes on."""
    if crossing.effect is not None:
        where = f"{crossing.moment} effect {crossing.effect} ({crossing.client} {crossing.what})"
        yield f"dies {where}", Fault("dies", SOON_S)


def each(every: int, first: int, plans: Plans) -> Plans:
    """Only for each `every`th effect, from effect `first` on."""

    def some(crossing: Crossing) -> Iterator[tuple[str, Fault]]:
        if crossing.effect is not None and crossing.effect % every == first % every:
            yield from plans(crossing)

    return some


def together(*many: Plans) -> Plans:
    return lambda crossing: (plan for plans in many for plan in plans(crossing))


def at_awaits(every: int) -> Plans:
    """
    At each `every`th crossing: everything is cancelled; calls do not arrive, or the process is stopped, for longer
    than the lease lasts.

    Of two crossings at once only the first is cancelled, as both are one run: to cancel is to ask the loop to do it in
    its next round, nothing looks at that before, and what the loop was asked for is the same, in the same order. So it
    is with a call that is answered at once and tells nobody, such as every read: cancelled before it, or after it.
    """

    def plans(crossing: Crossing) -> Iterator[tuple[str, Fault]]:
        if crossing.number % every:
            return
        where = f"{crossing.moment} call {crossing.number} ({crossing.client} {crossing.what})"
        if not crossing.at_once or every > 1:
            yield f"cancelled {where}", Fault("cancelled", SOON_S)
        yield f"stands {where}", Fault("stands", TTL_S + 1.0)
        if crossing.effect is None:
            yield f"stops {where}", Fault("stops", TTL_S + 1.0)

    return plans


def explore(scenario: Scenario, plans: Plans, *, double: bool = False, workers: int = 0) -> Verdict:
    """Play it, and once more for every plan. `double`: and in each of those once more for every plan after it."""
    verdict = Verdict(scenario.name)
    forks: Forks[End] = Forks(workers or os.cpu_count() or 1)

    async def story() -> End:
        async with cluster() as world:
            await scenario.before(world)
            first, crossed = len(world.effects), world.crossings

            def fault(crossing: Crossing) -> Fault | None:
                for label, one in plans(_relative(crossing, first, crossed)):
                    if forks.branch(label):
                        if not double or len(world.struck) > 0:
                            world.fault = lambda _: None
                        return one
                return None

            world.fault = fault
            await scenario.act(world)
            effects, crossings = len(world.effects) - first, world.crossings - crossed
            world.fault = lambda _: None
            # Who hangs, or is stopped, is quiet, too.
            await world.clock.sleep(world.over_at_s - world.clock.monotonic())
            await world.quiet(QUIET_S)
            return End(world.end_state(), world.made(), len(world.patroni.bootstraps), effects, crossings)

    wanted = forks.play(story)
    verdict.effects, verdict.crossings, verdict.runs = wanted.effects, wanted.crossings, len(forks.ended)
    for end in forks.ended:
        wrong = end.error or "\n".join(_difference(wanted, end.value, counts=not scenario.racy))
        if wrong:
            verdict.failed[end.label] = wrong
    return verdict


def _relative(crossing: Crossing, effects: int, crossings: int) -> Crossing:
    """Counted from where the scenario begins, so that its beginning may change."""
    effect = None if crossing.effect is None else crossing.effect - effects
    return replace(crossing, number=crossing.number - crossings, effect=effect)


def _difference(wanted: End, found: End | None, *, counts: bool) -> Iterator[str]:
    """What is only in one of the two."""
    if found is None:
        yield "it did not say how it ended"
        return
    ours, theirs = set(_lines(wanted.state)), set(_lines(found.state))
    yield from (f"- {one}" for one in sorted(ours - theirs))
    yield from (f"+ {one}" for one in sorted(theirs - ours))
    if not counts:
        return
    if found.bootstraps != wanted.bootstraps:
        yield f"{found.bootstraps} bootstraps instead of {wanted.bootstraps}"
    for name in sorted({*wanted.made, *found.made}):
        if wanted.made[name] != found.made[name]:
            yield f"{name}: {found.made[name]} times instead of {wanted.made[name]}"


def _lines(state: dict[str, Any]) -> Iterator[str]:
    for kind, many in state.items():
        for one in many.items() if isinstance(many, dict) else many:
            yield f"{kind}: {one!r}"
