"""
Settled databases as values: what etcd and the Swarm hold of each, as if pgswarm had made them one by one.

`plan` itself says what there is to be: it is played against predicted effects until nothing is left to do. The
revision of every record of a database is the same, so a database is to be written in one transaction, and the caller
says which.
"""

from __future__ import annotations

import functools
import hashlib
import ipaddress
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from controlplane.clients.certificates import DatabaseCertificates
from controlplane.orchestrators.payload import to_payload
from crds.catalogue import Catalogue, builtin
from crds.heartbeat import HostRecord
from crds.meta import Key
from crds.text import load
from reconcilers import paths
from reconcilers.actions import Action, CreateBlob, CreateNetwork, CreateService
from reconcilers.database.forecast import predict, settle
from reconcilers.database.plan import plan
from reconcilers.database.report import report
from reconcilers.observed import DesiredReading, Fleet, HostView, Observed, PatroniCluster, SpecReading
from reconcilers.ports import BlobView, NetworkView, NodeView, Secret, ServiceView, TaskView, Vault
from reconcilers.resources import credential, naming
from tests.sim.swarm_world import Service, SwarmWorld

AT = "2026-01-01T00:00:00Z"
AT_S = 1_767_225_600.0
EPOCH = 1
"""Of the owner that made them: older than any claim there can be in etcd."""
OWNER = "maker"
LOOPS_MAX = 50
HOSTS = 100
SUBNET_POOL = "10.0.0.0/12"
"""Room for 16,384 databases."""

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Terms:
    """What the process that is to find nothing to do was told, too."""

    cluster: str = "default"
    etcd_endpoints: tuple[str, ...] = ("http://127.0.0.1:2379",)
    subnet_pool: str = SUBNET_POOL
    catalogue: Catalogue = field(default_factory=builtin)
    hosts: tuple[str, ...] = tuple(f"host-{number:03}" for number in range(1, HOSTS + 1))


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the outside world holds of one database."""

    name: str
    records: tuple[tuple[str, bytes], ...]
    """Path and value of everything in etcd, but for its owner."""
    networks: tuple[NetworkView, ...]
    secrets: tuple[BlobView, ...]
    configs: tuple[BlobView, ...]
    services: tuple[tuple[ServiceView, TaskView | None], ...]

    def put_into(self, swarm: SwarmWorld) -> None:
        swarm.networks.update({one.id: one for one in self.networks})
        swarm.secrets.update({one.id: one for one in self.secrets})
        swarm.configs.update({one.id: one for one in self.configs})
        for view, task in self.services:
            payload = swarm.filled(to_payload(view.spec))
            swarm.services[view.id] = Service(
                view.id, view.version, payload, view.updated_at or AT, [task] if task else []
            )


@dataclass(frozen=True, slots=True)
class Settled:
    """One database."""

    observed: Observed
    """As its next owner finds it."""

    def holdings(self, vault: Vault) -> Holdings:
        seen = self.observed
        tasks = {task.service_id: task for task in seen.tasks}
        return Holdings(
            seen.key.name,
            tuple(self._records(vault)),
            tuple(seen.networks.values()),
            tuple(seen.secrets.values()),
            tuple(seen.configs.values()),
            tuple((view, tasks.get(view.id)) for view in seen.services.values()),
        )

    def _records(self, vault: Vault) -> Iterator[tuple[str, bytes]]:
        seen = self.observed
        key, accepted, status = seen.key, seen.accepted, seen.status
        assert accepted is not None
        assert status is not None
        yield paths.spec(key), seen.spec.text
        yield paths.accepted(key), accepted.model_dump_json().encode()
        yield paths.status(key), status.model_dump_json().encode()
        for short, secret in seen.vault.items():
            path = paths.secret(key, short)
            yield path, vault.seal(path, secret)
        for (host, instance), reading in seen.desired.items():
            assert reading.value is not None
            yield paths.desired(host, instance), reading.value.model_dump_json().encode()
            yield paths.observed(host, instance), seen.instances[instance].model_dump_json().encode()
        for cidr in seen.subnets:
            yield paths.subnet(cidr), key.name.encode()
        for scope, cluster in seen.patroni.items():
            yield from _patroni(scope, cluster)


def _patroni(scope: str, cluster: PatroniCluster) -> Iterator[tuple[str, bytes]]:
    assert cluster.leader is not None
    yield paths.patroni(scope, "config"), json.dumps(cluster.config).encode()
    yield paths.patroni(scope, "initialize"), str(cluster.initialize).encode()
    yield paths.patroni(scope, "leader"), cluster.leader.encode()
    yield paths.patroni(scope, "status"), b'{"optime":100,"slots":{}}'
    for member in cluster.members.values():
        value = {
            "conn_url": f"postgres://{member.name}:5432/postgres",
            "api_url": f"https://{member.name}:8008/patroni",
            "state": member.state,
            "role": member.role,
            "version": "4.0.4",
            "xlog_location": member.lsn,
            "timeline": member.timeline,
        }
        yield paths.patroni(scope, f"members/{member.name}"), json.dumps(value).encode()


class Maker:
    """Makes databases on the hosts in turn."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.hosts = {name: _host(number, name) for number, name in enumerate(terms.hosts, start=1)}
        self._ca, self._server = _certificates()

    def host_records(self) -> Iterator[tuple[str, bytes]]:
        for name, view in self.hosts.items():
            assert view.record is not None
            yield paths.host(name), view.record.model_dump_json().encode()

    def settled(self, number: int, revision: int) -> Settled:
        """
        The `number`-th database, from 0, all of whose records have this mod_revision.

        Raises: AssertionError when `plan` finds no end.
        """
        name, host = f"db-{number:05}", self.terms.hosts[number % len(self.terms.hosts)]
        observed = self._empty(name, host, self._subnet(number), revision)
        for _ in range(LOOPS_MAX):
            actions = plan(observed).actions
            for action in actions:
                observed = _with_ids(predict(observed, action), action)
            observed = settle(observed)
            if not actions and not plan(observed).actions:
                return self._finished(observed, revision)
        raise AssertionError(f"{name}: still {[str(action) for action in actions]}")

    def _subnet(self, number: int) -> str:
        first = ipaddress.IPv4Network(self.terms.subnet_pool).network_address
        return f"{first + 64 * number}/26"

    def _empty(self, name: str, host: str, subnet: str, revision: int) -> Observed:
        text = _text(name, host)
        wanted = load(text, "Database", name)
        passwords = {
            one: Secret(f"{one} of {name}") for one in (*credential.PASSWORDS, credential.role("app"))
        }
        server = credential.server(naming.instance(name, "n1", host))
        return Observed(
            key=Key("database", name),
            at=AT,
            revision=revision,
            owner_path=paths.owner(Key("database", name)),
            owner=OWNER,
            epoch=EPOCH,
            cluster=self.terms.cluster,
            etcd_endpoints=self.terms.etcd_endpoints,
            subnet_pool=self.terms.subnet_pool,
            catalogue=self.terms.catalogue,
            fresh_id=_uuid(name),
            spec=SpecReading(wanted, (), revision, naming.digest(wanted.model_dump(mode="json"), 16), text),
            accepted=None,
            accepted_revision=0,
            accepted_created=0,
            status=None,
            status_revision=0,
            confirmation=None,
            fleet=Fleet(),
            hosts=self.hosts,
            services={},
            networks={},
            secrets={},
            configs={},
            tasks=(),
            patroni={},
            instances={},
            desired={},
            vault={**passwords, credential.CA: self._ca, server: self._server},
            subnets=frozenset(),
            free_subnet=subnet,
            ports={},
            free_port=None,
            accounts={},
            etcd_users=None,
        )

    def _finished(self, observed: Observed, revision: int) -> Settled:
        """With one revision everywhere, tasks, and the status that follows from it all."""
        assert observed.accepted is not None
        desired = {where: DesiredReading(one.value, revision) for where, one in observed.desired.items()}
        instances = {
            name: one.model_copy(update={"desired_revision": revision})
            for name, one in observed.instances.items()
        }
        patroni = {
            scope: replace(one, config_revision=revision, initialize_revision=revision)
            for scope, one in observed.patroni.items()
        }
        tasks = tuple(
            TaskView(_id("task", one.spec.name), one.id, one.spec.node_id, "running", "running", "", AT)
            for one in observed.services.values()
            if one.spec.replicas
        )
        observed = replace(
            observed,
            revision=revision,
            accepted=observed.accepted.model_copy(update={"revision": revision}),
            accepted_revision=revision,
            accepted_created=revision,
            desired=desired,
            instances=instances,
            patroni=patroni,
            tasks=tasks,
            free_subnet=None,
        )
        status = report(observed, plan(observed), None)
        return Settled(replace(observed, status=status, status_revision=revision))


