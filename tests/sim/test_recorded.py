"""`--record`: what a run of the simulations came to is kept, with what it left out."""

from __future__ import annotations

from pathlib import Path

from tests.record import load
from tests.results import table
from tests.sim.__main__ import main
from tests.sim.scenarios import SCENARIOS


def test_a_sample_of_crashes_is_kept_as_one(tmp_path: Path) -> None:
    words = ["crash-all", "--only", "change cpus", "--effects", "14", "--every", "0", "--record"]
    assert main(words, tmp_path / "kept.json") == 0
    [(run, entry)] = load(tmp_path / "kept.json").items()

    assert run == "crash-all"
    assert entry["command"] == "python -m tests.sim crash-all --only 'change cpus' --effects 14 --every 0"
    assert (entry["passed"], entry["cut_short"]) == (True, False)
    assert entry["sampled"] == [f"1 of {len(SCENARIOS)} scenarios", "1 of 14 effects", "effects only"]
    assert entry["counts"]["runs"] == entry["counts"]["passed"] >= 6
    assert f"a sample: 1 of {len(SCENARIOS)} scenarios, 1 of 14 effects, effects only" in table({run: entry})


def test_a_few_storms_are_kept_as_a_sample(tmp_path: Path) -> None:
    assert main(["fuzz", "--seeds", "2", "--first", "4", "--record"], tmp_path / "kept.json") == 0
    entry = load(tmp_path / "kept.json")["fuzz"]

    assert entry["sampled"] == ["2 of 20000 seeds"]
    assert (entry["counts"]["first"], entry["counts"]["begun"], entry["counts"]["passed"]) == (4, 2, 2)
    assert entry["counts"]["simulated_seconds"] > 20


def test_no_scenario_at_all_is_no_success(tmp_path: Path) -> None:
    assert main(["crash-all", "--only", "nobody", "--record"], tmp_path / "kept.json") == 1
    entry = load(tmp_path / "kept.json")["crash-all"]

    assert not entry["passed"]
    assert entry["sampled"][0] == f"0 of {len(SCENARIOS)} scenarios"
