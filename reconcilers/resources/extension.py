"""Extensions: one that is declared and missing is created. None is dropped, for its objects would go too."""

from __future__ import annotations

from collections.abc import Collection

from crds.instance import LogicalDatabaseDesired
from reconcilers.actions import Why
from reconcilers.ports import Statement
from reconcilers.resources.sql import Difference, RunSql

KIND = "extension"

# The adapter's sessions see pg_catalog only; an extension that names no schema belongs into public.
PLACE = "SET LOCAL search_path TO public"
CREATE = "CREATE EXTENSION IF NOT EXISTS {extension} CASCADE"


def diff(want: LogicalDatabaseDesired, installed: Collection[str]) -> Difference:
    missing = [name for name in want.extensions if name not in installed]
    return Difference(actions=tuple(_create(want.name, name) for name in dict.fromkeys(missing)))


def _create(database: str, extension: str) -> RunSql:
    return RunSql(
        kind=KIND,
        name=f"{database}/{extension}",
        why=Why.ABSENT,
        detail="is not installed",
        database=database,
        statements=(Statement(PLACE), Statement(CREATE, {"extension": extension})),
    )
