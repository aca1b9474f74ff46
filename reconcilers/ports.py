"""
What the core needs of the world, in the core's own words. Protocols and the values that cross them; no code.

Paths: every etcd record has a *path* relative to pgswarm's prefix (`specs/database/orders`); Patroni's own
records are seen under `patroni/...` (`patroni/orders-n1/leader`). The store maps paths to keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


class Secret:
    """A string that does not show itself: not in repr, not in str, not in a log."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text. Call it only where it goes to its destination."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


# --- etcd -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Record:
    """One etcd key as it was at `mod_revision`."""

    path: str
    value: bytes
    create_revision: int
    mod_revision: int


@dataclass(frozen=True, slots=True)
class Fence:
    """
    A record that must still be the one this plan was made under: the owner's (rule F1), or another.

    Checked in the transaction itself; nothing of it is written otherwise.
    """

    path: str
    epoch: int
    """Its create_revision; 0: the record must not be there."""
    owner: bool = True
    """False: that it is another is a Conflict, not the loss of the claim."""


@dataclass(frozen=True, slots=True)
class Put:
    """Write `value` if the record's mod_revision is still `expected` (0: it must not exist; None: whatever)."""

    path: str
    value: bytes = field(repr=False)
    expected: int | None = None
    leased: bool = False
    """Bind the record to this process's session lease: it disappears with the process."""
    ttl_s: int | None = None
    """Bind the record to a lease of its own of about this many seconds (events)."""


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete the record, or with `prefix` everything below `path` (which then ends with a slash)."""

    path: str
    expected: int | None = None
    prefix: bool = False


Write = Put | Remove


class Records(Protocol):
    """A warm mirror of etcd, fed by list + watch. Reading it costs no call and never blocks."""

    def get(self, path: str) -> Record | None: ...

    def under(self, prefix: str) -> Sequence[Record]:
        """Records whose path starts with `prefix`, in path order."""
        ...

    @property
    def revision(self) -> int:
        """Everything up to this etcd revision is in the mirror."""

    async def reached(self, revision: int) -> None:
        """Return once the mirror holds `revision` (read-your-writes). The caller brings the deadline."""
        ...


class HeldRecords(Records, Protocol):
    """The same, where records are found by the database that they belong to, too."""

    def held_by(self, prefix: str, holder: str) -> Sequence[Record]:
        """Records under `prefix`, one of `held.HELD`, that are this database's; in path order."""
        ...

    def touched(self, whose: str) -> int:
        """A number that grows whenever a record comes, changes or goes that is theirs by `held.whose`."""
        ...


class Store(Protocol):
    """Writes to etcd, fenced; and the few reads that must be linearizable."""

    async def read(self, path: str) -> Record | None:
        """Linearizable read."""
        ...

    async def commit(self, writes: Sequence[Write], fences: Sequence[Fence] = ()) -> int:
        """
        Apply all writes in one transaction and return its revision.

        Raises:
            OwnershipLost: a fence's record is gone or was created anew; nothing was written.
            Conflict: an `expected` revision did not match; nothing was written.
            UnknownFate: no answer after sending; it may have been applied.
            Unavailable: not sent, or certainly not applied.
        """
        ...


class Accounts(Protocol):
    """etcd users for Patroni: each may touch nothing but its own prefix."""

    def names(self) -> frozenset[str] | None:
        """Users that exist, from the last look (None: not looked yet, or authentication is off)."""

    @property
    def listed_at(self) -> int:
        """etcd revision of that look: about a user that was made later it says nothing."""

    async def ensure(self, user: str, password: Secret, prefix_path: str) -> None:
        """Create user and role if absent, set the password, grant read-write below `prefix_path` only."""
        ...

    async def drop(self, user: str) -> None:
        """Remove user and role; absent is fine."""
        ...


class Vault(Protocol):
    """Envelope encryption of what lies in `secrets/...`. Bound to the path: a moved ciphertext does not open."""

    def seal(self, path: str, secret: Secret) -> bytes: ...

    def open(self, path: str, sealed: bytes) -> Secret:
        """Raises: Refused when the key does not fit or the text was altered."""
        ...


