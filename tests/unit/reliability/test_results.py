"""The table of figures: no entry looks like more than it is."""

from __future__ import annotations

from typing import Any

import pytest

from bench.__main__ import arguments as bench_arguments
from bench.__main__ import smaller
from bench.figures import Failed, Figure, kept
from clustertest.chaos import Chaos
from tests.model import checks
from tests.model.scenarios import WITHOUT, run
from tests.mutants import __main__ as mutants
from tests.mutants.index import Finder, Mutant
from tests.mutants.workshop import Run
from tests.record import RUNS, Entry
from tests.results import NOT_YET, RESULTS, WHAT, table, verdict
from tests.scale import __main__ as scale
from tests.sim import __main__ as sim
from tests.sim.crashes import Verdict
from tests.sim.fuzz import Lived, Tally

CRASHED = Verdict("create one", effects=10, crossings=80, runs=60)


def recorded(counts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    whole = {"passed": True, "cut_short": False, "sampled": [], "changed": False}
    where = {"commit": "0123456789abcdef" * 2, "date": "2026-01-02", "cores": 2, "seconds": 61.4}
    return {"counts": counts, "command": "python -m x", **whole, **where, **fields}


def rows(entries: dict[str, Any]) -> dict[str, str]:
    lines = table(entries).splitlines()[2:]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines}


def crashed(*verdicts: Verdict, of: int = 1) -> dict[str, Any]:
    return sim.counted(verdicts, of)


def test_every_run_has_a_row_whether_it_was_run_or_not() -> None:
    found = rows({})

    assert list(found) == list(RUNS) == list(WHAT) == list(RESULTS)
    assert all(NOT_YET in line and f"`make {run}`" in line for run, line in found.items())


def test_a_row_says_of_what_it_is_true_and_how_to_repeat_it() -> None:
    line = rows({"crash-all": recorded(crashed(CRASHED))})["crash-all"]

    assert "60 of 60 runs" in line
    assert "`012345678`, 2026-01-02, 2 cores, 61 s" in line
    assert "`python -m x`" in line
    assert "**" not in line


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {"sampled": ["1 of 58 scenarios", "1 of 7 crossings"]},
            "a sample: 1 of 58 scenarios, 1 of 7 crossings",
        ),
        ({"passed": False}, "**failed**"),
        ({"cut_short": True}, "**cut short**"),
        ({"cut_short": True, "passed": False}, "**cut short, or ended by a failure**"),
        ({"passed": False, "sampled": ["x"]}, "**failed**; **a sample: x**"),
    ],
)
def test_a_row_that_is_less_than_everything_begins_with_that(fields: dict[str, Any], says: str) -> None:
    entry = recorded(crashed(CRASHED), **fields)

    assert says in verdict(entry)
    assert f"| {verdict(entry)}60 of 60" in rows({"crash-all": entry})["crash-all"]


def test_a_tree_that_is_not_its_commit_shows() -> None:
    assert (
        "with changes that it does not have"
        in rows({"fuzz": recorded({"first": 0, "of": 9}, changed=True)})["fuzz"]
    )
    assert "an unknown commit" in rows({"fuzz": recorded({"first": 0, "of": 9}, commit="")})["fuzz"]


def test_an_entry_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="guesses"):
        table({"guesses": recorded({})})


# --- what each run keeps -------------------------------------------------------------------------------


def test_crashes_are_counted_with_the_scenarios_that_failed_and_those_that_did_not_come() -> None:
    bad = Verdict("add a role", effects=1, crossings=2, runs=3, failed={"dies": "it differs"})
    line = rows({"crash-pairs": recorded(crashed(CRASHED, bad, of=9))})["crash-pairs"]

    assert "62 of 63 runs" in line
    assert "2 of 9 scenarios, 11 effects, 82 crossings" in line
    assert "failed: add a role" in line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("crash-all --every 1", []),
        ("crash-all", ["1 of 7 crossings"]),
        ("crash-all --every 0 --effects 3", ["1 of 3 effects", "effects only"]),
        ("crash-pairs", []),
    ],
)
def test_crashes_say_what_their_arguments_leave_out(words: str, says: list[str]) -> None:
    args = sim.arguments(words.split())

    assert sim.sampled(args, 12, 12) == says
    assert sim.sampled(args, 1, 12) == ["1 of 12 scenarios", *says]


def test_storms_are_counted_with_the_seeds_that_failed() -> None:
    args = sim.arguments(["fuzz", "--first", "5", "--seeds", "3"])
    lived = [Lived(5, 43_200.0, 10, "", ""), Lived(7, 86_400.0, 20, "", "")]
    line = rows({"fuzz": recorded(sim.lives(Tally(lived, {6: "lost"}), args))})["fuzz"]

    assert "2 of 3 seeds, from 5 on" in line
    assert "1.5 simulated days, 30 effects; 1 failed, such as 6" in line


