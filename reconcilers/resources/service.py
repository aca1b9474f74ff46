"""The Swarm service of one instance: what it should be, how it differs, what changing it costs."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from operator import attrgetter

from crds.accepted import Accepted
from reconcilers.actions import Action, RemoveService, UpdateService, Waiting, Why
from reconcilers.observed import Observed
from reconcilers.ports import (
    NetworkAttachment,
    PublishedPort,
    ServiceSpec,
    ServiceView,
    TaskView,
    TmpfsMount,
    VolumeMount,
)
from reconcilers.resources import blob, naming, patroni_file, tuning
from reconcilers.resources.topology import Instance

KIND = "service"
BRIDGE = "bridge"
"""The host's predefined network: over it the agent reaches the container, whatever the overlay does."""
ENDED = frozenset({"complete", "shutdown", "failed", "rejected", "orphaned"})
"""States of a task that nothing follows."""
PUT_OFF = "not available for new tasks"
"""Swarm's words when no host that it might have chosen was ready."""
SWARM_ACTS_S = 2.0
"""A manager has looked at a changed service by then; it takes milliseconds, unless it is very busy."""
STOP_GRACE_MIN_S, STOP_GRACE_MAX_S = 120, 900
STOP_GRACE_PER_GIB_S = 15
"""A shutdown checkpoint writes at most shared_buffers; being killed in it costs a crash recovery."""


def desired(
    observed: Observed,
    accepted: Accepted,
    one: Instance,
    *,
    node_id: str,
    network_id: str,
    files: tuple[blob.File, ...],
    port: int | None,
) -> ServiceSpec | None:
    """The service as it should be while active; None while one of its files does not exist in the Swarm."""
    references = blob.references(observed, files)
    if references is None:
        return None
    secrets, configs = references
    memory = accepted.spec.resources.memory.bytes
    spec = ServiceSpec(
        name=one.name,
        labels={},
        image=one.image,
        hostname=one.name,
        container_labels=identity(observed.cluster, one, accepted),
        mounts=(VolumeMount(one.volume, patroni_file.DATA), TmpfsMount("/dev/shm", tuning.shm_bytes(memory))),  # noqa: S108
        secrets=secrets,
        configs=configs,
        networks=(NetworkAttachment(network_id, (one.name,)), NetworkAttachment(BRIDGE)),
        node_id=node_id,
        replicas=1,
        memory_bytes=memory,
        nano_cpus=accepted.spec.resources.cpus.nanos,
        drop_capabilities=("ALL",),
        no_new_privileges=True,
        stop_grace_s=stop_grace_s(memory),
        ports=(PublishedPort(patroni_file.POSTGRES_PORT, port),) if port is not None else (),
        restart_delay_s=1,
    )
    return replace(spec, labels=labels(observed, accepted, one, spec))


def identity(cluster: str, one: Instance, accepted: Accepted) -> dict[str, str]:
    return {
        naming.CLUSTER: cluster,
        naming.DATABASE: one.database,
        naming.NODE: one.node,
        naming.INSTANCE: one.name,
        naming.INCARNATION: accepted.incarnation,
        naming.KIND: "instance",
    }


def labels(observed: Observed, accepted: Accepted, one: Instance, spec: ServiceSpec) -> dict[str, str]:
    return {
        **identity(observed.cluster, one, accepted),
        naming.EPOCH: str(observed.epoch),
        naming.ACTIVATED: "yes",
        naming.HASH: naming.digest(repr(body(spec))),
    }


def body(spec: ServiceSpec) -> ServiceSpec:
    """What makes tasks restart when it changes: everything but labels, name and number of replicas."""
    return replace(spec, name="", labels={}, replicas=0)


_body_fields = attrgetter(
    *(one for one in ServiceSpec.__dataclass_fields__ if one not in ("name", "labels", "replicas"))
)


def restarts(have: ServiceView, want: ServiceSpec) -> bool:
    """Whether `body` differs, without making two of them: every pass asks it of every service."""
    return bool(_body_fields(have.spec) != _body_fields(want))


