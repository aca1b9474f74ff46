"""What a person sees of a database: views to lines. Pure; now is an argument."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from controlplane.api.schemas import DatabaseView, HostView
from controlplane.figures import seconds
from controlplane.layout import (
    Cell,
    Line,
    Span,
    fields,
    heading,
    human_age,
    human_bytes,
    span,
    table,
)
from crds.host import HostStatus
from crds.meta import Condition
from crds.status import KEPT, InstanceStatus, NodeStatus

TOLD_ALWAYS = frozenset({"Ready", "Synced", "SpecValid", "Degraded"})
TOLD_WHEN_TRUE = frozenset(
    {"DataLoss", "Protected", "MassDeletionStopped", "EtcdWentBack", "DeletionInProgress", "Paused"}
)
"""Conditions that a status has only while they are True."""
GOOD_WHEN_FALSE = TOLD_WHEN_TRUE | {"Degraded"}
"""Conditions that say something is amiss when they are True."""

_ADDRESS = re.compile(r"[A-Za-z0-9.:_-]+")
"""What may stand in a line that people paste into a shell."""

CERTIFICATE_SOON_S = 30 * 86400
"""A server certificate that ends within this time should long have been renewed."""

_STATE_STYLES = {"running": "ok", "streaming": "ok", "starting": "warn", "creating replica": "warn"}


def status(view: DatabaseView, now_s: float) -> list[Line]:
    """Everything about one database. `now_s`: seconds since 1970, for ages."""
    sections = (
        ("Database", _summary(view, now_s)),
        ("Conditions", _conditions(view, now_s)),
        ("Instances", _instances(view, now_s)),
        ("On the hosts", _on_hosts(view, now_s)),
        ("Endpoints", _endpoints(view)),
        ("Inside Postgres", _inside(view)),
        ("Pending", _pending(view)),
        ("Messages", [(Span("  "), span(text)) for text in view.status.messages]),
        ("Events", _events(view, now_s)),
    )
    lines = _refusal(view)
    for title, section in sections:
        if section:
            lines += [*([()] if lines else []), heading(title), *section]
    return lines


def database_table(views: Sequence[DatabaseView]) -> list[Line]:
    titles = ("NAME", "PHASE", "READY", "INSTANCES", "PRIMARY", "TIMELINE", "OWNER", "WAITS FOR")
    return table(titles, [_database_row(view) for view in views], indent="")


def host_table(views: Sequence[HostView]) -> list[Line]:
    titles = (
        "NAME",
        "PHASE",
        "TAKES NEW",
        "ADDRESS",
        "ROLE",
        "CPUS",
        "MEMORY",
        "INSTANCES",
        "ENGINE",
        "PGSWARM",
    )
    return table(titles, [_host_row(view) for view in views], indent="")


def why_not(view: DatabaseView, condition: str = "Ready") -> str:
    """One sentence on what the database waits for; "" when it waits for nothing."""
    found = view.status.condition(condition)
    if _is_stale(view):
        return "a controller to look at the spec"
    if found is None:
        return f"condition {condition} to be reported"
    if found.status == "True":
        return ""
    return ": ".join(part for part in (found.reason, found.message) if part)


def psql_line(view: DatabaseView, role: str | None = None) -> str | None:
    """A line for the shell that opens psql on the primary; None when nothing is published or nobody may log in."""
    target = connection(view, role)
    if target is None:
        return None
    name, hosts, database = target
    where = ",".join(f"{host}:{port}" for host, port in hosts)
    return f'psql "postgresql://{name}@{where}/{database}?target_session_attrs=read-write"'


def connection(view: DatabaseView, role: str | None = None) -> tuple[str, list[tuple[str, int]], str] | None:
    """Role, (host, port) pairs with the primary first, database. None as in `psql_line`."""
    spec = view.spec or {}
    logins = [
        one["name"] for one in spec.get("roles", ()) if one.get("login") and one.get("ensure") != "absent"
    ]
    inside = spec.get("databases", ())
    owners = [one.get("owner") for one in inside if one.get("owner") in logins]
    name = role or (owners or logins or [None])[0]
    endpoints = [one for one in view.status.endpoints if _ADDRESS.fullmatch(one.host)]
    if name is None or not endpoints:
        return None
    owned = [one["name"] for one in inside if one.get("owner") == name]
    database = (owned or [one["name"] for one in inside] or ["postgres"])[0]
    ordered = sorted(endpoints, key=lambda endpoint: endpoint.role != "primary")
    return name, [(_bracketed(one.host), one.port) for one in ordered], database


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


# --- sections -------------------------------------------------------------------------------------------


def _refusal(view: DatabaseView) -> list[Line]:
    """What a reader must know before anything else: what follows is not about the newest spec."""
    said = list(problems(view))
    if not said:
        return []
    head = f"The newest spec, revision {view.metadata.revision}, is refused; {_instead(view)}:"
    return [(Span(head, "bad"),), *((Span("  "), span(text)) for text in said)]


def _summary(view: DatabaseView, now_s: float) -> list[Line]:
    status_ = view.status
    spec: dict[str, Any] = view.spec or {}
    pairs: list[tuple[str, Sequence[Cell]]] = [
        ("Name", [Span(view.metadata.name, "name")]),
        ("Phase", [Span(_phase(view), _phase_style(view)), *_refused_words(view)]),
        *([("Waits for", [Span(why, "warn")])] if (why := why_not(view)) else []),
        ("Spec", _spec_words(view)),
        ("Postgres", [_postgres(view)]),
        *([("System ID", [", ".join(systems)])] if (systems := _systems(view)) else []),
        ("Primary", [", ".join(_primary(node) for node in status_.nodes) or "none"]),
        ("Instances", [_counted(view)]),
        ("Owner", [f"{status_.owner or 'none'}, epoch {status_.epoch}"]),
    ]
    if spec.get("paused"):
        pairs.append(("Paused", [Span("yes: pgswarm looks but does not touch", "warn")]))
    deletion = spec.get("deletion") or {}
    if deletion:
        words = f"policy {deletion.get('policy')}" + (", protected" if deletion.get("protected") else "")
        pairs.append(("Deletion", [words]))
    if status_.incarnation:
        pairs.append(("Incarnation", [Span(status_.incarnation, "dim")]))
    if status_.last_success:
        pairs.append(("Last success", [f"{_ago(status_.last_success, now_s)} ago or later"]))
    return fields(pairs)


def _spec_words(view: DatabaseView) -> list[Cell]:
    revision, seen = view.metadata.revision, view.status.observed_revision
    if revision == 0:
        return [Span(f"none: it was removed{f' (data {view.state})' if view.state else ''}", "warn")]
    if seen < revision:
        return [f"revision {revision}, ", Span(f"not looked at yet (last: {seen})", "warn")]
    if _is_refused(view):
        return [f"revision {revision}, ", Span(f"refused; {_instead(view)}", "bad")]
    return [f"revision {revision}, in force"]


def _instead(view: DatabaseView) -> str:
    """What holds while the newest spec is refused."""
    if view.state == "active":
        return f"the last accepted one, revision {view.accepted_revision}, stays in force"
    return f"the data stays {view.state}" if view.state else "none was accepted before"


def _refused_words(view: DatabaseView) -> list[Span]:
    return [Span(", but the newest spec is refused", "bad")] if _is_refused(view) and view.state else []


def _postgres(view: DatabaseView) -> str:
    postgres = (view.spec or {}).get("postgres") or {}
    versions = sorted({one.version for _, one in _all(view) if one.version})
    runs = [f"{' and '.join(versions)} runs"] if versions else []
    return ", ".join([str(postgres.get("version", "?")), *runs, *sorted(set(view.images.values()))])


def _systems(view: DatabaseView) -> list[str]:
    return [f"{node.name}: {node.system_identifier}" for node in view.status.nodes if node.system_identifier]


def _primary(node: NodeStatus) -> str:
    if node.primary is None:
        return f"{node.name}: none"
    host = next((one.host for one in node.instances if one.name == node.primary), "?")
    return f"{node.primary} on {host}, timeline {node.timeline}"


def _all(view: DatabaseView) -> list[tuple[NodeStatus, InstanceStatus]]:
    return [(node, one) for node in view.status.nodes for one in node.instances]


def _counted(view: DatabaseView) -> Span:
    found = _all(view)
    running = sum(_serves(one) for _, one in found)
    return Span(f"{running} of {len(found)} serve", "ok" if found and running == len(found) else "warn")


def _serves(one: InstanceStatus) -> bool:
    return one.state in ("running", "streaming") and one.health in ("healthy", "none", "unknown")


def _conditions(view: DatabaseView, now_s: float) -> list[Line]:
    titles = ("TYPE", "STATUS", "SINCE", "REASON", "MESSAGE")
    rows = [
        (
            one.type,
            Span(str(one.status), _condition_style(one)),
            _ago(one.last_transition_time, now_s),
            one.reason,
            one.message,
        )
        for one in view.status.conditions
    ]
    return table(titles, rows) if rows else []


def _condition_style(one: Condition) -> str:
    if one.status == "Unknown":
        return "warn"
    return "ok" if (one.status == "True") != (one.type in GOOD_WHEN_FALSE) else "bad"


def _instances(view: DatabaseView, now_s: float) -> list[Line]:
    titles = ("NAME", "HOST", "ROLE", "STATE", "HEALTH", "UP", "TIMELINE", "LSN", "LAG", "SYNC", "RESTART")
    rows = [
        (
            one.name,
            one.host,
            Span(one.role, "name" if one.role == "primary" else ""),
            Span(one.state, _STATE_STYLES.get(one.state, "bad")),
            Span(one.health, {"healthy": "ok", "none": "", "starting": "warn"}.get(one.health, "bad")),
            _ago(one.started_at, now_s),
            Span(str(one.timeline or "?"), "" if one.timeline == node.timeline else "warn"),
            one.lsn or "?",
            "-" if one.role == "primary" else human_bytes(one.lag_bytes),
            one.sync or "-",
            Span("pending", "warn") if one.pending_restart else "no",
        )
        for node, one in _all(view)
    ]
    return [*table(titles, rows), *_age_of_positions(view)] if rows else []


def _age_of_positions(view: DatabaseView) -> list[Line]:
    timing = (view.spec or {}).get("patroni")
    if not timing:
        return []
    words = (
        f"LSN and lag: as each Patroni told them last, every {timing['loopWait']}; "
        f"one that is silent for {timing['ttl']} is not known"
    )
    return [(Span("  "), Span(words, "dim"))]


def _on_hosts(view: DatabaseView, now_s: float) -> list[Line]:
    titles = ("NAME", "POSTGRES", "VOLUME", "CERTIFICATE ENDS", "IMAGE")
    rows = [
        (
            one.name,
            one.version or "?",
            one.volume or Span("not seen", "warn"),
            _certificate(one.certificate_expires, now_s),
            one.image or "?",
        )
        for _, one in _all(view)
    ]
    return table(titles, rows) if rows else []


def _certificate(ends: str, now_s: float) -> Cell:
    ends_s = seconds(ends)
    if not ends_s:
        return "?"
    left_s = ends_s - now_s
    if left_s <= 0:
        return Span(f"{ends[:10]} (over)", "bad")
    return Span(f"{ends[:10]} (in {human_age(left_s)})", "warn" if left_s < CERTIFICATE_SOON_S else "")


def _endpoints(view: DatabaseView) -> list[Line]:
    if not view.status.endpoints:
        return []
    rows = [(f"{_bracketed(one.host)}:{one.port}", one.role) for one in view.status.endpoints]
    lines = table(("ADDRESS", "ROLE"), rows)
    target, line = connection(view), psql_line(view)
    if target is not None and line is not None:
        ask = f"pgswarm credentials {view.metadata.name} --role {target[0]}"
        lines += [(Span("  "), Span(f'PGPASSWORD="$({ask})" {line}', "name"))]
    return lines


def _inside(view: DatabaseView) -> list[Line]:
    spec = view.spec or {}
    databases = [_database_words(one) for one in spec.get("databases", ())]
    roles = [_role_words(one) for one in spec.get("roles", ())]
    if not databases and not roles:
        return []
    return fields(
        [
            ("Databases", [", ".join(databases) or "none"]),
            ("Roles", [", ".join(roles) or "none"]),
            ("State", [_inside_state(view)]),
        ]
    )


def _database_words(one: dict[str, Any]) -> str:
    parts = [f"owner {one['owner']}"] if one.get("owner") else []
    parts += [str(name) for name in one.get("extensions", ())]
    return f"{one['name']} ({', '.join(parts)})" if parts else str(one["name"])


def _role_words(one: dict[str, Any]) -> str:
    flags = [
        flag for flag in ("login", "superuser", "replication", "createdb", "createrole") if one.get(flag)
    ]
    flags += ["absent"] if one.get("ensure") == "absent" else []
    return f"{one['name']} ({', '.join(flags)})" if flags else str(one["name"])


def _inside_state(view: DatabaseView) -> Span:
    lost, ready = view.status.condition("DataLoss"), view.status.condition("Ready")
    if lost is not None and lost.status == "True":
        return Span(f"data loss: {lost.message}", "bad")
    if ready is not None and ready.status == "True" and not _is_stale(view):
        return Span("as specified", "ok")
    if ready is not None and ready.reason == "InsidePending":
        return Span(ready.message, "warn")
    return Span("not known: the database is not Ready", "warn")


def _pending(view: DatabaseView) -> list[Line]:
    rows = [
        (
            one.action,
            one.name,
            one.why,
            Span(one.change, _change_style(one.change)),
            one.waiting_for or "nothing: it is next",
        )
        for one in view.status.pending
    ]
    return table(("ACTION", "NAME", "WHY", "CHANGE", "WAITS FOR"), rows) if rows else []


def _change_style(change: str) -> str:
    if change in ("none", "reload"):
        return ""
    return "bad" if change in ("data-risk", "rebuild", "restart-primary") else "warn"


def _events(view: DatabaseView, now_s: float) -> list[Line]:
    rows = [
        (
            _ago(one.at, now_s),
            Span(one.type, "warn" if one.type == "Warning" else ""),
            one.reason,
            one.message,
        )
        for one in view.events
    ]
    return table(("AGE", "TYPE", "REASON", "MESSAGE"), rows) if rows else []


# --- rows and words -------------------------------------------------------------------------------------


def _database_row(view: DatabaseView) -> tuple[Cell, ...]:
    ready = view.status.condition("Ready")
    found = _all(view)
    primaries = ",".join(node.primary or "none" for node in view.status.nodes)
    timelines = ",".join(str(node.timeline or "?") for node in view.status.nodes)
    return (
        Span(view.metadata.name, "name"),
        Span(_phase(view), _phase_style(view)),
        Span(str(ready.status), _condition_style(ready)) if ready is not None else "Unknown",
        f"{sum(_serves(one) for _, one in found)}/{len(found)}",
        primaries or "none",
        timelines or "?",
        view.status.owner or "none",
        _waits_for(view),
    )


def _host_row(view: HostView) -> tuple[Cell, ...]:
    status_ = view.status
    return (
        Span(view.metadata.name, "name"),
        Span(status_.phase, "ok" if status_.phase == "Up" else "bad"),
        _takes(status_),
        status_.address or "?",
        ("manager" if status_.manager else "worker") if status_.node_id else "?",
        str(status_.cpus or "?"),
        human_bytes(status_.memory_bytes or None),
        str(len(status_.instances)),
        status_.engine_version or "?",
        status_.pgswarm_version or "?",
    )


def _takes(status_: HostStatus) -> Cell:
    """Whether the host takes new instances."""
    if any(one.type == "SpecValid" for one in status_.conditions):
        return Span("no: its spec is invalid", "bad")
    if status_.phase != "Up":
        return Span("no: it is down", "bad")
    return "no" if status_.unschedulable else "yes"


def _waits_for(view: DatabaseView) -> Cell:
    words = _short(why_not(view))
    if not words and _is_refused(view):
        return Span("a valid spec: the newest is refused", "bad")
    return words


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _phase(view: DatabaseView) -> str:
    return "Pending" if view.status.phase == "Ready" and _is_stale(view) else view.status.phase


def _phase_style(view: DatabaseView) -> str:
    phase = _phase(view)
    return "ok" if phase == "Ready" else "bad" if phase in ("DataLoss", "Invalid", "Unavailable") else "warn"


def _is_stale(view: DatabaseView) -> bool:
    """The status was judged from an older spec than the one that is there."""
    return view.status.observed_revision < view.metadata.revision


def _is_refused(view: DatabaseView) -> bool:
    return next(problems(view), None) is not None


def _ago(moment: str, now_s: float) -> str:
    at_s = seconds(moment)
    return human_age(now_s - at_s) if at_s else "?"


def problems(view: DatabaseView) -> Iterator[str]:
    """Sentences on an invalid spec, if that is what is there and it has been looked at."""
    valid = view.status.condition("SpecValid")
    if valid is not None and valid.status == "False" and not _is_stale(view):
        yield from valid.message.removesuffix(KEPT).split(" | ")
