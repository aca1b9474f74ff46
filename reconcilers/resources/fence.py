"""
The fence: a 0-replica service that carries the highest epoch that ever acted on a database (rules F2 and F4).

It is in the same atomic list as the database's services, so a reading tells by itself whether it may be trusted.
"""

from __future__ import annotations

from dataclasses import replace

from reconcilers.actions import Action, CreateService, UpdateService, Why
from reconcilers.observed import Observed
from reconcilers.ports import ServiceSpec, ServiceView
from reconcilers.resources import naming

KIND = "fence"


def epoch_of(service: ServiceView) -> int:
    """The epoch label; a missing or spoilt one counts as 0, the oldest, so that it is swept."""
    text = service.spec.labels.get(naming.EPOCH, "")
    return int(text) if text.isdecimal() else 0


def desired(observed: Observed) -> ServiceSpec:
    identity = {naming.CLUSTER: observed.cluster, naming.DATABASE: observed.key.name, naming.KIND: KIND}
    return ServiceSpec(
        name=naming.fence(observed.key.name),
        image="pgswarm/fence:none",
        # Twice, so that a fence whose service labels were taken away is still known as ours.
        labels={**identity, naming.EPOCH: str(observed.epoch)},
        container_labels=identity,
        replicas=0,
    )


def newest_epoch(observed: Observed) -> int:
    return max((epoch_of(service) for service in observed.services.values()), default=0)


def raise_fence(observed: Observed) -> list[Action]:
    """Bring the fence to our epoch; empty when it is there. The caller has seen that none is newer."""
    want = desired(observed)
    have = observed.services.get(want.name)
    if have is None:
        return [
            CreateService(
                kind=KIND, name=want.name, why=Why.FENCE, detail=f"epoch {observed.epoch}", spec=want
            )
        ]
    labels_match = all(have.spec.labels.get(name) == value for name, value in want.labels.items())
    if labels_match and have.spec.replicas == 0:
        return []
    return [
        UpdateService(
            kind=KIND,
            name=want.name,
            why=Why.FENCE,
            detail=f"epoch {epoch_of(have)} -> {observed.epoch}",
            service_id=have.id,
            version=have.version,
            spec=want,
        )
    ]


def sweep(observed: Observed) -> list[Action]:
    """Put our epoch on every service that still carries an older one, even where nothing else differs (F4)."""
    stale = [
        service
        for service in observed.services.values()
        if service.spec.labels.get(naming.KIND) != KIND and epoch_of(service) < observed.epoch
    ]
    return [
        UpdateService(
            kind="service",
            name=service.spec.name,
            why=Why.SWEEP,
            detail=f"epoch {epoch_of(service)} -> {observed.epoch}",
            service_id=service.id,
            version=service.version,
            spec=with_epoch(service.spec, observed.epoch),
        )
        for service in sorted(stale, key=lambda one: one.spec.name)
    ]


def with_epoch(spec: ServiceSpec, epoch: int) -> ServiceSpec:
    return replace(spec, labels={**spec.labels, naming.EPOCH: str(epoch)})
