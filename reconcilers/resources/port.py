"""The published port of a database: one record per host and port, so that two databases can never share one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from crds.accepted import Accepted
from reconcilers import paths
from reconcilers.actions import Action, Waiting, Why, WriteRecords
from reconcilers.observed import Observed
from reconcilers.ports import Put, Remove

KIND = "port"
AUTO_FIRST, AUTO_LAST = 16000, 16999
"""Range for `port: auto`, outside of Linux's ephemeral ports."""


def wanted_hosts(accepted: Accepted) -> tuple[str, ...]:
    return tuple(host for node in accepted.spec.nodes for host in node.hosts)


def held(observed: Observed, accepted: Accepted) -> int | None:
    """The port that this database holds on all of its hosts, or None while it holds none."""
    hosts = wanted_hosts(accepted)
    candidates: list[int] = []
    if isinstance(accepted.spec.port, int):
        candidates = [accepted.spec.port]
    elif accepted.spec.port == "auto":
        candidates = sorted(_mine(observed, hosts[0]))
    for number in candidates:
        if all(observed.ports.get((host, number)) == observed.key.name for host in hosts):
            return number
    return None


def allocate(observed: Observed, accepted: Accepted) -> list[Action] | Waiting:
    port = accepted.spec.port
    if port is None or held(observed, accepted) is not None:
        return []
    hosts = wanted_hosts(accepted)
    if isinstance(port, int):
        clash = [(host, observed.ports[host, port]) for host in hosts if _other(observed, host, port)]
        if clash:
            host, holder = clash[0]
            return Waiting(
                KIND, str(port), "PortTaken", f"port {port} on {host} is held by database {holder}"
            )
        return [_take(observed, hosts, port)]
    number = observed.free_port
    if number is None:
        return Waiting(
            KIND, "auto", "NoFreePort", f"no port of {AUTO_FIRST}-{AUTO_LAST} is free on all hosts"
        )
    return [_take(observed, hosts, number)]


def choose(hosts: Sequence[str], mine: Iterable[int], is_free: Callable[[str, int], bool]) -> int | None:
    """
    A port for `auto` that is free on all hosts, or None.

    Args:
        mine: Ports that this database holds on the first of the hosts; preferred, as it may have come halfway.
        is_free: Whether no other database holds the port on the host.
    """
    candidates: list[int] = [*sorted(mine), *range(AUTO_FIRST, AUTO_LAST + 1)]
    for number in candidates:
        if all(is_free(host, number) for host in hosts):
            return number
    return None


def surplus(observed: Observed, accepted: Accepted | None) -> list[Action]:
    """Give back what this database holds and does not want."""
    number = held(observed, accepted) if accepted is not None and accepted.state == "active" else None
    hosts = wanted_hosts(accepted) if accepted is not None else ()
    keep = {(host, number) for host in hosts} if number is not None else set()
    mine = sorted(place for place, holder in observed.ports.items() if holder == observed.key.name)
    writes = tuple(Remove(paths.port(host, number)) for host, number in mine if (host, number) not in keep)
    if not writes:
        return []
    names = ", ".join(write.path.removeprefix(paths.PORTS) for write in writes)
    return [WriteRecords(kind=KIND, name=observed.key.name, why=Why.SURPLUS, detail=names, writes=writes)]


def _mine(observed: Observed, host: str) -> list[int]:
    return [
        n for (where, n), holder in observed.ports.items() if where == host and holder == observed.key.name
    ]


def _other(observed: Observed, host: str, number: int) -> bool:
    return observed.ports.get((host, number), observed.key.name) != observed.key.name


def _take(observed: Observed, hosts: tuple[str, ...], number: int) -> Action:
    writes = tuple(
        Put(paths.port(host, number), observed.key.name.encode(), expected=0)
        for host in hosts
        if (host, number) not in observed.ports
    )
    detail = f"on {', '.join(hosts)}"
    return WriteRecords(kind=KIND, name=str(number), why=Why.ABSENT, detail=detail, writes=writes)
