"""
Services of the instances: create inert, activate in order, disturb one instance at a time.

The order that keeps a database writable: what is down already is mended at once; then replicas, one by one, each
only while all others serve; the primary last, after a switchover if there is anybody to take over.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from crds.accepted import Accepted
from reconcilers import paths
from reconcilers.actions import (
    Action,
    ChangeClass,
    CreateService,
    UpdateService,
    Waiting,
    Why,
    WriteRecords,
)
from reconcilers.database import health
from reconcilers.observed import Observed
from reconcilers.ports import Put, ServiceSpec, ServiceView
from reconcilers.resources import naming, service
from reconcilers.resources.topology import Instance, instances

PRIMARY_FIRST = frozenset(
    {
        "max_connections",
        "max_locks_per_transaction",
        "max_prepared_transactions",
        "max_wal_senders",
        "max_worker_processes",
    }
)
"""A replica refuses to run with less of these than its primary had, so a decrease starts at the primary."""


REMIND_AFTER_S = 15.0
"""By both clocks, the manager's and ours; Swarm itself needs a second."""


@dataclass(frozen=True, slots=True)
class Want:
    one: Instance
    spec: ServiceSpec | None
    """None: one of its files or its network is not there yet."""
    blocked: str = ""
    """Why it must not be started yet; "" when it may."""


@dataclass(slots=True)
class Steps:
    actions: list[Action] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)

    def add(self, one: Action | Waiting) -> None:
        if isinstance(one, Waiting):
            self.waiting.append(one)
        else:
            self.actions.append(one)

    def wait(self, one: Instance, reason: str, message: str, change: ChangeClass = ChangeClass.NONE) -> None:
        self.waiting.append(Waiting(service.KIND, one.name, reason, message, change))


def plan(observed: Observed, accepted: Accepted, wants: Sequence[Want]) -> Steps:
    steps = Steps()
    disturbing: list[tuple[Want, ServiceView, ServiceSpec]] = []
    for want in wants:
        have = observed.services.get(want.one.name)
        if want.spec is None:
            steps.wait(want.one, "FilesPending", want.blocked or "network, secrets and configs come first")
        elif have is None:
            _create(steps, want.spec)
        elif service.tombstoned(have):
            steps.add(service.leave(observed, have))
        elif have.spec.replicas == 0:
            _activate(steps, want, have, want.spec)
        elif service.restarts(have, want.spec):
            disturbing.append((want, have, want.spec))
        elif service.differs(have, want.spec):
            steps.actions.append(_update(have, want.spec, ChangeClass.NONE))
        else:
            _remind(steps, observed, want.one, have)
    _disturb(steps, observed, accepted, disturbing)
    return steps


def _create(steps: Steps, spec: ServiceSpec) -> None:
    steps.actions.append(
        CreateService(kind=service.KIND, name=spec.name, why=Why.ABSENT, spec=service.inert(spec))
    )


def _activate(steps: Steps, want: Want, have: ServiceView, spec: ServiceSpec) -> None:
    if want.blocked:
        steps.wait(want.one, "NotReadyToStart", want.blocked)
        return
    why = Why.DRIFTED if have.spec.labels.get(naming.ACTIVATED) else Why.ACTIVATE
    steps.actions.append(_update(have, spec, ChangeClass.NONE, why))


def _remind(steps: Steps, observed: Observed, one: Instance, have: ServiceView) -> None:
    """A new task where Swarm has forgotten to find a host for the one that is there."""
    since_s = service.forgotten_s(observed, have)
    if since_s is None:
        return
    if since_s < REMIND_AFTER_S:
        message = f"Swarm has not yet seen that {one.host} is ready"
        steps.waiting.append(Waiting(service.KIND, one.name, "TaskPending", message, unannounced=True))
        return
    steps.actions.append(
        UpdateService(
            kind=service.KIND,
            name=one.name,
            why=Why.FORGOTTEN,
            detail=f"its task waits for {one.host}, which is ready",
            service_id=have.id,
            version=have.version,
            spec=have.spec,
            afresh=True,
        )
    )


def _update(have: ServiceView, spec: ServiceSpec, change: ChangeClass, why: Why | None = None) -> Action:
    same = have.spec.labels.get(naming.HASH) == spec.labels.get(naming.HASH)
    return UpdateService(
        kind=service.KIND,
        name=spec.name,
        why=why or (Why.DRIFTED if same else Why.SPEC_CHANGED),
        change=change,
        detail=service.difference(have, spec),
        service_id=have.id,
        version=have.version,
        spec=spec,
    )


