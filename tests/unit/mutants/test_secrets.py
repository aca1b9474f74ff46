"""A secret shows itself to nobody who does not ask for it by name."""

from __future__ import annotations

import pytest

from reconcilers.actions import CreateBlob, EnsureAccount, Why
from reconcilers.ports import Put, Secret, Statement

CANARY = "canary-in-the-mine"


@pytest.mark.parametrize(
    "value",
    [
        Secret(CANARY),
        [Secret(CANARY)],
        Statement("SELECT {x}", literals={"x": Secret(CANARY)}),
        CreateBlob(kind="secret", name="a", why=Why.ABSENT, labels={}, data=Secret(CANARY)),
        EnsureAccount(
            kind="account",
            name="a",
            why=Why.ABSENT,
            user="a",
            password=Secret(CANARY),
            prefix_path="patroni/a/",
            record=Put("accounts/a", b"a"),
        ),
        ValueError(Secret(CANARY)),
    ],
    ids=lambda one: type(one).__name__,
)
def test_no_way_to_print_a_value_shows_the_secret_in_it(value: object) -> None:
    for text in (repr(value), str(value), f"{value}", f"{value!r}", "%s" % value, f"{value!a}"):  # noqa: UP031
        assert CANARY not in text
