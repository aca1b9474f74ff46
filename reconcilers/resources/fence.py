"""
The fence: a 0-replica service that carries the highest epoch that ever acted on a database (rules F2 and F4).

It is in the same atomic list as the database's services, so a reading tells by itself whether it may be trusted.

While a database is torn down its fence bears a tombstone: a list without it is older than the dismissal, and what it
does not show may be there all the same. A fence with a tombstone is never used again.
"""

from __future__ import annotations

from dataclasses import replace

from reconcilers.actions import Action, CreateService, UpdateService, Waiting, Why
from reconcilers.observed import Observed
from reconcilers.ports import ServiceSpec, ServiceView
from reconcilers.resources import naming, service

KIND = "fence"


def epoch_of(view: ServiceView) -> int:
    """The epoch label; a missing or spoilt one counts as 0, the oldest, so that it is swept."""
    text = view.spec.labels.get(naming.EPOCH, "")
    return int(text) if text.isdecimal() else 0


def desired(observed: Observed, *, closing: bool = False) -> ServiceSpec:
    """`closing`: with the tombstone."""
    epoch = str(observed.epoch)
    mark = {naming.TOMBSTONE: epoch} if closing else {}
    identity = {naming.CLUSTER: observed.cluster, naming.DATABASE: observed.key.name, naming.KIND: KIND}
    return ServiceSpec(
        name=naming.fence(observed.key.name),
        image="pgswarm/fence:none",
        # Twice, so that a fence whose service labels were taken away is still known as ours.
        labels={**identity, naming.EPOCH: epoch, **mark},
        container_labels=identity,
        replicas=0,
    )


def newest_epoch(observed: Observed) -> int:
    return max((epoch_of(view) for view in observed.services.values()), default=0)


def raise_fence(observed: Observed, *, closing: bool) -> list[Action | Waiting]:
    """
    Bring the fence to our epoch; empty when it is there. The caller has seen that none is newer.

    Args:
        closing: The database is dismissed: the fence gets its tombstone before anything is believed to be gone.
    """
    want = desired(observed, closing=closing)
    have = observed.services.get(want.name)
    if have is None:
        return [
            CreateService(
                kind=KIND, name=want.name, why=Why.FENCE, detail=f"epoch {observed.epoch}", spec=want
            )
        ]
    if service.tombstoned(have) and not closing:
        return [service.leave(observed, have, KIND)]
    labels_match = all(have.spec.labels.get(name) == value for name, value in want.labels.items())
    if labels_match and have.spec.replicas == 0:
        return []
    return [
        UpdateService(
            kind=KIND,
            name=want.name,
            why=Why.FENCE,
            detail="tombstone" if closing else f"epoch {epoch_of(have)} -> {observed.epoch}",
            service_id=have.id,
            version=have.version,
            spec=want,
        )
    ]


def drop(observed: Observed) -> list[Action | Waiting]:
    """Its next step on the way out (rule F6); empty when there is none."""
    have = observed.services.get(naming.fence(observed.key.name))
    return [service.leave(observed, have, KIND)] if have is not None else []


def sweep(observed: Observed) -> list[Action]:
    """Put our epoch on every service that still carries an older one, even where nothing else differs (F4)."""
    stale = [
        view
        for view in observed.services.values()
        if view.spec.labels.get(naming.KIND) != KIND and epoch_of(view) < observed.epoch
    ]
    return [
        UpdateService(
            kind="service",
            name=view.spec.name,
            why=Why.SWEEP,
            detail=f"epoch {epoch_of(view)} -> {observed.epoch}",
            service_id=view.id,
            version=view.version,
            spec=with_epoch(view.spec, observed.epoch),
        )
        for view in sorted(stale, key=lambda one: one.spec.name)
    ]


def with_epoch(spec: ServiceSpec, epoch: int) -> ServiceSpec:
    return replace(spec, labels={**spec.labels, naming.EPOCH: str(epoch)})
