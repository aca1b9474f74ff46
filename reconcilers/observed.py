"""One frozen snapshot of everything a pass over one database may look at. Made by refresh, read by plan and report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crds.accepted import Accepted
from crds.catalogue import Catalogue
from crds.database import Database
from crds.halted import Halted
from crds.heartbeat import HostRecord
from crds.instance import InstanceDesired, InstanceObserved
from crds.meta import Key
from crds.problems import SpecProblem
from crds.status import DatabaseStatus
from reconcilers.ports import BlobView, NetworkView, NodeView, Secret, ServiceView, TaskView


@dataclass(frozen=True, slots=True)
class SpecReading:
    """The spec record as it stands: valid (`database`), refused (`problems`), or gone (both empty)."""

    database: Database | None = None
    problems: tuple[SpecProblem, ...] = ()
    revision: int = 0
    """mod_revision of the record; 0 when there is none."""
    hash: str = ""
    """Digest of the normalised spec; equal specs have equal hashes however they were written."""
    text: bytes = field(default=b"", repr=False)
    """As it was written, to say at which line something is wrong."""

    @property
    def present(self) -> bool:
        return self.revision > 0


@dataclass(frozen=True, slots=True)
class MemberView:
    """One `/patroni/<scope>/members/<name>` record."""

    name: str
    role: str
    state: str
    timeline: int
    lsn: int
    """Bytes since 0/0: write position of a primary, replay position of a replica."""
    pending_restart: bool
    pending_restart_reason: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Parameter -> (value it runs with, value it would have after a restart)."""
    tags: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PatroniCluster:
    """What lies under `/patroni/<scope>/`. Revisions are mod_revisions, for CAS."""

    config: Mapping[str, Any] | None = None
    config_revision: int = 0
    initialize: str | None = None
    """None: nobody has begun to bootstrap. "": somebody is at it. Otherwise the system identifier."""
    initialize_revision: int = 0
    leader: str | None = None
    members: Mapping[str, MemberView] = field(default_factory=dict)
    failover_revision: int = 0
    """mod_revision of the record that requests are written to; 0: there is none yet."""
    failover_requested: bool = False
    """A request stands that Patroni has not yet carried out (when it has, it empties the record)."""
    sync_standbys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostView:
    record: HostRecord | None
    """What the host says of itself; None while no pgswarm lives there."""
    node: NodeView | None
    """The Swarm's view of the same host."""
    schedulable: bool = True


@dataclass(frozen=True, slots=True)
class DesiredReading:
    value: InstanceDesired | None
    """None: the record is there but cannot be read, so it is to be written anew."""
    revision: int


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the mass-deletion stop (S15) needs to know of the other databases."""

    active: int = 0
    """Databases accepted and neither retained nor being deleted."""
    vanished: int = 0
    """Of those: how many have no spec record any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Two are equal that show the same world, whenever they were made."""

    key: Key
    at: str = field(compare=False)
    """RFC 3339 time of the reading."""
    revision: int = field(compare=False)
    """Everything in etcd up to this revision is in the snapshot."""
    owner_path: str
    owner: str
    """Identity of the controller that made the snapshot."""
    epoch: int
    cluster: str
    etcd_endpoints: tuple[str, ...]
    """Where Patroni finds etcd from inside a container."""
    etcd_ca: str = ""
    """PEM; "" when none is configured: plain text, or the image's own roots."""
    etcd_client: Secret | None = None
    """Certificate and key that instances show to etcd, in one PEM; the same in all of them."""
    subnet_pool: str
    """CIDR that overlay subnets are taken from."""
    catalogue: Catalogue
    fresh_id: str = field(compare=False)
    """A UUID that nothing else has; an incarnation, should this pass need one."""
    spec: SpecReading
    accepted: Accepted | None
    accepted_revision: int
    accepted_created: int
    """create_revision of the same record: another number is another database of this name."""
    accepted_unreadable: bool = False
    """The record is there, and this version cannot read it. It must not be taken for absent: data hangs on it."""
    status: DatabaseStatus | None
    status_revision: int
    confirmation: str | None
    """Incarnation whose deletion a person has confirmed."""
    halted: Halted | None = None
    """etcd went back, and no person has said yet that it is as it should be."""
    fleet: Fleet
    hosts: Mapping[str, HostView]
    services: Mapping[str, ServiceView]
    """This database's services by name, the fence included; one atomic list."""
    unseen: frozenset[str] = frozenset()
    """IDs of services whose newest update by this owner the list may not show."""
    networks: Mapping[str, NetworkView]
    secrets: Mapping[str, BlobView]
    configs: Mapping[str, BlobView]
    tasks: tuple[TaskView, ...]
    patroni: Mapping[str, PatroniCluster]
    """By scope."""
    instances: Mapping[str, InstanceObserved]
    desired: Mapping[tuple[str, str], DesiredReading]
    """By (host, instance): every desired record of this database, also those nobody wants any more."""
    vault: Mapping[str, Secret] = field(repr=False)
    """Secrets of this database by short name (`superuser`, `role-app`, ...)."""
    expiring: Mapping[str, int] = field(default_factory=dict)
    """Server certificates that should be renewed, by short name -> mod_revision."""
    subnets: frozenset[str]
    """CIDRs that this database holds."""
    free_subnet: str | None
    """One that it may take; None when there is none, or it holds one."""
    ports: Mapping[tuple[str, int], str]
    """(host, port) -> holder: what this database holds, and who holds what it asks for."""
    free_port: int | None
    """One that it may take on all of its hosts; the one that it has; None when there is none, or it asks for none."""
    accounts: Mapping[str, str]
    """etcd users that were made for this database -> digest of what was asked."""
    etcd_users: frozenset[str] | None
    """Those of `accounts` that exist in etcd; None: authentication is off or nobody has looked."""
    etcd_auth: bool = False
