"""Gather one snapshot. Reads only, and only from mirrors that watches keep warm: a quiet pass makes no call."""

from __future__ import annotations

import math
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
from reconcilers.held import EVERYBODY, HOSTS
from reconcilers.observed import DesiredReading, Fleet, HostView, Observed, PatroniCluster, SpecReading
from reconcilers.ports import (
    Accounts,
    Certificates,
    Clock,
    HeldRecords,
    Ids,
    NetworkView,
    NodeView,
    Orchestrator,
    Record,
    Secret,
    Share,
    Vault,
)
from reconcilers.resources import credential, naming, port, subnet

M = TypeVar("M", bound=BaseModel)
HOST_SPECS = f"{paths.SPECS}host/"


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

    records: HeldRecords
    orchestrator: Orchestrator
    accounts: Accounts
    vault: Vault
    clock: Clock
    ids: Ids
    certificates: Certificates


@dataclass(frozen=True, slots=True)
class _Mark:
    """Of what a reading was made. Two readings of one database with equal marks show the same."""

    share: Share
    hosts: Mapping[str, HostView]
    touched: tuple[int, int]
    """How often records of the database, and of everybody, have changed."""

    def is_still(self, other: _Mark) -> bool:
        """Looks at nothing twice: what has not changed is the same object."""
        same = self.share is other.share and self.hosts is other.hosts
        return same and self.touched == other.touched


