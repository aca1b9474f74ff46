"""
Roles. A role that is declared is complete: an attribute or membership that is not declared is to be off.

Passwords reach SQL only as SCRAM verifiers (the Sql adapter makes them); a role without a declared password
keeps what it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from crds.instance import Problem, RoleDesired
from crds.names import RESERVED_PREFIXES, RESERVED_ROLES
from reconcilers.actions import Why
from reconcilers.ports import Secret, Statement
from reconcilers.resources import scram
from reconcilers.resources.inventory import Membership, RoleView
from reconcilers.resources.sql import Difference, RunSql

KIND = "role"
FLAGS = ("login", "superuser", "createdb", "createrole", "replication", "bypassrls", "inherit")
GRANTED_BY_SINCE = 160000
"""From this version on one membership can be granted by several roles, and a REVOKE names which."""


def diff(
    want: RoleDesired,
    password: Secret | None,
    have: RoleView | None,
    known: Mapping[str, RoleView],
    version: int,
) -> Difference:
    """
    Compare one declared role with what is there.

    Args:
        password: The declared password or verifier; None: the password is not ours to set.
        known: The roles that exist, among those declared or named as a parent.
        version: server_version_num.
    """
    if (why := _reserved(want.name, have)) is not None:
        return Difference(problems=(Problem(reason="ReservedRole", message=f"role {want.name}: {why}"),))
    if want.ensure == "absent":
        return _drop(want.name, have)
    try:
        until = normal_time(want.valid_until)
    except ValueError:
        return Difference(
            problems=(Problem(reason="InvalidRole", message=f"role {want.name}: valid_until is not a time"),)
        )
    if have is None:
        return _create(want, until, password, known)
    return _repair(want, until, password, have, known, version)


def normal_time(text: str | None) -> str | None:
    """RFC 3339 in UTC with microseconds, as the inventory shows it; None is for ever. Raises: ValueError."""
    if text is None or text == "infinity":
        return None
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _reserved(name: str, have: RoleView | None) -> str | None:
    if have is not None and have.builtin:
        return "it came with the cluster and is not altered"
    by_prefix = (why for prefix, why in RESERVED_PREFIXES.items() if name.startswith(prefix))
    return RESERVED_ROLES.get(name) or next(by_prefix, None)


def _drop(name: str, have: RoleView | None) -> Difference:
    if have is None:
        return Difference()
    if have.dependents:
        places = ", ".join(have.dependents)
        message = f"role {name} owns or is granted something in {places}: REASSIGN OWNED, DROP OWNED there"
        return Difference(problems=(Problem(reason="RoleInUse", message=message),))
    drop = Statement("DROP ROLE {role}", {"role": name})
    return Difference(actions=(_action(name, Why.SURPLUS, "is to be gone", drop),))


def _create(
    want: RoleDesired, until: str | None, password: Secret | None, known: Mapping[str, RoleView]
) -> Difference:
    statements = [_attributes("CREATE", want, until, password)]
    if want.comment is not None:
        statements.append(_comment(want))
    missing = [parent for parent in want.member_of if parent not in known]
    statements += [_grant(want.name, parent) for parent in want.member_of if parent in known]
    waiting = tuple(f"role {want.name}: membership of {parent}, which does not exist" for parent in missing)
    return Difference(
        actions=(_action(want.name, Why.ABSENT, "does not exist", *statements),), waiting=waiting
    )


def _repair(
    want: RoleDesired,
    until: str | None,
    password: Secret | None,
    have: RoleView,
    known: Mapping[str, RoleView],
    version: int,
) -> Difference:
    off = [flag for flag in FLAGS if getattr(want, flag) != getattr(have, flag)]
    off += ["connection_limit"] if want.connection_limit != have.connection_limit else []
    off += ["valid_until"] if until != have.valid_until else []
    stale = password is not None and not _password_holds(password, have.password)
    off += ["password"] if stale else []
    statements = [_attributes("ALTER", want, until, password if stale else None)] if off else []
    if want.comment != have.comment:
        off.append("comment")
        statements.append(_comment(want))
    surplus = [
        one for one in have.member_of if not one.implied and (one.admin or one.parent not in want.member_of)
    ]
    granted = {one.parent for one in have.member_of if not one.implied}
    fresh = [parent for parent in want.member_of if parent in known and parent not in granted]
    statements += [_revoke(want, one, version) for one in surplus]
    statements += [_grant(want.name, parent) for parent in fresh]
    off += sorted({f"membership of {name}" for name in (*(one.parent for one in surplus), *fresh)})
    waiting = tuple(
        f"role {want.name}: membership of {parent}, which does not exist"
        for parent in want.member_of
        if parent not in known
    )
    actions = (_action(want.name, Why.DRIFTED, ", ".join(off), *statements),) if statements else ()
    return Difference(actions=actions, waiting=waiting)


def _password_holds(want: Secret, have: Secret | None) -> bool:
    if have is None:
        return False
    return want == have if scram.is_verifier(want.reveal()) else scram.matches(have, want)


def _attributes(verb: str, want: RoleDesired, until: str | None, password: Secret | None) -> Statement:
    """All attributes at once: what is not declared is switched off by name."""
    words = " ".join(("" if getattr(want, flag) else "NO") + flag.upper() for flag in FLAGS)
    template = f"{verb} ROLE {{role}} WITH {words} CONNECTION LIMIT {{limit}} VALID UNTIL {{until}}"
    literals: dict[str, str | int | bool | Secret | None] = {
        "limit": want.connection_limit,
        "until": until or "infinity",
    }
    if password is not None:
        template += " PASSWORD {password}"
        literals["password"] = password
    return Statement(template, {"role": want.name}, literals)


def _comment(want: RoleDesired) -> Statement:
    return Statement("COMMENT ON ROLE {role} IS {comment}", {"role": want.name}, {"comment": want.comment})


def _grant(role: str, parent: str) -> Statement:
    return Statement("GRANT {parent} TO {role}", {"role": role, "parent": parent})


def _revoke(want: RoleDesired, have: Membership, version: int) -> Statement:
    """Take the membership away; of a declared one only the right to hand it on."""
    template = "REVOKE {parent} FROM {role}"
    if have.parent in want.member_of:
        template = "REVOKE ADMIN OPTION FOR {parent} FROM {role}"
    identifiers = {"role": want.name, "parent": have.parent}
    if version >= GRANTED_BY_SINCE and have.grantor is not None:
        template += " GRANTED BY {grantor}"
        identifiers["grantor"] = have.grantor
    return Statement(template + " CASCADE", identifiers)


def _action(name: str, why: Why, detail: str, *statements: Statement) -> RunSql:
    return RunSql(kind=KIND, name=name, why=why, detail=detail, statements=statements)
