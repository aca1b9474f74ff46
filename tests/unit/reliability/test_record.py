"""What a run keeps of itself: true of a commit, complete however it ends, and nobody else's is lost by it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import record
from tests.record import RUNS, command, load, merge, recording, standing


def entry(**fields: Any) -> dict[str, Any]:
    return {"counts": {}, "passed": True} | fields


def test_an_entry_takes_the_place_of_the_runs_last_one_and_leaves_the_others(tmp_path: Path) -> None:
    file = tmp_path / "kept.json"
    merge("fuzz", entry(seconds=1), file)
    merge("model", entry(seconds=2), file)
    merge("fuzz", entry(seconds=3), file)

    assert load(file) == {"fuzz": entry(seconds=3), "model": entry(seconds=2)}
    assert list(tmp_path.iterdir()) == [file]


def test_the_file_is_the_same_whoever_writes_first(tmp_path: Path) -> None:
    for name, runs in (("one", RUNS), ("other", RUNS[::-1])):
        for run in runs:
            merge(run, entry(b=1, a=2), tmp_path / name)

    text = (tmp_path / "one").read_text()
    assert (tmp_path / "other").read_text() == text
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"


def test_runs_that_end_at_once_do_not_lose_each_others_entries(tmp_path: Path) -> None:
    file = tmp_path / "kept.json"
    with ThreadPoolExecutor(len(RUNS)) as pool:
        for number in range(20):
            list(pool.map(lambda run, number=number: merge(run, entry(seconds=number), file), RUNS))
            assert {one["seconds"] for one in load(file).values()} == {number}
            assert set(load(file)) == set(RUNS)


def test_a_name_that_no_run_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fuz"):
        merge("fuz", entry(), tmp_path / "kept.json")


def test_a_run_that_ends_is_kept_with_what_it_was(tmp_path: Path) -> None:
    file = tmp_path / "kept.json"
    with recording("fuzz", "python -m tests.sim fuzz", wanted=True, file=file) as one:
        one.counts["begun"] = 7
        one.sampled.append("7 of 20000 seeds")
        one.passed = True
    kept = load(file)["fuzz"]

    assert kept["counts"] == {"begun": 7}
    assert (kept["passed"], kept["cut_short"], kept["sampled"]) == (True, False, ["7 of 20000 seeds"])
    assert (kept["commit"], kept["changed"]) == standing()
    assert kept["command"] == "python -m tests.sim fuzz"
    assert kept["cores"] == os.cpu_count()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", kept["date"])
    assert kept["seconds"] >= 0


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_a_run_that_is_cut_short_says_so_and_does_not_pass(tmp_path: Path, end: type[BaseException]) -> None:
    file = tmp_path / "kept.json"

    def run() -> None:
        with recording("fuzz", "", wanted=True, file=file) as one:
            one.counts["begun"], one.passed = 7, True
            raise end

    with pytest.raises(end):
        run()
    kept = load(file)["fuzz"]

    assert (kept["passed"], kept["cut_short"], kept["counts"]) == (False, True, {"begun": 7})


def test_nothing_is_kept_unless_it_is_asked_for(tmp_path: Path) -> None:
    with recording("fuzz", "", wanted=False, file=tmp_path / "kept.json"):
        pass

    assert list(tmp_path.iterdir()) == []


def test_a_forked_child_that_leaves_the_same_way_keeps_nothing(tmp_path: Path) -> None:
    with recording("fuzz", "", wanted=True, file=tmp_path / "kept.json"):
        one = recording("model", "", wanted=True, file=tmp_path / "kept.json")
        with one:
            child = os.fork()
            if not child:
                one.__exit__(None, None, None)
                os._exit((tmp_path / "kept.json").exists())
            _, code = os.waitpid(child, 0)

    assert code == 0
    assert set(load(tmp_path / "kept.json")) == {"fuzz", "model"}


def test_the_command_repeats_the_run_and_says_nothing_of_where_it_was() -> None:
    words = ["fuzz", "--only", "create one", "--record", "--out", "/some/where", "--out=/else/where"]

    assert command("x", words, without=("--out",)) == "python -m x fuzz --only 'create one'"


@pytest.mark.parametrize("run", RUNS)
def test_make_hands_on_that_it_is_to_be_kept(run: str) -> None:
    def last_line(*words: str) -> str:
        argv = ["make", "--no-print-directory", "-n", run, *words]
        said = subprocess.run(argv, cwd=record.ROOT, check=True, capture_output=True, text=True).stdout
        return said.splitlines()[-1]

    assert " -m " in last_line("RECORD=1")
    assert last_line("RECORD=1").split() == [*last_line().split(), "--record"]


def test_a_commit_counts_as_changed_by_anything_but_what_recording_writes(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    assert standing(tmp_path) == ("", True)
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    commit, changed = standing(tmp_path)
    assert len(commit) == 40
    assert not changed

    (tmp_path / "docs").mkdir()
    for name in record.MADE:
        (tmp_path / name).write_text("new")
    assert standing(tmp_path) == (commit, False)
    (tmp_path / "docs" / "other.md").write_text("new")
    assert standing(tmp_path) == (commit, True)
