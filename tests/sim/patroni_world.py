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
        self._leader_missed_s: dict[str, float] = {}
        self._initialising: dict[str, str] = {}
        """Scope -> container that won the race."""
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

    def _look_at_containers(self) -> None:
        running = {member.container.id: member for member in self._running()}
        self.members = {
            identity: self.members.get(identity, member) for identity, member in sorted(running.items())
        }
        mounted = [(m.host, v) for m in self.members.values() for v in m.container.volumes]
        for place in sorted({place for place in mounted if mounted.count(place) > 1}):
            self.violations.append(f"two containers run on volume {place}")

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
                found: Mapping[str, Any] = json.loads(self.swarm.data[file["SecretID"]])
                return found
        return None

    # --- one cluster ---

    def _run(self, scope: str) -> None:
        if self._text(scope, "initialize") == "" and self._initialising.get(scope) not in self.members:
            self.etcd.remove(f"patroni/{scope}/initialize")  # told to stop in the middle of it
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
            self.violations.append(f"{member.name} has data of {data.sysid}, not of {initialize}")
        member.data = data
        member.started_with = dict(config["postgresql"]["parameters"])
        data.postgres.auto_conf.setdefault(member.name, set())

    def _fill(self, place: tuple[str, str], member: Member, scope: str, initialize: str | None) -> None:
        """An empty volume: initialise if nobody has, else copy from the primary once there is one."""
        volume = self.swarm.engine(member.host).volumes[place[1]]
        leader = self._text(scope, "leader")
        if initialize is None:
            if "bootstrap" not in member.settings:
                return
            self.etcd.put(f"patroni/{scope}/initialize", b"")
            self._initialising[scope] = member.container.id
        elif initialize == "" and self._initialising.get(scope) == member.container.id:
            sysid = str(7_300_000_000_000_000_000 + len(self.bootstraps))
            password = member.settings["postgresql"]["authentication"]["superuser"]["password"]
            postgres = FakePostgres(member.name)
            postgres.password = password
            self._data[place] = Data(volume, sysid, 1, postgres)
            birth = (scope, place[1].rpartition("-")[2])
            if birth in self.bootstraps:
                self.violations.append(f"{scope} was initialised twice")
            self.bootstraps.append(birth)
            self.etcd.put(f"patroni/{scope}/initialize", sysid.encode())
        elif leader is not None:
            source = next((m for m in self._by_name() if m.name == leader and m.data is not None), None)
            if source is not None and source.data is not None:
                self._data[place] = Data(
                    volume, source.data.sysid, source.data.timeline, source.data.postgres
                )

    def _lead(self, scope: str, alive: list[Member]) -> None:
        leader = self._text(scope, "leader")
        current = next((member for member in alive if member.name == leader), None)
        if current is not None:
            self._leader_missed_s.pop(scope, None)
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
            return json.dumps({"role": "uninitialized", "state": "stopped"}).encode()
        role = "primary" if member.name == leader else "replica"
        value: dict[str, Any] = {
            "role": role,
            "state": "running" if role == "primary" else "streaming",
            "timeline": member.data.timeline,
            "xlog_location": 50_331_648 + 1000 * (self._ticks // LSN_EVERY),
        }
        changed = self.pending(member, config)
        if changed:
            value |= {"pending_restart": True, "pending_restart_reason": changed}
        return json.dumps(value).encode()

    def pending(self, member: Member, config: Mapping[str, Any] | None = None) -> dict[str, dict[str, str]]:
        """Parameters that wait for a restart of this Postgres."""
        config = config if config is not None else self._json(member.scope, "config")
        wanted = config["postgresql"]["parameters"] if config else member.started_with
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
        text = self._text(scope, name)
        try:
            value = json.loads(text) if text is not None else None
        except ValueError:
            return None
        return value if isinstance(value, dict) else None
