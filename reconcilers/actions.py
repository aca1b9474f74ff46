"""
Actions: every change of the world as a value. Nothing else may change it.

An action says what (`kind`, `name`), why, and what it costs (`change`); the subclass says how.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from reconcilers.ports import Fence, NetworkSpec, Put, Remove, Secret, ServiceSpec, Write


class Why(StrEnum):
    ABSENT = "Absent"
    ACTIVATE = "Activate"
    DRIFTED = "Drifted"
    SPEC_CHANGED = "SpecChanged"
    SURPLUS = "Surplus"
    FENCE = "Fence"
    SWEEP = "Sweep"
    DELETED = "Deleted"
    OBSERVED = "Observed"
    EXPIRING = "Expiring"
    UNSEEN = "Unseen"
    FORGOTTEN = "Forgotten"


class ChangeClass(StrEnum):
    """What an action costs those who use the database."""

    NONE = "none"
    RELOAD = "reload"
    RESTART_REPLICA = "restart-replica"
    SWITCHOVER = "switchover"
    RESTART_PRIMARY = "restart-primary"
    REBUILD = "rebuild"
    DATA_RISK = "data-risk"


_WORDS = {
    "WriteRecords": "Write",
    "GenerateSecret": "Generate",
    "EnsureAccount": "Create",
    "DropAccount": "Remove",
    "CreateNetwork": "Create",
    "RemoveNetwork": "Remove",
    "CreateBlob": "Create",
    "RemoveBlob": "Remove",
    "CreateService": "Create",
    "UpdateService": "Update",
    "RemoveService": "Remove",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One change. `kind` and `name` identify the object; `detail` is for people and holds no secret."""

    kind: str
    name: str
    why: Why
    change: ChangeClass = ChangeClass.NONE
    detail: str = ""

    @property
    def verb(self) -> str:
        return _WORDS.get(type(self).__name__, type(self).__name__)

    def __str__(self) -> str:
        return f"{self.verb} {self.kind}/{self.name} ({self.why}{': ' + self.detail if self.detail else ''})"


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRecords(Action):
    """Records in etcd, all in one fenced transaction."""

    writes: tuple[Write, ...]
    fences: tuple[Fence, ...] = ()
    """What must hold besides the claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateSecret(Action):
    """Make a secret, or renew one; written only over what the plan saw, so a lost race changes nothing."""

    path: str
    recipe: str
    """password, ca or server."""
    subject: str = ""
    """Certificates: the common name."""
    names: tuple[str, ...] = ()
    """Server certificates: the DNS names."""
    issuer: Secret | None = field(default=None, repr=False)
    """Server certificates: the CA's PEM."""
    expected: int = 0
    """mod_revision of the record to replace; 0: there must be none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureAccount(Action):
    """An etcd user that may touch only its own prefix, and the record that says it is done."""

    user: str
    password: Secret = field(repr=False)
    prefix_path: str
    record: Put
    announcement: Put | None = None
    """Written before it is made if there is no record of it: by that it is found and dropped, whoever dies between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DropAccount(Action):
    user: str
    record: Remove


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateNetwork(Action):
    spec: NetworkSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveNetwork(Action):
    network_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateBlob(Action):
    """A Swarm secret or config (`kind` says which); immutable, its name carries its content's hash."""

    labels: Mapping[str, str]
    data: Secret = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveBlob(Action):
    blob_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateService(Action):
    """Always inert: 0 replicas (rule F5)."""

    spec: ServiceSpec

    def __post_init__(self) -> None:
        assert self.spec.replicas == 0, "a service is created inert and activated by a CAS update"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateService(Action):
    """CAS with the version index of the snapshot the plan was made from (rule F3)."""

    service_id: str
    version: int
    spec: ServiceSpec
    afresh: bool = False
    """With new tasks, though nothing about them differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveService(Action):
    """By ID, and only after a tombstone (rule F6)."""

    service_id: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that is wanted and cannot be done yet."""

    kind: str
    name: str
    reason: str
    """One CamelCase word."""
    message: str
    change: ChangeClass = ChangeClass.NONE
    unannounced: bool = False
    """No event tells of its end: the Swarm is to be read again, soon, whatever is remembered of it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The frontier: what can be done now, in a total order; and what waits for what."""

    actions: tuple[Action, ...] = ()
    waiting: tuple[Waiting, ...] = ()

    @classmethod
    def of(cls, *steps: Action | Waiting) -> Plan:
        return cls(
            tuple(one for one in steps if not isinstance(one, Waiting)),
            tuple(one for one in steps if isinstance(one, Waiting)),
        )
