"""
Every Patroni of a simulated cluster: one for each running container, all over the records in fake etcd.

They do by ticks what the real ones do: race to initialise, copy from the primary, hold the leader's key, carry out a
switchover that was asked for, choose another leader when it is gone. What must never happen is written down in
`violations` as it happens: a second bootstrap, two containers on one volume, data of another cluster.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from reconcilers.ports import ContainerView, VolumeView
from reconcilers.resources import naming, patroni_file
from tests.sim.etcd import FakeEtcd
from tests.sim.postgres import FakePostgres
from tests.sim.swarm_world import SwarmWorld

TICK_S = 1.0
TTL_S = 20.0
LSN_EVERY = 10
"""Ticks between two moves of a primary's write position."""
NEED_RESTART = (
    "max_connections",
    "max_replication_slots",
    "max_wal_senders",
    "max_worker_processes",
    "shared_buffers",
    "shared_preload_libraries",
    "wal_buffers",
)


@dataclass(slots=True)
class Data:
    """What lies on one volume."""

    volume: VolumeView
    sysid: str
    timeline: int
    postgres: FakePostgres


@dataclass(slots=True)
class Member:
    """One Patroni process. Lives as long as its container."""

    host: str
    container: ContainerView
    settings: Mapping[str, Any]
    """Its patroni.yml."""
    started_with: Mapping[str, str] = field(default_factory=dict)
    data: Data | None = None
    busy: str = ""
    """What it is at: initdb, or a copy of the primary; each takes a tick. It ends with the process."""
    stalled: bool = False
    """It does not get on with that."""

    @property
    def name(self) -> str:
        return str(self.settings["name"])

    @property
    def scope(self) -> str:
        return str(self.settings["scope"])


