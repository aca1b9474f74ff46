"""What the resources inside Postgres have in common: SQL as an action, and what came out of a comparison."""

from __future__ import annotations

from dataclasses import dataclass

from crds.instance import Problem
from reconcilers.actions import Action
from reconcilers.ports import Statement

MAINTENANCE = "postgres"
"""The database that is always there: roles, databases, the fence and the ledger are handled from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSql(Action):
    """Statements for the primary; all transactional ones in a row are one transaction."""

    statements: tuple[Statement, ...]
    database: str = MAINTENANCE


@dataclass(frozen=True, slots=True)
class Difference:
    """How one thing differs from what is wanted."""

    actions: tuple[RunSql, ...] = ()
    """What can be done about it now."""
    waiting: tuple[str, ...] = ()
    """What must wait for something else of the same plan, in words."""
    problems: tuple[Problem, ...] = ()
    """What nobody but a person can put right."""
    lost: tuple[str, ...] = ()
    """Databases that pgswarm had made and that are gone."""


def joined(differences: list[Difference]) -> Difference:
    return Difference(
        actions=tuple(action for one in differences for action in one.actions),
        waiting=tuple(word for one in differences for word in one.waiting),
        problems=tuple(problem for one in differences for problem in one.problems),
        lost=tuple(name for one in differences for name in one.lost),
    )