def _disturb(
    steps: Steps,
    observed: Observed,
    accepted: Accepted,
    items: Sequence[tuple[Want, ServiceView, ServiceSpec]],
) -> None:
    """Mend all that are down; of those that serve, at most one, and only while everybody else serves."""
    serving = []
    for want, have, spec in items:
        if health.may_serve(observed, want.one):
            serving.append((want, have, spec))
        else:
            steps.actions.append(_update(have, spec, ChangeClass.NONE))
    if not serving:
        return
    serving.sort(key=lambda item: health.leads(observed, item[0].one))
    want, have, spec = serving[0]
    for later, _, _ in serving[1:]:
        steps.wait(later.one, "RollingUpdate", f"after {want.one.name}", ChangeClass.RESTART_REPLICA)
    if len(items) > len(serving) or not health.all_serve(observed, accepted):
        steps.wait(want.one, "RollingUpdate", "until every instance serves", ChangeClass.RESTART_REPLICA)
    elif _changed_lately(observed, accepted):
        steps.add(_swarm_acts(want.one))
    elif not health.leads(observed, want.one):
        steps.actions.append(_update(have, spec, ChangeClass.RESTART_REPLICA))
    elif (moved := switchover(observed, accepted, want.one)) is None:
        steps.actions.append(_update(have, spec, ChangeClass.RESTART_PRIMARY))
    elif isinstance(moved, Waiting):
        steps.waiting.append(moved)
    else:
        steps.actions.append(moved)


def _changed_lately(observed: Observed, accepted: Accepted) -> bool:
    """The container of one that was told to restart serves on until Swarm has got round to it."""
    views = (observed.services.get(one.name) for one in instances(observed.key.name, accepted))
    return any(view is not None and service.changed_lately(observed, view) for view in views)


def _swarm_acts(one: Instance) -> Waiting:
    return Waiting(
        service.KIND,
        one.name,
        "RollingUpdate",
        "until Swarm has acted on the last change",
        ChangeClass.RESTART_REPLICA,
        unannounced=True,
    )


def switchover(observed: Observed, accepted: Accepted, leader: Instance) -> Action | Waiting | None:
    """Ask Patroni to move the primary off `leader`; None when the node has nobody else."""
    node = next((node for node in accepted.spec.nodes if node.name == leader.node), None)
    others = [host for host in node.hosts if host != leader.host] if node is not None else []
    if not others:
        return None
    found = health.cluster(observed, leader)
    if found.failover_requested:
        return Waiting(
            "leadership",
            leader.scope,
            "SwitchoverRequested",
            "Patroni has been asked",
            ChangeClass.SWITCHOVER,
        )
    target = _best_replica(
        observed, leader, [naming.instance(leader.database, leader.node, host) for host in others]
    )
    if target is None:
        message = "no replica streams on the primary's timeline"
        return Waiting("leadership", leader.scope, "NoCandidate", message, ChangeClass.SWITCHOVER)
    request = json.dumps({"leader": leader.name, "member": target}).encode()
    return WriteRecords(
        kind="leadership",
        name=leader.scope,
        why=Why.SPEC_CHANGED,
        change=ChangeClass.SWITCHOVER,
        detail=f"{leader.name} -> {target}",
        writes=(Put(paths.patroni(leader.scope, "failover"), request, expected=found.failover_revision),),
    )


def _best_replica(observed: Observed, leader: Instance, candidates: Sequence[str]) -> str | None:
    found = health.cluster(observed, leader)
    primary = found.members.get(leader.name)
    fit = [
        member
        for name in candidates
        if (member := found.members.get(name)) is not None
        and member.state in health.SERVING
        and primary is not None
        and member.timeline == primary.timeline
        and not member.tags.get("nofailover")
        and (not found.sync_standbys or name in found.sync_standbys)
    ]
    return max(fit, key=lambda member: (member.lsn, member.name)).name if fit else None


def restart_target(observed: Observed, accepted: Accepted, wanted: Sequence[Instance]) -> str | None:
    """The one instance whose Postgres is to be restarted now because its parameters ask for it."""
    pending = [one for one in wanted if (m := health.member(observed, one)) is not None and m.pending_restart]
    if not pending:
        return None
    asked = [one for one in pending if _already_asked(observed, one)]
    if asked:
        return asked[0].name
    if not health.all_serve(observed, accepted):
        return None
    primary_first = any(_decreases(observed, one) for one in pending)
    pending.sort(key=lambda one: (health.leads(observed, one) != primary_first, one.name))
    return pending[0].name


def _already_asked(observed: Observed, one: Instance) -> bool:
    reading = observed.desired.get((one.host, one.name))
    return reading is not None and reading.value is not None and reading.value.restart_pending


def _decreases(observed: Observed, one: Instance) -> bool:
    member = health.member(observed, one)
    reasons = member.pending_restart_reason if member is not None else {}
    for name, (old, new) in reasons.items():
        if name in PRIMARY_FIRST and old.isdecimal() and new.isdecimal() and int(new) < int(old):
            return True
    return False
