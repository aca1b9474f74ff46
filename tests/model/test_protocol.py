"""The protocol as the code has it, in every order of events that fits into small bounds. More: `make model`."""

from __future__ import annotations

import pytest

from tests.model.moves import moves, start
from tests.model.rules import CODE, Rule
from tests.model.scenarios import FULL, QUICK, SCRIPTS, WITHOUT, Scenario, Without, run
from tests.model.search import search
from tests.model.state import normal


@pytest.mark.parametrize("scenario", QUICK, ids=lambda one: one.name)
def test_whatever_happens_nothing_is_violated_and_nothing_gets_stuck(scenario: Scenario) -> None:
    found = scenario.search()
    assert not found.wrong, "\n".join((found.wrong, *found.trace))
    assert found.stuck == 0, "\n".join(found.trace)
    assert found.complete
    assert found.ends > 0


@pytest.mark.parametrize("one", WITHOUT, ids=lambda one: one.rule.name)
def test_without_the_rule_a_violation_is_found(one: Without) -> None:
    found = run(one.bounds)
    print("\n".join(found.trace))
    assert one.noticed(found)
    assert len(found.trace) > 0


def test_every_rule_of_the_code_is_taken_away_once() -> None:
    assert {one.rule for one in WITHOUT} == CODE


def test_a_trace_is_the_same_each_time() -> None:
    bounds = next(one.bounds for one in WITHOUT if one.rule is Rule.F5)
    assert run(bounds).trace == run(bounds).trace


def test_an_end_that_cannot_be_reached_is_noticed() -> None:
    found = search(QUICK[2].bounds, lambda world: False)
    assert found.ends == 0
    assert found.stuck > 0


def test_names_of_services_are_compressed_without_changing_what_can_happen() -> None:
    """A world and its normal form allow the same steps."""
    bounds = QUICK[0].bounds
    world = start(bounds)
    for _ in range(12):
        following = list(moves(world, bounds))
        assert [move.after for move in moves(normal(world), bounds)] == [move.after for move in following]
        world = following[-1].after


def test_the_full_run_covers_every_script() -> None:
    searched = [scenario.bounds.script for scenario in FULL]
    assert all(script in searched for script in SCRIPTS.values())
