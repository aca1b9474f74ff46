"""
Play `plan` against predicted effects until nothing is left to do. Pure.

Serves the preview, the golden tests and the property that every plan ends. It uses the same `plan` as the
reconciler, so it cannot promise anything else than what will be tried.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from crds.accepted import Accepted
from crds.halted import Halted
from crds.instance import ContainerObserved, InstanceDesired, InstanceObserved, PatroniObserved, SqlObserved
from reconcilers.actions import (
    Action,
    CreateBlob,
    CreateNetwork,
    CreateService,
    DropAccount,
    EnsureAccount,
    GenerateSecret,
    Plan,
    RemoveBlob,
    RemoveNetwork,
    RemoveService,
    UpdateService,
    WriteRecords,
)
from reconcilers.database.plan import plan
from reconcilers.observed import DesiredReading, MemberView, Observed, PatroniCluster
from reconcilers.ports import BlobView, NetworkView, Put, Remove, Secret, ServiceView, Write

LOOPS_MAX = 200
"""More than any plan needs; reaching it is a bug (a plan that never ends)."""


class EndlessPlan(AssertionError):
    """The plan did not come to an end against its own predicted effects."""


def forecast(observed: Observed) -> tuple[list[Plan], Observed]:
    """The frontiers in the order in which they would be carried out, and the world after the last."""
    loops: list[Plan] = []
    for _ in range(LOOPS_MAX):
        todo = plan(observed)
        if not todo.actions:
            settled = settle(observed)
            if settled == observed:
                return loops, observed
            observed = settled
            continue
        loops.append(todo)
        for action in todo.actions:
            observed = predict(observed, action)
        observed = settle(observed)
    raise EndlessPlan(f"{observed.key}: still {[str(action) for action in plan(observed).actions]}")


def predict(observed: Observed, action: Action) -> Observed:
    """The world after one action that succeeded."""
    match action:
        case WriteRecords():
            for write in action.writes:
                observed = _written(observed, write)
            return observed
        case GenerateSecret():
            return replace(observed, vault={**observed.vault, action.name: _made(action)})
        case EnsureAccount():
            return _users(_written(observed, action.record), frozenset({action.user}), frozenset())
        case DropAccount():
            return _users(_written(observed, action.record), frozenset(), frozenset({action.user}))
        case CreateNetwork(spec=spec):
            view = NetworkView(f"net:{spec.name}", spec.name, spec.labels, "overlay", "swarm", (spec.subnet,))
            return replace(observed, networks={**observed.networks, spec.name: view})
        case RemoveNetwork():
            return replace(observed, networks=_without(observed.networks, action.name))
        case CreateBlob() | RemoveBlob():
            return _blob(observed, action)
        case UpdateService(afresh=True):
            tasks = tuple(task for task in observed.tasks if task.service_id != action.service_id)
            return replace(observed, services=_services(observed, action), tasks=tasks)
        case CreateService() | UpdateService() | RemoveService():
            return replace(observed, services=_services(observed, action))
    raise AssertionError(f"no prediction for {type(action).__name__}")


def _services(
    observed: Observed, action: CreateService | UpdateService | RemoveService
) -> dict[str, ServiceView]:
    rest = _without(observed.services, action.name)
    if isinstance(action, RemoveService):
        return rest
    if isinstance(action, CreateService):
        return {**rest, action.name: ServiceView(f"svc:{action.name}", 1, action.spec)}
    return {**rest, action.name: ServiceView(action.service_id, action.version + 1, action.spec)}


def _blob(observed: Observed, action: CreateBlob | RemoveBlob) -> Observed:
    have = observed.secrets if action.kind == "secret" else observed.configs
    after = _without(have, action.name)
    if isinstance(action, CreateBlob):
        after[action.name] = BlobView(f"{action.kind}:{action.name}", action.name, action.labels)
    return replace(observed, secrets=after) if action.kind == "secret" else replace(observed, configs=after)


def _users(observed: Observed, made: frozenset[str], dropped: frozenset[str]) -> Observed:
    if observed.etcd_users is None:
        return observed
    return replace(observed, etcd_users=(observed.etcd_users | made) - dropped)


def _made(action: GenerateSecret) -> Secret:
    pem = "-----BEGIN CERTIFICATE-----\npredicted\n-----END CERTIFICATE-----\n"
    return Secret(pem if action.recipe in ("ca", "server") else f"predicted {action.name}")


def _without(mapping: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key != name}


# --- records --------------------------------------------------------------------------------------------


def _written(observed: Observed, write: Write) -> Observed:
    observed = replace(observed, revision=observed.revision + 1)
    root, _, rest = write.path.partition("/")
    value = write.value if isinstance(write, Put) else None
    match root:
        case "accepted":
            accepted = Accepted.model_validate_json(value) if value is not None else None
            created = observed.accepted_created or observed.revision
            return replace(
                observed,
                accepted=accepted,
                accepted_revision=observed.revision if value else 0,
                accepted_created=created if value else 0,
            )
        case "halted":
            return replace(observed, halted=Halted.model_validate_json(value) if value is not None else None)
        case "desired":
            return _desired(observed, rest, value)
        case "accounts":
            done = dict(_without(observed.accounts, rest))
            return replace(
                observed, accounts=done | ({rest: value.decode().partition(" ")[2]} if value else {})
            )
        case "allocations":
            return _allocation(observed, rest, value)
        case "patroni":
            return _patroni(observed, rest, write)
        case "confirmations":
            return replace(observed, confirmation=None)
        case "secrets" if isinstance(write, Remove):
            return replace(observed, vault={})
    return observed


def _desired(observed: Observed, rest: str, value: bytes | None) -> Observed:
    host, _, instance = rest.partition("/")
    readings = {where: reading for where, reading in observed.desired.items() if where != (host, instance)}
    if value is not None:
        readings[host, instance] = DesiredReading(
            InstanceDesired.model_validate_json(value), observed.revision
        )
    return replace(observed, desired=readings)


def _allocation(observed: Observed, rest: str, value: bytes | None) -> Observed:
    kind, _, what = rest.partition("/")
    if kind == "subnet":
        cidr = what.replace("_", "/")
        return replace(observed, subnets=observed.subnets - {cidr} | ({cidr} if value else set()))
    host, _, number = what.rpartition("/")
    ports = {place: holder for place, holder in observed.ports.items() if place != (host, int(number))}
    return replace(observed, ports=ports | ({(host, int(number)): value.decode()} if value else {}))


def _patroni(observed: Observed, rest: str, write: Write) -> Observed:
    scope, _, what = rest.partition("/")
    clusters = dict(observed.patroni)
    if isinstance(write, Remove) and write.prefix:
        clusters.pop(scope, None)
        return replace(observed, patroni=clusters)
    found = clusters.get(scope, PatroniCluster())
    if isinstance(write, Remove) and what == "initialize":
        return replace(
            observed,
            patroni={**clusters, scope: replace(found, initialize=None, initialize_revision=0)},
        )
    assert isinstance(write, Put), write
    if what == "config":
        found = replace(found, config=json.loads(write.value), config_revision=observed.revision)
    elif what == "initialize":
        found = replace(found, initialize=write.value.decode())
    elif what == "failover":
        wish = json.loads(write.value)
        found = replace(found, failover_revision=observed.revision, leader=wish["member"])
    clusters[scope] = found
    return replace(observed, patroni=clusters)


# --- what agents and Patroni do by themselves -----------------------------------------------------------


def settle(observed: Observed) -> Observed:
    """The agents do what the desired records say, Patroni what it does: everything that runs serves."""
    instances = {}
    for (host, name), reading in sorted(observed.desired.items()):
        if reading.value is not None:
            instances[name] = _agent(observed, host, reading.value, reading.revision)
    observed = replace(observed, instances=instances)
    for scope in sorted(
        {reading.value.scope for reading in observed.desired.values() if reading.value is not None}
    ):
        observed = _serve(observed, scope)
    return observed


def _runs(observed: Observed, name: str) -> bool:
    view = observed.services.get(name)
    return view is not None and view.spec.replicas > 0


def _agent(observed: Observed, host: str, want: InstanceDesired, revision: int) -> InstanceObserved:
    container = patroni = sql = None
    if _runs(observed, want.instance):
        image = observed.services[want.instance].spec.image
        container = ContainerObserved(
            id=want.instance,
            state="running",
            health="healthy",
            image=image,
            address="172.17.0.2",
            started_at="",
        )
        leads = observed.patroni.get(want.scope, PatroniCluster()).leader == want.instance
        patroni = PatroniObserved(
            state="running",
            role="primary" if leads else "replica",
            timeline=1,
            server_version=0,
            pending_restart=False,
            paused=False,
            sysid="1",
        )
        sql = SqlObserved(in_sync=True) if leads else None
    return InstanceObserved(
        host=host,
        instance=want.instance,
        incarnation=want.incarnation,
        desired_revision=revision,
        volume=want.ensure != "absent",
        container=container,
        patroni=patroni,
        sql=sql,
    )


def _serve(observed: Observed, scope: str) -> Observed:
    found = observed.patroni.get(scope, PatroniCluster())
    hosts = {
        reading.value.instance: host
        for (host, _), reading in sorted(observed.desired.items())
        if reading.value is not None
        and reading.value.scope == scope
        and _runs(observed, reading.value.instance)
    }
    leader = found.leader if found.leader in hosts else _elected(observed, scope, hosts)
    if leader is None and not found.initialize:
        return observed  # nobody may initialise it yet, so the others wait
    names = sorted(hosts)
    members = {
        name: MemberView(
            name, "primary" if name == leader else "replica", "running", 1, 100, pending_restart=False
        )
        for name in names
    }
    if names or found.members:
        found = replace(
            found,
            leader=leader,
            members=members,
            initialize=found.initialize or ("1" if leader else None),
        )
    return (
        replace(observed, patroni={**observed.patroni, scope: found})
        if found != PatroniCluster()
        else observed
    )


def _elected(observed: Observed, scope: str, hosts: Mapping[str, str]) -> str | None:
    """Who becomes primary of those that run: anybody with data, else only the one that may initialise."""
    if observed.patroni.get(scope, PatroniCluster()).initialize:
        return min(hosts, default=None)
    births = observed.accepted.births if observed.accepted is not None else {}
    birth = births.get(scope.removeprefix(f"{observed.key.name}-"))
    return next((name for name in sorted(hosts) if hosts[name] == birth), None)
