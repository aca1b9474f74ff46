"""Objects of a `SwarmWorld` as Docker's API shows them. Pure."""

from __future__ import annotations

from typing import Any

from reconcilers.ports import BlobView, ContainerView, NetworkView, NodeView, TaskView, VolumeView
from tests.sim.swarm_world import Service


def raw(one: Service | NetworkView | BlobView | NodeView | TaskView) -> dict[str, Any]:
    """An object as Docker lists it."""
    match one:
        case Service():
            return {
                "ID": one.id,
                "Version": {"Index": one.version},
                "UpdatedAt": one.updated_at,
                "Spec": one.payload,
            }
        case NetworkView():
            config = [{"Subnet": subnet} for subnet in one.subnets]
            about = {"Driver": one.driver, "Scope": one.scope, "Labels": dict(one.labels)}
            return {"Id": one.id, "Name": one.name, **about, "IPAM": {"Config": config}}
        case BlobView():
            return {"ID": one.id, "Spec": {"Name": one.name, "Labels": dict(one.labels)}}
        case NodeView():
            return {
                "ID": one.id,
                "Description": {"Hostname": one.hostname},
                "Status": {"State": "ready" if one.ready else "down", "Addr": one.address},
                "Spec": {
                    "Availability": "active" if one.active else "drain",
                    "Role": "manager" if one.manager else "worker",
                },
            }
        case TaskView():
            status = {"State": one.state, "Err": one.error, "Timestamp": one.since}
            where = {"ServiceID": one.service_id, "NodeID": one.node_id}
            return {"ID": one.id, **where, "Status": status, "DesiredState": one.desired_state}
    raise AssertionError(one)


def listed(view: ContainerView) -> dict[str, Any]:
    return {
        "Id": view.id,
        "Names": [f"/{view.name}"],
        "Image": view.image,
        "ImageID": view.image_id,
        "State": view.state,
        "Labels": dict(view.labels),
        "Mounts": [{"Type": "volume", "Name": name} for name in view.volumes],
        "NetworkSettings": {"Networks": {"bridge": {"IPAddress": view.address}}},
    }


def inspected(view: ContainerView) -> dict[str, Any]:
    return {
        "State": {"Status": view.state, "Health": {"Status": view.health}, "StartedAt": view.started_at},
        "NetworkSettings": {"Networks": {"bridge": {"IPAddress": view.address}}},
    }


def volume(view: VolumeView) -> dict[str, Any]:
    return {"Name": view.name, "Labels": dict(view.labels), "Mountpoint": view.mountpoint}
