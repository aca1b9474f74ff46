"""Gather one snapshot. Reads only, and only from mirrors that watches keep warm: a quiet pass makes no call."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from crds.accepted import Accepted
from crds.catalogue import Catalogue
from crds.halted import Halted
from crds.heartbeat import HostRecord
from crds.host import Host
from crds.instance import InstanceDesired, InstanceObserved
from crds.meta import Key
from crds.problems import SpecRefused
from crds.status import DatabaseStatus
from crds.text import load
from reconcilers import paths, reading
from reconcilers.contract import Claim
from reconcilers.observed import DesiredReading, Fleet, HostView, Observed, PatroniCluster, SpecReading
from reconcilers.ports import (
    Accounts,
    Certificates,
    Clock,
    Ids,
    Orchestrator,
    Record,
    Records,
    Secret,
    SwarmView,
    TaskView,
    Vault,
)
from reconcilers.resources import credential, naming

M = TypeVar("M", bound=BaseModel)
TENANTS_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What holds for every database of this cluster."""

    identity: str
    """This controller."""
    cluster: str
    etcd_endpoints: tuple[str, ...]
    """As a container reaches them."""
    etcd_ca: str = ""
    etcd_client: Secret | None = None
    etcd_auth: bool = False
    subnet_pool: str = "10.121.0.0/16"
    catalogue: Catalogue


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything a pass may touch."""

    records: Records
    orchestrator: Orchestrator
    accounts: Accounts
    vault: Vault
    clock: Clock
    ids: Ids
    certificates: Certificates


class Refresh:
    """Reads for every database; holds only memory of what records meant."""

    def __init__(self, ports: Ports, settings: Settings) -> None:
        self._ports = ports
        self._settings = settings
        self._tenants: set[str] = set()
        """Hosts that any desired record names, looked up once in a while: it takes a walk over all of them."""
        self._tenants_at_s = float("-inf")
        self._specs = reading.Parsed(_spec)
        self._accepted = reading.Parsed(lambda record: _lenient(Accepted, record))
        self._halted = reading.Parsed(lambda record: _lenient(Halted, record) or Halted())
        self._statuses = reading.Parsed(lambda record: _lenient(DatabaseStatus, record))
        self._hosts = reading.Parsed(lambda record: _lenient(HostRecord, record))
        self._host_specs = reading.Parsed(_host)
        self._desired = reading.Parsed(lambda record: _lenient(InstanceDesired, record))
        self._observed = reading.Parsed(lambda record: _lenient(InstanceObserved, record))
        self._secrets = reading.Parsed(lambda record: ports.vault.open(record.path, record.value))

        self._renewals = reading.Parsed(
            lambda record: ports.certificates.renew_at_s(ports.vault.open(record.path, record.value))
        )

    async def read(self, key: Key, claim: Claim) -> Observed:
        """
        Raises:
            Unavailable: Docker did not answer.
            Refused: A secret does not open with this host's key.
        """
        view = await self._ports.orchestrator.view()
        records, settings, name = self._ports.records, self._settings, key.name
        accepted = records.get(paths.accepted(key))
        status = records.get(paths.status(key))
        spec = self._reading(key)
        hosts = self._host_views(view)
        known = self._accepted.get(accepted) if accepted is not None else None
        desired = self._desired_readings(name, self._places(hosts, known))
        networks = {one.name: one for one in view.networks if _belongs(one.labels, settings.cluster, name)}
        confirmation = records.get(paths.confirmation(key))
        halted = records.get(paths.halted(key))
        return Observed(
            key=key,
            at=self._ports.clock.now(),
            revision=records.revision,
            owner_path=claim.path,
            owner=settings.identity,
            epoch=claim.epoch,
            cluster=settings.cluster,
            etcd_endpoints=settings.etcd_endpoints,
            etcd_ca=settings.etcd_ca,
            etcd_client=settings.etcd_client,
            subnet_pool=settings.subnet_pool,
            catalogue=settings.catalogue,
            fresh_id=self._ports.ids.uuid(),
            spec=spec,
            accepted=known,
            accepted_revision=accepted.mod_revision if accepted is not None else 0,
            accepted_created=accepted.create_revision if accepted is not None else 0,
            accepted_unreadable=accepted is not None and known is None,
            status=self._statuses.get(status) if status is not None else None,
            status_revision=status.mod_revision if status is not None else 0,
            confirmation=confirmation.value.decode(errors="replace").strip()
            if confirmation is not None
            else None,
            halted=self._halted.get(halted) if halted is not None else None,
            fleet=Fleet() if spec.present else self._fleet(),
            hosts=hosts,
            services={
                one.spec.name: one
                for one in view.services
                if _belongs(one.spec.labels, settings.cluster, name)
            },
            networks=networks,
            foreign_subnets=tuple(
                subnet for one in view.networks if one.name not in networks for subnet in one.subnets
            ),
            secrets={one.name: one for one in view.secrets if _belongs(one.labels, settings.cluster, name)},
            configs={one.name: one for one in view.configs if _belongs(one.labels, settings.cluster, name)},
            tasks=_tasks(view, settings.cluster, name),
            patroni=self._clusters(name, known),
            instances=self._instances(desired),
            desired=desired,
            vault=self._vault(key),
            expiring=self._expiring(key),
            subnets={
                record.path.removeprefix(paths.SUBNETS).replace("_", "/"): record.value.decode()
                for record in records.under(paths.SUBNETS)
            },
            ports=_ports(records.under(paths.PORTS)),
            accounts=_accounts(records, name),
            etcd_users=self._etcd_users(name),
            etcd_auth=settings.etcd_auth,
        )

    def status(self, key: Key) -> tuple[DatabaseStatus | None, int]:
        """The status as it stands, and its revision."""
        record = self._ports.records.get(paths.status(key))
        return (None, 0) if record is None else (self._statuses.get(record), record.mod_revision)

    def _places(self, hosts: Iterable[str], accepted: Accepted | None) -> list[str]:
        """Every host that may have a record of ours: one that left the Swarm for good is in no list of hosts."""
        now_s = self._ports.clock.monotonic()
        if now_s >= self._tenants_at_s:
            self._tenants_at_s = now_s + TENANTS_S
            records = self._ports.records.under(paths.DESIRED)
            self._tenants = {record.path.split("/", 2)[1] for record in records}
        named = (
            {host for node in accepted.spec.nodes for host in node.hosts} if accepted is not None else set()
        )
        return sorted({*hosts, *named, *self._tenants})

    def _reading(self, key: Key) -> SpecReading:
        record = self._ports.records.get(paths.spec(key))
        return self._specs.get(record) if record is not None else SpecReading()

    def _host_views(self, view: SwarmView) -> dict[str, HostView]:
        nodes = {node.id: node for node in view.nodes}
        closed = self._unschedulable()
        found: dict[str, HostView] = {}
        for record in self._ports.records.under(paths.HOSTS):
            host = self._hosts.get(record)
            if host is not None:
                found[host.name] = HostView(host, nodes.pop(host.node_id, None), host.name not in closed)
        # A host whose pgswarm is down has no record, but the Swarm remembers it.
        for node in nodes.values():
            found.setdefault(node.hostname, HostView(None, node, node.hostname not in closed))
        return found

    def _unschedulable(self) -> set[str]:
        """Hosts whose spec says so, or cannot be read: a slip of the pen must not open a host that was closed."""
        found = set()
        for record in self._ports.records.under(f"{paths.SPECS}host/"):
            host = self._host_specs.get(record)
            if host is None or host.spec.unschedulable:
                found.add(record.path.rpartition("/")[2])
        return found

    def _desired_readings(self, database: str, hosts: Iterable[str]) -> dict[tuple[str, str], DesiredReading]:
        found = {}
        for host in hosts:
            prefix = paths.desired(host, f"{database}-n")
            for record in self._ports.records.under(prefix):
                instance = record.path.rpartition("/")[2]
                value = self._desired.get(record)
                if re.fullmatch(rf"{re.escape(database)}-n[0-9]+-[a-z2-7]+", instance):
                    found[host, instance] = DesiredReading(value, record.mod_revision)
        return found

    def _instances(self, desired: Iterable[tuple[str, str]]) -> dict[str, InstanceObserved]:
        found = {}
        for host, instance in desired:
            record = self._ports.records.get(paths.observed(host, instance))
            value = self._observed.get(record) if record is not None else None
            if value is not None:
                found[instance] = value
        return found

    def _clusters(self, database: str, accepted: Accepted | None) -> dict[str, PatroniCluster]:
        scopes = (
            {naming.scope(database, node.name) for node in accepted.spec.nodes}
            if accepted is not None
            else set()
        )
        prefix = paths.patroni(f"{database}-n").rstrip("/")
        for record in self._ports.records.under(prefix):
            scope = record.path.removeprefix(paths.PATRONI).partition("/")[0]
            if re.fullmatch(rf"{re.escape(database)}-n[0-9]+", scope):
                scopes.add(scope)
        return {
            scope: reading.patroni_cluster(self._ports.records, paths.patroni(scope))
            for scope in sorted(scopes)
        }

    def _vault(self, key: Key) -> dict[str, Secret]:
        prefix = paths.secret(key, "")
        return {
            record.path.removeprefix(prefix): self._secrets.get(record)
            for record in self._ports.records.under(prefix)
        }

    def _expiring(self, key: Key) -> dict[str, int]:
        prefix, now_s = paths.secret(key, credential.server("")), self._ports.clock.epoch_s()
        return {
            record.path.removeprefix(paths.secret(key, "")): record.mod_revision
            for record in self._ports.records.under(prefix)
            if self._renewals.get(record) <= now_s
        }

    def _etcd_users(self, database: str) -> frozenset[str] | None:
        """The users that exist. One that was made after the last look counts as there, not as lost."""
        names, looked = self._ports.accounts.names(), self._ports.accounts.listed_at
        if names is None:
            return None
        prefix = paths.account(naming.etcd_user(f"{database}-n"))
        newer = (one.path for one in self._ports.records.under(prefix) if one.mod_revision > looked)
        return names | {path.removeprefix(paths.ACCOUNTS) for path in newer}

    def _fleet(self) -> Fleet:
        """Counted only for a database whose spec is gone: a rare and slow look at everybody."""
        active = vanished = 0
        for record in self._ports.records.under(f"{paths.ACCEPTED}database/"):
            key = Key("database", record.path.rpartition("/")[2])
            accepted = self._accepted.get(record)
            if accepted is None or accepted.state != "active":
                continue
            active += 1
            if self._ports.records.get(paths.spec(key)) is None:
                vanished += 1
        return Fleet(active, vanished)


def _spec(record: Record) -> SpecReading:
    name = record.path.rpartition("/")[2]
    try:
        database = load(record.value, "Database", name)
    except SpecRefused as exc:
        return SpecReading(problems=exc.problems, revision=record.mod_revision)
    text = database.model_dump(mode="json")
    return SpecReading(database, (), record.mod_revision, naming.digest(text, 16), record.value)


def _lenient(model: type[M], record: Record) -> M | None:
    """A record that another version wrote, or that somebody spoilt, reads as None and is written anew."""
    try:
        return model.model_validate_json(record.value)
    except ValidationError:
        return None


def _host(record: Record) -> Host | None:
    try:
        host = load(record.value, "Host", record.path.rpartition("/")[2])
    except SpecRefused:
        return None
    return host if isinstance(host, Host) else None


def _belongs(labels: Mapping[str, str], cluster: str, database: str) -> bool:
    return labels.get(naming.CLUSTER) == cluster and labels.get(naming.DATABASE) == database


def _tasks(view: SwarmView, cluster: str, database: str) -> tuple[TaskView, ...]:
    ids = {one.id for one in view.services if _belongs(one.spec.labels, cluster, database)}
    return tuple(task for task in view.tasks if task.service_id in ids)


def _ports(records: Iterable[Record]) -> dict[tuple[str, int], str]:
    found = {}
    for record in records:
        host, _, number = record.path.removeprefix(paths.PORTS).rpartition("/")
        if number.isdecimal():
            found[host, int(number)] = record.value.decode()
    return found


def _accounts(records: Records, database: str) -> dict[str, str]:
    found = {}
    for record in records.under(paths.account(naming.etcd_user(f"{database}-n"))):
        holder, _, asked = record.value.decode(errors="replace").partition(" ")
        if holder == database:
            found[record.path.removeprefix(paths.ACCOUNTS)] = asked
    return found
