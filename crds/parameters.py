"""
Postgres parameters in a spec: which ones are not the user's, and what can be judged without a server.

A value that Postgres refuses at start takes a whole database down, so the ones people set most are read here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, NamedTuple

from pydantic import BeforeValidator, WithJsonSchema

from crds.problems import Finding, refuse_all

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?", re.ASCII)
VALUE_LENGTH_MAX = 2048

_PATRONI = "Patroni sets it"
_FILES = "pgswarm lays out the files"
_TLS = "pgswarm makes the certificates"
_ARCHIVE = "backups set it"
_RECOVERY = "restores set it"
_LOGS = "the container's log is where pgswarm looks"

OWNED: dict[str, str] = {
    "cluster_name": _PATRONI,
    "hot_standby": _PATRONI,
    "primary_conninfo": _PATRONI,
    "primary_slot_name": _PATRONI,
    "promote_trigger_file": _PATRONI,
    "synchronous_standby_names": f"{_PATRONI} (say spec.patroni.synchronous)",
    "synchronized_standby_slots": _PATRONI,
    "sync_replication_slots": _PATRONI,
    "wal_level": "pgswarm keeps it at logical",
    "wal_log_hints": "pg_rewind needs it on",
    "track_commit_timestamp": "pgswarm keeps it on",
    "full_page_writes": "data would not survive a crash without it",
    "fsync": "data would not survive a crash without it",
    "zero_damaged_pages": "it destroys data",
    "ignore_checksum_failure": "it hides damage",
    "ignore_invalid_pages": "it hides damage",
    "allow_in_place_tablespaces": "it is for Postgres' own tests",
    "listen_addresses": "pgswarm chooses the networks",
    "port": "it is 5432 inside; say spec.port for the one outside",
    "unix_socket_directories": _FILES,
    "unix_socket_group": _FILES,
    "unix_socket_permissions": _FILES,
    "data_directory": _FILES,
    "config_file": _FILES,
    "hba_file": f"{_FILES} (say spec.postgres.hba)",
    "ident_file": _FILES,
    "external_pid_file": _FILES,
    "data_sync_retry": "data would not survive a failing disk",
    "password_encryption": "passwords are SCRAM",
    "dynamic_library_path": "code comes from the image only",
    "local_preload_libraries": "code is loaded with shared_preload_libraries",
    "session_preload_libraries": "code is loaded with shared_preload_libraries",
    "krb_server_keyfile": _FILES,
    "log_destination": _LOGS,
    "logging_collector": _LOGS,
    "log_directory": _LOGS,
    "log_filename": _LOGS,
    "shared_memory_type": "the container's memory is sized for it",
    "dynamic_shared_memory_type": "the container's memory is sized for it",
    "bonjour": "pgswarm chooses the networks",
    "event_source": "it is for Windows",
    "restart_after_crash": _PATRONI,
}
OWNED_PREFIXES: dict[str, str] = {
    "ssl": _TLS,
    "archive_": _ARCHIVE,
    "restore_": _ARCHIVE,
    "recovery_": _RECOVERY,
    "pgswarm.": "it is pgswarm's own",
}

_SIZE_UNITS = {"B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
_TIME_UNITS_US = {"us": 1, "ms": 1000, "s": 10**6, "min": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6}
_QUANTITY = re.compile(r"(-?[0-9]{1,15})(\.[0-9]{1,6})? ?([A-Za-z]{0,3})", re.ASCII)


class _Size(NamedTuple):
    unit_bytes: int
    """What a number without a unit counts, as Postgres reads it."""
    least_bytes: int


_SIZES = {
    "shared_buffers": _Size(8192, 128 * 1024),
    "temp_buffers": _Size(8192, 800 * 1024),
    "wal_buffers": _Size(8192, -8192),
    "effective_cache_size": _Size(8192, 8192),
    "work_mem": _Size(1024, 64 * 1024),
    "maintenance_work_mem": _Size(1024, 64 * 1024),
    "autovacuum_work_mem": _Size(1024, -1024),
    "logical_decoding_work_mem": _Size(1024, 64 * 1024),
    "temp_file_limit": _Size(1024, -1024),
    "max_wal_size": _Size(1024**2, 32 * 1024**2),
    "min_wal_size": _Size(1024**2, 32 * 1024**2),
    "wal_keep_size": _Size(1024**2, 0),
    "max_slot_wal_keep_size": _Size(1024**2, -(1024**2)),
    "max_stack_depth": _Size(1024, 100 * 1024),
}
_TIMES = frozenset(
    (
        "statement_timeout",
        "lock_timeout",
        "deadlock_timeout",
        "idle_session_timeout",
        "idle_in_transaction_session_timeout",
        "transaction_timeout",
        "checkpoint_timeout",
        "wal_sender_timeout",
        "wal_receiver_timeout",
        "wal_receiver_status_interval",
        "autovacuum_naptime",
        "log_min_duration_statement",
        "max_standby_streaming_delay",
        "max_standby_archive_delay",
        "authentication_timeout",
    )
)
_COUNTS = {
    "max_connections": (10, 10000),
    "superuser_reserved_connections": (3, 100),
    "reserved_connections": (0, 1000),
    "max_worker_processes": (8, 1024),
    "max_parallel_workers": (0, 1024),
    "max_parallel_workers_per_gather": (0, 1024),
    "max_parallel_maintenance_workers": (0, 1024),
    "max_wal_senders": (5, 1000),
    "max_replication_slots": (5, 1000),
    "max_prepared_transactions": (0, 10000),
    "max_locks_per_transaction": (10, 10000),
    "autovacuum_max_workers": (1, 256),
    "effective_io_concurrency": (0, 1000),
    "maintenance_io_concurrency": (0, 1000),
    "default_statistics_target": (1, 10000),
}


def size_bytes(name: str, value: str) -> int | None:
    """Read a memory parameter as Postgres does, in bytes; None when it is not one or cannot be read."""
    size = _SIZES.get(name)
    match = _QUANTITY.fullmatch(value.strip())
    if size is None or match is None:
        return None
    whole, fraction, unit = match.groups()
    factor = _SIZE_UNITS.get(unit) if unit else size.unit_bytes
    if factor is None:
        return None
    if not fraction:
        return int(whole) * factor
    beyond: int = int(fraction[1:]) * factor // int("1" + "0" * (len(fraction) - 1))
    return int(whole) * factor + (-beyond if whole.startswith("-") else beyond)


def owned_because(name: str) -> str | None:
    """Say why a parameter is not the user's; None when it is."""
    why = OWNED.get(name)
    if why is not None:
        return why
    return next((w for prefix, w in OWNED_PREFIXES.items() if name.startswith(prefix)), None)