# --- Swarm ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VolumeMount:
    volume: str
    target: str


@dataclass(frozen=True, slots=True)
class TmpfsMount:
    target: str
    size_bytes: int
    mode: int = 0o1777


Mount = VolumeMount | TmpfsMount


@dataclass(frozen=True, slots=True)
class FileRef:
    """A Swarm secret or config shown to the container as a file."""

    object_id: str
    object_name: str
    target: str
    uid: str = "999"
    gid: str = "999"
    mode: int = 0o400


@dataclass(frozen=True, slots=True)
class NetworkAttachment:
    network_id: str
    """Network ID; for the host's predefined bridge the literal name `bridge`."""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """Host-mode publish, TCP."""

    target: int
    published: int


@dataclass(frozen=True, slots=True)
class HealthCheck:
    test: tuple[str, ...]
    interval_s: float
    timeout_s: float
    retries: int
    start_period_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """
    One Swarm service in neutral words, both as wanted and as found.

    Whatever a live service carries beyond these fields shows up in `foreign`, a digest of the remainder
    ("" when there is none), so that a hand-made `docker service update` is seen whatever it touched.
    """

    name: str
    labels: Mapping[str, str]
    """Service-level labels: changing them restarts nothing."""
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    hostname: str = ""
    container_labels: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    secrets: tuple[FileRef, ...] = ()
    configs: tuple[FileRef, ...] = ()
    networks: tuple[NetworkAttachment, ...] = ()
    node_id: str = ""
    """Swarm node the service is pinned to; "" is unpinned."""
    replicas: int = 0
    memory_bytes: int = 0
    nano_cpus: int = 0
    pids_limit: int = 0
    drop_capabilities: tuple[str, ...] = ()
    add_capabilities: tuple[str, ...] = ()
    no_new_privileges: bool = False
    stop_grace_s: float = 0
    stop_signal: str = ""
    health: HealthCheck | None = None
    ports: tuple[PublishedPort, ...] = ()
    restart_delay_s: float = 0
    foreign: str = ""


@dataclass(frozen=True, slots=True)
class ServiceView:
    id: str
    version: int
    """`Version.Index` in the same snapshot: what a CAS update must carry (rule F3)."""
    spec: ServiceSpec
    updated_at: str = ""
    """RFC 3339 time of the last change, by the manager's clock; "": not known."""


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    name: str
    labels: Mapping[str, str]
    subnet: str
    """CIDR, IPv4."""
    encrypted: bool = False


@dataclass(frozen=True, slots=True)
class NetworkView:
    id: str
    name: str
    labels: Mapping[str, str]
    driver: str
    scope: str
    subnets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BlobView:
    """A Swarm secret or config; its content is immutable, so the name carries the content's hash."""

    id: str
    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NodeView:
    id: str
    hostname: str
    ready: bool
    active: bool
    """Availability is `active` (not drained, not paused)."""
    manager: bool
    address: str


@dataclass(frozen=True, slots=True)
class TaskView:
    id: str
    service_id: str
    node_id: str
    state: str
    desired_state: str
    error: str
    since: str
    """RFC 3339 time of the last state change."""