def test_storms_that_were_interrupted_count_for_nothing() -> None:
    entry = recorded({"first": 0, "of": 9}, cut_short=True, passed=False)

    assert "failure**. Of 9 seeds, from 0 on, none was counted" in rows({"fuzz": entry})["fuzz"]


def test_planted_bugs_are_counted_by_layer_and_kind_and_the_others_are_named() -> None:
    def verdict_of(name: str, kind: str, noticed: str = "", error: str = "") -> mutants.Verdict:
        finder = Finder(f"tests/{noticed}/test_x.py::test_y")
        found = ((finder, Run(True, True, "", 1.0)),) if noticed else ()
        return mutants.Verdict(Mutant(name, kind, "", "", ()), found, (), error, 1.0)

    seen = [
        verdict_of("01-a", "guard", "sim"),
        verdict_of("02-b", "bug", "unit"),
        verdict_of("03-c", "bug"),
        verdict_of("04-d", "bug", error="the patch does not apply"),
    ]
    line = rows({"mutants": recorded(mutants.counted(seen))})["mutants"]

    assert "2 of 4 found (bug 1 of 3, guard 1 of 1); first noticed by: sim 1, unit 1" in line
    assert "survived: 03-c; not judged: 04-d" in line


def test_a_search_is_counted_with_what_it_did_not_finish() -> None:
    counts = {"scenarios": 2, "states": 1000, "transitions": 4000, "violations": 0, "stuck": 0}
    line = rows({"model": recorded({**counts, "not_searched_whole": 1})})["model"]

    assert "1,000 states, 4,000 transitions in 2 scenarios: 0 violations, 0 states that are stuck" in line
    assert "1 scenarios not searched to their end" in line
    assert (
        "15 of 16 searches"
        in rows({"model": recorded({"rules_taken_away": 16, "rules_noticed": 15})})["model"]
    )


def test_an_end_that_cannot_be_reached_counts_as_noticed_and_nothing_else_does() -> None:
    """The rule RECORD: without it nothing forbidden happens, but something is left for ever."""
    one = next(one for one in WITHOUT if one.wrong == checks.LEFT)
    found = run(one.bounds)
    other = next(one for one in WITHOUT if one.wrong == checks.S1)

    assert found.stuck
    assert one.noticed(found)
    assert not other.noticed(found)


class Rows:
    """As much of a client as is counted."""

    def __init__(self) -> None:
        self.acknowledged, self.refused = {1, 2, 3}, 4


def test_rounds_are_counted_with_their_times_and_what_was_lost() -> None:
    chaos = Chaos(None, Rows(), None)  # type: ignore[arg-type]
    assert "p50_s" not in chaos.counted()
    chaos.took_s, chaos.lost = [3.04, 1.0, 2.0], 1
    chaos.killed.update(["etcd", "host", "etcd"])
    entry = Entry(counts={"rounds_of": 100, "seed": 7, **chaos.counted()})
    line = rows({"chaos": recorded(entry.counts)})["chaos"]

    assert "3 of 100 rounds, seed 7: as specified again after p50 2.0 s, p95 3.0 s, worst 3.0 s" in line
    assert "3 rows acknowledged, 1 lost; killed: etcd 2, host 1" in line


def test_measurements_are_kept_with_their_verdict_and_what_could_not_be_measured() -> None:
    good = Figure("time to Ready", 1.5, "s", 2.0, reference=3.0)
    counts = kept([good, Failed("repair", "no lab")])
    line = rows({"bench": recorded(counts)})["bench"]

    assert (counts["met"], counts["missed"], counts["not_measured"]) == (1, 0, 1)
    assert "time to Ready: 1.50 s (by comparison 3 s, goal <= 2 s, met)" in line
    assert "repair: - (by comparison -, goal -, NOT MEASURED)" in line


def test_a_fleet_is_told_of_with_its_size_its_goals_and_what_was_left_out() -> None:
    missed = scale.fair([1.0, 1.0, 6.0], "a poisoned spec")
    line = rows({"scale-virtual": recorded(scale.counted(3, [scale.calm(0), missed]))})["scale-virtual"]

    assert (
        "3 databases: records written, and calls that change something, in a steady hour: 0 (goal <= 0, met)"
        in line
    )
    assert "3 edited at once beside a poisoned spec: longest wait, in medians: 6 (goal <= 5, MISSED)" in line
    assert scale.sampled(scale.arguments([])) == []
    assert scale.sampled(scale.arguments(["--databases", "300", "--no-hour"])) == [
        "300 of 10,000 databases",
        "no steady hour",
    ]


def test_a_smaller_measurement_says_so() -> None:
    assert smaller(bench_arguments([])) == []
    assert smaller(bench_arguments(["--only", "repair", "--kills", "1"])) == ["only repair", "1 of 5 kills"]
