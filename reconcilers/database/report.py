"""Status from observation: what is there, what is meant, what waits. Pure; intent never becomes status."""

from __future__ import annotations

from collections.abc import Iterable

from crds.accepted import Accepted
from crds.meta import Condition, ConditionStatus
from crds.status import KEPT, DatabaseStatus, Endpoint, InstanceStatus, NodeStatus, PendingAction
from reconcilers.actions import Action, ChangeClass, Plan, Why
from reconcilers.database import acceptance, halt, health
from reconcilers.errors import PgswarmError
from reconcilers.observed import HostView, Observed, PatroniCluster
from reconcilers.ports import TaskView
from reconcilers.resources import complaint, naming, port
from reconcilers.resources.topology import Instance, instances

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
MESSAGES_MAX = 10
STANDSTILL = ("Protected", "MassDeletionStopped", halt.REASON)


def report(observed: Observed, plan: Plan, error: PgswarmError | None) -> DatabaseStatus:
    """The status that this snapshot justifies. `error`: what stopped the pass, if anything did."""
    accepted = observed.accepted
    conditions = tuple(_dated(observed, one) for one in _conditions(observed, plan, error))
    status = DatabaseStatus(
        observed_revision=observed.spec.revision,
        phase=_phase(observed, conditions),
        conditions=conditions,
        owner=observed.owner,
        epoch=observed.epoch,
        incarnation=accepted.incarnation if accepted is not None else "",
        spec_hash=accepted.spec_hash if accepted is not None else "",
        nodes=_nodes(observed, accepted) if accepted is not None else (),
        endpoints=_endpoints(observed, accepted) if accepted is not None else (),
        pending=_pending(plan),
        last_success=observed.status.last_success if observed.status is not None else "",
        messages=tuple(dict.fromkeys(_messages(observed, error)))[:MESSAGES_MAX],
    )
    return status if error is not None else status.model_copy(update={"last_success": observed.at})


def same(old: DatabaseStatus | None, new: DatabaseStatus) -> bool:
    """
    Equal but for the time of the last success, which is no reason to write.

    Positions and lag move all the time, so they are not in here at all: who asks is told from Patroni's records.
    """
    return old is not None and old.model_copy(update={"last_success": new.last_success}) == new


def blocked(old: DatabaseStatus | None, error: PgswarmError, at: str) -> DatabaseStatus:
    """The last status, and that nothing could be looked at since because of `error`."""
    status = old or DatabaseStatus()
    before = status.condition("Synced")
    since = before.last_transition_time if before is not None and before.status is FALSE else at
    synced = _condition("Synced", FALSE, error.reason, str(error)).model_copy(
        update={
            "last_transition_time": since,
            "observed_revision": before.observed_revision if before is not None else 0,
        }
    )
    rest = tuple(one for one in status.conditions if one.type != "Synced")
    return status.model_copy(update={"conditions": (*rest, synced), "messages": (str(error),)})


# --- conditions -----------------------------------------------------------------------------------------


def _conditions(observed: Observed, plan: Plan, error: PgswarmError | None) -> Iterable[Condition]:
    synced = _synced(plan, error)
    yield _ready(observed, synced)
    yield synced
    yield _spec_valid(observed)
    yield _degraded(observed)
    lost = _lost(observed)
    if lost:
        message = (
            f"was created by pgswarm and is gone: {', '.join(lost)}; restore it, or take it out of the spec"
        )
        yield _condition("DataLoss", TRUE, "DatabaseDropped", message)
    for waiting in plan.waiting:
        if waiting.reason in (*STANDSTILL, "DeletionInProgress", "Paused"):
            yield _condition(waiting.reason, TRUE, waiting.reason, waiting.message)


def _condition(type_: str, status: ConditionStatus, reason: str, message: str = "") -> Condition:
    return Condition(type=type_, status=status, reason=reason, message=message)


