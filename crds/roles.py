"""Roles and logical databases as a user declares them, and the rules that tie them together."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from crds.meta import Model
from crds.names import DatabaseName, Extension, ObjectName, RoleName, SecretKey
from crds.problems import Finding, Path, refuse

PREDEFINED_ROLES: dict[str, int] = {
    "pg_checkpoint": 15,
    "pg_create_subscription": 16,
    "pg_maintain": 17,
    "pg_monitor": 10,
    "pg_read_all_data": 14,
    "pg_read_all_settings": 10,
    "pg_read_all_stats": 10,
    "pg_signal_autovacuum_worker": 18,
    "pg_signal_backend": 10,
    "pg_stat_scan_tables": 10,
    "pg_use_reserved_connections": 16,
    "pg_write_all_data": 14,
}
"""Postgres' own roles that may be given, and the first major that has each; none reaches files."""

ENCODINGS = (
    "UTF8",
    "SQL_ASCII",
    "LATIN1",
    "LATIN2",
    "LATIN3",
    "LATIN4",
    "LATIN5",
    "LATIN6",
    "LATIN7",
    "LATIN8",
    "LATIN9",
    "LATIN10",
    "ISO_8859_5",
    "ISO_8859_6",
    "ISO_8859_7",
    "ISO_8859_8",
    "EUC_JP",
    "EUC_KR",
    "EUC_CN",
    "EUC_TW",
    "KOI8R",
    "KOI8U",
    "WIN1250",
    "WIN1251",
    "WIN1252",
    "WIN1253",
    "WIN1254",
    "WIN1255",
    "WIN1256",
    "WIN1257",
    "WIN1258",
    "WIN866",
    "WIN874",
)
_LOCALE = re.compile(r"[A-Za-z0-9_]+([.@-][A-Za-z0-9_-]+)*", re.ASCII)
_SCRAM = re.compile(
    r"SCRAM-SHA-256\$[1-9][0-9]{3,6}:[A-Za-z0-9+/]{16,88}={0,2}\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=",
    re.ASCII,
)


def _check_encoding(value: str) -> str:
    if value not in ENCODINGS:
        raise refuse(
            f"{value[:32]!a} is not an encoding of a Postgres server", "write UTF8 unless you must not"
        )
    return value


def _check_locale(value: str) -> str:
    if len(value) > 64 or _LOCALE.fullmatch(value) is None:
        raise refuse(f"{value[:64]!a} is not a locale", "write for example C.UTF-8 or de_DE.UTF-8")
    return value


def _check_scram(value: str) -> str:
    # The value never goes into the message: a password may stand here by mistake.
    if _SCRAM.fullmatch(value) is None:
        raise refuse(
            "scram is not a SCRAM-SHA-256 verifier",
            "give what Postgres keeps in pg_authid.rolpassword, or leave it out and a password is generated",
        )
    return value


def _check_valid_until(value: str) -> str:
    if value == "infinity":
        return value
    try:
        aware = datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        aware = False
    if not aware or len(value) > 40:
        raise refuse(f"{value[:40]!a} is not a time with its zone", "write for example 2030-01-31T00:00:00Z")
    return value


def _check_comment(value: str) -> str:
    if len(value) > 1024 or not value.isprintable():
        raise refuse("a comment is one line of at most 1024 characters", "shorten it")
    return value


class SecretRef(Model):
    """Where a password lies among pgswarm's encrypted secrets."""

    name: ObjectName
    key: SecretKey = "password"


class Role(Model):
    """One role inside Postgres. Attributes not named are off, whatever somebody grants by hand."""

    name: RoleName
    ensure: Literal["present", "absent"] = Field(
        default="present", description="absent: dropped, once it owns nothing."
    )
    login: bool = Field(
        default=False, description="May connect; gets a generated password unless one is referred to."
    )
    superuser: bool = False
    createdb: bool = False
    createrole: bool = False
    replication: bool = False
    bypassrls: bool = False
    inherit: bool = True
    connection_limit: int = Field(
        default=-1, ge=-1, le=10000, description="Connections at once; -1: no limit."
    )
    valid_until: Annotated[str, AfterValidator(_check_valid_until)] | None = Field(
        default=None, description="RFC 3339 with a zone, or infinity: when the password ends."
    )
    member_of: tuple[str, ...] = Field(default=(), max_length=64)
    comment: Annotated[str, AfterValidator(_check_comment)] | None = None
    secret_ref: SecretRef | None = Field(default=None, description="Take the password from here.")
    scram: Annotated[str, AfterValidator(_check_scram)] | None = Field(
        default=None, repr=False, description="SCRAM-SHA-256 verifier; pgswarm then never knows the password."
    )

    @model_validator(mode="after")
    def _one_password(self) -> Role:
        if self.secret_ref is not None and self.scram is not None:
            raise refuse(f"role {self.name} has secretRef and scram", "keep one of the two")
        return self