def _with_ids(observed: Observed, action: Action) -> Observed:
    """As predicted, but with IDs such as Swarm gives: some end up inside services, and in the hash of those."""
    match action:
        case CreateNetwork(spec=spec):
            return replace(observed, networks=_identified(observed.networks, spec.name, "network"))
        case CreateBlob(kind="secret", name=name):
            return replace(observed, secrets=_identified(observed.secrets, name, "secret"))
        case CreateBlob(name=name):
            return replace(observed, configs=_identified(observed.configs, name, "config"))
        case CreateService(name=name):
            return replace(observed, services=_identified(observed.services, name, "service"))
    return observed


def _identified(views: Mapping[str, V], name: str, kind: str) -> dict[str, V]:
    view: Any = views[name]
    return {**views, name: replace(view, id=_id(kind, name))}


def _id(kind: str, name: str) -> str:
    return hashlib.sha256(f"{kind} {name}".encode()).hexdigest()[:25]


def _uuid(name: str) -> str:
    text = hashlib.sha256(name.encode()).hexdigest()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:32]))


def _host(number: int, name: str) -> HostView:
    record = HostRecord(
        name=name,
        address=f"10.250.{number // 250}.{number % 250 + 1}",
        node_id=node_id(number),
        manager=number <= 3,
        bridge_gateway="172.17.0.1",
        cpus=64,
        memory_bytes=2**39,
        engine_version="20.10.24",
        api_version="1.41",
        os="linux",
        architecture="x86_64",
        pgswarm_version="0",
        started_at=AT,
    )
    node = NodeView(record.node_id, name, ready=True, active=True, manager=True, address=record.address)
    return HostView(record, node)


def node_id(number: int) -> str:
    return f"node{number:021d}"


def _text(name: str, host: str) -> bytes:
    return f"""\
apiVersion: pgswarm.dev/v1
kind: Database
metadata:
  name: {name}
spec:
  postgres:
    version: "17"
  nodes:
    - name: n1
      hosts: [{host}]
  resources:
    cpus: "0.5"
    memory: 128MiB
  databases:
    - name: app
      owner: app
  roles:
    - name: app
      login: true
""".encode()


@functools.cache
def _certificates() -> tuple[Secret, Secret]:
    """One CA and one server certificate for all: only that they can be read, and when they end, matters."""
    maker = DatabaseCertificates()
    ca = maker.issue_ca("all databases", AT_S)
    return ca, maker.issue_server(ca, "every-instance", ("every-instance",), AT_S)


def fleet(terms: Terms, count: int, first_revision: int, vault: Vault) -> Iterator[Holdings]:
    """Databases one after the other, a revision each."""
    maker = Maker(terms)
    for number in range(count):
        yield maker.settled(number, first_revision + number).holdings(vault)
