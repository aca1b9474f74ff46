"""Compare an instance with what is wanted of it. Pure: no await, no clock, no randomness, no logging."""

from __future__ import annotations

from dataclasses import dataclass

from crds.instance import InstanceDesired, Problem
from reconcilers.actions import Action, ChangeClass, Why
from reconcilers.instance.actions import CreateVolume, RemoveVolume, RestartPostgres
from reconcilers.instance.refresh import Inside, Observed
from reconcilers.resources import extension, logical_database, naming, role, settings
from reconcilers.resources.sql import Difference, joined

PRIMARY = "primary"


@dataclass(frozen=True, slots=True)
class InstancePlan:
    """The frontier, and what stands in the way of the rest."""

    actions: tuple[Action, ...] = ()
    inside: Difference | None = None
    """What differs in roles, databases and extensions; None: this is no primary, or nobody could look."""
    problems: tuple[Problem, ...] = ()


def plan(desired: InstanceDesired, observed: Observed, cluster: str) -> InstancePlan:
    """
    Return what can be done now.

    Args:
        cluster: Label that tells this pgswarm's objects from those of others.
    """
    if desired.ensure == "absent":
        return _remove(desired, observed)
    actions: list[Action] = []
    problems: list[Problem] = []
    if observed.volume is None:
        actions.append(
            CreateVolume(kind="volume", name=desired.volume, why=Why.ABSENT, labels=labels(desired, cluster))
        )
    elif not _ours(desired, observed):
        problems.append(_foreign(desired))
    inside: Difference | None = None
    if desired.ensure == "present" and observed.inside is not None:
        reset = settings.diff(observed.inside.inventory.auto_conf)
        actions += reset.actions
        if is_primary(observed):
            inside = _inside(desired, observed, observed.inside)
            actions += inside.actions
        actions += _restart(desired, observed) if not actions else []
    return InstancePlan(tuple(actions), inside, tuple(problems))


def is_primary(observed: Observed) -> bool:
    """
    Patroni and Postgres both say so, and Patroni has a system identifier to tell.

    It has none while it initialises. Nothing may be made in there then: what is not finished may still be wiped.
    """
    if observed.patroni is None or observed.inside is None or not observed.patroni.sysid:
        return False
    return observed.patroni.role == PRIMARY and not observed.inside.inventory.in_recovery


def labels(desired: InstanceDesired, cluster: str) -> dict[str, str]:
    return {
        naming.CLUSTER: cluster,
        naming.DATABASE: desired.database,
        naming.INSTANCE: desired.instance,
        naming.INCARNATION: desired.incarnation,
    }


def _ours(desired: InstanceDesired, observed: Observed) -> bool:
    return (
        observed.volume is not None and observed.volume.labels.get(naming.INCARNATION) == desired.incarnation
    )


def _foreign(desired: InstanceDesired) -> Problem:
    message = f"volume {desired.volume} exists and was not made for this incarnation: it is left as it is"
    return Problem(reason="VolumeForeign", message=message)


def _remove(desired: InstanceDesired, observed: Observed) -> InstancePlan:
    if observed.volume is None:
        return InstancePlan()
    if not _ours(desired, observed):
        return InstancePlan(problems=(_foreign(desired),))
    if observed.volume_used:
        message = f"volume {desired.volume} is to go, and a container still has it"
        return InstancePlan(problems=(Problem(reason="VolumeInUse", message=message),))
    remove = RemoveVolume(kind="volume", name=desired.volume, why=Why.DELETED, change=ChangeClass.DATA_RISK)
    return InstancePlan((remove,))


def _inside(desired: InstanceDesired, observed: Observed, inside: Inside) -> Difference:
    """Roles, then databases, then extensions: each needs the one before, and sees it in the next reading."""
    have = inside.inventory
    found: list[Difference] = []
    for want in desired.roles:
        password = observed.passwords.get(want.name)
        if want.ensure == "present" and want.password_path is not None and password is None:
            # Without its password it could not log in; refresh has named the missing secret.
            found.append(Difference(waiting=(f"role {want.name}: its password",)))
            continue
        found.append(role.diff(want, password, have.roles.get(want.name), have.roles, have.version))
    for database in desired.databases:
        found.append(
            logical_database.diff(database, have.databases.get(database.name), inside.ledger, have.roles)
        )
        if database.name in inside.extensions:
            found.append(extension.diff(database, inside.extensions[database.name]))
        elif database.extensions:
            found.append(Difference(waiting=(f"database {database.name}: its extensions",)))
    found.append(logical_database.strike([one.name for one in desired.databases], inside.ledger))
    return joined(found)


def _restart(desired: InstanceDesired, observed: Observed) -> list[Action]:
    patroni = observed.patroni
    if not desired.restart_pending or patroni is None or not patroni.pending_restart:
        return []
    change = ChangeClass.RESTART_PRIMARY if patroni.role == PRIMARY else ChangeClass.RESTART_REPLICA
    return [RestartPostgres(kind="postgres", name=desired.instance, why=Why.SPEC_CHANGED, change=change)]
