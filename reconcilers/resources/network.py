"""The overlay network of a database."""

from __future__ import annotations

from reconcilers.actions import Action, CreateNetwork, RemoveNetwork, Why
from reconcilers.observed import Observed
from reconcilers.ports import NetworkSpec, NetworkView
from reconcilers.resources import naming

KIND = "network"


def desired(observed: Observed, subnet: str) -> NetworkSpec:
    return NetworkSpec(
        name=naming.network(observed.key.name),
        labels={naming.CLUSTER: observed.cluster, naming.DATABASE: observed.key.name, naming.KIND: KIND},
        subnet=subnet,
    )


def diff(observed: Observed, subnet: str) -> list[Action]:
    """A network cannot be changed, and one that is in use cannot be removed: absence is repaired, and what was left."""
    want = desired(observed, subnet)
    have = observed.networks.get(want.name)
    if have is not None and _left(observed, have, subnet):
        detail = f"{', '.join(have.subnets)} is not {subnet}"
        return [RemoveNetwork(kind=KIND, name=have.name, why=Why.DRIFTED, detail=detail, network_id=have.id)]
    if have is not None:
        return []
    return [CreateNetwork(kind=KIND, name=want.name, why=Why.ABSENT, detail=subnet, spec=want)]


def current(observed: Observed, subnet: str) -> NetworkView | None:
    """The network that services may join; None while there is none, or one that an earlier database left."""
    have = observed.networks.get(naming.network(observed.key.name))
    return None if have is not None and _left(observed, have, subnet) else have


def _left(observed: Observed, have: NetworkView, subnet: str) -> bool:
    """Made late for an earlier database of this name: another subnet, and nobody in it."""
    users = (joined.network_id for service in observed.services.values() for joined in service.spec.networks)
    return bool(have.subnets) and subnet not in have.subnets and have.id not in users


def removal(observed: Observed) -> list[Action]:
    return [
        RemoveNetwork(kind=KIND, name=view.name, why=Why.DELETED, network_id=view.id)
        for view in sorted(observed.networks.values(), key=lambda view: view.name)
    ]
