"""`mutants.toml`: what each patch plants, and who is expected to notice."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
INDEX = FOLDER / "mutants.toml"
KINDS = ("guard", "bug", "intermediate state", "stale state", "unobserved state")
"""A rule of the fencing protocol that is taken away; a bug that is easily made; one that a crash between two effects,
an old reading, or an event that nobody saw brings to light."""
COMMAND = "python -m "


@dataclass(frozen=True, slots=True)
class Finder:
    """Tests that must fail: a pytest node, or a command that starts with `python -m `."""

    words: str

    @property
    def layer(self) -> str:
        """unit, golden, contract or sim: the folder below tests/."""
        return self.words.removeprefix(COMMAND).replace("/", ".").split(".")[1].split()[0]

    @property
    def command(self) -> tuple[str, ...]:
        """Arguments for Python."""
        if self.words.startswith(COMMAND):
            return tuple(shlex.split(self.words)[1:])
        return ("-m", "pytest", "-x", "-p", "no:cacheprovider", "-rfE", "--tb=no", self.words)


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    """Of the patch, without its ending."""
    kind: str
    rule: str
    """Of ARCHITECTURE.md ("Fencing") and tests/model/rules.py, or an oracle's number; "" where there is none."""
    plants: str
    finders: tuple[Finder, ...]
    """The narrowest first."""

    @property
    def patch(self) -> Path:
        return FOLDER / f"{self.name}.patch"


def load() -> tuple[Mutant, ...]:
    """In the order of the index."""
    table = tomllib.loads(INDEX.read_text())
    return tuple(
        Mutant(
            name=name,
            kind=entry["kind"],
            rule=entry.get("rule", ""),
            plants=entry["plants"],
            finders=tuple(Finder(words) for words in entry["found_by"]),
        )
        for name, entry in table.items()
    )


def chosen(mutants: Sequence[Mutant], words: Sequence[str]) -> tuple[Mutant, ...]:
    """Those whose name or kind has one of the words in it; all, without words."""
    return tuple(
        one for one in mutants if not words or any(word in one.name or word in one.kind for word in words)
    )
