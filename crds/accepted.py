"""What pgswarm has accepted of a spec, and what it decided once for that database's life. One record a database."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from crds.database import DatabaseSpec
from crds.meta import Model


class Accepted(Model):
    """`accepted/database/<name>`: the last valid spec and what must never change by itself."""

    spec: DatabaseSpec
    spec_hash: str
    revision: int = Field(description="etcd mod_revision of the spec record this was read from.")
    incarnation: str = Field(
        description="UUID; part of volume names, never used again after a purge (rule F7)."
    )
    state: Literal["active", "retained", "deleting"] = "active"
    since: str = Field(description="RFC 3339: when `state` was entered.")
    cleared: bool = Field(
        default=False,
        description="Retained or deleting: none of its services is left, as seen after its fence had its tombstone.",
    )
    stopped_at: str = Field(
        default="",
        description="RFC 3339: the spec vanished with most others; removal waits for a person or for the spec.",
    )
    images: dict[str, str] = Field(default_factory=dict, description="Pinned image per node.")
    births: dict[str, str] = Field(
        default_factory=dict,
        description="Host per node whose instance alone may initialise it; fixed once that has begun.",
    )
    departed: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Hosts per node that were taken out of the spec: their data stays until the database is deleted.",
    )
    initialized: dict[str, str] = Field(
        default_factory=dict,
        description="System identifier of each node that has had a primary: it is never bootstrapped again (S10).",
    )
