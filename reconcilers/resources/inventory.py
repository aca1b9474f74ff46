"""
What is inside one Postgres: the queries (SQL as data) and how their answers are read. Pure.

One query serves primaries and replicas. It asks only for names it is told: its answer is bounded by the spec.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reconcilers.ports import Secret, Statement

INVENTORY = """
SELECT jsonb_build_object(
  'version', current_setting('server_version_num')::int,
  'in_recovery', pg_is_in_recovery(),
  'managed', to_regclass('pgswarm.ledger') IS NOT NULL,
  'disk', pg_read_file('/dev/shm/pgswarm-disk', 0, 100, true),
  'auto_conf', (
    SELECT coalesce(jsonb_agg(DISTINCT f.name ORDER BY f.name), '[]') FROM pg_file_settings f
    WHERE f.sourcefile LIKE '%/postgresql.auto.conf' AND f.name IS NOT NULL),
  'roles', (
    SELECT coalesce(jsonb_object_agg(a.rolname, to_jsonb(a) || jsonb_build_object(
      'builtin', a.oid < 16384,
      'until', CASE WHEN isfinite(a.rolvaliduntil)
        THEN to_char(a.rolvaliduntil AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') END,
      'comment', shobj_description(a.oid, 'pg_authid'),
      'member_of', (
        SELECT coalesce(jsonb_agg(to_jsonb(m) || jsonb_build_object(
          'parent', p.rolname, 'by', g.rolname) ORDER BY p.rolname, g.rolname), '[]')
        FROM pg_auth_members m JOIN pg_authid p ON p.oid = m.roleid LEFT JOIN pg_authid g ON g.oid = m.grantor
        WHERE m.member = a.oid),
      'dependents', (
        SELECT coalesce(jsonb_agg(DISTINCT coalesce(d.datname, 'the cluster')), '[]')
        FROM pg_shdepend s LEFT JOIN pg_database d
          ON d.oid = CASE WHEN s.classid = 'pg_database'::regclass THEN s.objid ELSE s.dbid END
        WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = a.oid
          AND {dropping}::jsonb ? a.rolname::text)
      )), '{{}}')
    FROM pg_authid a WHERE {roles}::jsonb ? a.rolname::text),
  'databases', (
    SELECT coalesce(jsonb_object_agg(d.datname, jsonb_build_object(
      'owner', pg_get_userbyid(d.datdba), 'encoding', pg_encoding_to_char(d.encoding),
      'collate', d.datcollate, 'connectable', d.datallowconn, 'valid', d.datconnlimit <> -2)), '{{}}')
    FROM pg_database d WHERE {databases}::jsonb ? d.datname::text)
)
"""
FULL_BYTES = 64 * 2**20
LEDGER = "SELECT name FROM pgswarm.ledger WHERE kind = 'database' ORDER BY name"
EXTENSIONS = "SELECT extname::text FROM pg_extension ORDER BY extname"


@dataclass(frozen=True, slots=True)
class Membership:
    parent: str
    grantor: str | None
    admin: bool
    implied: bool
    """Postgres 16 grants the maker of a role this by itself; it is none of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleView:
    """One row of pg_authid; `password` is the stored verifier."""

    login: bool
    superuser: bool
    createdb: bool
    createrole: bool
    replication: bool
    bypassrls: bool
    inherit: bool
    connection_limit: int
    valid_until: str | None
    """RFC 3339 in UTC with microseconds; None: for ever."""
    password: Secret | None = field(repr=False)
    comment: str | None
    builtin: bool
    member_of: tuple[Membership, ...] = ()
    dependents: tuple[str, ...] = ()
    """Databases in which something still hangs on the role; looked up only for roles that are to go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseView:
    owner: str
    encoding: str
    collate: str
    connectable: bool
    valid: bool
    """False: what an interrupted DROP DATABASE left behind."""


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of the data directory, as the image's health check saw it last: within 20 s."""

    free_bytes: int
    total_bytes: int

    @property
    def full(self) -> bool:
        """Too little is left for anybody to go on writing: a few WAL segments, or on a small disk a twentieth."""
        return self.free_bytes < min(FULL_BYTES, self.total_bytes // 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    version: int
    """As in server_version_num: 170002."""
    in_recovery: bool
    managed: bool
    """pgswarm's own schema exists."""
    auto_conf: tuple[str, ...]
    """Settings in postgresql.auto.conf, where ALTER SYSTEM writes."""
    roles: Mapping[str, RoleView]
    databases: Mapping[str, DatabaseView]
    disk: Disk | None = None
    """None: the image does not tell."""


def query(roles: Iterable[str], dropping: Iterable[str], databases: Iterable[str]) -> Statement:
    """Ask for these roles and databases; for `dropping` also what hangs on them."""
    return Statement(
        INVENTORY,
        literals={"roles": _names(roles), "dropping": _names(dropping), "databases": _names(databases)},
    )


def read(rows: Sequence[Sequence[Any]]) -> Inventory:
    """Read the answer to `query`."""
    found: Mapping[str, Any] = rows[0][0]
    return Inventory(
        version=found["version"],
        in_recovery=found["in_recovery"],
        managed=found["managed"],
        auto_conf=tuple(found["auto_conf"]),
        roles={name: _role(row) for name, row in sorted(found["roles"].items())},
        databases={name: DatabaseView(**row) for name, row in sorted(found["databases"].items())},
        disk=_disk(found.get("disk")),
    )


def names(rows: Sequence[Sequence[Any]]) -> frozenset[str]:
    """Read the answer to LEDGER or EXTENSIONS."""
    return frozenset(str(row[0]) for row in rows)


def _names(values: Iterable[str]) -> str:
    """As JSON, without names that jsonb could not take; nothing in Postgres can be called so."""
    return json.dumps(sorted({name for name in values if "\0" not in name}))


def _disk(text: str | None) -> Disk | None:
    """Read what images/postgres/healthcheck writes: free blocks, all blocks, bytes of a block."""
    parts = (text or "").split()
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        return None
    free, blocks, size = (int(part) for part in parts)
    return Disk(free * size, blocks * size)


def _role(row: Mapping[str, Any]) -> RoleView:
    return RoleView(
        login=row["rolcanlogin"],
        superuser=row["rolsuper"],
        createdb=row["rolcreatedb"],
        createrole=row["rolcreaterole"],
        replication=row["rolreplication"],
        bypassrls=row["rolbypassrls"],
        inherit=row["rolinherit"],
        connection_limit=row["rolconnlimit"],
        valid_until=row["until"],
        password=None if row["rolpassword"] is None else Secret(row["rolpassword"]),
        comment=row["comment"],
        builtin=row["builtin"],
        member_of=tuple(_membership(one) for one in row["member_of"]),
        dependents=tuple(row["dependents"]),
    )


def _membership(row: Mapping[str, Any]) -> Membership:
    # inherit_option and set_option exist from 16 on; before, a membership always had both.
    usable = row.get("inherit_option", True) or row.get("set_option", True)
    return Membership(
        row["parent"], row["by"], row["admin_option"], implied=row["admin_option"] and not usable
    )
