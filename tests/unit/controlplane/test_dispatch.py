"""Which keys a changed record wakes."""

from __future__ import annotations

import json

import pytest

from controlplane.dispatch import Dispatch
from crds.meta import Key
from tests.sim.agent_host import Etcd, Mirror

ORDERS = Key("database", "orders")
MEMBER = "patroni/orders-n1/members/orders-n1-abc234"
LOCAL = "desired/host-1/orders-n1-abc234"
INSTANCE = Key("instance", "orders-n1-abc234")


@pytest.fixture
def etcd() -> Etcd:
    return Etcd()


@pytest.fixture
def dispatch(etcd: Etcd) -> Dispatch:
    return Dispatch("host-1", Mirror(etcd))


@pytest.mark.parametrize(
    ("path", "databases", "instances"),
    [
        ("specs/database/orders", [ORDERS], []),
        ("accepted/database/orders", [ORDERS], []),
        ("secrets/database/orders/role-app", [ORDERS], []),
        ("confirmations/deletion/database/orders", [ORDERS], []),
        ("halted/database/orders", [ORDERS], []),
        ("desired/host-1/orders-n1-abc234", [ORDERS], [INSTANCE]),
        ("desired/host-2/orders-n1-abc234", [ORDERS], []),
        ("observed/host-2/orders-n1-abc234", [ORDERS], []),
        ("accounts/instance-orders-n1-abc234", [ORDERS], []),
        ("patroni/orders-n1/leader", [ORDERS], []),
        ("patroni/orders-n1/history", [], []),
        ("patroni/orders-n1/status", [], []),
        ("status/database/orders", [], []),
        ("events/database/orders/1", [], []),
        ("patroni/somebody-elses/leader", [], []),
    ],
)
def test_who_has_to_look_again(
    dispatch: Dispatch, path: str, databases: list[Key], instances: list[Key]
) -> None:
    wakes = dispatch.wakes(path)

    assert (list(wakes.databases), list(wakes.instances), wakes.everything) == (databases, instances, False)


def test_a_host_concerns_everybody(dispatch: Dispatch) -> None:
    assert dispatch.wakes("hosts/host-2").everything


def test_patronis_records_wake_the_instances_of_their_scope_on_this_host(
    dispatch: Dispatch, etcd: Etcd
) -> None:
    etcd.put(LOCAL, b"{}")
    etcd.put("desired/host-2/orders-n1-zzz234", b"{}")

    assert dispatch.wakes("patroni/orders-n1/leader").instances == (INSTANCE,)


def _member(etcd: Etcd, **fields: object) -> None:
    etcd.put(MEMBER, json.dumps({"state": "running", "xlog_location": 1, **fields}).encode())


def test_a_member_that_only_moved_on_in_the_wal_wakes_nobody(dispatch: Dispatch, etcd: Etcd) -> None:
    _member(etcd)
    assert dispatch.wakes(MEMBER).databases == (ORDERS,)
    _member(etcd, xlog_location=2)
    assert dispatch.wakes(MEMBER).databases == ()
    _member(etcd, xlog_location=2, state="stopping")
    assert dispatch.wakes(MEMBER).databases == (ORDERS,)


def test_after_a_gap_nothing_counts_as_seen(dispatch: Dispatch, etcd: Etcd) -> None:
    """In the gap it may have been something else, of which only the look at everything knew."""
    _member(etcd)
    dispatch.wakes(MEMBER)
    dispatch.forget()

    assert dispatch.wakes(MEMBER).databases == (ORDERS,)