def differs(have: ServiceView, want: ServiceSpec) -> bool:
    ours = {name: value for name, value in have.spec.labels.items() if name.startswith(naming.LABEL)}
    return restarts(have, want) or have.spec.replicas != want.replicas or ours != dict(want.labels)


def tombstoned(have: ServiceView) -> bool:
    return naming.TOMBSTONE in have.spec.labels


def tombstone(have: ServiceView, epoch: int) -> ServiceSpec:
    """The last state of a service before it is removed by ID (rule F6)."""
    marked = {**have.spec.labels, naming.TOMBSTONE: str(epoch), naming.EPOCH: str(epoch)}
    return replace(have.spec, labels=marked, replicas=0)


def leave(observed: Observed, have: ServiceView, kind: str = KIND) -> Action | Waiting:
    """What is next on the way to a service being gone: the tombstone, the end of its tasks, the removal by ID."""
    name = have.spec.name
    if not tombstoned(have) or have.spec.replicas:  # somebody may have scaled it up again
        return UpdateService(
            kind=kind,
            name=name,
            why=Why.DELETED,
            detail="tombstone",
            service_id=have.id,
            version=have.version,
            spec=tombstone(have, observed.epoch),
        )
    if ending(observed, have):
        return Waiting(kind, name, "Stopping", "its task ends first", unannounced=True)
    return RemoveService(kind=kind, name=name, why=Why.DELETED, service_id=have.id)


def ending(observed: Observed, have: ServiceView) -> list[TaskView]:
    """
    Tasks of a tombstoned service that its hosts have not ended yet, or Swarm not forgotten.

    It is removed when there are none. A manager that removes a service goes through its tasks, and one of 20.10 dies
    when such a task is forgotten just then. A task on a host that is down is forgotten when that is back, not before.
    """
    up = {host.node.id for host in observed.hosts.values() if host.node is not None and host.node.ready}
    return [
        task
        for task in observed.tasks
        if task.service_id == have.id and not _history(task) and (not task.node_id or task.node_id in up)
    ]


def forgotten_s(observed: Observed, have: ServiceView) -> float | None:
    """
    Seconds since Swarm put off a task because its host was not ready, which now is; None when it has not.

    After a change of the leading manager its scheduler may not ask again, and then nobody ever does.
    """
    up = any(
        host.node.ready and host.node.active
        for host in observed.hosts.values()
        if host.node is not None and host.node.id == have.spec.node_id
    )
    put_off = [
        task
        for task in observed.tasks
        if task.service_id == have.id
        and (task.desired_state, task.state) == ("running", "pending")
        and PUT_OFF in task.error
        and task.since
    ]
    if not up or not put_off:
        return None
    return max(_ago_s(observed, task.since) for task in put_off)


def changed_lately(observed: Observed, have: ServiceView) -> bool:
    """It was changed a moment ago: which of its tasks end by that, Swarm may not have said yet."""
    return bool(have.updated_at) and abs(_ago_s(observed, have.updated_at)) < SWARM_ACTS_S


def _ago_s(observed: Observed, then: str) -> float:
    """By two clocks, a manager's and ours."""
    return (datetime.fromisoformat(observed.at) - datetime.fromisoformat(then)).total_seconds()


def _history(task: TaskView) -> bool:
    """It has ended, and its record stays as long as its service."""
    return task.desired_state == "shutdown" and task.state in ENDED


def inert(want: ServiceSpec) -> ServiceSpec:
    labels = {name: value for name, value in want.labels.items() if name != naming.ACTIVATED}
    return replace(want, replicas=0, labels=labels)


def difference(have: ServiceView, want: ServiceSpec) -> str:
    """Names of the fields that differ, for people; never their values."""
    fields = [
        name
        for name in ServiceSpec.__dataclass_fields__
        if name not in ("labels", "name") and getattr(have.spec, name) != getattr(want, name)
    ]
    if have.spec.foreign:
        fields[fields.index("foreign")] = have.spec.foreign
    return ", ".join(field.replace("_", " ") for field in fields) or "labels"


def stop_grace_s(memory_bytes: int) -> int:
    return min(STOP_GRACE_MAX_S, max(STOP_GRACE_MIN_S, memory_bytes * STOP_GRACE_PER_GIB_S // 2**30))
