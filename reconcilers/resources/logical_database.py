"""
Databases inside Postgres (`CREATE DATABASE`), and the ledger of those that pgswarm made.

A database that is in the ledger and not in Postgres was lost: an empty one in its place would hide that, so
it is reported and never made again. pgswarm drops no database.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from crds.instance import LogicalDatabaseDesired, Problem
from crds.names import RESERVED_DATABASES, RESERVED_PREFIXES
from reconcilers.actions import Why
from reconcilers.ports import Statement
from reconcilers.resources.inventory import DatabaseView, RoleView
from reconcilers.resources.sql import Difference, RunSql

KIND = "logical-database"

ENTER = "INSERT INTO pgswarm.ledger (kind, name) VALUES ('database', {name}) ON CONFLICT DO NOTHING"
STRIKE = "DELETE FROM pgswarm.ledger WHERE kind = 'database' AND name = {name}"


def diff(
    want: LogicalDatabaseDesired,
    have: DatabaseView | None,
    ledger: Collection[str],
    roles: Mapping[str, RoleView],
) -> Difference:
    """
    Compare one declared database with what is there.

    Args:
        ledger: Databases that pgswarm has made.
        roles: Roles that exist, among those declared.
    """
    if (why := _reserved(want.name)) is not None:
        return _problem("ReservedDatabase", f"database {want.name}: {why}")
    if want.name in ledger and (have is None or not have.valid):
        message = (
            f"database {want.name} was made by pgswarm and is gone; restore it, or take it out of the spec "
            "and put it in again to begin with an empty one"
        )
        return Difference(problems=(Problem(reason="DatabaseLost", message=message),), lost=(want.name,))
    if have is not None and not have.valid:
        return _problem(
            "DatabaseInvalid", f"database {want.name} is what an interrupted DROP DATABASE left: drop it"
        )
    if want.owner is not None and want.owner not in roles:
        return Difference(waiting=(f"database {want.name}: its owner {want.owner} does not exist",))
    return _create(want) if have is None else _repair(want, have, entered=want.name in ledger)


def strike(wanted: Collection[str], ledger: Collection[str]) -> Difference:
    """Forget databases that nobody declares any more; the databases themselves stay."""
    return Difference(
        actions=tuple(
            _action(
                name, Why.SURPLUS, "left the spec, the database stays", Statement(STRIKE, {}, {"name": name})
            )
            for name in sorted(set(ledger) - set(wanted))
        )
    )


def _reserved(name: str) -> str | None:
    by_prefix = (why for prefix, why in RESERVED_PREFIXES.items() if name.startswith(prefix))
    return RESERVED_DATABASES.get(name) or next(by_prefix, None)


def _create(want: LogicalDatabaseDesired) -> Difference:
    # template0 is the only template that may have another encoding and locale than its copy.
    template = "CREATE DATABASE {database} WITH TEMPLATE template0 ENCODING {encoding}"
    identifiers = {"database": want.name}
    literals: dict[str, str | int | bool | None] = {"encoding": want.encoding}
    if want.owner is not None:
        template += " OWNER {owner}"
        identifiers["owner"] = want.owner
    if want.locale is not None:
        template += " LOCALE {locale}"
        literals["locale"] = want.locale
    create = Statement(template, identifiers, {**literals}, transactional=False)
    # Entered after it exists: the other way round, a crash in between would look like a loss for ever.
    return Difference(actions=(_action(want.name, Why.ABSENT, "does not exist", create, _enter(want.name)),))


def _repair(want: LogicalDatabaseDesired, have: DatabaseView, *, entered: bool) -> Difference:
    statements: list[Statement] = []
    off: list[str] = []
    if want.owner is not None and want.owner != have.owner:
        off.append("owner")
        names = {"database": want.name, "owner": want.owner}
        statements.append(Statement("ALTER DATABASE {database} OWNER TO {owner}", names))
    if not entered:
        off.append("not in the ledger")
        statements.append(_enter(want.name))
    actions = (_action(want.name, Why.DRIFTED, ", ".join(off), *statements),) if statements else ()
    return Difference(actions=actions, problems=tuple(_immutable(want, have)))


def _immutable(want: LogicalDatabaseDesired, have: DatabaseView) -> list[Problem]:
    found = []
    if _plain(want.encoding) != _plain(have.encoding):
        found.append(f"database {want.name} has encoding {have.encoding}, which cannot be changed")
    if want.locale is not None and _plain(want.locale) != _plain(have.collate):
        found.append(f"database {want.name} has locale {have.collate}, which cannot be changed")
    return [Problem(reason="DatabaseFixed", message=message) for message in found]


def _plain(name: str) -> str:
    """`en_US.UTF-8` and `en_US.utf8` are one locale, `UTF-8` and `UTF8` one encoding."""
    return name.lower().replace("-", "").replace("_", "")


def _enter(name: str) -> Statement:
    return Statement(ENTER, {}, {"name": name})


def _problem(reason: str, message: str) -> Difference:
    return Difference(problems=(Problem(reason=reason, message=message),))


def _action(name: str, why: Why, detail: str, *statements: Statement) -> RunSql:
    return RunSql(kind=KIND, name=name, why=why, detail=detail, statements=statements)
