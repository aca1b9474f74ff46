"""A figure says what was measured, and whether the goal was met, without flattering."""

from __future__ import annotations

import json

import pytest

from bench.figures import Failed, Figure, document, percentile, table


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(50, 10), (93, 19), (95, 19), (100, 20), (1, 1)],
)
def test_a_percentile_is_a_measured_value_that_so_many_do_not_exceed(percent: float, expected: int) -> None:
    assert percentile(list(range(20, 0, -1)), percent) == expected


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 95)


@pytest.mark.parametrize(
    ("ours", "reference", "goal", "strict", "expected"),
    [
        pytest.param(12.5, 10.0, 1.25, False, True, id="exactly the ratio"),
        pytest.param(12.6, 10.0, 1.25, False, False, id="over the ratio"),
        pytest.param(12.5, None, 1.25, False, False, id="a ratio to nothing is not met"),
    ],
)
def test_a_ratio_goal(
    ours: float, reference: float | None, goal: float, strict: bool, expected: bool
) -> None:
    one = Figure("x", ours, "s", goal, reference=reference, goal_is_ratio=True, strict=strict)
    assert one.met is expected


@pytest.mark.parametrize(
    ("ours", "strict", "expected"),
    [
        (1.0, False, True),
        (1.0, True, False),
        (0.99, True, True),
        (1.01, False, False),
        (float("nan"), False, False),
    ],
)
def test_an_absolute_goal(ours: float, strict: bool, expected: bool) -> None:
    assert Figure("x", ours, "s", 1.0, strict=strict).met is expected


def test_the_table_and_the_document_say_the_same() -> None:
    results: list[Figure | Failed] = [
        Figure("fast enough", 0.5, "s", 1.0, samples={"pgswarm": [0.4, 0.5]}, notes=("a note",)),
        Figure("too slow", 15.0, "s", 1.25, reference=10.0, goal_is_ratio=True),
        Failed("broken", "TimeoutError: no Ready"),
    ]
    lines = table(results).splitlines()
    assert [line.split()[-1] for line in lines if line.startswith(("fast", "too", "broken"))] == [
        "met",
        "MISSED",
        "MEASURED",
    ]
    assert "    a note" in lines
    assert "1.50" in table(results)

    written = json.loads(document(results, {"cores": 2}))
    assert [one["met"] for one in written["figures"]] == [True, False, False]
    assert written["figures"][1]["ratio"] == 1.5
    assert written["circumstances"] == {"cores": 2}
