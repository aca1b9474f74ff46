"""What an agent can do to an instance, beside SQL (`reconcilers.resources.sql.RunSql`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconcilers.actions import Action


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateVolume(Action):
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveVolume(Action):
    """Ends data. Carried out only if the desired record, read again linearizably, still says so (rule F7)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPostgres(Action):
    """Restart Postgres inside its container, if it says that it must."""
