"""
Patroni's dynamic configuration: parameters, pg_hba and the timing of failover, in `/patroni/<scope>/config`.

The owner writes it before the first instance starts, so `bootstrap.dcs` is not needed, and compares it on every
pass, so an edit by hand does not last. It is a fenced etcd write like any other (rule F1).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from crds.accepted import Accepted
from crds.database import NodeSpec
from reconcilers import paths
from reconcilers.actions import Action, ChangeClass, Why, WriteRecords
from reconcilers.observed import Observed, PatroniCluster
from reconcilers.ports import Put
from reconcilers.resources import naming, patroni_file, tuning

KIND = "dynamic-configuration"

OURS = {
    "ssl": "on",
    "ssl_cert_file": patroni_file.SERVER_PEM,
    "ssl_key_file": patroni_file.SERVER_PEM,
    "ssl_min_protocol_version": "TLSv1.2",
    "password_encryption": "scram-sha-256",
    "wal_level": "logical",
    "wal_log_hints": "on",
    "hot_standby": "on",
    "track_commit_timestamp": "on",
}
"""Parameters that the user may not set."""


_GATEWAY = re.compile(rf"hostssl all {naming.SUPERUSER} ([0-9.]+)/32 scram-sha-256", re.ASCII)


def config(accepted: Accepted, node: NodeSpec, subnet: str, gateways: Iterable[str]) -> dict[str, Any]:
    """The whole document, parsed."""
    spec = accepted.spec
    timing = spec.patroni
    return {
        "ttl": timing.ttl.seconds,
        "loop_wait": timing.loop_wait.seconds,
        "retry_timeout": timing.retry_timeout.seconds,
        "maximum_lag_on_failover": int(timing.maximum_lag_on_failover),
        "failsafe_mode": timing.failsafe_mode,
        "synchronous_mode": timing.synchronous != "off",
        "synchronous_mode_strict": timing.synchronous == "strict",
        "postgresql": {
            "use_pg_rewind": True,
            "use_slots": True,
            "parameters": parameters(accepted, node),
            "pg_hba": hba(accepted, subnet, gateways),
        },
    }


def parameters(accepted: Accepted, node: NodeSpec) -> dict[str, str]:
    """Tuned defaults < the database's < the node's < ours."""
    spec = accepted.spec
    tuned = tuning.tuned(spec.resources.memory.bytes, spec.resources.cpus.milli / 1000, len(node.hosts))
    given = {**spec.postgres.parameters, **node.parameters}
    return dict(sorted({**tuned, **{name: str(value) for name, value in given.items()}, **OURS}.items()))


def hba(accepted: Accepted, subnet: str, gateways: Iterable[str]) -> list[str]:
    """
    First our own users and from where; then nobody else may be them; then the user's lines; then everybody by
    TLS and password. A user's line can therefore neither lock pgswarm out nor let another in as pgswarm.
    """
    us, replicator = naming.SUPERUSER, naming.REPLICATION_USER
    own = [
        f"local all {us} scram-sha-256",
        # Patroni looks at its own Postgres over loopback, also by the replication protocol.
        f"local replication {replicator} scram-sha-256",
        *(f"hostssl replication {replicator} {here} scram-sha-256" for here in ("127.0.0.1/32", "::1/128")),
        *(f"hostssl all {us},{replicator} {here} scram-sha-256" for here in ("127.0.0.1/32", "::1/128")),
        f"hostssl replication {replicator} {subnet} scram-sha-256",
        f"hostssl all {us},{replicator} {subnet} scram-sha-256",
        *(f"hostssl all {us} {gateway}/32 scram-sha-256" for gateway in sorted(set(gateways)) if gateway),
    ]
    closed = [
        f"{kind} {us},{replicator} {everywhere} reject"
        for kind in ("host all", "host replication")
        for everywhere in ("0.0.0.0/0", "::/0")
    ]
    others = [
        "local all all scram-sha-256",
        "hostssl all all 0.0.0.0/0 scram-sha-256",
        "hostssl all all ::/0 scram-sha-256",
    ]
    return [*own, *closed, *accepted.spec.postgres.hba, *others]


def diff(observed: Observed, accepted: Accepted, subnet: str) -> list[Action]:
    """One write per node whose live document is not the wanted one, compared as values."""
    actions: list[Action] = []
    for node in accepted.spec.nodes:
        scope = naming.scope(observed.key.name, node.name)
        have = observed.patroni.get(scope, PatroniCluster())
        want = config(accepted, node, subnet, _gateways(observed, node, have))
        if have.config != want:
            actions.append(_write(scope, want, have))
    return actions


def _gateways(observed: Observed, node: NodeSpec, have: PatroniCluster) -> set[str]:
    """
    From where the agents of this node's hosts come.

    A host whose pgswarm is away says nothing of itself; what the document has of it stays, so that no pgswarm that
    stops or starts somewhere rewrites the configuration of every database.
    """
    places = {*node.hosts, *(place for place, _ in observed.desired)}
    views = [observed.hosts.get(place) for place in sorted(places)]
    known = {view.record.bridge_gateway for view in views if view is not None and view.record is not None}
    if all(view is not None and view.record is not None for view in views):
        return known
    section = (have.config or {}).get("postgresql")
    lines = section.get("pg_hba") if isinstance(section, dict) else None
    return known | {found[1] for line in lines or () if (found := _GATEWAY.fullmatch(str(line)))}


def _write(scope: str, want: dict[str, Any], have: PatroniCluster) -> Action:
    value = json.dumps(want, sort_keys=True, separators=(",", ":")).encode()
    put = Put(paths.patroni(scope, "config"), value, expected=have.config_revision)
    fresh = have.config is None
    return WriteRecords(
        kind=KIND,
        name=scope,
        why=Why.ABSENT if fresh else Why.DRIFTED,
        change=ChangeClass.NONE if fresh else ChangeClass.RELOAD,
        detail="" if fresh else "differs in " + ", ".join(changed(have.config or {}, want)),
        writes=(put,),
    )


def changed(have: Any, want: Any, at: str = "") -> list[str]:
    """Dotted names of the leaves that differ, never their values."""
    if not (isinstance(have, dict) and isinstance(want, dict)):
        return [] if have == want else [at or "the whole document"]
    found: list[str] = []
    for name in sorted({*have, *want}):
        found += changed(have.get(name), want.get(name), f"{at}.{name}" if at else str(name))
    return found
