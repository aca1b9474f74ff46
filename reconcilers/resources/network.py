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
    """A network cannot be changed, and one that is in use cannot be removed: only absence is repaired."""
    want = desired(observed, subnet)
    if want.name in observed.networks:
        return []
    return [CreateNetwork(kind=KIND, name=want.name, why=Why.ABSENT, detail=subnet, spec=want)]


def current(observed: Observed) -> NetworkView | None:
    return observed.networks.get(naming.network(observed.key.name))


def removal(observed: Observed) -> list[Action]:
    return [
        RemoveNetwork(kind=KIND, name=view.name, why=Why.DELETED, network_id=view.id)
        for view in sorted(observed.networks.values(), key=lambda view: view.name)
    ]
