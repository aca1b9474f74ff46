"""
Whose a service is when a person has changed its labels. Pure.

A service's own labels can be taken off without restarting anything, and then no list by label shows it. Its
container labels say the same, and changing those is drift of another kind.
"""

from __future__ import annotations

from dataclasses import replace

from controlplane.orchestrators.payload import CLUSTER, PREFIX
from reconcilers.ports import ServiceSpec

DATABASE = "pgswarm.database"
HASH = "pgswarm.hash"
RESTORED = (CLUSTER, DATABASE)


def is_ours(spec: ServiceSpec, cluster: str) -> bool:
    """True for a service that carries labels of pgswarm and names no other cluster."""
    clusters = {labels[CLUSTER] for labels in (spec.labels, spec.container_labels) if CLUSTER in labels}
    marked = any(key.startswith(PREFIX) for key in (*spec.labels, *spec.container_labels))
    return marked and clusters <= {cluster}


def restored(spec: ServiceSpec, cluster: str) -> ServiceSpec:
    """
    The spec of a service of this cluster with the labels that say whose it is, as the container's labels have
    them.

    What had to be restored is still drift: the hash label is left out, so the labels differ from wanted ones.
    """
    identity = {key: spec.container_labels[key] for key in RESTORED if key in spec.container_labels}
    identity[CLUSTER] = cluster
    if all(spec.labels.get(key) == value for key, value in identity.items()):
        return spec
    rest = {key: value for key, value in spec.labels.items() if key != HASH}
    return replace(spec, labels=dict(sorted({**rest, **identity}.items())))
