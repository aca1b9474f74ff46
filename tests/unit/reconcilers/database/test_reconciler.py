"""What a pass waits for, and how often the same thing is done."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, cast

import pytest

from crds.meta import Key
from reconcilers.actions import CreateNetwork, CreateService, UpdateService, Why, WriteRecords
from reconcilers.database.pace import ABSENT_PAUSE_MAX_S, FREE, PAUSE_MAX_S, WINDOW_S, Pace
from reconcilers.database.reconciler import DatabaseReconciler
from reconcilers.ports import NetworkSpec, Put, ServiceSpec

KEY = Key("database", "orders")


class Reached(Exception):
    """The pass asked the mirror for this revision, and got no further."""


class Behind:
    """A mirror that is never far enough."""

    async def reached(self, revision: int) -> None:
        raise Reached(revision)


class Held:
    epoch, path = 4711, "owners/database/orders"

    def may_act(self) -> bool:
        return True


async def test_a_new_owner_first_sees_all_that_was_written_before_it_became_the_owner() -> None:
    """Its mirror may be older than its claim, and then shows what the owner before it has long changed."""
    reconciler = DatabaseReconciler(cast(Any, None), cast(Any, None), cast(Any, Behind()))

    with pytest.raises(Reached, match="4711"):
        await reconciler.reconcile(KEY, Held())


def update(version: int, image: str = "a") -> UpdateService:
    return UpdateService(
        kind="service",
        name="orders-n1-abc234",
        why=Why.DRIFTED,
        service_id="s1",
        version=version,
        spec=ServiceSpec(name="orders-n1-abc234", labels={}, image=image),
    )


def write(value: str, expected: int) -> WriteRecords:
    put = Put("patroni/orders-n1/config", value.encode(), expected=expected)
    return WriteRecords(kind="config", name="orders-n1", why=Why.DRIFTED, writes=(put,))


@pytest.mark.parametrize("again", [update, lambda n: write("x", n)], ids=["service", "record"])
def test_the_same_thing_is_free_a_few_times_and_then_ever_more_seldom(
    again: Callable[[int], UpdateService | WriteRecords],
) -> None:
    pace, now_s, at = Pace(), 0.0, []
    for number in range(FREE + 12):
        action = again(number)
        now_s += pace.wait_s(KEY, [action], now_s)
        assert pace.due(KEY, [action], now_s) == (action,)
        pace.note(KEY, [action], now_s)
        at.append(now_s)
    pauses = [later - earlier for earlier, later in itertools.pairwise(at)]

    assert pauses[: FREE - 1] == [0.0] * (FREE - 1)
    assert pauses[FREE - 1 : FREE + 3] == [1.0, 2.0, 4.0, 8.0]
    assert max(pauses) == PAUSE_MAX_S


def test_a_service_that_somebody_removes_again_and_again_is_soon_back_each_time() -> None:
    pace = Pace()
    spec = ServiceSpec(name="orders-n1-abcdef", labels={}, image="")
    action = CreateService(kind="service", name=spec.name, why=Why.ABSENT, spec=spec)
    for _ in range(FREE + 20):
        pace.note(KEY, [action], 100.0)

    assert 0 < pace.wait_s(KEY, [action], 100.0) <= ABSENT_PAUSE_MAX_S


def test_what_is_new_never_waits_for_what_is_repeated() -> None:
    pace = Pace()
    for number in range(FREE + 3):
        pace.note(KEY, [update(number)], 0.0)
    network = CreateNetwork(
        kind="network", name="orders-net", why=Why.ABSENT, spec=NetworkSpec("orders-net", {}, "10.0.0.0/26")
    )

    assert pace.due(KEY, [update(99), update(99, "b"), network], 0.5) == (update(99, "b"), network)


def test_a_long_while_without_it_makes_it_new_again() -> None:
    pace = Pace()
    for number in range(FREE + 3):
        pace.note(KEY, [update(number)], 0.0)

    assert pace.due(KEY, [update(9)], WINDOW_S) == (update(9),)
