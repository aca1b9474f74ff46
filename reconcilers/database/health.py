"""What counts as an instance that serves. Read by the roll-out and by the report, so that both mean the same."""

from __future__ import annotations

from crds.accepted import Accepted
from crds.instance import ContainerObserved
from reconcilers.observed import MemberView, Observed, PatroniCluster
from reconcilers.resources import complaint
from reconcilers.resources.topology import Instance, instances

SERVING = frozenset({"running", "streaming", "in archive recovery"})
"""Patroni's words for a Postgres that accepts connections; `streaming` is a replica's best."""


_NOTHING = PatroniCluster()


def cluster(observed: Observed, one: Instance) -> PatroniCluster:
    return observed.patroni.get(one.scope, _NOTHING)


def member(observed: Observed, one: Instance) -> MemberView | None:
    return cluster(observed, one).members.get(one.name)


def leads(observed: Observed, one: Instance) -> bool:
    return cluster(observed, one).leader == one.name


def container_runs(observed: Observed, one: Instance) -> bool:
    """The agent on the host sees the container run; a dead host's view is gone, so it says no."""
    seen = observed.instances.get(one.name)
    if seen is None or seen.container is None or seen.container.state != "running":
        return False
    return not _ends(observed, one, seen.container)


def _ends(observed: Observed, one: Instance, container: ContainerObserved) -> bool:
    """
    Swarm has told it to stop, whatever it still does: its service was removed, or its task is being replaced.

    A task that is not in the reading is younger than it, or its service is another one by now.
    """
    service = observed.services.get(one.name)
    if container.service and (service is None or service.id != container.service):
        return True
    return any(
        task.id == container.task and task.desired_state in ("shutdown", "remove") for task in observed.tasks
    )


def serves(observed: Observed, one: Instance) -> bool:
    """Container and Postgres run, and a replica streams or has only just begun to."""
    state = member(observed, one)
    return container_runs(observed, one) and state is not None and state.state in SERVING


def may_serve(observed: Observed, one: Instance) -> bool:
    """
    Serves, for all that is known: where no agent tells of the container, Patroni's own word counts.

    Whoever is about to stop an instance asks this: while only pgswarm is away on its host, it serves on.
    """
    if one.name in observed.instances:
        return serves(observed, one)
    state = member(observed, one)
    return state is not None and state.state in SERVING


def disk_full(observed: Observed, one: Instance) -> bool:
    """Its agent says so. Postgres may run on, and refuse every write."""
    seen = observed.instances.get(one.name)
    return seen is not None and any(problem.reason == complaint.DISK_FULL for problem in seen.problems)


def node_has_primary(observed: Observed, scope: str) -> bool:
    found = observed.patroni.get(scope, _NOTHING)
    return found.leader is not None and found.leader in found.members


def all_serve(observed: Observed, accepted: Accepted) -> bool:
    return all(serves(observed, one) for one in instances(observed.key.name, accepted))


def lag_bytes(observed: Observed, one: Instance) -> int | None:
    """Write position of the primary less replay position of `one`; None while either is unknown, 0 for the primary."""
    found = cluster(observed, one)
    mine = found.members.get(one.name)
    primary = found.members.get(found.leader) if found.leader else None
    if mine is None or primary is None or not primary.lsn or not mine.lsn:
        return None
    return max(0, primary.lsn - mine.lsn)
