"""What a measurement says, and how it is printed. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """
    One measured value beside what it is compared with.

    Args:
        what: In words, with everything that a reader must know to read the value.
        ours: pgswarm's value.
        unit: Of `ours` and `reference`; "" for a count.
        reference: The other side, from the same run; None: there is none.
        goal: The most that may be: of the ratio if `goal_is_ratio`, else of `ours`.
        strict: The goal itself is missed already.
        samples: Every single value, by side.
        notes: What the value does not say by itself.
    """

    what: str
    ours: float
    unit: str
    goal: float
    reference: float | None = None
    goal_is_ratio: bool = False
    strict: bool = False
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def ratio(self) -> float | None:
        return self.ours / self.reference if self.reference else None

    @property
    def met(self) -> bool:
        value = self.ratio if self.goal_is_ratio else self.ours
        if value is None or math.isnan(value):
            return False
        return value < self.goal if self.strict else value <= self.goal

    @property
    def goal_text(self) -> str:
        sign = "<" if self.strict else "<="
        return (
            f"ratio {sign} {self.goal:g}" if self.goal_is_ratio else f"{sign} {shown(self.goal, self.unit)}"
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "unit": self.unit,
            "ours": self.ours,
            "reference": self.reference,
            "ratio": self.ratio,
            "goal": self.goal_text,
            "met": self.met,
            "samples": {side: list(values) for side, values in self.samples.items()},
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Failed:
    """A measurement that could not be made, and why."""

    what: str
    why: str

    def as_dict(self) -> dict[str, Any]:
        return {"what": self.what, "met": False, "failed": self.why}


def shown(value: float, unit: str) -> str:
    """A value for people: three digits that count."""
    digits = 0 if value == int(value) or abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}{' ' + unit if unit else ''}"


def percentile(values: Sequence[float], percent: float) -> float:
    """Nearest rank: a value that was measured, at or above `percent` of them. Raises: ValueError when empty."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(percent / 100 * len(values)) - 1)]


def table(results: Sequence[Figure | Failed]) -> str:
    """Rows under headings; notes below each row."""
    head = ("what", "ours", "reference", "ratio", "goal", "")
    rows = [head, *(row(result) for result in results)]
    widths = [max(len(one[column]) for one in rows) for column in range(len(head))]
    lines: list[str] = []
    for number, one in enumerate(rows):
        cells = [
            text.ljust(width) if column in (0, 5) else text.rjust(width)
            for column, (text, width) in enumerate(zip(one, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
        if number == 0:
            lines.append("  ".join("-" * width for width in widths).rstrip())
        else:
            result = results[number - 1]
            lines += [
                f"    {note}" for note in (result.notes if isinstance(result, Figure) else (result.why,))
            ]
    return "\n".join(lines)


def row(result: Figure | Failed) -> tuple[str, str, str, str, str, str]:
    if isinstance(result, Failed):
        return result.what, "-", "-", "-", "-", "NOT MEASURED"
    reference = "-" if result.reference is None else shown(result.reference, result.unit)
    ratio = "-" if result.ratio is None else f"{result.ratio:.2f}"
    verdict = "met" if result.met else "MISSED"
    return result.what, shown(result.ours, result.unit), reference, ratio, result.goal_text, verdict


def kept(results: Sequence[Figure | Failed]) -> dict[str, Any]:
    """What is kept of them: without the single values."""
    figures = [one for one in results if isinstance(one, Figure)]
    rows = zip(results, (row(one) for one in results), strict=True)
    return {
        "met": sum(one.met for one in figures),
        "missed": sum(not one.met for one in figures),
        "not_measured": len(results) - len(figures),
        "figures": [
            {"what": one.what, "ours": cells[1], "reference": cells[2], "goal": cells[4], "verdict": cells[5]}
            for one, cells in rows
        ],
    }


def document(results: Sequence[Figure | Failed], circumstances: Mapping[str, Any]) -> str:
    """Everything as JSON, the single values too."""
    body = {"circumstances": dict(circumstances), "figures": [result.as_dict() for result in results]}
    return json.dumps(body, indent=2) + "\n"
