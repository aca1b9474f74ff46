"""What a host says of itself. On the process's lease: a dead host's record disappears by itself."""

from __future__ import annotations

from crds.meta import Model


class HostRecord(Model):
    """`hosts/<name>`; written at start and when a fact changes, kept alive by the lease alone."""

    name: str
    address: str
    """Address that clients and other hosts use."""
    node_id: str
    manager: bool
    bridge_gateway: str
    cpus: int
    memory_bytes: int
    engine_version: str
    api_version: str
    os: str
    architecture: str
    pgswarm_version: str
    started_at: str
