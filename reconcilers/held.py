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

HOSTS = paths.HOSTS
"""Whose a record is that tells of a host: every database's, but it seldom tells anything new."""
EVERYBODY = "/"
"""Whose a record is that may concern any database."""
NOBODY = ""
"""Whose a record is that no reading of a database shows."""
UNREAD = ("status", "history", "failsafe")
"""Patroni's records that tell of progress, not of state: they change every few seconds, and no reading shows them."""


def whose(path: str, value: bytes) -> str:
    """The database whose reading shows this record, or HOSTS, EVERYBODY or NOBODY; the first two are no names."""
    root, _, rest = path.partition("/")
    match root:
        case "specs" | "accepted" | "status" | "halted" | "secrets":
            kind, _, name = rest.partition("/")
            if kind == "host":
                return HOSTS
            return name.partition("/")[0] if kind == "database" else EVERYBODY
        case "confirmations":
            return rest.rpartition("/")[2]
        case "desired" | "observed":
            return naming.database_of(rest.rpartition("/")[2]) or NOBODY
        case "patroni":
            scope, _, what = rest.partition("/")
            return NOBODY if what in UNREAD else naming.database_of_scope(scope) or NOBODY
        case "accounts":
            return value.partition(b" ")[0].decode(errors="replace")
        case "hosts":
            return HOSTS
        case "owners" | "controllers" | "events":
            return NOBODY
    # One that holds a subnet looks at no other's; a port that is asked for may be anybody's.
    return value.decode(errors="replace") if path.startswith(paths.SUBNETS) else EVERYBODY