def as_text(value: object) -> str | None:
    """Write a scalar the way postgresql.conf has it; None when it is not a scalar."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return repr(value)
    return None


def _value_finding(name: str, value: str) -> Finding | None:
    if len(value) > VALUE_LENGTH_MAX or any(ord(c) < 32 or ord(c) == 127 for c in value):
        return Finding(
            f"the value of {name} is too long or has a control character",
            f"keep it on one line of at most {VALUE_LENGTH_MAX} characters",
            (name,),
        )
    if name in _SIZES:
        size = size_bytes(name, value)
        if size is None:
            return Finding(
                f"{name} is not an amount of memory", "write a number with B, kB, MB, GB or TB", (name,)
            )
        if size < _SIZES[name].least_bytes:
            return Finding(f"{name} is below what Postgres accepts", "give more, or leave it out", (name,))
    if name in _TIMES:
        match = _QUANTITY.fullmatch(value.strip())
        if match is None or (match[3] and match[3] not in _TIME_UNITS_US):
            return Finding(f"{name} is not a time", "write a number with us, ms, s, min, h or d", (name,))
    if name in _COUNTS:
        least, most = _COUNTS[name]
        if not re.fullmatch(r"[0-9]{1,9}", value.strip(), re.ASCII) or not least <= int(value) <= most:
            return Finding(f"{name} is not a whole number in range", f"give {least} to {most}", (name,))
    return None


def _finding(name: str, value: str | None) -> Finding | None:
    if NAME.fullmatch(name) is None:
        shown = ascii(name[:64])
        return Finding(
            f"{shown} cannot be a parameter", "write its name in lower case, as in pg_settings", (name,)
        )
    why = owned_because(name)
    if why is not None:
        return Finding(f"{name} is not yours to set: {why}", "leave it out", (name,))
    if value is None:
        return Finding(f"{name} is not a single value", "give a string, a number, true or false", (name,))
    return _value_finding(name, value)


@cache
def _known() -> Mapping[int, frozenset[str]]:
    """Major version -> names of its parameters."""
    found: dict[int, set[str]] = {}
    for line in files("crds").joinpath("parameter_names.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, *majors = line.split()
            for major in majors:
                found.setdefault(int(major), set()).add(name)
    return {major: frozenset(names) for major, names in found.items()}


def unknown_findings(parameters: Mapping[str, str], major: int) -> Iterator[Finding]:
    """
    Names that this version of Postgres does not have; Patroni would leave them out without a word.

    A name with a dot belongs to an extension, and of a major version without a list nothing is known.
    """
    known = _known().get(major)
    for name in parameters:
        if known is None or "." in name or name in known:
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
        fix = f"did you mean {near[0]}?" if near else "leave it out"
        yield Finding(f"Postgres {major} has no parameter {name}", fix, (name,))


def check_parameters(raw: object) -> dict[str, str]:
    """
    Read a map of parameters into text values.

    Raises:
        PydanticCustomError: With one finding per parameter that cannot stand.
    """
    if not isinstance(raw, Mapping):
        raise refuse_all([Finding("parameters is not a map", "write name: value, one a line")])
    texts = {str(name): as_text(value) for name, value in raw.items()}
    found = [f for name, value in texts.items() if (f := _finding(name, value)) is not None]
    if found:
        raise refuse_all(found)
    return {name: value for name, value in texts.items() if value is not None}


Parameters = Annotated[
    dict[str, str],
    BeforeValidator(check_parameters),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": f"^({NAME.pattern})$"},
            "additionalProperties": {"type": ["string", "number", "boolean"]},
        }
    ),
]
