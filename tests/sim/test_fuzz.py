"""Storms: everything goes wrong at once, and then all is as the last spec says. `make fuzz` takes more seeds."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.sim.fuzz import fuzz

SEEDS = int(os.environ.get("PGSWARM_SEEDS", "200"))
REGRESSIONS = (19, 46, 182, 224)
"""Each has failed once; what it does has changed since with the code, and that it passes has not."""


@pytest.mark.timeout(3600)
def test_every_storm_ends_with_what_was_wanted() -> None:
    tally = fuzz(sorted({*range(SEEDS), *REGRESSIONS}))

    assert len(tally.lived) + len(tally.failed) >= SEEDS
    assert not tally.failed, f"{len(tally.failed)} failed\n" + "\n".join(list(tally.failed.values())[:3])


@pytest.mark.parametrize("seed", [3, 7])
def test_a_seed_is_one_run_whatever_the_hash_seed(seed: int) -> None:
    program = f"from tests.sim.fuzz import fuzz; print(fuzz([{seed}]).lived[0].trace)"

    def trace(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert len(trace("1")) == 65
    assert trace("1") == trace("2") == trace("12345")
