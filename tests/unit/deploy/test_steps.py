"""What a person sees while it works."""

from __future__ import annotations

import io
import re

import pytest

from clustertest.lab.errors import LabError
from deploy.steps import Steps


def test_each_step_says_its_number_its_outcome_and_its_time() -> None:
    out = io.StringIO()
    Steps("make up", out).run([("etcd", lambda steps: "found"), ("Swarm", lambda steps: "joined")])

    text = re.sub(r"\d+\.\d s", "N s", out.getvalue())
    assert text.splitlines() == [
        "make up: 2 steps: etcd, Swarm",
        "[1/2] etcd ...",
        "[1/2] etcd: found ... N s",
        "[2/2] Swarm ...",
        "[2/2] Swarm: joined ... N s",
    ]


def test_a_step_that_fails_ends_the_run() -> None:
    def fail(_: Steps) -> str:
        raise LabError("no")

    def never(_: Steps) -> str:
        raise AssertionError("this step must not run")

    with pytest.raises(LabError, match="no"):
        Steps("make up", io.StringIO()).run([("one", fail), ("two", never)])
