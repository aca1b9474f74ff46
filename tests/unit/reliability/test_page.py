"""docs/reliability.md is what the records and the code come to, and the records tell nothing of a machine."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import replace

import pytest

from tests import promises, reference, reliability
from tests.model.rules import Rule
from tests.mutants.index import load as mutants
from tests.record import FILE, ROOT, RUNS, load
from tests.sim.chaos import CALLS, WORLD
from tests.sim.oracles import ORACLES

PAGE = "reliability.md"
TEXT = (reference.DOCS / PAGE).read_text()
FIELDS = {
    "command",
    "commit",
    "changed",
    "date",
    "cores",
    "seconds",
    "counts",
    "passed",
    "cut_short",
    "sampled",
}


def test_the_page_is_what_records_and_code_come_to() -> None:
    """Red: run `make docs` and look at the diff."""
    assert TEXT.count(reference.BEGIN) == 1
    assert reference.fresh(PAGE) == TEXT


def test_each_entry_is_a_runs_and_of_a_commit() -> None:
    for run, entry in load().items():
        assert run in RUNS
        assert set(entry) == FIELDS
        assert re.fullmatch(r"[0-9a-f]{40}", entry["commit"])
        assert not entry["changed"], f"{run} was of no commit: commit, and run it again"


def test_the_records_name_no_place() -> None:
    text = FILE.read_text() if FILE.exists() else ""

    assert not re.findall(r"""(?:^|[\s"'=:(])/\w[^"]*""", text, re.MULTILINE)
    assert str(ROOT) not in text


def test_the_records_are_sorted() -> None:
    if FILE.exists():
        entries = json.loads(FILE.read_text())
        assert FILE.read_text() == json.dumps(entries, indent=2, sort_keys=True) + "\n"


def test_every_fault_has_words_and_a_row() -> None:
    kinds = {kind.name for kind in (*CALLS, *WORLD)}

    assert set(reliability.FAULTS) == kinds
    assert all(f"\n| {kind} | " in TEXT for kind in kinds)


def test_every_oracle_that_speaks_has_words_and_a_row() -> None:
    files = ("oracles.py", "patroni_world.py")
    source = "".join((ROOT / "tests" / "sim" / name).read_text() for name in files)
    said = set(re.findall(r"""f?"([FSL]\d+|[A-Z]{4,}): """, source))

    assert said == set(ORACLES)
    assert all(f"\n| {name} | {words} |" in TEXT for name, words in ORACLES.items())


def test_every_rule_has_a_search_and_a_planted_bug() -> None:
    lines = [line for line in reliability.rules(mutants()).splitlines()[2:] if " | - |" not in line]

    assert [line.split(" | ")[0].removeprefix("| ") for line in lines] == [rule.name for rule in Rule]
    without = reliability.rules(replace(one, rule="") for one in mutants())
    assert without.count(" | - |") == len(Rule)


# --- the contract suites, counted -----------------------------------------------------------------------


def test_a_test_counts_as_one_of_both_sides_only_if_it_is_played_on_a_fake() -> None:
    found = {one.side: one for one in promises.suites()}

    assert found["etcd"].both > 50
    assert found["etcd"].alone > 20
    assert found["dockerd, one node"].alone == 0
    assert sum(one.both_assertions for one in found.values()) >= 150


def test_assertions_are_counted_where_they_stand() -> None:
    text = "async def test_x():\n    with pytest.raises(E):\n        f()\n    assert a\n    if b:\n        assert c\n"
    [function] = ast.parse(text).body
    assert isinstance(function, ast.AsyncFunctionDef)

    assert promises._assertions([function]) == 3


@pytest.mark.parametrize(
    ("decorator", "two"),
    [
        ('@pytest.fixture(params=["fake", "real"])', True),
        ('@pytest.fixture(params=["real"])', False),
        ('@pytest.fixture(scope="module")', False),
        ("@pytest.fixture", False),
        ('@pytest.mark.parametrize("x", ["fake"])', False),
    ],
)
def test_a_fixture_has_two_sides_when_one_is_a_fake(decorator: str, two: bool) -> None:
    [function] = ast.parse(f"{decorator}\ndef world(request): ...").body
    assert isinstance(function, ast.FunctionDef)

    assert promises._has_two_sides(function) is two