@dataclass(frozen=True, slots=True)
class SwarmView:
    """One reading of the Swarm. `services` is one atomic list (rule F2); all labelled as this cluster's."""

    at_s: float
    """Monotonic seconds when the reading was *started*."""
    services: tuple[ServiceView, ...]
    networks: tuple[NetworkView, ...]
    """Every network, also foreign ones: their subnets must be avoided."""
    secrets: tuple[BlobView, ...]
    configs: tuple[BlobView, ...]
    nodes: tuple[NodeView, ...]
    tasks: tuple[TaskView, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """What one database has in the Swarm, by name. `services` is one atomic list (rule F2)."""

    services: Mapping[str, ServiceView] = field(default_factory=dict)
    networks: Mapping[str, NetworkView] = field(default_factory=dict)
    secrets: Mapping[str, BlobView] = field(default_factory=dict)
    configs: Mapping[str, BlobView] = field(default_factory=dict)
    tasks: tuple[TaskView, ...] = ()


class Orchestrator(Protocol):
    """Docker Swarm, seen from a manager."""

    async def share(self, database: str) -> Share:
        """The cached reading if nothing has invalidated it, else a new one: of this database alone if that will do."""
        ...

    async def view(self) -> SwarmView:
        """The same of everything."""
        ...

    @property
    def nodes(self) -> tuple[NodeView, ...]:
        """Of the last reading of everything, which each `share` and `view` makes if there is none yet."""

    @property
    def networks(self) -> tuple[NetworkView, ...]:
        """Everybody's, as `nodes`."""

    def invalidate(self, database: str | None = None, *, wanted: bool = False) -> None:
        """
        The next `share` of this database reads anew; None: of any. Every write does this by itself.

        Args:
            wanted: There will be one; where many are to come one reading serves them all.
        """

    async def create_network(self, spec: NetworkSpec) -> str: ...

    async def remove_network(self, network_id: str) -> None:
        """Absent is fine. Raises: Refused while it is in use."""
        ...

    async def create_secret(self, name: str, labels: Mapping[str, str], data: Secret) -> str: ...

    async def remove_secret(self, secret_id: str) -> None: ...

    async def create_config(self, name: str, labels: Mapping[str, str], data: str) -> str: ...

    async def remove_config(self, config_id: str) -> None: ...

    async def create_service(self, spec: ServiceSpec) -> str:
        """Raises: Conflict when the name is taken."""
        ...

    async def update_service(
        self, service_id: str, version: int, spec: ServiceSpec, *, afresh: bool = False
    ) -> None:
        """
        CAS.

        Args:
            afresh: With new tasks, even if the spec asks for none.

        Raises:
            Conflict: `version` is not the current one, or the service is gone.
        """
        ...

    async def remove_service(self, service_id: str) -> None:
        """By ID, never by name (rule F6). Absent is fine."""
        ...


# --- the host's own engine ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ContainerView:
    id: str
    name: str
    image: str
    image_id: str
    state: str
    """created, running, paused, restarting, removing, exited or dead."""
    health: str
    """none, starting, healthy or unhealthy."""
    address: str
    """IPv4 on the host's own bridge; "" when it has none."""
    labels: Mapping[str, str]
    started_at: str
    volumes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VolumeView:
    name: str
    labels: Mapping[str, str]
    mountpoint: str


@dataclass(frozen=True, slots=True)
class EngineView:
    at_s: float
    containers: tuple[ContainerView, ...]
    volumes: tuple[VolumeView, ...]


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What one host is, for its heartbeat."""

    node_id: str
    """Swarm node ID; "" outside a Swarm."""
    hostname: str
    manager: bool
    engine_version: str
    api_version: str
    os: str
    architecture: str
    cpus: int
    memory_bytes: int
    bridge_gateway: str
    """Address of the host on its predefined bridge; containers see the host's connections come from it."""
    address: str = ""
    """Address that this host has in the Swarm; "" outside one."""


class Engine(Protocol):
    """Docker on this host: what Swarm cannot show or do from elsewhere."""

    async def view(self) -> EngineView:
        """Labelled containers and volumes; cached until an event or a write invalidates it."""
        ...

    def invalidate(self) -> None: ...

    async def facts(self) -> EngineFacts: ...

    async def has_image(self, image: str) -> bool: ...

    async def log(self, container_id: str, *, lines: int, since_s: float) -> tuple[str, ...]:
        """The newest `lines` of what it has said in the last `since_s` seconds, oldest first; () if it is gone."""
        ...

    async def create_volume(self, name: str, labels: Mapping[str, str]) -> None: ...

    async def remove_volume(self, name: str) -> None:
        """Absent is fine. Raises: Refused while a container uses it."""
        ...


# --- inside an instance ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PatroniView:
    """Patroni's own word about itself (GET /patroni)."""

    state: str
    """running, starting, stopped, ... as Patroni says it."""
    role: str
    """primary, replica or standby_leader."""
    timeline: int
    server_version: int
    pending_restart: bool
    paused: bool
    sysid: str
    lsn: int
    """Primary: current write LSN; replica: last replayed LSN; bytes since 0/0."""
    certificate_expires: str = ""
    """RFC 3339: end of the server certificate that Patroni presented (Postgres has the same); "": not known."""


@dataclass(frozen=True, slots=True)
class InstanceAccess:
    """How the agent reaches one instance on its own host."""

    address: str
    superuser: str
    password: Secret
    rest_user: str
    rest_password: Secret
    ca_pem: str
    server_name: str = ""
    """Name that the server's certificate must carry; "": the chain alone is checked."""


class Patroni(Protocol):
    async def view(self, access: InstanceAccess) -> PatroniView:
        """Raises: Unavailable."""
        ...

    async def restart(self, access: InstanceAccess, *, only_if_pending: bool = True) -> None:
        """Restart Postgres (not the container)."""
        ...

    async def reload(self, access: InstanceAccess) -> None: ...

    async def reinitialize(self, access: InstanceAccess) -> None:
        """Throw a replica's data away and copy it again from the primary."""
        ...


@dataclass(frozen=True, slots=True)
class Statement:
    """
    One SQL statement as data. `template` has `{name}` places; each name is either in `identifiers` or in
    `literals`, and the adapter quotes it as such (psycopg.sql). Text is never formatted in.
    """

    template: str
    identifiers: Mapping[str, str] = field(default_factory=dict)
    literals: Mapping[str, str | int | bool | Secret | None] = field(default_factory=dict)
    transactional: bool = True
    """False for CREATE DATABASE and the like, which refuse a transaction block."""


class Sql(Protocol):
    async def query(
        self, access: InstanceAccess, database: str, statement: Statement
    ) -> Sequence[Sequence[Any]]:
        """Read-only. Raises: Unavailable, Refused."""
        ...

    async def execute(
        self, access: InstanceAccess, database: str, statements: Sequence[Statement], *, epoch: int
    ) -> None:
        """
        Run the statements, fenced: the first of each transaction advances `pgswarm.fence` to `epoch` or fails.

        Raises:
            OwnershipLost: a newer epoch has written.
            Refused: Postgres said no (its message without the statement's literals).
            Unavailable: no connection.
        """
        ...


# --- time, chance, wake-ups -----------------------------------------------------------------------------


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds; only differences mean anything."""
        ...

    def now(self) -> str:
        """RFC 3339 in UTC with seconds, for people and records."""
        ...

    def epoch_s(self) -> float:
        """Seconds since 1970, for certificates and expiry."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class Ids(Protocol):
    """Everything random, injected."""

    def uuid(self) -> str: ...

    def ulid(self) -> str: ...

    def token(self, bits: int = 192) -> Secret:
        """URL-safe text with at least `bits` of randomness."""
        ...

    def jitter(self, seconds: float) -> float:
        """Uniform in [0, seconds)."""
        ...


# --- certificates ---------------------------------------------------------------------------------------


class Certificates(Protocol):
    """A small CA per database. Bundles are PEM: the key first, then its certificate."""

    def issue_ca(self, common_name: str, now_s: float) -> Secret:
        """Make a CA that may sign server certificates and nothing below it."""
        ...

    def issue_server(self, ca: Secret, instance: str, names: Sequence[str], now_s: float) -> Secret:
        """
        Make a server's key and certificate, valid for `instance`, `names`, localhost and 127.0.0.1.

        Raises: Refused when `ca` is not a bundle of `issue_ca`.
        """
        ...

    def renew_at_s(self, bundle: Secret) -> float:
        """Seconds since 1970 from which the certificate should be replaced: two thirds of its life. Raises: Refused."""
        ...