def _dated(observed: Observed, one: Condition) -> Condition:
    """A condition keeps its time while its status stays what it was."""
    old = observed.status.condition(one.type) if observed.status is not None else None
    since = old.last_transition_time if old is not None and old.status == one.status else observed.at
    return one.model_copy(
        update={"last_transition_time": since, "observed_revision": _judged_from(observed, one.type)}
    )


def _judged_from(observed: Observed, type_: str) -> int:
    """Revision of the spec that the condition speaks of; a refused one is never Ready, the one in force may be."""
    accepted, reading = observed.accepted, observed.spec
    if type_ == "SpecValid" or accepted is None or accepted.spec_hash == reading.hash:
        return reading.revision
    return accepted.revision


def _spec_valid(observed: Observed) -> Condition:
    if not observed.spec.present:
        return _condition("SpecValid", UNKNOWN, "SpecGone", "there is no spec record")
    problems = acceptance.problems(observed)
    if problems:
        kept = KEPT if observed.accepted is not None else ""
        text = " | ".join(str(problem) for problem in problems[:5])
        more = f" | and {len(problems) - 5} more" if len(problems) > 5 else ""
        return _condition("SpecValid", FALSE, "InvalidSpec", text + more + kept)
    return _condition("SpecValid", TRUE, "Accepted")


def _synced(plan: Plan, error: PgswarmError | None) -> Condition:
    if error is not None:
        return _condition("Synced", FALSE, error.reason, str(error))
    halted = any(waiting.reason == halt.REASON for waiting in plan.waiting)
    if plan.actions and not halted:
        first = plan.actions[0]
        more = f" and {len(plan.actions) - 1} more" if len(plan.actions) > 1 else ""
        return _condition("Synced", FALSE, "Applying", f"{first}{more}")
    if plan.waiting:
        first_wait = plan.waiting[0]
        return _condition(
            "Synced", FALSE, first_wait.reason, f"{first_wait.kind}/{first_wait.name}: {first_wait.message}"
        )
    return _condition("Synced", TRUE, "AsSpecified")


def _ready(observed: Observed, synced: Condition) -> Condition:
    accepted = observed.accepted
    if observed.accepted_unreadable:
        return _condition("Ready", UNKNOWN, synced.reason, synced.message)
    if accepted is None:
        return _condition("Ready", FALSE, "NoValidSpec", "no valid spec has been accepted yet")
    if accepted.state != "active":
        return _condition("Ready", FALSE, accepted.state.capitalize(), f"the database is {accepted.state}")
    for one in instances(observed.key.name, accepted):
        if not health.node_has_primary(observed, one.scope):
            return _condition(
                "Ready", FALSE, "NoPrimary", f"node {one.node} has no primary: {_why(observed, one)}"
            )
    down = [one for one in instances(observed.key.name, accepted) if not health.serves(observed, one)]
    if down:
        return _condition("Ready", FALSE, "InstancesDown", _reasons(observed, down))
    full = _full(observed, accepted)
    if full:
        return _condition("Ready", FALSE, complaint.DISK_FULL, _reasons(observed, full))
    for one in instances(observed.key.name, accepted):
        if health.leads(observed, one) and not _inside_done(observed, one):
            seen = observed.instances[one.name]
            drift = seen.sql.drift if seen.sql is not None else ()
            return _condition(
                "Ready",
                FALSE,
                "InsidePending",
                "roles and databases: " + (", ".join(drift) or "not looked at yet"),
            )
    if _lost(observed):
        return _condition("Ready", FALSE, "DataLoss", "a database that pgswarm had created is gone")
    # That nothing follows from the spec, or from its absence, takes nothing away from what is in force.
    if synced.status is FALSE and synced.reason not in STANDSTILL:
        return _condition("Ready", FALSE, synced.reason, synced.message)
    return _condition("Ready", TRUE, "AsSpecified")


