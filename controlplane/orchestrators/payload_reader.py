"""
The JSON of a live service to ServiceSpec. Pure, and total: no JSON makes it raise.

Two rules decide what counts as drift. In the task template everything counts, also what pgswarm would never
set: the next update would drop it and so restart the tasks. Of the service's own labels only ours count:
changing them restarts nothing, and other tools may put theirs there. What counts and has no field in
ServiceSpec is named in `foreign` by its path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.orchestrators.cursor import Cursor
from controlplane.orchestrators.payload import (
    NO_NEW_PRIVILEGES,
    NO_NEW_PRIVILEGES_SINCE,
    NODE_PIN,
    PREFIX,
    UPDATE_CONFIG,
    Api,
    Kept,
    volume_labels,
)
from reconcilers.ports import (
    FileRef,
    HealthCheck,
    Mount,
    NetworkAttachment,
    PublishedPort,
    ServiceSpec,
    TmpfsMount,
    VolumeMount,
)

BRIDGE = "bridge"
RESTART_DELAY_DEFAULT_NS = 5_000_000_000
"""What Swarm waits when a restart policy does not say."""
FOREIGN_MAX = 20
"""Paths named at most; enough to see what happened, and a bound for status and logs."""


def from_payload(
    payload: Mapping[str, Any], api: Api = (1, 41), bridges: frozenset[str] = frozenset()
) -> ServiceSpec:
    """
    Read a service's `Spec`.

    Args:
        bridges: IDs under which Swarm knows the predefined bridge network.
    """
    root = Cursor(payload)
    labels, asked = _own_labels(root.mapping("Labels"), api)
    task = root.child("TaskTemplate")
    container = task.child("ContainerSpec")
    container_labels = container.mapping("Labels")
    memory_bytes, nano_cpus, pids_limit = _limits(task)
    spec = ServiceSpec(
        name=root.text("Name"),
        labels=labels,
        image=container.text("Image"),
        command=container.texts("Command"),
        args=container.texts("Args"),
        env=container.texts("Env"),
        hostname=container.text("Hostname"),
        container_labels=container_labels,
        mounts=_mounts(container, volume_labels(container_labels)),
        secrets=_files(container, "Secret"),
        configs=_files(container, "Config"),
        networks=_networks(task, bridges),
        node_id=_pin(task),
        replicas=_replicas(root),
        memory_bytes=memory_bytes,
        nano_cpus=nano_cpus,
        pids_limit=pids_limit,
        drop_capabilities=_capabilities(container, "CapabilityDrop"),
        add_capabilities=_capabilities(container, "CapabilityAdd"),
        no_new_privileges=_no_new_privileges(container, api) or asked,
        stop_grace_s=_seconds(container.number("StopGracePeriod")),
        stop_signal=container.text("StopSignal"),
        health=_health(container),
        ports=_ports(root),
        restart_delay_s=_restart_delay_s(task),
    )
    foreign = _remainder(root, task, container)
    return spec if not foreign else _with_foreign(spec, foreign)


def kept(payload: Mapping[str, Any]) -> Kept:
    """What an update of this service must carry over."""
    root = Cursor(payload)
    others = {key: value for key, value in root.mapping("Labels").items() if not key.startswith(PREFIX)}
    return Kept(root.child("TaskTemplate").number("ForceUpdate"), others)


def _with_foreign(spec: ServiceSpec, foreign: str) -> ServiceSpec:
    fields = {name: getattr(spec, name) for name in ServiceSpec.__slots__}
    return ServiceSpec(**{**fields, "foreign": foreign})


def _own_labels(labels: dict[str, str], api: Api) -> tuple[dict[str, str], bool]:
    ours = {key: value for key, value in sorted(labels.items()) if key.startswith(PREFIX)}
    if api >= NO_NEW_PRIVILEGES_SINCE:
        return ours, False
    return ours, ours.pop(NO_NEW_PRIVILEGES, "") == "wanted"


def _remainder(root: Cursor, task: Cursor, container: Cursor) -> str:
    container.tolerate("Isolation", "default")
    container.close()
    task.number("ForceUpdate")
    task.tolerate("Runtime", "container")
    task.close()
    update = root.child("UpdateConfig")
    for key, value in UPDATE_CONFIG.items():
        update.tolerate(key, value)
    update.close()
    root.close()
    named = sorted(set(root.foreign))
    more = len(named) - FOREIGN_MAX
    return ", ".join(named[:FOREIGN_MAX]) + (f" and {more} more" if more > 0 else "")


def _seconds(nanoseconds: int) -> float:
    return nanoseconds / 1_000_000_000


def _limits(task: Cursor) -> tuple[int, int, int]:
    resources = task.child("Resources")
    limits = resources.child("Limits")
    read = (limits.number("MemoryBytes"), limits.number("NanoCPUs"), limits.number("Pids"))
    limits.close()
    resources.close()
    return read


def _pin(task: Cursor) -> str:
    """The one node constraint we set; any other constraint is foreign."""
    placement = task.child("Placement")
    node_id = ""
    for constraint in placement.texts("Constraints"):
        if constraint.startswith(NODE_PIN) and not node_id:
            node_id = constraint.removeprefix(NODE_PIN)
        else:
            placement.refuse("Constraints")
    placement.close()
    return node_id


def _replicas(root: Cursor) -> int:
    mode = root.child("Mode")
    replicated = mode.child("Replicated")
    replicas = replicated.number("Replicas")
    replicated.close()
    mode.close()
    return replicas


def _restart_delay_s(task: Cursor) -> float:
    policy = task.child("RestartPolicy")
    policy.tolerate("Condition", "any")
    delay_s = _seconds(policy.number("Delay", RESTART_DELAY_DEFAULT_NS))
    policy.close()
    return delay_s


def _capabilities(container: Cursor, key: str) -> tuple[str, ...]:
    return tuple(name.upper().removeprefix("CAP_") for name in container.texts(key))


def _no_new_privileges(container: Cursor, api: Api) -> bool:
    if api < NO_NEW_PRIVILEGES_SINCE:
        return False
    privileges = container.child("Privileges")
    found = privileges.flag("NoNewPrivileges")
    privileges.close()
    return found


def _health(container: Cursor) -> HealthCheck | None:
    if not container.has("Healthcheck"):
        return None
    health = container.child("Healthcheck")
    read = HealthCheck(
        test=health.texts("Test"),
        interval_s=_seconds(health.number("Interval")),
        timeout_s=_seconds(health.number("Timeout")),
        retries=health.number("Retries"),
        start_period_s=_seconds(health.number("StartPeriod")),
    )
    health.close()
    return read


def _mounts(container: Cursor, labels: dict[str, str]) -> tuple[Mount, ...]:
    found: list[Mount] = []
    for mount in container.children("Mounts", "Target"):
        kind = mount.text("Type")
        if kind == "volume":
            found.append(VolumeMount(volume=mount.text("Source"), target=mount.text("Target")))
            options = mount.child("VolumeOptions")
            if options.mapping("Labels") != labels:
                options.refuse("Labels")
            options.close()
        elif kind == "tmpfs":
            options = mount.child("TmpfsOptions")
            size, mode = options.number("SizeBytes"), options.number("Mode")
            found.append(TmpfsMount(target=mount.text("Target"), size_bytes=size, mode=mode))
            options.close()
        else:
            mount.refuse("Type")
            continue
        mount.close()
    return tuple(found)


def _files(container: Cursor, kind: str) -> tuple[FileRef, ...]:
    found: list[FileRef] = []
    for ref in container.children(f"{kind}s", f"{kind}Name"):
        file = ref.child("File")
        found.append(
            FileRef(
                object_id=ref.text(f"{kind}ID"),
                object_name=ref.text(f"{kind}Name"),
                target=file.text("Name"),
                uid=file.text("UID"),
                gid=file.text("GID"),
                mode=file.number("Mode"),
            )
        )
        file.close()
        ref.close()
    return tuple(found)


def _networks(task: Cursor, bridges: frozenset[str]) -> tuple[NetworkAttachment, ...]:
    found: list[NetworkAttachment] = []
    for network in task.children("Networks", "Target"):
        target = network.text("Target")
        found.append(NetworkAttachment(BRIDGE if target in bridges else target, network.texts("Aliases")))
        network.close()
    return tuple(found)


def _ports(root: Cursor) -> tuple[PublishedPort, ...]:
    endpoint = root.child("EndpointSpec")
    if endpoint.text("Mode") != "dnsrr":
        endpoint.refuse("Mode")
    found: list[PublishedPort] = []
    for port in endpoint.children("Ports", "TargetPort"):
        port.tolerate("Protocol", "tcp")
        port.tolerate("PublishMode", "host")
        found.append(PublishedPort(port.number("TargetPort"), port.number("PublishedPort")))
        port.close()
    endpoint.close()
    return tuple(found)
