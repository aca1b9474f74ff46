"""What the agent says of an instance: computed from what was seen, never from what was meant. Pure."""

from __future__ import annotations

from crds.instance import (
    ContainerObserved,
    InstanceDesired,
    InstanceObserved,
    PatroniObserved,
    Problem,
    SqlObserved,
)
from reconcilers.instance.apply import Outcome
from reconcilers.instance.plan import PRIMARY, InstancePlan, is_primary
from reconcilers.instance.refresh import Inside, Observed
from reconcilers.ports import ContainerView, PatroniView
from reconcilers.resources import naming
from reconcilers.resources.sql import Difference

DRIFT_MAX = 50
"""Lines of drift that a record carries; it is for people and must stay small."""


def report(
    desired: InstanceDesired, observed: Observed, planned: InstancePlan, outcome: Outcome
) -> InstanceObserved:
    problems = [*observed.problems, *planned.problems, *outcome.refused]
    if planned.inside is not None:
        problems += planned.inside.problems
    if outcome.error is not None:
        problems.append(Problem(reason=outcome.error.reason, message=str(outcome.error)))
    return InstanceObserved(
        host=desired.host,
        instance=desired.instance,
        incarnation=desired.incarnation,
        desired_revision=observed.revision,
        volume=observed.volume is not None,
        container=None if observed.container is None else _container(observed.container),
        patroni=None if observed.patroni is None else _patroni(observed.patroni),
        sql=None
        if planned.inside is None or observed.inside is None
        else _sql(desired, observed.inside, planned.inside, quiet=not problems),
        problems=tuple(problems),
    )


def unsettled(desired: InstanceDesired, observed: Observed) -> bool:
    """True while something is on its way that no event will announce."""
    if desired.ensure != "present":
        return desired.ensure == "absent" and observed.volume_used
    patroni = observed.patroni
    if observed.container is None or patroni is None or patroni.state != "running" or observed.inside is None:
        return True
    return patroni.role == PRIMARY and not is_primary(observed)


def _container(view: ContainerView) -> ContainerObserved:
    return ContainerObserved(
        id=view.id,
        state=view.state,
        health=view.health,
        image=view.image,
        address=view.address,
        started_at=view.started_at,
        service=view.labels.get(naming.SWARM_SERVICE, ""),
        task=view.labels.get(naming.SWARM_TASK, ""),
    )


def _patroni(view: PatroniView) -> PatroniObserved:
    return PatroniObserved(
        state=view.state,
        role=view.role,
        timeline=view.timeline,
        server_version=view.server_version,
        pending_restart=view.pending_restart,
        paused=view.paused,
        sysid=view.sysid,
        certificate_expires=view.certificate_expires,
    )


def _sql(desired: InstanceDesired, inside: Inside, difference: Difference, *, quiet: bool) -> SqlObserved:
    drift = [f"{action.kind} {action.name}: {action.detail}" for action in difference.actions]
    drift += difference.waiting
    have = inside.inventory
    return SqlObserved(
        in_sync=quiet and not drift,
        databases=tuple(one.name for one in desired.databases if one.name in have.databases),
        roles=tuple(one.name for one in desired.roles if one.name in have.roles),
        lost_databases=difference.lost,
        drift=tuple(drift[:DRIFT_MAX]),
    )
