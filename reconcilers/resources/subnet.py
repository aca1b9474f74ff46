"""Which subnet a database's overlay network gets: one record an allocation, checked against every network there is."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable

from reconcilers import paths
from reconcilers.actions import Action, Waiting, Why, WriteRecords
from reconcilers.observed import Observed
from reconcilers.ports import Put
from reconcilers.resources import naming

KIND = "subnet"
PREFIX_LENGTH = 26
"""64 addresses: 2 per instance at most, and the overlay's own."""
SIZE = 2 ** (32 - PREFIX_LENGTH)


class Taken:
    """The address ranges of networks that exist; asking costs the same however many there are."""

    def __init__(self, subnets: Iterable[str]) -> None:
        networks = [network for network in map(_parse, subnets) if network is not None]
        self._small = {int(one.network_address) // SIZE for one in networks if one.num_addresses <= SIZE}
        self._large = [one for one in networks if one.num_addresses > SIZE]

    def __contains__(self, candidate: ipaddress.IPv4Network) -> bool:
        small = int(candidate.network_address) // SIZE in self._small
        return small or any(candidate.overlaps(network) for network in self._large)


def held(observed: Observed) -> str | None:
    """The subnet this database holds, or None."""
    return min(observed.subnets, default=None)


def choose(
    name: str, pool: str, taken: Taken, mine: Iterable[str], is_held: Callable[[str], bool]
) -> str | None:
    """
    A subnet of the pool that nobody holds and no network of somebody else uses; None when there is none.

    Each database begins to look somewhere else, so that many at once do not all ask for the same.

    Args:
        mine: Subnets of networks that an earlier database of this name left.
        is_held: Whether a database holds the subnet.
    """
    whole, left = ipaddress.IPv4Network(pool), frozenset(mine)
    count = whole.num_addresses // SIZE
    first = int(naming.digest(name), 16)
    for step in range(count):
        address = int(whole.network_address) + (first + step) % count * SIZE
        candidate = ipaddress.IPv4Network((address, PREFIX_LENGTH))
        if not is_held(str(candidate)) and (str(candidate) in left or candidate not in taken):
            return str(candidate)
    return None


def allocate(observed: Observed, pool: str) -> list[Action] | Waiting:
    """Take a free subnet of the pool. A lost race is a Conflict and the next pass takes another."""
    if held(observed) is not None:
        return []
    free = observed.free_subnet
    if free is None:
        return Waiting(KIND, pool, "SubnetPoolExhausted", f"no free /{PREFIX_LENGTH} is left in {pool}")
    record = Put(paths.subnet(free), observed.key.name.encode(), expected=0)
    return [
        WriteRecords(
            kind=KIND, name=free, why=Why.ABSENT, detail=f"for {observed.key.name}", writes=(record,)
        )
    ]


def _parse(text: str) -> ipaddress.IPv4Network | None:
    try:
        return ipaddress.IPv4Network(text, strict=False)
    except ValueError:
        return None  # IPv6 networks cannot clash with ours
