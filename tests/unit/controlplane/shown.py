"""A made-up database with everything that can be shown of one, as the records that pgswarm would have written."""

from __future__ import annotations

import json

from crds import text
from crds.accepted import Accepted
from crds.heartbeat import HostRecord
from crds.meta import Condition, ConditionStatus, Key
from crds.status import KEPT, DatabaseStatus, Endpoint, InstanceStatus, NodeStatus, PendingAction
from reconcilers import paths
from tests.sim.etcd import FakeEtcd

KEY = Key("database", "orders")
NOW_S = 1_795_435_200.0  # 2026-11-23T12:00:00Z
SPEC = b"""apiVersion: pgswarm.dev/v1
kind: Database
metadata: {name: orders, labels: {team: shop}}
spec:
  postgres: {version: "17"}
  nodes:
    - {name: n1, hosts: [host-1, host-2, host-3]}
  port: 6432
  databases: [{name: orders, owner: app, extensions: [pg_stat_statements]}]
  roles:
    - {name: app, login: true}
    - {name: reports, memberOf: [pg_read_all_data]}
"""


def accepted(state: str = "active", spec: bytes = SPEC) -> Accepted:
    return Accepted.model_validate(
        {
            "spec": text.load(spec, "Database").spec,
            "spec_hash": "9f2c",
            "revision": 2,
            "incarnation": "6a1f0c9e-1111-4222-8333-444455556666",
            "state": state,
            "since": "2026-11-23T10:00:00Z",
            "images": {"n1": "pgswarm/postgres:17.6-1"},
        }
    )


def condition(type_: str, said: str, reason: str, message: str = "", at: str = "11:57:00") -> Condition:
    return Condition(
        type=type_,
        status=ConditionStatus(said),
        reason=reason,
        message=message,
        last_transition_time=f"2026-11-23T{at}Z",
        observed_revision=2,
    )


def status(*, ready: bool = True, observed_revision: int = 2) -> DatabaseStatus:
    one = {
        "image": "pgswarm/postgres:17.6-1",
        "health": "healthy",
        "timeline": 3,
        "state": "streaming",
        "role": "replica",
        "version": "17.6",
        "certificate_expires": "2029-02-24T11:00:00Z",
    }

    def place(tag: str, hour: str) -> dict[str, str]:
        return {"volume": f"orders-n1-{tag}-6a1f0c9e", "started_at": f"2026-11-23T{hour}:00:00.123456789Z"}

    third = (
        one
        if ready
        else {**one, "state": "starting", "health": "starting", "timeline": 2, "pending_restart": True}
    )
    down = "" if ready else "orders-n1-cccccc: Postgres is starting"
    said = ("True", "False") if ready else ("False", "True")
    return DatabaseStatus(
        observed_revision=observed_revision,
        phase="Ready" if ready else "Degraded",
        conditions=(
            condition("Ready", said[0], "AsSpecified" if ready else "InstancesDown", down),
            condition(
                "Synced",
                said[0],
                "AsSpecified" if ready else "Applying",
                "" if ready else "waits for a replica",
            ),
            condition("SpecValid", "True", "Accepted", at="10:00:00"),
            condition("Degraded", said[1], "AllServe" if ready else "InstancesDown", down),
        ),
        owner="host-2",
        epoch=1234,
        incarnation="6a1f0c9e-1111-4222-8333-444455556666",
        nodes=(
            NodeStatus(
                name="n1",
                primary="orders-n1-aaaaaa",
                timeline=3,
                system_identifier="7300000000000000001",
                instances=(
                    InstanceStatus.model_validate(
                        {
                            "name": "orders-n1-aaaaaa",
                            "host": "host-1",
                            **one,
                            "state": "running",
                            "role": "primary",
                            **place("aaaaaa", "10"),
                        }
                    ),
                    InstanceStatus.model_validate(
                        {
                            "name": "orders-n1-bbbbbb",
                            "host": "host-2",
                            **one,
                            "sync": "sync",
                            **place("bbbbbb", "10"),
                        }
                    ),
                    InstanceStatus.model_validate(
                        {
                            "name": "orders-n1-cccccc",
                            "host": "host-3",
                            "sync": "async",
                            **place("cccccc", "11"),
                            **third,
                        }
                    ),
                ),
            ),
        ),
        endpoints=(
            Endpoint(host="10.0.0.2", port=6432, role="replica"),
            Endpoint(host="10.0.0.1", port=6432, role="primary"),
        ),
        pending=()
        if ready
        else (
            PendingAction(
                action="UpdateService",
                name="service/orders-n1-cccccc",
                why="SpecChanged",
                change="restart-replica",
                waiting_for="ReplicaNotReady: orders-n1-bbbbbb is restarted first",
            ),
        ),
        last_success="2026-11-23T11:59:30Z",
        messages=() if ready else ("host-3 answers slowly",),
    )


