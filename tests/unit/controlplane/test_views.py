"""Records to views: what is shown, and that no secret is."""

from __future__ import annotations

import json

import pytest

from controlplane.api import views
from crds import text
from crds.meta import Key
from reconcilers import paths
from reconcilers.ports import Record, Records
from tests.unit.controlplane import shown

SCRAM = (
    "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$"
    "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI="
)


class Mirror:
    """`ports.Records` over a dict; each record has its place as revision."""

    def __init__(self, values: dict[str, bytes]) -> None:
        self._records = {
            path: Record(path, value, n, n) for n, (path, value) in enumerate(values.items(), start=2)
        }
        self.revision = len(values) + 1

    def get(self, path: str) -> Record | None:
        return self._records.get(path)

    def under(self, prefix: str) -> list[Record]:
        return [self._records[path] for path in sorted(self._records) if path.startswith(prefix)]

    async def reached(self, revision: int) -> None:
        return None


def filled() -> Records:
    return Mirror(
        {
            paths.spec(shown.KEY): shown.SPEC,
            paths.accepted(shown.KEY): shown.accepted().model_dump_json().encode(),
            paths.status(shown.KEY): shown.status().model_dump_json().encode(),
            f"{paths.events(shown.KEY)}01B": shown.event("Second", "b", "11:02:00"),
            f"{paths.events(shown.KEY)}01A": shown.event("First", "a", "11:01:00"),
            **shown.PATRONI,
            paths.host("host-1"): shown.host("host-1", 1),
            paths.desired("host-3", "orders-n1-cccccc"): b"{}",
        }
    )


def test_a_database_is_shown_with_spec_status_and_events_in_order() -> None:
    view = views.database(filled(), "orders")

    assert view is not None
    assert (view.metadata.name, view.metadata.labels, view.metadata.revision) == (
        "orders",
        {"team": "shop"},
        2,
    )
    assert (view.state, view.accepted_revision) == ("active", 2)
    assert view.status == shown.positioned(shown.status())
    assert [event.reason for event in view.events] == ["First", "Second"]
    assert (view.spec or {})["nodes"][0]["hosts"] == ["host-1", "host-2", "host-3"]


def test_lists_hold_everything_without_events() -> None:
    found = views.databases(filled())

    assert [(view.metadata.name, view.events) for view in found.items] == [("orders", ())]
    assert found.items[0].status == shown.status()


def told(**members: bytes) -> dict[str, tuple[str | None, int | None]]:
    """Tag of an instance -> LSN and lag, with these member records (and the leader's key) in etcd."""
    records = {paths.patroni("orders-n1", f"members/orders-n1-{tag}"): body for tag, body in members.items()}
    records[paths.patroni("orders-n1", "leader")] = b"orders-n1-aaaaaa"
    # Of another database, whose name only begins like ours.
    records[paths.patroni("orders-n1-n1", "members/orders-n1-aaaaaa")] = b'{"xlog_location": 1}'
    view = views.database(
        Mirror({paths.status(shown.KEY): shown.status().model_dump_json().encode(), **records}), "orders"
    )
    assert view is not None
    return {one.name[-6:]: (one.lsn, one.lag_bytes) for one in view.status.nodes[0].instances}


def test_positions_are_those_that_patroni_told_last() -> None:
    found = told(aaaaaa=b'{"xlog_location": 4294967312}', bbbbbb=b'{"xlog_location": 4294967296}')

    assert found == {"aaaaaa": ("1/10", None), "bbbbbb": ("1/0", 16), "cccccc": (None, None)}


def test_a_replica_that_told_later_than_the_primary_is_not_ahead_of_it() -> None:
    found = told(aaaaaa=b'{"xlog_location": 100}', bbbbbb=b'{"xlog_location": 200}')

    assert found["bbbbbb"] == ("0/C8", 0)