class LogicalDatabase(Model):
    """One database inside Postgres. Removing it from the list drops nothing."""

    name: DatabaseName
    owner: str | None = Field(
        default=None, description="A role of spec.roles; null: the superuser of pgswarm."
    )
    extensions: tuple[Extension, ...] = Field(default=(), max_length=64)
    encoding: Annotated[str, AfterValidator(_check_encoding)] = "UTF8"
    locale: Annotated[str, AfterValidator(_check_locale)] | None = Field(
        default=None, description="LC_COLLATE and LC_CTYPE; null: the image's."
    )


def repeated(names: Iterable[str], noun: str, field: str = "name") -> list[Finding]:
    """One finding for each name that was there before."""
    seen: set[str] = set()
    found = []
    for index, name in enumerate(names):
        if name in seen:
            at: Path = (index, field) if field else (index,)
            found.append(Finding(f"{noun} {name} is given twice", "keep one of them", at))
        seen.add(name)
    return found


def _membership(
    index: int, place: int, role: Role, name: str, present: frozenset[str], major: int | None
) -> Finding | None:
    at: Path = (index, "memberOf", place)
    if name == role.name:
        return Finding(f"role {role.name} cannot be a member of itself", "leave it out", at)
    since = PREDEFINED_ROLES.get(name)
    if since is None and name not in present:
        return Finding(
            f"{name[:64]!a} is not a role of this database",
            "declare it in spec.roles, or name one of " + ", ".join(PREDEFINED_ROLES),
            at,
        )
    if since is not None and major is not None and major < since:
        return Finding(
            f"{name} exists from Postgres {since} on", "leave it out, or raise spec.postgres.version", at
        )
    return None


def _circles(roles: tuple[Role, ...]) -> list[Finding]:
    """The first role that is a member of itself through others: Postgres refuses such a GRANT."""
    members = {role.name: role.member_of for role in roles}
    for index, role in enumerate(roles):
        todo, seen = [name for name in role.member_of if name != role.name], set[str]()
        while todo:
            name = todo.pop()
            if name == role.name:
                message = f"role {role.name} is a member of itself through others"
                return [Finding(message, "break the circle", (index, "memberOf"))]
            if name not in seen:
                seen.add(name)
                todo.extend(members.get(name, ()))
    return []


def role_findings(roles: tuple[Role, ...], major: int | None) -> list[Finding]:
    """What is wrong among the roles; `at` starts with the role's index. `major`: Postgres, when known."""
    found = repeated((role.name for role in roles), "role")
    present = frozenset(role.name for role in roles if role.ensure == "present")
    for index, role in enumerate(roles):
        for place, name in enumerate(role.member_of):
            finding = _membership(index, place, role, name, present, major)
            if finding is not None:
                found.append(finding)
    return found + _circles(roles)


def database_findings(
    databases: tuple[LogicalDatabase, ...], roles: tuple[Role, ...] | None
) -> list[Finding]:
    """What is wrong among the databases; `roles` is None when they could not be read themselves."""
    found = repeated((database.name for database in databases), "database")
    for index, database in enumerate(databases):
        twice = repeated(database.extensions, "extension", field="")
        found += [f._replace(at=(index, "extensions", *f.at)) for f in twice]
        owner = next((role for role in roles or () if role.name == database.owner), None)
        if database.owner is None or roles is None or (owner is not None and owner.ensure == "present"):
            continue
        said = "is to be absent" if owner is not None else "is not a role of this database"
        found.append(
            Finding(f"owner {database.owner[:64]!a} {said}", "declare it in spec.roles", (index, "owner"))
        )
    return found