class Refresh:
    """
    Reads for every database; holds only memory of what records meant.

    What has not changed since an earlier reading is the same object in the next one, so that comparing is cheap.
    """

    def __init__(self, ports: Ports, settings: Settings) -> None:
        self._ports = ports
        self._settings = settings
        self._specs = reading.Parsed(_spec)
        self._accepted = reading.Parsed(lambda record: _lenient(Accepted, record))
        self._halted = reading.Parsed(lambda record: _lenient(Halted, record) or Halted())
        self._statuses = reading.Parsed(lambda record: _lenient(DatabaseStatus, record))
        self._hosts = reading.Parsed(lambda record: _lenient(HostRecord, record))
        self._host_specs = reading.Parsed(_host)
        self._desired = reading.Parsed(_desired)
        self._observed = reading.Parsed(lambda record: _lenient(InstanceObserved, record))
        self._clusters = reading.ParsedTogether(reading.patroni_cluster)
        self._taken: tuple[tuple[NetworkView, ...], subnet.Taken] = ((), subnet.Taken(()))
        self._subnets_of: dict[str, tuple[str, ...]] = {}
        self._seen_hosts: tuple[tuple[NodeView, ...], int, dict[str, HostView]] = ((), -1, {})
        self._marks: dict[Key, tuple[_Mark, float]] = {}
        """Of the newest reading, and until when it stands: then a certificate is to be renewed."""
        self._secrets = reading.Parsed(lambda record: ports.vault.open(record.path, record.value))

        self._renewals = reading.Parsed(
            lambda record: ports.certificates.renew_at_s(ports.vault.open(record.path, record.value))
        )

    async def read(self, key: Key, claim: Claim, known: Observed | None = None) -> Observed:
        """
        Args:
            known: What the last reading showed. It is the answer itself where nothing that it shows can have changed.

        Raises:
            Unavailable: Docker did not answer.
            Refused: A secret does not open with this host's key.
        """
        share = await self._ports.orchestrator.share(key.name)
        hosts = self._host_views(self._ports.orchestrator.nodes)
        mark = _Mark(share, hosts, self._touched(key.name))
        before, until_s = self._marks.pop(key, (None, 0.0))
        stands = before is not None and before.is_still(mark) and self._ports.clock.epoch_s() < until_s
        if not (stands and known is not None and self._tells_all(known, claim)):
            known = self._reading(key, claim, share, hosts)
            until_s = self._next_renewal_s(key)
        self._marks[key] = (mark, until_s)
        return known

    def _touched(self, database: str) -> tuple[int, int]:
        records = self._ports.records
        return records.touched(database), records.touched(EVERYBODY)

    def _tells_all(self, known: Observed, claim: Claim) -> bool:
        """Whether all that it shows is of what the mark counts, or is looked at here."""
        # Without a spec all others are counted, without a subnet those of others are looked at.
        alone = known.spec.present and bool(known.subnets)
        return (
            alone and (known.epoch, known.owner_path) == (claim.epoch, claim.path) and self._has_users(known)
        )

    def _has_users(self, known: Observed) -> bool:
        names = self._ports.accounts.names()
        if names is None or known.etcd_users is None:
            return names is None and known.etcd_users is None
        return known.etcd_users == known.accounts.keys() <= names

    def _reading(self, key: Key, claim: Claim, share: Share, hosts: Mapping[str, HostView]) -> Observed:
        records, settings, name = self._ports.records, self._settings, key.name
        accepted = records.get(paths.accepted(key))
        status = records.get(paths.status(key))
        spec = self._spec_reading(key)
        known = self._accepted.get(accepted) if accepted is not None else None
        desired = self._desired_readings(name)
        subnets = self._subnets(name)
        ports = self._held_ports(name, spec, known)
        confirmation = records.get(paths.confirmation(key))
        halted = records.get(paths.halted(key))
        accounts = self._accounts(name)
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
            services=share.services,
            networks=share.networks,
            secrets=share.secrets,
            configs=share.configs,
            tasks=share.tasks,
            patroni=self._patroni(name, known),
            instances=self._instances(desired),
            desired=desired,
            vault=self._vault(key),
            expiring=self._expiring(key),
            subnets=subnets,
            free_subnet=None if subnets else self._free_subnet(name, share.networks),
            ports=ports,
            free_port=self._free_port(name, known, ports),
            accounts={user: asked for user, (asked, _) in accounts.items()},
            etcd_users=self._etcd_users(accounts),
            etcd_auth=settings.etcd_auth,
        )

    def status(self, key: Key) -> tuple[DatabaseStatus | None, int]:
        """The status as it stands, and its revision."""
        record = self._ports.records.get(paths.status(key))
        return (None, 0) if record is None else (self._statuses.get(record), record.mod_revision)

    def _spec_reading(self, key: Key) -> SpecReading:
        record = self._ports.records.get(paths.spec(key))
        return self._specs.get(record) if record is not None else SpecReading()

    def _host_views(self, nodes: tuple[NodeView, ...]) -> dict[str, HostView]:
        seen_nodes, seen, known = self._seen_hosts
        touched = self._ports.records.touched(HOSTS)
        if seen_nodes is not nodes or seen != touched:
            records, specs = self._ports.records.under(paths.HOSTS), self._ports.records.under(HOST_SPECS)
            hosts = self._hosts_of(nodes, records, self._unschedulable(specs))
            known = known if known == hosts else hosts
            self._seen_hosts = (nodes, touched, known)
        return known

    def _hosts_of(
        self, nodes: Iterable[NodeView], records: Iterable[Record], closed: set[str]
    ) -> dict[str, HostView]:
        left = {node.id: node for node in nodes}
        found: dict[str, HostView] = {}
        for record in records:
            host = self._hosts.get(record)
            if host is not None:
                found[host.name] = HostView(host, left.pop(host.node_id, None), host.name not in closed)
        # A host whose pgswarm is down has no record, but the Swarm remembers it.
        for node in left.values():
            found.setdefault(node.hostname, HostView(None, node, node.hostname not in closed))
        return found

    def _unschedulable(self, specs: Iterable[Record]) -> set[str]:
        """Hosts whose spec says so, or cannot be read: a slip of the pen must not open a host that was closed."""
        found = set()
        for record in specs:
            host = self._host_specs.get(record)
            if host is None or host.spec.unschedulable:
                found.add(record.path.rpartition("/")[2])
        return found

    def _desired_readings(self, database: str) -> dict[tuple[str, str], DesiredReading]:
        """Wherever they are: also on hosts that left the Swarm for good, and are in no list."""
        found = {}
        for record in self._ports.records.held_by(paths.DESIRED, database):
            host, _, instance = record.path.removeprefix(paths.DESIRED).partition("/")
            found[host, instance] = self._desired.get(record)
        return found

    def _instances(self, desired: Iterable[tuple[str, str]]) -> dict[str, InstanceObserved]:
        found = {}
        for host, instance in desired:
            record = self._ports.records.get(paths.observed(host, instance))
            value = self._observed.get(record) if record is not None else None
            if value is not None:
                found[instance] = value
        return found

    def _patroni(self, database: str, accepted: Accepted | None) -> dict[str, PatroniCluster]:
        found: dict[str, list[Record]] = {}
        if accepted is not None:
            found = {naming.scope(database, node.name): [] for node in accepted.spec.nodes}
        for record in self._ports.records.under(paths.patroni(f"{database}-n").rstrip("/")):
            scope = record.path.removeprefix(paths.PATRONI).partition("/")[0]
            if naming.database_of_scope(scope) == database:
                found.setdefault(scope, []).append(record)
        return {scope: self._clusters.get(paths.patroni(scope), found[scope]) for scope in sorted(found)}

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

    def _next_renewal_s(self, key: Key) -> float:
        """The first of those that are still to come; seconds since 1970."""
        prefix, now_s = paths.secret(key, credential.server("")), self._ports.clock.epoch_s()
        due_s = (self._renewals.get(record) for record in self._ports.records.under(prefix))
        return min((at_s for at_s in due_s if at_s > now_s), default=math.inf)

    def _subnets(self, database: str) -> frozenset[str]:
        held = self._ports.records.held_by(paths.SUBNETS, database)
        return frozenset(_cidr(record) for record in held)

    def _free_subnet(self, database: str, mine: Mapping[str, NetworkView]) -> str | None:
        source, taken = self._taken
        networks = self._ports.orchestrator.networks
        if source is not networks:
            taken = subnet.Taken(one for network in networks for one in network.subnets)
            self._taken = (networks, taken)
            self._subnets_of = {network.name: network.subnets for network in networks}
        return subnet.choose(
            database,
            self._settings.subnet_pool,
            taken,
            # The list of everybody's networks is older: what it shows of ours may be gone, and may be had again.
            [
                *self._subnets_of.get(naming.network(database), ()),
                *(one for network in mine.values() for one in network.subnets),
            ],
            lambda cidr: self._ports.records.get(paths.subnet(cidr)) is not None,
        )

    def _held_ports(
        self, database: str, spec: SpecReading, accepted: Accepted | None
    ) -> dict[tuple[str, int], str]:
        found = {}
        for record in self._ports.records.held_by(paths.PORTS, database):
            host, _, number = record.path.removeprefix(paths.PORTS).rpartition("/")
            if number.isdecimal():
                found[host, int(number)] = database
        asked = [one.spec for one in (spec.database, accepted) if one is not None]
        for one in asked:
            if not isinstance(one.port, int):
                continue
            for host in (host for node in one.nodes for host in node.hosts):
                holder = self._ports.records.get(paths.port(host, one.port))
                if holder is not None:
                    found[host, one.port] = holder.value.decode(errors="replace")
        return found

    def _free_port(
        self, database: str, accepted: Accepted | None, ports: Mapping[tuple[str, int], str]
    ) -> int | None:
        if accepted is None or accepted.spec.port != "auto":
            return None
        hosts = port.wanted_hosts(accepted)
        mine = [number for (host, number), holder in ports.items() if (host, holder) == (hosts[0], database)]

        def is_free(host: str, number: int) -> bool:
            held = self._ports.records.get(paths.port(host, number))
            return held is None or held.value == database.encode()

        return port.choose(hosts, mine, is_free)

    def _accounts(self, database: str) -> dict[str, tuple[str, int]]:
        """User -> digest of what was asked, and the revision of the record."""
        found = {}
        for record in self._ports.records.under(paths.account(naming.etcd_user(f"{database}-n"))):
            holder, _, asked = record.value.decode(errors="replace").partition(" ")
            if holder == database:
                found[record.path.removeprefix(paths.ACCOUNTS)] = (asked, record.mod_revision)
        return found

    def _etcd_users(self, accounts: Mapping[str, tuple[str, int]]) -> frozenset[str] | None:
        """Those that exist. One that was made after the last look counts as there, not as lost."""
        names, looked = self._ports.accounts.names(), self._ports.accounts.listed_at
        if names is None:
            return None
        return frozenset(
            user for user, (_, revision) in accounts.items() if user in names or revision > looked
        )

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


def _desired(record: Record) -> DesiredReading:
    return DesiredReading(_lenient(InstanceDesired, record), record.mod_revision)


def _host(record: Record) -> Host | None:
    try:
        host = load(record.value, "Host", record.path.rpartition("/")[2])
    except SpecRefused:
        return None
    return host if isinstance(host, Host) else None


def _cidr(record: Record) -> str:
    return record.path.removeprefix(paths.SUBNETS).replace("_", "/")
