"""Which instances a database has, where, and what they are called."""

from __future__ import annotations

from dataclasses import dataclass

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
    found = []
    for node in accepted.spec.nodes:
        for host in node.hosts:
            name = naming.instance(database, node.name, host)
            found.append(
                Instance(
                    name=name,
                    database=database,
                    node=node.name,
                    host=host,
                    scope=naming.scope(database, node.name),
                    volume=naming.volume(name, accepted.incarnation),
                    image=accepted.images[node.name],
                    bootstraps=host == accepted.births.get(node.name),
                )
            )
    return tuple(found)


def scopes(database: str, accepted: Accepted) -> tuple[str, ...]:
    return tuple(naming.scope(database, node.name) for node in accepted.spec.nodes)
