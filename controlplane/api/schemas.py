"""What the API says, as models: the JSON Schema in /openapi.json is made from these. No behaviour lives here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from crds.host import HostStatus
from crds.meta import Model
from crds.status import DatabaseStatus


class MetaView(Model):
    name: str
    labels: dict[str, str] = Field(default={}, description="As the user wrote them.")
    revision: int = Field(default=0, description="etcd mod_revision of the spec; 0: there is none.")


class Event(Model):
    at: str = Field(default="", description="RFC 3339.")
    type: str = Field(default="Normal", description="Normal or Warning.")
    reason: str = ""
    message: str = ""
    change: str = Field(default="none", description="Change class of what was done.")


class DatabaseView(Model):
    api_version: Literal["pgswarm.dev/v1"] = "pgswarm.dev/v1"
    kind: Literal["Database"] = "Database"
    metadata: MetaView
    state: str = Field(
        default="",
        description='active, retained or deleting; "": no spec has been accepted yet.',
    )
    spec: dict[str, Any] | None = Field(
        default=None, description="The accepted spec, which is in force; null: none is. Verifiers are masked."
    )
    accepted_revision: int = Field(
        default=0, description="etcd mod_revision of the spec that is in force; 0: none is."
    )
    images: dict[str, str] = Field(default={}, description="Image pinned for each node.")
    status: DatabaseStatus = DatabaseStatus()
    events: tuple[Event, ...] = Field(default=(), description="The latest, oldest first; not in lists.")


class DatabaseList(Model):
    items: tuple[DatabaseView, ...]
    revision: int = Field(description="Everything in etcd up to this revision is in the answer.")


class HostView(Model):
    api_version: Literal["pgswarm.dev/v1"] = "pgswarm.dev/v1"
    kind: Literal["Host"] = "Host"
    metadata: MetaView
    status: HostStatus = HostStatus()


class HostList(Model):
    items: tuple[HostView, ...]
    revision: int = Field(description="Everything in etcd up to this revision is in the answer.")


class VersionView(Model):
    version: str
    api_version: Literal["pgswarm.dev/v1"] = "pgswarm.dev/v1"
    host: str = Field(description="Host of the process that answers.")


class Check(Model):
    name: str
    ok: bool
    detail: str = Field(default="", description="Why it is not so, for people.")


class Health(Model):
    ok: bool
    checks: tuple[Check, ...] = ()


class Problem(Model):
    """RFC 9457: why a request was not answered."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
