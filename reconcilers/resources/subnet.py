"""Which subnet a database's overlay network gets: one record an allocation, checked against every network there is."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from reconcilers import paths
from reconcilers.actions import Action, Waiting, Why, WriteRecords
from reconcilers.observed import Observed
from reconcilers.ports import Put

KIND = "subnet"
PREFIX_LENGTH = 26
"""64 addresses: 2 per instance at most, and the overlay's own."""


def held(observed: Observed) -> str | None:
    """The subnet this database holds, or None."""
    mine = sorted(cidr for cidr, holder in observed.subnets.items() if holder == observed.key.name)
    return mine[0] if mine else None


def allocate(observed: Observed, pool: str) -> list[Action] | Waiting:
    """Take a free subnet of the pool. A lost race is a Conflict and the next pass takes another."""
    if held(observed) is not None:
        return []
    taken = [*observed.subnets, *observed.foreign_subnets]
    free = next(_free(pool, taken), None)
    if free is None:
        return Waiting(KIND, pool, "SubnetPoolExhausted", f"no free /{PREFIX_LENGTH} is left in {pool}")
    record = Put(paths.subnet(free), observed.key.name.encode(), expected=0)
    return [
        WriteRecords(
            kind=KIND, name=free, why=Why.ABSENT, detail=f"for {observed.key.name}", writes=(record,)
        )
    ]


def _free(pool: str, taken: Iterable[str]) -> Iterator[str]:
    used = [network for network in map(_parse, taken) if network is not None]
    for candidate in ipaddress.IPv4Network(pool).subnets(new_prefix=PREFIX_LENGTH):
        if not any(candidate.overlaps(network) for network in used):
            yield str(candidate)


def _parse(text: str) -> ipaddress.IPv4Network | None:
    try:
        return ipaddress.IPv4Network(text, strict=False)
    except ValueError:
        return None  # IPv6 networks cannot clash with ours
