"""An update of our own that no list has shown yet: nothing counts as done before it has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crds.meta import Key
from reconcilers.actions import UpdateService, Why
from reconcilers.database.plan import plan
from reconcilers.database.unseen import SERVICES_MAX, Unseen
from reconcilers.ports import ServiceSpec, ServiceView
from reconcilers.resources import naming
from tests.unit.reconcilers.database.scene import database, edited, instance, running

KEY = Key("database", "orders")
FIRST = instance("host-1")


def update(version: int, identity: str = "s1") -> UpdateService:
    spec = ServiceSpec(name=identity, labels={}, image="a")
    return UpdateService(
        kind="service", name=identity, why=Why.DRIFTED, service_id=identity, version=version, spec=spec
    )


def shows(version: int) -> dict[str, ServiceView]:
    return {"orders-n1-abc234": ServiceView("s1", version, ServiceSpec(name="x", labels={}, image="a"))}


@pytest.mark.parametrize(("version", "unseen"), [(6, {"s1"}), (7, {"s1"}), (8, set()), (12, set())])
def test_a_list_counts_only_with_a_newer_version_than_the_update_was_for(
    version: int, unseen: set[str]
) -> None:
    memory = Unseen()
    memory.sending(KEY, 1, [update(7)])

    assert memory.among(KEY, 1, shows(version)) == unseen


def test_also_after_it_was_seen_an_older_list_does_not_count() -> None:
    memory = Unseen()
    memory.sending(KEY, 1, [update(7)])
    assert memory.among(KEY, 1, shows(8)) == set()

    assert memory.among(KEY, 1, shows(7)) == {"s1"}


def test_the_newest_update_counts_in_whatever_order_they_are_told() -> None:
    memory = Unseen()
    memory.sending(KEY, 1, [update(7)])
    memory.sending(KEY, 1, [update(3)])

    assert memory.among(KEY, 1, shows(7)) == {"s1"}


def test_under_another_epoch_or_name_nothing_is_remembered() -> None:
    memory = Unseen()
    memory.sending(KEY, 1, [update(7)])

    assert memory.among(KEY, 2, shows(7)) == set()
    assert memory.among(Key("database", "shop"), 1, shows(7)) == set()
    memory.forget(KEY)
    assert memory.among(KEY, 1, shows(7)) == set()


def test_the_memory_is_bounded() -> None:
    memory = Unseen()
    memory.sending(KEY, 1, [update(7)])
    memory.sending(KEY, 1, [update(1, f"other{number}") for number in range(SERVICES_MAX - 1)])
    assert memory.among(KEY, 1, shows(7)) == {"s1"}

    memory.sending(KEY, 1, [update(1, "one-more")])
    assert memory.among(KEY, 1, shows(7)) == set()


@pytest.mark.parametrize("name", [FIRST, naming.fence("orders")])
def test_a_service_that_looks_right_is_written_again_while_an_update_of_it_is_unseen(name: str) -> None:
    world = running()
    assert plan(world).actions == ()
    [again] = plan(replace(world, unseen=frozenset({world.services[name].id}))).actions

    assert isinstance(again, UpdateService)
    assert again.service_id == world.services[name].id
    assert (again.version, again.spec) == (world.services[name].version, world.services[name].spec)


def test_what_differs_anyway_comes_first() -> None:
    world = edited(running(), database(resources={"memory": "4GiB"}))
    usual = plan(world).actions

    assert usual
    assert plan(replace(world, unseen=frozenset({world.services[FIRST].id}))).actions == usual
