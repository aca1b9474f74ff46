"""
What must never be, looked at with every effect and at the end of every run. The numbers are reliability.md's.

`World` asks nobody else: a run in which one of these is violated fails, whatever it was meant to show.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from crds.meta import Key
from reconcilers import paths
from reconcilers.ports import BlobView, Fence, NetworkSpec, Put, Write
from reconcilers.resources import naming
from tests.sim.etcd import FakeEtcd
from tests.sim.swarm_world import Service, SwarmWorld

FENCED = (
    paths.ACCEPTED,
    paths.HALTED,
    paths.STATUS,
    paths.DESIRED,
    paths.ACCOUNTS,
    paths.SECRETS,
    paths.SUBNETS,
    paths.PORTS,
)
"""What only an owner writes: each of these goes with a fence (F1)."""
FOREIGN = "orders-n1-foreign"
ORACLES: Mapping[str, str] = MappingProxyType(
    {
        "F1": "a record of an owner is written without a fence",
        "F5": "a service is created with a replica",
        "F6": "a service is removed without a tombstone, or adopted with one",
        "S1": "a service goes back to an older epoch",
        "S5": "a volume is removed whose database nobody deleted and whose instance is wanted or retained",
        "S6": "two containers run on one volume",
        "S10": "a database is initialised twice, or an instance has the data of another",
        "S12": "an object of somebody else is touched, though its name is like ours",
        "S16": "a status speaks of a revision that nobody has written",
        "S17": "a generated secret stands in a record or in a service",
        "S21": "two databases share a port or a subnet",
        "TASKS": "a service is removed while a task of it is ending",
    }
)
"""What each of them must never see; `patroni_world` looks for S6 and S10."""


class Oracles:
    """Violations as they happen, in `found`."""

    def __init__(self, etcd: FakeEtcd, swarm: SwarmWorld) -> None:
        self.found: list[str] = []
        self._etcd, self._swarm = etcd, swarm
        self._foreign = self._put_foreign_objects()
        etcd.judge = self.committed
        swarm.judge = self.changed
        swarm.judge_removal = self.leaving
        for engine in swarm.engines.values():
            engine.removing = self.removing

    # --- as it happens ---

    def committed(self, client: str, writes: Sequence[Write], fences: Sequence[Fence]) -> None:
        for write in writes:
            if write.path.startswith(FENCED) and not fences:
                self.found.append(f"F1: {client} wrote {write.path} without a fence")
            if isinstance(write, Put) and write.path.startswith(paths.STATUS):
                self._status(write)

    def _status(self, write: Put) -> None:
        status = json.loads(write.value)
        spec = self._etcd.get(paths.spec(Key("database", write.path.rpartition("/")[2])))
        revision = self._etcd.revision if spec is None else spec.mod_revision
        if status.get("observedRevision", 0) > max(revision, self._etcd.revision):
            self.found.append(f"S16: {write.path} speaks of a revision that nobody has written")

    def changed(self, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        old, new = _labels(before), _labels(after)
        name = (after or before or {}).get("Name", "")
        if before is not None and naming.CLUSTER not in {**old, **_container_labels(before)}:
            self.found.append(f"S12: {name} belongs to somebody else and was touched")
        if before is None and after is not None and _replicas(after):
            self.found.append(f"F5: {name} was created with a replica")
        if before is not None and after is None and naming.KIND in old and naming.TOMBSTONE not in old:
            self.found.append(f"F6: {name} was removed without a tombstone")
        if before is not None and after is not None and _epoch(new) < _epoch(old):
            self.found.append(f"S1: {name} went back from epoch {_epoch(old)} to {_epoch(new)}")
        if naming.TOMBSTONE in old and after is not None and naming.TOMBSTONE not in new:
            self.found.append(f"F6: {name} was adopted after its tombstone")

    def leaving(self, service: Service) -> None:
        """A manager goes through the tasks of a service that it removes; one of 20.10 dies of one just forgotten."""
        for task in service.tasks:
            node = self._swarm.nodes.get(task.node_id)
            if task.desired_state != "shutdown" and (not task.node_id or (node is not None and node.ready)):
                self.found.append(f"TASKS: {service.payload['Name']} was removed while {task.id} was ending")

    def removing(self, host: str, volume: str) -> None:
        """S5: data goes only when its database was accepted as being deleted, or its instance is not wanted."""
        for record in self._etcd.under(paths.ACCEPTED):
            accepted = json.loads(record.value)
            short = accepted["incarnation"].replace("-", "")[:8]
            if not volume.endswith(f"-{short}") or accepted["state"] == "deleting":
                continue
            name = record.path.rpartition("/")[2]
            wanted = {
                naming.volume(naming.instance(name, node["name"], one), accepted["incarnation"])
                for node in accepted["spec"]["nodes"]
                for one in node["hosts"]
            }
            if volume in wanted or accepted["state"] == "retained":
                self.found.append(f"S5: {volume} on {host} was removed, and {name} is {accepted['state']}")

    # --- at the end ---

    def at_the_end(self) -> Iterator[str]:
        yield from self.found
        if self._foreign != self._foreign_objects():
            yield "S12: an object of somebody else was touched"
        ports = [record.path for record in self._etcd.under(paths.PORTS)]
        holders = [record.value for record in self._etcd.under(paths.SUBNETS)]
        if len(ports) != len(set(ports)) or len(holders) != len(set(holders)):
            yield "S21: two databases share a port or a subnet"
        secrets = Needles(self._secrets())
        yield from (
            f"S17: a secret stands in {where}" for where, text in self._said() if secrets.stand_in(text)
        )

    def _secrets(self) -> Iterator[str]:
        for record in self._etcd.under(paths.SECRETS):
            value = record.value.decode(errors="replace")
            if "BEGIN" not in value and len(value) >= Needles.SHORTEST:
                yield value

    def _said(self) -> Iterator[tuple[str, str]]:
        for prefix in (paths.STATUS, paths.EVENTS, paths.ACCEPTED, paths.OBSERVED, paths.DESIRED):
            for record in self._etcd.under(prefix):
                yield record.path, record.value.decode(errors="replace")
        for service in self._swarm.services.values():
            yield f"service {service.payload['Name']}", json.dumps(service.payload)

    # --- somebody else's objects, with names like ours ---

    def _put_foreign_objects(self) -> list[object]:
        self._swarm.create_network(NetworkSpec(f"{FOREIGN}-net", {"team": "other"}, "10.77.0.0/24"))
        for kind in ("secret", "config"):
            self._swarm.create_blob(kind, FOREIGN, {"team": "other"}, "theirs")
        for engine in self._swarm.engines.values():
            engine.create_volume(f"{FOREIGN}-0a1b2c3d", {"team": "other"})
        return self._foreign_objects()

    def _foreign_objects(self) -> list[object]:
        blobs: list[BlobView] = [*self._swarm.secrets.values(), *self._swarm.configs.values()]
        volumes = (v for engine in self._swarm.engines.values() for v in engine.volumes.values())
        networks = (n for n in self._swarm.networks.values() if n.name.startswith(FOREIGN))
        return [
            *(b for b in blobs if b.name == FOREIGN),
            *networks,
            *(v for v in volumes if FOREIGN in v.name),
        ]


class Needles:
    """Words that are looked for in texts. Ten thousand of them do not make the looking longer."""

    SHORTEST, FEW = 16, 64

    def __init__(self, words: Iterable[str]) -> None:
        self._by_head: dict[str, list[str]] = {}
        for word in words:
            self._by_head.setdefault(word[: self.SHORTEST], []).append(word)

    def stand_in(self, text: str) -> bool:
        """Whether any of them does."""
        heads = set(self._by_head) if len(self._by_head) <= self.FEW else self._windows(text)
        return any(word in text for head in heads for word in self._by_head.get(head, ()))

    def _windows(self, text: str) -> set[str]:
        return {text[at : at + self.SHORTEST] for at in range(len(text))}


def _labels(payload: dict[str, Any] | None) -> dict[str, str]:
    return dict((payload or {}).get("Labels") or {})


def _container_labels(payload: dict[str, Any]) -> dict[str, str]:
    return dict(payload["TaskTemplate"]["ContainerSpec"].get("Labels") or {})


def _epoch(labels: dict[str, str]) -> int:
    text = labels.get(naming.EPOCH, "")
    return int(text) if text.isdecimal() else 0


def _replicas(payload: dict[str, Any]) -> int:
    return int(payload["Mode"]["Replicated"]["Replicas"])
