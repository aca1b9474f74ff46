"""A dismissed database: what is left of it is believed only from a list that is younger than the dismissal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crds.accepted import Accepted
from reconcilers.actions import Action, CreateService, RemoveService, UpdateService, WriteRecords
from reconcilers.database.forecast import forecast, predict
from reconcilers.database.plan import plan
from reconcilers.observed import Observed
from reconcilers.resources import naming, service
from tests.unit.reconcilers.database.scene import database, edited, running

FENCE = naming.fence("orders")
POLICIES = ("retain", "delete")


def dismissed(policy: str) -> Observed:
    """Accepted as dismissed; nothing else has been done yet."""
    world = edited(running(database(deletion={"policy": policy})), None)
    [step] = plan(world).actions
    return predict(world, step)


def closing(policy: str) -> Observed:
    """The fence has its tombstone."""
    world = dismissed(policy)
    [step] = plan(world).actions
    return predict(world, step)


def written(action: Action) -> Accepted:
    assert isinstance(action, WriteRecords)
    [put] = action.writes
    return Accepted.model_validate_json(put.value)  # type: ignore[union-attr]


@pytest.mark.parametrize("policy", POLICIES)
def test_the_fence_gets_its_tombstone_before_anything_else_happens(policy: str) -> None:
    world = dismissed(policy)
    [first] = plan(world).actions

    assert isinstance(first, UpdateService)
    assert (first.name, first.version) == (FENCE, world.services[FENCE].version)
    assert first.spec.labels[naming.TOMBSTONE] == first.spec.labels[naming.EPOCH] == str(world.epoch)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_list_without_the_tombstone_shows_nothing_however_empty_it_is(policy: str) -> None:
    old = replace(dismissed(policy), services={})
    [first] = plan(old).actions

    assert isinstance(first, CreateService)
    assert (first.name, naming.TOMBSTONE in first.spec.labels) == (FENCE, True)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_tombstone_of_an_older_epoch_shows_nothing_either(policy: str) -> None:
    world = closing(policy)
    later = replace(world, epoch=world.epoch + 1, services={FENCE: world.services[FENCE]})
    [first] = plan(later).actions

    assert isinstance(first, UpdateService)
    assert first.spec.labels[naming.TOMBSTONE] == str(later.epoch)


@pytest.mark.parametrize("policy", POLICIES)
def test_that_no_service_is_left_is_written_down_before_anything_else_goes(policy: str) -> None:
    world = closing(policy)
    empty = replace(world, services={FENCE: world.services[FENCE]})
    [first] = plan(empty).actions
    assert isinstance(first, WriteRecords)
    assert [write.expected for write in first.writes] == [world.accepted_revision]

    after = written(first)
    assert after.cleared
    assert world.accepted is not None
    assert after.state == world.accepted.state
    assert all(not isinstance(action, RemoveService) for action in plan(empty).actions)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_fence_goes_only_after_that_and_nothing_is_left(policy: str) -> None:
    loops, end = forecast(dismissed(policy))
    done = [action for loop in loops for action in loop.actions]
    noted = next(n for n, one in enumerate(done) if one.detail == "no service is left")
    gone = next(n for n, one in enumerate(done) if isinstance(one, RemoveService) and one.name == FENCE)

    assert noted < gone
    assert [one.name for one in done if one.kind == "fence"] == [FENCE, FENCE]
    assert (end.services, end.networks, end.secrets, end.configs) == ({}, {}, {}, {})


def test_a_retained_database_is_left_alone_also_by_another_owner() -> None:
    _, end = forecast(dismissed("retain"))

    assert plan(end).actions == plan(replace(end, epoch=end.epoch + 1)).actions == ()


def test_what_comes_late_to_a_retained_database_goes_behind_a_new_fence() -> None:
    _, end = forecast(dismissed("retain"))
    name, late = next((name, view) for name, view in running().services.items() if name != FENCE)
    inert = replace(late, spec=service.inert(late.spec))
    loops, after = forecast(replace(end, services={name: inert}))

    [fence] = loops[0].actions
    assert isinstance(fence, CreateService)
    assert naming.TOMBSTONE in fence.spec.labels
    assert after.services == {}


def test_a_fence_with_a_tombstone_is_never_adopted() -> None:
    """Whoever put it there may remove the fence at any time."""
    world = closing("retain")
    back = edited(replace(world, services={FENCE: world.services[FENCE]}), database())
    [accept] = plan(back).actions
    assert not written(accept).cleared

    adopted = predict(back, accept)
    [finish] = plan(adopted).actions
    assert isinstance(finish, RemoveService)
    assert finish.service_id == world.services[FENCE].id
    [anew] = plan(predict(adopted, finish)).actions
    assert isinstance(anew, CreateService)
    assert naming.TOMBSTONE not in anew.spec.labels


def test_what_was_cleared_before_it_was_adopted_does_not_count_when_it_is_dismissed_again() -> None:
    _, end = forecast(dismissed("retain"))
    assert end.accepted is not None
    assert end.accepted.cleared
    _, again = forecast(edited(end, database()))
    gone = edited(again, None)
    [step] = plan(gone).actions

    assert not written(step).cleared