def _inside_done(observed: Observed, one: Instance) -> bool:
    """The agent says in sync, and says it of the record as it is now."""
    seen, desired = observed.instances.get(one.name), observed.desired.get((one.host, one.name))
    if seen is None or seen.sql is None or desired is None:
        return False
    return seen.sql.in_sync and seen.desired_revision == desired.revision


def _degraded(observed: Observed) -> Condition:
    accepted = observed.accepted
    if accepted is None or accepted.state != "active":
        return _condition("Degraded", FALSE, "NotRunning")
    down = [one for one in instances(observed.key.name, accepted) if not health.serves(observed, one)]
    if down:
        return _condition("Degraded", TRUE, "InstancesDown", _reasons(observed, down))
    full = _full(observed, accepted)
    if full:
        return _condition("Degraded", TRUE, complaint.DISK_FULL, _reasons(observed, full))
    return _condition("Degraded", FALSE, "AllServe")


def _full(observed: Observed, accepted: Accepted) -> list[Instance]:
    return [one for one in instances(observed.key.name, accepted) if health.disk_full(observed, one)]


def _reasons(observed: Observed, those: Iterable[Instance]) -> str:
    return "; ".join(f"{one.name}: {_why(observed, one)}" for one in those)


def _why(observed: Observed, one: Instance) -> str:
    """The nearest known reason why an instance does not serve."""
    host = observed.hosts.get(one.host)
    if host is None or (host.record is None and (host.node is None or not host.node.ready)):
        return f"host {one.host} is down"
    if host.record is None:
        return f"pgswarm on {one.host} is down"
    seen, member = observed.instances.get(one.name), health.member(observed, one)
    if seen is not None and seen.problems:
        return seen.problems[0].message
    if seen is None or seen.container is None:
        task = _last_error(observed, one)
        return task or "no container yet"
    if member is None:
        return f"container is {seen.container.state}, Patroni has not reported"
    return f"Postgres is {member.state}"


def _last_error(observed: Observed, one: Instance) -> str:
    service = observed.services.get(one.name)
    if service is None:
        return "its service does not exist"
    tasks: list[TaskView] = sorted(
        (task for task in observed.tasks if task.service_id == service.id and task.error),
        key=lambda task: task.since,
    )
    return f"task {tasks[-1].state}: {tasks[-1].error}" if tasks else ""


def _lost(observed: Observed) -> list[str]:
    found = {
        name
        for seen in observed.instances.values()
        if seen.sql is not None
        for name in seen.sql.lost_databases
    }
    return sorted(found)


# --- the rest -------------------------------------------------------------------------------------------


def _phase(observed: Observed, conditions: Iterable[Condition]) -> str:
    """One word; the first that fits."""
    by_type = {one.type: one for one in conditions}
    accepted = observed.accepted
    if observed.accepted_unreadable:
        return "Invalid"
    if accepted is None:
        return "Invalid" if observed.spec.present and by_type["SpecValid"].status is FALSE else "Pending"
    if accepted.state != "active":
        left = observed.services or observed.networks or observed.secrets or observed.configs
        return "Retained" if accepted.state == "retained" and not left else "Deleting"
    if "Paused" in by_type:
        return "Paused"
    if "DataLoss" in by_type:
        return "DataLoss"
    if by_type["Ready"].status is TRUE:
        return "Ready"
    if len(accepted.initialized) < len(accepted.spec.nodes):
        return "Creating"
    if by_type["Ready"].reason == "NoPrimary":
        return "Unavailable"
    return "Degraded" if by_type["Degraded"].status is TRUE else "Updating"


def _nodes(observed: Observed, accepted: Accepted) -> tuple[NodeStatus, ...]:
    found = []
    every = instances(observed.key.name, accepted)
    for node in accepted.spec.nodes:
        mine = [one for one in every if one.node == node.name]
        primary = next((one for one in mine if health.leads(observed, one)), None)
        leader = health.member(observed, primary) if primary is not None else None
        found.append(
            NodeStatus(
                name=node.name,
                primary=primary.name if primary is not None else None,
                timeline=leader.timeline if leader is not None else 0,
                system_identifier=_system_identifier(observed, accepted, node.name),
                instances=tuple(_instance(observed, one) for one in mine),
            )
        )
    return tuple(found)


