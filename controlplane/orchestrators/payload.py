"""
ServiceSpec to the JSON that Docker's service API takes. Pure: every call builds a fresh object.

`from_payload` in `payload_reader` is the inverse: `from_payload(to_payload(spec)) == spec`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconcilers.ports import (
    FileRef,
    HealthCheck,
    Mount,
    NetworkAttachment,
    NetworkSpec,
    ServiceSpec,
    VolumeMount,
)

PREFIX = "pgswarm."
CLUSTER = "pgswarm.cluster"

Api = tuple[int, int]
NO_NEW_PRIVILEGES_SINCE: Api = (1, 44)
NO_NEW_PRIVILEGES = "pgswarm.no-new-privileges"
"""
Service label on older engines, whose API cannot say it (the image's entrypoint sets it): keeps the wish
readable.
"""

VOLUME_LABELS = tuple(PREFIX + name for name in ("cluster", "database", "node", "instance", "incarnation"))
"""
Container labels that a volume gets too, should Swarm make it before the agent does. None of them ever
changes.
"""

NODE_PIN = "node.id=="
UPDATE_CONFIG = {"Parallelism": 1, "FailureAction": "continue", "Order": "stop-first"}
"""stop-first: never two containers on one volume. continue: a paused update would wait for a person."""

SERVICE_NAME = re.compile(r"\A[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?\Z")
ID = re.compile(r"\A[a-z0-9]{25}\Z")


@dataclass(frozen=True, slots=True)
class Kept:
    """What an update carries over from the live service because it is not ours to undo."""

    force_update: int = 0
    """A person's `--force`: dropping it would restart the tasks once more."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Service labels of other tools."""


def check_name(name: str) -> str:
    """Names of services, networks, secrets, configs and volumes. Raises: ValueError."""
    if not SERVICE_NAME.match(name):
        raise ValueError(f"not a name for a Swarm object: {name!r}")
    return name


def check_id(identity: str) -> str:
    """A Swarm object's ID: what is not one could be taken for a name (rule F6). Raises: ValueError."""
    if not ID.match(identity):
        raise ValueError(f"not the ID of a Swarm object: {identity!r}")
    return identity


def check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """A fresh dict in key order. Raises: ValueError for a label that is not ours to set."""
    for key in labels:
        if not key.startswith(PREFIX):
            raise ValueError(f"not a label of ours: {key!r}")
    return dict(sorted(labels.items()))


def to_payload(spec: ServiceSpec, api: Api = (1, 41), kept: Kept | None = None) -> dict[str, Any]:
    """
    Only names and label prefixes are checked: the rest may be what a person put there and goes back as it
    was.

    Raises: ValueError.
    """
    kept = kept or Kept()
    labels = check_labels(spec.labels)
    if spec.no_new_privileges and api < NO_NEW_PRIVILEGES_SINCE:
        labels[NO_NEW_PRIVILEGES] = "wanted"
    payload: dict[str, Any] = {
        "Name": check_name(spec.name),
        "Labels": {**kept.labels, **labels},
        "TaskTemplate": _task(spec, api, kept),
        "Mode": {"Replicated": {"Replicas": spec.replicas}},
        "UpdateConfig": dict(UPDATE_CONFIG),
        "EndpointSpec": {"Mode": "dnsrr"},
    }
    if spec.ports:
        payload["EndpointSpec"]["Ports"] = [
            {
                "Protocol": "tcp",
                "TargetPort": port.target,
                "PublishedPort": port.published,
                "PublishMode": "host",
            }
            for port in spec.ports
        ]
    return payload


def _task(spec: ServiceSpec, api: Api, kept: Kept) -> dict[str, Any]:
    limits = {"NanoCPUs": spec.nano_cpus, "MemoryBytes": spec.memory_bytes, "Pids": spec.pids_limit}
    task: dict[str, Any] = {
        "ContainerSpec": _container(spec, api),
        "RestartPolicy": {"Condition": "any", "Delay": nanoseconds(spec.restart_delay_s)},
        "ForceUpdate": kept.force_update,
    }
    if any(limits.values()):
        task["Resources"] = {"Limits": {name: value for name, value in limits.items() if value}}
    if spec.node_id:
        task["Placement"] = {"Constraints": [NODE_PIN + spec.node_id]}
    if spec.networks:
        task["Networks"] = [_network(network) for network in spec.networks]
    return task


def _container(spec: ServiceSpec, api: Api) -> dict[str, Any]:
    container: dict[str, Any] = {
        "Image": spec.image,
        "Command": list(spec.command),
        "Args": list(spec.args),
        "Env": list(spec.env),
        "Hostname": spec.hostname,
        "Labels": dict(sorted(spec.container_labels.items())),
        "Mounts": [_mount(mount, volume_labels(spec.container_labels)) for mount in spec.mounts],
        "Secrets": [_file(ref, "Secret") for ref in spec.secrets],
        "Configs": [_file(ref, "Config") for ref in spec.configs],
        "CapabilityDrop": list(spec.drop_capabilities),
        "CapabilityAdd": list(spec.add_capabilities),
        "StopSignal": spec.stop_signal,
        "StopGracePeriod": nanoseconds(spec.stop_grace_s),
        "Healthcheck": _health(spec.health),
    }
    container = {name: value for name, value in container.items() if value}
    container["Init"] = False
    if spec.no_new_privileges and api >= NO_NEW_PRIVILEGES_SINCE:
        container["Privileges"] = {"NoNewPrivileges": True}
    return container


def volume_labels(container_labels: Mapping[str, str]) -> dict[str, str]:
    return {key: container_labels[key] for key in VOLUME_LABELS if key in container_labels}


def _mount(mount: Mount, labels: dict[str, str]) -> dict[str, Any]:
    if isinstance(mount, VolumeMount):
        # No NoCopy: the volume takes owner and mode of the image's directory at first use.
        payload: dict[str, Any] = {
            "Type": "volume",
            "Source": mount.volume,
            "Target": mount.target,
        }
        if labels:
            payload["VolumeOptions"] = {"Labels": dict(labels)}
        return payload
    options = {"SizeBytes": mount.size_bytes, "Mode": mount.mode}
    return {"Type": "tmpfs", "Target": mount.target, "TmpfsOptions": options}


def _file(ref: FileRef, kind: str) -> dict[str, Any]:
    return {
        "File": {"Name": ref.target, "UID": ref.uid, "GID": ref.gid, "Mode": ref.mode},
        f"{kind}ID": ref.object_id,
        f"{kind}Name": ref.object_name,
    }


def _network(network: NetworkAttachment) -> dict[str, Any]:
    payload: dict[str, Any] = {"Target": network.network_id}
    if network.aliases:
        payload["Aliases"] = list(network.aliases)
    return payload


def _health(health: HealthCheck | None) -> dict[str, Any]:
    if health is None:
        return {}
    return {
        "Test": list(health.test),
        "Interval": nanoseconds(health.interval_s),
        "Timeout": nanoseconds(health.timeout_s),
        "Retries": health.retries,
        "StartPeriod": nanoseconds(health.start_period_s),
    }


def nanoseconds(seconds: float) -> int:
    return round(seconds * 1_000_000_000)


def network_payload(spec: NetworkSpec) -> dict[str, Any]:
    """Overlay, not attachable: only services of the Swarm join it."""
    return {
        "Name": check_name(spec.name),
        "Driver": "overlay",
        "Scope": "swarm",
        "Attachable": False,
        "Labels": check_labels(spec.labels),
        "IPAM": {"Driver": "default", "Config": [{"Subnet": spec.subnet}]},
        "Options": {"encrypted": ""} if spec.encrypted else {},
    }
