"""A small cluster as a value: what the planner's tests start from. No behaviour of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from crds.catalogue import Catalogue
from crds.database import Database
from crds.heartbeat import HostRecord
from crds.meta import Key
from crds.text import dump
from reconcilers.database.forecast import forecast
from reconcilers.observed import Fleet, HostView, Observed, SpecReading
from reconcilers.ports import NodeView
from reconcilers.resources import naming

CATALOGUE = Catalogue(flavours={"pgswarm": {"15": "pgswarm/postgres:15", "17": "pgswarm/postgres:17"}})
HOSTS = ("host-1", "host-2", "host-3")


def host(name: str) -> HostView:
    record = HostRecord(
        name=name,
        address=f"10.0.0.{name[-1]}",
        node_id=f"node-{name}",
        manager=True,
        bridge_gateway="172.17.0.1",
        cpus=2,
        memory_bytes=2**34,
        engine_version="20.10",
        api_version="1.41",
        os="linux",
        architecture="x86_64",
        pgswarm_version="0",
        started_at="2026-01-01T00:00:00Z",
    )
    return HostView(
        record, NodeView(f"node-{name}", name, ready=True, active=True, manager=True, address="10.0.0.1")
    )


def database(name: str = "orders", *, hosts: tuple[str, ...] = HOSTS, **spec: Any) -> Database:
    return Database.model_validate(
        {
            "metadata": {"name": name},
            "spec": {
                "postgres": {"version": "17", **spec.pop("postgres", {})},
                "nodes": [{"name": "n1", "hosts": list(hosts)}],
                "databases": [{"name": "orders", "owner": "app"}],
                "roles": [{"name": "app", "login": True}],
                **spec,
            },
        }
    )


def reading(wanted: Database | None, revision: int = 10) -> SpecReading:
    if wanted is None:
        return SpecReading()
    text = dump(wanted, defaults=False).encode()
    return SpecReading(wanted, (), revision, naming.digest(wanted.model_dump(mode="json"), 16), text)


def empty(wanted: Database | None, **fields: Any) -> Observed:
    """A cluster of three hosts that has never seen the database."""
    start: dict[str, Any] = {
        "key": Key("database", "orders"),
        "at": "2026-01-01T00:00:00Z",
        "revision": 100,
        "owner_path": "owners/database/orders",
        "owner": "host-1",
        "epoch": 7,
        "cluster": "default",
        "etcd_endpoints": ("http://10.0.0.1:2379",),
        "etcd_auth": True,
        "subnet_pool": "10.121.0.0/16",
        "catalogue": CATALOGUE,
        "fresh_id": "11111111-2222-3333-4444-555555555555",
        "spec": reading(wanted),
        "accepted": None,
        "accepted_revision": 0,
        "accepted_created": 0,
        "status": None,
        "status_revision": 0,
        "confirmation": None,
        "fleet": Fleet(1, 0),
        "hosts": {name: host(name) for name in HOSTS},
        "services": {},
        "networks": {},
        "secrets": {},
        "configs": {},
        "tasks": (),
        "patroni": {},
        "instances": {},
        "desired": {},
        "vault": {},
        "subnets": frozenset(),
        "free_subnet": "10.121.0.0/26",
        "ports": {},
        "free_port": 16000,
        "accounts": {},
        "etcd_users": None,
    }
    return Observed(**(start | fields))


def running(wanted: Database | None = None, **fields: Any) -> Observed:
    """The same cluster after everything was done."""
    return forecast(empty(wanted if wanted is not None else database(), **fields))[1]


def edited(observed: Observed, wanted: Database | None) -> Observed:
    """Somebody wrote another spec, or removed it."""
    return replace(observed, spec=reading(wanted, observed.revision + 1))


def instance(host_name: str) -> str:
    return naming.instance("orders", "n1", host_name)
