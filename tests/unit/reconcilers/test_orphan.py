"""What the Swarm holds of databases that no record knows: what of it may go, and in which order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from reconcilers.actions import RemoveService, UpdateService
from reconcilers.database.forecast import forecast
from reconcilers.database.plan import plan
from reconcilers.observed import Observed, SpecReading
from reconcilers.ports import BlobView, NetworkView, ServiceSpec, ServiceView, SwarmView
from reconcilers.resources import naming, orphan, service
from tests.unit.reconcilers.database.scene import empty, instance, running

FIRST = instance("host-1")
OURS = {naming.CLUSTER: "default", naming.DATABASE: "orders"}
REVISION = 100
NOTHING = SwarmView(at_s=0.0, services=(), networks=(), secrets=(), configs=(), nodes=(), tasks=())


def one(replicas: int = 0, epoch: int = 7, **labels: str) -> ServiceView:
    """An inert service, as a late create makes it; `labels` without their prefix."""
    more = {f"{naming.LABEL}{name}": value for name, value in labels.items()}
    spec = ServiceSpec(
        name=FIRST, labels={**OURS, naming.EPOCH: str(epoch), **more}, image="x", replicas=replicas
    )
    return ServiceView("s1", 4, spec)


def secret(labels: Mapping[str, str]) -> BlobView:
    return BlobView("b1", "orders-secret", labels)


def found(**fields: Any) -> orphan.Orphans:
    return orphan.find(replace(NOTHING, **fields), "default", lambda name: name == "shop", REVISION)


@pytest.mark.parametrize(
    "fields",
    [
        {"services": (one(),)},
        {"networks": (NetworkView("n1", "orders-net", OURS, "overlay", "swarm", ()),)},
        {"secrets": (secret(OURS),)},
        {"configs": (secret(OURS),)},
        {"services": (one(activated="yes", tombstone="3"),)},
    ],
    ids=["an inert service", "a network", "a secret", "a config", "a service whose removal had begun"],
)
def test_whatever_no_record_knows_and_nothing_runs_of_is_an_orphan(fields: dict[str, Any]) -> None:
    assert found(**fields) == orphan.Orphans(idle=frozenset({"orders"}))


@pytest.mark.parametrize(
    "view",
    [one(replicas=1), one(activated="yes"), one(epoch=REVISION + 1), one(replicas=1, tombstone="3")],
    ids=["it runs", "it was scaled down by hand", "etcd went back behind it", "it was scaled up again"],
)
def test_of_what_ever_ran_not_even_an_unused_secret_is_one(view: ServiceView) -> None:
    assert found(services=(view,), secrets=(secret(OURS),)) == orphan.Orphans(alive=frozenset({"orders"}))


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {naming.DATABASE: "orders"},
        {naming.CLUSTER: "default"},
        {**OURS, naming.CLUSTER: "other"},
        {**OURS, naming.DATABASE: "shop"},
        {**OURS, naming.DATABASE: ""},
        {**OURS, naming.DATABASE: "../orders"},
        {**OURS, naming.DATABASE: "a/b"},
    ],
)
def test_what_is_not_ours_or_known_or_has_no_possible_name_is_none(labels: Mapping[str, str]) -> None:
    assert found(secrets=(secret(labels),)) == orphan.Orphans()


# --- the plan -------------------------------------------------------------------------------------------


def left(**fields: Any) -> Observed:
    """All that a running database consists of, inert, and no record of it."""
    was = running()
    services = {
        name: ServiceView(view.id, view.version, service.inert(view.spec))
        for name, view in was.services.items()
    }
    objects = {"networks": was.networks, "secrets": was.secrets, "configs": was.configs}
    return replace(empty(None), **{"services": services, **objects, **fields})


def test_services_get_a_tombstone_then_go_by_id_and_what_they_used_goes_last() -> None:
    loops, world = forecast(left())

    assert [{type(action).__name__ for action in loop.actions} for loop in loops] == [
        {"UpdateService"},
        {"RemoveService"},
        {"UpdateService"},
        {"RemoveService"},
        {"RemoveNetwork", "RemoveBlob"},
    ]
    updates = (action for loop in loops for action in loop.actions)
    tombstones = [action for action in updates if isinstance(action, UpdateService)]
    assert all(naming.TOMBSTONE in action.spec.labels for action in tombstones)
    assert all(action.version == left().services[action.name].version for action in tombstones)
    for late in loops[2:4]:
        assert [action.name for action in late.actions] == [naming.fence("orders")]
    assert (world.services, world.networks, world.secrets, world.configs) == ({}, {}, {}, {})


def test_no_record_is_written_for_it() -> None:
    assert not any(action.kind == "database" for loop in forecast(left())[0] for action in loop.actions)


def test_a_fence_alone_goes_the_same_way() -> None:
    fence = naming.fence("orders")
    loops, _ = forecast(left(services={fence: left().services[fence]}))
    done = [(type(action), action.name) for loop in loops[:2] for action in loop.actions]

    assert done == [(UpdateService, fence), (RemoveService, fence)]


def test_of_a_database_that_runs_without_a_record_nothing_is_planned() -> None:
    assert plan(left(services=running().services)).actions == ()


def test_one_service_that_was_scaled_down_by_hand_keeps_all_the_others() -> None:
    services = left().services
    activated = {**services[FIRST].spec.labels, naming.ACTIVATED: "yes"}
    scaled = ServiceView("s1", 9, replace(services[FIRST].spec, labels=activated))

    assert plan(left(services={**services, FIRST: scaled})).actions == ()


def test_with_a_newer_epoch_on_it_nothing_is_collected() -> None:
    assert [action.kind for action in plan(replace(left(), epoch=6)).actions] == ["halt"]


def test_while_a_spec_is_there_however_invalid_nothing_is_collected() -> None:
    assert plan(left(spec=SpecReading(revision=101))).actions == ()
