"""Settings made with ALTER SYSTEM: taken back, for Patroni's configuration is the only place for settings."""

from __future__ import annotations

from collections.abc import Sequence

from reconcilers.actions import ChangeClass, Why
from reconcilers.ports import Statement
from reconcilers.resources.sql import Difference, RunSql

KIND = "settings"
NAME = "postgresql.auto.conf"

# A restore to a point in time puts these there, and taking them away in the middle of it would end it.
_RECOVERY = frozenset(
    {
        "primary_conninfo",
        "primary_slot_name",
        "restore_command",
        "recovery_end_command",
        "archive_cleanup_command",
    }
)
_SHOWN_MAX = 20

RESET = "ALTER SYSTEM RESET {setting}"
RELOAD = "SELECT pg_reload_conf()"


def diff(auto_conf: Sequence[str]) -> Difference:
    """Compare what ALTER SYSTEM has left with nothing at all."""
    ours = sorted(
        name for name in auto_conf if name not in _RECOVERY and not name.startswith("recovery_target")
    )
    if not ours:
        return Difference()
    more = f" and {len(ours) - _SHOWN_MAX} more" if len(ours) > _SHOWN_MAX else ""
    resets = tuple(Statement(RESET, {"setting": name}, transactional=False) for name in ours)
    return Difference(
        actions=(
            RunSql(
                kind=KIND,
                name=NAME,
                why=Why.DRIFTED,
                change=ChangeClass.RELOAD,
                detail="ALTER SYSTEM SET " + ", ".join(ours[:_SHOWN_MAX]) + more,
                statements=(*resets, Statement(RELOAD, transactional=False)),
            ),
        )
    )
