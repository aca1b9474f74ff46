"""The planted bugs fit the tree as it is, and the index says of each who must notice. `make mutants` plants them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.model.rules import CODE
from tests.mutants.index import COMMAND, FOLDER, KINDS, Finder, Mutant, chosen, load
from tests.mutants.patches import DoesNotApply, Hunk, parse, planted
from tests.mutants.workshop import ROOT

MUTANTS = load()
PATCH = "--- a/one.py\n+++ b/one.py\n@@ -1,3 +1,3 @@\n def f():\n-    return 1\n+    return 2\n"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_a_patch_applies_to_the_code_and_leaves_it_a_program(mutant: Mutant) -> None:
    for name, text in planted(ROOT, parse(mutant.patch.read_text())).items():
        assert not name.startswith(("tests/", "clustertest/")), (
            "it is the code that is spoilt, not who looks at it"
        )
        assert text != (ROOT / name).read_text()
        if name.endswith(".py"):
            compile(text, name, "exec")


def test_index_and_patches_are_of_one_mind() -> None:
    assert [one.patch for one in MUTANTS] == sorted(FOLDER.glob("*.patch"))
    assert {one.kind for one in MUTANTS} == set(KINDS)
    assert all(one.plants.endswith(".") and one.finders for one in MUTANTS)


def test_there_are_thirty_bugs_and_three_of_each_pattern() -> None:
    count = {kind: sum(one.kind == kind for one in MUTANTS) for kind in KINDS}

    assert count["guard"] + count["bug"] >= 30
    assert min(count.values()) >= 3


def test_every_rule_of_the_protocol_is_taken_away_from_the_code_too() -> None:
    guarded = {one.rule for one in MUTANTS if one.kind == "guard"}

    assert guarded == {rule.name for rule in CODE}


@pytest.mark.parametrize(
    "finder",
    sorted({one for mutant in MUTANTS for one in mutant.finders}, key=str),
    ids=lambda one: one.words,
)
def test_who_is_expected_to_notice_exists(finder: Finder) -> None:
    assert finder.layer in ("unit", "golden", "contract", "sim")
    if finder.words.startswith(COMMAND):
        assert (ROOT / finder.command[1].replace(".", "/") / "__main__.py").is_file()
        return
    file, _, test = finder.words.partition("::")
    assert f"def {test.partition('[')[0]}" in (ROOT / file).read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f():\n    return 3\n", "0 times"),
        ("def f():\n    return 1\n\n\ndef f():\n    return 1\n", "2 times"),
        ("undef f():\n    return 1\n", "0 times"),
    ],
    ids=["it is gone", "it is there twice", "it is a part of a line"],
)
def test_a_patch_that_does_not_fit_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "one.py").write_text(text)

    with pytest.raises(DoesNotApply, match=said):
        planted(tmp_path, parse(PATCH))


def test_a_patch_fits_wherever_its_lines_have_moved(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("# new\n\n\ndef f():\n    return 1\n\n\nX = 1\n")

    assert planted(tmp_path, parse(PATCH)) == {"one.py": "# new\n\n\ndef f():\n    return 2\n\n\nX = 1\n"}
    assert (tmp_path / "one.py").read_text().count("return 1") == 1


def test_hunks_of_one_file_are_applied_one_upon_the_other(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("def f():\n    return 1\n")
    twice = PATCH + "@@ -1,2 +1,2 @@\n def f():\n-    return 2\n+    return 3\n"

    assert parse(twice)[1] == Hunk("one.py", "def f():\n    return 2\n", "def f():\n    return 3\n")
    assert planted(tmp_path, parse(twice)) == {"one.py": "def f():\n    return 3\n"}


def test_what_is_no_diff_is_refused() -> None:
    with pytest.raises(ValueError, match="not a line of a unified diff"):
        parse("return 1\n")


def test_mutants_are_chosen_by_words_in_name_or_kind() -> None:
    assert chosen(MUTANTS, []) == MUTANTS
    assert {one.kind for one in chosen(MUTANTS, ["stale"])} == {"stale state"}
    assert [one.name for one in chosen(MUTANTS, ["no-flock"])] == ["17-no-flock"]
