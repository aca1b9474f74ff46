"""Every name that pgswarm gives to something outside. Deterministic, so a crash between two steps loses no object."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import lru_cache
from typing import Any

LABEL = "pgswarm."
CLUSTER = "pgswarm.cluster"
DATABASE = "pgswarm.database"
NODE = "pgswarm.node"
INSTANCE = "pgswarm.instance"
INCARNATION = "pgswarm.incarnation"
EPOCH = "pgswarm.epoch"
HASH = "pgswarm.hash"
TOMBSTONE = "pgswarm.tombstone"
ACTIVATED = "pgswarm.activated"
"""On a service that has been started once: at 0 replicas it was scaled down by somebody else."""
KIND = "pgswarm.kind"
SWARM_SERVICE = "com.docker.swarm.service.id"
SWARM_TASK = "com.docker.swarm.task.id"
"""What Swarm itself writes on every container of a service."""

SUPERUSER = "pgswarm"
REPLICATION_USER = "replicator"
REST_USER = "pgswarm"


_INSTANCE = re.compile(r"\A(?P<database>.+)-n[0-9]+-[a-z2-7]{6}\Z")
_SCOPE = re.compile(r"\A(?P<database>.+)-n[0-9]+\Z")


def database_of(instance_name: str) -> str | None:
    """The database of an instance, or None when this is no instance's name."""
    found = _INSTANCE.match(instance_name)
    return found["database"] if found is not None else None


def database_of_scope(scope_name: str) -> str | None:
    """The database of one of Patroni's scopes, or None when it is none of ours."""
    found = _SCOPE.match(scope_name)
    return found["database"] if found is not None else None


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode


def digest(value: Any, length: int = 12) -> str:
    """Hex digest of a JSON-able value; equal values have equal digests whatever their key order."""
    return hashlib.sha256(_canonical(value).encode()).hexdigest()[:length]


def scope(database: str, node: str) -> str:
    return f"{database}-{node}"


def instance(database: str, node: str, host: str) -> str:
    """
    Name of the instance of one node on one host.

    The last part is a digest without a hyphen, so no two (database, node) pairs can yield one name.
    """
    return f"{scope(database, node)}-{_tag(host)}"


@lru_cache(maxsize=4096)
def _tag(host: str) -> str:
    return base64.b32encode(hashlib.sha256(host.encode()).digest()).decode().lower()[:6]


def volume(instance_name: str, incarnation: str) -> str:
    return f"{instance_name}-{incarnation.replace('-', '')[:8]}"


def network(database: str) -> str:
    return f"{database}-net"


def fence(database: str) -> str:
    return f"{database}-fence"


def etcd_user(instance_name: str) -> str:
    return f"instance-{instance_name}"


def blob(owner: str, purpose: str, content: str) -> str:
    """Name of an immutable Swarm secret or config: it changes when the content does."""
    return f"{owner}-{purpose}-{digest(content, 10)}"