@pytest.mark.parametrize("silent", [b"{}", b"[]", b"\xff", b'{"xlog_location": "x"}'])
def test_without_the_primarys_position_no_lag_is_known(silent: bytes) -> None:
    found = told(aaaaaa=silent, bbbbbb=b'{"xlog_location": 16}')

    assert (found["aaaaaa"], found["bbbbbb"]) == ((None, None), ("0/10", None))


@pytest.mark.parametrize("root", [paths.SPECS, paths.ACCEPTED, paths.STATUS])
def test_a_database_of_which_only_one_record_is_left_is_still_shown(root: str) -> None:
    full = filled()
    record = full.get(f"{root}database/orders")
    assert record is not None

    alone = Mirror({record.path: record.value})

    assert [view.metadata.name for view in views.databases(alone).items] == ["orders"]


def test_an_unknown_name_is_none() -> None:
    assert views.database(filled(), "nobody") is None
    assert views.host(filled(), "nobody") is None


def test_only_the_latest_events_are_shown() -> None:
    many = {f"{paths.events(shown.KEY)}{n:03d}": shown.event(f"R{n:03d}", "", "11:00:00") for n in range(100)}
    view = views.database(Mirror({paths.spec(shown.KEY): shown.SPEC, **many}), "orders")

    assert view is not None
    assert [event.reason for event in view.events] == [f"R{n:03d}" for n in range(80, 100)]


@pytest.mark.parametrize("broken", [b"", b"\xff\xfe", b"[]", b'{"phase": 7}'])
def test_records_that_cannot_be_read_break_nothing(broken: bytes) -> None:
    everything = {record.path: broken for record in filled().under("")}
    mirror = Mirror(everything)
    view = views.database(mirror, "orders")

    assert view is not None
    assert view.status.phase == "Unknown"
    assert [item.metadata.name for item in views.hosts(mirror).items] == ["host-1", "host-3"]


def test_what_a_newer_process_wrote_is_shown_as_far_as_it_is_understood() -> None:
    newer = {**json.loads(shown.status().model_dump_json()), "invented": {"later": True}}
    view = views.database(Mirror({paths.status(shown.KEY): json.dumps(newer).encode()}), "orders")

    assert view is not None
    assert view.status == shown.status()


def test_a_verifier_is_not_shown() -> None:
    spec = shown.SPEC.replace(
        b"{name: app, login: true}", f"{{name: app, login: true, scram: {SCRAM!r}}}".encode()
    )
    assert text.load(spec, "Database").spec.roles[0].scram == SCRAM
    view = views.database(
        Mirror({paths.accepted(shown.KEY): shown.accepted(spec=spec).model_dump_json().encode()}), "orders"
    )

    assert view is not None
    assert SCRAM not in views.as_json(view)
    assert views.MASKED_VERIFIER in views.as_json(view)


def test_a_host_is_up_while_its_heartbeat_is_there() -> None:
    up, down = views.hosts(filled()).items

    assert (up.metadata.name, up.status.phase, up.status.address, up.status.cpus) == (
        "host-1",
        "Up",
        "10.0.0.1",
        4,
    )
    assert (down.metadata.name, down.status.phase, down.status.instances) == (
        "host-3",
        "Down",
        ("orders-n1-cccccc",),
    )


def test_a_hosts_spec_is_shown() -> None:
    spec = b"""apiVersion: pgswarm.dev/v1
kind: Host
metadata: {name: host-9, labels: {rack: a}}
spec: {unschedulable: true}
"""
    view = views.host(Mirror({paths.spec(Key("host", "host-9")): spec}), "host-9")

    assert view is not None
    assert (view.metadata.labels, view.status.unschedulable) == ({"rack": "a"}, True)


def test_a_host_whose_spec_cannot_be_read_is_closed_and_says_why() -> None:
    spec = b"kind: Host\nspec: {unschedulabel: true}\n"
    view = views.host(Mirror({paths.spec(Key("host", "host-9")): spec}), "host-9")

    assert view is not None
    assert view.status.unschedulable
    [valid] = view.status.conditions
    assert (valid.type, valid.status.value) == ("SpecValid", "False")
    assert "line 2" in valid.message
