"""A newer epoch than our own: we are not the owner any more, or etcd went back. Only etcd can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from crds.halted import Halted
from crds.meta import ConditionStatus, Key
from reconcilers import paths
from reconcilers.actions import Plan, WriteRecords
from reconcilers.database.forecast import forecast, predict
from reconcilers.database.plan import plan
from reconcilers.database.reconciler import DatabaseReconciler
from reconcilers.database.report import report
from reconcilers.errors import OwnershipLost
from reconcilers.observed import Observed
from reconcilers.ports import Fence, Put, Write
from tests.unit.reconcilers.database.scene import database, edited, running

OLD = 5


def behind() -> Observed:
    """The scene's services are labelled with 7."""
    return replace(running(), epoch=OLD)


def halted() -> Observed:
    world = behind()
    [step] = plan(world).actions
    return predict(world, step)


def test_a_newer_epoch_is_written_down_and_nothing_else_is_done() -> None:
    world = behind()
    [step] = plan(world).actions
    assert isinstance(step, WriteRecords)
    [put] = step.writes

    assert isinstance(put, Put)
    assert (put.path, put.expected) == (paths.halted(world.key), 0)
    assert Halted.model_validate_json(put.value) == Halted(epoch=OLD, newest=7, since=world.at)


@pytest.mark.parametrize("epoch", [OLD, 7, 8, 1000])
def test_while_that_is_written_down_nothing_is_done_by_any_owner(epoch: int) -> None:
    """Once revisions have caught up, an epoch no longer tells who came later."""
    for spec in (database(), database(resources={"memory": "4GiB"}), None):
        todo = plan(replace(edited(halted(), spec), epoch=epoch))
        assert todo.actions == ()
        assert [one.reason for one in todo.waiting] == ["EtcdWentBack"]


def test_it_says_what_happened_and_what_to_do() -> None:
    [waiting] = plan(halted()).waiting

    assert "epoch was 5" in waiting.message
    assert "labelled with 7" in waiting.message
    assert "--bump-revision" in waiting.message
    assert "`pgswarm resume orders`" in waiting.message


@pytest.mark.parametrize("todo", [plan(behind()), plan(halted())], ids=["as it is noticed", "later"])
def test_the_status_says_so_and_what_serves_is_ready_all_the_same(todo: Plan) -> None:
    status = report(behind(), todo, None)
    synced, ready = status.condition("Synced"), status.condition("Ready")

    assert synced is not None
    assert (synced.status, synced.reason) == (ConditionStatus.FALSE, "EtcdWentBack")
    assert ready is not None
    assert ready.status is ConditionStatus.TRUE


def test_after_a_person_has_spoken_it_halts_again_or_goes_on() -> None:
    resumed = replace(halted(), halted=None)
    assert [one.kind for one in plan(resumed).actions] == ["halt"]

    _, world = forecast(replace(resumed, epoch=1_000_000_007))
    assert {view.spec.labels["pgswarm.epoch"] for view in world.services.values()} == {"1000000007"}


def test_a_restore_with_the_bump_needs_nobody() -> None:
    loops, _ = forecast(replace(running(), epoch=1_000_000_007))

    assert not [action for loop in loops for action in loop.actions if action.kind == "halt"]


# --- who is not the owner any more ---


class Held:
    epoch, path = OLD, "owners/database/orders"

    def may_act(self) -> bool:
        return True


class Reads:
    async def reached(self, revision: int) -> None:
        return

    async def read(self, key: Key, claim: Held, known: Observed | None = None) -> Observed:
        return behind()


class Refuses:
    """What etcd says to an owner that it does not know any more; beside it nothing may be called."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.store, self.orchestrator = self, None

    @property
    def clock(self) -> Refuses:
        return self

    def monotonic(self) -> float:
        return 0.0

    async def commit(self, writes: Sequence[Write], fences: Sequence[Fence]) -> int:
        assert fences[0] == Fence(Held.path, OLD)
        self.asked += [write.path for write in writes]
        raise OwnershipLost(Held.path)


async def test_whom_etcd_has_deposed_just_steps_down() -> None:
    etcd = Refuses()
    reconciler = DatabaseReconciler(cast(Any, Reads()), cast(Any, etcd), cast(Any, Reads()))

    with pytest.raises(OwnershipLost):
        await reconciler.reconcile(behind().key, Held())
    assert etcd.asked[0] == paths.halted(behind().key)