class PatroniWorld:
    """`tick` once a virtual second; everything in between is still."""

    def __init__(self, etcd: FakeEtcd, swarm: SwarmWorld) -> None:
        self.etcd, self.swarm = etcd, swarm
        self.down: set[str] = set()
        """Hosts without power."""
        self.members: dict[str, Member] = {}
        """By container ID."""
        self.violations: list[str] = []
        self.bootstraps: list[tuple[str, str]] = []
        """(scope, incarnation) of each initdb."""
        self.moves: list[tuple[str, str]] = []
        """(leader before, leader after) of each switchover that was asked for."""
        self._data: dict[tuple[str, str], Data] = {}
        self.torn: set[tuple[str, str]] = set()
        """Volumes (host, name) whose data directory is neither empty nor data: somebody is filling it, or was."""
        self.marked: set[tuple[str, str]] = set()
        """Volumes that bear the image's mark: what lies there may be torn, and was never in use."""
        self._leader_missed_s: dict[str, float] = {}
        self._files: dict[str, Mapping[str, Any]] = {}
        """patroni.yml by the ID of its secret, which never changes."""
        self._ticks = 0

    def tick(self) -> None:
        self._ticks += 1
        self._forget_removed_volumes()
        self._look_at_containers()
        scopes = {member.scope for member in self.members.values()}
        scopes |= {record.path.split("/")[1] for record in self.etcd.under("patroni/")}
        for scope in sorted(scopes):
            self._run(scope)

    # --- containers and volumes ---

    def _forget_removed_volumes(self) -> None:
        for (host, name), data in list(self._data.items()):
            if self.swarm.engine(host).volumes.get(name) is not data.volume:
                del self._data[host, name]
        for host, name in self.torn | self.marked:
            if name not in self.swarm.engine(host).volumes:
                self.torn.discard((host, name))
                self.marked.discard((host, name))

    def _look_at_containers(self) -> None:
        running = {member.container.id: member for member in self._running()}
        before, self.members = self.members, {}
        for identity, member in sorted(running.items()):
            if identity not in before:
                self._begin(member)
            self.members[identity] = before.get(identity, member)
        mounted = [(m.host, v) for m in self.members.values() for v in m.container.volumes]
        twice = len(set(mounted)) < len(mounted)
        for place in sorted({place for place in mounted if mounted.count(place) > 1} if twice else ()):
            self.violations.append(f"S6: two containers run on volume {place}")

    def _running(self) -> Iterator[Member]:
        for engine in self.swarm.engines.values():
            if engine.hostname in self.down:
                continue
            for container in engine.containers.values():
                if container.view.state != "running" or naming.INSTANCE not in container.view.labels:
                    continue
                settings = self._settings(container.service_id)
                if settings is not None:
                    yield Member(engine.hostname, container.view, settings)

    def _settings(self, service_id: str) -> Mapping[str, Any] | None:
        service = self.swarm.services.get(service_id)
        if service is None:
            return None
        for file in service.payload["TaskTemplate"]["ContainerSpec"].get("Secrets", ()):
            if file["File"]["Name"] == patroni_file.TARGET:
                identity = file["SecretID"]
                if identity not in self._files:
                    self._files[identity] = json.loads(self.swarm.data[identity])
                return self._files[identity]
        return None

    def _begin(self, member: Member) -> None:
        """What the image's entrypoint does before there is a Patroni: images/postgres/birth."""
        for place in self._places(member):
            if place in self._data:
                continue
            if place in self.marked:
                self.torn.discard(place)
            self.marked.add(place)
            if "bootstrap" in member.settings and self._text(member.scope, "initialize") == "":
                self.etcd.remove(f"patroni/{member.scope}/initialize")

    def _places(self, member: Member) -> list[tuple[str, str]]:
        return [(member.host, volume) for volume in member.container.volumes]

    # --- one cluster ---

    def _run(self, scope: str) -> None:
        members = [m for m in self._by_name() if m.scope == scope and self._may_log_in(m)]
        config = self._json(scope, "config")
        for member in members:
            self._start(member, scope, config)
        alive = [member for member in members if member.data is not None]
        self._lead(scope, alive)
        self._tell(scope, members, config)

    def _by_name(self) -> list[Member]:
        return sorted(self.members.values(), key=lambda member: member.name)

    def _may_log_in(self, member: Member) -> bool:
        section = member.settings["etcd3"]
        if "username" not in section:
            return True
        password, prefix = self.etcd.accounts.get(section["username"], (None, ""))
        fits = password is not None and password.reveal() == section["password"]
        return fits and f"patroni/{member.scope}/".startswith(prefix)

    def _start(self, member: Member, scope: str, config: Mapping[str, Any] | None) -> None:
        if member.data is not None or config is None:
            return
        [volume] = member.container.volumes
        place = (member.host, volume)
        if place not in self._data:
            self._fill(place, member, scope, self._text(scope, "initialize"))
        data, initialize = self._data.get(place), self._text(scope, "initialize")
        if data is None:
            return
        if initialize is not None and initialize != data.sysid:
            self.violations.append(f"S10: {member.name} has data of {data.sysid}, not of {initialize}")
        member.data = data
        member.started_with = dict(config["postgresql"]["parameters"])
        data.postgres.auto_conf.setdefault(member.name, set())

    def _fill(self, place: tuple[str, str], member: Member, scope: str, initialize: str | None) -> None:
        """
        An empty volume: initialise if nobody has, else copy from the primary once there is one.

        However a container ends in the middle of that, by SIGTERM or without a word, an empty `initialize` and a torn
        directory are left: Patroni takes the record back only when initdb itself fails.
        """
        if member.stalled:
            return
        if member.busy == "initdb":
            self._commit(place, member, scope, initialize)
        elif member.busy == "copy":
            member.busy = ""
            self.torn.discard(place)
            source = self._source(scope)
            if source is not None:
                self._keep(place, Data(self._volume(place), source.sysid, source.timeline, source.postgres))
        elif place in self.torn:
            return  # "data dir is not empty but system ID is invalid"
        elif initialize is None and "bootstrap" in member.settings:
            self.etcd.put(f"patroni/{scope}/initialize", b"")
            member.busy = "initdb"
            self.torn.add(place)
        elif self._source(scope) is not None:
            member.busy = "copy"
            self.torn.add(place)
            self.marked.add(place)

    def _commit(self, place: tuple[str, str], member: Member, scope: str, initialize: str | None) -> None:
        """The end of initdb. If it may not be the one any more, the container kills itself."""
        if initialize != "":
            self.swarm.engine(member.host).kill(member.container.id)
            return
        sysid = str(7_300_000_000_000_000_000 + len(self.bootstraps))
        postgres = FakePostgres(member.name)
        postgres.password = member.settings["postgresql"]["authentication"]["superuser"]["password"]
        birth = (scope, place[1].rpartition("-")[2])
        if birth in self.bootstraps:
            self.violations.append(f"S10: {scope} was initialised twice")
        self.bootstraps.append(birth)
        self.etcd.put(f"patroni/{scope}/initialize", sysid.encode())
        self._keep(place, Data(self._volume(place), sysid, 1, postgres))
        member.busy = ""

    def _keep(self, place: tuple[str, str], data: Data) -> None:
        self._data[place] = data
        self.torn.discard(place)
        self.marked.discard(place)

    def _volume(self, place: tuple[str, str]) -> VolumeView:
        return self.swarm.engine(place[0]).volumes[place[1]]

    def _source(self, scope: str) -> Data | None:
        """The primary's data."""
        leader = self._text(scope, "leader")
        return next((m.data for m in self._by_name() if m.name == leader and m.data is not None), None)

    def _lead(self, scope: str, alive: list[Member]) -> None:
        leader = self._text(scope, "leader")
        current = next((member for member in alive if member.name == leader), None)
        if current is not None:
            self._leader_missed_s.pop(scope, None)
            for one in alive:
                if one.data is not None and current.data is not None:
                    one.data.timeline = current.data.timeline  # a replica that was away follows
            self._carry_out(scope, current, alive)
        elif leader is not None and not self._given_up(scope, leader):
            return
        elif alive:
            best = max(alive, key=lambda member: (member.data.timeline if member.data else 0, member.name))
            self._promote(scope, best, alive, fresh=self.etcd.get(f"patroni/{scope}/history") is None)
        elif leader is not None:
            self.etcd.remove(f"patroni/{scope}/leader")

    def _given_up(self, scope: str, leader: str) -> bool:
        """A Patroni that was told to stop gives its key back; of one that vanished it runs out."""
        vanished = any(
            container.view.labels.get(naming.INSTANCE) == leader
            for engine in self.swarm.engines.values()
            if engine.hostname in self.down
            for container in engine.containers.values()
        )
        now_s = self.etcd.clock.monotonic()
        since_s = self._leader_missed_s.setdefault(scope, now_s)
        return not vanished or now_s - since_s >= TTL_S

    def _carry_out(self, scope: str, leader: Member, alive: list[Member]) -> None:
        wish = self._json(scope, "failover")
        if not wish:
            return
        target = next((member for member in alive if member.name == wish.get("member")), None)
        self.etcd.put(f"patroni/{scope}/failover", b"{}")
        if target is not None and target is not leader and wish.get("leader") == leader.name:
            self.moves.append((leader.name, target.name))
            self._promote(scope, target, alive, fresh=False)

    def _promote(self, scope: str, member: Member, alive: list[Member], *, fresh: bool) -> None:
        assert member.data is not None
        timeline = member.data.timeline if fresh else member.data.timeline + 1
        for one in alive:
            if one.data is not None:
                one.data.timeline = timeline
        member.data.postgres.primary = member.name
        self._leader_missed_s.pop(scope, None)
        self.etcd.put(f"patroni/{scope}/history", b"[]")
        self.etcd.put(f"patroni/{scope}/leader", member.name.encode())

    # --- what each tells of itself ---

    def _tell(self, scope: str, members: list[Member], config: Mapping[str, Any] | None) -> None:
        leader = self._text(scope, "leader")
        prefix = f"patroni/{scope}/members/"
        told = {member.name: self._record(member, leader, config) for member in members}
        for record in self.etcd.under(prefix):
            if record.path.removeprefix(prefix) not in told:
                self.etcd.remove(record.path)
        for name, value in told.items():
            have = self.etcd.get(prefix + name)
            if have is None or have.value != value:
                self.etcd.put(prefix + name, value)

    def _record(self, member: Member, leader: str | None, config: Mapping[str, Any] | None) -> bytes:
        if member.data is None:
            return _not_yet(member.busy)
        changed = self.pending(member, config)
        role = "primary" if member.name == leader else "replica"
        told = _running(role, member.data.timeline, self._ticks // LSN_EVERY)
        if not changed:
            return told
        value = json.loads(told) | {"pending_restart": True, "pending_restart_reason": changed}
        return json.dumps(value).encode()

    def pending(self, member: Member, config: Mapping[str, Any] | None = None) -> dict[str, dict[str, str]]:
        """Parameters that wait for a restart of this Postgres."""
        config = config if config is not None else self._json(member.scope, "config")
        wanted = config["postgresql"]["parameters"] if config else member.started_with
        if wanted == member.started_with:
            return {}
        return {
            name: {"old_value": str(member.started_with.get(name)), "new_value": str(wanted.get(name))}
            for name in NEED_RESTART
            if member.data is not None and member.started_with.get(name) != wanted.get(name)
        }

    def restart(self, member: Member) -> None:
        config = self._json(member.scope, "config")
        if config is not None:
            member.started_with = dict(config["postgresql"]["parameters"])

    def leads(self, member: Member) -> bool:
        return self._text(member.scope, "leader") == member.name

    def find(self, host: str, address: str) -> Member | None:
        """The Patroni that answers at an address of this host's bridge."""
        found = (m for m in self.members.values() if m.host == host and m.container.address == address)
        return next(found, None)

    def postgres(self, scope: str) -> FakePostgres:
        """The node's Postgres, for a person with psql."""
        return next(m.data.postgres for m in self.members.values() if m.scope == scope and m.data)

    def _text(self, scope: str, name: str) -> str | None:
        record = self.etcd.get(f"patroni/{scope}/{name}")
        return None if record is None else record.value.decode()

    def _json(self, scope: str, name: str) -> dict[str, Any] | None:
        record = self.etcd.get(f"patroni/{scope}/{name}")
        return None if record is None else _mapping(record.value)


@lru_cache(maxsize=64)
def _not_yet(busy: str) -> bytes:
    state = {"initdb": "initializing new cluster", "copy": "creating replica"}.get(busy, "stopped")
    return json.dumps({"role": "uninitialized", "state": state}).encode()


@lru_cache(maxsize=256)
def _running(role: str, timeline: int, moves: int) -> bytes:
    """`moves`: of the primary's write position."""
    return json.dumps(
        {
            "role": role,
            "state": "running" if role == "primary" else "streaming",
            "timeline": timeline,
            "xlog_location": 50_331_648 + 1000 * moves,
        }
    ).encode()


@lru_cache(maxsize=1024)
def _mapping(text: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