PATRONI = {
    paths.patroni("orders-n1", "leader"): b"orders-n1-aaaaaa",
    paths.patroni("orders-n1", "members/orders-n1-aaaaaa"): b'{"role": "primary", "xlog_location": 67108864}',
    paths.patroni("orders-n1", "members/orders-n1-bbbbbb"): b'{"role": "replica", "xlog_location": 67108864}',
    paths.patroni("orders-n1", "members/orders-n1-cccccc"): b'{"role": "replica", "xlog_location": 50108864}',
}
"""What Patroni tells of itself in etcd."""


def positioned(found: DatabaseStatus) -> DatabaseStatus:
    """The status with the positions that PATRONI tells."""
    told = {
        "orders-n1-aaaaaa": ("0/4000000", None),
        "orders-n1-bbbbbb": ("0/4000000", 0),
        "orders-n1-cccccc": ("0/2FC99C0", 17_000_000),
    }
    (node,) = found.nodes
    instances = tuple(
        one.model_copy(update={"lsn": told[one.name][0], "lag_bytes": told[one.name][1]})
        for one in node.instances
    )
    return found.model_copy(update={"nodes": (node.model_copy(update={"instances": instances}),)})


def refused(found: DatabaseStatus, revision: int, problem: str) -> DatabaseStatus:
    """The status once a newer spec was looked at and refused."""
    said = condition("SpecValid", "False", "InvalidSpec", problem + KEPT, at="11:58:00")
    rest = tuple(said if one.type == "SpecValid" else one for one in found.conditions)
    return found.model_copy(update={"observed_revision": revision, "conditions": rest})


def event(reason: str, message: str, at: str, type_: str = "Normal") -> bytes:
    return json.dumps(
        {"at": f"2026-11-23T{at}Z", "type": type_, "reason": reason, "message": message}
    ).encode()


def host(name: str, number: int) -> bytes:
    record = HostRecord(
        name=name,
        address=f"10.0.0.{number}",
        node_id=f"node{number}",
        manager=number == 1,
        bridge_gateway="172.17.0.1",
        cpus=4,
        memory_bytes=8 * 2**30,
        engine_version="28.5.1",
        api_version="1.51",
        os="linux",
        architecture="x86_64",
        pgswarm_version="0.1.0",
        started_at="2026-11-23T09:00:00Z",
    )
    return record.model_dump_json().encode()


def fill(etcd: FakeEtcd, *, ready: bool = True) -> None:
    """Put the database and two hosts into an empty etcd; the spec lies at revision 2."""
    etcd.put(paths.spec(KEY), SPEC)
    etcd.put(paths.accepted(KEY), accepted().model_dump_json().encode())
    etcd.put(paths.status(KEY), status(ready=ready).model_dump_json().encode())
    etcd.put(f"{paths.events(KEY)}01A", event("Absent", "CreateService service/orders-n1-aaaaaa", "11:00:00"))
    etcd.put(f"{paths.events(KEY)}01B", event("Unavailable", "docker did not answer", "11:58:00", "Warning"))
    for path, value in PATRONI.items():
        etcd.put(path, value)
    etcd.put(paths.host("host-1"), host("host-1", 1))
    etcd.put(paths.host("host-2"), host("host-2", 2))
    etcd.put(paths.desired("host-3", "orders-n1-cccccc"), b"{}")
