"""The last line of `make test` says what really happened."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.verdict import Counts, read, total

REPORT = """<?xml version="1.0"?><testsuites>
<testsuite tests="5" failures="1" errors="1" skipped="1"/>
<testsuite tests="2" failures="0" errors="0" skipped="0"/>
</testsuites>"""


def test_the_suites_of_a_report_add_up(tmp_path: Path) -> None:
    (tmp_path / "r.xml").write_text(REPORT)

    assert read(tmp_path / "r.xml") == Counts(passed=4, failed=1, skipped=1, errors=1)


@pytest.mark.parametrize("text", [None, "", "<testsuites"])
def test_a_run_that_broke_before_its_report_is_an_error(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "r.xml").write_text(text)

    assert read(tmp_path / "r.xml") == Counts(errors=1)


@pytest.mark.parametrize(
    ("parts", "good"),
    [
        pytest.param([Counts(passed=3), Counts(passed=1)], True, id="all passed"),
        pytest.param([], False, id="nothing ran"),
        pytest.param([Counts(passed=3), Counts(skipped=1)], False, id="one was skipped"),
        pytest.param([Counts(passed=3), Counts(failed=1)], False, id="one failed"),
        pytest.param([Counts(errors=1), Counts(passed=3)], False, id="one broke"),
    ],
)
def test_it_is_good_when_something_ran_and_all_of_it_passed(parts: list[Counts], good: bool) -> None:
    assert total(parts).good() is good


def test_the_line_has_the_form_of_pytests_own() -> None:
    line = total([Counts(passed=3, failed=2), Counts(errors=1)]).line(12.5)

    assert line.strip("=") == " 2 failed, 3 passed, 1 error in 12.50s "
    assert len(line) == 80
