"""Specs and requests as people read them, for traces."""

from __future__ import annotations

from typing import Any

from tests.model.state import FENCE, Kind, Request, Spec


def written(spec: Spec | None) -> str:
    if spec is None:
        return ""
    policy = "delete" if spec.deletes else "retain"
    return f" generation {spec.generation}, instances {list(spec.hosts)}, policy {policy}"


def say(request: Request) -> str:
    """As people read it: who sent it, what it is about, and what must still hold when it arrives."""
    what, slot = request.kind.name.lower().replace("_", " "), request.slot
    place = "fence" if slot == FENCE else f"instance {slot}"
    body: Any = request.body
    match request.kind:
        case Kind.CREATE:
            words = f"{place}: {_content(body)}"
        case Kind.UPDATE:
            words = f"{place} (id {request.id}, version {request.version}): {_content(body)}"
        case Kind.REMOVE:
            words = f"{place} (id {request.id})"
        case Kind.ACCEPT:
            words = f"{body[0].name.lower()}, generation {body[1]}{', cleared' if body[4] else ''}"
        case Kind.ASK:
            words = f"volume {body[1][0]} {body[1][1].name.lower()}" if body[1] else "nothing any more"
        case Kind.READY:
            words = f"spec revision {body[0]}"
        case Kind.REMOVE_VOLUME:
            return f"remove volume {request.id}"
        case _:
            words = "everything"
    return f"[epoch {request.epoch}] {what} {words}"


def _content(body: Any) -> str:
    epoch, incarnation, generation, replicas, tombstone = body
    end = ", tombstone" if tombstone else ""
    if not incarnation:
        return f"epoch label {epoch}{end}"
    return (
        f"epoch label {epoch}, incarnation {incarnation}, generation {generation}, replicas {replicas}{end}"
    )
