"""Statements as data become SQL here, and Postgres's errors become ours. Pure but for quoting by psycopg."""

from __future__ import annotations

import psycopg
from psycopg import sql

from reconcilers.errors import PgswarmError, Refused, Unavailable, UnknownFate
from reconcilers.ports import Secret, Statement

NAME_BYTES_MAX = 63
"""Postgres cuts longer names silently, so that two of them could become one."""
_DETAIL_MAX = 300


def compose(statement: Statement) -> sql.Composed:
    """
    Quote every name and value of a statement into its template.

    Raises:
        Refused: A name or value that Postgres cannot hold.
    """
    places: dict[str, sql.Composable] = {}
    for place, name in statement.identifiers.items():
        size = _size(place, name)
        if not 0 < size <= NAME_BYTES_MAX:
            raise Refused("postgres", f"{place} has {size} bytes, a name has 1 to {NAME_BYTES_MAX}")
        places[place] = sql.Identifier(name)
    for place, value in statement.literals.items():
        plain = value.reveal() if isinstance(value, Secret) else value
        if isinstance(plain, str):
            _size(place, plain)
        places[place] = sql.Literal(plain)
    # The template is a constant of ours; only it may hold SQL.
    return sql.SQL(statement.template).format(**places)


def refusal(exc: psycopg.Error, statement: Statement) -> Refused:
    """Postgres's one-line message without the values of the statement; its other lines quote SQL."""
    message = exc.diag.message_primary or type(exc).__name__
    names = frozenset(statement.identifiers.values())
    values = (v.reveal() if isinstance(v, Secret) else v for v in statement.literals.values())
    texts = {value for value in values if isinstance(value, str) and value and value not in names}
    for text in sorted(texts, key=lambda one: (-len(one), one)):
        message = message.replace(f'"{text}"', "***")
        # A short value is part of many words; beyond quotes it says nothing.
        message = message.replace(text, "***") if len(text) > 3 else message
    state = f" ({exc.sqlstate})" if exc.sqlstate else ""
    return Refused("postgres", message[:_DETAIL_MAX] + state)


def failure(exc: psycopg.Error, statement: Statement, *, broken: bool, writing: bool) -> PgswarmError:
    """Sort an error: Postgres said no, or went away (and then perhaps after it had done it)."""
    if not broken:
        return refusal(exc, statement)
    return (
        UnknownFate("postgres", "the connection broke") if writing else Unavailable("postgres", "it hung up")
    )


def unreachable(exc: psycopg.Error) -> Unavailable:
    """A connection that did not come about. libpq's message names server and user, never the password."""
    lines = str(exc).strip().splitlines()
    return Unavailable("postgres", lines[0][:_DETAIL_MAX] if lines else type(exc).__name__)


def _size(place: str, text: str) -> int:
    """Length in bytes. Raises: Refused for text that no Postgres string can hold."""
    if "\0" in text:
        raise Refused("postgres", f"{place} has a NUL in it")
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise Refused("postgres", f"{place} is no Unicode text") from None