def _system_identifier(observed: Observed, accepted: Accepted, node: str) -> str:
    cluster = observed.patroni.get(naming.scope(observed.key.name, node), PatroniCluster())
    return cluster.initialize or accepted.initialized.get(node, "")


def _instance(observed: Observed, one: Instance) -> InstanceStatus:
    seen, member, cluster = (
        observed.instances.get(one.name),
        health.member(observed, one),
        health.cluster(observed, one),
    )
    container = seen.container if seen is not None else None
    patroni = seen.patroni if seen is not None else None
    leads = health.leads(observed, one)
    return InstanceStatus(
        name=one.name,
        host=one.host,
        role="primary" if leads else member.role if member is not None else "unknown",
        state=member.state if member is not None else "absent" if container is None else "starting",
        timeline=member.timeline if member is not None else 0,
        pending_restart=member.pending_restart if member is not None else False,
        image=container.image if container is not None else "",
        version=_version(patroni.server_version) if patroni is not None else "",
        started_at=container.started_at if container is not None else "",
        volume=naming.volume(one.name, seen.incarnation) if seen is not None and seen.volume else "",
        certificate_expires=patroni.certificate_expires if patroni is not None else "",
        address=container.address if container is not None else "",
        health=container.health if container is not None else "unknown",
        sync=None if leads or member is None else "sync" if one.name in cluster.sync_standbys else "async",
    )


def _version(number: int) -> str:
    """Postgres' server_version_num as people write it: 170006 is 17.6; "" for 0, unknown."""
    return f"{number // 10_000}.{number % 10_000}" if number else ""


def _endpoints(observed: Observed, accepted: Accepted) -> tuple[Endpoint, ...]:
    number = port.held(observed, accepted)
    if number is None:
        return ()
    found = []
    for one in instances(observed.key.name, accepted):
        host = observed.hosts.get(one.host)
        address = _address(host) or one.host
        member = health.member(observed, one)
        role = "primary" if health.leads(observed, one) else "replica" if member is not None else "any"
        found.append(Endpoint(host=address, port=number, role=role))
    return tuple(found)


def _address(host: HostView | None) -> str:
    """As the host says, else as the Swarm knows it; a host that is down keeps its address."""
    if host is None:
        return ""
    if host.record is not None:
        return host.record.address
    return host.node.address if host.node is not None else ""


def _pending(plan: Plan) -> tuple[PendingAction, ...]:
    next_ones = [
        PendingAction(
            action=one.verb, name=f"{one.kind}/{one.name}", why=_because(one), change=one.change.value
        )
        for one in plan.actions
    ]
    later = [
        PendingAction(
            action=one.reason,
            name=f"{one.kind}/{one.name}",
            why="",
            change=one.change.value,
            waiting_for=one.message,
        )
        for one in plan.waiting
    ]
    return (*next_ones, *later)


def _because(action: Action) -> str:
    return f"{action.why}: {action.detail}" if action.detail else str(action.why)


def _messages(observed: Observed, error: PgswarmError | None) -> Iterable[str]:
    if error is not None:
        yield str(error)
    for name, seen in sorted(observed.instances.items()):
        for problem in seen.problems:
            yield f"{name}: {problem.message}"


def notable(action: Action) -> bool:
    """Whether people want to read of this action in the events."""
    if action.why in (Why.FENCE, Why.SWEEP, Why.UNSEEN):
        return False
    quiet = action.kind in ("credential", "account", "desired", "secret", "config", "initialization")
    return not quiet or action.change is not ChangeClass.NONE or action.why is Why.DRIFTED
