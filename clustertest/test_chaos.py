"""A few rounds of `make chaos`; a hundred are for people who have the time."""

from __future__ import annotations

import pytest

from clustertest.chaos import run
from clustertest.cluster import Cluster

ROUNDS, SEED = 3, 1


@pytest.mark.timeout(1200)
def test_nothing_acknowledged_is_lost_and_nobody_repairs_anything(cluster: Cluster) -> None:
    said: list[str] = []
    summary = run(cluster, ROUNDS, SEED, minutes=15, say=said.append)

    assert len(said) == ROUNDS
    assert summary.startswith(f"{ROUNDS} rounds"), summary
