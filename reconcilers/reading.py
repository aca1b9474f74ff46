"""From records to values, each record read once per revision. Pure but for the memory of what was read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from reconcilers.observed import MemberView, PatroniCluster
from reconcilers.ports import Record

T = TypeVar("T")
TEXTS_MAX = 10_000
_TEXTS: dict[str, str] = {}
"""Names and values of settings, each once: thousands of databases have the same. The first that come have a place."""
SIZE = 500_000
"""Values that are remembered; what ten thousand databases have of one kind, several times over."""


class Parsed(Generic[T]):
    """
    Remember what a record's value meant until its revision changes.

    Bounded: when it holds `size` values the oldest goes; a miss only costs the parsing.
    """

    def __init__(self, parse: Callable[[Record], T], size: int = SIZE) -> None:
        self._parse = parse
        self._size = size
        self._seen: dict[str, tuple[int, T]] = {}

    def get(self, record: Record) -> T:
        known = self._seen.get(record.path)
        if known is not None and known[0] == record.mod_revision:
            return known[1]
        value = self._parse(record)
        self._seen.pop(record.path, None)
        if len(self._seen) >= self._size:
            del self._seen[next(iter(self._seen))]
        self._seen[record.path] = (record.mod_revision, value)
        return value


class ParsedTogether(Generic[T]):
    """The same for records that mean something only together: remembered until one of them is another."""

    def __init__(self, parse: Callable[[str, Sequence[Record]], T], size: int = SIZE) -> None:
        self._parse = parse
        self._size = size
        self._seen: dict[str, tuple[Sequence[Record], T]] = {}

    def get(self, prefix: str, records: Sequence[Record]) -> T:
        """`records`: all under `prefix`."""
        known = self._seen.get(prefix)
        if known is not None and known[0] == records:
            return known[1]
        value = self._parse(prefix, records)
        self._seen.pop(prefix, None)
        if len(self._seen) >= self._size:
            del self._seen[next(iter(self._seen))]
        self._seen[prefix] = (records, value)
        return value


def patroni_cluster(prefix: str, records: Sequence[Record]) -> PatroniCluster:
    """Read `/patroni/<scope>/`. What Patroni wrote and we cannot read counts as absent, never as an error."""
    found = {record.path.removeprefix(prefix): record for record in records}
    config = found.get("config")
    initialize, leader, failover = found.get("initialize"), found.get("leader"), found.get("failover")
    members = {
        path.removeprefix("members/"): member(path.removeprefix("members/"), record)
        for path, record in found.items()
        if path.startswith("members/")
    }
    sync = _object(found.get("sync"))
    return PatroniCluster(
        config=_shared(_object(config)) if config is not None else None,
        config_revision=config.mod_revision if config is not None else 0,
        initialize=initialize.value.decode(errors="replace") if initialize is not None else None,
        initialize_revision=initialize.mod_revision if initialize is not None else 0,
        leader=leader.value.decode(errors="replace") if leader is not None else None,
        members=members,
        failover_revision=failover.mod_revision if failover is not None else 0,
        failover_requested=bool(_object(failover)),
        sync_standbys=tuple(name for name in str(sync.get("sync_standby") or "").split(",") if name),
    )


def member(name: str, record: Record) -> MemberView:
    data = _object(record)
    role = str(data.get("role", "unknown"))
    reasons = data.get("pending_restart_reason")
    return MemberView(
        name=name,
        role="primary" if role == "master" else role,
        state=str(data.get("state", "unknown")),
        timeline=_number(data.get("timeline")),
        lsn=_number(data.get("xlog_location")),
        pending_restart=bool(data.get("pending_restart", False)),
        pending_restart_reason={
            str(parameter): (str(values.get("old_value", "")), str(values.get("new_value", "")))
            for parameter, values in (reasons if isinstance(reasons, Mapping) else {}).items()
            if isinstance(values, Mapping)
        },
        tags=data["tags"] if isinstance(data.get("tags"), Mapping) else {},
    )


def _object(record: Record | None) -> dict[str, Any]:
    if record is None:
        return {}
    try:
        value = json.loads(record.value)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _shared(value: Any) -> Any:
    """An equal value."""
    if isinstance(value, str):
        return _TEXTS.get(value, value) if len(_TEXTS) >= TEXTS_MAX else _TEXTS.setdefault(value, value)
    if isinstance(value, dict):
        return {_shared(name): _shared(part) for name, part in value.items()}
    return [_shared(part) for part in value] if isinstance(value, list) else value


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
