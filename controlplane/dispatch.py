"""From changed records to keys: who has to look again when a record changes. Pure but for what was seen last."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from crds.meta import Key
from reconcilers import paths
from reconcilers.held import UNREAD
from reconcilers.ports import Record, Records
from reconcilers.resources import naming


@dataclass(frozen=True, slots=True)
class Wakes:
    """Keys to look at. `everything`: every database and instance that is known."""

    databases: tuple[Key, ...] = ()
    instances: tuple[Key, ...] = ()
    everything: bool = False


NOBODY = Wakes()


class Dispatch:
    """What a change means on one host."""

    def __init__(self, host: str, records: Records) -> None:
        self._host, self._records = host, records
        self._members: dict[str, object] = {}

    def wakes(self, path: str) -> Wakes:
        root, _, rest = path.partition("/")
        match root:
            case "specs" | "accepted" | "secrets":
                kind, _, name = rest.partition("/")
                if (root, kind) == ("specs", "host"):
                    return Wakes(everything=True)
                return _database(name.partition("/")[0]) if kind == "database" else NOBODY
            case "confirmations" | "halted":
                return _database(path.rpartition("/")[2])
            case "desired" | "observed":
                return self._instance(root, rest)
            case "accounts":
                return _owner_of(rest.removeprefix("instance-"))
            case "hosts":
                return Wakes(everything=True)
            case "patroni":
                return self._patroni(path, rest)
        return NOBODY

    def forget(self) -> None:
        """Changes were missed: what was seen last is no measure of what is meaningful any more."""
        self._members.clear()

    def known_databases(self) -> Iterator[Key]:
        seen = set()
        for root in (paths.SPECS, paths.ACCEPTED):
            for record in self._records.under(f"{root}database/"):
                name = record.path.rpartition("/")[2]
                if name not in seen:
                    seen.add(name)
                    yield Key("database", name)

    def local_instances(self) -> Iterator[Key]:
        for record in self._records.under(paths.desired(self._host, "")):
            yield Key("instance", record.path.rpartition("/")[2])

    def _instance(self, root: str, rest: str) -> Wakes:
        host, _, instance = rest.partition("/")
        # Our own word about an instance matters to us only when it is gone: it lay on an earlier lease.
        ours = host == self._host and (
            root == "desired" or self._records.get(paths.observed(host, instance)) is None
        )
        return Wakes(_owner_of(instance).databases, (Key("instance", instance),) if ours else ())

    def _patroni(self, path: str, rest: str) -> Wakes:
        scope, _, what = rest.partition("/")
        database = naming.database_of_scope(scope)
        if database is None or what in UNREAD or not self._meaningful(path):
            return NOBODY
        prefix = paths.desired(self._host, f"{scope}-")
        local = tuple(Key("instance", r.path.rpartition("/")[2]) for r in self._records.under(prefix))
        return Wakes((Key("database", database),), local)

    def _meaningful(self, path: str) -> bool:
        """False when a record was only rewritten: a member that moved its LSN, a leader that renewed its key."""
        record = self._records.get(path)
        if record is None:
            self._members.pop(path, None)
            return True
        meaning = _meaning(record)
        if self._members.get(path, self) == meaning:
            return False
        self._members[path] = meaning
        return True


def _meaning(record: Record) -> object:
    try:
        value = json.loads(record.value)
    except ValueError:
        return record.value
    if not isinstance(value, dict):
        return record.value
    moving = ("xlog_location", "receive_lsn", "replay_lsn", "receive_location", "replay_location")
    return json.dumps({name: part for name, part in value.items() if name not in moving}, sort_keys=True)


def _database(name: str) -> Wakes:
    return Wakes((Key("database", name),)) if name else NOBODY


def _owner_of(instance: str) -> Wakes:
    database = naming.database_of(instance)
    return _database(database) if database is not None else NOBODY
