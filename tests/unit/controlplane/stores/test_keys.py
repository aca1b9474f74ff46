from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.stores.keys import Keys, end_of

KEYS = Keys()


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("specs/database/orders", b"/pgswarm/v1/specs/database/orders"),
        ("patroni/orders-n1/leader", b"/patroni/orders-n1/leader"),
        ("patronix", b"/pgswarm/v1/patronix"),
        ("", b"/pgswarm/v1/"),
    ],
)
def test_a_path_and_its_key(path: str, key: bytes) -> None:
    assert KEYS.key(path) == key
    assert KEYS.path(key) == path


def test_a_key_of_ours_that_poses_as_patronis_is_not_taken_for_one() -> None:
    posing = b"/pgswarm/v1/patroni/orders-n1/leader"
    assert not KEYS.path(posing).startswith("patroni/")
    assert KEYS.key(KEYS.path(posing)) == posing


@given(st.binary(max_size=20), st.sampled_from([b"/pgswarm/v1/", b"/patroni/", b"/pgswarm/v1/patroni/"]))
def test_every_key_survives_the_way_there_and_back(tail: bytes, prefix: bytes) -> None:
    assert KEYS.key(KEYS.path(prefix + tail)) == prefix + tail


@given(st.lists(st.sampled_from(["patroni/", "./", "a", "/", "specs/", "é"]), max_size=5))
def test_two_keys_never_share_a_path(parts: list[str]) -> None:
    tail = "".join(parts).encode()
    ours, patronis = KEYS.path(b"/pgswarm/v1/" + tail), KEYS.path(b"/patroni/" + tail)
    assert ours != patronis


@pytest.mark.parametrize("key", [b"/registry/pods/x", b"/pgswarm/v2/specs", b"pgswarm"])
def test_a_key_of_somebody_else_has_no_path(key: bytes) -> None:
    with pytest.raises(ValueError, match="not a key of ours"):
        KEYS.path(key)


def test_an_absolute_path_is_refused() -> None:
    with pytest.raises(ValueError, match="relative"):
        KEYS.key("/patroni/orders-n1/leader")


@pytest.mark.parametrize(
    ("prefix", "patroni"),
    [
        ("pgswarm/", "/patroni/"),
        ("/pgswarm", "/patroni/"),
        ("/", "/patroni/"),
        ("/patroni/ours/", "/patroni/"),
        ("/a/", "/a/b/"),
        ("/a/", "/"),
    ],
)
def test_prefixes_that_would_mix_are_refused(prefix: str, patroni: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        Keys(prefix=prefix, patroni=patroni)


def test_a_span_covers_what_starts_with_the_prefix_and_nothing_else() -> None:
    start, end = KEYS.span("specs/a/")
    assert start <= KEYS.key("specs/a/") <= KEYS.key("specs/a/\U0010ffff") < end
    assert not start <= KEYS.key("specs/ab") < end
    assert not start <= KEYS.key("specs/a") < end


@given(st.binary(min_size=1, max_size=6), st.binary(max_size=4))
def test_the_end_of_a_prefix_is_behind_all_that_starts_with_it(prefix: bytes, tail: bytes) -> None:
    end = end_of(prefix)
    assert end == b"\0" or (prefix + tail < end and not end.startswith(prefix))
    assert (end == b"\0") == (set(prefix) == {255})
