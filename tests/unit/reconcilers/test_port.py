from __future__ import annotations

from reconcilers.resources.port import AUTO_FIRST, AUTO_LAST, choose

HOSTS = ("host-1", "host-2")


def test_an_auto_port_is_free_on_every_host() -> None:
    held = {("host-2", AUTO_FIRST), ("host-1", AUTO_FIRST + 1)}

    assert choose(HOSTS, [], lambda host, number: (host, number) not in held) == AUTO_FIRST + 2


def test_one_that_was_taken_halfway_is_preferred() -> None:
    assert choose(HOSTS, [16500], lambda *_: True) == 16500
    assert choose(HOSTS, [16500], lambda host, number: (host, number) != ("host-2", 16500)) == AUTO_FIRST


def test_none_is_left() -> None:
    assert choose(HOSTS, [], lambda host, number: host == "host-1") is None
    assert choose(HOSTS, [], lambda host, number: number == AUTO_LAST) == AUTO_LAST
