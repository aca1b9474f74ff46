"""What is wrong with a spec, where, and what to write instead. The text itself is read in `crds.text`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from pydantic_core import PydanticCustomError

Path = tuple[str | int, ...]

REFUSED = "pgswarm"
"""Type of every error that a validator of ours raises, so that a reader can tell it from pydantic's own."""

NAME_SHOWN_MAX = 128
"""Characters; the longest name that means something, a label's or a parameter's, has fewer."""


@dataclass(frozen=True, slots=True)
class SpecProblem:
    """One reason why a text is not accepted. `line` and `column` count from 1; 0 is an unknown place."""

    line: int
    column: int
    path: str
    message: str
    fix: str = ""

    def __str__(self) -> str:
        place = f"line {self.line}, column {self.column}" if self.line else ""
        where = ", ".join(part for part in (place, self.path) if part)
        said = f"{where}: {self.message}" if where else self.message
        return f"{said}; {self.fix}" if self.fix else said


class Finding(NamedTuple):
    """One problem before its place in the text is known; `at` is relative to the validator that found it."""

    message: str
    fix: str = ""
    at: Path = ()


def refuse(message: str, fix: str = "", at: Path = ()) -> PydanticCustomError:
    """Return the error to raise from a validator for one problem."""
    return refuse_all([Finding(message, fix, at)])


def refuse_all(findings: Iterable[Finding]) -> PydanticCustomError:
    """Return the error to raise from a validator that found one or more problems."""
    found = tuple(findings)
    said = ". ".join(f.message + (f"; {f.fix}" if f.fix else "") for f in found)
    return PydanticCustomError(REFUSED, "{said}", {"said": said, "findings": found})


def dotted(path: Path) -> str:
    """Write a path the way people do: `spec.nodes[0].hosts`; what is not printable, or a novel, is not echoed."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f"{'.' if text else ''}{_shown(part)}"
    return text


def _shown(name: str) -> str:
    short = name if len(name) <= NAME_SHOWN_MAX else f"{name[: NAME_SHOWN_MAX - 3]}..."
    return short if short.isprintable() else ascii(short)[1:-1]


def undotted(text: str) -> Path:
    """Read what `dotted` has written."""
    parts = re.findall(r"([^.\[\]]+)|\[(\d+)\]", text)
    return tuple(int(number) if number else name for name, number in parts)


class SpecRefused(ValueError):
    """A text was not accepted; `problems` say where and why, in the order of the text."""

    def __init__(self, problems: Iterable[SpecProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
