"""What surrounds an agent, in memory: etcd records, Docker on its host, an open vault, a claim. No faults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from crds.instance import InstanceDesired, InstanceObserved, LogicalDatabaseDesired, RoleDesired
from crds.meta import Key
from reconcilers import paths
from reconcilers.contract import Result
from reconcilers.errors import Refused, Unavailable
from reconcilers.instance.reconciler import InstanceReconciler
from reconcilers.ports import (
    ContainerView,
    EngineFacts,
    EngineView,
    Fence,
    Ids,
    Patroni,
    Put,
    Record,
    Remove,
    Secret,
    Sql,
    VolumeView,
    Write,
)
from reconcilers.resources import naming

HOST = "host-1"
CLUSTER = "test"
INSTANCE = "orders-n1-abc234"
INCARNATION = "0f8fad5b-d9cb-469f-a165-70867728950e"
VOLUME = naming.volume(INSTANCE, INCARNATION)


@dataclass(slots=True)
class Etcd:
    """Records and Store at once. `behind`: how the mirror still sees things, when it lags."""

    now: dict[str, Record] = field(default_factory=dict)
    behind: dict[str, Record] | None = None
    revision: int = 100
    mirror_revision: int = 100
    commits: list[Sequence[Write]] = field(default_factory=list)

    def get(self, path: str) -> Record | None:
        return (self.now if self.behind is None else self.behind).get(path)

    def under(self, prefix: str) -> Sequence[Record]:
        mirror = self.now if self.behind is None else self.behind
        return [record for path, record in sorted(mirror.items()) if path.startswith(prefix)]

    async def reached(self, revision: int) -> None:
        assert self.mirror_revision >= revision

    async def read(self, path: str) -> Record | None:
        return self.now.get(path)

    async def commit(self, writes: Sequence[Write], fences: Sequence[Fence] = ()) -> int:
        self.commits.append(writes)
        for write in writes:
            if isinstance(write, Put):
                self.put(write.path, write.value)
            else:
                assert isinstance(write, Remove)
                self.now.pop(write.path, None)
        return self.revision

    def put(self, path: str, value: bytes) -> None:
        self.revision += 1
        old = self.now.get(path)
        created = old.create_revision if old else self.revision
        self.now[path] = Record(path, value, created, self.revision)

    def lag(self) -> None:
        """From here on the mirror stands still."""
        self.behind, self.mirror_revision = dict(self.now), self.revision

    def catch_up(self) -> None:
        self.behind = None


class Mirror:
    """The Records side of Etcd, with the mirror's own revision."""

    def __init__(self, etcd: Etcd) -> None:
        self._etcd = etcd
        self.get = etcd.get
        self.under = etcd.under
        self.reached = etcd.reached

    @property
    def revision(self) -> int:
        return self._etcd.revision if self._etcd.behind is None else self._etcd.mirror_revision


@dataclass(slots=True)
class HostEngine:
    containers: list[ContainerView] = field(default_factory=list)
    volumes: dict[str, VolumeView] = field(default_factory=dict)
    effects: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    """The log of each container."""
    listened: int = 0
    mute: bool = False
    """Logs cannot be read."""

    async def log(self, container_id: str, *, lines: int, since_s: float) -> tuple[str, ...]:
        self.listened += 1
        if self.mute:
            raise Unavailable("docker", "configured logging driver does not support reading")
        return tuple(self.said[-lines:])

    async def view(self) -> EngineView:
        return EngineView(0.0, tuple(self.containers), tuple(self.volumes.values()))

    def invalidate(self) -> None:
        """Every view is new."""

    async def facts(self) -> EngineFacts:
        raise NotImplementedError

    async def has_image(self, image: str) -> bool:
        return True

    async def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        self.effects.append(f"create {name}")
        self.volumes[name] = VolumeView(name, dict(labels), f"/volumes/{name}")

    async def remove_volume(self, name: str) -> None:
        self.effects.append(f"remove {name}")
        if any(name in container.volumes for container in self.containers):
            raise Refused("docker", "volume is in use")
        self.volumes.pop(name, None)


class OpenVault:
    """Seals nothing."""

    def seal(self, path: str, secret: Secret) -> bytes:
        return secret.reveal().encode()

    def open(self, path: str, sealed: bytes) -> Secret:
        if sealed == b"sealed with another key":
            raise Refused("vault", "the key does not fit")
        return Secret(sealed.decode())


@dataclass(slots=True)
class SessionClaim:
    epoch: int = 1
    path: str = f"hosts/{HOST}"
    effects_left: int = 1000
    """How often `may_act` still says yes."""

    def may_act(self) -> bool:
        self.effects_left -= 1
        return self.effects_left >= 0


class AgentHost:
    """One host with one instance and its agent."""

    def __init__(
        self, sql: Sql, patroni: Patroni, ids: Ids, *, address: str, secrets: Mapping[str, str]
    ) -> None:
        self.etcd = Etcd()
        self.engine = HostEngine()
        self.claim = SessionClaim()
        self.address = address
        self.desired = InstanceDesired(
            database="orders",
            node="n1",
            instance=INSTANCE,
            host=HOST,
            incarnation=INCARNATION,
            epoch=7,
            volume=VOLUME,
            image="pgswarm/postgres:17",
            scope="orders-n1",
            superuser_path="secrets/database/orders/superuser",
            rest_path="secrets/database/orders/rest",
            ca_path="secrets/database/orders/ca",
        )
        for name, text in secrets.items():
            self.secret(name, text)
        self.reconciler = InstanceReconciler(
            host=HOST,
            cluster=CLUSTER,
            records=Mirror(self.etcd),
            store=self.etcd,
            engine=self.engine,
            patroni=patroni,
            sql=sql,
            vault=OpenVault(),
            ids=ids,
        )

    def secret(self, name: str, text: str) -> str:
        path = f"secrets/database/orders/{name}"
        self.etcd.put(path, text.encode())
        return path

    def want(
        self,
        *,
        roles: Sequence[RoleDesired] = (),
        databases: Sequence[LogicalDatabaseDesired] = (),
        **more: object,
    ) -> None:
        """Write the desired record."""
        fields = {"roles": tuple(roles), "databases": tuple(databases), **more}
        self.desired = self.desired.model_copy(update=fields)
        self.etcd.put(paths.desired(HOST, INSTANCE), self.desired.model_dump_json().encode())

    def run(self, **fields: object) -> None:
        """Let the instance's container run."""
        view = ContainerView(
            id="c1",
            name=f"{INSTANCE}.1",
            image="pgswarm/postgres:17",
            image_id="sha256:1",
            state="running",
            health="healthy",
            address=self.address,
            labels={naming.INSTANCE: INSTANCE, naming.INCARNATION: INCARNATION},
            started_at="2026-01-01T00:00:00Z",
            volumes=(VOLUME,),
        )
        self.engine.containers.append(replace(view, **fields))  # type: ignore[arg-type]

    async def once(self) -> Result:
        return await self.reconciler.reconcile(Key("instance", INSTANCE), self.claim)

    async def settle(self, passes_max: int = 12) -> InstanceObserved:
        """Reconcile until a pass has nothing to do; what the agent then says."""
        for _ in range(passes_max):
            if (await self.once()).actions == 0:
                return self.seen()
        raise AssertionError(f"still at work after {passes_max} passes: {self.seen()}")

    def seen(self) -> InstanceObserved:
        record = self.etcd.now[paths.observed(HOST, INSTANCE)]
        return InstanceObserved.model_validate_json(record.value)
