"""Which subnet is offered; what is taken is decided by the transaction."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable

import pytest

from reconcilers.resources.subnet import Taken, choose

POOL = "10.121.0.0/24"
ALL = {f"10.121.0.{start}/26" for start in (0, 64, 128, 192)}


def chosen(
    name: str = "orders",
    pool: str = POOL,
    *,
    taken: Iterable[str] = (),
    mine: Iterable[str] = (),
    held: Collection[str] = (),
) -> str | None:
    return choose(name, pool, Taken(taken), mine, lambda cidr: cidr in held)


def test_whoever_comes_last_gets_what_is_left() -> None:
    for last in ALL:
        assert chosen(held=ALL - {last}) == last
        assert chosen(taken=ALL - {last}) == last
    assert chosen(held=ALL) is None


@pytest.mark.parametrize(
    ("there", "left"),
    [
        ("10.121.0.0/25", {"10.121.0.128/26", "10.121.0.192/26"}),
        ("10.121.0.70/32", ALL - {"10.121.0.64/26"}),
        ("10.0.0.0/8", set()),
        ("172.17.0.0/16", ALL),
        ("fd00::/64", ALL),
        ("nonsense", ALL),
    ],
)
def test_no_network_that_exists_is_overlapped(there: str, left: set[str]) -> None:
    found = {chosen(name, taken={there}) for name in map(str, range(50))}

    assert found == (left or {None})


def test_the_network_that_an_earlier_database_of_the_name_left_is_no_obstacle() -> None:
    theirs = chosen()
    assert theirs is not None

    assert chosen(taken=ALL, mine=[theirs]) == theirs
    assert chosen(taken=ALL, mine=[theirs], held=[theirs]) is None


def test_many_at_once_do_not_ask_for_the_same() -> None:
    pool = ipaddress.IPv4Network("10.96.0.0/12")
    asked = [ipaddress.IPv4Network(chosen(f"db{n}", str(pool)) or "0.0.0.0/0") for n in range(1000)]

    assert all(one.subnet_of(pool) for one in asked)
    assert len(set(asked)) > 950
