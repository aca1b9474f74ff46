"""Which instances a database has, where, and what they are called."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from crds.accepted import Accepted
from reconcilers.resources import naming


@dataclass(frozen=True, slots=True)
class Instance:
    """One wanted instance. `bootstraps` marks the one that initialises its node if nobody has."""

    name: str
    database: str
    node: str
    host: str
    scope: str
    volume: str
    image: str
    bootstraps: bool


def instances(database: str, accepted: Accepted) -> tuple[Instance, ...]:
    """In spec order: node by node, host by host."""
    return tuple(
        _instance(database, accepted, node.name, host) for node in accepted.spec.nodes for host in node.hosts
    )


def departed(database: str, accepted: Accepted) -> tuple[Instance, ...]:
    """Those that were taken out of the spec; their data is still on their hosts."""
    return tuple(
        _instance(database, accepted, node, host)
        for node, hosts in accepted.departed.items()
        for host in hosts
    )


def _instance(database: str, accepted: Accepted, node: str, host: str) -> Instance:
    image = accepted.images.get(node, "")
    return _made(database, node, host, accepted.incarnation, image, host == accepted.births.get(node))


@lru_cache(maxsize=65_536)
def _made(database: str, node: str, host: str, incarnation: str, image: str, bootstraps: bool) -> Instance:
    """The same value each time: a pass asks for its instances a dozen times."""
    name = naming.instance(database, node, host)
    return Instance(
        name=name,
        database=database,
        node=node,
        host=host,
        scope=naming.scope(database, node),
        volume=naming.volume(name, incarnation),
        image=image,
        bootstraps=bootstraps,
    )


def scopes(database: str, accepted: Accepted) -> tuple[str, ...]:
    return tuple(naming.scope(database, node.name) for node in accepted.spec.nodes)
