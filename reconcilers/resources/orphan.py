"""
What only the Swarm knows of: objects of a database that has neither a spec nor an accepted record.

A create has no CAS: one that an earlier owner sent may arrive after its database was deleted for good. Such a thing
was never used, and may go. But an etcd that was emptied or restored looks much the same, and then the objects are all
that is left of a living database. What tells the two apart is the services: a late one is inert (F5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from crds.meta import NAME
from reconcilers.ports import ServiceView, SwarmView
from reconcilers.resources import fence, naming, service


@dataclass(frozen=True, slots=True)
class Orphans:
    """Names of databases that no record knows."""

    idle: frozenset[str] = frozenset()
    """Nothing of them ever ran: what there is may be collected."""
    alive: frozenset[str] = frozenset()
    """It is the records that are missing: nothing of them is touched (S15)."""


def find(view: SwarmView, cluster: str, recorded: Callable[[str], bool], revision: int) -> Orphans:
    """
    Args:
        recorded: Whether a database has a spec or an accepted record.
        revision: etcd's; an epoch beyond it tells that etcd went back.
    """
    kept = [one for one in view.services if runs(one) or fence.epoch_of(one) > revision]
    every = _databases(
        [
            *(one.spec.labels for one in view.services),
            *(one.labels for one in view.networks),
            *(one.labels for one in (*view.secrets, *view.configs)),
        ],
        cluster,
    )
    lost = frozenset(name for name in every if not recorded(name))
    alive = lost & _databases([one.spec.labels for one in kept], cluster)
    return Orphans(lost - alive, alive)


def runs(one: ServiceView) -> bool:
    """It has replicas, or had some until somebody took them away by hand, which no tombstone tells of."""
    scaled_down = naming.ACTIVATED in one.spec.labels and not service.tombstoned(one)
    return one.spec.replicas > 0 or scaled_down


def collectable(services: Iterable[ServiceView]) -> bool:
    return not any(runs(one) for one in services)


def _databases(labels: Iterable[Mapping[str, str]], cluster: str) -> frozenset[str]:
    """Whose these objects are, without those that are not ours and names that no database can have (S12)."""
    names = (one.get(naming.DATABASE, "") for one in labels if one.get(naming.CLUSTER) == cluster)
    return frozenset(name for name in names if NAME.fullmatch(name))
