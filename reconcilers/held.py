"""Records that are also found by the database that they belong to, and how one tells whose they are. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reconcilers import paths
from reconcilers.resources import naming

Holder = Callable[[str, bytes], bytes]
"""Path and value of a record -> the database's name; anything else for a record that is nobody's."""


def by_value(path: str, value: bytes) -> bytes:
    return value


def by_instance(path: str, value: bytes) -> bytes:
    instance = path.rpartition("/")[2]
    return (naming.database_of(instance) or "").encode("utf-8", "surrogateescape")


HELD: Mapping[str, Holder] = {
    paths.SUBNETS: by_value,
    paths.PORTS: by_value,
    paths.DESIRED: by_instance,
}
"""By the prefix of such records."""
