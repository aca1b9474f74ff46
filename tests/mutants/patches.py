"""
Unified diffs, applied by content alone: a hunk's old lines must stand exactly once in the file.

Line numbers say nothing here, so that a patch lives through whatever is written above the place that it spoils, and
one that would fit at two places is refused. `patch -p1` and `git apply` understand the same files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


class DoesNotApply(Exception):
    """The text that the patch changes is not there, or there twice."""


@dataclass(frozen=True, slots=True)
class Hunk:
    file: str
    """Relative to the root of the tree."""
    old: str
    new: str


def parse(text: str) -> tuple[Hunk, ...]:
    """Raises: ValueError when the text is no unified diff."""
    return tuple(_hunks(text.splitlines(keepends=True)))


def _hunks(lines: list[str]) -> Iterator[Hunk]:
    file, old, new = "", "", ""
    for line in [*lines, "@@"]:
        if line.startswith(("@@", "--- ", "+++ ")):
            if old:
                yield Hunk(file, old, new)
            old = new = ""
            if line.startswith("+++ "):
                file = line.removeprefix("+++ ").strip().removeprefix("b/")
        elif line[0] in " -+" and file:
            old += line[1:] if line[0] != "+" else ""
            new += line[1:] if line[0] != "-" else ""
        else:
            raise ValueError(f"not a line of a unified diff: {line!r}")


def planted(root: Path, hunks: tuple[Hunk, ...]) -> Mapping[str, str]:
    """
    The files with the hunks applied, by name; nothing is written.

    Raises: DoesNotApply.
    """
    if not hunks:
        raise DoesNotApply("there is nothing in the patch")
    texts: dict[str, str] = {}
    for hunk in hunks:
        path = root / hunk.file
        text = texts.get(hunk.file) or (path.read_text() if path.is_file() else "")
        found = ("\n" + text).count("\n" + hunk.old)  # whole lines only
        if found != 1:
            first = hunk.old.strip().partition("\n")[0]
            raise DoesNotApply(f"{hunk.file} has its lines {found} times ({first})")
        before, _, after = ("\n" + text).partition("\n" + hunk.old)
        texts[hunk.file] = (before + "\n" + hunk.new + after)[1:]
    return texts
