"""Docker's JSON for everything but service specs to the port's values. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from controlplane.orchestrators import shared
from reconcilers.ports import (
    BlobView,
    ContainerView,
    EngineFacts,
    NetworkView,
    NodeView,
    TaskView,
    VolumeView,
)

Json = Mapping[str, Any]


def network(raw: Json) -> NetworkView:
    configs = (raw.get("IPAM") or {}).get("Config") or []
    return NetworkView(
        id=shared.text(raw["Id"]),
        name=shared.text(raw["Name"]),
        labels=shared.labels(raw.get("Labels") or {}),
        driver=shared.text(raw.get("Driver", "")),
        scope=shared.text(raw.get("Scope", "")),
        subnets=tuple(config["Subnet"] for config in configs if config.get("Subnet")),
    )


def blob(raw: Json) -> BlobView:
    spec = raw["Spec"]
    name, found = shared.text(spec["Name"]), shared.labels(spec.get("Labels") or {})
    return BlobView(id=shared.text(raw["ID"]), name=name, labels=found)


def node(raw: Json) -> NodeView:
    status, spec = raw.get("Status") or {}, raw.get("Spec") or {}
    return NodeView(
        id=raw["ID"],
        hostname=(raw.get("Description") or {}).get("Hostname", ""),
        ready=status.get("State") == "ready",
        active=spec.get("Availability") == "active",
        manager=spec.get("Role") == "manager",
        address=status.get("Addr", ""),
    )


def task(raw: Json) -> TaskView:
    status = raw.get("Status") or {}
    return TaskView(
        id=raw["ID"],
        service_id=shared.text(raw.get("ServiceID", "")),
        node_id=shared.text(raw.get("NodeID", "")),
        state=shared.text(status.get("State", "")),
        desired_state=shared.text(raw.get("DesiredState", "")),
        error=status.get("Err", ""),
        since=status.get("Timestamp", ""),
    )


def volume(raw: Json) -> VolumeView:
    return VolumeView(
        name=raw["Name"], labels=dict(raw.get("Labels") or {}), mountpoint=raw.get("Mountpoint", "")
    )


def runs(listed: Json) -> bool:
    """Whether a container of the list is worth inspecting: it has an address or a health, or soon will."""
    return listed.get("State") not in ("exited", "dead", "created", "removing")


def container(listed: Json, inspected: Json | None) -> ContainerView:
    """
    Args:
        listed: Its entry in the list.
        inspected: The inspection; None for one that does not run, which then has no `started_at`.
    """
    state = (inspected or {}).get("State") or {}
    settings = ((inspected or listed).get("NetworkSettings") or {}).get("Networks") or {}
    names = listed.get("Names") or [""]
    mounts = listed.get("Mounts") or []
    return ContainerView(
        id=listed["Id"],
        name=names[0].lstrip("/"),
        image=listed.get("Image", ""),
        image_id=listed.get("ImageID", ""),
        state=state.get("Status") or listed.get("State", ""),
        health=(state.get("Health") or {}).get("Status") or "none",
        address=(settings.get("bridge") or {}).get("IPAddress") or "",
        labels=dict(listed.get("Labels") or {}),
        started_at=state.get("StartedAt", ""),
        volumes=tuple(sorted(mount["Name"] for mount in mounts if mount.get("Type") == "volume")),
    )


def log(stream: bytes) -> tuple[str, ...]:
    """Lines of a container without a terminal: frames of a header of 8 bytes, the last 4 the length, and text."""
    text, at = b"", 0
    while at + 8 <= len(stream):
        length = int.from_bytes(stream[at + 4 : at + 8], "big")
        text += stream[at + 8 : at + 8 + length]
        at += 8 + length
    return tuple(text.decode(errors="replace").splitlines())


def bridge_gateway(raw: Json | None) -> str:
    """The host's address on its bridge; engine 20.10 leaves it out where it is the subnet's first one."""
    for config in ((raw or {}).get("IPAM") or {}).get("Config") or []:
        subnet = ipaddress.ip_network(config.get("Subnet", "0.0.0.0/0"), strict=False)
        if subnet.version == 4:
            return str(config.get("Gateway") or subnet.network_address + 1)
    return ""


def facts(info: Json, version: Json, bridge: Json | None) -> EngineFacts:
    swarm = info.get("Swarm") or {}
    return EngineFacts(
        node_id=swarm.get("NodeID", ""),
        hostname=info.get("Name", ""),
        manager=bool(swarm.get("ControlAvailable")),
        engine_version=version.get("Version", ""),
        api_version=version.get("ApiVersion", ""),
        os=info.get("OSType", ""),
        architecture=info.get("Architecture", ""),
        cpus=int(info.get("NCPU", 0)),
        memory_bytes=int(info.get("MemTotal", 0)),
        bridge_gateway=bridge_gateway(bridge),
        address=swarm.get("NodeAddr", ""),
    )
