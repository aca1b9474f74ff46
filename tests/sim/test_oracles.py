"""The oracles' own tools: what finds violations must find them however many words it looks for."""

from __future__ import annotations

import pytest

from tests.sim.oracles import Needles


@pytest.mark.parametrize("count", [1, Needles.FEW + 1])
def test_a_secret_is_found_in_a_text_however_many_there_are(count: int) -> None:
    secrets = Needles(f"{number:04}-secret-of-somebody" for number in range(count))

    assert secrets.stand_in('{"password": "0000-secret-of-somebody"}')
    assert not secrets.stand_in('{"password": "0000-secret-of-some"}')
    assert not secrets.stand_in("short")
