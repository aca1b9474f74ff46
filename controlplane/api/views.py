"""Records to what is shown of them, for the API and the CLI alike. Pure; no secret is in what goes out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from controlplane.api import live
from controlplane.api.schemas import DatabaseList, DatabaseView, Event, HostList, HostView, MetaView
from crds import text
from crds.accepted import Accepted
from crds.heartbeat import HostRecord
from crds.host import Host, HostStatus
from crds.meta import Condition, ConditionStatus, Key
from crds.problems import SpecRefused
from crds.status import DatabaseStatus
from reconcilers import paths
from reconcilers.ports import Record, Records

EVENTS_MAX = 20
DATABASE, HOST = "database", "host"
MASKED_VERIFIER = "SCRAM-SHA-256$***"

M = TypeVar("M", bound=BaseModel)


def database_names(records: Records) -> list[str]:
    """Every database that has a spec, was accepted, or has a status: one that is being removed counts."""
    roots = (f"{root}{DATABASE}/" for root in (paths.SPECS, paths.ACCEPTED, paths.STATUS))
    return sorted({record.path.removeprefix(root) for root in roots for record in records.under(root)})


def databases(records: Records) -> DatabaseList:
    found = (database(records, name, alone=False) for name in database_names(records))
    return DatabaseList(items=tuple(view for view in found if view is not None), revision=records.revision)


def database(records: Records, name: str, *, alone: bool = True) -> DatabaseView | None:
    """
    None when nothing is known of such a database.

    Args:
        alone: Also what a list does not have: events, and the positions that Patroni tells.
    """
    key = Key(DATABASE, name)
    spec, status = records.get(paths.spec(key)), records.get(paths.status(key))
    accepted_record = records.get(paths.accepted(key))
    if spec is None and status is None and accepted_record is None:
        return None
    accepted, shown = _read(accepted_record, Accepted), _status(status)
    return DatabaseView(
        metadata=MetaView(name=name, labels=_labels(spec), revision=spec.mod_revision if spec else 0),
        state=accepted.state if accepted else "",
        spec=_shown(accepted.spec.model_dump(mode="json")) if accepted else None,
        accepted_revision=accepted.revision if accepted else 0,
        images=accepted.images if accepted else {},
        status=live.positioned(shown, records, name) if alone else shown,
        events=_events(records, key) if alone else (),
    )


def host_names(records: Records) -> list[str]:
    """Every host that lives, has a spec, or has instances."""
    names = {record.path.removeprefix(paths.HOSTS) for record in records.under(paths.HOSTS)}
    specs = f"{paths.SPECS}{HOST}/"
    names |= {record.path.removeprefix(specs) for record in records.under(specs)}
    names |= {record.path.split("/")[1] for record in records.under(paths.DESIRED)}
    return sorted(names)


def hosts(records: Records) -> HostList:
    found = (host(records, name) for name in host_names(records))
    return HostList(items=tuple(view for view in found if view is not None), revision=records.revision)


def host(records: Records, name: str) -> HostView | None:
    """None when nothing is known of such a host."""
    beat_record, spec = records.get(paths.host(name)), records.get(paths.spec(Key(HOST, name)))
    placed = records.under(f"{paths.DESIRED}{name}/")
    if beat_record is None and spec is None and not placed:
        return None
    unschedulable, conditions = _host_spec(spec, name)
    status = HostStatus(
        observed_revision=spec.mod_revision if spec else 0,
        phase="Up" if beat_record is not None else "Down",
        unschedulable=unschedulable,
        conditions=conditions,
        instances=tuple(record.path.rpartition("/")[2] for record in placed),
    )
    beat = _read(beat_record, HostRecord)
    if beat is not None:
        facts = {
            field: getattr(beat, field)
            for field in (
                "node_id",
                "address",
                "manager",
                "cpus",
                "memory_bytes",
                "engine_version",
                "pgswarm_version",
            )
        }
        status = status.model_copy(update={**facts, "last_heartbeat": beat.started_at})
    labels = _labels(spec)
    return HostView(
        metadata=MetaView(name=name, labels=labels, revision=spec.mod_revision if spec else 0), status=status
    )


def _read(record: Record | None, model: type[M]) -> M | None:
    """What a newer process wrote is read as far as it is understood; what cannot be read is not there."""
    if record is None:
        return None
    try:
        return model.model_validate_json(record.value, extra="ignore")
    except ValidationError:
        return None


def _status(record: Record | None) -> DatabaseStatus:
    found = _read(record, DatabaseStatus)
    if found is None and record is not None:
        return DatabaseStatus(phase="Unknown", messages=("the status record cannot be read by this version",))
    return found or DatabaseStatus()


def _labels(spec: Record | None) -> dict[str, str]:
    if spec is None:
        return {}
    try:
        return dict(text.load_any(spec.value).metadata.labels)
    except SpecRefused:
        return {}


def _host_spec(spec: Record | None, name: str) -> tuple[bool, tuple[Condition, ...]]:
    """Whether the host takes no new instance, and whether its spec can be read: one that cannot closes it."""
    if spec is None:
        return False, ()
    try:
        found: Host = text.load(spec.value, "Host", name)
    except SpecRefused as exc:
        said = " ".join(str(problem) for problem in exc.problems)
        bad = Condition(
            type="SpecValid",
            status=ConditionStatus.FALSE,
            reason="InvalidSpec",
            message=f"{said}; the host takes no new instance",
            observed_revision=spec.mod_revision,
        )
        return True, (bad,)
    return found.spec.unschedulable, ()


def _shown(spec: dict[str, Any]) -> dict[str, Any]:
    """A verifier lets whoever has it try passwords offline, so it is not shown."""
    roles = [
        {**role, "scram": MASKED_VERIFIER} if role.get("scram") else role for role in spec.get("roles", ())
    ]
    return {**spec, "roles": roles}


def _events(records: Records, key: Key) -> tuple[Event, ...]:
    # Their names sort by time.
    latest = records.under(paths.events(key))[-EVENTS_MAX:]
    return tuple(event for record in latest if (event := _read(record, Event)) is not None)


def as_json(view: BaseModel) -> str:
    """The one form in which a view is written as JSON."""
    return json.dumps(plain(view), ensure_ascii=False, indent=2) + "\n"


def plain(view: BaseModel) -> Mapping[str, Any]:
    """The view as maps and lists, names as outside."""
    return view.model_dump(mode="json", by_alias=True)
