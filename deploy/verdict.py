"""One verdict over several pytest runs: their reports added up, and a last line of the form that pytest's has."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

WIDTH = 80


@dataclass(frozen=True, slots=True)
class Counts:
    """Tests of one or more runs, each counted once under the worst that happened to it."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    errors: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
            self.errors + other.errors,
        )

    def bad(self) -> bool:
        """Something failed, or was skipped."""
        return bool(self.failed or self.skipped or self.errors)

    def good(self) -> bool:
        """Something ran, and all of it passed."""
        return self.passed > 0 and not self.bad()

    def line(self, seconds: float) -> str:
        """The closing line; `seconds` is what everything took."""
        parts = [
            f"{number} {word}"
            for number, word in (
                (self.failed, "failed"),
                (self.passed, "passed"),
                (self.skipped, "skipped"),
                (self.errors, "error" if self.errors == 1 else "errors"),
            )
            if number
        ]
        return f" {', '.join(parts) or 'no tests ran'} in {seconds:.2f}s ".center(WIDTH, "=")


def read(report: Path) -> Counts:
    """The counts of a JUnit report; one error if the run wrote none, because then it broke before its end."""
    try:
        suites = list(ET.parse(report).getroot().iter("testsuite"))
    except (OSError, ET.ParseError):
        return Counts(errors=1)
    return total(counts(suite) for suite in suites)


def counts(suite: ET.Element) -> Counts:
    number = {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
    bad = number["failures"] + number["errors"] + number["skipped"]
    return Counts(number["tests"] - bad, number["failures"], number["skipped"], number["errors"])


def total(parts: Iterable[Counts]) -> Counts:
    """All of them together."""
    result = Counts()
    for part in parts:
        result += part
    return result
